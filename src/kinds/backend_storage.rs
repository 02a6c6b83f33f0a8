//! `BackendStorage`: CreateBackendStorage or ImportBackendStorage, GetBackendStorage, UpdateBackendStorage, DeleteBackendStorage.

use aws_sdk_amplifybackend::types as sdk;
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::Value;

use super::{
    Kind, Located, Remote,
    config::{self, Config},
    described,
    in_backend::{self, Place, names},
};
use crate::{
    amplify::{
        Accepted, AppId, Call, Client, EnvironmentName, ResourceName,
        answers::{absent_is_none, accepted, job_reply, never, same, unreadable},
        send,
    },
    api::{
        Abilities, BackendStorage, BackendStorageStatus, KindName, Operation, Policies, Read,
        backend_storage::{Permission, Permissions},
    },
    controller::index::{Environment, Index, Location, ObjectKey, Within},
    lifecycle::{Bar, Seen, State, Words, facts::Failure},
};

const CREATE: Call = Call::write(Operation::CreateBackendStorage);
const IMPORT: Call = Call::write(Operation::ImportBackendStorage);
const UPDATE: Call = Call::write(Operation::UpdateBackendStorage);
const DELETE: Call = Call::write(Operation::DeleteBackendStorage);
const GET: Call = Call::read(Read::GetBackendStorage);

/// A storage as AWS shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Storage {
    /// Its name in the backend.
    pub name: Option<String>,
    /// The name of its bucket, where it is said.
    pub bucket: Option<String>,
    /// Whether its bucket was there before.
    pub is_imported: bool,
    /// Who may do what, as far as it is said.
    pub permissions: Shown,
}

/// Permissions as AWS shows them. What it leaves out is unknown: the SDK puts an empty list in the place of what is missing.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Of users who have signed in.
    pub authenticated: Option<Vec<Permission>>,
    /// Of guests.
    pub un_authenticated: Option<Vec<Permission>>,
}

impl Config for Permissions {
    const PATH: &'static str = "spec.resourceConfig.permissions";

    /// In one order: to AWS they are sets.
    fn settle(&mut self) {
        for set in [Some(&mut self.authenticated), self.un_authenticated.as_mut()]
            .into_iter()
            .flatten()
        {
            set.sort_unstable();
            set.dedup();
        }
    }
}

impl BackendStorage {
    fn imported_bucket(&self) -> Option<&str> {
        self.spec.import.as_ref().map(|import| import.bucket_name.as_str())
    }
}

impl Kind for BackendStorage {
    const NAME: KindName = KindName::BackendStorage;
    const IS_LISTED: bool = false;

    type Found = Storage;
    type Config = Permissions;

    fn abilities(&self) -> Abilities {
        match self.spec.import {
            // AWS refuses to change what is imported.
            Some(_) => Abilities {
                update: None,
                ..Abilities::of(Operation::ImportBackendStorage)
            },
            None => Abilities::of(Operation::CreateBackendStorage),
        }
    }

    fn words(&self) -> Words {
        Words {
            place: "the app ID, the name of the backend environment and the region",
            lacks: "the backend has no auth, which a storage needs: add one (amplify add auth, or Amplify Studio). It is looked for again",
            ..Words::default()
        }
    }

    fn policies(&self) -> &Policies {
        &self.spec.policies
    }

    fn job_timeout(&self) -> Option<SignedDuration> {
        self.spec.job_timeout.map(|timeout| timeout.0)
    }

    fn refers_to(&self, namespace: &str) -> Option<ObjectKey> {
        in_backend::refers_to(&self.spec.target, namespace)
    }

    fn locate(&self, namespace: &str, index: &Index, default_region: Option<&str>) -> Located {
        let known = self.status.as_ref().and_then(|status| status.resource_name.as_deref());
        let place = Place {
            kind: Self::NAME,
            // What is imported has the name that AWS gives it.
            resource: self.spec.resource_name.as_deref().or(known),
            target: &self.spec.target,
            namespace,
            ledger: self.ledger(),
            pinned: self.status.as_ref().map(|status| &status.target),
        };
        in_backend::locate(&place, index, default_region)
    }

    fn show(&self, state: &State, location: Option<&Location>, found: Option<&Storage>) -> Value {
        let pinned = self.status.as_ref().map(|status| &status.target);
        let known = self.status.as_ref().and_then(|status| status.resource_name.clone());
        // Of what is not this resource's nothing is told.
        let name = found.and_then(|found| found.name.clone()).or(known);
        serde_json::json!(BackendStorageStatus {
            ledger: state.ledger.clone(),
            target: in_backend::resolved(location, pinned),
            resource_name: name.filter(|_| state.ledger.origin.is_some()),
            hashes: state.hashes.clone(),
        })
    }

    fn config(&self) -> Option<&Permissions> {
        self.spec.resource_config.as_ref().map(|config| &config.permissions)
    }

    fn compare(&self, found: &Storage, config: Option<&Permissions>) -> Seen {
        let mut seen = Seen::default();
        let Some(wanted) = self.imported_bucket() else {
            if found.is_imported {
                seen.differs.push("kind of bucket (one that was there before)");
            }
            let settled = |permissions: &Permissions| {
                let mut permissions = permissions.clone();
                permissions.settle();
                permissions
            };
            seen.echo = match (config, self.config()) {
                (Some(config), _) => Some(config::echo(&settled(config), &found.permissions, true)),
                (None, Some(config)) => Some(config::echo(&settled(config), &found.permissions, false)),
                (None, None) => None,
            };
            return seen;
        };
        if !found.is_imported || found.bucket.as_deref().is_some_and(|there| there != wanted) {
            seen.differs.push("import.bucketName");
        }
        seen
    }
}

/// A storage by its name. `None`: AWS says that there is none of this name.
pub async fn look(
    client: &Client,
    app: &AppId,
    environment: &EnvironmentName,
    resource: &ResourceName,
) -> Result<Option<Storage>, Failure> {
    let sdk = client.usable()?;
    let request = sdk.backend_reads.get_backend_storage().app_id(app.as_str());
    let request = request
        .backend_environment_name(environment.as_str())
        .resource_name(resource.as_str());
    let Some(output) = absent_is_none(send!(sdk.observer(), GET, request))? else {
        return Ok(None);
    };
    let named = output.backend_environment_name.as_deref();
    same(GET, "appId", output.app_id.as_deref(), app.as_str())?;
    same(GET, "backendEnvironmentName", named, environment.as_str())?;
    if output.resource_name.is_none() && output.resource_config.is_none() {
        return Err(unreadable(GET, "the answer describes no storage"));
    }
    // AWS may show the one that there is: then none is there under this name, and another one bars it.
    if output
        .resource_name
        .as_deref()
        .is_some_and(|name| name != resource.as_str())
    {
        return Ok(None);
    }
    Ok(Some(shown(resource, output.resource_config)))
}

/// What is imported, by what the backend says that it has: AWS has named it.
async fn look_for_import(client: &Client, location: &Location) -> Result<Option<Storage>, Failure> {
    let contents = described::contents(client, location).await?;
    let storage = contents.and_then(|contents| contents.storage());
    Ok(storage.map(|storage| Storage {
        name: Some(storage.name),
        bucket: storage.bucket,
        is_imported: storage.is_imported,
        permissions: Shown::default(),
    }))
}

fn name(location: &Location) -> Option<&ResourceName> {
    location.within.as_ref().and_then(|within| within.name.as_ref())
}

impl Remote for BackendStorage {
    type List = ();

    async fn look(client: &Client, location: &Location) -> Result<Option<Storage>, Failure> {
        match name(location) {
            Some(name) => look(client, &location.environment.app, &location.environment.name, name).await,
            None => look_for_import(client, location).await,
        }
    }

    async fn bar(&self, client: &Client, location: &Location) -> Result<Option<Bar>, Failure> {
        // Nobody can tell: AWS itself is asked, by the create.
        let Some(contents) = described::contents(client, location).await? else {
            return Ok(None);
        };
        Ok(match contents.storage() {
            // Named, and not shown by this name: it comes or goes.
            Some(storage) if self.spec.resource_name.as_ref() == Some(&storage.name) => None,
            Some(storage) => Some(Bar::Named(storage.name)),
            None if !contents.has_auth() => Some(Bar::Lacks),
            None => None,
        })
    }

    async fn create(
        &self,
        client: &Client,
        location: &Location,
        config: Option<&Permissions>,
    ) -> Result<Accepted<Storage>, Failure> {
        let sdk = client.usable()?;
        let Environment {
            app, name: environment, ..
        } = location.environment.as_ref();
        if let Some(bucket) = self.imported_bucket() {
            let request = sdk.backend_writes.import_backend_storage().app_id(app.as_str());
            let request = request
                .backend_environment_name(environment.as_str())
                .bucket_name(bucket)
                .service_name(sdk::ServiceName::S3);
            let reply = job_reply!(send!(sdk.observer(), IMPORT, request)?, no error);
            return accepted(IMPORT, app, &[environment], reply);
        }
        let (app, environment, resource) = names(location)?;
        let permissions = config.ok_or_else(|| never("resourceConfig is not there"))?;
        let bucket = self
            .spec
            .resource_config
            .as_ref()
            .and_then(|config| config.bucket_name.clone());
        let request = sdk.backend_writes.create_backend_storage().app_id(app.as_str());
        let request = request
            .backend_environment_name(environment.as_str())
            .resource_name(resource.as_str())
            .resource_config(
                sdk::CreateBackendStorageResourceConfig::builder()
                    .set_bucket_name(bucket)
                    .permissions(to_sdk(permissions))
                    .service_name(sdk::ServiceName::S3)
                    .build(),
            );
        let reply = job_reply!(send!(sdk.observer(), CREATE, request)?, no error);
        accepted(CREATE, app, &[environment], reply)
    }

    async fn update(client: &Client, location: &Location, config: &Permissions) -> Result<Accepted<Storage>, Failure> {
        let sdk = client.usable()?;
        let (app, environment, resource) = names(location)?;
        let request = sdk.backend_writes.update_backend_storage().app_id(app.as_str());
        let request = request
            .backend_environment_name(environment.as_str())
            .resource_name(resource.as_str())
            .resource_config(
                sdk::UpdateBackendStorageResourceConfig::builder()
                    .permissions(to_sdk(config))
                    .service_name(sdk::ServiceName::S3)
                    .build(),
            );
        let reply = job_reply!(send!(sdk.observer(), UPDATE, request)?, no error);
        accepted(UPDATE, app, &[environment], reply)
    }

    async fn delete(client: &Client, location: &Location) -> Result<Option<Accepted<Storage>>, Failure> {
        let mut location = location.clone();
        if name(&location).is_none() {
            // Imported, and its name has not been stored: the backend tells it.
            let found = look_for_import(client, &location).await?;
            let Some(name) = found.and_then(|found| found.name) else {
                return Ok(None);
            };
            location.within = Some(Within {
                kind: Self::NAME,
                name: Some(name.parse()?),
            });
        }
        let sdk = client.usable()?;
        let (app, environment, resource) = names(&location)?;
        let request = sdk.backend_writes.delete_backend_storage().app_id(app.as_str());
        let request = request
            .backend_environment_name(environment.as_str())
            .resource_name(resource.as_str())
            .service_name(sdk::ServiceName::S3);
        let Some(output) = absent_is_none(send!(sdk.observer(), DELETE, request))? else {
            return Ok(None);
        };
        accepted(DELETE, app, &[environment], job_reply!(output, no error)).map(Some)
    }
}

fn to_sdk(permissions: &Permissions) -> sdk::BackendStoragePermissions {
    let mut permissions = permissions.clone();
    permissions.settle();
    let guests = permissions.un_authenticated;
    sdk::BackendStoragePermissions::builder()
        .set_authenticated(Some(permissions.authenticated.into_iter().map(user_to_sdk).collect()))
        .set_un_authenticated(guests.map(|guests| guests.into_iter().map(guest_to_sdk).collect()))
        .build()
}

const fn user_to_sdk(permission: Permission) -> sdk::AuthenticatedElement {
    match permission {
        Permission::Read => sdk::AuthenticatedElement::Read,
        Permission::CreateAndUpdate => sdk::AuthenticatedElement::CreateAndUpdate,
        Permission::Delete => sdk::AuthenticatedElement::Delete,
    }
}

const fn guest_to_sdk(permission: Permission) -> sdk::UnAuthenticatedElement {
    match permission {
        Permission::Read => sdk::UnAuthenticatedElement::Read,
        Permission::CreateAndUpdate => sdk::UnAuthenticatedElement::CreateAndUpdate,
        Permission::Delete => sdk::UnAuthenticatedElement::Delete,
    }
}

/// AWS's word for a permission, if it is one that the API knows.
fn permission(word: &str) -> Option<Permission> {
    serde_json::from_value(Value::from(word)).ok()
}

fn shown(resource: &ResourceName, config: Option<sdk::GetBackendStorageResourceConfig>) -> Storage {
    // A word that the API does not know makes all of them unknown.
    let set = |words: Vec<&str>| -> Option<Vec<Permission>> {
        let mut set = words.into_iter().map(permission).collect::<Option<Vec<_>>>()?;
        set.sort_unstable();
        set.dedup();
        Some(set)
    };
    let permissions = config.as_ref().and_then(|config| config.permissions.as_ref());
    let users = permissions
        .and_then(|all| all.authenticated.as_deref())
        .unwrap_or_default();
    let guests = permissions.and_then(|all| all.un_authenticated.as_deref());
    Storage {
        name: Some(resource.to_string()),
        is_imported: config.as_ref().and_then(|config| config.imported).unwrap_or_default(),
        permissions: Shown {
            authenticated: set(users.iter().map(sdk::AuthenticatedElement::as_str).collect())
                .filter(|set| !set.is_empty()),
            un_authenticated: guests
                .and_then(|guests| set(guests.iter().map(sdk::UnAuthenticatedElement::as_str).collect())),
        },
        bucket: config.and_then(|config| config.bucket_name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lifecycle::Equality;

    fn storage(spec: &Value) -> BackendStorage {
        let mut all = json!({ "appId": "d1a2", "backendEnvironmentName": "dev" });
        json_patch::merge(&mut all, spec);
        serde_json::from_value(json!({ "metadata": { "name": "photos" }, "spec": all })).unwrap()
    }

    fn there(permissions: Shown) -> Storage {
        Storage {
            name: Some("photos".to_owned()),
            bucket: Some("photos1234-dev".to_owned()),
            is_imported: false,
            permissions,
        }
    }

    #[test]
    fn permissions_are_sets_and_what_aws_leaves_out_is_unknown() {
        use Permission::{CreateAndUpdate, Delete, Read};
        let spec = |permissions: Value| {
            storage(
                &json!({ "resourceName": "photos", "resourceConfig": { "bucketName": "photos", "permissions": permissions } }),
            )
        };
        for (wanted, authenticated, un_authenticated, equality) in [
            (
                json!({ "authenticated": ["DELETE", "READ"] }),
                Some(vec![Read, Delete]),
                None,
                Equality::Equal,
            ),
            (
                json!({ "authenticated": ["READ", "READ"] }),
                Some(vec![Read]),
                Some(vec![Read]),
                Equality::Equal,
            ),
            (
                json!({ "authenticated": ["READ"] }),
                Some(vec![Read, CreateAndUpdate]),
                None,
                Equality::Different,
            ),
            (json!({ "authenticated": ["READ"] }), None, None, Equality::Unknown),
            (json!({ "authenticated": [] }), None, None, Equality::Unknown),
            (
                json!({ "authenticated": ["READ"], "unAuthenticated": [] }),
                Some(vec![Read]),
                Some(vec![]),
                Equality::Equal,
            ),
            (
                json!({ "authenticated": ["READ"], "unAuthenticated": ["READ"] }),
                Some(vec![Read]),
                None,
                Equality::Unknown,
            ),
        ] {
            let storage = spec(wanted.clone());
            let mut config = storage.config().unwrap().clone();
            config.settle();
            let found = there(Shown {
                authenticated,
                un_authenticated,
            });
            let seen = storage.compare(&found, Some(&config));
            assert_eq!(seen.echo.unwrap().equality, Some(equality), "{wanted}");
            assert!(seen.differs.is_empty());
        }
    }

    #[test]
    fn what_is_imported_differs_by_its_bucket_alone() {
        let imported = storage(&json!({ "import": { "bucketName": "photos" } }));
        for (bucket, is_imported, differs) in [
            (Some("photos"), true, false),
            (None, true, false),
            (Some("other"), true, true),
            (Some("photos"), false, true),
        ] {
            let found = Storage {
                bucket: bucket.map(str::to_owned),
                is_imported,
                ..there(Shown::default())
            };
            let seen = imported.compare(&found, None);
            assert_eq!(
                (!seen.differs.is_empty(), seen.echo),
                (differs, None),
                "{bucket:?} {is_imported}"
            );
        }
        assert_eq!(imported.abilities().update, None);
        assert_eq!(imported.abilities().create, Operation::ImportBackendStorage);
    }
}
