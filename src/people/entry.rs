//! A resource as `status` shows it: what it is, how it is, and what a person can do next. Pure.
//!
//! It is read from the object as stored, field by field: a resource that this version cannot parse as a whole is shown
//! too.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt as _, api::DynamicObject};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::api::{
    GROUP, Job, KindName, Ledger, Origin,
    conditions::{self, MESSAGE_LIMIT, MIGRATION_LOCKED, READY, RECONCILING, Reason, STALLED, truncated},
    text::clean,
};

/// How many bytes of a field are shown.
const FIELD: usize = 256;
/// How many outputs are shown: more than a kind has.
const OUTPUTS: usize = 32;

/// How a person calls this program, with the flags that lead to the same cluster.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) program: String,
    /// ` --kubeconfig …`, ` --context …`, or nothing.
    pub(super) flags: String,
}

impl Caller {
    /// Returns a command line.
    pub(super) fn line(&self, rest: &str) -> String {
        format!("{} {rest}{}", self.program, self.flags)
    }

    /// Returns a command line of kubectl for the same cluster. `rest` ends before any `--`.
    pub(super) fn kubectl(&self, rest: &str) -> String {
        format!("kubectl {rest}{}", self.flags)
    }

    /// Returns the command line that applies the definitions.
    pub(super) fn apply_definitions(&self) -> String {
        let apply = self.kubectl("apply --server-side --force-conflicts -f -");
        format!("{} crd | {apply}", self.program)
    }

    /// Returns the next step where the API server does not answer as it should.
    pub(super) fn check_access(&self) -> String {
        format!("check --context and `{}`", self.kubectl("version"))
    }
}

/// How a resource is, in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(super) enum State {
    /// AWS has what the spec says, as far as the operator knows.
    Ready,
    /// The operator goes on by itself.
    Reconciling,
    /// A person is needed.
    Stalled,
    /// `spec.suspend` is true.
    Suspended,
    /// No operator has seen the resource, or its last edit.
    Unseen,
}

impl State {
    /// Every state.
    pub(super) const ALL: [Self; 5] = [
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::Suspended,
        Self::Unseen,
    ];

    /// Returns the word that people read.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Suspended => "Suspended",
            Self::Unseen => "Unseen",
        }
    }
}

/// The last write to AWS.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LastJob {
    /// AWS's name of the operation.
    pub(super) operation: &'static str,
    /// The id of the AWS job, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// The status in AWS's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<String>,
    /// When it was asked for.
    pub(super) request_time: Timestamp,
    /// When its end was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finish_time: Option<Timestamp>,
    /// AWS's words about a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl LastJob {
    fn of(job: &Job) -> Self {
        let cleaned = |text: &Option<String>| {
            text.as_deref()
                .map(|text| truncated(&clean(text), MESSAGE_LIMIT).to_owned())
        };
        Self {
            operation: job.operation.name(),
            id: cleaned(&job.id),
            status: cleaned(&job.status),
            request_time: job.request_time,
            finish_time: job.finish_time,
            error: cleaned(&job.error),
        }
    }
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) state: State,
    /// The reason of `Ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The message of `Ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    /// What a person can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_step: Option<String>,
    pub(super) deleting: bool,
    /// `managementPolicy: Observe`: AWS gets no write for it.
    #[serde(rename = "observed")]
    pub(super) observes: bool,
    /// Whether the environment is locked for a Gen 2 migration: AWS gets no write for it.
    #[serde(rename = "migrationLocked")]
    pub(super) is_locked: bool,
    /// When the operator first saw the lock. It outlives the lock: an object that is gone is not created again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) migration_locked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account_id: Option<String>,
    /// How this resource came to own its AWS object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job: Option<LastJob>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) outputs: BTreeMap<String, String>,
    /// The environment's page in the AWS console.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) console_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<Timestamp>,
    /// The backend of the same namespace that it refers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refers_to: Option<String>,
}

impl Entry {
    /// Reads a resource. The next step calls this program as `caller` does.
    pub(super) fn of(kind: KindName, object: &DynamicObject, caller: &Caller) -> Self {
        let spec = &object.data["spec"];
        let status = &object.data["status"];
        let ledger = ledger(status);
        let text = |value: &Value| value.as_str().map(field).filter(|text| !text.is_empty());
        let either = |places: [&Value; 3]| places.into_iter().find_map(text);
        let app_id = either([&spec["appId"], &status["appId"], &Value::Null]);
        let environment = either([
            &spec["backendEnvironmentName"],
            &spec["environmentName"],
            &status["backendEnvironmentName"],
        ]);
        let region = ledger.region.as_deref().map(field).or_else(|| text(&spec["region"]));
        // The conditions of an older generation say nothing of the present one.
        let state = state(object, &ledger);
        let ready = conditions::get(&ledger.conditions, READY);
        let mut entry = Self {
            kind: kind.name(),
            namespace: clean(&object.namespace().unwrap_or_default()),
            name: clean(&object.name_any()),
            state,
            reason: ready
                .filter(|_| state != State::Unseen)
                .map(|ready| field(&ready.reason)),
            message: ready
                .filter(|_| state != State::Unseen)
                .map(|ready| truncated(&clean(&ready.message), MESSAGE_LIMIT).to_owned()),
            next_step: None,
            observes: spec["managementPolicy"] == "Observe",
            deleting: object.metadata.deletion_timestamp.is_some(),
            is_locked: conditions::is_true(&ledger.conditions, MIGRATION_LOCKED),
            migration_locked_at: ledger.migration_locked_at,
            console_url: console_url(region.as_deref(), app_id.as_deref(), environment.as_deref()),
            app_id,
            environment,
            region,
            account_id: ledger.account_id.as_deref().map(field),
            origin: ledger.origin,
            job: ledger.job.as_ref().map(LastJob::of),
            outputs: outputs(&status["outputs"]),
            created: object.metadata.creation_timestamp.as_ref().map(|time| time.0),
            refers_to: either([
                &spec["backendRef"]["name"],
                &spec["cloneFrom"]["backendRef"]["name"],
                &Value::Null,
            ]),
        };
        entry.next_step = entry.next(object, caller);
        entry
    }

    /// Returns the resource as `KIND/NAME`.
    pub(super) fn reference(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// Returns the environment in AWS that it is about: region, app and name.
    pub(super) fn place(&self) -> Option<(Option<&str>, &str, &str)> {
        Some((
            self.region.as_deref(),
            self.app_id.as_deref()?,
            self.environment.as_deref()?,
        ))
    }

    /// Whether the operator has nothing more to do: only another's finalizer holds the resource.
    pub(super) fn is_released(&self) -> bool {
        self.reason.as_deref() == Some(Reason::Released.name())
    }

    /// Whether the message asks a person for something, and the operator soon notices that it has been done.
    fn is_noticed(&self) -> bool {
        let Some(reason) = self.reason.as_deref().and_then(Reason::parse) else {
            return false;
        };
        match reason {
            Reason::Conflict | Reason::InUse | Reason::AccountNotFound | Reason::AccountChanged => true,
            // Later it looks less often.
            Reason::DependencyNotReady | Reason::AppNotFound => self.state == State::Reconciling,
            Reason::Available
            | Reason::Creating
            | Reason::Cloning
            | Reason::Updating
            | Reason::Deleting
            | Reason::WaitingForJob
            | Reason::Throttled
            | Reason::AwsUnavailable
            | Reason::InvalidSpec
            | Reason::AlreadyExists
            | Reason::JobFailed
            | Reason::JobTimedOut
            | Reason::AccessDenied
            | Reason::QuotaExceeded
            | Reason::Drifted
            | Reason::NotFound
            | Reason::MigrationLocked
            | Reason::Suspended
            | Reason::Released => false,
        }
    }

    /// Returns what a person can do. `None`: nothing needs to be done.
    fn next(&self, object: &DynamicObject, caller: &Caller) -> Option<String> {
        let (reference, namespace) = (self.reference(), &self.namespace);
        match self.state {
            State::Ready => None,
            State::Reconciling if self.is_released() => Some(format!(
                "the operator has let it go; who set these finalizers must remove them: {}",
                clean(&object.finalizers().join(", "))
            )),
            State::Reconciling | State::Stalled if self.is_noticed() => {
                Some("do what the message says; the operator then goes on by itself".to_owned())
            }
            State::Reconciling => Some("wait: the operator goes on by itself".to_owned()),
            State::Stalled => Some(format!(
                "do what the message says; where it asks for no edit, then run: {}",
                caller.line(&format!("reconcile {reference} -n {namespace}"))
            )),
            State::Suspended => Some(format!(
                "to go on, run: {}",
                caller.line(&format!("resume {reference} -n {namespace}"))
            )),
            State::Unseen => Some(format!(
                "if this stays so for more than a minute, no operator watches this namespace: run: {}",
                caller.line("doctor")
            )),
        }
    }
}

/// Reads the parts of the ledger, each by itself: another version may have written one that this version cannot read.
fn ledger(status: &Value) -> Ledger {
    fn part<T: DeserializeOwned>(status: &Value, name: &str) -> Option<T> {
        serde_json::from_value(status.get(name)?.clone()).ok()
    }
    let mut ledger = Ledger::default();
    if let Some(seen) = part(status, "observedGeneration") {
        ledger.observed_generation = seen;
    }
    ledger.conditions = part(status, "conditions").unwrap_or_default();
    ledger.origin = part(status, "origin");
    ledger.account_id = part(status, "accountId");
    ledger.region = part(status, "region");
    ledger.job = part(status, "job");
    ledger.migration_locked_at = part(status, "migrationLockedAt");
    ledger
}

/// Returns the state of a resource, and the reason of `Ready`.
pub(super) fn state_of(object: &DynamicObject) -> (State, Option<Reason>) {
    let ledger = ledger(&object.data["status"]);
    (state(object, &ledger), conditions::ready_reason(&ledger.conditions))
}

fn state(object: &DynamicObject, ledger: &Ledger) -> State {
    let is_true = |type_| conditions::is_true(&ledger.conditions, type_);
    let generation = object.metadata.generation.unwrap_or_default();
    let is_suspended = conditions::ready_reason(&ledger.conditions) == Some(Reason::Suspended);
    // While a resource is suspended, the operator does not look at its edits: it is not unseen by that.
    if is_suspended && object.data["spec"]["suspend"] == true {
        State::Suspended
    } else if ledger.observed_generation < generation || ledger.conditions.is_empty() {
        State::Unseen
    } else if is_suspended {
        State::Suspended
    } else if is_true(STALLED) {
        State::Stalled
    } else if is_true(READY) && !is_true(RECONCILING) {
        State::Ready
    } else {
        State::Reconciling
    }
}

/// Returns a text that somebody else wrote, cleaned and cut.
fn field(text: &str) -> String {
    truncated(&clean(text), FIELD).to_owned()
}

fn outputs(stored: &Value) -> BTreeMap<String, String> {
    let stored = stored.as_object().into_iter().flatten();
    stored
        .filter_map(|(name, value)| Some((field(name), field(value.as_str()?))))
        .take(OUTPUTS)
        .collect()
}

/// Returns the page of an environment in the AWS console, as the Amplify CLI opens it
/// (`amplify console`, aws-amplify/amplify-cli `constructStatusURL`). `None`: a part is unknown, or no public console has
/// the region.
fn console_url(region: Option<&str>, app: Option<&str>, environment: Option<&str>) -> Option<String> {
    let (region, app, environment) = (region?, app?, environment?);
    // A part that is no plain name could lead to another page.
    let is_plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if ![region, app, environment].into_iter().all(is_plain) {
        return None;
    }
    let host = if region.starts_with("cn-") {
        "console.amazonaws.cn".to_owned()
    } else if region.starts_with("us-gov-") {
        "console.amazonaws-us-gov.com".to_owned()
    } else if region.contains("-iso") || region.starts_with("eusc-") {
        return None;
    } else {
        format!("{region}.console.aws.amazon.com")
    };
    // The Amplify console calls the list of backends YmFja2VuZA, which is "backend" in base64.
    Some(format!(
        "https://{host}/amplify/home?region={region}#/{app}/YmFja2VuZA/{environment}"
    ))
}

/// Returns the kind with this name: its name, its plural or a short name, in any case, with or without the group.
pub(super) fn kind(name: &str) -> Option<KindName> {
    let name = name.to_lowercase();
    let name = name.strip_suffix(&format!(".{GROUP}")).unwrap_or(&name);
    let mut crds = crate::api::crds().into_iter();
    let found = crds.find(|crd| {
        let names = &crd.spec.names;
        let short = names.short_names.iter().flatten();
        names.kind.to_lowercase() == name || names.plural == name || short.into_iter().any(|short| short == name)
    })?;
    KindName::ALL
        .iter()
        .copied()
        .find(|kind| kind.name() == found.spec.names.kind)
}

/// Returns how long something took or is ago, as kubectl writes it: the largest unit, and the next one while it matters.
pub(super) fn ago(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..120 => format!("{seconds}s"),
        120..600 if seconds % 60 > 0 => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 > 0 => format!("{hours}h{}m", minutes % 60),
        10_800..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Returns a resource of this kind with this spec and status.
    pub(in crate::people) fn object(name: &str, spec: &Value, status: &Value) -> DynamicObject {
        let object = json!({
            "metadata": {
                "name": name, "namespace": "shop", "generation": 2,
                "creationTimestamp": "2026-11-20T10:00:00Z",
            },
            "spec": spec, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    /// Returns a status with these conditions of the current generation.
    pub(in crate::people) fn status(conditions: &[(&str, &str, &str)]) -> Value {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(type_, status, reason)| {
                json!({
                    "type": type_, "status": status, "reason": reason, "message": format!("about {reason}"),
                    "lastTransitionTime": "2026-11-22T10:00:00Z",
                })
            })
            .collect();
        json!({ "observedGeneration": 2, "conditions": conditions })
    }

    /// Returns how a person calls the program without flags.
    pub(in crate::people) fn caller() -> Caller {
        Caller {
            program: "amplify-operator".to_owned(),
            flags: String::new(),
        }
    }

    fn of(status: &Value) -> Entry {
        let object = object("staging", &json!({}), status);
        Entry::of(KindName::AmplifyBackend, &object, &caller())
    }

    fn state_with(status: &Value) -> State {
        of(status).state
    }

    #[test]
    fn a_state_is_what_the_conditions_of_the_current_generation_say() {
        let ready = ("Ready", "True", "Available");
        for (status, wanted) in [
            (status(&[ready]), State::Ready),
            (
                status(&[("Ready", "False", "Creating"), ("Reconciling", "True", "Creating")]),
                State::Reconciling,
            ),
            (
                status(&[("Ready", "False", "JobFailed"), ("Stalled", "True", "JobFailed")]),
                State::Stalled,
            ),
            (status(&[("Ready", "True", "Suspended")]), State::Suspended),
            (status(&[("Ready", "False", "Suspended")]), State::Suspended),
            (
                status(&[("Ready", "True", "Available"), ("Reconciling", "True", "Available")]),
                State::Reconciling,
            ),
            (status(&[("Ready", "False", "Released")]), State::Reconciling),
            (json!({ "observedGeneration": -1 }), State::Unseen),
            (Value::Null, State::Unseen),
            (json!("odd"), State::Unseen),
        ] {
            assert_eq!(state_with(&status), wanted, "{status}");
        }
        let mut old = status(&[ready]);
        old["observedGeneration"] = json!(1);
        assert_eq!(state_with(&old), State::Unseen, "an edit that no operator has seen");
    }

    #[test]
    fn an_edit_of_a_suspended_resource_waits_for_the_resume_and_not_for_an_operator() {
        let suspended = ("Ready", "True", "Suspended");
        let ready = ("Ready", "True", "Available");
        for (suspend, condition, observed, wanted) in [
            (json!(true), suspended, 2, State::Suspended),
            // The operator records no generation whose edit it has not sent.
            (json!(true), suspended, 1, State::Suspended),
            (json!(true), suspended, -1, State::Suspended),
            // No operator has seen the resume, or the suspension.
            (json!(null), suspended, 1, State::Unseen),
            (json!(false), suspended, 1, State::Unseen),
            (json!(true), ready, 1, State::Unseen),
        ] {
            let mut stored = status(&[condition]);
            stored["observedGeneration"] = json!(observed);
            let object = object("staging", &json!({ "suspend": suspend }), &stored);
            let entry = Entry::of(KindName::AmplifyBackend, &object, &caller());
            assert_eq!(entry.state, wanted, "{suspend} {observed}");
            let next = entry.next_step.unwrap_or_default();
            let is_to_resume = next.contains("resume AmplifyBackend/staging");
            assert_eq!(is_to_resume, wanted == State::Suspended, "{next}");
        }
    }

    #[test]
    fn each_state_but_ready_says_what_to_do() {
        for (status, wanted) in [
            (status(&[("Ready", "True", "Available")]), None),
            (
                status(&[("Ready", "False", "JobFailed"), ("Stalled", "True", "JobFailed")]),
                Some("amplify-operator reconcile AmplifyBackend/staging -n shop"),
            ),
            (
                status(&[("Ready", "False", "Suspended")]),
                Some("amplify-operator resume AmplifyBackend/staging -n shop"),
            ),
            (json!({}), Some("amplify-operator doctor")),
            (status(&[("Ready", "False", "Creating")]), Some("wait: ")),
        ] {
            let entry = of(&status);
            match (wanted, &entry.next_step) {
                (None, None) => {}
                (Some(wanted), Some(said)) => assert!(said.contains(wanted), "{said}"),
                (wanted, said) => panic!("{wanted:?} {said:?}"),
            }
        }
    }

    #[test]
    fn a_next_step_leads_to_the_same_cluster() {
        let object = object("staging", &json!({}), &status(&[("Ready", "False", "Suspended")]));
        let caller = Caller {
            program: "kubectl amplify".to_owned(),
            flags: " --context other".to_owned(),
        };
        let next = Entry::of(KindName::AmplifyBackend, &object, &caller).next_step.unwrap();
        assert!(
            next.ends_with("kubectl amplify resume AmplifyBackend/staging -n shop --context other"),
            "{next}"
        );
    }

    #[test]
    fn commands_of_kubectl_lead_to_the_same_cluster_too() {
        let other = Caller {
            program: "kubectl amplify".to_owned(),
            flags: " --kubeconfig '/my files/a' --context other".to_owned(),
        };
        for (caller, flags) in [(caller(), ""), (other.clone(), other.flags.as_str())] {
            let program = &caller.program;
            assert_eq!(
                caller.apply_definitions(),
                format!("{program} crd | kubectl apply --server-side --force-conflicts -f -{flags}")
            );
            assert_eq!(
                caller.check_access(),
                format!("check --context and `kubectl version{flags}`")
            );
        }
    }

    #[test]
    fn what_is_released_waits_for_the_finalizers_of_others() {
        let mut object = object("staging", &json!({}), &status(&[("Ready", "False", "Released")]));
        object.metadata.finalizers = Some(vec!["example.com/theirs".to_owned()]);
        let next = Entry::of(KindName::AmplifyBackend, &object, &caller())
            .next_step
            .unwrap();
        assert!(next.ends_with("must remove them: example.com/theirs"), "{next}");
    }

    #[test]
    fn an_environment_has_its_page_where_a_public_console_has_its_region() {
        let page = |region, app, environment| console_url(Some(region), Some(app), Some(environment));
        assert_eq!(
            page("eu-west-1", "d1a2b3c4d5e6f7", "staging").as_deref(),
            Some(
                "https://eu-west-1.console.aws.amazon.com/amplify/home?region=eu-west-1#/d1a2b3c4d5e6f7/YmFja2VuZA/staging"
            )
        );
        for (region, host) in [
            ("cn-north-1", Some("https://console.amazonaws.cn/")),
            ("us-gov-west-1", Some("https://console.amazonaws-us-gov.com/")),
            ("us-iso-east-1", None),
            ("eu-isoe-west-1", None),
            ("eusc-de-east-1", None),
            ("evil.example/", None),
            ("", None),
        ] {
            let url = page(region, "d1", "x");
            match host {
                None => assert_eq!(url, None, "{region}"),
                Some(host) => assert!(url.is_some_and(|url| url.starts_with(host)), "{region}"),
            }
        }
        assert_eq!(page("eu-west-1", "d1", "feature/login"), None);
        assert_eq!(console_url(None, Some("d1"), Some("x")), None);
    }

    #[test]
    fn the_kinds_have_the_names_that_kubectl_takes() {
        for (name, wanted) in [
            ("AmplifyBackend", Some(KindName::AmplifyBackend)),
            ("amplifybackends", Some(KindName::AmplifyBackend)),
            ("AB", Some(KindName::AmplifyBackend)),
            ("bapi", Some(KindName::BackendApi)),
            ("bsto", Some(KindName::BackendStorage)),
            (
                "backendenvironments.amplify-operator.dev",
                Some(KindName::BackendEnvironment),
            ),
            ("amplify", None),
            ("pods", None),
            ("", None),
        ] {
            assert_eq!(kind(name), wanted, "{name}");
        }
    }

    #[test]
    fn an_age_is_written_as_kubectl_writes_it() {
        for (seconds, wanted) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (601, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (90_000, "25h"),
            (172_800, "2d"),
        ] {
            assert_eq!(ago(SignedDuration::from_secs(seconds)), wanted, "{seconds}");
        }
    }

    #[test]
    fn a_job_of_another_version_hides_nothing_else() {
        let mut status = status(&[("Ready", "True", "Available")]);
        status["job"] = json!({ "operation": "CreateSomethingNew" });
        let entry = of(&status);
        assert_eq!((entry.state, entry.job), (State::Ready, None));
    }

    #[test]
    fn what_others_have_written_draws_nothing_on_the_terminal() {
        let mut status = status(&[("Ready", "False", "JobFailed")]);
        status["conditions"][0]["message"] = json!("red \u{1b}[31mline\none");
        status["outputs"] = json!({ "userPoolId": "eu\u{1b}[2J-1", "odd": 7 });
        let entry = of(&status);
        assert_eq!(entry.message.as_deref(), Some("red line one"));
        assert_eq!(entry.outputs["userPoolId"], "eu-1");
        assert_eq!(entry.outputs.len(), 1);
    }
}
