//! The arguments of the commands for people.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

/// The commands that people use at a terminal. They read and change custom resources with the user's own kubeconfig.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the resources as a tree: each backend with its clones, its API and its storage.
    ///
    /// Shows for each resource its state, its last AWS job, its outputs, its page in the AWS console, and what to do
    /// next. Reads Kubernetes only.
    Status(Status),
    /// Ask the operator to look at resources now, also at those that are Stalled.
    ///
    /// Sets the annotation amplify-operator.dev/reconcile-requested-at. With --wait, the command ends when the operator
    /// has handled the request and the resource is Ready (exit code 0) or needs a person (exit code 1).
    Reconcile(Reconcile),
    /// Let the operator make no more AWS calls for resources, deletion included, until `resume`.
    ///
    /// Sets spec.suspend. A job that AWS runs already goes on.
    Suspend(Change),
    /// Let the operator go on with suspended resources.
    ///
    /// Removes spec.suspend.
    Resume(Change),
    /// Check an installation, and say what to do about what is wrong.
    ///
    /// Checks the definitions and their version, the operator's Deployment, its rights, the leader, the accounts file,
    /// AWS credentials and region, and the resources. Reads only. Outside of a pod, the AWS credentials are those of
    /// this shell; to check the operator's, run it in the operator's pod, as the output says. Exit code 1: a check
    /// failed.
    Doctor(Doctor),
    /// Print a script that completes the commands in a shell.
    ///
    /// For bash: source <(amplify-operator completion bash). Of kubectl plugins, kubectl completes the commands itself:
    /// see docs/commands.md.
    Completion(Completion),
}

/// How to reach the API server.
#[derive(Args, Clone, Debug, Default)]
pub struct Access {
    /// The kubeconfig file. Unset: KUBECONFIG, otherwise ~/.kube/config, otherwise the pod's service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig. Unset: its current context.
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<String>,
}

/// Which namespaces a command is about.
#[derive(Args, Clone, Debug, Default)]
pub struct Scope {
    /// The namespace. Unset: the namespace of the context.
    #[arg(short, long, value_parser = super::namespace, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

/// The resources that a command changes.
#[derive(Args, Clone, Debug)]
#[group(id = "selected", required = true, multiple = false, args = ["resources", "all"])]
pub struct Selection {
    /// The resources, as KIND/NAME or as KIND NAME. KIND is a kind, its plural or its short name (ab, bapi, bsto, benv).
    #[arg(value_name = "KIND/NAME")]
    pub resources: Vec<String>,
    /// All resources of the namespace, or with -A of all namespaces.
    #[arg(long)]
    pub all: bool,
    /// Which namespace.
    #[command(flatten)]
    pub scope: Scope,
}

/// The form of an output for people or programs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Form {
    /// For people; with colours at a terminal.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How a command prints.
#[derive(Args, Clone, Debug)]
pub struct Printed {
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Form,
}

/// The settings of `status`.
#[derive(Args, Debug)]
pub struct Status {
    /// The resources to show, with what is below them, as KIND/NAME; or a KIND. Unset: all of the namespace.
    #[arg(value_name = "KIND/NAME")]
    pub resources: Vec<String>,
    /// Which namespaces.
    #[command(flatten)]
    pub scope: Scope,
    /// Show the tree again whenever something changes, until Ctrl-C. At a terminal, it replaces the one before.
    #[arg(short, long)]
    pub watch: bool,
    /// How it prints.
    #[command(flatten)]
    pub printed: Printed,
    /// The API server.
    #[command(flatten)]
    pub access: Access,
}

/// The settings of `reconcile`.
#[derive(Args, Debug)]
pub struct Reconcile {
    /// What it is about.
    #[command(flatten)]
    pub change: Change,
    /// Wait until the operator has handled the request and has nothing more to do.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait at most, such as 30s, 90m or 2h.
    #[arg(long, requires = "wait", default_value = "10m", value_parser = patience, value_name = "DURATION")]
    pub timeout: Duration,
}

/// The settings of a command that changes resources.
#[derive(Args, Debug)]
pub struct Change {
    /// Which resources.
    #[command(flatten)]
    pub selection: Selection,
    /// How it prints.
    #[command(flatten)]
    pub printed: Printed,
    /// The API server.
    #[command(flatten)]
    pub access: Access,
}

/// The settings of `doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// The namespace of the operator's Deployment. Unset: it is searched in all namespaces.
    #[arg(short, long, value_parser = super::namespace, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The accounts file that the operator uses, if this process is to check it and its roles. Unset: the ConfigMap that
    /// the operator's Deployment mounts.
    // A text: an empty variable is none.
    #[arg(long, env = "AMPLIFY_OPERATOR_ACCOUNTS", value_name = "FILE")]
    pub accounts: Option<String>,
    /// AWS region to allow although this version does not know it; repeatable.
    #[arg(
        long,
        env = "AMPLIFY_OPERATOR_ALLOWED_REGION",
        value_delimiter = ',',
        value_parser = super::region_or_nothing,
        value_name = "REGION"
    )]
    pub allowed_region: Vec<String>,
    /// Allow requests to AWS in plain HTTP to other machines. Others on the way can then read and change them: for
    /// simulators of AWS, not for AWS.
    #[arg(long, env = super::ALLOW_PLAIN_HTTP, value_parser = clap::builder::BoolishValueParser::new())]
    pub allow_plain_http: bool,
    /// How it prints.
    #[command(flatten)]
    pub printed: Printed,
    /// The API server.
    #[command(flatten)]
    pub access: Access,
}

/// The settings of `completion`.
#[derive(Args, Debug)]
pub struct Completion {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

fn patience(text: &str) -> Result<Duration, String> {
    let duration = super::duration(text)?;
    Duration::try_from(duration).map_err(|error| error.to_string())
}
