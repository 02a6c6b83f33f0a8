//! The errors of a cluster or one of its binaries that is not available.

use std::{io, path::Path, process::ExitStatus, time::Duration};

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors of this crate. Each says how to fix it, or contains the end of the log that explains it; causes are in
/// `source()`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or process operation failed.
    #[error("{context}")]
    Io {
        /// The attempted operation.
        context: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The tool was not found, and Go is missing to build it.
    #[error(
        "cannot find {tool} {minimum} or newer, nor Go to build it: install Go (https://go.dev/dl) or put {tool} on PATH"
    )]
    NoGo {
        /// The tool's name.
        tool: &'static str,
        /// The oldest version that is accepted.
        minimum: semver::Version,
    },
    /// A package that a test needs from a registry is missing.
    #[error("cannot get {package}: {reason}\nIt needs {needs}.")]
    NoPackage {
        /// The package.
        package: String,
        /// The requirements to get it.
        needs: &'static str,
        /// The reason.
        reason: String,
    },
    /// A process ended unexpectedly, or a build failed.
    #[error("{process} ended with {status}; its last lines:\n{log}")]
    Exited {
        /// The process.
        process: String,
        /// Its exit status.
        status: ExitStatus,
        /// The end of its output.
        log: String,
    },
    /// A process did not become ready in time.
    #[error("{process} is not ready after {} s; its last lines:\n{log}", waited.as_secs())]
    NotReady {
        /// The process.
        process: String,
        /// How long this crate waited for it.
        waited: Duration,
        /// The end of its output.
        log: String,
    },
    /// Keys or certificates could not be created.
    #[error("cannot make certificates")]
    Certificates(#[from] rcgen::Error),
    /// The cluster's own kubeconfig was refused.
    #[error("the cluster's kubeconfig is refused")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No client could be created for the API server.
    #[error("cannot make a client of the API server")]
    Client(#[from] kube::Error),
    /// The audit log was requested, but it is not written.
    #[error("there is no audit log: start the cluster with Options {{ audit: true, .. }}")]
    NoAuditLog,
    /// A line of the audit log is not an audit event.
    #[error("not an audit event: {line}")]
    AuditEvent {
        /// The line.
        line: String,
        /// The parser's error.
        source: serde_json::Error,
    },
}

impl Error {
    pub(crate) fn io(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }

    pub(crate) fn path(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("cannot {verb} {}", path.display()))
    }
}
