//! The example of a Git repository that the GitOps tools apply.

use crate::{
    kind::{APP, Kind},
    stage::Stage,
};

/// Its folder.
pub const FOLDER: &str = "deploy/gitops/storefront";
/// Its custom resources.
pub const RESOURCES: [(Kind, &str); 4] = [
    (Kind::Backend, "staging"),
    (Kind::Backend, "preview"),
    (Kind::Api, "storefront"),
    (Kind::Environment, "legacy"),
];

/// Those that own an AWS object that goes with them.
pub const DELETED: [(Kind, &str); 3] = [
    (Kind::Api, "storefront"),
    (Kind::Backend, "preview"),
    (Kind::Backend, "staging"),
];

/// Asserts that AWS has nothing of the example but the record, which is retained.
pub fn assert_only_the_record_is_left(stage: &Stage) {
    let app = stage.aws().app((APP, "staging")).expect("the app");
    assert!(app.backends.is_empty(), "{:?}", app.backends.keys());
    assert!(app.environments.contains_key("legacy"), "deletionPolicy: Retain");
}
