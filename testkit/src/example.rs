//! The example of a Git repository that the GitOps tools apply.

use crate::kind::Kind;

/// Its folder.
pub const FOLDER: &str = "deploy/gitops/storefront";
/// Its custom resources.
pub const RESOURCES: [(Kind, &str); 4] = [
    (Kind::Backend, "staging"),
    (Kind::Backend, "preview"),
    (Kind::Api, "storefront"),
    (Kind::Environment, "legacy"),
];
