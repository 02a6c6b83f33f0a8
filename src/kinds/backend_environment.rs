//! `BackendEnvironment`: CreateBackendEnvironment, GetBackendEnvironment, DeleteBackendEnvironment. No jobs.

use std::collections::BTreeMap;

use aws_sdk_amplify::types;
use jiff::{SignedDuration, Timestamp};

use super::{Kind, Located, NO_REGION, Observation, Remote, Sight, config::Nothing, environment};
use crate::{
    amplify::{
        Accepted, AppId, Call, Client, EnvironmentName,
        answers::{absent_is_none, paged, same, unreadable},
        send,
    },
    api::{
        Abilities, BackendEnvironment, BackendEnvironmentStatus, KindName, Operation, Policies, Read,
        conditions::truncated, text,
    },
    controller::index::{Environment, Index, Location},
    lifecycle::{Seen, State, Words, facts::Failure},
};

const CREATE: Call = Call::write(Operation::CreateBackendEnvironment);
const DELETE: Call = Call::write(Operation::DeleteBackendEnvironment);
const GET: Call = Call::read(Read::GetBackendEnvironment);
const LIST: Call = Call::read(Read::ListBackendEnvironments);

/// The record of an environment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// AWS's ARN of the record.
    pub arn: String,
    /// The CloudFormation stack named in the record.
    pub stack_name: Option<String>,
    /// The deployment artifacts named in the record.
    pub deployment_artifacts: Option<String>,
    /// When AWS made the record, by AWS's clock.
    pub create_time: Timestamp,
    /// When AWS last changed the record, by AWS's clock.
    pub update_time: Timestamp,
}

impl Kind for BackendEnvironment {
    const NAME: KindName = KindName::BackendEnvironment;
    const IS_LISTED: bool = true;

    type Found = Record;
    type Config = Nothing;

    fn abilities(&self) -> Abilities {
        Abilities::of(Operation::CreateBackendEnvironment)
    }

    fn words(&self) -> Words {
        Words {
            there: "the environment's record exists; a record deploys nothing",
            ..Words::default()
        }
    }

    fn policies(&self) -> &Policies {
        &self.spec.policies
    }

    fn locate(&self, _: &str, _: &Index, default_region: Option<&str>) -> Located {
        let spec = &self.spec;
        let region = spec.region.clone().or_else(|| default_region.map(str::to_owned));
        let pinned = self.status.as_ref().and_then(|status| status.ledger.region.clone());
        let place = pinned.or_else(|| region.clone());
        let located = Located {
            invalid: region.is_none().then(|| NO_REGION.to_owned()),
            region,
            ..Located::default()
        };
        let Some(region) = place else {
            return located;
        };
        let named = environment(&region, &spec.app_id, &spec.environment_name).map(|environment| Location {
            environment,
            within: None,
            source: None,
        });
        located.locate(named)
    }

    fn show(&self, state: &State, _: Option<&Location>, found: Observation<&Record>) -> serde_json::Value {
        // A record that is gone, or that this resource does not own, is not shown.
        let before = self.status.clone().filter(|_| state.ledger.origin.is_some());
        let mut status = BackendEnvironmentStatus {
            ledger: state.ledger.clone(),
            ..before.unwrap_or_default()
        };
        if let Some(record) = found.object().filter(|_| state.ledger.origin.is_some()) {
            status.backend_environment_arn = Some(record.arn.clone());
            status.stack_name.clone_from(&record.stack_name);
            status.deployment_artifacts.clone_from(&record.deployment_artifacts);
            status.create_time = Some(record.create_time);
            status.update_time = Some(record.update_time);
        }
        serde_json::json!(status)
    }

    fn compare(&self, record: &Record, _: Option<&Nothing>) -> Seen {
        let mut seen = Seen {
            create_time: Some(record.create_time),
            ..Seen::default()
        };
        // A field that AWS does not return is unknown, not different.
        let differs =
            |wanted: &Option<String>, there: &Option<String>| wanted.is_some() && there.is_some() && wanted != there;
        if differs(&self.spec.stack_name, &record.stack_name) {
            seen.differs.push("stackName");
        }
        if differs(&self.spec.deployment_artifacts, &record.deployment_artifacts) {
            seen.differs.push("deploymentArtifacts");
        }
        seen
    }
}

impl Remote for BackendEnvironment {
    type List = BTreeMap<String, Record>;

    async fn look(&self, client: &Client, location: &Location) -> Result<Sight<Record>, Failure> {
        let sdk = client.usable()?;
        let Environment { app, name, .. } = location.environment.as_ref();
        let request = sdk.amplify_reads.get_backend_environment().app_id(app.as_str());
        let answer = send!(sdk.observer(), GET, request.environment_name(name.as_str()));
        let Some(output) = absent_is_none(answer)? else {
            return Ok(Sight::Absent);
        };
        recorded(GET, output.backend_environment, name).map(Sight::Shown)
    }

    async fn list(client: &Client, app: &AppId) -> Result<BTreeMap<String, Record>, Failure> {
        let sdk = client.usable()?;
        let pages = paged(LIST, |token| async move {
            let request = sdk.amplify_reads.list_backend_environments().app_id(app.as_str());
            let page = send!(sdk.observer(), LIST, request.max_results(50).set_next_token(token))?;
            Ok((page.backend_environments, page.next_token))
        });
        let environments = pages.await?.whole(LIST)?;
        let records = environments
            .into_iter()
            .map(|environment| record(environment).ok_or_else(|| unreadable(LIST, "a time is out of range")));
        records.collect()
    }

    fn in_list(list: &BTreeMap<String, Record>, environment: &EnvironmentName) -> Option<Record> {
        list.get(environment.as_str()).cloned()
    }

    async fn create(
        &self,
        client: &Client,
        location: &Location,
        _: Option<&Nothing>,
    ) -> Result<Accepted<Record>, Failure> {
        let sdk = client.usable()?;
        let Environment { app, name, .. } = location.environment.as_ref();
        let request = sdk.amplify_writes.create_backend_environment().app_id(app.as_str());
        let request = request
            .environment_name(name.as_str())
            .set_stack_name(self.spec.stack_name.clone())
            .set_deployment_artifacts(self.spec.deployment_artifacts.clone());
        let output = send!(sdk.observer(), CREATE, request)?;
        recorded(CREATE, output.backend_environment, name).map(Accepted::Done)
    }

    async fn delete(
        client: &Client,
        location: &Location,
        _: Option<&Record>,
    ) -> Result<Option<Accepted<Record>>, Failure> {
        let sdk = client.usable()?;
        let Environment { app, name, .. } = location.environment.as_ref();
        let request = sdk.amplify_writes.delete_backend_environment().app_id(app.as_str());
        let answer = send!(sdk.observer(), DELETE, request.environment_name(name.as_str()));
        let Some(output) = absent_is_none(answer)? else {
            return Ok(None);
        };
        recorded(DELETE, output.backend_environment, name).map(|record| Some(Accepted::Done(record)))
    }
}

fn recorded(
    call: Call,
    environment: Option<types::BackendEnvironment>,
    asked: &EnvironmentName,
) -> Result<Record, Failure> {
    let environment = environment.ok_or_else(|| unreadable(call, "the answer has no backendEnvironment"))?;
    let (name, record) = record(environment).ok_or_else(|| unreadable(call, "a time is out of range"))?;
    same(call, "environmentName", Some(&name), asked.as_str())?;
    Ok(record)
}

/// Longest text of a record that is kept, in bytes: longer than any value that a spec allows.
const TEXT_LIMIT: usize = 4096;

/// Returns the environment's name and the record, or `None` if a time is out of range. Texts are truncated: they go
/// into `status`.
fn record(from: types::BackendEnvironment) -> Option<(String, Record)> {
    let cut = |text: String| truncated(&text, TEXT_LIMIT).to_owned();
    let record = Record {
        arn: cut(text::clean(&from.backend_environment_arn)),
        stack_name: from.stack_name.map(cut),
        deployment_artifacts: from.deployment_artifacts.map(cut),
        create_time: timestamp(&from.create_time)?,
        update_time: timestamp(&from.update_time)?,
    };
    Some((cut(from.environment_name), record))
}

fn timestamp(time: &aws_smithy_types::DateTime) -> Option<Timestamp> {
    // AWS sends a fraction as a binary number. Digits below a millisecond are rounding errors.
    let millis = (f64::from(time.subsec_nanos()) / 1e6).round();
    Timestamp::from_second(time.secs())
        .ok()?
        .checked_add(SignedDuration::from_secs_f64(millis / 1e3))
        .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{Ledger, Origin};

    #[test]
    fn a_record_is_told_of_only_while_it_is_the_resources_own() {
        let resource: BackendEnvironment = serde_json::from_value(json!({
            "apiVersion": "amplify-operator.dev/v1alpha1", "kind": "BackendEnvironment",
            "metadata": { "name": "dev" }, "spec": { "appId": "d1a2", "environmentName": "dev" },
            "status": { "backendEnvironmentArn": "arn:former", "stackName": "former" },
        }))
        .unwrap();
        for (origin, arn) in [(None, None), (Some(Origin::Created), Some("arn:former"))] {
            let state = State {
                ledger: Ledger {
                    origin,
                    ..Ledger::default()
                },
                ..State::default()
            };
            let status = resource.show(&state, None, Observation::NotMade);
            assert_eq!(status["backendEnvironmentArn"].as_str(), arn);
            assert_eq!(status["stackName"].is_string(), arn.is_some());
        }
    }
}
