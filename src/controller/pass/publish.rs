//! The outputs of a resource in a ConfigMap, for pods. May write only to a ConfigMap that the resource owns.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use super::{
    super::kubernetes::{self, Published},
    Pass,
};
use crate::{
    api::{
        Job, outputs,
        rules::is_object_name,
        text::{clean, shortened},
    },
    kinds::{Observation, Remote},
    telemetry::error::in_words,
};

/// How many bytes of a name are shown. An object's name has at most as many.
const SHOWN: usize = 253;
/// The limit of one attempt: its pass holds a place that others need.
const LIMIT: Duration = Duration::from_secs(10);
/// Kubernetes deletes what has lost its owner within about this time.
const LEAVING: Duration = Duration::from_secs(15);
/// How long a failure that may pass is left alone.
const PASSING: Duration = Duration::from_mins(1);

impl<K: Remote> Pass<'_, K> {
    /// Writes the outputs in the status to the ConfigMap that the spec names, if they have changed, or if this pass has looked at
    /// AWS. A failure is reported. What others must mend is tried again after the next look, and anything else after the time that
    /// this returns. A resource without outputs leaves its ConfigMap as it is.
    pub(super) async fn publish(&mut self) -> Option<Duration> {
        let is_deleted = self.object.meta().deletion_timestamp.is_some();
        let name = self
            .object
            .outputs_to()
            .filter(|_| !is_deleted)?
            .config_map_name
            .clone();
        let variables = outputs::variables(&self.object.stored()["outputs"]);
        let mut hasher = DefaultHasher::new();
        (&name, &variables).hash(&mut hasher);
        let digest = Some(hasher.finish());
        let has_looked = !matches!(self.found, Observation::NotMade);
        let (tried, due) = self.recall(|it| (it.published, it.publish_due));
        let is_new = tried != digest || has_looked;
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        let owner = self.object.controller_owner_ref(&())?;
        if variables.is_empty() || !self.context.leadership.holds() {
            return None;
        }
        if !is_new && left != Some(Duration::ZERO) {
            return left;
        }
        // This may take its time, and asks AWS for nothing.
        self.permit = None;
        let (again, why) = if is_object_name(&name) {
            let namespace = &self.key.namespace;
            let publishing = kubernetes::publish(&self.context.client, namespace, &name, owner, &variables);
            outcome(tokio::time::timeout(LIMIT, publishing).await)
        } else {
            (
                None,
                Some("no object can have that name: correct spec.outputsTo".to_owned()),
            )
        };
        self.recall(|it| {
            it.published = digest;
            it.publish_due = again.map(|after| Instant::now() + after);
        });
        if let Some(why) = why.filter(|_| is_new && self.recall(|it| it.ration.take(Instant::now()))) {
            let then = if again.is_some() {
                "in a while"
            } else {
                "after its next look"
            };
            // A cluster whose definitions are open takes any text as a name.
            let name = shortened(&clean(&name), SHOWN).into_owned();
            let message =
                format!("the outputs cannot be written to ConfigMap {name}: {why}. The operator tries again {then}");
            warn!("{message}");
            self.context
                .events
                .outputs_not_written(self.object.object_ref(&()), &message);
        }
        // While a job runs, each poll is a pass.
        let is_running = self
            .object
            .ledger()
            .and_then(|ledger| ledger.job.as_ref())
            .is_some_and(Job::is_running);
        again.filter(|_| !is_running)
    }
}

/// When the next attempt is due, if not after the next look, and what is to be said.
fn outcome(
    published: Result<kube::Result<Published>, tokio::time::error::Elapsed>,
) -> (Option<Duration>, Option<String>) {
    match published {
        Ok(Ok(Published::Done)) => (None, None),
        Ok(Ok(Published::Foreign)) => (
            None,
            Some(
                "it exists, and the operator did not create it for this resource: set another name in spec.outputsTo"
                    .to_owned(),
            ),
        ),
        Ok(Ok(Published::Leaving)) => (Some(LEAVING), None),
        Ok(Err(error)) => {
            let refusal = match &error {
                kube::Error::Api(status) => Some(status),
                _ => None,
            };
            let why = in_words(&error);
            if refusal.is_some_and(|status| status.is_forbidden()) {
                let allows = "the chart value outputs.namespaces allows the operator to create and change ConfigMaps in a namespace";
                return (None, Some(format!("{why}; {allows}")));
            }
            let may_pass = !refusal.is_some_and(|status| status.is_invalid());
            (may_pass.then_some(PASSING), Some(why))
        }
        Err(_) => (
            Some(PASSING),
            Some("the API server has not answered within 10 s".to_owned()),
        ),
    }
}
