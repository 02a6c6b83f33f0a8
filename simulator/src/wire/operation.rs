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
    /// The name in a signature's credential scope.
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
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $service:ident, $class:ident;)*) => {
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

            /// AWS's name of it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Unknown => "Unknown",
                }
            }

            /// The service that offers it.
            #[must_use]
            pub const fn service(self) -> Option<Service> {
                match self {
                    $(Self::$variant => Some(Service::$service),)*
                    Self::Unknown => None,
                }
            }

            /// Whether it writes.
            #[must_use]
            pub const fn class(self) -> Class {
                match self {
                    $(Self::$variant => Class::$class,)*
                    Self::Unknown => Class::Read,
                }
            }
        }
    };
}

operations! {
    /// Deploys a backend (job).
    CreateBackend = "CreateBackend", AmplifyBackend, Write;
    /// Deploys a backend like another one (job).
    CloneBackend = "CloneBackend", AmplifyBackend, Write;
    /// Reads a backend, or the list of them.
    GetBackend = "GetBackend", AmplifyBackend, Read;
    /// Removes a backend (job).
    DeleteBackend = "DeleteBackend", AmplifyBackend, Write;
    /// Removes every backend of an app: here because nobody should ever call it.
    RemoveAllBackends = "RemoveAllBackends", AmplifyBackend, Write;
    /// Creates a GraphQL API (job).
    CreateBackendApi = "CreateBackendAPI", AmplifyBackend, Write;
    /// Reads a GraphQL API.
    GetBackendApi = "GetBackendAPI", AmplifyBackend, Read;
    /// Updates a GraphQL API (job).
    UpdateBackendApi = "UpdateBackendAPI", AmplifyBackend, Write;
    /// Removes a GraphQL API (job).
    DeleteBackendApi = "DeleteBackendAPI", AmplifyBackend, Write;
    /// Not simulated; recorded by name.
    GenerateBackendApiModels = "GenerateBackendAPIModels", AmplifyBackend, Write;
    /// Not simulated; recorded by name.
    GetBackendApiModels = "GetBackendAPIModels", AmplifyBackend, Read;
    /// Reads a job.
    GetBackendJob = "GetBackendJob", AmplifyBackend, Read;
    /// Lists an environment's jobs.
    ListBackendJobs = "ListBackendJobs", AmplifyBackend, Read;
    /// Not simulated; recorded by name.
    UpdateBackendJob = "UpdateBackendJob", AmplifyBackend, Write;
    /// Registers an environment record.
    CreateBackendEnvironment = "CreateBackendEnvironment", Amplify, Write;
    /// Reads an environment record.
    GetBackendEnvironment = "GetBackendEnvironment", Amplify, Read;
    /// Lists environment records.
    ListBackendEnvironments = "ListBackendEnvironments", Amplify, Read;
    /// Removes an environment record.
    DeleteBackendEnvironment = "DeleteBackendEnvironment", Amplify, Write;
    /// Reads an app.
    GetApp = "GetApp", Amplify, Read;
    /// Lists apps.
    ListApps = "ListApps", Amplify, Read;
    /// Removes an app with all that is in it: here because nobody should ever call it.
    DeleteApp = "DeleteApp", Amplify, Write;
    /// Issues credentials of a role.
    AssumeRole = "AssumeRole", Sts, Read;
    /// Says whose credentials they are.
    GetCallerIdentity = "GetCallerIdentity", Sts, Read;
}

impl Operation {
    /// Whether it makes an AWS object: what must not happen twice.
    #[must_use]
    pub const fn creates(self) -> bool {
        matches!(
            self,
            Self::CreateBackend | Self::CloneBackend | Self::CreateBackendApi | Self::CreateBackendEnvironment
        )
    }

    /// Whether it destroys more than one object: what no operator may ever call.
    #[must_use]
    pub const fn is_dangerous(self) -> bool {
        matches!(self, Self::RemoveAllBackends | Self::DeleteApp)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
