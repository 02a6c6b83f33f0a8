//! The AWS port: every call to AWS goes through it. Only the port and `kinds` name AWS's SDK.
//!
//! May do: HTTPS to AWS, and the requests of the credentials chain. May not: decide anything, use Kubernetes, or wait
//! for tokens (the token buckets in [`throttle`] hand out permits and call back). Writes are sent once and never
//! retried here. Each failure says whether the write may have been carried out.

pub mod accounts;
mod client;
mod errors;
mod given;
mod http;
mod names;
mod probe;
pub mod regions;
mod session;
pub mod throttle;

pub use self::http::{NoWay, Route};
pub use accounts::Accounts;
pub use client::{AppSeen, Client, answers::Accepted};
pub(crate) use client::{answers, measured, send};
pub(crate) use errors::Call;
pub use errors::without_request_id;
pub use given::{BadEndpoint, BadVariable};
pub use names::{AppId, EnvironmentName, InvalidName, JobId, ResourceName};
pub use session::{Assignment, Base, Session, Sessions};
pub use throttle::{BucketKey, Permit, Throttle};
