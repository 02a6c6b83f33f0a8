//! Nobody hurts a neighbour: what goes wrong in one namespace or region delays nobody else. Each seed draws who suffers, from
//! what and when; what a healthy neighbour applies meanwhile must be Ready as soon as if it were alone.

use std::time::Duration;

use amplify_simulator::{App, Config};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::{
    apiserver::{Named, Withdrawn},
    world::{REGION, Start, World, beginning},
};

crate::trials! {
    a_namespace_that_cannot_be_read_delays_no_other,
    a_region_that_hangs_delays_no_other,
}

/// Seeds of each.
const SEEDS: u64 = 6;
const APP: &str = "d1a2b3c4d5e6f7";
/// A region beside the operator's own.
const OTHER_REGION: &str = "us-east-1";
/// How often it is looked whether something is Ready.
const STEP: Duration = Duration::from_millis(100);
/// How long it may take on its own: a record is made by six requests, and tokens may have to come first.
const ALONE: Duration = Duration::from_secs(2);

struct Town {
    rng: Rng,
    world: World,
    applied: u32,
}

impl Town {
    fn of(seed: u64, flags: &[&str], namespaces: &[&str]) -> Self {
        let mut config = Config::default().app(APP, "storefront");
        REGION.clone_into(&mut config.region);
        config.apps.push(App {
            account: None,
            region: Some(OTHER_REGION.to_owned()),
            app_id: APP.to_owned(),
            name: "storefront".to_owned(),
        });
        let mut world = World::new(seed, &config);
        world.users(|users| {
            for namespace in namespaces {
                users.create_namespace(namespace).expect("a namespace");
            }
        });
        world.add(Start {
            name: "operator-0".to_owned(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            seed,
            time: beginning(),
        });
        Self {
            rng: Rng::with_seed(seed),
            world,
            applied: 0,
        }
    }

    fn passes(&mut self, time: Duration) {
        self.world.run(self.world.now() + time);
    }

    /// Up to so long.
    fn some(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.rng.f64())
    }

    fn rights(&self, namespace: &str, there: bool) {
        let rights = Withdrawn::of_namespace(namespace);
        self.world.apiserver(|server| {
            if there {
                server.give_back(&rights);
            } else {
                server.withdraw(rights);
            }
        });
    }

    fn apply(&mut self, plural: &str, namespace: &str, spec: &Value) -> String {
        self.applied += 1;
        let name = format!("n{}", self.applied);
        self.world.users(|users| {
            let created = users.create(Named(plural, namespace, &name), json!({ "spec": spec }));
            created.unwrap_or_else(|refusal| panic!("{plural} {name}: {refusal:?}"));
        });
        name
    }

    /// Applies a record, and says how long it takes to be Ready.
    fn record(&mut self, namespace: &str, region: &str) -> Duration {
        let environment = format!("e{}", self.applied);
        let spec = json!({
            "appId": APP, "region": region, "environmentName": environment, "stackName": "stack", "deploymentArtifacts": "bucket",
        });
        let (begun, name) = (self.world.now(), self.apply("backendenvironments", namespace, &spec));
        let longest = Duration::from_mins(20);
        while self.reason(namespace, &name) != "Available" && self.world.now() < begun + longest {
            self.passes(STEP);
        }
        self.world.now() - begun
    }

    fn reason(&self, namespace: &str, name: &str) -> String {
        let named = Named("backendenvironments", namespace, name);
        let object = self.world.users(|users| users.get(named));
        let conditions = object.map_or(Value::Null, |object| object["status"]["conditions"].clone());
        let ready = conditions
            .as_array()
            .and_then(|all| all.iter().find(|it| it["type"] == "Ready"));
        ready.map_or(String::new(), |ready| {
            ready["reason"].as_str().unwrap_or_default().to_owned()
        })
    }

    fn is_well(&self) {
        assert!(self.world.complaints.is_empty(), "{:?}", self.world.complaints);
    }
}

fn a_namespace_that_cannot_be_read_delays_no_other() {
    for seed in 1..=SEEDS {
        let mut flags = vec!["--watch-namespace=sick", "--watch-namespace=well"];
        if seed % 2 == 0 {
            flags.extend(["--leader-elect", "--lease-namespace=operators"]);
        }
        let mut town = Town::of(seed, &flags, &["sick", "well", "operators"]);
        // From the beginning, or later; the operator is started anew meanwhile, or not.
        if town.rng.bool() {
            town.rights("sick", false);
        }
        let before = town.some(Duration::from_mins(30));
        town.passes(Duration::from_secs(30) + before);
        town.rights("sick", false);
        let before = town.some(Duration::from_mins(30));
        town.passes(before);
        if town.rng.bool() {
            town.world.kill(0);
            // Until it is there again, and knows that it is alone.
            town.passes(Duration::from_secs(60));
        }
        let took = town.record("well", REGION);
        assert!(
            took <= ALONE,
            "seed {seed}: {took:?} in a namespace whose neighbour has no rights"
        );
        let suffering = town.some(Duration::from_mins(30));
        town.passes(suffering);
        town.rights("sick", true);
        // A watch that was refused is tried again within a minute.
        town.passes(Duration::from_mins(2));
        let took = town.record("sick", REGION);
        assert!(
            took <= ALONE,
            "seed {seed}: {took:?} in the namespace whose rights are back"
        );
        town.is_well();
    }
}

fn a_region_that_hangs_delays_no_other() {
    for seed in 1..=SEEDS {
        let mut town = Town::of(seed, &[], &["sick", "well"]);
        town.passes(Duration::from_secs(30));
        town.world.cloud.set_hanging(OTHER_REGION, true);
        let all = town.rng.u32(40..120);
        for number in 0..all {
            let spec = json!({
                "appId": APP, "region": OTHER_REGION, "backendEnvironmentName": format!("e{number}"), "resourceName": "shop",
                "resourceConfig": { "apiName": "shop", "service": "AppSync", "transformSchema": "type A @model { id: ID! }" },
            });
            town.apply("backendapis", "sick", &spec);
            if town.rng.u8(..10) == 0 {
                let between = town.some(Duration::from_secs(60));
                town.passes(between);
            }
        }
        for _ in 0..4 {
            let between = town.some(Duration::from_mins(10));
            town.passes(between);
            let took = town.record("well", REGION);
            assert!(took <= ALONE, "seed {seed}: {took:?} beside a region that hangs");
        }
        town.world.cloud.set_hanging(OTHER_REGION, false);
        // One at a time asks until there is an answer, and then all that have waited: each with two calls or three.
        let (took, most) = (town.record("sick", OTHER_REGION), Duration::from_mins(3));
        assert!(took <= most, "seed {seed}: {took:?} in the region that answers again");
        eprintln!("seed {seed} {all} {took:?} {:?}", town.world.now());
        town.is_well();
    }
}
