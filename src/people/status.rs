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
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{
    cluster::{Cluster, refused},
    entry::{self, Entry},
    print,
    tree::{self, Node},
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
    let found = cluster.resources(namespace.as_deref()).await?;
    let entries: Vec<_> = found
        .iter()
        .map(|(kind, object)| Entry::of(*kind, object, &cluster.caller))
        .collect();
    print(&page(entries, &wanted, &settings, namespace.as_deref(), clock.now())?)?;
    Ok(ExitCode::SUCCESS)
}

/// The resources to show.
enum Wanted {
    All,
    /// Those of one kind, with what is below them.
    Kind(KindName),
    /// These, as `KIND/NAME`, with what is below them.
    Named(Vec<String>),
}

impl Wanted {
    fn has(&self, node: &Node) -> bool {
        match self {
            Self::All => true,
            Self::Kind(kind) => node.entry.kind == kind.name(),
            Self::Named(names) => names.contains(&node.entry.reference()),
        }
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
    let selected = cluster.selected(&selection).await?;
    let named = selected
        .iter()
        .map(|(kind, object)| Entry::of(*kind, object, &cluster.caller).reference());
    Ok(Wanted::Named(named.collect()))
}

/// Returns the output for these resources.
fn page(
    entries: Vec<Entry>,
    wanted: &Wanted,
    settings: &Status,
    namespace: Option<&str>,
    now: Timestamp,
) -> anyhow::Result<String> {
    let summary = tree::summary(&entries);
    let roots = chosen(tree::arrange(entries), wanted);
    Ok(match (settings.printed.output, wanted) {
        (Form::Json, _) if settings.watch => serde_json::to_string(&json!({ "resources": roots }))? + "\n",
        (Form::Json, _) => serde_json::to_string_pretty(&json!({ "resources": roots }))? + "\n",
        (Form::Text, Wanted::Named(names)) if roots.is_empty() => format!("gone: {}\n", names.join(", ")),
        (Form::Text, _) if roots.is_empty() => match namespace {
            Some(namespace) => format!("no resources in the namespace {namespace}; -A shows those of all namespaces\n"),
            None => "no resources: docs/first-backend.md shows how to write the first\n".to_owned(),
        },
        (Form::Text, Wanted::All) => format!("{}\n{summary}\n", tree::text(&roots, now)),
        (Form::Text, Wanted::Kind(_) | Wanted::Named(_)) => tree::text(&roots, now),
    })
}

/// Returns the trees below the wanted resources.
fn chosen(nodes: Vec<Node>, wanted: &Wanted) -> Vec<Node> {
    let mut found = Vec::new();
    for node in nodes {
        if wanted.has(&node) {
            found.push(node);
        } else {
            found.extend(chosen(node.children, wanted));
        }
    }
    found
}

/// Shows the tree whenever something changes, until nobody reads any more.
async fn watch(cluster: &Cluster, settings: &Status, wanted: &Wanted, clock: &Clock) -> anyhow::Result<()> {
    let namespace = cluster.namespace(&settings.scope);
    let streams = KindName::ALL.iter().map(|kind| {
        let api = cluster.api(*kind, namespace.as_deref());
        let events = watcher::watcher(api, watcher::Config::default()).default_backoff();
        events.map(|event| (*kind, event)).boxed()
    });
    let mut events = select_all(streams);
    let mut seen = Seen::default();
    let mut before = String::new();
    let is_terminal = io::stdout().is_terminal() && settings.printed.output == Form::Text;
    let in_place = is_terminal && env::var_os("TERM").is_some_and(|term| term != "dumb");
    let mut trouble: Option<(Timestamp, String)> = None;
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
            // Until all kinds have been listed, the tree would lack some.
            if seen.listed.len() < KindName::ALL.len() {
                continue;
            }
            let entries = seen.objects.iter();
            let entries = entries.map(|((kind, ..), object)| Entry::of(*kind, object, &cluster.caller));
            let mut page = page(entries.collect(), wanted, settings, namespace.as_deref(), clock.now())?;
            if let (Some((since, why)), Form::Text) = (&trouble, settings.printed.output) {
                let since = entry::ago(clock.now().duration_since(*since));
                page += "\nno news from the API server for ";
                page += &since;
                page += ": ";
                page += why;
                page.push('\n');
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
                seen.learn(kind, event);
                trouble = None;
            }
            // The watch goes on by itself after any other error.
            Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) if matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404)) =>
            {
                return Err(refused(kind, namespace.as_deref(), &error));
            }
            Err(error) => {
                trouble.get_or_insert_with(|| (clock.now(), clean(&in_words(&error))));
            }
        }
        if !is_soon {
            (due, is_soon) = (Instant::now() + QUIET, true);
        }
    }
}

/// What the watches have said.
#[derive(Default)]
struct Seen {
    objects: BTreeMap<Key, DynamicObject>,
    /// What the list of a kind that is under way has.
    listing: BTreeMap<KindName, BTreeSet<Key>>,
    /// The kinds that have been listed.
    listed: BTreeSet<KindName>,
}

impl Seen {
    fn learn(&mut self, kind: KindName, event: Event<DynamicObject>) {
        let key = |object: &DynamicObject| (kind, object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Event::Init => {
                self.listing.insert(kind, BTreeSet::new());
            }
            Event::InitApply(object) => {
                self.listing.entry(kind).or_default().insert(key(&object));
                self.objects.insert(key(&object), object);
            }
            Event::InitDone => {
                let there = self.listing.remove(&kind).unwrap_or_default();
                self.objects.retain(|key, _| key.0 != kind || there.contains(key));
                self.listed.insert(kind);
            }
            Event::Apply(object) => {
                self.objects.insert(key(&object), object);
            }
            Event::Delete(object) => {
                self.objects.remove(&key(&object));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::entry::tests::object, *};

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
            seen.learn(kind, event);
        }
        seen.learn(KindName::AmplifyBackend, Event::Apply(one("a")));
        seen.learn(kind, Event::Init);
        assert_eq!(
            seen.objects.len(),
            3,
            "what was known is shown until the list is complete"
        );
        seen.learn(kind, Event::InitApply(one("b")));
        seen.learn(kind, Event::InitDone);
        let names = seen.objects.keys().map(|key| format!("{}/{}", key.0.name(), key.2));
        assert_eq!(names.collect::<Vec<_>>(), ["AmplifyBackend/a", "BackendApi/b"]);
        seen.learn(kind, Event::Delete(one("b")));
        assert_eq!(seen.objects.len(), 1);
    }
}
