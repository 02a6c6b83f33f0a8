//! A real etcd, kube-apiserver and (on request) kube-controller-manager on loopback, for tests, demonstrations and
//! benchmarks.
//!
//! [`tools`] finds the binaries, or builds them once from Go modules; [`Cluster`] runs them; [`audit`] reads what the
//! API server was asked; [`debian`] has the files of Debian packages, [`packages`] what tests need from Python and Go
//! registries. What this crate starts ends with the process that started it.

pub mod audit;
mod cluster;
mod credentials;
pub mod debian;
mod error;
pub mod packages;
mod process;
pub mod tools;

pub use cluster::{Cluster, Options};
pub use error::{Error, Result};
