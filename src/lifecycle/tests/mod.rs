//! The table tests of the lifecycle: design rule by rule, as sequences of (what happens → steps, conditions).
//!
//! A pass reads as the steps that it made, in order. Of these `finalizer`, `intend`, `record`, `store`, `release` and
//! `status` (what settling writes, where it differs) are writes to Kubernetes, `create`, `update` and `delete` writes to
//! AWS, the others are reads.

mod accounts;
mod create;
mod delete;
mod errors;
mod follow;
mod keep;
mod learn;
mod migration;
mod observe;
mod outcome;
mod play;
mod properties;
mod record;
mod report;
mod scene;
mod timing;
