//! The history of an operator, with the rights that it had.

use std::collections::BTreeSet;

use amplify_devcluster::audit::AuditEvent;
use anyhow::{Result, bail, ensure};
use k8s_openapi::api::rbac::v1::PolicyRule;

/// The history of an operator.
pub(crate) struct Operated {
    /// Its requests to the API server.
    pub(crate) requests: Vec<AuditEvent>,
    /// Its calls to AWS, as actions of a policy.
    pub(crate) actions: BTreeSet<String>,
    /// The rights of its ServiceAccount.
    pub(crate) granted: BTreeSet<Right>,
}

/// A right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    verb: String,
    group: String,
    /// The resource, with its subresource.
    resource: String,
    /// The namespace; empty: all.
    namespace: String,
    /// The object's name; empty: all.
    name: String,
}

impl Right {
    pub(crate) fn allows(&self, request: &AuditEvent) -> bool {
        let resource = if request.subresource.is_empty() {
            request.resource.clone()
        } else {
            format!("{}/{}", request.resource, request.subresource)
        };
        self.verb == request.verb
            && self.group == request.group
            && self.resource == resource
            && (self.namespace.is_empty() || self.namespace == request.namespace)
            && (self.name.is_empty() || self.name == request.name)
    }

    /// Returns all rights that the rules grant in the namespace, or everywhere.
    pub(crate) fn of(rules: Option<Vec<PolicyRule>>, namespace: &str) -> Result<Vec<Self>> {
        let mut rights = Vec::new();
        for rule in rules.unwrap_or_default() {
            ensure!(
                rule.non_resource_urls.is_none(),
                "this test does not know how to judge {rule:?}"
            );
            let names = rule.resource_names.clone().unwrap_or_else(|| vec![String::new()]);
            for verb in &rule.verbs {
                for group in rule.api_groups.iter().flatten() {
                    for resource in rule.resources.iter().flatten() {
                        if [verb, group, resource].into_iter().any(|name| name.contains('*')) {
                            bail!("a wildcard: {rule:?}");
                        }
                        rights.extend(names.iter().map(|name| Self {
                            verb: verb.clone(),
                            group: group.clone(),
                            resource: resource.clone(),
                            namespace: namespace.to_owned(),
                            name: name.clone(),
                        }));
                    }
                }
            }
        }
        Ok(rights)
    }
}
