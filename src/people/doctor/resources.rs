//! The check of the resources: how many are in which state. May do: list resources.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt as _, stream};
use kube::{Error, api::ListParams};

use super::{
    Check,
    checks::{DEFINITIONS, MOST_NAMESPACES, RESOURCES, each, install_definitions, is_denied},
    installation::{Installation, Watched},
};
use crate::{
    api::{KindName, rules::is_namespace},
    people::{
        cluster::Cluster,
        entry::{Caller, Entry, State},
    },
    telemetry::error::in_words,
};

/// The resources of a kind, as far as they could be read.
struct Listed {
    kind: KindName,
    entries: Vec<Entry>,
    /// The namespaces that were asked. `None`: all.
    places: Option<Vec<String>>,
    error: Option<Error>,
}

/// Counts the resources by state, in all namespaces if this user may see them. Returns their namespaces.
pub(super) async fn check(cluster: &Cluster, installations: &[Arc<Installation>]) -> (Vec<String>, Vec<Check>) {
    let places = places(cluster, installations);
    let lists: Vec<_> = stream::iter(KindName::ALL.iter().copied())
        .map(|kind| listed(cluster, kind, &places))
        .buffered(KindName::ALL.len())
        .collect()
        .await;
    let namespaces: BTreeSet<_> = lists
        .iter()
        .flat_map(|list| list.entries.iter().map(|entry| entry.namespace.clone()))
        .collect();
    let is_watched = |name: &str| installations.is_empty() || installations.iter().any(|one| one.watches(name));
    let outside: Vec<_> = namespaces
        .iter()
        .map(String::as_str)
        .filter(|name| !is_watched(name))
        .collect();
    let checks = judged(lists, &outside, &cluster.caller);
    (namespaces.into_iter().collect(), checks)
}

/// Returns the namespaces to ask for if this user may not list all: those that are watched, otherwise the context's.
fn places(cluster: &Cluster, installations: &[Arc<Installation>]) -> Vec<String> {
    let mut places = BTreeSet::new();
    for installation in installations {
        if let Watched::These(names) = &installation.watched {
            places.extend(names.iter().take(MOST_NAMESPACES).cloned());
        }
    }
    let context = cluster.context_namespace();
    if places.is_empty() && is_namespace(context) {
        places.insert(context.to_owned());
    }
    places.into_iter().take(MOST_NAMESPACES).collect()
}

async fn listed(cluster: &Cluster, kind: KindName, places: &[String]) -> Listed {
    let mut list = Listed {
        kind,
        entries: Vec::new(),
        places: None,
        error: None,
    };
    list.error = list_into(&mut list.entries, cluster, kind, None).await.err();
    if !list.error.as_ref().is_some_and(is_denied) {
        return list;
    }
    let mut asked = Vec::new();
    for place in places {
        list.error = list_into(&mut list.entries, cluster, kind, Some(place)).await.err();
        if list.error.is_some() {
            break;
        }
        asked.push(place.clone());
    }
    list.places = Some(asked);
    list
}

async fn list_into(
    entries: &mut Vec<Entry>,
    cluster: &Cluster,
    kind: KindName,
    namespace: Option<&str>,
) -> Result<(), Error> {
    let api = cluster.api(kind, namespace);
    each(&api, ListParams::default(), |object| {
        entries.push(Entry::of(kind, &object, &cluster.caller));
    })
    .await
}

/// Judges the lists. A kind that could not be read is never well.
fn judged(lists: Vec<Listed>, outside: &[&str], caller: &Caller) -> Vec<Check> {
    let mut checks = Vec::new();
    let (mut missing, mut denied, mut failed) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let mut entries = Vec::new();
    let mut places: Option<BTreeSet<String>> = None;
    let mut is_read = false;
    for list in lists {
        let name = list.kind.name();
        let of = |error: &Error, said: &mut BTreeMap<String, Vec<&str>>| {
            said.entry(in_words(error)).or_default().push(name);
        };
        match &list.error {
            Some(Error::Api(status)) if status.code == 404 => missing.push(name),
            Some(error) if is_denied(error) => of(error, &mut denied),
            Some(error) => of(error, &mut failed),
            None => is_read = true,
        }
        entries.extend(list.entries);
        if let Some(asked) = list.places {
            places.get_or_insert_default().extend(asked);
        }
    }
    if !missing.is_empty() {
        checks.push(Check::failed(
            DEFINITIONS,
            format!("the API server does not know {}", missing.join(", ")),
            install_definitions(caller),
        ));
    }
    for (why, kinds) in failed {
        checks.push(Check::failed(
            RESOURCES,
            format!("{}: {why}", kinds.join(", ")),
            caller.check_access(),
        ));
    }
    let is_all_read = denied.is_empty() && checks.is_empty();
    for (why, kinds) in denied {
        let said = format!("you may not list {}: {why}", kinds.join(", "));
        checks.push(Check::skipped(RESOURCES, said));
    }
    // Of kinds that were not read, it is not known that there are none.
    if is_read && is_all_read || !entries.is_empty() {
        let mut check = counted(&entries, outside, caller);
        if let Some(places) = places.filter(|places| !places.is_empty()) {
            let places: Vec<_> = places.into_iter().collect();
            check.seen = format!("{}; not all namespaces were asked: {}", check.seen, places.join(", "));
        }
        checks.push(check);
    }
    checks
}

fn counted(entries: &[Entry], outside: &[&str], caller: &Caller) -> Check {
    let with = |state: State| entries.iter().filter(move |entry| entry.state == state);
    let count = |state| with(state).count();
    let counts: Vec<_> = State::ALL
        .into_iter()
        .filter(|state| count(*state) > 0)
        .map(|state| format!("{} {}", count(state), state.name()))
        .collect();
    if counts.is_empty() {
        return Check::ok(RESOURCES, "there are none yet");
    }
    if !outside.is_empty() {
        return Check::warning(
            RESOURCES,
            format!("{}; no operator watches {}", counts.join(", "), outside.join(", ")),
            "add the namespaces to those that the operator watches (settings.watchNamespaces), or move the resources",
        );
    }
    let mut said = counts.join(", ");
    if count(State::Unseen) == entries.len() {
        let next = "no operator has seen any: see the checks above, and whether it watches these namespaces";
        return Check::failed(RESOURCES, said, next);
    }
    if count(State::Stalled) > 0 {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in with(State::Stalled) {
            *reasons
                .entry(entry.reason.as_deref().unwrap_or("no reason"))
                .or_default() += 1;
        }
        let reasons: Vec<_> = reasons
            .iter()
            .map(|(reason, count)| format!("{reason}: {count}"))
            .collect();
        said = format!("{said} ({})", reasons.join(", "));
    }
    if count(State::Stalled) + count(State::Unseen) > 0 {
        return Check::warning(RESOURCES, said, format!("run: {}", caller.line("status -A")));
    }
    Check::ok(RESOURCES, said)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{
            super::entry::tests::{caller, object, status},
            Verdict,
        },
        *,
    };

    #[test]
    fn the_resources_are_well_if_none_needs_a_person() {
        let entry = |status: &Value| Entry::of(KindName::BackendApi, &object("api", &json!({}), status), &caller());
        let ready = entry(&status(&[("Ready", "True", "Available")]));
        let stalled = entry(&status(&[
            ("Ready", "False", "Conflict"),
            ("Stalled", "True", "Conflict"),
        ]));
        let unseen = entry(&json!({}));
        let mut stored = status(&[("Ready", "True", "Suspended")]);
        stored["observedGeneration"] = json!(1);
        let edited = object("api", &json!({ "suspend": true }), &stored);
        let edited = Entry::of(KindName::BackendApi, &edited, &caller());
        for (entries, verdict, said) in [
            (vec![], Verdict::Ok, "none yet"),
            (vec![edited], Verdict::Ok, "1 Suspended"),
            (vec![ready.clone()], Verdict::Ok, "1 Ready"),
            (
                vec![ready.clone(), stalled],
                Verdict::Warning,
                "1 Ready, 1 Stalled (Conflict: 1)",
            ),
            (vec![ready, unseen.clone()], Verdict::Warning, "1 Ready, 1 Unseen"),
            (vec![unseen.clone(), unseen], Verdict::Failed, "2 Unseen"),
        ] {
            let check = counted(&entries, &[], &caller());
            assert_eq!((check.verdict, check.seen.contains(said)), (verdict, true), "{check:?}");
        }
    }

    #[test]
    fn resources_that_nobody_watches_are_never_well() {
        let ready = object("api", &json!({}), &status(&[("Ready", "True", "Available")]));
        let entries = [Entry::of(KindName::BackendApi, &ready, &caller())];
        let check = counted(&entries, &["shop"], &caller());
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(check.seen.ends_with("no operator watches shop"), "{check:?}");
    }

    #[test]
    fn a_kind_that_could_not_be_read_is_never_well() {
        let refused = |code: u16| {
            let status = json!({ "status": "Failure", "message": format!("no {code}"), "reason": "", "code": code });
            Error::Api(serde_json::from_value(status).unwrap())
        };
        let ready = || {
            Entry::of(
                KindName::BackendApi,
                &object("api", &json!({}), &status(&[("Ready", "True", "Available")])),
                &caller(),
            )
        };
        let judge = |codes: &[Option<u16>], places: Option<&str>| {
            let lists = codes.iter().zip(KindName::ALL).map(|(code, kind)| Listed {
                kind: *kind,
                entries: if code.is_none() { vec![ready()] } else { Vec::new() },
                places: places.map(|place| vec![place.to_owned()]),
                error: code.map(refused),
            });
            let checks = judged(lists.collect(), &[], &caller());
            let said = checks
                .iter()
                .map(|check| format!("{:?} {} {}", check.verdict, check.what, check.seen));
            said.collect::<Vec<_>>()
        };
        let four = |code| judge(&[Some(code); 4], None);
        let all = "AmplifyBackend, BackendApi, BackendStorage, BackendEnvironment";
        assert_eq!(
            four(404),
            [format!("Failed definitions the API server does not know {all}")]
        );
        assert_eq!(four(500), [format!("Failed resources {all}: no 500")]);
        assert_eq!(four(403), [format!("Skipped resources you may not list {all}: no 403")]);
        assert_eq!(judge(&[None; 4], None), ["Ok resources 4 Ready"]);
        assert_eq!(
            judge(&[Some(403), None, Some(401), Some(404)], Some("shop")),
            [
                "Failed definitions the API server does not know BackendEnvironment",
                "Skipped resources you may not list BackendStorage: no 401",
                "Skipped resources you may not list AmplifyBackend: no 403",
                "Ok resources 1 Ready; not all namespaces were asked: shop",
            ]
        );
    }
}
