//! The kinds, and the app of the tests' resources.

/// The app of all tests. Each test has its own AWS.
pub const APP: &str = "d1a2b3c4d5e6f7";

/// A kind of custom resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Backend,
    Api,
    Storage,
    Environment,
}

impl Kind {
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Backend => ("AmplifyBackend", "amplifybackends"),
            Self::Api => ("BackendApi", "backendapis"),
            Self::Storage => ("BackendStorage", "backendstorages"),
            Self::Environment => ("BackendEnvironment", "backendenvironments"),
        }
    }
}
