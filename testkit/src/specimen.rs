//! One specimen for each kind, and for each way to create its AWS object. Every suite runs all specimens, so a kind
//! with a specimen is tested by all of them.

use amplify_operator::api::{Abilities, KindName, Operation as Known};
use amplify_simulator::{AppState, Category, Control, Operation};
use serde_json::{Value, json};

use crate::kind::{APP, Kind};

/// A resource with all that a suite has to know of it.
pub struct Specimen {
    /// The name in test names: "a …".
    pub name: &'static str,
    pub kind: Kind,
    /// The operation that creates its AWS object.
    create: Known,
    /// The operation that reads its AWS object.
    pub look: Operation,
    /// Returns the spec of a resource in this environment.
    pub spec: fn(&str) -> Value,
    /// Returns an edit that leads to an update in AWS, if the kind has updates.
    pub edit: Option<fn() -> Value>,
    /// Creates in AWS the objects that must exist before.
    pub prepare: fn(&Control, &str),
    /// Removes its AWS object behind the operator's back; returns false if there is none.
    pub remove: fn(&Control, &str) -> bool,
    /// Whether AWS holds the object that this spec describes.
    pub is_held: fn(&AppState, &str, &Value) -> bool,
}

pub const SPECIMENS: &[Specimen] = &[
    Specimen {
        name: "backend",
        kind: Kind::Backend,
        create: Known::CreateBackend,
        look: Operation::GetBackend,
        spec: backend,
        edit: None,
        prepare: |_, _| {},
        remove: |aws, environment| aws.delete_backend((APP, environment)),
        is_held: |app, environment, _| app.backends.contains_key(environment),
    },
    Specimen {
        name: "clone",
        kind: Kind::Backend,
        create: Known::CloneBackend,
        look: Operation::GetBackend,
        spec: |environment| {
            json!({
                "appId": APP, "backendEnvironmentName": environment,
                "cloneFrom": { "backendEnvironmentName": source(environment) },
            })
        },
        edit: None,
        prepare: |aws, environment| put_backend(aws, &source(environment)),
        remove: |aws, environment| aws.delete_backend((APP, environment)),
        is_held: |app, environment, _| app.backends.contains_key(environment),
    },
    Specimen {
        name: "api",
        kind: Kind::Api,
        create: Known::CreateBackendApi,
        look: Operation::GetBackendApi,
        spec: |environment| graphql_api(environment, "type A @model { id: ID! }"),
        edit: Some(|| schema_edit("type B @model { id: ID! }")),
        prepare: put_backend,
        remove: |aws, environment| aws.delete_api((APP, environment), "shop"),
        is_held: |app, environment, spec| {
            let api = app
                .backends
                .get(environment)
                .and_then(|backend| backend.apis.get("shop"));
            api.is_some_and(|config| config["transformSchema"] == spec["resourceConfig"]["transformSchema"])
        },
    },
    Specimen {
        name: "storage",
        kind: Kind::Storage,
        create: Known::CreateBackendStorage,
        look: Operation::GetBackendStorage,
        spec: storage,
        edit: Some(|| json!({ "spec": { "resourceConfig": { "permissions": { "unAuthenticated": null } } } })),
        prepare: |aws, environment| {
            put_backend(aws, environment);
            assert!(aws.put_auth((APP, environment), "users"));
        },
        remove: |aws, environment| aws.delete_resource((APP, environment), Category::Storage, "photos"),
        is_held: |app, environment, spec| {
            let storages = app.backends.get(environment).map(|backend| &backend.storages);
            let storage = storages.and_then(|storages| storages.get("photos"));
            storage.is_some_and(|storage| {
                let (there, wanted) = (&storage.config["permissions"], &spec["resourceConfig"]["permissions"]);
                ["authenticated", "unAuthenticated"]
                    .iter()
                    .all(|who| words(&there[*who]) == words(&wanted[*who]))
            })
        },
    },
    Specimen {
        name: "linked_storage",
        kind: Kind::Storage,
        create: Known::ImportBackendStorage,
        look: Operation::GetBackend,
        spec: |environment| json!({ "appId": APP, "backendEnvironmentName": environment, "import": { "bucketName": "there-already" } }),
        edit: None,
        prepare: |aws, environment| {
            put_backend(aws, environment);
            assert!(aws.put_auth((APP, environment), "users"));
        },
        remove: |aws, environment| {
            let storages = aws.backend((APP, environment)).unwrap_or_default().storages;
            let mut names = storages.keys();
            names.any(|name| aws.delete_resource((APP, environment), Category::Storage, name))
        },
        is_held: |app, environment, _| {
            let storages = app.backends.get(environment).map(|backend| &backend.storages);
            storages.is_some_and(|storages| storages.values().any(|storage| storage.imported))
        },
    },
    Specimen {
        name: "record",
        kind: Kind::Environment,
        create: Known::CreateBackendEnvironment,
        look: Operation::GetBackendEnvironment,
        spec: environment,
        edit: None,
        prepare: |_, _| {},
        remove: |aws, environment| aws.delete_environment((APP, environment)),
        is_held: |app, environment, _| app.environments.contains_key(environment),
    },
];

impl Specimen {
    /// Returns the specimen of this name.
    pub fn named(name: &str) -> &'static Self {
        let found = SPECIMENS.iter().find(|specimen| specimen.name == name);
        found.expect("a specimen of this name")
    }

    /// Returns one specimen of each kind.
    pub fn of_each_kind() -> impl Iterator<Item = &'static Self> {
        let is_first = |specimen: &&Self| {
            let first = SPECIMENS.iter().find(|other| other.kind == specimen.kind);
            first.is_some_and(|first| first.name == specimen.name)
        };
        SPECIMENS.iter().filter(is_first)
    }

    /// Returns AWS's abilities for its object.
    pub fn abilities(&self) -> Abilities {
        let abilities = Abilities::of(self.create);
        Abilities {
            update: abilities.update.filter(|_| self.edit.is_some()),
            ..abilities
        }
    }

    pub fn create(&self) -> Operation {
        simulated(self.create)
    }

    pub fn update(&self) -> Option<Operation> {
        self.abilities().update.map(simulated)
    }

    pub fn delete(&self) -> Operation {
        simulated(self.abilities().delete)
    }

    /// Returns the writes from create to delete.
    pub fn writes(&self) -> Vec<Operation> {
        [Some(self.create()), self.update(), Some(self.delete())]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Returns the simulator's name of this operation.
fn simulated(operation: Known) -> Operation {
    let same = Operation::ALL
        .iter()
        .copied()
        .find(|known| known.as_str() == operation.name());
    same.expect("the simulator knows all operations")
}

/// Returns the source environment of a clone. Each clone has its own, because AWS runs one job at a time in the source
/// too.
pub fn source(environment: &str) -> String {
    format!("of-{environment}")
}

fn put_backend(aws: &Control, environment: &str) {
    assert!(aws.put_backend((APP, environment), "storefront"));
}

/// Returns the words in a fixed order: AWS treats them as sets.
fn words(set: &Value) -> Vec<&str> {
    let mut words: Vec<_> = set.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    words.sort_unstable();
    words
}

/// Returns the spec of a backend that CreateBackend makes.
pub fn backend(environment: &str) -> Value {
    json!({ "appId": APP, "appName": "storefront", "backendEnvironmentName": environment })
}

/// Returns the spec of an API in a backend without a resource of its own.
pub fn graphql_api(environment: &str, schema: &str) -> Value {
    json!({
        "appId": APP, "backendEnvironmentName": environment, "resourceName": "shop",
        "resourceConfig": {
            "apiName": "shop", "service": "AppSync", "transformSchema": schema,
            "defaultAuthType": { "mode": "API_KEY", "settings": { "expirationTime": 7, "description": "public" } },
        },
    })
}

/// Returns an edit that changes the schema.
pub fn schema_edit(schema: &str) -> Value {
    json!({ "spec": { "resourceConfig": { "transformSchema": schema } } })
}

/// Returns the spec of a storage in a backend without a resource of its own.
pub fn storage(environment: &str) -> Value {
    json!({
        "appId": APP, "backendEnvironmentName": environment, "resourceName": "photos",
        "resourceConfig": {
            "bucketName": "photos",
            "permissions": { "authenticated": ["READ", "CREATE_AND_UPDATE"], "unAuthenticated": ["READ"] },
        },
    })
}

/// Returns the spec of an environment record.
pub fn environment(name: &str) -> Value {
    json!({ "appId": APP, "environmentName": name, "stackName": "stack", "deploymentArtifacts": "bucket" })
}

/// Returns the plurals of all kinds, as they occur in requests.
pub fn plurals() -> Vec<String> {
    amplify_operator::api::crds()
        .into_iter()
        .map(|definition| definition.spec.names.plural)
        .collect()
}

/// Checks that every kind has a specimen. Without one, no suite would test the kind.
pub fn assert_whole() {
    for kind in KindName::ALL {
        let has_one = SPECIMENS.iter().any(|specimen| specimen.create.kind() == *kind);
        assert!(has_one, "{} has no specimen", kind.name());
    }
    let creates = Known::ALL.iter().filter(|operation| operation.is_create());
    for create in creates {
        let has_one = SPECIMENS.iter().any(|specimen| specimen.create == *create);
        assert!(has_one, "{create} has no specimen");
    }
}
