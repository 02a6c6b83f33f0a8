//! The tree of `status`: a backend, and below it its clones, its API and its storage. Pure: arranges and writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anstyle::{AnsiColor, Style};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::entry::{Entry, LastJob, State, ago};
use crate::api::KindName;

/// How many resources are below each other at most.
const DEEPEST: usize = 12;

/// A resource with those that are below it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    #[serde(flatten)]
    pub(super) entry: Entry,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) children: Vec<Self>,
    /// What is below it too, and is a tree of its own because this one is deep: as `KIND/NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) apart: Vec<String>,
}

/// Returns the resources as trees, sorted by namespace, kind and name.
pub(super) fn arrange(mut entries: Vec<Entry>) -> Vec<Node> {
    let rank = |entry: &Entry| KindName::ALL.iter().position(|kind| kind.name() == entry.kind);
    entries.sort_by(|a, b| (&a.namespace, rank(a), &a.name).cmp(&(&b.namespace, rank(b), &b.name)));
    let mut parents = parents(&entries);
    let mut apart: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (child, parent) in shorten(&mut parents) {
        apart.entry(parent).or_default().push(entries[child].reference());
    }
    let mut below: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (child, parent) in parents.iter().enumerate() {
        below.entry(*parent).or_default().push(child);
    }
    let mut entries: Vec<_> = entries.into_iter().map(Some).collect();
    nodes(None, &below, &mut apart, &mut entries)
}

/// Returns for each resource the place of the backend that it belongs to.
fn parents(entries: &[Entry]) -> Vec<Option<usize>> {
    let is_backend = |entry: &Entry| entry.kind == KindName::AmplifyBackend.name();
    let backends = || entries.iter().enumerate().filter(|(_, entry)| is_backend(entry));
    let by_name: BTreeMap<_, _> = backends()
        .map(|(place, entry)| ((&entry.namespace, &entry.name), place))
        .collect();
    let by_place: BTreeMap<_, _> = backends()
        .filter_map(|(place, entry)| Some(((&entry.namespace, entry.place()?), place)))
        .collect();
    let parent = |entry: &Entry| {
        if let Some(name) = &entry.refers_to {
            return by_name.get(&(&entry.namespace, name)).copied();
        }
        // A record stands for a whole environment, as a backend does.
        let is_inside = !is_backend(entry) && entry.kind != KindName::BackendEnvironment.name();
        let found = by_place.get(&(&entry.namespace, entry.place()?)).copied();
        found.filter(|_| is_inside)
    };
    entries.iter().map(parent).collect()
}

/// Makes roots of what would be too deep in a tree, and of one in each circle: nothing stops people from making long
/// chains of clones, or two backends that name each other as their source. Returns each that was too deep, with its parent.
fn shorten(parents: &mut [Option<usize>]) -> Vec<(usize, usize)> {
    let mut cut = Vec::new();
    let mut depths: Vec<Option<usize>> = vec![None; parents.len()];
    for start in 0..parents.len() {
        let (mut path, mut on_path) = (Vec::new(), BTreeSet::new());
        let mut at = Some(start);
        while let Some(place) = at.filter(|place| depths[*place].is_none()) {
            if !on_path.insert(place) {
                parents[place] = None;
                break;
            }
            path.push(place);
            at = parents[place];
        }
        for place in path.into_iter().rev() {
            let above = parents[place].and_then(|parent| depths[parent]);
            let depth = above.map_or(0, |above| above + 1);
            if depth >= DEEPEST {
                cut.extend(parents[place].take().map(|parent| (place, parent)));
            }
            depths[place] = Some(depth % DEEPEST);
        }
    }
    cut
}

fn nodes(
    parent: Option<usize>,
    below: &BTreeMap<Option<usize>, Vec<usize>>,
    apart: &mut BTreeMap<usize, Vec<String>>,
    entries: &mut [Option<Entry>],
) -> Vec<Node> {
    let mut all = Vec::new();
    for place in below.get(&parent).into_iter().flatten() {
        if let Some(entry) = entries[*place].take() {
            let children = nodes(Some(*place), below, apart, entries);
            let apart = apart.remove(place).unwrap_or_default();
            all.push(Node { entry, children, apart });
        }
    }
    all
}

/// Returns the trees of what is wanted, with what is below it, also where that is a tree of its own.
pub(super) fn chosen(roots: Vec<Node>, is_wanted: impl Fn(&Entry) -> bool) -> Vec<Node> {
    let mut continued = BTreeSet::new();
    loop {
        let before = continued.len();
        for root in &roots {
            continue_in(root, false, &is_wanted, &mut continued);
        }
        if continued.len() == before {
            break;
        }
    }
    let mut found = Vec::new();
    let is_wanted = |entry: &Entry| is_wanted(entry) || continued.contains(&place_of(entry));
    choose(roots, &is_wanted, &mut found);
    found
}

fn place_of(entry: &Entry) -> (String, String) {
    (entry.namespace.clone(), entry.reference())
}

/// Collects what the wanted part of a tree continues in.
fn continue_in(
    node: &Node,
    is_inside: bool,
    is_wanted: &impl Fn(&Entry) -> bool,
    continued: &mut BTreeSet<(String, String)>,
) {
    let is_inside = is_inside || is_wanted(&node.entry) || continued.contains(&place_of(&node.entry));
    if is_inside {
        let namespace = &node.entry.namespace;
        continued.extend(node.apart.iter().map(|apart| (namespace.clone(), apart.clone())));
    }
    for child in &node.children {
        continue_in(child, is_inside, is_wanted, continued);
    }
}

fn choose(nodes: Vec<Node>, is_wanted: &impl Fn(&Entry) -> bool, found: &mut Vec<Node>) {
    for node in nodes {
        if is_wanted(&node.entry) {
            found.push(node);
        } else {
            choose(node.children, is_wanted, found);
        }
    }
}

/// Returns the trees as text. Colours are ANSI sequences, which the stream removes where no terminal reads them.
pub(super) fn text(roots: &[Node], now: Timestamp) -> String {
    let mut page = String::new();
    let mut namespace = None;
    for (place, root) in roots.iter().enumerate() {
        if namespace != Some(&root.entry.namespace) {
            if namespace.is_some() {
                page.push('\n');
            }
            namespace = Some(&root.entry.namespace);
            let bold = Style::new().bold();
            let _ = writeln!(page, "{bold}{}{bold:#}", root.entry.namespace);
        }
        let is_last = roots
            .get(place + 1)
            .is_none_or(|next| next.entry.namespace != root.entry.namespace);
        node(&mut page, root, "", is_last, None, now);
    }
    page
}

fn node(page: &mut String, node: &Node, indent: &str, is_last: bool, above: Option<&str>, now: Timestamp) {
    let entry = &node.entry;
    let (branch, rest) = if is_last {
        ("└─ ", "   ")
    } else {
        ("├─ ", "│  ")
    };
    let _ = writeln!(page, "{indent}{branch}{}", head(entry, now));
    let indent = format!("{indent}{rest}");
    let below = if node.children.is_empty() { "   " } else { "│  " };
    for (name, line) in details(entry, above, now) {
        let dim = Style::new().dimmed();
        let _ = writeln!(page, "{indent}{below}{dim}{name:<8}{dim:#} {line}");
    }
    if !node.apart.is_empty() {
        let (dim, apart) = (Style::new().dimmed(), node.apart.join(", "));
        let _ = writeln!(
            page,
            "{indent}{below}{dim}below   {dim:#} {apart}, shown as a tree of its own"
        );
    }
    let last = node.children.len().saturating_sub(1);
    for (place, child) in node.children.iter().enumerate() {
        let above = entry.console_url.as_deref().or(above);
        self::node(page, child, &indent, place == last, above, now);
    }
}

fn colour(state: State) -> Style {
    let colour = match state {
        State::Ready => AnsiColor::Green,
        State::Reconciling => AnsiColor::Cyan,
        State::Stalled => AnsiColor::Red,
        State::Suspended | State::Unseen => AnsiColor::Yellow,
    };
    Style::new().fg_color(Some(colour.into()))
}

/// Returns the first line of a resource.
fn head(entry: &Entry, now: Timestamp) -> String {
    let style = colour(entry.state);
    let mut line = format!("{}  {style}{}{style:#}", entry.reference(), entry.state.name());
    if let Some(reason) = entry.reason.as_deref().filter(|reason| *reason != entry.state.name()) {
        let _ = write!(line, " ({reason})");
    }
    if entry.deleting {
        line += ", being deleted";
    }
    let place = [entry.app_id.as_deref(), entry.environment.as_deref()];
    let place: Vec<_> = place.into_iter().flatten().collect();
    if !place.is_empty() {
        let _ = write!(line, "  {}", place.join("/"));
    }
    if let Some(region) = &entry.region {
        let _ = write!(line, "  {region}");
    }
    if entry.observes {
        line += ", observed";
    }
    if let Some(created) = entry.created {
        let _ = write!(line, "  {}", ago(now.duration_since(created)));
    }
    line
}

/// Returns the other lines of a resource. The console's page is left out where the resource above has the same.
fn details(entry: &Entry, above: Option<&str>, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if entry.state != State::Ready
        && let Some(message) = entry.message.as_ref().filter(|message| !message.is_empty())
    {
        lines.push(("message", message.clone()));
    }
    lines.extend(lock_line(entry, now).map(|line| ("locked", line)));
    if let Some(job) = &entry.job {
        lines.push(("job", job_line(job, now)));
        // The message of a stalled resource has it already.
        if let Some(error) = job.error.as_ref().filter(|_| entry.state == State::Reconciling) {
            lines.push(("error", error.clone()));
        }
    }
    for (place, (name, value)) in entry.outputs.iter().enumerate() {
        let heading = if place == 0 { "outputs" } else { "" };
        lines.push((heading, format!("{name}={value}")));
    }
    if let Some(url) = entry.console_url.as_deref().filter(|url| above != Some(url)) {
        lines.push(("console", url.to_owned()));
    }
    if let Some(next) = &entry.next_step {
        lines.push(("next", next.clone()));
    }
    lines
}

/// Returns what a Gen 2 migration means for writes. `None`: no migration has locked the environment.
fn lock_line(entry: &Entry, now: Timestamp) -> Option<String> {
    let seen = entry.migration_locked_at.map(|at| ago(now.duration_since(at)));
    match (entry.is_locked, seen) {
        (true, Some(seen)) => Some(format!("for a Gen 2 migration, seen {seen} ago: AWS gets no write")),
        (true, None) => Some("for a Gen 2 migration: AWS gets no write".to_owned()),
        // A deletion would be sent: nobody must read here that it is not.
        (false, Some(seen)) => Some(format!(
            "no longer; a Gen 2 migration had locked it, seen {seen} ago: if its object is gone, it is not created again; updates and deletes are sent"
        )),
        (false, None) => None,
    }
}

fn job_line(job: &LastJob, now: Timestamp) -> String {
    let since = |time: Timestamp| ago(SignedDuration::max(now.duration_since(time), SignedDuration::ZERO));
    let mut line = job.operation.to_owned();
    if let Some(status) = &job.status {
        let _ = write!(line, " {status}");
    }
    match job.finish_time {
        Some(end) => {
            let _ = write!(line, ", ended {} ago", since(end));
        }
        None if job.id.is_none() => {
            let _ = write!(
                line,
                ", sent {} ago, and its outcome is not known yet",
                since(job.request_time)
            );
        }
        None => {
            let _ = write!(line, ", begun {} ago", since(job.request_time));
        }
    }
    if let Some(id) = &job.id {
        let _ = write!(line, ", job {id}");
    }
    line
}

/// Returns one line that counts the states.
pub(super) fn summary(entries: &[Entry]) -> String {
    let count = |state: State| entries.iter().filter(|entry| entry.state == state).count();
    let counts: Vec<_> = State::ALL
        .into_iter()
        .map(|state| (count(state), state.name()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    counts.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::entry::tests::{caller, object, status},
        *,
    };

    fn entry(kind: KindName, name: &str, spec: &Value) -> Entry {
        let status = status(&[("Ready", "True", "Available")]);
        Entry::of(kind, &object(name, spec, &status), &caller())
    }

    fn backend(name: &str, environment: &str) -> Entry {
        let spec = json!({ "appId": "d1", "backendEnvironmentName": environment, "region": "eu-west-1" });
        entry(KindName::AmplifyBackend, name, &spec)
    }

    fn shape(nodes: &[Node]) -> String {
        let shown = nodes.iter().map(|node| {
            let below = shape(&node.children);
            let below = if below.is_empty() { below } else { format!("({below})") };
            format!("{}{below}", node.entry.name)
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_backend_has_its_clones_its_api_and_its_storage_below_it() {
        let pair = json!({ "appId": "d1", "backendEnvironmentName": "staging", "region": "eu-west-1" });
        let elsewhere = json!({ "appId": "d1", "backendEnvironmentName": "other", "region": "eu-west-1" });
        let record = json!({ "appId": "d1", "environmentName": "staging", "region": "eu-west-1" });
        let clone = |of: &str| json!({ "appId": "d1", "cloneFrom": { "backendRef": { "name": of } } });
        let entries = vec![
            entry(KindName::BackendEnvironment, "record", &record),
            entry(
                KindName::BackendApi,
                "api",
                &json!({ "backendRef": { "name": "staging" } }),
            ),
            entry(KindName::BackendStorage, "by-key", &pair),
            entry(KindName::BackendApi, "alone", &elsewhere),
            entry(
                KindName::BackendApi,
                "lost",
                &json!({ "backendRef": { "name": "gone" } }),
            ),
            entry(KindName::AmplifyBackend, "preview", &clone("staging")),
            entry(
                KindName::BackendApi,
                "of-preview",
                &json!({ "backendRef": { "name": "preview" } }),
            ),
            backend("staging", "staging"),
        ];
        assert_eq!(
            shape(&arrange(entries)),
            "staging(preview(of-preview) api by-key) alone lost record"
        );
    }

    #[test]
    fn backends_that_name_each_other_are_shown_all_the_same() {
        let clone = |name: &str, of: &str| {
            let spec = json!({ "cloneFrom": { "backendRef": { "name": of } } });
            entry(KindName::AmplifyBackend, name, &spec)
        };
        assert_eq!(shape(&arrange(vec![clone("a", "b"), clone("b", "a")])), "a(b)");
        assert_eq!(shape(&arrange(vec![clone("a", "a")])), "a");
        assert_eq!(
            shape(&arrange(vec![clone("c", "a"), clone("a", "b"), clone("b", "a")])),
            "a(b c)"
        );
    }

    #[test]
    fn a_long_chain_of_clones_is_shown_in_pieces() {
        let one = |number: usize| {
            let source = format!("b{}", number.saturating_sub(1));
            let spec = if number == 0 {
                json!({})
            } else {
                json!({ "cloneFrom": { "backendRef": { "name": source } } })
            };
            entry(KindName::AmplifyBackend, &format!("b{number}"), &spec)
        };
        let chain = || (0..5000).map(one).collect();
        let trees = arrange(chain());
        let count = |node: &Node| {
            let (mut count, mut level) = (0, vec![node]);
            while let Some(node) = level.pop() {
                count += 1;
                level.extend(&node.children);
            }
            count
        };
        assert_eq!(trees.iter().map(count).sum::<usize>(), 5000);
        assert!(trees.iter().all(|tree| count(tree) <= DEEPEST), "{} trees", trees.len());
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        let said = text(&trees[..1], now);
        assert!(
            said.contains("AmplifyBackend/b12, shown as a tree of its own"),
            "{said}"
        );
        let below = |name: &'static str| {
            let trees = chosen(arrange(chain()), |entry| entry.name == name);
            (trees.len(), trees.iter().map(count).sum::<usize>())
        };
        assert_eq!(below("b0").1, 5000, "of all that is below it nothing is left out");
        assert_eq!(below("b4990").1, 10);
        assert_eq!(below("b4999"), (1, 1));
        let both = chosen(arrange(chain()), |entry| ["b1", "b20"].contains(&entry.name.as_str()));
        assert_eq!(both.iter().map(count).sum::<usize>(), 4999, "each once");
    }

    #[test]
    fn the_text_says_what_each_is_about_and_what_to_do() {
        let spec = json!({ "appId": "d1a2b3c4d5e6f7", "backendEnvironmentName": "staging" });
        let mut stored = status(&[("Ready", "True", "Available")]);
        stored["region"] = json!("eu-west-1");
        stored["outputs"] = json!({ "stackName": "amplify-x", "userPoolId": "eu-west-1_a" });
        stored["job"] = json!({
            "operation": "CreateBackend", "generation": 1, "attempt": 1, "requestTime": "2026-11-22T10:00:00Z",
            "id": "0f3c", "status": "COMPLETED", "finishTime": "2026-11-22T10:06:10Z",
        });
        let staging = Entry::of(KindName::AmplifyBackend, &object("staging", &spec, &stored), &caller());
        let mut stored = status(&[("Ready", "False", "JobFailed"), ("Stalled", "True", "JobFailed")]);
        stored["region"] = json!("eu-west-1");
        stored["appId"] = json!("d1a2b3c4d5e6f7");
        stored["backendEnvironmentName"] = json!("staging");
        let spec = json!({ "backendRef": { "name": "staging" } });
        let api = Entry::of(KindName::BackendApi, &object("storefront", &spec, &stored), &caller());
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        let text = text(&arrange(vec![api, staging]), now);
        let plain = anstream::adapter::strip_str(&text).to_string();
        let wanted = "\
shop
└─ AmplifyBackend/staging  Ready (Available)  d1a2b3c4d5e6f7/staging  eu-west-1  3d
   │  job      CreateBackend COMPLETED, ended 23h ago, job 0f3c
   │  outputs  stackName=amplify-x
   │           userPoolId=eu-west-1_a
   │  console  https://eu-west-1.console.aws.amazon.com/amplify/home?region=eu-west-1#/d1a2b3c4d5e6f7/YmFja2VuZA/staging
   └─ BackendApi/storefront  Stalled (JobFailed)  d1a2b3c4d5e6f7/staging  eu-west-1  3d
         message  about JobFailed
         next     do what the message says; where it asks for no edit, then run: amplify-operator reconcile BackendApi/storefront -n shop
";
        assert_eq!(plain, wanted);
        assert!(text.contains("\u{1b}[32mReady"), "{text:?}");
    }

    #[test]
    fn only_while_the_lock_is_seen_it_is_said_that_aws_gets_no_write() {
        let now = "2026-11-22T13:00:00Z".parse().unwrap();
        let ready = ("Ready", "True", "Available");
        let locked = |status| ("MigrationLocked", status, "MigrationLocked");
        let since = Some("2026-11-22T10:00:00Z");
        for (conditions, since, is_locked, wanted) in [
            (&[ready][..], None, false, None),
            (
                &[ready, locked("True")],
                since,
                true,
                Some("for a Gen 2 migration, seen 3h ago: AWS gets no write"),
            ),
            (
                &[ready, locked("True")],
                None,
                true,
                Some("for a Gen 2 migration: AWS gets no write"),
            ),
            (
                &[ready],
                since,
                false,
                Some(
                    "no longer; a Gen 2 migration had locked it, seen 3h ago: if its object is gone, it is not created again; updates and deletes are sent",
                ),
            ),
            (
                &[ready, locked("False")],
                since,
                false,
                Some(
                    "no longer; a Gen 2 migration had locked it, seen 3h ago: if its object is gone, it is not created again; updates and deletes are sent",
                ),
            ),
        ] {
            let mut stored = status(conditions);
            stored["migrationLockedAt"] = json!(since);
            let entry = Entry::of(
                KindName::AmplifyBackend,
                &object("staging", &json!({}), &stored),
                &caller(),
            );
            let mut lines = details(&entry, None, now).into_iter();
            let line = lines.find(|(heading, _)| *heading == "locked").map(|(_, line)| line);
            assert_eq!(line.as_deref(), wanted, "{stored}");
            let shown = serde_json::to_value(&entry).unwrap();
            assert_eq!(shown["migrationLocked"], is_locked, "{stored}");
            assert_eq!(shown["migrationLockedAt"].as_str(), since, "{stored}");
        }
    }

    #[test]
    fn the_last_line_counts_the_states_that_occur() {
        let unseen = Entry::of(
            KindName::BackendApi,
            &object("api", &json!({}), &Value::Null),
            &caller(),
        );
        assert_eq!(
            summary(&[backend("a", "a"), backend("b", "b"), unseen]),
            "2 Ready, 1 Unseen"
        );
        assert_eq!(summary(&[]), "");
    }
}
