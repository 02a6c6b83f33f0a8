//! `reconcile`, `suspend` and `resume`: each changes one field of each selected resource.
//!
//! May do: patch resources, watch them, print. May not: use AWS.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt as _, stream::FuturesUnordered};
use jiff::Timestamp;
use kube::{
    ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams},
    runtime::wait::await_condition,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    cluster::{Cluster, refused},
    entry::{Entry, State},
    print,
};
use crate::{
    api::{KindName, RECONCILE_REQUESTED_AT},
    cli::{
        called,
        people::{Change, Form, Reconcile},
    },
    clock::Clock,
};

/// The field manager of these changes, as kubectl has its own.
const MANAGER: &str = "kubectl-amplify";

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
    /// The change in one word.
    change: &'static str,
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
    fn line(&self) -> String {
        let mut line = format!(
            "{}/{} in {}: {}",
            self.kind_name, self.name, self.namespace, self.change
        );
        if let Some(state) = self.state {
            line += &format!(", {}", state.name());
        }
        for more in [&self.message, &self.note].into_iter().flatten() {
            line += &format!("\n  {more}");
        }
        line
    }
}

/// Sets the annotation that asks for a reconcile, and waits for it if asked to.
pub(super) async fn reconcile(settings: Reconcile) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&settings.change.access).await?;
    let asked = Clock::of_machine().now();
    let value = asked.to_string();
    let patch = json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: value } } });
    let mut done = changed(&cluster, &settings.change, "reconcile requested", &patch, |_, entry| {
        (entry.state == State::Suspended).then(|| {
            format!(
                "it is suspended, and stays so: {} resume {} -n {}",
                called(),
                entry.reference(),
                entry.namespace
            )
        })
    })
    .await?;
    if settings.wait {
        await_all(&cluster, &mut done, asked, settings.timeout).await?;
    }
    tell(&done, settings.change.printed.output)?;
    let is_ready = |done: &Done| matches!(done.state, None | Some(State::Ready));
    Ok(ExitCode::from(u8::from(!done.iter().all(is_ready))))
}

/// Sets `spec.suspend`, or removes it.
pub(super) async fn suspend(settings: Change, is_to_be: bool) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&settings.access).await?;
    // Removed, not set to false: the field belongs again to whoever writes the manifest.
    let (word, value) = if is_to_be {
        ("suspended", json!(true))
    } else {
        ("resumed", Value::Null)
    };
    let patch = json!({ "spec": { "suspend": value } });
    let done = changed(&cluster, &settings, word, &patch, |object, _| others(object)).await?;
    tell(&done, settings.printed.output)?;
    Ok(ExitCode::SUCCESS)
}

/// Patches each selected resource. `note` says what may be in the way, from the resource as it was.
async fn changed(
    cluster: &Cluster,
    settings: &Change,
    change: &'static str,
    patch: &Value,
    note: impl Fn(&DynamicObject, &Entry) -> Option<String>,
) -> anyhow::Result<Vec<Done>> {
    let mut all = Vec::new();
    for (kind, object) in cluster.selected(&settings.selection).await? {
        let entry = Entry::of(kind, &object, called());
        let namespace = object.namespace().unwrap_or_default();
        let api = cluster.api(kind, Some(&namespace));
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        api.patch(&object.name_any(), &params, &Patch::Merge(patch))
            .await
            .map_err(|error| refused(kind, Some(&namespace), &error))
            .with_context(|| format!("{} could not be changed", entry.reference()))?;
        all.push(Done {
            kind,
            kind_name: kind.name(),
            note: note(&object, &entry),
            namespace: entry.namespace,
            name: entry.name,
            change,
            state: None,
            message: None,
        });
    }
    Ok(all)
}

/// Returns who else writes `spec.suspend`, and will write it again.
fn others(object: &DynamicObject) -> Option<String> {
    let managed = object.metadata.managed_fields.iter().flatten();
    let owners: Vec<_> = managed
        .filter(|entry| entry.manager.as_deref() != Some(MANAGER))
        .filter(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            fields.is_some_and(|fields| fields.pointer("/f:spec/f:suspend").is_some())
        })
        .filter_map(|entry| entry.manager.as_deref())
        .collect();
    if owners.is_empty() {
        return None;
    }
    Some(format!(
        "spec.suspend is also written by {}: change it there too, or it comes back",
        owners.join(", ")
    ))
}

/// Waits until the operator has handled the requests of this time and has nothing more to do.
async fn await_all(cluster: &Cluster, done: &mut [Done], asked: Timestamp, patience: Duration) -> anyhow::Result<()> {
    let asked = asked.to_string();
    let asked = asked.as_str();
    let mut waits: FuturesUnordered<_> = done
        .iter_mut()
        .map(async |done| {
            let api = cluster.api(done.kind, Some(&done.namespace));
            let settled = await_condition(api, &done.name, |object: Option<&DynamicObject>| {
                object.is_none_or(|object| is_settled(done.kind, object, asked))
            });
            let Ok(found) = timeout(patience, settled).await else {
                let object = cluster
                    .api(done.kind, Some(&done.namespace))
                    .get_opt(&done.name)
                    .await?;
                let entry = object.map(|object| Entry::of(done.kind, &object, called()));
                done.state = entry.as_ref().map(|entry| entry.state);
                done.message = Some(format!(
                    "it is not done after {} s: {}",
                    patience.as_secs(),
                    entry.and_then(|entry| entry.message).unwrap_or_default()
                ));
                return anyhow::Ok(());
            };
            match found.context("the wait failed")? {
                Some(object) => {
                    let entry = Entry::of(done.kind, &object, called());
                    done.state = Some(entry.state);
                    done.message = entry.message;
                }
                None => done.message = Some("it has been deleted".to_owned()),
            }
            Ok(())
        })
        .collect();
    while let Some(waited) = waits.next().await {
        waited?;
    }
    Ok(())
}

/// Whether the operator has handled the request of this time, or a later one, and goes on no more.
fn is_settled(kind: KindName, object: &DynamicObject, asked: &str) -> bool {
    let handled = object.data["status"]["lastHandledReconcileAt"].as_str();
    let current = object.annotations().get(RECONCILE_REQUESTED_AT).map(String::as_str);
    let is_handled = handled == Some(asked) || (current != Some(asked) && handled.is_some() && handled == current);
    let state = Entry::of(kind, object, called()).state;
    match state {
        State::Ready | State::Stalled => is_handled,
        // Nothing is handled while it is suspended.
        State::Suspended => true,
        State::Reconciling | State::Unseen => false,
    }
}

fn tell(done: &[Done], form: Form) -> anyhow::Result<()> {
    match form {
        Form::Json => {
            let resources = BTreeMap::from([("resources", done)]);
            print(&(serde_json::to_string_pretty(&resources)? + "\n"))
        }
        Form::Text if done.is_empty() => print("nothing is selected: there are no resources here\n"),
        Form::Text => {
            let lines: Vec<_> = done.iter().map(Done::line).collect();
            print(&(lines.join("\n") + "\n"))
        }
    }
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
            assert_eq!(
                is_settled(KindName::AmplifyBackend, &object, "now"),
                wanted,
                "{status} {current}"
            );
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
}
