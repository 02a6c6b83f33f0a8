//! A small world for tests that check one thing each.

use std::time::Duration;

use amplify_simulator::{App, Config};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::{
    apiserver::{Named, Verb, Withdrawn},
    world::{REGION, Start, World, beginning},
};

pub(crate) const APP: &str = "d1a2b3c4d5e6f7";
/// A region beside the operator's own.
pub(crate) const OTHER_REGION: &str = "us-east-1";
/// The interval at which a test checks whether a resource is Ready.
const STEP: Duration = Duration::from_millis(100);

/// Returns the spec of a backend.
pub(crate) fn backend(environment: &str) -> Value {
    json!({ "appId": APP, "appName": "storefront", "backendEnvironmentName": environment })
}

/// Returns the spec of an environment record.
pub(crate) fn record(environment: &str) -> Value {
    json!({ "appId": APP, "environmentName": environment, "stackName": "stack", "deploymentArtifacts": "bucket" })
}

/// Returns the spec of an API in this environment.
pub(crate) fn api(environment: &str) -> Value {
    json!({
        "appId": APP, "backendEnvironmentName": environment, "resourceName": "shop",
        "resourceConfig": { "apiName": "shop", "service": "AppSync", "transformSchema": "type A @model { id: ID! }" },
    })
}

/// A world with one operator, in which little happens except the actions of the test.
pub(crate) struct Town {
    pub(crate) rng: Rng,
    pub(crate) world: World,
    flags: Vec<String>,
    applied: u32,
}

impl Town {
    /// Creates a town with these namespaces and an operator with these flags.
    pub(crate) fn of(seed: u64, flags: &[&str], namespaces: &[&str]) -> Self {
        let mut config = Config::default().app(APP, "storefront");
        REGION.clone_into(&mut config.region);
        config.apps.push(App {
            account: None,
            region: Some(OTHER_REGION.to_owned()),
            app_id: APP.to_owned(),
            name: "storefront".to_owned(),
        });
        let world = World::new(seed, &config);
        world.users(|users| {
            for namespace in namespaces {
                users.create_namespace(namespace).expect("a namespace");
            }
        });
        let mut town = Self {
            rng: Rng::with_seed(seed),
            world,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            applied: 0,
        };
        town.add_operator();
        town
    }

    /// Adds an operator that starts now. The names are `operator-0` and so on.
    pub(crate) fn add_operator(&mut self) {
        let number = self.world.operators();
        self.world.add(Start {
            name: format!("operator-{number}"),
            flags: self.flags.clone(),
            seed: self.rng.u64(..),
            time: beginning(),
            accounts: None,
        });
    }

    /// Lets this much time pass.
    pub(crate) fn passes(&mut self, time: Duration) {
        self.world.run(self.world.now() + time);
    }

    /// Draws a duration up to this one.
    pub(crate) fn some(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.rng.f64())
    }

    /// Withdraws all rights in a namespace, or gives them back.
    pub(crate) fn rights(&self, namespace: &str, there: bool) {
        let rights = Withdrawn::of_namespace(namespace);
        self.world.apiserver(|server| {
            if there {
                server.give_back(&rights);
            } else {
                server.withdraw(rights);
            }
        });
    }

    /// Applies this spec and returns the name of the resource.
    pub(crate) fn apply(&mut self, plural: &str, namespace: &str, spec: &Value) -> String {
        self.applied += 1;
        let name = format!("n{}", self.applied);
        self.world.users(|users| {
            let created = users.create(Named(plural, namespace, &name), json!({ "spec": spec }));
            created.unwrap_or_else(|refusal| panic!("{plural} {name}: {refusal:?}"));
        });
        name
    }

    /// Applies a record and returns the time until it is Ready.
    pub(crate) fn record(&mut self, namespace: &str, region: &str) -> Duration {
        let environment = format!("e{}", self.applied);
        let mut spec = record(&environment);
        spec["region"] = json!(region);
        let (begun, name) = (self.world.now(), self.apply("backendenvironments", namespace, &spec));
        let longest = Duration::from_mins(20);
        while self.reason(Named("backendenvironments", namespace, &name)) != "Available"
            && self.world.now() < begun + longest
        {
            self.passes(STEP);
        }
        self.world.now().saturating_sub(begun)
    }

    /// Returns the reason of Ready.
    pub(crate) fn reason(&self, named: Named<'_>) -> String {
        let object = self.world.users(|users| users.get(named));
        let conditions = object.map_or(Value::Null, |object| object["status"]["conditions"].clone());
        let ready = conditions
            .as_array()
            .and_then(|all| all.iter().find(|it| it["type"] == "Ready"));
        ready.map_or(String::new(), |ready| {
            ready["reason"].as_str().unwrap_or_default().to_owned()
        })
    }

    /// Returns the number of list requests.
    pub(crate) fn lists(&self) -> u64 {
        let requests = self.world.server.requests();
        let lists = requests.iter().filter(|(asked, _)| asked.verb == Verb::List);
        lists.map(|(_, count)| count).sum()
    }

    /// Checks that no process has broken a rule.
    pub(crate) fn is_well(&self) {
        assert!(self.world.complaints.is_empty(), "{:?}", self.world.complaints);
    }
}
