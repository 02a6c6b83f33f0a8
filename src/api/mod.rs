//! The custom resource types of `amplify-operator.dev/v1alpha1`, as users write and read them.
//!
//! Types, their schemas and their documentation only: no I/O, no decisions, no tokio. `kubectl explain` prints the doc
//! comments of the fields. Field names are AWS's own, in lowerCamelCase.

#![expect(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "KubeSchema repeats each type inside a function"
)]

pub mod amplify_backend;
pub mod backend_api;
pub mod backend_environment;
pub mod backend_storage;
pub mod backend_target;
pub mod common;
pub mod conditions;
mod crds;
pub mod kinds;
pub mod operation;
pub mod outputs;
pub mod policies;
pub mod rules;
pub mod text;

pub use amplify_backend::{AmplifyBackend, AmplifyBackendSpec, AmplifyBackendStatus, CloneFrom};
pub use backend_api::{BackendApi, BackendApiSpec, BackendApiStatus, ResourceConfig};
pub use backend_environment::{BackendEnvironment, BackendEnvironmentSpec, BackendEnvironmentStatus};
pub use backend_storage::{BackendStorage, BackendStorageSpec, BackendStorageStatus};
pub use common::{BackendRef, Hashes, Job, JobDuration, KeepsLedger, Ledger, Phase};
pub use crds::{crds, to_yaml};
pub use kinds::KindName;
pub use operation::{Abilities, Operation, Origin, Read, Verb};
pub use policies::{AdoptionPolicy, DeletionPolicy, HasNouns, ManagementPolicy, Policies};

/// The API group.
pub const GROUP: &str = "amplify-operator.dev";
/// The finalizer that keeps a resource until its AWS object is gone or released.
pub const FINALIZER: &str = "amplify-operator.dev/finalizer";
/// The annotation that requests a reconcile. Any new value starts one at once, even if the resource is `Stalled`.
pub const RECONCILE_REQUESTED_AT: &str = "amplify-operator.dev/reconcile-requested-at";
/// This annotation, with the name of the backend environment as its value, lets AWS get writes although the environment is
/// locked for a Gen 2 migration.
pub const IGNORE_MIGRATION_LOCK: &str = "amplify-operator.dev/ignore-migration-lock";
/// The field manager of every write that the operator makes.
pub const FIELD_MANAGER: &str = "amplify-operator";
