//! The loop for any kind: watch → view → [`crate::lifecycle::next`] → perform → record.
//!
//! | file | may touch |
//! |---|---|
//! | `watch` | the API server's watches; feeds index and queue |
//! | `watched` | nothing: the data of a kind, and the index entries of its resources |
//! | `unread` | nothing: an object of a watch, of which only the metadata is parsed |
//! | `cache` | nothing: a kind's objects as the watch shows them |
//! | `queue` | nothing: which resource has its pass next, and when |
//! | `pass` | one reconcile: performs the lifecycle's steps, one request that writes at a time; `pass/aws` calls AWS, `pass/store` writes to Kubernetes |
//! | `kubernetes` | the writes to the API server |
//! | `patches` | nothing: the tests and changes of those writes |
//! | `accounts` | the accounts file |
//! | `listings` | nothing: the list of an app's objects that their drift checks share |
//! | `events` | Kubernetes Events, on transitions only |
//! | `index` | nothing: pure data over all kinds (conflicts, slots, references) |
//! | `memory` | nothing: the data that this process keeps for each resource |

pub mod accounts;
mod cache;
mod context;
mod events;
pub mod index;
mod kubernetes;
mod listings;
mod locks;
mod memory;
mod pass;
pub mod patches;
mod queue;
mod unread;
mod watch;
mod watched;

pub use context::{Context, Parts, Tokens};
pub use events::Events;
pub use listings::Listings;
pub use watch::run;
pub use watched::{Lists, Store, Watched};
