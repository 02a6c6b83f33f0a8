//! The adapters of the three kinds.

mod amplify_backend;
mod backend_api;
mod backend_environment;

pub(super) use backend_api::{config_hash, is_schema_left_out};
