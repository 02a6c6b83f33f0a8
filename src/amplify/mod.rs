//! The AWS port: the only place that talks to AWS and that names its SDK.
//!
//! May do: HTTPS to AWS and what the credentials chain needs. May not: decide anything, know Kubernetes, or wait for
//! its turn (the token buckets in [`throttle`] hand out permits and call back). Writes are sent once and never
//! retried here; each failure says whether the write may have been carried out.

pub mod accounts;
mod client;
mod errors;
mod http;
mod names;
mod probe;
pub mod regions;
mod session;
pub mod throttle;

pub use accounts::Accounts;
pub use client::{Client, answers::Accepted};
pub(crate) use client::{answers, measured, send};
pub(crate) use errors::Call;
pub use errors::without_request_id;
pub use names::{AppId, EnvironmentName, InvalidName, JobId, ResourceName};
pub use session::{Assignment, Base, Session, Sessions};
pub use throttle::{BucketKey, Permit, Throttle};
