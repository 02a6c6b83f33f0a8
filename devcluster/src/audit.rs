//! The requests to the API server, read from its audit log: exact counts by user, user agent and object.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{Error, Result};

/// The audit policy: metadata of every request, logged when a watch begins and when any request ends.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// An audit log that may still be growing.
///
/// The API server writes an event before it ends the response. So a request is in the log as soon as its client has
/// read the whole answer.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
}

/// A place in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditMark(u64);

impl AuditLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns the path of the log's file, with one JSON event per line.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the current end of the log.
    pub fn mark(&self) -> Result<AuditMark> {
        Ok(AuditMark(self.read(AuditMark(0))?.len() as u64))
    }

    /// Returns all events.
    pub fn events(&self) -> Result<Vec<AuditEvent>> {
        self.since(AuditMark(0))
    }

    /// Returns the events after the mark.
    pub fn since(&self, mark: AuditMark) -> Result<Vec<AuditEvent>> {
        let lines = self.read(mark)?;
        String::from_utf8_lossy(&lines).lines().map(AuditEvent::parse).collect()
    }

    /// Returns the complete lines after the mark. The last line may be incomplete and is left out.
    fn read(&self, mark: AuditMark) -> Result<Vec<u8>> {
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => Error::NoAuditLog,
            _ => Error::path("read", &self.path)(error),
        };
        let mut file = File::open(&self.path).map_err(failed)?;
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(mark.0)).map_err(failed)?;
        file.read_to_end(&mut text).map_err(failed)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        text.truncate(whole);
        Ok(text)
    }
}

/// The stage of a request's handling that an event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Stage {
    /// The request came in (left out by this crate's policy).
    RequestReceived,
    /// The headers of a long answer, such as a watch, were sent.
    ResponseStarted,
    /// The answer is complete.
    ResponseComplete,
    /// The API server panicked.
    Panic,
}

/// One event of the audit log. Text that the log leaves out is empty.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Line")]
pub struct AuditEvent {
    /// The stage of the request's handling.
    pub stage: Stage,
    /// The verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for other URLs the
    /// HTTP method.
    pub verb: String,
    /// Path and query.
    pub uri: String,
    /// The user that made the request.
    pub user: String,
    /// The program that made the request.
    pub user_agent: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural of the resource; empty for URLs that are not resources.
    pub resource: String,
    /// The subresource, such as `status`.
    pub subresource: String,
    /// Namespace; empty when cluster-wide.
    pub namespace: String,
    /// The object's name; empty for collections.
    pub name: String,
    /// HTTP status of the answer; 0 without an answer.
    pub code: u16,
    /// When the request came in.
    pub received: Timestamp,
    /// When this stage was reached.
    pub stage_timestamp: Timestamp,
}

impl AuditEvent {
    /// Whether this is a finished request for a change, accepted or not.
    #[must_use]
    pub fn is_write(&self) -> bool {
        const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
        self.stage == Stage::ResponseComplete && !self.resource.is_empty() && WRITES.contains(&self.verb.as_str())
    }

    fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).map_err(|source| Error::AuditEvent {
            line: line.to_owned(),
            source,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: Stage,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<Line> for AuditEvent {
    fn from(line: Line) -> Self {
        Self {
            stage: line.stage,
            verb: line.verb,
            uri: line.request_uri,
            user: line.user.username,
            user_agent: line.user_agent,
            group: line.object_ref.api_group,
            resource: line.object_ref.resource,
            subresource: line.object_ref.subresource,
            namespace: line.object_ref.namespace,
            name: line.object_ref.name,
            code: line.response_status.code,
            received: line.request_received_timestamp,
            stage_timestamp: line.stage_timestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn line(verb: &str, stage: &str, object: &str, status: &str) -> String {
        format!(
            r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"{stage}",{object}
            "requestURI":"/x","verb":"{verb}","user":{{"username":"admin","groups":["system:masters"]}},{status}
            "userAgent":"kubectl/v1.36.3","requestReceivedTimestamp":"2026-11-22T10:00:00.000001Z",
            "stageTimestamp":"2026-11-22T10:00:00.000002Z"}}"#
        )
        .replace('\n', "")
    }

    const STATUS: &str = r#""objectRef":{"resource":"amplifybackends","namespace":"a","name":"b","apiGroup":"amplify-operator.dev","apiVersion":"v1alpha1","subresource":"status"},"#;

    #[test]
    fn events_carry_what_the_log_says_and_nothing_where_it_says_nothing() {
        let object = AuditEvent::parse(&line(
            "patch",
            "ResponseComplete",
            STATUS,
            r#""responseStatus":{"code":200},"#,
        ))
        .unwrap();
        assert_eq!(
            (&*object.group, &*object.resource, &*object.subresource),
            ("amplify-operator.dev", "amplifybackends", "status")
        );
        assert_eq!((&*object.namespace, &*object.name, object.code), ("a", "b", 200));
        assert_eq!((&*object.user, &*object.user_agent), ("admin", "kubectl/v1.36.3"));
        assert!(object.received < object.stage_timestamp);

        let health = AuditEvent::parse(&line("get", "ResponseComplete", "", "")).unwrap();
        assert_eq!((&*health.resource, &*health.uri, health.code), ("", "/x", 0));
    }

    #[test]
    fn only_finished_changes_of_resources_are_writes() {
        for (verb, stage, object, write) in [
            ("create", "ResponseComplete", STATUS, true),
            ("deletecollection", "ResponseComplete", STATUS, true),
            ("create", "Panic", STATUS, false),
            ("get", "ResponseComplete", STATUS, false),
            ("watch", "ResponseStarted", STATUS, false),
            ("create", "ResponseComplete", "", false),
        ] {
            let event = AuditEvent::parse(&line(verb, stage, object, "")).unwrap();
            assert_eq!(event.is_write(), write, "{verb} {stage} {object}");
        }
    }

    #[test]
    fn a_mark_separates_and_a_line_in_writing_waits() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = AuditLog::new(file.path().to_owned());
        let first = line("get", "ResponseComplete", "", "") + "\n";
        let second = line("create", "ResponseComplete", STATUS, "") + "\n";

        fs::write(file.path(), first.clone() + &second[..20]).unwrap();
        let mark = log.mark().unwrap();
        assert_eq!(log.since(mark).unwrap(), []);

        fs::write(file.path(), first + &second).unwrap();
        let verbs = |events: Vec<AuditEvent>| events.into_iter().map(|event| event.verb).collect::<Vec<_>>();
        assert_eq!(verbs(log.since(mark).unwrap()), ["create"]);
        assert_eq!(verbs(log.events().unwrap()), ["get", "create"]);

        fs::write(file.path(), "nonsense\n").unwrap();
        assert!(matches!(log.events(), Err(Error::AuditEvent { .. })));
        file.close().unwrap();
        assert!(matches!(log.mark(), Err(Error::NoAuditLog)));
    }
}
