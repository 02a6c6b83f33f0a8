//! `status`: the tree of resources, once or whenever something changes.
//!
//! May do: list and watch resources, print. May not: change anything, use AWS.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use futures::{StreamExt as _, stream::select_all};
use jiff::Timestamp;
use kube::{
    ResourceExt as _,
    api::DynamicObject,
    runtime::watcher::{self, Event},
};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{
    cluster::{Cluster, refused},
    complain,
    entry::{self, Caller, Entry},
    print, tree,
};
use crate::{
    api::{KindName, text::clean},
    cli::people::{Form, Selection, Status},
    clock::Clock,
    telemetry::error::in_words,
};

/// How long changes are collected before the tree is shown again.
const QUIET: Duration = Duration::from_millis(300);
/// How often the tree is shown again at a terminal without a change, because it shows ages.
const AGES: Duration = Duration::from_secs(15);
/// Moves to the first line of a terminal and clears what is below. What has scrolled away stays.
const CLEAR: &[u8] = b"\x1b[H\x1b[J";

/// A resource by kind, namespace and name.
type Key = (KindName, String, String);

/// Shows the tree.
pub(super) async fn run(settings: Status) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&settings.access).await?;
    let wanted = wanted(&cluster, &settings).await?;
    let namespace = cluster.namespace(&settings.scope);
    let clock = Clock::of_machine();
    if settings.watch {
        watch(&cluster, &settings, &wanted, &clock).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let entry = |kind, object: &DynamicObject| Entry::of(kind, object, &cluster.caller);
    let kinds = wanted.kinds();
    let read = cluster.readable(&kinds, namespace.as_deref(), &entry).await.any()?;
    let not_shown: Vec<_> = read.refused.iter().map(ToString::to_string).collect();
    print(&page(
        read.found,
        &wanted,
        &settings,
        namespace.as_deref(),
        &not_shown,
        clock.now(),
    )?)?;
    for refused in &not_shown {
        complain(&format!("not shown: {refused}"));
    }
    Ok(ExitCode::from(u8::from(!not_shown.is_empty())))
}

/// The resources to show.
enum Wanted {
    All,
    /// Those of one kind, with what is below them.
    Kind(KindName),
    /// These, as `KIND/NAME`, with what is below them.
    Named(BTreeSet<KindName>, Vec<String>),
}

impl Wanted {
    fn has(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Kind(kind) => entry.kind == kind.name(),
            Self::Named(_, names) => names.contains(&entry.reference()),
        }
    }

    /// Returns the kinds that must be read: only a backend has others below it, and never a record.
    fn kinds(&self) -> Vec<KindName> {
        let named = match self {
            Self::All => return KindName::ALL.to_vec(),
            Self::Kind(kind) => &BTreeSet::from([*kind]),
            Self::Named(kinds, _) => kinds,
        };
        let is_below = |kind| kind != KindName::BackendEnvironment && named.contains(&KindName::AmplifyBackend);
        let kinds = KindName::ALL.iter().copied();
        kinds.filter(|kind| named.contains(kind) || is_below(*kind)).collect()
    }
}

/// Returns the resources that the arguments name. Those with a name exist.
async fn wanted(cluster: &Cluster, settings: &Status) -> anyhow::Result<Wanted> {
    match settings.resources.as_slice() {
        [] => return Ok(Wanted::All),
        [one] => {
            if let Some(kind) = entry::kind(one) {
                return Ok(Wanted::Kind(kind));
            }
        }
        _ => {}
    }
    let selection = Selection {
        resources: settings.resources.clone(),
        all: false,
        scope: settings.scope.clone(),
    };
    let read = |kind, object: &DynamicObject| (kind, Entry::of(kind, object, &cluster.caller).reference());
    let (kinds, names): (Vec<_>, _) = cluster.selected(&selection, &read).await?.found.into_iter().unzip();
    Ok(Wanted::Named(kinds.into_iter().collect(), names))
}

/// Returns the output for these resources. `not_shown` says why some kinds are not among them, or not as they are now.
fn page(
    entries: Vec<Entry>,
    wanted: &Wanted,
    settings: &Status,
    namespace: Option<&str>,
    not_shown: &[String],
    now: Timestamp,
) -> anyhow::Result<String> {
    let summary = tree::summary(&entries);
    let roots = tree::chosen(tree::arrange(entries), |entry| wanted.has(entry));
    let for_programs = || json!({ "resources": roots, "notShown": not_shown });
    Ok(match (settings.printed.output, wanted) {
        (Form::Json, _) if settings.watch => serde_json::to_string(&for_programs())? + "\n",
        (Form::Json, _) => serde_json::to_string_pretty(&for_programs())? + "\n",
        (Form::Text, Wanted::Named(_, names)) if roots.is_empty() => format!("gone: {}\n", names.join(", ")),
        // Of kinds that could not be read, it is not known that there are none.
        (Form::Text, _) if roots.is_empty() && !not_shown.is_empty() => String::new(),
        (Form::Text, Wanted::Kind(kind)) if roots.is_empty() => match namespace {
            Some(namespace) => format!(
                "no {} in the namespace {namespace}; -A looks in all namespaces\n",
                kind.name()
            ),
            None => format!("no {} in any namespace\n", kind.name()),
        },
        (Form::Text, _) if roots.is_empty() => match namespace {
            Some(namespace) => format!("no resources in the namespace {namespace}; -A shows those of all namespaces\n"),
            None => "no resources: docs/first-backend.md shows how to write the first\n".to_owned(),
        },
        (Form::Text, Wanted::All) => format!("{}\n{summary}\n", tree::text(&roots, now)),
        (Form::Text, Wanted::Kind(_) | Wanted::Named(..)) => tree::text(&roots, now),
    })
}

/// Shows the tree whenever something changes, until nobody reads any more.
#[expect(clippy::too_many_lines, reason = "one loop, with what it knows")]
async fn watch(cluster: &Cluster, settings: &Status, wanted: &Wanted, clock: &Clock) -> anyhow::Result<()> {
    let namespace = cluster.namespace(&settings.scope);
    let kinds = wanted.kinds();
    let streams = kinds.iter().map(|kind| {
        let events = cluster.follow(*kind, namespace.as_deref(), None);
        events.map(|event| (*kind, event)).boxed()
    });
    let mut events = select_all(streams);
    let mut seen = Seen::default();
    let mut before = String::new();
    let is_terminal = io::stdout().is_terminal() && settings.printed.output == Form::Text;
    let in_place = is_terminal && env::var_os("TERM").is_some_and(|term| term != "dumb");
    let mut troubles = Troubles::default();
    // When the tree is shown next. An event makes it soon; more events do not put it off.
    let idle = if in_place { AGES } else { Duration::from_hours(1) };
    let (mut due, mut is_soon) = (Instant::now() + idle, false);
    loop {
        let next = tokio::select! {
            biased;
            () = sleep_until(due) => None,
            next = events.next() => Some(next),
        };
        let Some(next) = next else {
            (due, is_soon) = (Instant::now() + idle, false);
            // Until all kinds have been listed, the tree would lack some. What cannot be listed is not waited for.
            let is_whole = kinds
                .iter()
                .all(|kind| seen.listed.contains(kind) || troubles.is_refused(*kind));
            let mut page = if is_whole {
                let entries = seen.entries.values().cloned();
                let in_trouble = kinds.iter();
                let not_shown: Vec<_> = in_trouble
                    .filter_map(|kind| troubles.not_shown(*kind, seen.listed.contains(kind)))
                    .collect();
                page(
                    entries.collect(),
                    wanted,
                    settings,
                    namespace.as_deref(),
                    &not_shown,
                    clock.now(),
                )?
            } else {
                String::new()
            };
            // Only where it is replaced can the age of a trouble be shown.
            if in_place {
                for line in troubles.lines(clock.now()) {
                    page += "\n";
                    page += &line;
                    page += "\n";
                }
            } else {
                for text in troubles.news() {
                    complain(&text);
                }
            }
            if page.is_empty() {
                continue;
            }
            if in_place {
                let mut out = io::stdout().lock();
                let _ = out.write_all(CLEAR);
            }
            if (in_place || page != before) && !print(&page)? {
                return Ok(());
            }
            before = page;
            continue;
        };
        let Some((kind, event)) = next else {
            bail!("the watch has ended");
        };
        match event {
            Ok(event) => {
                // The first is said before anything is asked.
                if !matches!(event, Event::Init) {
                    troubles.ends(kind);
                }
                seen.learn(kind, event, &cluster.caller);
            }
            Err(error) => {
                let refusal = refusal(&error)
                    .map(|(code, error)| (code, refused(kind, namespace.as_deref(), error, &cluster.caller)));
                let (text, is_refused) = match refusal {
                    // Who has no valid credentials gets nothing at all.
                    Some((401, error)) => return Err(error),
                    Some((_, error)) if kinds.iter().all(|one| *one == kind || troubles.is_refused(*one)) => {
                        return Err(error);
                    }
                    Some((_, error)) => (error.to_string(), true),
                    None => (format!("{}: {}", kind.name(), in_words(&error)), false),
                };
                troubles.begins(kind, clock.now(), clean(&text), is_refused);
            }
        }
        if !is_soon {
            (due, is_soon) = (Instant::now() + QUIET, true);
        }
    }
}

/// Returns the code and the error, if the API server refuses: only a person can end that.
fn refusal(error: &watcher::Error) -> Option<(u16, &kube::Error)> {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return None;
    };
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404) => Some((status.code, error)),
        _ => None,
    }
}

/// What keeps the watches from news, by kind: the others go on.
#[derive(Default)]
struct Troubles {
    present: BTreeMap<KindName, Trouble>,
    /// What has been told on stderr.
    told: BTreeMap<KindName, String>,
}

struct Trouble {
    since: Timestamp,
    text: String,
    /// Whether the API server refuses to show this kind.
    is_refused: bool,
}

impl Troubles {
    /// A trouble that lasts has begun with its first error.
    fn begins(&mut self, kind: KindName, now: Timestamp, text: String, is_refused: bool) {
        let since = self.present.get(&kind).map_or(now, |trouble| trouble.since);
        let trouble = Trouble {
            since,
            text,
            is_refused,
        };
        self.present.insert(kind, trouble);
    }

    fn ends(&mut self, kind: KindName) {
        self.present.remove(&kind);
    }

    fn is_refused(&self, kind: KindName) -> bool {
        self.present.get(&kind).is_some_and(|trouble| trouble.is_refused)
    }

    /// Returns why a kind is not shown as it is now. `None`: it is.
    fn not_shown(&self, kind: KindName, is_listed: bool) -> Option<String> {
        let Trouble { since, text, .. } = self.present.get(&kind)?;
        // Not an age: the same trouble must be the same text.
        Some(if is_listed {
            format!("{text}; its resources are shown as they were at {since:.0}")
        } else {
            text.clone()
        })
    }

    /// Returns a line for each present trouble.
    fn lines(&self, now: Timestamp) -> Vec<String> {
        let line = |trouble: &Trouble| {
            let since = entry::ago(now.duration_since(trouble.since));
            format!("no news from the API server for {since}: {}", trouble.text)
        };
        self.present.values().map(line).collect()
    }

    /// Returns what has begun or ended since the last call.
    fn news(&mut self) -> Vec<String> {
        let present = self.present.iter().map(|(kind, trouble)| (*kind, trouble.text.clone()));
        let present: BTreeMap<_, _> = present.collect();
        let mut news = Vec::new();
        for (kind, text) in &present {
            if !self.told.contains_key(kind) {
                news.push(format!("no news from the API server: {text}"));
            }
        }
        for kind in self.told.keys().filter(|kind| !present.contains_key(kind)) {
            news.push(format!("{}: there is news from the API server again", kind.name()));
        }
        self.told = present;
        news
    }
}

/// What the watches have said. No object is kept: one may be 1.5 MB large.
#[derive(Default)]
struct Seen {
    entries: BTreeMap<Key, Entry>,
    /// What the list of a kind that is under way has.
    listing: BTreeMap<KindName, BTreeSet<Key>>,
    /// The kinds that have been listed.
    listed: BTreeSet<KindName>,
}

impl Seen {
    fn learn(&mut self, kind: KindName, event: Event<DynamicObject>, caller: &Caller) {
        let entry = |object: &DynamicObject| Entry::of(kind, object, caller);
        let key = |object: &DynamicObject| (kind, object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Event::Init => {
                self.listing.insert(kind, BTreeSet::new());
            }
            Event::InitApply(object) => {
                self.listing.entry(kind).or_default().insert(key(&object));
                self.entries.insert(key(&object), entry(&object));
            }
            Event::InitDone => {
                let there = self.listing.remove(&kind).unwrap_or_default();
                self.entries.retain(|key, _| key.0 != kind || there.contains(key));
                self.listed.insert(kind);
            }
            Event::Apply(object) => {
                self.entries.insert(key(&object), entry(&object));
            }
            Event::Delete(object) => {
                self.entries.remove(&key(&object));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::entry::tests::{caller, object},
        *,
    };
    use crate::cli::people::{Access, Printed, Scope};

    #[test]
    fn only_the_kinds_that_the_question_needs_are_read() {
        let kinds = |wanted: Wanted| {
            let kinds = wanted.kinds();
            kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" ")
        };
        let named = |all: &[KindName]| Wanted::Named(all.iter().copied().collect(), Vec::new());
        let with_below = "AmplifyBackend BackendApi BackendStorage";
        assert_eq!(kinds(Wanted::All), format!("{with_below} BackendEnvironment"));
        assert_eq!(kinds(Wanted::Kind(KindName::AmplifyBackend)), with_below);
        assert_eq!(kinds(Wanted::Kind(KindName::BackendApi)), "BackendApi");
        assert_eq!(kinds(named(&[KindName::AmplifyBackend])), with_below);
        assert_eq!(
            kinds(named(&[KindName::BackendStorage, KindName::BackendEnvironment])),
            "BackendStorage BackendEnvironment"
        );
    }

    #[test]
    fn kinds_that_are_not_shown_are_named_to_programs_and_are_not_called_none() {
        let of = |output, not_shown: &[String]| {
            let settings = Status {
                resources: Vec::new(),
                scope: Scope::default(),
                watch: true,
                printed: Printed { output },
                access: Access::default(),
            };
            page(
                Vec::new(),
                &Wanted::All,
                &settings,
                None,
                not_shown,
                Timestamp::UNIX_EPOCH,
            )
            .unwrap()
        };
        let refused = ["BackendApi: forbidden".to_owned()];
        for (output, not_shown, wanted) in [
            (Form::Json, &[][..], "{\"notShown\":[],\"resources\":[]}\n"),
            (
                Form::Json,
                &refused[..],
                "{\"notShown\":[\"BackendApi: forbidden\"],\"resources\":[]}\n",
            ),
            (Form::Text, &refused[..], ""),
        ] {
            assert_eq!(of(output, not_shown), wanted);
        }
    }

    #[test]
    fn a_trouble_of_one_kind_lasts_until_that_kind_has_news() {
        let mut troubles = Troubles::default();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let (api, storage) = (KindName::BackendApi, KindName::BackendStorage);
        troubles.begins(api, at(0), "busy".to_owned(), false);
        troubles.begins(api, at(10), "no route".to_owned(), false);
        troubles.begins(storage, at(20), "forbidden".to_owned(), true);
        assert_eq!(
            troubles.lines(at(30)),
            [
                "no news from the API server for 30s: no route",
                "no news from the API server for 10s: forbidden"
            ]
        );
        assert!(troubles.is_refused(storage) && !troubles.is_refused(api));
        let not_shown = |kind, is_listed| troubles.not_shown(kind, is_listed);
        assert_eq!(
            not_shown(api, true).as_deref(),
            Some("no route; its resources are shown as they were at 1970-01-01T00:00:00Z")
        );
        assert_eq!(not_shown(storage, false).as_deref(), Some("forbidden"));
        assert_eq!(not_shown(KindName::AmplifyBackend, true), None);
        assert_eq!(
            troubles.news(),
            [
                "no news from the API server: no route",
                "no news from the API server: forbidden"
            ]
        );
        assert!(troubles.news().is_empty(), "each once");
        troubles.ends(api);
        assert_eq!(troubles.news(), ["BackendApi: there is news from the API server again"]);
        assert_eq!(troubles.lines(at(31)).len(), 1);
    }

    #[test]
    fn a_list_read_again_forgets_what_has_gone_meanwhile() {
        let mut seen = Seen::default();
        let one = |name| object(name, &json!({}), &json!({}));
        let kind = KindName::BackendApi;
        for event in [
            Event::Init,
            Event::InitApply(one("a")),
            Event::InitApply(one("b")),
            Event::InitDone,
        ] {
            seen.learn(kind, event, &caller());
        }
        seen.learn(KindName::AmplifyBackend, Event::Apply(one("a")), &caller());
        seen.learn(kind, Event::Init, &caller());
        assert_eq!(
            seen.entries.len(),
            3,
            "what was known is shown until the list is complete"
        );
        seen.learn(kind, Event::InitApply(one("b")), &caller());
        seen.learn(kind, Event::InitDone, &caller());
        let names = seen.entries.keys().map(|key| format!("{}/{}", key.0.name(), key.2));
        assert_eq!(names.collect::<Vec<_>>(), ["AmplifyBackend/a", "BackendApi/b"]);
        seen.learn(kind, Event::Delete(one("b")), &caller());
        assert_eq!(seen.entries.len(), 1);
    }
}
