//! Walks: random edits, good, bad and refused, while jobs run and after. After any walk, the last spec leads to the
//! same state as it does on its own. A failure names a seed: `WALK_SEED` repeats that walk.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use amplify_operator::api::RECONCILE_REQUESTED_AT;
use amplify_simulator::{JobFault, JobScript, Match, Settings};
use fastrand::Rng;
use futures::{FutureExt as _, future::join_all};
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};

use amplify_testkit::stage::{APP, Kind, Setup, Stage, World, backend, environment, is_stalled, ready};

amplify_testkit::tests! {
    wherever_a_walk_of_edits_has_been_its_last_spec_leads_where_it_leads_by_itself,
}

/// The seeds that every run uses.
const WALKS: std::ops::Range<u64> = 0..36;
const STEPS: std::ops::Range<usize> = 3..8;
const SCHEMAS: &str = "schemas";
const MAP_OF_ANOTHER: &str = "not-there";

async fn wherever_a_walk_of_edits_has_been_its_last_spec_leads_where_it_leads_by_itself(world: Arc<World>) {
    let setup = Setup {
        flags: vec![
            "--outcome-grace=8s",
            "--absence-grace=2s",
            "--aws-requests-per-second=200",
            "--aws-burst=200",
            "--concurrency=64",
        ],
        settings: Settings {
            // For most jobs. Some are ordered to take longer.
            job_duration: Duration::ZERO,
            ..Settings::default()
        },
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    stage
        .put_config_map(SCHEMAS, "there", "type M @model { id: ID! }")
        .await;
    let seeds: Vec<u64> = match std::env::var("WALK_SEED") {
        Ok(seed) => vec![seed.parse().expect("WALK_SEED is a number")],
        Err(_) => WALKS.collect(),
    };
    let walks = seeds.into_iter().map(|seed| {
        let stage = &stage;
        async move {
            let mut walk = Walk::new(stage, seed);
            let walked = AssertUnwindSafe(walk.go()).catch_unwind().await;
            let wrong = walked.unwrap_or_else(|_| Err("see above".to_owned())).err()?;
            let steps = walk.steps.join("\n  ");
            Some(format!(
                "WALK_SEED={seed}, {:?} {}:\n  {steps}\n  {wrong}",
                walk.kind, walk.name
            ))
        }
    });
    let wrong: Vec<_> = join_all(walks).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(stage.simulator.history().dangerous().is_empty());
}

struct Walk<'a> {
    stage: &'a Stage,
    rng: Rng,
    kind: Kind,
    name: String,
    /// The fields of the spec that cannot be edited.
    fixed: Value,
    /// The steps so far, for the report.
    steps: Vec<String>,
    /// Whether an AWS object may have been retained and adopted with its old contents.
    retained: bool,
}

/// The fields that can be edited, with null for unset ones: as a merge patch it sets all of them.
type Edit = Map<String, Value>;

fn edit(value: Value) -> Edit {
    match value {
        Value::Object(edit) => edit,
        _ => Edit::new(),
    }
}

fn without_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, value| !value.is_null());
        members.values_mut().for_each(without_nulls);
    }
}

impl<'a> Walk<'a> {
    fn new(stage: &'a Stage, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let kind = [Kind::Api, Kind::Backend, Kind::Storage, Kind::Environment, Kind::Api][rng.usize(..5)];
        let name = format!("walk-{seed}");
        Self {
            stage,
            rng,
            kind,
            fixed: fixed(kind, &name),
            name,
            steps: Vec::new(),
            retained: false,
        }
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        self.rng.choice(of).expect("at least one").clone()
    }

    async fn go(&mut self) -> Result<(), String> {
        for name in [self.name.clone(), self.direct()] {
            if matches!(self.kind, Kind::Api | Kind::Storage) {
                assert!(self.stage.aws().put_backend((APP, name.as_str()), "storefront"));
                assert!(self.stage.aws().put_auth((APP, name.as_str()), "users"));
            }
        }
        let first = self.spec();
        self.create(&first).await;
        for _ in 0..self.rng.usize(STEPS) {
            self.step().await;
            self.wait().await;
        }
        let mut last = self.spec();
        last.insert("suspend".to_owned(), Value::Null);
        if self.retained {
            last.insert("adoptionPolicy".to_owned(), "IfExists".into());
            last.entry("deletionPolicy").and_modify(|policy| {
                if policy.is_null() {
                    *policy = "Delete".into();
                }
            });
        }
        self.edit(&last).await;
        let direct = self.direct();
        self.apply(&direct, &fixed(self.kind, &direct), &last).await;
        let walked = self.ready(&self.name).await?;
        let straight = self.ready(&direct).await?;
        if walked == straight {
            return Ok(());
        }
        Err(format!(
            "it ends as {walked:#}\nand by itself the last spec leads to {straight:#}"
        ))
    }

    /// Returns the name of the resource that only ever gets the last spec.
    fn direct(&self) -> String {
        format!("{}-direct", self.name)
    }

    /// Draws a good spec.
    fn spec(&mut self) -> Edit {
        let mut spec = edit(json!({
            "suspend": null, "jobTimeout": null, "adoptionPolicy": null, "deletionPolicy": null,
        }));
        if self.kind == Kind::Environment {
            spec.remove("jobTimeout");
        } else if self.rng.bool() {
            spec["jobTimeout"] = format!("{}m", self.rng.u8(5..90)).into();
        }
        if self.rng.u8(..3) == 0 {
            spec["adoptionPolicy"] = "IfExists".into();
            spec["deletionPolicy"] = self.one(&["Delete", "Retain"]).into();
        }
        match self.kind {
            Kind::Api => drop(spec.insert("resourceConfig".to_owned(), self.config())),
            Kind::Storage => drop(spec.insert("resourceConfig".to_owned(), self.permissions())),
            Kind::Backend | Kind::Environment => {}
        }
        spec
    }

    fn permissions(&mut self) -> Value {
        let sets = [
            json!([]),
            json!(["READ"]),
            json!(["DELETE", "READ"]),
            json!(["READ", "CREATE_AND_UPDATE", "DELETE"]),
        ];
        json!({ "permissions": { "authenticated": self.one(&sets[1..]), "unAuthenticated": self.one(&sets) } })
    }

    fn config(&mut self) -> Value {
        let mut config = json!({
            "apiName": self.one(&["shop", "store"]),
            "service": "AppSync",
            "transformSchema": null,
            "transformSchemaFrom": null,
            "conflictResolution": null,
            "additionalAuthTypes": null,
            "defaultAuthType": {
                "mode": self.one(&["API_KEY", "AWS_IAM"]),
                "settings": { "expirationTime": self.rng.u8(1..30), "description": self.one(&["a", "b", "c"]) },
            },
        });
        if self.rng.bool() {
            config["transformSchema"] = format!("type T{} @model {{ id: ID! }}", self.rng.u8(..4)).into();
        } else {
            config["transformSchemaFrom"] = schema_from(SCHEMAS, "there");
        }
        if self.rng.bool() {
            config["conflictResolution"] = json!({ "resolutionStrategy": self.one(&["AUTOMERGE", "LAMBDA", "NONE"]) });
        }
        if self.rng.bool() {
            config["additionalAuthTypes"] =
                json!([{ "mode": "OPENID_CONNECT", "settings": { "openIDClientId": "x" } }]);
        }
        config
    }

    async fn step(&mut self) {
        if self.rng.u8(..3) == 0 {
            // The next job takes longer.
            let script = JobScript::default().lasting(Duration::from_millis(self.rng.u64(500..4000)));
            self.stage.aws().job_fault(JobFault {
                matches: Match {
                    environment: Some(self.name.clone()),
                    ..Match::default()
                },
                skip: 0,
                times: Some(1),
                script,
            });
            self.steps.push("(the next job takes its time)".to_owned());
        }
        let is_api = self.kind == Kind::Api;
        match self.rng.u8(..20) {
            0..3 if is_api => {
                let config = self.config();
                self.edit(&edit(json!({ "resourceConfig": config }))).await;
            }
            3 if is_api => {
                let from = self.one(&[schema_from(SCHEMAS, "missing"), schema_from(MAP_OF_ANOTHER, "there")]);
                let config = json!({ "transformSchema": null, "transformSchemaFrom": from });
                self.edit(&edit(json!({ "resourceConfig": config }))).await;
            }
            0..5 => {
                let suspend = self.rng.u8(..5) < 3;
                self.edit(&edit(json!({ "suspend": suspend }))).await;
            }
            5..7 => {
                let policy = self.one(&["Delete", "Retain"]);
                let edit =
                    edit(json!({ "deletionPolicy": policy, "adoptionPolicy": self.one(&["Never", "IfExists"]) }));
                self.edit(&edit).await;
            }
            7..9 => {
                let value = self.rng.u32(..).to_string();
                self.steps.push(format!("request {value}"));
                let patch = json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: value } } });
                self.stage.patch(self.kind, &self.name, patch).await;
            }
            9 | 10 => self.refused(json!({ "appId": "d0000000000" })).await,
            11 => {
                self.refused(json!({ "deletionPolicy": null, "adoptionPolicy": "IfExists" }))
                    .await;
            }
            12 if is_api => {
                let both = json!({ "transformSchema": "type A", "transformSchemaFrom": schema_from(SCHEMAS, "there") });
                self.refused(json!({ "resourceConfig": both })).await;
            }
            13..17 => self.recreate().await,
            _ => {
                let spec = self.spec();
                self.edit(&spec).await;
            }
        }
    }

    async fn edit(&mut self, edit: &Edit) {
        self.steps.push(format!("edit {}", json!(edit)));
        self.stage.patch(self.kind, &self.name, json!({ "spec": edit })).await;
    }

    /// Makes an edit that the API server refuses.
    async fn refused(&mut self, edit: Value) {
        self.steps.push(format!("refused {edit}"));
        let api = self.stage.api(self.kind);
        let patch = Patch::Merge(json!({ "spec": edit }));
        match api.patch(&self.name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 422 => {}
            other => panic!("{edit} is not refused: {other:?}"),
        }
    }

    async fn create(&mut self, spec: &Edit) {
        self.steps.push(format!("create {}", json!(spec)));
        let (name, fixed) = (self.name.clone(), self.fixed.clone());
        self.apply(&name, &fixed, spec).await;
    }

    /// Creates the resource as soon as the former one is gone.
    async fn apply(&self, name: &str, fixed: &Value, edit: &Edit) {
        let mut spec = fixed.clone();
        if let Value::Object(spec) = &mut spec {
            spec.extend(edit.clone());
        }
        without_nulls(&mut spec);
        self.stage.create_again(self.kind, name, &spec).await;
    }

    async fn recreate(&mut self) {
        let object = self.stage.get(self.kind, &self.name).await;
        let policy = &object["spec"]["deletionPolicy"];
        // A suspended resource would never go.
        self.edit(&edit(json!({ "suspend": false }))).await;
        self.retained |= policy == "Retain"
            || object["status"]["origin"] == "Adopted"
            || object["spec"]["adoptionPolicy"] == "IfExists";
        self.steps.push("delete".to_owned());
        self.stage.delete(self.kind, &self.name).await;
        let spec = self.spec();
        self.create(&spec).await;
    }

    /// Waits until the status is about the current spec, or does not wait.
    async fn wait(&mut self) {
        if self.rng.bool() {
            return;
        }
        self.steps.push("(wait)".to_owned());
        self.stage
            .wait(self.kind, &self.name, "heard of", |object| {
                let says = ready(object)["reason"].as_str();
                let observed = object["status"]["observedGeneration"] == object["metadata"]["generation"];
                observed && ready(object)["status"] == "True"
                    || is_stalled(object)
                    || matches!(says, Some("Suspended" | "DependencyNotReady"))
            })
            .await;
    }

    /// Returns the final state: AWS's objects, and the status without times, ids and counters.
    async fn ready(&self, name: &str) -> Result<Value, String> {
        let object = self.stage.wait_until_ready(self.kind, name).await;
        let status = &object["status"];
        let job = &status["job"];
        if job["unconfirmed"] == true || job["failures"] != 0 && job.is_object() {
            return Err(format!("{job} is no good end"));
        }
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let conditions: BTreeMap<_, _> = conditions
            .map(|condition| {
                (
                    condition["type"].to_string(),
                    json!([condition["status"], condition["reason"]]),
                )
            })
            .collect();
        let same = [
            "accountId",
            "region",
            "appId",
            "sentConfigHash",
            "echoedConfigHash",
            "stackName",
            "deploymentArtifacts",
        ];
        let same: BTreeMap<_, _> = same.into_iter().map(|field| (field, &status[field])).collect();
        Ok(json!({
            "owned": status["origin"].is_string(),
            "conditions": conditions,
            "status": same,
            "aws": self.held(name, &object["spec"]),
        }))
    }

    /// Returns AWS's values of the fields in the spec.
    fn held(&self, name: &str, spec: &Value) -> Value {
        let aws = self.stage.aws();
        let place = (APP, name);
        match self.kind {
            Kind::Backend => json!(aws.backend(place).map(|backend| backend.app_name)),
            Kind::Environment => json!(aws.environment(place)),
            Kind::Storage => {
                let storages = aws.backend(place).map(|backend| backend.storages).unwrap_or_default();
                storages
                    .get("photos")
                    .map_or(Value::Null, |storage| storage.config["permissions"].clone())
            }
            Kind::Api => {
                let apis = aws.backend(place).map(|backend| backend.apis).unwrap_or_default();
                let mut held = apis.get("shop").cloned().unwrap_or_default();
                if let Value::Object(members) = &mut held {
                    let config = &spec["resourceConfig"];
                    // The operator does not manage fields that a spec leaves out.
                    members.retain(|name, _| name == "transformSchema" || !config[name].is_null());
                }
                if self.retained {
                    // This field is sent with a change, but never compared, so an adopted object keeps its own value.
                    held["defaultAuthType"]["settings"]["expirationTime"] = Value::Null;
                }
                held
            }
        }
    }
}

fn fixed(kind: Kind, name: &str) -> Value {
    match kind {
        Kind::Backend => backend(name),
        Kind::Environment => environment(name),
        Kind::Api => json!({ "appId": APP, "backendEnvironmentName": name, "resourceName": "shop" }),
        Kind::Storage => json!({ "appId": APP, "backendEnvironmentName": name, "resourceName": "photos" }),
    }
}

fn schema_from(name: &str, key: &str) -> Value {
    json!({ "configMapKeyRef": { "name": name, "key": key } })
}
