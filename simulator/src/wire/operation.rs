//! The names of what can be asked for. Pure tables.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An AWS service, told apart by the credential scope of the signature.
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

/// Whether an operation changes anything.
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
            /// A request that names no operation of the API.
            Unknown,
        }

        impl Operation {
            /// Every operation with a name.
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

/// What is known of an operation: facts of the service models, which a test compares with botocore's.
struct Row {
    name: &'static str,
    service: Option<Service>,
    does: Does,
    /// Method and path.
    route: &'static str,
    /// The other members of its input, as [`model`](super::model) reads them.
    members: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Changes nothing.
    Read,
    /// Makes an AWS object: what must not happen twice.
    Create,
    /// Changes or removes one.
    Change,
    /// Destroys more than one: what no operator may ever call.
    Ruin,
}

// The route of an operation has the members that travel in the path. Of the others `!` marks those that must be there, `?`
// those that travel in the query, and `=` says what they are where that is not text: see `model`.
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
    /// Removes every backend of an app: here because nobody should ever call it.
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
    /// Not simulated; recorded by name.
    GenerateBackendApiModels = "GenerateBackendAPIModels", AmplifyBackend, Change,
        "POST /backend/{appId}/api/{backendEnvironmentName}/generateModels",
        "resourceName!";
    /// Not simulated; recorded by name.
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
    /// Takes an S3 storage out of the backend (job).
    DeleteBackendStorage = "DeleteBackendStorage", AmplifyBackend, Change,
        "POST /backend/{appId}/storage/{backendEnvironmentName}/remove",
        "resourceName! serviceName!=S3";
    /// Reads a job.
    GetBackendJob = "GetBackendJob", AmplifyBackend, Read, "GET /backend/{appId}/job/{backendEnvironmentName}/{jobId}",
        "";
    /// Lists an environment's jobs.
    ListBackendJobs = "ListBackendJobs", AmplifyBackend, Read, "POST /backend/{appId}/job/{backendEnvironmentName}",
        "jobId maxResults=integer nextToken operation status";
    /// Not simulated; recorded by name.
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
    /// Removes an app with all that is in it: here because nobody should ever call it.
    DeleteApp = "DeleteApp", Amplify, Ruin, "DELETE /apps/{appId}", "";
    /// Issues credentials of a role. Its wire format is another one.
    AssumeRole = "AssumeRole", Sts, Read, "", "";
    /// Says whose credentials they are. Its wire format is another one.
    GetCallerIdentity = "GetCallerIdentity", Sts, Read, "", "";
}

impl Operation {
    /// AWS's name of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// Returns the service that offers it.
    #[must_use]
    pub const fn service(self) -> Option<Service> {
        self.row().service
    }

    /// Whether it writes.
    #[must_use]
    pub const fn class(self) -> Class {
        match self.row().does {
            Does::Read => Class::Read,
            Does::Create | Does::Change | Does::Ruin => Class::Write,
        }
    }

    /// Whether it makes an AWS object: what must not happen twice.
    #[must_use]
    pub const fn creates(self) -> bool {
        matches!(self.row().does, Does::Create)
    }

    /// Whether it destroys more than one object: what no operator may ever call.
    #[must_use]
    pub const fn is_dangerous(self) -> bool {
        matches!(self.row().does, Does::Ruin)
    }

    /// Method and path, with the names of what stands there in braces; empty where the wire format is another one.
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
