//! `reconcile`, `suspend` and `resume`: each changes one field of each selected resource.
//!
//! May do: patch resources, watch them, print. May not: use AWS.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use kube::{
    Error, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams},
    runtime::wait::await_condition,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    cluster::{Cluster, refused},
    entry::{Entry, State, state_of},
    print,
};
use crate::{
    api::{KindName, RECONCILE_REQUESTED_AT, conditions::Reason, text::clean},
    cli::people::{Change, Form, Reconcile},
    clock::Clock,
    telemetry::error::in_words,
};

/// The field manager of these changes, as kubectl has its own.
const MANAGER: &str = "kubectl-amplify";
/// How long a wait pauses after an error.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the look after a wait that came to no end may take.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// What became of the change of a resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    /// The resource is changed.
    Changed,
    /// It was so already.
    Unchanged,
    /// The operator has handled the request, and has nothing more to do.
    Settled,
    /// It did not come to that in time.
    TimedOut,
    /// The resource is gone.
    Deleted,
    /// The API server refused, or did not answer.
    Failed,
}

/// What was done to a resource.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    #[serde(skip)]
    kind: KindName,
    #[serde(rename = "kind")]
    kind_name: &'static str,
    namespace: String,
    name: String,
    outcome: Outcome,
    /// The outcome in words.
    change: String,
    /// What may still be in its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// How the resource is after the wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    /// The message of `Ready` after the wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Done {
    /// Whether the resource is as it was asked to be, and Ready where that was waited for.
    fn is_well(&self) -> bool {
        match self.outcome {
            Outcome::Changed | Outcome::Unchanged => true,
            Outcome::Settled => self.state == Some(State::Ready),
            Outcome::TimedOut | Outcome::Deleted | Outcome::Failed => false,
        }
    }

    fn line(&self) -> String {
        let mut line = format!(
            "{}/{} in {}: {}",
            self.kind_name, self.name, self.namespace, self.change
        );
        if let Some(state) = self.state {
            line += ", ";
            line += state.name();
        }
        for more in [&self.message, &self.note].into_iter().flatten() {
            line += "\n  ";
            line += more;
        }
        line
    }
}

/// Sets the annotation that asks for a reconcile, and waits for it if asked to.
pub(super) async fn reconcile(settings: Reconcile) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&settings.change.access).await?;
    let asked = Clock::of_machine().now().to_string();
    let patch = json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: asked } } });
    let note = |_: &DynamicObject, entry: &Entry| {
        let resume = format!("resume {} -n {}", entry.reference(), entry.namespace);
        (entry.state == State::Suspended)
            .then(|| format!("it is suspended, and stays so: {}", cluster.caller.line(&resume)))
    };
    let word = |_: &DynamicObject| (Outcome::Changed, "reconcile requested");
    let mut done = changed(&cluster, &settings.change, word, &patch, note).await?;
    if settings.wait {
        let deadline = Instant::now() + settings.timeout;
        let waits: FuturesUnordered<_> = done
            .iter_mut()
            .filter(|done| done.outcome == Outcome::Changed)
            .map(|done| settle(&cluster, done, &asked, deadline))
            .collect();
        waits.collect::<()>().await;
    }
    tell(&done, settings.change.printed.output)
}

/// Sets `spec.suspend`, or removes it.
pub(super) async fn suspend(settings: Change, is_to_be: bool) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&settings.access).await?;
    // Removed, not set to false: the field belongs again to whoever writes the manifest.
    let value = if is_to_be { json!(true) } else { Value::Null };
    let patch = json!({ "spec": { "suspend": value } });
    let word = |object: &DynamicObject| {
        let is_suspended = object.data["spec"]["suspend"] == true;
        match (is_to_be, is_suspended) {
            (true, false) => (Outcome::Changed, "suspended"),
            (true, true) => (Outcome::Unchanged, "was suspended already"),
            (false, true) => (Outcome::Changed, "resumed"),
            (false, false) => (Outcome::Unchanged, "was not suspended"),
        }
    };
    let done = changed(&cluster, &settings, word, &patch, |object, _| others(object)).await?;
    tell(&done, settings.printed.output)
}

/// Patches each selected resource, also when the API server refuses one. `word` says what the patch does, and `note` what
/// may be in its way, from the resource as it was.
async fn changed(
    cluster: &Cluster,
    settings: &Change,
    word: impl Fn(&DynamicObject) -> (Outcome, &'static str),
    patch: &Value,
    note: impl Fn(&DynamicObject, &Entry) -> Option<String>,
) -> anyhow::Result<Vec<Done>> {
    let mut all = Vec::new();
    for (kind, object) in cluster.selected(&settings.selection).await? {
        let entry = Entry::of(kind, &object, &cluster.caller);
        let (mut outcome, word) = word(&object);
        let (mut change, mut note) = (word.to_owned(), note(&object, &entry));
        if outcome == Outcome::Changed {
            let namespace = object.namespace().unwrap_or_default();
            let api = cluster.api(kind, Some(&namespace));
            let params = PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            };
            match api.patch(&object.name_any(), &params, &Patch::Merge(patch)).await {
                Ok(_) => {}
                Err(error) if is_gone(&error) => {
                    (outcome, change) = (Outcome::Deleted, "it has been deleted".to_owned());
                }
                Err(error) => {
                    change = format!("FAILED: {:#}", refused(kind, Some(&namespace), &error));
                    (outcome, note) = (Outcome::Failed, None);
                }
            }
        }
        all.push(Done {
            kind,
            kind_name: kind.name(),
            note,
            namespace: entry.namespace,
            name: entry.name,
            outcome,
            change,
            state: None,
            message: None,
        });
    }
    Ok(all)
}

/// Whether the API server says that this resource does not exist, and not that it does not know the kind.
fn is_gone(error: &Error) -> bool {
    let Error::Api(status) = error else {
        return false;
    };
    status.code == 404 && status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// Returns who else writes `spec.suspend`, and will write it again: those who apply manifests.
fn others(object: &DynamicObject) -> Option<String> {
    let managed = object.metadata.managed_fields.iter().flatten();
    let owners: Vec<_> = managed
        .filter(|entry| entry.manager.as_deref() != Some(MANAGER) && entry.operation.as_deref() == Some("Apply"))
        .filter(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            fields.is_some_and(|fields| fields.pointer("/f:spec/f:suspend").is_some())
        })
        .filter_map(|entry| entry.manager.as_deref().map(clean))
        .collect();
    if owners.is_empty() {
        return None;
    }
    Some(format!(
        "spec.suspend is also written by {}: change it there too, or it comes back",
        owners.join(", ")
    ))
}

/// Waits until the operator has handled the request of this time and has nothing more to do. An API server that does not
/// answer for a while ends nothing before the deadline.
async fn settle(cluster: &Cluster, done: &mut Done, asked: &str, deadline: Instant) {
    let (kind, namespace) = (done.kind, done.namespace.clone());
    let api = || cluster.api(kind, Some(&namespace));
    let mut trouble = None;
    loop {
        let settled = await_condition(api(), &done.name, |object: Option<&DynamicObject>| {
            object.is_none_or(|object| is_settled(object, asked))
        });
        match timeout_at(deadline, settled).await {
            Ok(Ok(Some(object))) => {
                let entry = Entry::of(kind, &object, &cluster.caller);
                (done.outcome, done.state, done.message) = (Outcome::Settled, Some(entry.state), entry.message);
                return;
            }
            Ok(Ok(None)) => {
                done.outcome = Outcome::Deleted;
                done.change += ", and it has been deleted";
                return;
            }
            Ok(Err(error)) => {
                trouble = Some(in_words(&error));
                if timeout_at(deadline, sleep(AGAIN)).await.is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    done.outcome = Outcome::TimedOut;
    done.change += ", and it is not done in time";
    done.message = trouble;
    if let Ok(Ok(Some(object))) = timeout(LAST_LOOK, api().get_opt(&done.name)).await {
        let entry = Entry::of(kind, &object, &cluster.caller);
        (done.state, done.message) = (Some(entry.state), entry.message.or_else(|| done.message.take()));
    }
}

/// Whether the operator has handled the request of this time, or a later one, and goes on no more.
fn is_settled(object: &DynamicObject, asked: &str) -> bool {
    let status = &object.data["status"];
    let handled = status["lastHandledReconcileAt"].as_str();
    let current = object.annotations().get(RECONCILE_REQUESTED_AT).map(String::as_str);
    let is_handled = handled == Some(asked) || (current != Some(asked) && handled.is_some() && handled == current);
    let (state, reason) = state_of(object);
    match state {
        State::Ready | State::Stalled => is_handled,
        // Nothing is handled while it is suspended.
        State::Suspended => true,
        State::Reconciling | State::Unseen => reason == Some(Reason::Released),
    }
}

/// Prints what was done. The exit code is 1 unless all is well.
fn tell(done: &[Done], form: Form) -> anyhow::Result<ExitCode> {
    match form {
        Form::Json => {
            let resources = BTreeMap::from([("resources", done)]);
            print(&(serde_json::to_string_pretty(&resources)? + "\n"))?;
        }
        Form::Text if done.is_empty() => {
            print("nothing is selected: there are no resources here\n")?;
        }
        Form::Text => {
            let lines: Vec<_> = done.iter().map(Done::line).collect();
            print(&(lines.join("\n") + "\n"))?;
        }
    }
    Ok(ExitCode::from(u8::from(!done.iter().all(Done::is_well))))
}

#[cfg(test)]
mod tests {
    use super::{
        super::entry::tests::{object, status},
        *,
    };

    #[test]
    fn a_request_is_done_when_it_is_handled_and_nothing_goes_on() {
        let ready = status(&[("Ready", "True", "Available")]);
        let stalled = status(&[("Ready", "False", "JobFailed"), ("Stalled", "True", "JobFailed")]);
        let going = status(&[("Ready", "False", "Updating"), ("Reconciling", "True", "Updating")]);
        let suspended = status(&[("Ready", "True", "Suspended")]);
        for (status, handled, current, wanted) in [
            (&ready, Some("now"), "now", true),
            (&stalled, Some("now"), "now", true),
            (&going, Some("now"), "now", false),
            (&ready, Some("before"), "now", false),
            (&ready, None, "now", false),
            (&suspended, None, "now", true),
            // Somebody has asked once more: the operator handles the newest request only.
            (&ready, Some("later"), "later", true),
            (&ready, Some("before"), "later", false),
        ] {
            let mut status = status.clone();
            status["lastHandledReconcileAt"] = json!(handled);
            let mut object = object("staging", &json!({}), &status);
            object
                .annotations_mut()
                .insert(RECONCILE_REQUESTED_AT.to_owned(), current.to_owned());
            assert_eq!(is_settled(&object, "now"), wanted, "{status} {current}");
        }
    }

    #[test]
    fn who_else_writes_the_field_is_named() {
        let with = |manager: &str, fields: Value| {
            let mut object = object("staging", &json!({}), &json!({}));
            object.metadata.managed_fields = serde_json::from_value(json!([
                { "manager": manager, "operation": "Apply", "fieldsV1": fields }
            ]))
            .unwrap();
            others(&object)
        };
        let suspend = json!({ "f:spec": { "f:suspend": {} } });
        let said = with("kustomize-controller", suspend.clone()).unwrap();
        assert!(said.contains("also written by kustomize-controller"), "{said}");
        assert_eq!(with(MANAGER, suspend), None);
        assert_eq!(
            with("kustomize-controller", json!({ "f:spec": { "f:appId": {} } })),
            None
        );
    }

    #[test]
    fn only_what_is_ready_after_a_wait_ends_with_success() {
        let done = |outcome, state| Done {
            kind: KindName::BackendApi,
            kind_name: "BackendApi",
            namespace: "shop".to_owned(),
            name: "api".to_owned(),
            outcome,
            change: String::new(),
            note: None,
            state,
            message: None,
        };
        for (outcome, state, wanted) in [
            (Outcome::Changed, None, true),
            (Outcome::Unchanged, None, true),
            (Outcome::Settled, Some(State::Ready), true),
            (Outcome::Settled, Some(State::Stalled), false),
            (Outcome::Settled, Some(State::Suspended), false),
            // It was Ready before, and no operator has handled the request.
            (Outcome::TimedOut, Some(State::Ready), false),
            (Outcome::Deleted, None, false),
            (Outcome::Failed, None, false),
        ] {
            assert_eq!(done(outcome, state).is_well(), wanted, "{outcome:?} {state:?}");
        }
    }
}
