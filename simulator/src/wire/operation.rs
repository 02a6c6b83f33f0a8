//! The names of services and operations. Pure tables.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An AWS service. The credential scope of the signature determines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The API that deploys backends, in jobs.
    AmplifyBackend,
    /// The API of apps and environment records.
    Amplify,
    /// Identities and assumed roles.
    Sts,
}

impl Service {
    /// Returns the name in a signature's credential scope.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AmplifyBackend => "amplifybackend",
            Self::Amplify => "amplify",
            Self::Sts => "sts",
        }
    }

    pub(crate) fn from_scope(name: &str) -> Option<Self> {
        [Self::AmplifyBackend, Self::Amplify, Self::Sts]
            .into_iter()
            .find(|service| service.as_str() == name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether an operation reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Changes nothing.
    Read,
    /// Starts a job or changes a record.
    Write,
}

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $service:ident, $does:ident, $route:literal, $members:literal;)*) => {
        /// An AWS operation, by AWS's own name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Operation {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
            /// A request that matches no operation of the API.
            Unknown,
        }

        impl Operation {
            /// All operations with a name.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            const fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        name: $name,
                        service: Some(Service::$service),
                        does: Does::$does,
                        route: $route,
                        members: $members,
                    },)*
                    Self::Unknown => Row {
                        name: "Unknown",
                        service: None,
                        does: Does::Read,
                        route: "",
                        members: "",
                    },
                }
            }
        }
    };
}

/// The facts of the service models about an operation. A test compares them with botocore's.
struct Row {
    name: &'static str,
    service: Option<Service>,
    does: Does,
    /// Method and path.
    route: &'static str,
    /// The other members of its input, in the notation of [`model`](super::model).
    members: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Changes nothing.
    Read,
    /// Creates an AWS object: must not happen twice.
    Create,
    /// Changes or removes an object.
    Change,
    /// Destroys more than one object: an operator must never call it.
    Ruin,
}

// An operation's route contains the members in the path. Among the other members, `!` marks required ones, `?` marks
// members in the query, and `=` gives the type of a member that is not text: see `model`.
operations! {
    /// Deploys a backend (job).
    CreateBackend = "CreateBackend", AmplifyBackend, Create, "POST /backend",
        "appId! appName! backendEnvironmentName! resourceConfig={} resourceName";
    /// Deploys a backend like another one (job).
    CloneBackend = "CloneBackend", AmplifyBackend, Create, "POST /backend/{appId}/environments/{backendEnvironmentName}/clone",
        "targetEnvironmentName!";
    /// Reads a backend, or the list of them.
    GetBackend = "GetBackend", AmplifyBackend, Read, "POST /backend/{appId}/details",
        "backendEnvironmentName";
    /// Removes a backend (job).
    DeleteBackend = "DeleteBackend", AmplifyBackend, Change, "POST /backend/{appId}/environments/{backendEnvironmentName}/remove",
        "";
    /// Removes every backend of an app. It is in the table because no client should ever call it.
    RemoveAllBackends = "RemoveAllBackends", AmplifyBackend, Ruin, "POST /backend/{appId}/remove",
        "cleanAmplifyApp=boolean";
    /// Creates a GraphQL API (job).
    CreateBackendApi = "CreateBackendAPI", AmplifyBackend, Create, "POST /backend/{appId}/api",
        "backendEnvironmentName! resourceConfig!=Api resourceName!";
    /// Reads a GraphQL API.
    GetBackendApi = "GetBackendAPI", AmplifyBackend, Read, "POST /backend/{appId}/api/{backendEnvironmentName}/details",
        "resourceConfig=Api resourceName!";
    /// Updates a GraphQL API (job).
    UpdateBackendApi = "UpdateBackendAPI", AmplifyBackend, Change, "POST /backend/{appId}/api/{backendEnvironmentName}",
        "resourceConfig=Api resourceName!";
    /// Removes a GraphQL API (job).
    DeleteBackendApi = "DeleteBackendAPI", AmplifyBackend, Change, "POST /backend/{appId}/api/{backendEnvironmentName}/remove",
        "resourceConfig=Api resourceName!";
    /// Not simulated; the history shows its name.
    GenerateBackendApiModels = "GenerateBackendAPIModels", AmplifyBackend, Change,
        "POST /backend/{appId}/api/{backendEnvironmentName}/generateModels",
        "resourceName!";
    /// Not simulated; the history shows its name.
    GetBackendApiModels = "GetBackendAPIModels", AmplifyBackend, Read,
        "POST /backend/{appId}/api/{backendEnvironmentName}/getModels",
        "resourceName!";
    /// Creates an S3 storage (job).
    CreateBackendStorage = "CreateBackendStorage", AmplifyBackend, Create, "POST /backend/{appId}/storage",
        "backendEnvironmentName! resourceConfig!=NewStorage resourceName!";
    /// Links an S3 bucket that exists (job).
    ImportBackendStorage = "ImportBackendStorage", AmplifyBackend, Create,
        "POST /backend/{appId}/storage/{backendEnvironmentName}/import",
        "bucketName serviceName!=S3";
    /// Reads an S3 storage.
    GetBackendStorage = "GetBackendStorage", AmplifyBackend, Read,
        "POST /backend/{appId}/storage/{backendEnvironmentName}/details",
        "resourceName!";
    /// Updates an S3 storage (job).
    UpdateBackendStorage = "UpdateBackendStorage", AmplifyBackend, Change,
        "POST /backend/{appId}/storage/{backendEnvironmentName}",
        "resourceConfig!=ChangedStorage resourceName!";
    /// Removes an S3 storage from the backend (job).
    DeleteBackendStorage = "DeleteBackendStorage", AmplifyBackend, Change,
        "POST /backend/{appId}/storage/{backendEnvironmentName}/remove",
        "resourceName! serviceName!=S3";
    /// Reads a job.
    GetBackendJob = "GetBackendJob", AmplifyBackend, Read, "GET /backend/{appId}/job/{backendEnvironmentName}/{jobId}",
        "";
    /// Lists an environment's jobs.
    ListBackendJobs = "ListBackendJobs", AmplifyBackend, Read, "POST /backend/{appId}/job/{backendEnvironmentName}",
        "jobId maxResults=integer nextToken operation status";
    /// Not simulated; the history shows its name.
    UpdateBackendJob = "UpdateBackendJob", AmplifyBackend, Change,
        "POST /backend/{appId}/job/{backendEnvironmentName}/{jobId}",
        "operation status";
    /// Registers an environment record.
    CreateBackendEnvironment = "CreateBackendEnvironment", Amplify, Create, "POST /apps/{appId}/backendenvironments",
        "deploymentArtifacts environmentName! stackName";
    /// Reads an environment record.
    GetBackendEnvironment = "GetBackendEnvironment", Amplify, Read, "GET /apps/{appId}/backendenvironments/{environmentName}",
        "";
    /// Lists environment records.
    ListBackendEnvironments = "ListBackendEnvironments", Amplify, Read, "GET /apps/{appId}/backendenvironments",
        "?environmentName ?maxResults=integer ?nextToken";
    /// Removes an environment record.
    DeleteBackendEnvironment = "DeleteBackendEnvironment", Amplify, Change,
        "DELETE /apps/{appId}/backendenvironments/{environmentName}",
        "";
    /// Reads an app.
    GetApp = "GetApp", Amplify, Read, "GET /apps/{appId}", "";
    /// Lists apps.
    ListApps = "ListApps", Amplify, Read, "GET /apps", "?maxResults=integer ?nextToken";
    /// Removes an app with its contents. It is in the table because no client should ever call it.
    DeleteApp = "DeleteApp", Amplify, Ruin, "DELETE /apps/{appId}", "";
    /// Issues credentials of a role. Its wire format differs.
    AssumeRole = "AssumeRole", Sts, Read, "", "";
    /// Returns the identity of the caller. Its wire format differs.
    GetCallerIdentity = "GetCallerIdentity", Sts, Read, "", "";
}

impl Operation {
    /// Returns AWS's name of the operation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// Returns the service that offers it.
    #[must_use]
    pub const fn service(self) -> Option<Service> {
        self.row().service
    }

    /// Returns whether the operation reads or writes.
    #[must_use]
    pub const fn class(self) -> Class {
        match self.row().does {
            Does::Read => Class::Read,
            Does::Create | Does::Change | Does::Ruin => Class::Write,
        }
    }

    /// Whether it creates an AWS object: must not happen twice.
    #[must_use]
    pub const fn creates(self) -> bool {
        matches!(self.row().does, Does::Create)
    }

    /// Whether it destroys more than one object: an operator must never call it.
    #[must_use]
    pub const fn is_dangerous(self) -> bool {
        matches!(self.row().does, Does::Ruin)
    }

    /// Returns method and path, with the names of path members in braces; empty if the wire format differs.
    pub(crate) const fn route(self) -> &'static str {
        self.row().route
    }

    /// Returns the other members of its input.
    pub(crate) const fn members(self) -> &'static str {
        self.row().members
    }

    /// Whether its answer names neither the operation nor an error.
    #[must_use]
    pub const fn tells_little(self) -> bool {
        matches!(
            self,
            Self::CreateBackendStorage
                | Self::ImportBackendStorage
                | Self::UpdateBackendStorage
                | Self::DeleteBackendStorage
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
