//! The rights that the operator needs, and whether it has them. May do: ask the API server about rights.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};

use super::{
    Check,
    checks::{MOST_NAMESPACES, is_denied},
    installation::{Election, Installation, Watched},
};
use crate::{
    api::{self, GROUP},
    people::{
        cluster::{Cluster, quoted},
        entry::Caller,
    },
    telemetry::error::in_words,
};

pub(super) const RIGHTS: &str = "rights";
/// How many questions are asked at a time.
const AT_A_TIME: usize = 16;

/// A right: some verbs on one resource.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Right {
    group: &'static str,
    resource: String,
    subresource: &'static str,
    /// The only object.
    name: String,
    verbs: &'static [&'static str],
}

impl Right {
    const fn to(group: &'static str, resource: String, verbs: &'static [&'static str]) -> Self {
        Self {
            group,
            resource,
            subresource: "",
            name: String::new(),
            verbs,
        }
    }

    fn shown(&self) -> String {
        let group = if self.group.is_empty() {
            String::new()
        } else {
            format!(".{}", self.group)
        };
        let sub = if self.subresource.is_empty() {
            String::new()
        } else {
            format!("/{}", self.subresource)
        };
        format!("{}{group}{sub}", self.resource)
    }
}

/// Returns what the operator does in each namespace that it watches.
fn in_namespaces() -> Vec<Right> {
    let mut all = Vec::new();
    for crd in api::crds() {
        let plural = crd.spec.names.plural;
        let status = Right {
            subresource: "status",
            ..Right::to(GROUP, plural.clone(), &["patch"])
        };
        all.push(Right::to(GROUP, plural, &["get", "list", "watch", "patch"]));
        all.push(status);
    }
    all.push(Right::to("", "configmaps".to_owned(), &["get"]));
    all.push(Right::to("events.k8s.io", "events".to_owned(), &["create", "patch"]));
    all
}

/// Returns what leader election does in the namespace of the Lease.
fn for_election(lease: &str) -> Vec<Right> {
    let group = "coordination.k8s.io";
    let one = Right {
        name: lease.to_owned(),
        ..Right::to(group, "leases".to_owned(), &["get", "update"])
    };
    vec![Right::to(group, "leases".to_owned(), &["create"]), one]
}

/// A question: may the operator do this, there? `None`: in all namespaces.
struct Question<'a> {
    namespace: Option<&'a str>,
    right: &'a Right,
    verb: &'static str,
}

/// Checks the rights of the operator's service account or, if this process is the operator's, of this process.
pub(super) async fn check(cluster: &Cluster, installation: &Installation) -> Vec<Check> {
    let work = in_namespaces();
    let lease = installation.lease.as_ref();
    let election = lease.map(|(namespace, name)| (namespace.as_str(), for_election(name)));
    let named: &[String] = match &installation.watched {
        Watched::These(names) => names,
        // Whoever has the rights in all namespaces has them in those that are not known.
        Watched::All | Watched::Unknown => &[],
    };
    let asked = named.iter().take(MOST_NAMESPACES).map(|name| Some(name.as_str()));
    let all = named.is_empty().then_some(None);
    let mut list: Vec<_> = asked.chain(all).flat_map(|place| questions(place, &work)).collect();
    if installation.election == Election::Held
        && let Some((namespace, rights)) = &election
    {
        list.extend(questions(Some(namespace), rights));
    }
    let user = installation.user();
    let mut checks = vec![answered(cluster, installation, user.as_deref(), &list).await];
    if named.len() > MOST_NAMESPACES {
        let said = format!(
            "{} of the {} namespaces that it watches are not asked about",
            named.len() - MOST_NAMESPACES,
            named.len()
        );
        checks.push(Check::skipped(RIGHTS, said));
    }
    checks
}

fn questions<'a>(namespace: Option<&'a str>, rights: &'a [Right]) -> impl Iterator<Item = Question<'a>> {
    rights.iter().flat_map(move |right| {
        right
            .verbs
            .iter()
            .copied()
            .map(move |verb| Question { namespace, right, verb })
    })
}

/// Asks the questions, and judges the answers.
async fn answered(cluster: &Cluster, installation: &Installation, user: Option<&str>, all: &[Question<'_>]) -> Check {
    let mut answers = stream::iter(all)
        .map(async |question| (question, is_allowed(&cluster.client, user, question).await))
        .buffered(AT_A_TIME);
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some((question, answer)) = answers.next().await {
        match answer {
            Ok(true) => {}
            Ok(false) => {
                let place = question
                    .namespace
                    .map_or_else(|| "all namespaces".to_owned(), |name| format!("the namespace {name}"));
                let right = format!("{} {}", question.verb, question.right.shown());
                missing.entry(place).or_default().push(right);
            }
            Err(error) => return not_asked(user, &error, &cluster.caller),
        }
    }
    let who = user.unwrap_or("this user");
    if missing.is_empty() {
        return Check::ok(
            RIGHTS,
            format!("{who} has all {} rights that the operator needs", all.len()),
        );
    }
    if installation.watched == Watched::Unknown {
        let said = format!(
            "{who} has not all rights in all namespaces, and which ones the operator watches is not known here"
        );
        return Check::skipped(RIGHTS, said);
    }
    let missing = missing
        .iter()
        .map(|(place, rights)| format!("in {place}: {}", rights.join(", ")));
    Check::failed(
        RIGHTS,
        format!("{who} may not, {}", missing.collect::<Vec<_>>().join("; ")),
        "install or upgrade the chart, or apply deploy/operator.yaml: both grant exactly what is needed",
    )
}

fn not_asked(user: Option<&str>, error: &kube::Error, caller: &Caller) -> Check {
    if !is_denied(error) {
        return Check::failed(RIGHTS, in_words(error), caller.check_access());
    }
    let how = user.map_or_else(String::new, |user| {
        let ask = caller.kubectl(&format!("auth can-i --list --as={}", quoted(user)));
        format!(". An administrator can ask: {ask}")
    });
    Check::skipped(RIGHTS, format!("you may not ask about them: {}{how}", in_words(error)))
}

/// Whether this user, or without one this process, has the right.
async fn is_allowed(client: &Client, user: Option<&str>, question: &Question<'_>) -> kube::Result<bool> {
    let Question { namespace, right, verb } = *question;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let attributes = Some(ResourceAttributes {
        group: Some(right.group.to_owned()),
        resource: Some(right.resource.clone()),
        subresource: text(right.subresource),
        name: text(&right.name),
        namespace: namespace.map(ToOwned::to_owned),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    });
    let params = PostParams::default();
    let status = if let Some(user) = user {
        let spec = SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            groups: Some(groups(user)),
            resource_attributes: attributes,
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview {
            spec,
            ..SubjectAccessReview::default()
        };
        Api::all(client.clone()).create(&params, &review).await?.status
    } else {
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: attributes,
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview {
            spec,
            ..SelfSubjectAccessReview::default()
        };
        Api::all(client.clone()).create(&params, &review).await?.status
    };
    Ok(status.is_some_and(|status| status.allowed))
}

/// Returns the groups that the API server gives a service account.
fn groups(user: &str) -> Vec<String> {
    let mut groups = vec!["system:authenticated".to_owned(), "system:serviceaccounts".to_owned()];
    if let Some((namespace, _)) = user
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
    {
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    groups
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::api::rbac::v1::ClusterRole;
    use serde_json::Value;

    use super::*;

    #[test]
    fn these_are_the_rights_that_the_manifests_grant() {
        let manifests: Vec<Value> = serde_saphyr::from_multiple(include_str!("../../../deploy/operator.yaml")).unwrap();
        let role = manifests
            .into_iter()
            .find(|one| one["kind"] == "ClusterRole" && one["metadata"]["name"] == "amplify-operator")
            .unwrap();
        let role: ClusterRole = serde_json::from_value(role).unwrap();
        let mut granted = BTreeSet::new();
        for rule in role.rules.unwrap() {
            for resource in rule.resources.unwrap() {
                for verb in &rule.verbs {
                    granted.insert(format!(
                        "{verb} {}/{resource}",
                        rule.api_groups.clone().unwrap().join("")
                    ));
                }
            }
        }
        let mut needed = BTreeSet::new();
        for right in in_namespaces() {
            for verb in right.verbs {
                let sub = if right.subresource.is_empty() {
                    String::new()
                } else {
                    format!("/{}", right.subresource)
                };
                needed.insert(format!("{verb} {}/{}{sub}", right.group, right.resource));
            }
        }
        assert_eq!(needed, granted);
    }

    #[test]
    fn a_service_account_is_in_the_groups_of_its_namespace() {
        assert_eq!(
            groups("system:serviceaccount:ops:amplify-operator"),
            [
                "system:authenticated",
                "system:serviceaccounts",
                "system:serviceaccounts:ops"
            ]
        );
    }
}
