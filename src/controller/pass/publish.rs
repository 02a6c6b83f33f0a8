//! The outputs of a resource in a ConfigMap, for pods. May write only to a ConfigMap that the resource owns.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tracing::warn;

use super::{super::kubernetes, Pass};
use crate::{
    api::outputs,
    kinds::{Observation, Remote},
};

impl<K: Remote> Pass<'_, K> {
    /// Writes the outputs in the status to the ConfigMap that the spec names, if they have changed, or if this pass has looked at
    /// AWS. A failure is reported, and tried again after the next look. A resource without outputs leaves its ConfigMap as it is.
    pub(super) async fn publish(&self) {
        let is_deleted = self.object.meta().deletion_timestamp.is_some();
        let Some(to) = self.object.outputs_to().filter(|_| !is_deleted) else {
            return;
        };
        let variables = outputs::variables(&self.object.stored()["outputs"]);
        let mut hasher = DefaultHasher::new();
        (&to.config_map_name, &variables).hash(&mut hasher);
        let digest = Some(hasher.finish());
        let has_looked = !matches!(self.found, Observation::NotMade);
        let is_published = self.recall(|it| it.published) == digest && !has_looked;
        let Some(owner) = self.object.controller_owner_ref(&()) else {
            return;
        };
        if is_published || variables.is_empty() || !self.context.leadership.holds() {
            return;
        }
        let name = &to.config_map_name;
        let published = kubernetes::publish(&self.context.client, &self.key.namespace, name, owner, &variables).await;
        let why = match published {
            Ok(true) => {
                self.recall(|it| it.published = digest);
                return;
            }
            Ok(false) => {
                "it exists, and this resource did not create it: set another name in spec.outputsTo".to_owned()
            }
            Err(error) => format!(
                "{error}; the chart value outputs.namespaces allows the operator to create and change ConfigMaps in a namespace"
            ),
        };
        let message = format!(
            "the outputs cannot be written to ConfigMap {name}: {why}. The operator tries again after its next look"
        );
        warn!("{message}");
        self.context
            .events
            .outputs_not_written(self.object.object_ref(&()), &message);
    }
}
