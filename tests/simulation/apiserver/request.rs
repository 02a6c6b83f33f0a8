//! The contents of an HTTP request: path, verb, query and media types. Pure.

use std::collections::HashMap;

use axum::{body::Bytes, extract::Query};
use http::{HeaderMap, Method, Uri, header, request::Parts};

use super::{
    patch::PatchKind,
    refusal::Refusal,
    resource::{ResourceId, Table},
};

/// The verb of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

impl Verb {
    /// Returns the verb's name in RBAC.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// A parsed request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    pub(crate) resource: ResourceId,
    pub(crate) namespace: Option<String>,
    /// The object's name; empty for a request about all objects.
    pub(crate) name: String,
    /// Whether it is about the status subresource.
    pub(crate) status: bool,
    /// Whether the answer contains only metadata.
    pub(crate) metadata_only: bool,
    pub(crate) patch: Option<PatchKind>,
    pub(crate) body: Bytes,
    pub(crate) options: Options,
}

/// The query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) resource_version: String,
    pub(crate) version_match: String,
    pub(crate) bookmarks: bool,
    pub(crate) timeout_seconds: Option<u64>,
}

impl Request {
    pub(crate) fn read(head: &Parts, body: Bytes, table: &Table) -> Result<Self, Refusal> {
        let (group, version, rest) = split(head.uri.path()).ok_or_else(Refusal::no_such_path)?;
        let (namespace, rest) = match rest.as_slice() {
            // Namespaces are a resource themselves.
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (plural, name, subresource) = match *rest {
            [plural] => (plural, "", None),
            [plural, name] => (plural, name, None),
            [plural, name, subresource] => (plural, name, Some(subresource)),
            _ => return Err(Refusal::no_such_path()),
        };
        let resource = table.find(group, version, plural).ok_or_else(Refusal::no_such_path)?;
        let known = table.get(resource);
        if !name.is_empty() && known.namespaced && namespace.is_none() {
            return Err(Refusal::no_such_path());
        }
        let status = match subresource {
            None => false,
            Some("status") if known.is_custom() => true,
            Some(_) => return Err(Refusal::no_such_path()),
        };
        let (options, is_watch) = options(&head.uri)?;
        let verb = verb(&head.method, name, is_watch)?;
        if status && matches!(verb, Verb::Create | Verb::Delete | Verb::List | Verb::Watch) {
            return Err(Refusal::method_not_allowed(
                "the server does not allow this method on the requested resource",
            ));
        }
        let text = |name: header::HeaderName| text(&head.headers, &name).to_owned();
        Ok(Self {
            verb,
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            status,
            metadata_only: text(header::ACCEPT).contains("as=PartialObjectMetadata"),
            patch: (verb == Verb::Patch)
                .then(|| PatchKind::of(&text(header::CONTENT_TYPE)))
                .transpose()?,
            body,
            options,
        })
    }
}

/// Splits a path into group, version and the rest.
fn split(path: &str) -> Option<(&str, &str, Vec<&str>)> {
    let mut parts = path.trim_matches('/').split('/');
    let group = match parts.next()? {
        "api" => "",
        "apis" => parts.next()?,
        _ => return None,
    };
    Some((group, parts.next()?, parts.collect()))
}

fn verb(method: &Method, name: &str, is_watch: bool) -> Result<Verb, Refusal> {
    match (method.as_str(), name.is_empty()) {
        ("GET", true) if is_watch => Ok(Verb::Watch),
        ("GET", false) if is_watch => Err(Refusal::not_modelled("watch of one object by its name")),
        ("GET", true) => Ok(Verb::List),
        ("GET", false) => Ok(Verb::Get),
        ("POST", true) => Ok(Verb::Create),
        ("PUT", false) => Ok(Verb::Update),
        ("PATCH", false) => Ok(Verb::Patch),
        ("DELETE", false) => Ok(Verb::Delete),
        ("DELETE", true) => Err(Refusal::not_modelled("delete of a collection")),
        _ => Err(Refusal::method_not_allowed(
            "the server does not allow this method on the requested resource",
        )),
    }
}

/// Parses the query. Also returns whether it asks for a watch. Options that the model does not have are refused, not
/// ignored.
fn options(uri: &Uri) -> Result<(Options, bool), Refusal> {
    let Query(query) = Query::<HashMap<String, String>>::try_from_uri(uri)
        .map_err(|error| Refusal::bad_request(format!("the query cannot be read: {error}")))?;
    for unknown in ["fieldSelector", "labelSelector", "dryRun", "sendInitialEvents"] {
        if query.get(unknown).is_some_and(|value| !value.is_empty()) {
            return Err(Refusal::not_modelled(unknown));
        }
    }
    let text = |name: &str| query.get(name).cloned().unwrap_or_default();
    let flag = |name: &str| matches!(text(name).as_str(), "true" | "1");
    let number = |name: &str| match text(name).as_str() {
        "" => Ok(None),
        given => given
            .parse::<u64>()
            .map(Some)
            .map_err(|_| Refusal::bad_request(format!("{name} is no number: {given}"))),
    };
    let options = Options {
        limit: usize::try_from(number("limit")?.unwrap_or_default()).unwrap_or(usize::MAX),
        continue_token: text("continue"),
        resource_version: text("resourceVersion"),
        version_match: text("resourceVersionMatch"),
        bookmarks: flag("allowWatchBookmarks"),
        timeout_seconds: number("timeoutSeconds")?,
    };
    Ok((options, flag("watch")))
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
