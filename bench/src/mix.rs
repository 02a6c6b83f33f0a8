//! The objects of a run: 40 % records, 30 % backends and 30 % APIs of these backends, spread over apps and regions.

use std::fmt::Write as _;

use amplify_operator::api;
use kube::api::{ApiResource, DynamicObject};
use serde_json::{Value, json};

/// AWS's own quota is 25 apps per region.
const APPS_PER_REGION: usize = 25;
const OBJECTS_PER_APP: usize = 25;
/// The kinds of each ten objects. A backend comes before its API, as in a manifest that people write.
const ORDER: [Kind; 10] = [
    Kind::Backend,
    Kind::Environment,
    Kind::Api,
    Kind::Environment,
    Kind::Backend,
    Kind::Api,
    Kind::Environment,
    Kind::Backend,
    Kind::Api,
    Kind::Environment,
];
const REGIONS: [&str; 16] = [
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-central-1",
    "eu-north-1",
    "eu-south-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ca-central-1",
    "sa-east-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
];

/// A kind of custom resource.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    Backend,
    Api,
    Environment,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Backend, Self::Api, Self::Environment];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Backend => "AmplifyBackend",
            Self::Api => "BackendApi",
            Self::Environment => "BackendEnvironment",
        }
    }

    pub(crate) const fn plural(self) -> &'static str {
        match self {
            Self::Backend => "amplifybackends",
            Self::Api => "backendapis",
            Self::Environment => "backendenvironments",
        }
    }

    pub(crate) fn resource(self) -> ApiResource {
        ApiResource {
            group: api::GROUP.to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: format!("{}/v1alpha1", api::GROUP),
            kind: self.name().to_owned(),
            plural: self.plural().to_owned(),
        }
    }
}

/// The objects of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    pub(crate) objects: usize,
    /// Length of each API's schema, in bytes.
    pub(crate) schema: usize,
}

/// One object.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) object: DynamicObject,
}

impl Mix {
    pub(crate) fn count(self, kind: Kind) -> usize {
        (0..self.objects).filter(|number| kind_of(*number) == kind).count()
    }

    /// Returns the number of apps over which the objects are spread.
    pub(crate) const fn apps(self) -> usize {
        self.objects.div_ceil(OBJECTS_PER_APP)
    }

    /// Returns the number of regions over which the objects are spread.
    pub(crate) fn regions(self) -> usize {
        self.apps().div_ceil(APPS_PER_REGION).min(REGIONS.len())
    }

    pub(crate) fn items(self) -> impl Iterator<Item = Item> {
        let mut counts = [0_usize; 3];
        (0..self.objects).map(move |number| {
            let kind = kind_of(number);
            let count = &mut counts[kind as usize];
            *count += 1;
            // The nth API belongs to the nth backend.
            item(kind, *count, number, self.schema)
        })
    }
}

const fn kind_of(number: usize) -> Kind {
    ORDER[number % ORDER.len()]
}

fn item(kind: Kind, count: usize, number: usize, schema: usize) -> Item {
    let app = number / OBJECTS_PER_APP;
    let region = REGIONS[app / APPS_PER_REGION % REGIONS.len()];
    let app = format!("d{app:09}");
    let environment = format!("env{count:06}");
    let (name, spec) = match kind {
        Kind::Backend => (
            format!("backend-{count:06}"),
            json!({ "appId": app, "appName": app, "backendEnvironmentName": environment, "region": region }),
        ),
        Kind::Api => (format!("api-{count:06}"), api_spec(count, schema)),
        Kind::Environment => (
            format!("record-{count:06}"),
            record(&app, &format!("record{count:06}"), region),
        ),
    };
    Item {
        kind,
        object: object(kind, &name, &spec),
        name,
    }
}

/// Returns a record in the first app, for runs that add one more object.
pub(crate) fn newcomer(name: &str) -> Item {
    newcomer_in(name, REGIONS[0])
}

/// Returns the same record in another region.
pub(crate) fn newcomer_in(name: &str, region: &str) -> Item {
    record_in(name, "d000000000", region)
}

/// Returns a record of this app.
pub(crate) fn record_in(name: &str, app: &str, region: &str) -> Item {
    Item {
        kind: Kind::Environment,
        object: object(Kind::Environment, name, &record(app, name, region)),
        name: name.to_owned(),
    }
}

/// Returns an API in an environment of the first app that has no AmplifyBackend.
pub(crate) fn api_in(name: &str, environment: &str, region: &str, schema: &str) -> Item {
    let mut spec = api_spec(0, 0);
    spec["resourceConfig"]["transformSchema"] = json!(schema);
    spec["appId"] = json!("d000000000");
    spec["backendEnvironmentName"] = json!(environment);
    spec["region"] = json!(region);
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("backendRef");
    }
    Item {
        kind: Kind::Api,
        object: object(Kind::Api, name, &spec),
        name: name.to_owned(),
    }
}

impl Item {
    pub(crate) fn annotated(mut self, name: &str, value: &str) -> Self {
        let annotations = self.object.metadata.annotations.get_or_insert_default();
        annotations.insert(name.to_owned(), value.to_owned());
        self
    }
}

fn object(kind: Kind, name: &str, spec: &Value) -> DynamicObject {
    DynamicObject::new(name, &kind.resource()).data(json!({ "spec": spec }))
}

fn record(app: &str, name: &str, region: &str) -> Value {
    json!({
        "appId": app, "environmentName": name, "region": region,
        "stackName": format!("amplify-storefront-{name}-161015"),
        "deploymentArtifacts": format!("amplify-storefront-{name}-161015-deployment"),
    })
}

fn api_spec(count: usize, schema: usize) -> Value {
    json!({
        "backendRef": { "name": format!("backend-{count:06}") },
        "resourceName": "storefront",
        "resourceConfig": {
            "apiName": "storefront", "service": "AppSync", "transformSchema": sdl(schema),
            "defaultAuthType": {
                "mode": "API_KEY", "settings": { "description": "public read access", "expirationTime": 30 },
            },
            "conflictResolution": { "resolutionStrategy": "OPTIMISTIC_CONCURRENCY" },
        },
    })
}

/// Returns a GraphQL schema of about this length.
fn sdl(length: usize) -> String {
    let mut text = String::new();
    let mut number = 0;
    while text.len() < length {
        let _ = writeln!(
            text,
            "type Product{number} @model @auth(rules: [{{ allow: public, operations: [read] }}]) {{\n  id: ID!\n  \
             title: String! @index(name: \"byTitle{number}\")\n  price: Float\n  tags: [String!]\n}}"
        );
        number += 1;
    }
    text
}
