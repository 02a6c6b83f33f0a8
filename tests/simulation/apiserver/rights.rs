//! The rights of clients: everything, except for withdrawn rights. Pure.

use super::{refusal::Refusal, request::Verb, resource::Resource};

/// Withdrawn rights. An absent part means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Withdrawn {
    pub(crate) who: Option<String>,
    pub(crate) namespace: Option<String>,
    /// The plural of the resource.
    pub(crate) resource: Option<String>,
    pub(crate) verbs: Option<Vec<Verb>>,
}

impl Withdrawn {
    /// Returns all rights of all clients in a namespace.
    pub(crate) fn of_namespace(namespace: &str) -> Self {
        Self {
            namespace: Some(namespace.to_owned()),
            ..Self::default()
        }
    }

    fn covers(&self, who: &str, verb: Verb, resource: &Resource, namespace: Option<&str>) -> bool {
        self.who.as_deref().is_none_or(|it| it == who)
            && self.namespace.as_deref().is_none_or(|it| Some(it) == namespace)
            && self.resource.as_deref().is_none_or(|it| it == resource.plural)
            && self.verbs.as_ref().is_none_or(|verbs| verbs.contains(&verb))
    }
}

/// All rights that are currently withdrawn.
#[derive(Debug, Default)]
pub(crate) struct Rights(Vec<Withdrawn>);

impl Rights {
    pub(crate) fn withdraw(&mut self, rights: Withdrawn) {
        if !self.0.contains(&rights) {
            self.0.push(rights);
        }
    }

    pub(crate) fn give_back(&mut self, rights: &Withdrawn) {
        self.0.retain(|it| it != rights);
    }

    pub(crate) fn check(
        &self,
        who: &str,
        verb: Verb,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(), Refusal> {
        if !self.0.iter().any(|it| it.covers(who, verb, resource, namespace)) {
            return Ok(());
        }
        let (qualified, verb) = (resource.qualified(), verb.name());
        let (plural, group) = (&resource.plural, &resource.group);
        let object = if name.is_empty() {
            qualified
        } else {
            format!("{qualified} \"{name}\"")
        };
        let place = namespace.map_or_else(
            || "at the cluster scope".to_owned(),
            |it| format!("in the namespace \"{it}\""),
        );
        Err(Refusal::forbidden(format!(
            "{object} is forbidden: User \"{who}\" cannot {verb} resource \"{plural}\" in API group \"{group}\" {place}"
        )))
    }
}
