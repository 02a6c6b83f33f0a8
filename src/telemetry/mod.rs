//! Logs on stderr, metrics, and a health server. May do: write to stderr and answer HTTP on the listen address. Decides
//! nothing.

pub mod error;
pub mod logs;
pub mod metrics;
pub mod server;

pub use logs::Format;
pub use metrics::Metrics;
pub use server::{Health, WatchKey};
