//! The arguments of the program. Each flag is also an environment variable `AMPLIFY_OPERATOR_…`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;

use crate::{
    amplify::{AppId, regions},
    telemetry::Format,
};

/// Keeps AWS Amplify (Gen 1) backends, their GraphQL APIs and environment records in line with Kubernetes custom resources.
#[derive(Debug, Parser)]
#[command(name = "amplify-operator", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `run` without one.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings of `run` without a subcommand.
    #[command(flatten)]
    pub run: Run,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator (the default).
    Run(Box<Run>),
    /// Print the CustomResourceDefinitions as YAML.
    Crd,
    /// Print manifests of what exists in AWS, ready to be committed. AWS is only read.
    Import(Import),
}

/// Settings of the operator.
///
/// Kubernetes: the usual kubeconfig (KUBECONFIG, ~/.kube/config) or the pod's own. AWS: the SDK's own chain and
/// environment (AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL, web identity, pod identity). Logging filter: RUST_LOG.
#[derive(Args, Debug)]
pub struct Run {
    /// Namespace to watch; repeatable. All namespaces without it.
    #[arg(
        long,
        env = "AMPLIFY_OPERATOR_WATCH_NAMESPACE",
        value_delimiter = ',',
        value_name = "NAMESPACE"
    )]
    watch_namespace: Vec<String>,
    /// How many reconciles run at a time.
    #[arg(long, env = "AMPLIFY_OPERATOR_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    pub concurrency: u16,
    /// How often the AWS object of a Ready resource is looked at.
    #[arg(long, env = "AMPLIFY_OPERATOR_DRIFT_INTERVAL", default_value = "1h", value_parser = duration, value_name = "DURATION")]
    pub drift_interval: SignedDuration,
    /// How long an AWS job may run before its resource is Stalled, where spec.jobTimeout does not say.
    #[arg(long, env = "AMPLIFY_OPERATOR_JOB_TIMEOUT", default_value = "2h", value_parser = duration, value_name = "DURATION")]
    pub job_timeout: SignedDuration,
    /// How many FAILED jobs in a row before a resource is Stalled.
    #[arg(long, env = "AMPLIFY_OPERATOR_MAX_JOB_ATTEMPTS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    pub max_job_attempts: u16,
    /// How long after a request whose reply was lost AWS may still show its job for the first time. Not under the 30 s
    /// that a call may take.
    #[arg(long, env = "AMPLIFY_OPERATOR_OUTCOME_GRACE", default_value = "2m", value_parser = duration, value_name = "DURATION")]
    pub outcome_grace: SignedDuration,
    /// How long after the end of a job AWS's "not found" is not believed.
    #[arg(long, env = "AMPLIFY_OPERATOR_ABSENCE_GRACE", default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub absence_grace: SignedDuration,
    /// AWS requests per second, per account and region.
    #[arg(long, env = "AMPLIFY_OPERATOR_AWS_REQUESTS_PER_SECOND", default_value_t = 5.0, value_parser = rate, value_name = "N")]
    pub aws_requests_per_second: f64,
    /// AWS requests that may be made at once after a quiet time, per account and region.
    #[arg(long, env = "AMPLIFY_OPERATOR_AWS_BURST", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub aws_burst: u32,
    /// AWS region that is asked though this version does not know it; repeatable. Resources in other regions that AWS does
    /// not have are InvalidSpec.
    #[arg(
        long,
        env = "AMPLIFY_OPERATOR_ALLOWED_REGION",
        value_delimiter = ',',
        value_parser = region_or_nothing,
        value_name = "REGION"
    )]
    allowed_region: Vec<String>,
    /// File that maps namespaces to IAM roles. With it, a namespace that no entry names has no account.
    #[arg(long, env = "AMPLIFY_OPERATOR_ACCOUNTS", value_name = "FILE")]
    pub accounts: Option<PathBuf>,
    /// Take part in the election of a leader: of several processes one acts, the others stand by.
    #[arg(long, env = "AMPLIFY_OPERATOR_LEADER_ELECT", value_parser = clap::builder::BoolishValueParser::new())]
    pub leader_elect: bool,
    /// Namespace of the Lease that --leader-elect needs. POD_NAMESPACE without it, else the kubeconfig's.
    #[arg(long, env = "AMPLIFY_OPERATOR_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Address of /livez, /readyz and /metrics.
    #[arg(
        long,
        env = "AMPLIFY_OPERATOR_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// How log lines are written.
    #[arg(long, env = "AMPLIFY_OPERATOR_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: Format,
}

impl Run {
    /// The namespaces to watch; none: all. An empty variable names none.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        self.watch_namespace
            .iter()
            .filter(|name| !name.is_empty())
            .cloned()
            .collect()
    }

    /// The regions that are allowed besides the known ones. An empty variable names none.
    #[must_use]
    pub fn allowed_regions(&self) -> Vec<String> {
        let named = self.allowed_region.iter().filter(|region| !region.is_empty());
        named.cloned().collect()
    }
}

/// What `import` is to print.
///
/// One manifest for each backend, GraphQL API and environment record that AWS shows, with `adoptionPolicy: IfExists` and
/// `deletionPolicy: Retain`: applying them sends AWS no write. Nothing in AWS is changed and no cluster is needed.
/// AWS: the SDK's own chain and environment, as for `run`. Exit code 3: AWS gave no answer for a part, which is not in
/// the output.
#[derive(Args, Debug)]
pub struct Import {
    /// App to import; repeatable.
    #[arg(long, value_name = "APP_ID", required_unless_present = "all_apps")]
    pub app_id: Vec<AppId>,
    /// Import all apps of the region.
    #[arg(long, conflicts_with = "app_id")]
    pub all_apps: bool,
    /// AWS region to read; the SDK's own (AWS_REGION, the profile's) without it. Every manifest names it.
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// AWS region that may be read though this version does not know it; repeatable.
    #[arg(long, value_parser = region, value_name = "REGION")]
    pub allowed_region: Vec<String>,
    /// Namespace to write into the manifests; none without it.
    #[arg(long, value_parser = namespace, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Folder to write one file for each manifest into, instead of printing them. It is made if it is missing.
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Overwrite files in --output-dir that hold something else.
    #[arg(long, requires = "output_dir")]
    pub force: bool,
}

/// A DNS label, as Kubernetes wants it.
fn namespace(text: &str) -> Result<String, String> {
    let is_valid = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err("a namespace is 1 to 63 lowercase letters, digits and -, neither first nor last".to_owned())
    }
}

/// A region's name, whether it is known or not.
fn region(text: &str) -> Result<String, String> {
    if regions::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("give a region's name such as eu-west-1".to_owned())
    }
}

/// The same, or nothing: a variable may be empty, and a comma may be followed by a blank or by nothing.
fn region_or_nothing(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Ok(String::new()),
        text => region(text),
    }
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(duration) if duration.is_positive() => Ok(duration),
        _ => Err("give a duration above zero such as 30s, 90m or 2h".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("give a number above zero".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_is_also_an_environment_variable() {
        Cli::command().debug_assert();
        for argument in Run::augment_args(clap::Command::new("run")).get_arguments() {
            let flag = argument.get_long().expect("every argument is a flag");
            let variable = format!("AMPLIFY_OPERATOR_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(
                argument.get_env().and_then(|name| name.to_str()),
                Some(variable.as_str())
            );
        }
    }

    #[test]
    fn regions_are_allowed_one_by_one_or_after_commas_and_an_empty_variable_allows_none() {
        let allowed = |arguments: &[&str]| {
            let arguments = [&["amplify-operator"], arguments].concat();
            Cli::try_parse_from(arguments).map(|cli| cli.run.allowed_regions()).ok()
        };
        let both = Some(vec!["eu-new-1".to_owned(), "us-new-2".to_owned()]);
        assert_eq!(
            allowed(&["--allowed-region=eu-new-1", "--allowed-region=us-new-2"]),
            both
        );
        assert_eq!(allowed(&["--allowed-region=eu-new-1, us-new-2,"]), both);
        assert_eq!(allowed(&["--allowed-region="]), Some(Vec::new()));
        assert_eq!(allowed(&[]), Some(Vec::new()));
        for bad in ["EU-WEST-1", "evil.example/", "eu west"] {
            assert_eq!(allowed(&[&format!("--allowed-region={bad}")]), None, "{bad}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("30s", 30), ("90m", 5400), ("1h30m", 5400), ("2h", 7200)] {
            assert_eq!(duration(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0s", "-1h", "5", "soon"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }
}
