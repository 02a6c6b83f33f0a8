//! `reconcile`, `suspend` and `resume`: each changes one field of each selected resource.
//!
//! May do: patch resources, watch them, print. May not: use AWS.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use futures::{
    StreamExt as _,
    channel::mpsc,
    stream::{self, FuturesUnordered},
};
use kube::{
    Error, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams},
    runtime::watcher::Event,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    cluster::{Cluster, refused},
    complain,
    entry::{Entry, State, state_of},
    print,
};
use crate::{
    api::{KindName, RECONCILE_REQUESTED_AT, conditions::Reason, text::clean},
    cli::people::{Change, Form, Reconcile},
    clock::Clock,
    telemetry::error::in_words,
};

/// The field manager of these changes. Its name does not begin with `kubectl`: Flux takes away what such managers have
/// written, so a suspended resource would go on at the next reconciliation.
const MANAGER: &str = "amplify-operator-cli";
/// What kubectl writes when it applies a manifest by itself, without the API server (client-side apply).
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The field manager of kubectl's client-side apply.
const CLIENT_SIDE_APPLY: &str = "kubectl-client-side-apply";
/// How many requests are under way at the same time.
const AT_A_TIME: usize = 16;
/// How long a wait lasts at most, in place of a time that no clock can show.
const LONGEST: Duration = Duration::from_hours(24 * 365 * 30);
/// How long after the deadline the resources that came to no end are looked at.
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
    /// Its place among the selected resources.
    #[serde(skip)]
    place: usize,
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

    /// Returns the text for a terminal. The API server's words may have anything in them.
    fn line(&self) -> String {
        let mut line = format!(
            "{}/{} in {}: {}",
            self.kind_name,
            self.name,
            self.namespace,
            clean(&self.change)
        );
        if let Some(state) = self.state {
            line += ", ";
            line += state.name();
        }
        for more in [&self.message, &self.note].into_iter().flatten() {
            line += "\n  ";
            line += &clean(more);
        }
        line
    }

    fn settled(&mut self, object: &DynamicObject, cluster: &Cluster) {
        let entry = Entry::of(self.kind, object, &cluster.caller);
        (self.outcome, self.state, self.message) = (Outcome::Settled, Some(entry.state), entry.message);
    }

    fn deleted(&mut self) {
        self.outcome = Outcome::Deleted;
        self.change += ", and it has been deleted";
    }
}

/// What has been done so far. A person reads each line as soon as it is known; a program gets all at the end.
struct Report {
    form: Form,
    all: Vec<Done>,
    is_well: bool,
    is_empty: bool,
}

impl Report {
    const fn new(form: Form) -> Self {
        Self {
            form,
            all: Vec::new(),
            is_well: true,
            is_empty: true,
        }
    }

    fn add(&mut self, done: Done) -> anyhow::Result<()> {
        self.is_well &= done.is_well();
        self.is_empty = false;
        match self.form {
            Form::Json => self.all.push(done),
            Form::Text => {
                // Nobody may read any more: what was asked for is done all the same.
                print(&(done.line() + "\n"))?;
            }
        }
        Ok(())
    }

    /// Ends the output. The exit code is 1 unless all is well.
    fn end(mut self) -> anyhow::Result<ExitCode> {
        match self.form {
            Form::Json => {
                self.all.sort_by_key(|done| done.place);
                let resources = BTreeMap::from([("resources", self.all)]);
                print(&(serde_json::to_string_pretty(&resources)? + "\n"))?;
            }
            Form::Text if self.is_empty && self.is_well => {
                print("nothing is selected: there are no resources here\n")?;
            }
            Form::Text => {}
        }
        Ok(ExitCode::from(u8::from(!self.is_well)))
    }
}

/// Sets the annotation that asks for a reconcile, and waits for it if asked to.
pub(super) async fn reconcile(settings: Reconcile) -> anyhow::Result<ExitCode> {
    // The time that the patches take is a part of it.
    let deadline = Instant::now() + settings.timeout.min(LONGEST);
    let cluster = Cluster::connect(&settings.change.access).await?;
    let asked = Clock::of_machine().now().to_string();
    let patch = json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: asked } } });
    let note = |_: &DynamicObject, entry: &Entry| {
        let resume = format!("resume {} -n {}", entry.reference(), entry.namespace);
        (entry.state == State::Suspended)
            .then(|| format!("it is suspended, and stays so: {}", cluster.caller.line(&resume)))
    };
    let word = |_: &DynamicObject| (Outcome::Changed, "reconcile requested");
    let is_stored = |object: &DynamicObject| object.annotations().get(RECONCILE_REQUESTED_AT) == Some(&asked);
    let mut report = Report::new(settings.change.printed.output);
    let mut waiting: BTreeMap<KindName, Waiting> = BTreeMap::new();
    let mut take = |done: Done, report: &mut Report| {
        if !settings.wait || done.outcome != Outcome::Changed {
            return report.add(done);
        }
        let key = (done.namespace.clone(), done.name.clone());
        waiting.entry(done.kind).or_default().insert(key, done);
        Ok(())
    };
    let wish = Wish { patch, is_stored };
    change(&cluster, &settings.change, word, &wish, note, &mut report, &mut take).await?;
    let namespace = cluster.namespace(&settings.change.selection.scope);
    let (tell, mut told) = mpsc::unbounded();
    let waits: FuturesUnordered<_> = waiting
        .into_iter()
        .map(|(kind, waiting)| {
            settle(
                &cluster,
                kind,
                namespace.as_deref(),
                waiting,
                &asked,
                deadline,
                tell.clone(),
            )
        })
        .collect();
    drop(tell);
    let reported = async {
        while let Some(done) = told.next().await {
            report.add(done)?;
        }
        anyhow::Ok(())
    };
    let ((), reported) = tokio::join!(waits.collect::<()>(), reported);
    reported?;
    report.end()
}

/// Sets `spec.suspend`, or removes it.
pub(super) async fn suspend(settings: Change, is_to_be: bool) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&settings.access).await?;
    // Removed, not set to false: the field belongs again to whoever writes the manifest.
    let value = if is_to_be { json!(true) } else { Value::Null };
    let patch = json!({ "spec": { "suspend": value } });
    let is_suspended = |object: &DynamicObject| object.data["spec"]["suspend"] == true;
    let word = |object: &DynamicObject| match (is_to_be, is_suspended(object)) {
        (true, false) => (Outcome::Changed, "suspended"),
        (true, true) => (Outcome::Unchanged, "was suspended already"),
        (false, true) => (Outcome::Changed, "resumed"),
        (false, false) => (Outcome::Unchanged, "was not suspended"),
    };
    let mut report = Report::new(settings.printed.output);
    let note = |object: &DynamicObject, _: &Entry| others(object, is_to_be);
    let mut take = |done, report: &mut Report| report.add(done);
    let is_stored = |object: &DynamicObject| is_suspended(object) == is_to_be;
    let wish = Wish { patch, is_stored };
    change(&cluster, &settings, word, &wish, note, &mut report, &mut take).await?;
    report.end()
}

/// A change, and whether the API server has stored it: an admission policy may change a request, and the reply is a success
/// all the same.
struct Wish<F> {
    patch: Value,
    is_stored: F,
}

/// Patches each selected resource, also when the API server refuses one, and hands over each as soon as it is patched.
/// `word` says what the patch does, and `note` what may be in its way, from the resource as it was.
async fn change(
    cluster: &Cluster,
    settings: &Change,
    word: impl Fn(&DynamicObject) -> (Outcome, &'static str),
    wish: &Wish<impl Fn(&DynamicObject) -> bool>,
    note: impl Fn(&DynamicObject, &Entry) -> Option<String>,
    report: &mut Report,
    take: &mut impl FnMut(Done, &mut Report) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Of an object, only what the change needs is kept.
    let read = |kind: KindName, object: &DynamicObject| {
        let entry = Entry::of(kind, object, &cluster.caller);
        let (outcome, word) = word(object);
        let done = Done {
            place: 0,
            kind,
            kind_name: kind.name(),
            note: note(object, &entry),
            namespace: entry.namespace,
            name: entry.name,
            outcome,
            change: word.to_owned(),
            state: None,
            message: None,
        };
        (done, key(object))
    };
    let selected = cluster.selected(&settings.selection, &read).await?;
    for refused in &selected.refused {
        complain(&refused.to_string());
        report.is_well = false;
    }
    let patches = selected.found.into_iter().enumerate().map(|(place, (done, key))| {
        let done = Done { place, ..done };
        patched(cluster, done, key, wish)
    });
    let mut ended = stream::iter(patches).buffered(AT_A_TIME);
    while let Some(done) = ended.next().await {
        take(done, report)?;
    }
    Ok(())
}

/// Patches the resource, if that changes it. Returns what became of it.
async fn patched(
    cluster: &Cluster,
    mut done: Done,
    (namespace, name): (String, String),
    wish: &Wish<impl Fn(&DynamicObject) -> bool>,
) -> Done {
    if done.outcome != Outcome::Changed {
        return done;
    }
    let api = cluster.api(done.kind, Some(&namespace));
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(&name, &params, &Patch::Merge(&wish.patch)).await {
        Ok(stored) if (wish.is_stored)(&stored) => {}
        Ok(_) => {
            done.change = format!(
                "FAILED: the API server accepted the change and stored another: an admission webhook or policy of the cluster has altered it. `{}` shows the webhooks; ask who runs the one that changes these resources",
                cluster.caller.kubectl("get mutatingwebhookconfigurations")
            );
            (done.outcome, done.note) = (Outcome::Failed, None);
        }
        Err(error) if is_gone(&error) => {
            (done.outcome, done.change) = (Outcome::Deleted, "it has been deleted".to_owned());
        }
        Err(error) => {
            done.change = format!(
                "FAILED: {:#}",
                refused(done.kind, Some(&namespace), &error, &cluster.caller)
            );
            (done.outcome, done.note) = (Outcome::Failed, None);
        }
    }
    done
}

/// Whether the API server says that this resource does not exist, and not that it does not know the kind.
fn is_gone(error: &Error) -> bool {
    let Error::Api(status) = error else {
        return false;
    };
    status.code == 404 && status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// Returns who else writes `spec.suspend`, and may write it again: those who apply manifests, or edit the resource.
/// Where a tool of the kubectl family alone holds a suspension, this command changes nothing, and Flux takes it away.
fn others(object: &DynamicObject, is_to_be: bool) -> Option<String> {
    let managed = object.metadata.managed_fields.iter().flatten();
    let mut owners: BTreeSet<_> = managed
        .filter(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            fields.is_some_and(|fields| fields.pointer("/f:spec/f:suspend").is_some())
        })
        .filter_map(|entry| entry.manager.as_deref().map(clean))
        .collect();
    let is_held = owners.remove(MANAGER);
    // Its manager loses the field when another one changes it. The manifest still has it.
    let last_applied = object.annotations().get(LAST_APPLIED);
    let last_applied = last_applied.and_then(|text| serde_json::from_str::<Value>(text).ok());
    if last_applied.is_some_and(|manifest| manifest["spec"].get("suspend").is_some()) {
        owners.insert(CLIENT_SIDE_APPLY.to_owned());
    }
    if owners.is_empty() {
        return None;
    }
    let is_kubectls = owners.iter().any(|owner| owner.starts_with("kubectl"));
    let owners: Vec<_> = owners.into_iter().collect();
    if is_to_be && !is_held && is_kubectls && object.data["spec"]["suspend"] == true {
        return Some(format!(
            "the suspension is held by {}: where Flux applies the resource, it takes away what kubectl has written; run resume and then suspend to have this command hold it",
            owners.join(", ")
        ));
    }
    Some(format!(
        "spec.suspend is also written by {}: change it there too, or it may come back",
        owners.join(", ")
    ))
}

/// The resources of a kind whose end is waited for, by namespace and name.
type Waiting = BTreeMap<(String, String), Done>;

/// Waits until the operator has handled the requests of this time and has nothing more to do, with one watch for all of a
/// kind. Tells of each resource as soon as it is known. An API server that does not answer for a while ends nothing before
/// the deadline.
async fn settle(
    cluster: &Cluster,
    kind: KindName,
    namespace: Option<&str>,
    mut waiting: Waiting,
    asked: &str,
    deadline: Instant,
    tell: mpsc::UnboundedSender<Done>,
) {
    // The receiver lives as long as the sender.
    let say = |done| drop(tell.unbounded_send(done));
    let name = match waiting.len() {
        1 => waiting.keys().next().map(|(_, name)| name.clone()),
        _ => None,
    };
    let events = cluster.follow(kind, namespace, name.as_deref());
    let mut events = pin!(events.take_until(sleep_until(deadline)));
    let (mut trouble, mut listed) = (None, BTreeSet::new());
    while !waiting.is_empty() {
        let Some(event) = events.next().await else {
            break;
        };
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                trouble = None;
                let key = key(&object);
                if is_settled(&object, asked)
                    && let Some(mut done) = waiting.remove(&key)
                {
                    done.settled(&object, cluster);
                    say(done);
                }
                listed.insert(key);
            }
            Ok(Event::Delete(object)) => {
                trouble = None;
                if let Some(mut done) = waiting.remove(&key(&object)) {
                    done.deleted();
                    say(done);
                }
            }
            Ok(Event::InitDone) => {
                trouble = None;
                let gone = waiting.keys().filter(|key| !listed.contains(*key));
                for key in gone.cloned().collect::<Vec<_>>() {
                    if let Some(mut done) = waiting.remove(&key) {
                        done.deleted();
                        say(done);
                    }
                }
                listed.clear();
            }
            Err(error) => trouble = Some(in_words(&error)),
        }
    }
    let until = deadline + LAST_LOOK;
    let looks = waiting
        .into_values()
        .map(|done| late(cluster, done, trouble.clone(), until));
    let mut looks = pin!(stream::iter(looks).buffer_unordered(AT_A_TIME));
    while let Some(done) = looks.next().await {
        say(done);
    }
}

/// Looks once more at a resource that is not done in time.
async fn late(cluster: &Cluster, mut done: Done, trouble: Option<String>, until: Instant) -> Done {
    done.outcome = Outcome::TimedOut;
    done.change += ", not done in time";
    done.message = trouble;
    let api = cluster.api(done.kind, Some(&done.namespace));
    if let Ok(Ok(Some(object))) = timeout_at(until, api.get_opt(&done.name)).await {
        let entry = Entry::of(done.kind, &object, &cluster.caller);
        (done.state, done.message) = (Some(entry.state), entry.message.or(done.message));
    }
    done
}

/// Returns the namespace and the name.
fn key(object: &DynamicObject) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
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
    fn a_suspended_resource_that_was_edited_is_not_waited_for_and_one_that_was_resumed_is() {
        let mut stored = status(&[("Ready", "True", "Suspended")]);
        stored["observedGeneration"] = json!(1);
        for (suspend, wanted) in [(json!(true), true), (Value::Null, false)] {
            let object = object("staging", &json!({ "suspend": suspend }), &stored);
            assert_eq!(is_settled(&object, "now"), wanted, "{suspend}");
        }
    }

    #[test]
    fn who_else_writes_the_field_is_named_however_they_write_it() {
        let suspend = json!({ "f:spec": { "f:suspend": {} } });
        let other = json!({ "f:spec": { "f:appId": {} } });
        for (manager, operation, fields, applied, wanted) in [
            (
                "kustomize-controller",
                "Apply",
                &suspend,
                None,
                Some("kustomize-controller"),
            ),
            ("kustomize-controller", "Apply", &other, None, None),
            ("kubectl-edit", "Update", &suspend, None, Some("kubectl-edit")),
            (
                CLIENT_SIDE_APPLY,
                "Update",
                &suspend,
                Some(json!({ "suspend": true })),
                Some(CLIENT_SIDE_APPLY),
            ),
            // `suspend` has taken the field over, and the manifest still has it.
            (
                MANAGER,
                "Update",
                &suspend,
                Some(json!({ "suspend": false })),
                Some(CLIENT_SIDE_APPLY),
            ),
            (MANAGER, "Update", &suspend, Some(json!({ "appId": "d1" })), None),
            (MANAGER, "Update", &suspend, None, None),
        ] {
            let mut object = object("staging", &json!({}), &json!({}));
            object.metadata.managed_fields = serde_json::from_value(json!([
                { "manager": manager, "operation": operation, "fieldsV1": fields }
            ]))
            .unwrap();
            if let Some(spec) = applied {
                let manifest = json!({ "spec": spec }).to_string();
                object.annotations_mut().insert(LAST_APPLIED.to_owned(), manifest);
            }
            let wanted = wanted.map(|wanted| format!("spec.suspend is also written by {wanted}: change"));
            let said = others(&object, true);
            assert_eq!(said.is_some(), wanted.is_some(), "{manager} {operation}: {said:?}");
            let (said, wanted) = (said.unwrap_or_default(), wanted.unwrap_or_default());
            assert!(said.starts_with(&wanted), "{manager} {operation}: {said}");
        }
    }

    #[test]
    fn a_suspension_that_flux_would_take_away_is_said_to_be_one() {
        for (managers, is_to_be, is_suspended, wanted) in [
            (
                &["kubectl-patch"][..],
                true,
                true,
                "the suspension is held by kubectl-patch: ",
            ),
            (
                &["kubectl-patch", MANAGER],
                true,
                true,
                "spec.suspend is also written by",
            ),
            (&["kubectl-patch"], false, true, "spec.suspend is also written by"),
            (&["kubectl-patch"], true, false, "spec.suspend is also written by"),
            (&["helm"], true, true, "spec.suspend is also written by"),
        ] {
            let mut object = object("staging", &json!({ "suspend": is_suspended }), &json!({}));
            let fields = json!({ "f:spec": { "f:suspend": {} } });
            let entries = managers
                .iter()
                .map(|manager| json!({ "manager": manager, "operation": "Update", "fieldsV1": fields }));
            object.metadata.managed_fields = serde_json::from_value(entries.collect()).unwrap();
            let said = others(&object, is_to_be).unwrap_or_default();
            assert!(said.starts_with(wanted), "{managers:?}: {said}");
        }
    }

    #[test]
    fn the_name_of_the_field_manager_is_none_whose_fields_flux_takes_away() {
        assert!(!MANAGER.starts_with("kubectl"));
    }

    fn done(outcome: Outcome, state: Option<State>) -> Done {
        Done {
            place: 0,
            kind: KindName::BackendApi,
            kind_name: "BackendApi",
            namespace: "shop".to_owned(),
            name: "api".to_owned(),
            outcome,
            change: "changed".to_owned(),
            note: None,
            state,
            message: None,
        }
    }

    #[test]
    fn no_words_of_others_reach_the_terminal_as_they_are() {
        let red = "\u{1b}[31mred\u{1b}[0m\nnext line";
        let mut done = done(Outcome::Failed, None);
        (done.change, done.note, done.message) = (format!("FAILED: {red}"), Some(red.into()), Some(red.into()));
        assert_eq!(
            done.line(),
            "BackendApi/api in shop: FAILED: red next line\n  red next line\n  red next line"
        );
    }

    #[test]
    fn only_what_is_ready_after_a_wait_ends_with_success() {
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
