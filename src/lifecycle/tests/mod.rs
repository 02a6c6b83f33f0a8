//! The table tests of the lifecycle, design rule by rule: sequences of (event → steps, conditions).
//!
//! A pass is written as its steps, in order. `finalizer`, `intend`, `record`, `store`, `release` and `status` (the
//! status that a settled pass stores, if it differs) are writes to Kubernetes. `create`, `update` and `delete` are
//! writes to AWS. The others are reads.

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
