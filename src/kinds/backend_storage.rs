//! `BackendStorage`: CreateBackendStorage or ImportBackendStorage, GetBackendStorage, UpdateBackendStorage, DeleteBackendStorage.

use aws_sdk_amplifybackend::types as sdk;
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::Value;

use super::{
    Kind, Located, Observation, Place, Remote, Sight,
    config::{self, Config},
    described,
    in_backend::{self, names},
    meta_config, outputs,
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
        outputs::{OutputsTo, StorageOutputs, checked},
    },
    controller::index::{Environment, Index, Location, ObjectKey},
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
    pub name: String,
    /// The name of its bucket, if AWS returned it.
    pub bucket: Option<String>,
    /// Whether its bucket existed before the storage.
    pub is_imported: bool,
    /// The permissions, as far as AWS returned them.
    pub permissions: Shown,
}

/// Permissions as AWS shows them. An empty list of users is unknown: the SDK inserts an empty list if the member is
/// missing.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Permissions of users who have signed in.
    pub authenticated: Option<Vec<Permission>>,
    /// Permissions of guests.
    pub un_authenticated: Option<Vec<Permission>>,
}

impl Config for Permissions {
    const PATH: &'static str = "spec.resourceConfig.permissions";

    // AWS replaces all permissions with each change.
    const IS_SENT_WHOLE: bool = true;

    /// Sorts the permissions: to AWS they are sets. Guests that are not named have no permissions.
    fn settle(&mut self) {
        let guests = self.un_authenticated.get_or_insert_default();
        for set in [&mut self.authenticated, guests] {
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
            // AWS refuses to change an imported storage.
            Some(_) => Abilities {
                update: None,
                ..Abilities::of(Operation::ImportBackendStorage)
            },
            None => Abilities::of(Operation::CreateBackendStorage),
        }
    }

    fn words(&self) -> Words {
        Words {
            place: in_backend::PLACE,
            lacks: "the backend has no auth, which a storage needs: add one (amplify add auth, or Amplify Studio). It is looked for again",
            ..Words::default()
        }
    }

    fn policies(&self) -> &Policies {
        &self.spec.policies
    }

    fn outputs_to(&self) -> Option<&OutputsTo> {
        self.spec.outputs_to.as_ref()
    }

    fn job_timeout(&self) -> Option<SignedDuration> {
        self.spec.job_timeout.map(|timeout| timeout.0)
    }

    fn refers_to(&self, namespace: &str) -> Option<ObjectKey> {
        in_backend::refers_to(&self.spec.target, namespace)
    }

    fn locate(&self, namespace: &str, index: &Index, default_region: Option<&str>) -> Located {
        let address = in_backend::Address {
            kind: Self::NAME,
            // AWS chooses the name of an imported storage. Its bucket identifies it.
            resource: self.spec.resource_name.as_deref(),
            target: &self.spec.target,
            namespace,
            ledger: self.ledger(),
            pinned: self.status.as_ref().map(|status| &status.target),
        };
        in_backend::locate(&address, index, default_region)
    }

    fn show(&self, state: &State, location: Option<&Location>, found: Observation<&Storage>) -> Value {
        let pinned = self.status.as_ref().map(|status| &status.target);
        let known = self.status.as_ref().and_then(|status| status.resource_name.clone());
        // The name of a storage that this resource does not own is not shown.
        let name = found.object().map(|found| found.name.clone()).or(known);
        let before = self.status.as_ref().and_then(|status| status.outputs.as_ref());
        let outputs = outputs(before, found, &state.ledger, |storage| {
            let bucket_name = storage.bucket.as_deref().and_then(checked);
            bucket_name.is_some().then_some(StorageOutputs { bucket_name })
        });
        serde_json::json!(BackendStorageStatus {
            ledger: state.ledger.clone(),
            target: in_backend::resolved(location, pinned),
            resource_name: name.filter(|_| state.ledger.origin.is_some()),
            hashes: state.hashes.clone(),
            outputs: outputs.filter(|_| self.policies().shows_values(&state.ledger)),
        })
    }

    fn config(&self) -> Option<&Permissions> {
        self.spec.resource_config.as_ref().map(|config| &config.permissions)
    }

    fn compare(&self, found: &Storage, config: Option<&Permissions>) -> Seen {
        let mut seen = Seen::default();
        if self.spec.import.is_some() {
            // The look found it by its bucket, and AWS cannot change it.
            return seen;
        }
        if found.is_imported {
            seen.differs.push("kind of bucket (an imported one)");
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
        seen
    }
}

/// Looks at a storage by its name.
pub async fn look(
    client: &Client,
    app: &AppId,
    environment: &EnvironmentName,
    resource: &ResourceName,
) -> Result<Sight<Storage>, Failure> {
    let sdk = client.usable()?;
    let request = sdk.backend_reads.get_backend_storage().app_id(app.as_str());
    let request = request
        .backend_environment_name(environment.as_str())
        .resource_name(resource.as_str());
    let Some(output) = absent_is_none(send!(sdk.observer(), GET, request))? else {
        return Ok(Sight::Absent);
    };
    let named = output.backend_environment_name.as_deref();
    same(GET, "appId", output.app_id.as_deref(), app.as_str())?;
    same(GET, "backendEnvironmentName", named, environment.as_str())?;
    // AWS may answer with the environment's existing storage, or with a bare answer if there is none.
    if let Err(other) = same(GET, "resourceName", output.resource_name.as_deref(), resource.as_str()) {
        return Ok(Sight::Undescribed(other));
    }
    Ok(match output.resource_config.filter(is_described) {
        Some(config) => Sight::Shown(shown(resource, config)),
        None => Sight::Undescribed(unreadable(GET, "the answer describes no storage")),
    })
}

/// Whether the answer describes a storage. The SDK inserts a value of its own if the service is missing.
fn is_described(config: &sdk::GetBackendStorageResourceConfig) -> bool {
    config.service_name == Some(sdk::ServiceName::S3) || config.bucket_name.is_some() || config.permissions.is_some()
}

/// Whether this storage imports this bucket. AWS chooses the names of imported storages, so the bucket identifies one.
/// A missing bucket name does not exclude a storage.
fn links(storage: &meta_config::Storage, bucket: &str) -> bool {
    storage.is_imported && storage.bucket.as_deref().is_none_or(|there| there == bucket)
}

/// Looks for the storage that imports this bucket, in the contents of the backend.
async fn look_for_import(client: &Client, location: &Location, bucket: &str) -> Result<Sight<Storage>, Failure> {
    let Some(meta) = described::contents(client, location).await? else {
        return Ok(Sight::Absent);
    };
    // Only the backend's contents name an imported storage. If they are unknown, the storage is neither present nor
    // absent.
    let meta = meta
        .map_err(|why| described::unknown(&format!("{why}, and only AmplifyMetaConfig names an imported storage")))?;
    let mut storages = meta.storages().map_err(|why| described::unknown(&why))?;
    let Some(storage) = storages.find(|storage| links(storage, bucket)) else {
        return Ok(Sight::Absent);
    };
    if let Err(refused) = storage.name.parse::<ResourceName>() {
        return Err(described::unknown(&format!("the storage's name: {refused}")));
    }
    Ok(Sight::Shown(Storage {
        name: storage.name.clone(),
        bucket: storage.bucket.clone(),
        is_imported: true,
        permissions: Shown::default(),
    }))
}

impl Remote for BackendStorage {
    type List = ();

    async fn look(&self, client: &Client, location: &Location) -> Result<Sight<Storage>, Failure> {
        if let Some(bucket) = self.imported_bucket() {
            return look_for_import(client, location, bucket).await;
        }
        let (app, environment, resource) = names(location)?;
        look(client, app, environment, resource).await
    }

    async fn place(&self, client: &Client, location: &Location) -> Result<Place, Failure> {
        let is_this = |storage: &meta_config::Storage| match self.imported_bucket() {
            Some(bucket) => links(storage, bucket),
            None => self.spec.resource_name.as_ref() == Some(&storage.name),
        };
        described::place(client, location, |meta| {
            let Ok(storages) = meta.storages() else {
                return Place::Unclear;
            };
            let storages: Vec<_> = storages.collect();
            match storages.first() {
                Some(_) if storages.iter().any(|storage| is_this(storage)) => Place::Unclear,
                Some(other) => Place::Barred(Bar::Named(other.name.clone())),
                None if !meta.has_auth() => Place::Barred(Bar::Lacks),
                None => Place::Free,
            }
        })
        .await
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

    async fn delete(
        client: &Client,
        location: &Location,
        found: Option<&Storage>,
    ) -> Result<Option<Accepted<Storage>>, Failure> {
        let sdk = client.usable()?;
        let Environment {
            app, name: environment, ..
        } = location.environment.as_ref();
        // Only the look returns the name of an imported storage.
        let found = found.ok_or_else(|| never("the storage has not been looked at"))?;
        let resource: ResourceName = found.name.parse()?;
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
    // AWS could read an empty list as guests without permissions. A list that is left out removes the guests'
    // permissions.
    let guests = permissions.un_authenticated.filter(|guests| !guests.is_empty());
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

/// Converts AWS's word for a permission, if this API version has it.
fn permission(word: &str) -> Option<Permission> {
    serde_json::from_value(Value::from(word)).ok()
}

fn shown(resource: &ResourceName, config: sdk::GetBackendStorageResourceConfig) -> Storage {
    // One word that this API version does not have makes the whole set unknown.
    let set = |words: Vec<&str>| -> Option<Vec<Permission>> {
        let mut set = words.into_iter().map(permission).collect::<Option<Vec<_>>>()?;
        set.sort_unstable();
        set.dedup();
        Some(set)
    };
    let permissions = config.permissions.as_ref();
    let users = permissions
        .and_then(|all| all.authenticated.as_deref())
        .unwrap_or_default();
    let authenticated =
        set(users.iter().map(sdk::AuthenticatedElement::as_str).collect()).filter(|set| !set.is_empty());
    let un_authenticated = match permissions.and_then(|all| all.un_authenticated.as_deref()) {
        Some(guests) => set(guests.iter().map(sdk::UnAuthenticatedElement::as_str).collect()),
        // AWS returned the users' permissions but none of guests: guests have none.
        None => authenticated.as_ref().map(|_| Vec::new()),
    };
    Storage {
        name: resource.to_string(),
        is_imported: config.imported.unwrap_or_default(),
        permissions: Shown {
            authenticated,
            un_authenticated,
        },
        bucket: config.bucket_name,
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

    /// Converts an answer of AWS with these permissions.
    fn there(authenticated: &[&str], un_authenticated: Option<&[&str]>) -> Storage {
        let permissions = sdk::BackendStoragePermissions::builder()
            .set_authenticated(Some(authenticated.iter().map(|word| (*word).into()).collect()))
            .set_un_authenticated(un_authenticated.map(|words| words.iter().map(|word| (*word).into()).collect()))
            .build();
        let config = sdk::GetBackendStorageResourceConfig::builder()
            .permissions(permissions)
            .service_name(sdk::ServiceName::S3)
            .build();
        shown(&"photos".parse().unwrap(), config)
    }

    #[test]
    fn permissions_are_sets_and_what_aws_does_not_say_counts_as_different() {
        for (wanted, users, guests, equality) in [
            (
                json!({ "authenticated": ["DELETE", "READ"] }),
                &["READ", "DELETE"][..],
                None,
                Equality::Equal,
            ),
            (
                json!({ "authenticated": ["READ", "READ"] }),
                &["READ"],
                Some(&[][..]),
                Equality::Equal,
            ),
            (
                json!({ "authenticated": ["READ"], "unAuthenticated": [] }),
                &["READ"],
                None,
                Equality::Equal,
            ),
            // Guests that the spec does not name have no permissions.
            (
                json!({ "authenticated": ["READ"] }),
                &["READ"],
                Some(&["READ"]),
                Equality::Different,
            ),
            (
                json!({ "authenticated": ["READ"] }),
                &["READ", "CREATE_AND_UPDATE"],
                None,
                Equality::Different,
            ),
            (
                json!({ "authenticated": ["READ"], "unAuthenticated": ["READ"] }),
                &["READ"],
                None,
                Equality::Different,
            ),
            // The SDK's empty list, and an unknown word.
            (json!({ "authenticated": ["READ"] }), &[], None, Equality::Different),
            (json!({ "authenticated": [] }), &[], None, Equality::Different),
            (
                json!({ "authenticated": ["READ"] }),
                &["READ", "LIST"],
                None,
                Equality::Different,
            ),
        ] {
            let spec = json!({ "resourceName": "photos", "resourceConfig": { "bucketName": "photos", "permissions": wanted } });
            let storage = storage(&spec);
            let mut config = storage.config().unwrap().clone();
            config.settle();
            let seen = storage.compare(&there(users, guests), Some(&config));
            assert_eq!(
                seen.echo.unwrap().equality,
                Some(equality),
                "{spec} {users:?} {guests:?}"
            );
            assert!(seen.differs.is_empty());
        }
    }

    #[test]
    fn what_is_imported_is_known_by_its_bucket() {
        let of = |bucket: Option<&str>, is_imported| meta_config::Storage {
            name: "photos".to_owned(),
            is_imported,
            bucket: bucket.map(str::to_owned),
        };
        for (bucket, is_imported, is_it) in [
            (Some("photos"), true, true),
            (None, true, true),
            (Some("other"), true, false),
            (Some("photos"), false, false),
            (None, false, false),
        ] {
            assert_eq!(
                links(&of(bucket, is_imported), "photos"),
                is_it,
                "{bucket:?} {is_imported}"
            );
        }
        let imported = storage(&json!({ "import": { "bucketName": "photos" } }));
        assert_eq!(imported.abilities().update, None);
        assert_eq!(imported.abilities().create, Operation::ImportBackendStorage);
    }
}
