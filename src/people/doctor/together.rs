//! Whether several operators of a cluster keep out of each other's way. Pure.

use std::sync::Arc;

use super::{
    Check,
    checks::LEADER,
    installation::{Election, Installation, Watched},
};

/// What two operators do to each other.
#[derive(Debug, Eq, PartialEq)]
enum Pair {
    /// Nothing.
    Apart,
    /// Something that a person has to correct.
    Wrong(String),
    /// It depends on settings that are not known here.
    Unknown,
}

/// Checks that no namespace has two operators at a time. Of one operator there is nothing to say.
pub(super) fn check(installations: &[Arc<Installation>]) -> Vec<Check> {
    let running: Vec<_> = installations.iter().filter(|one| !one.is_stopped).collect();
    if running.len() < 2 {
        return Vec::new();
    }
    let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
    for (place, first) in running.iter().enumerate() {
        for second in running.iter().skip(place + 1) {
            match pair(first, second) {
                Pair::Apart => {}
                Pair::Wrong(why) => wrong.push(why),
                Pair::Unknown => unknown.push(format!("{} and {}", first.name(), second.name())),
            }
        }
    }
    let mut checks = Vec::new();
    if !wrong.is_empty() {
        checks.push(Check::failed(
            LEADER,
            wrong.join("; "),
            "give each namespaces of its own (settings.watchNamespaces), or remove one; one that nobody knows may be somebody's imitation: --namespace checks only yours",
        ));
    }
    if !unknown.is_empty() {
        let said = format!(
            "whether these are in each other's way depends on settings that are not seen here: {}",
            unknown.join("; ")
        );
        checks.push(Check::skipped(LEADER, said));
    }
    if checks.is_empty() {
        let said = format!("the {} Deployments are not in each other's way", running.len());
        checks.push(Check::ok(LEADER, said));
    }
    checks
}

fn pair(first: &Installation, second: &Installation) -> Pair {
    let names = format!("{} and {}", first.name(), second.name());
    let is_known = first.watched != Watched::Unknown && second.watched != Watched::Unknown;
    match share_lease(first, second) {
        Some(true) if !is_known => Pair::Unknown,
        // They are one operator in two Deployments.
        Some(true) if first.watched == second.watched => Pair::Apart,
        Some(true) => {
            let (namespace, name) = first.lease.clone().unwrap_or_default();
            Pair::Wrong(format!(
                "{names} have one Lease {namespace}/{name} and watch different namespaces: only one of the two works"
            ))
        }
        Some(false) => match common(&first.watched, &second.watched) {
            Some(common) if common.is_empty() => Pair::Apart,
            Some(common) => Pair::Wrong(format!("{names} both work in {common}")),
            None => Pair::Unknown,
        },
        None => Pair::Unknown,
    }
}

/// Whether two operators elect one leader. `None`: not known.
fn share_lease(first: &Installation, second: &Installation) -> Option<bool> {
    match (first.election, second.election) {
        (Election::None | Election::Missing, _) | (_, Election::None | Election::Missing) => Some(false),
        (Election::Held, Election::Held) => Some(first.lease.as_ref()? == second.lease.as_ref()?),
        (Election::Unknown, _) | (_, Election::Unknown) => None,
    }
}

/// Returns the namespaces that both watch, in words; empty if there are none. `None`: not known.
fn common(first: &Watched, second: &Watched) -> Option<String> {
    match (first, second) {
        (Watched::All, Watched::All) => Some("all namespaces".to_owned()),
        (Watched::All, Watched::These(names)) | (Watched::These(names), Watched::All) => Some(names.join(", ")),
        (Watched::These(first), Watched::These(second)) => {
            let both: Vec<_> = first
                .iter()
                .filter(|name| second.contains(name))
                .map(String::as_str)
                .collect();
            Some(both.join(", "))
        }
        (Watched::Unknown, _) | (_, Watched::Unknown) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    fn operator(name: &str, watched: &[&str], election: Election) -> Installation {
        let names: Vec<_> = watched.iter().map(|name| (*name).to_owned()).collect();
        Installation {
            deployment: Some(("ops".to_owned(), name.to_owned())),
            watched: match watched {
                [] => Watched::All,
                ["?"] => Watched::Unknown,
                _ => Watched::These(names),
            },
            election,
            lease: Some(("ops".to_owned(), "amplify-operator".to_owned())),
            ..Installation::default()
        }
    }

    fn checked<const COUNT: usize>(installations: [Installation; COUNT]) -> Vec<Check> {
        check(&installations.map(Arc::new))
    }

    #[test]
    fn two_operators_are_well_only_if_no_namespace_has_both() {
        use Election::{Held, None, Unknown};
        for (first, second, wanted) in [
            ((&["a"][..], None), (&["b"][..], None), "Ok the 2 Deployments are not"),
            (
                (&[], None),
                (&[], None),
                "Failed ops/x and ops/y both work in all namespaces",
            ),
            (
                (&[], None),
                (&["a", "b"], None),
                "Failed ops/x and ops/y both work in a, b",
            ),
            (
                (&["a", "b"], None),
                (&["b", "c"], None),
                "Failed ops/x and ops/y both work in b",
            ),
            (
                (&[], Held),
                (&[], None),
                "Failed ops/x and ops/y both work in all namespaces",
            ),
            ((&[], Held), (&[], Held), "Ok the 2 Deployments are not"),
            (
                (&["a"], Held),
                (&["b"], Held),
                "Failed ops/x and ops/y have one Lease ops/amplify-operator",
            ),
            ((&["?"], None), (&["b"], None), "Skipped whether these"),
            ((&["?"], Held), (&["b"], Held), "Skipped whether these"),
            ((&["a"], Unknown), (&["b"], Held), "Skipped whether these"),
        ] {
            let checks = checked([operator("x", first.0, first.1), operator("y", second.0, second.1)]);
            assert_eq!(checks.len(), 1, "{checks:?}");
            let said = format!("{:?} {}", checks[0].verdict, checks[0].seen);
            assert!(said.starts_with(wanted), "{said}, and not {wanted}");
        }
    }

    #[test]
    fn two_leases_are_two_leaders() {
        let first = operator("x", &[], Election::Held);
        let mut second = operator("y", &[], Election::Held);
        second.lease = Some(("other".to_owned(), "amplify-operator".to_owned()));
        assert_eq!(checked([first, second])[0].verdict, Verdict::Failed);
    }

    #[test]
    fn two_releases_in_one_namespace_have_a_lease_each() {
        for (watched, verdict) in [((&[][..], &[][..]), Verdict::Failed), ((&["a"], &["b"]), Verdict::Ok)] {
            let first = operator("x", watched.0, Election::Held);
            let mut second = operator("y", watched.1, Election::Held);
            second.lease = Some(("ops".to_owned(), "y".to_owned()));
            assert_eq!(checked([first, second])[0].verdict, verdict, "{watched:?}");
        }
    }

    #[test]
    fn whether_a_lease_that_is_not_known_is_another_s_is_not_known() {
        let first = operator("x", &[], Election::Held);
        let mut second = operator("y", &[], Election::Held);
        second.lease = None;
        assert_eq!(checked([first, second])[0].verdict, Verdict::Skipped);
    }

    #[test]
    fn one_operator_and_one_that_is_stopped_are_not_compared() {
        let first = operator("x", &[], Election::None);
        let mut second = operator("y", &[], Election::None);
        second.is_stopped = true;
        assert_eq!(checked([first.clone(), second]), []);
        assert_eq!(checked([first]), []);
    }
}
