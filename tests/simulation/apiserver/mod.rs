//! A model of kube-apiserver and etcd, as far as the operator uses them, in process and on tokio's clock.
//!
//! | file | holds | pure |
//! |---|---|---|
//! | `resource`, `schema` | the served resources, and the processing of a body: pruned, defaulted, validated | yes |
//! | `store` | etcd: every version since the last compaction | yes |
//! | `request`, `refusal` | HTTP in, `Status` out | yes |
//! | `state`, `read`, `metadata`, `patch`, `rights` | the effect of a request, and its answer | yes |
//! | `watch` | the position of a watch, and its lines | yes |
//! | `faults` | the faults, by a seed | yes |
//! | `server` | connections, delays, streams: a tower service for [`kube::Client::new`] | no |
//! | `users` | the actions of all other clients | no |
//!
//! `faithful` compares it with a real kube-apiserver. **It is harsher than the real one** in behaviour that the real
//! one may show but seldom does: a lagging cache answers reads with `resourceVersion=0`; each watch lags by its own
//! time; watches are cut, torn and fall silent; a compaction also empties the cache, so that every watch from before is
//! answered with 410.
//!
//! **It is less complete**: no selectors, no dry runs, no server-side or strategic-merge patch, no managedFields, no
//! deletion of collections, no streamed lists, no garbage collection; of the CEL rules only the simple ones (`schema`);
//! one version per definition; `core/v1` Events are not served. Requests for anything else are answered with 501, never
//! ignored.

mod faults;
mod metadata;
mod patch;
mod read;
mod refusal;
mod request;
mod resource;
mod rights;
mod schema;
mod server;
mod state;
mod store;
pub(crate) mod tests;
mod users;
mod watch;

pub(crate) use faults::Odds;
pub(crate) use request::Verb;
pub(crate) use rights::Withdrawn;
pub(crate) use server::{Reach, Server};
pub(crate) use state::Write;
pub(crate) use users::{Named, Users};
