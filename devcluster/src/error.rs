//! Why a cluster or one of its binaries is not there.

use std::{io, path::Path, process::ExitStatus, time::Duration};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Each says what a person can do about it, or carries the end of the log that does; causes are in `source()`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or process operation failed.
    #[error("{context}")]
    Io {
        /// What was attempted.
        context: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The tool was found nowhere and Go is missing.
    #[error(
        "cannot find {tool} {minimum} or newer, nor Go to build it: install Go (https://go.dev/dl) or put {tool} on PATH"
    )]
    NoGo {
        /// The tool's name.
        tool: &'static str,
        /// The oldest version that would do.
        minimum: semver::Version,
    },
    /// What a test needs from a registry is not there.
    #[error("cannot get {package}: {reason}\nIt needs {needs}.")]
    NoPackage {
        /// What.
        package: String,
        /// What it takes to get it.
        needs: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// A process ended that should have gone on, or a build failed.
    #[error("{process} ended with {status}; its last lines:\n{log}")]
    Exited {
        /// Which process.
        process: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        log: String,
    },
    /// A process did not become ready in time.
    #[error("{process} is not ready after {} s; its last lines:\n{log}", waited.as_secs())]
    NotReady {
        /// Which process.
        process: String,
        /// How long it was waited for.
        waited: Duration,
        /// The end of its output.
        log: String,
    },
    /// Keys or certificates could not be made.
    #[error("cannot make certificates")]
    Certificates(#[from] rcgen::Error),
    /// The cluster's own kubeconfig was refused.
    #[error("the cluster's kubeconfig is refused")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No client could be made for the API server.
    #[error("cannot make a client of the API server")]
    Client(#[from] kube::Error),
    /// The audit log was asked for, but not written.
    #[error("there is no audit log: start the cluster with Options {{ audit: true, .. }}")]
    NoAuditLog,
    /// A line of the audit log is not an audit event.
    #[error("not an audit event: {line}")]
    AuditEvent {
        /// The line.
        line: String,
        /// Why it was refused.
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
