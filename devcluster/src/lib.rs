//! A real etcd, kube-apiserver and (on request) kube-controller-manager on loopback, for tests, demonstrations and
//! benchmarks.
//!
//! [`tools`] finds the binaries, or builds them once from Go modules. [`Cluster`] runs them. [`audit`] reads the API
//! server's requests. [`debian`] provides the files of Debian packages, and [`packages`] provides packages for tests
//! from Python and Go registries. Every process that this crate starts ends with the process that started it.

pub mod audit;
mod cluster;
mod credentials;
pub mod debian;
mod error;
pub mod packages;
pub mod process;
pub mod tools;

pub use cluster::{Cluster, Options};
pub use error::{Error, Result};
