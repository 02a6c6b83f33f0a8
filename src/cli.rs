//! The arguments of the program. Each flag of `run` is also an environment variable `AMPLIFY_OPERATOR_…`.

pub mod people;

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::PathBuf,
};

use clap::{
    Args, CommandFactory as _, FromArgMatches, Parser, Subcommand, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
};
use jiff::SignedDuration;

use crate::{
    amplify::{AppId, regions},
    api::rules::{is_namespace, is_object_name},
    leader::LEASE,
    telemetry::Format,
};

/// Shortest `--outcome-grace`: a request may take 30 s, and AWS may begin its job at the end of that time.
const LEAST_OUTCOME_GRACE: SignedDuration = SignedDuration::from_secs(30);
/// Environment variable that allows tests a shorter `--outcome-grace`: the simulator of AWS answers at once.
const SHORT_GRACE_FOR_TESTS: &str = "AMPLIFY_OPERATOR_TEST_SHORT_OUTCOME_GRACE";
/// Environment variable of `--allow-plain-http`, which `run` and the commands that read AWS have.
const ALLOW_PLAIN_HTTP: &str = "AMPLIFY_OPERATOR_ALLOW_PLAIN_HTTP";
/// Shortest of the other durations: times are stored in whole seconds.
const LEAST: SignedDuration = SignedDuration::from_secs(1);

/// Keeps AWS Amplify (Gen 1) backends, their GraphQL APIs and storages, and environment records in line with Kubernetes
/// custom resources.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// The command; `run` if none is given.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings of `run`, for a call that names no command.
    #[command(flatten)]
    pub run: Run,
}

/// The name of the program.
const PROGRAM: &str = "amplify-operator";
/// The name by which kubectl calls the program: `kubectl amplify`.
const PLUGIN: &str = "kubectl-amplify";

/// Commands for the custom resources of amplify-operator: AWS Amplify (Gen 1) backends, their GraphQL APIs and storages,
/// and environment records.
#[derive(Debug, Parser)]
#[command(name = PLUGIN, bin_name = "kubectl amplify", version)]
pub(crate) struct Plugin {
    /// The command.
    #[command(subcommand)]
    command: Command,
}

/// Reads the arguments of this process. Ends it if they are wrong, or ask for help.
#[must_use]
pub fn parse() -> Command {
    if is_plugin() {
        let command = Parsing::of(plugin()).parse::<Plugin>().command;
        if matches!(command, Command::Run(_)) {
            let why = "kubectl amplify is for people: it does not run the operator. Install the chart, or call amplify-operator run";
            plugin().error(ErrorKind::InvalidSubcommand, why).exit();
        }
        return command;
    }
    // The variables of `run` must not stop another command: `doctor` is for an environment in which some are wrong.
    // Not `args`, which panics at a word that is no UTF-8.
    let named = env::args_os().nth(1);
    if named
        .and_then(|name| name.into_string().ok())
        .is_some_and(|name| is_other_than_run(&name))
    {
        let program = Plugin::command().name(PROGRAM).bin_name(PROGRAM);
        return Parsing::of(program).parse::<Plugin>().command;
    }
    let Cli { command, run } = Parsing::of(Cli::command()).parse();
    command.unwrap_or_else(|| Command::Run(Box::new(run)))
}

/// Returns the arguments of `kubectl amplify`. `run` is hidden: it would start an operator without election, with the
/// AWS credentials of a person.
pub(crate) fn plugin() -> clap::Command {
    Plugin::command().mut_subcommand("run", |run| run.hide(true))
}

/// A definition of arguments, and the variables that they are also read from.
struct Parsing {
    definition: clap::Command,
    /// Each flag's variable.
    variables: BTreeMap<String, String>,
}

impl Parsing {
    fn of(definition: clap::Command) -> Self {
        Self::with(definition, &|name| env::var_os(name))
    }

    /// An empty variable counts as unset, whatever its flag is: charts and shells often set empty ones.
    fn with(definition: clap::Command, value: &dyn Fn(&OsStr) -> Option<OsString>) -> Self {
        let mut variables = BTreeMap::new();
        let definition = without_empty(definition, value, &mut variables);
        Self { definition, variables }
    }

    fn parse<T: FromArgMatches>(self) -> T {
        let mut definition = self.definition.clone();
        let parsed = definition
            .try_get_matches_from_mut(env::args_os())
            .and_then(|matches| T::from_arg_matches(&matches));
        parsed.unwrap_or_else(|error| {
            let given: Vec<_> = env::args_os().map(|one| one.to_string_lossy().into_owned()).collect();
            self.with_variable(error.format(&mut definition), &given).exit()
        })
    }

    /// Names the variable of a refused value, if the value was not given by the flag.
    fn with_variable(&self, mut error: clap::Error, given: &[String]) -> clap::Error {
        let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg).cloned() else {
            return error;
        };
        let flag = argument.split([' ', '=']).next().unwrap_or_default();
        let is_given = given.iter().any(|one| one.split('=').next() == Some(flag));
        if let Some(variable) = self.variables.get(flag).filter(|_| !is_given) {
            let named = format!("{argument} (from {variable})");
            error.insert(ContextKind::InvalidArg, ContextValue::String(named));
        }
        error
    }
}

/// Takes the empty variables from a command and its subcommands. Collects the others.
fn without_empty(
    command: clap::Command,
    value: &dyn Fn(&OsStr) -> Option<OsString>,
    variables: &mut BTreeMap<String, String>,
) -> clap::Command {
    let mut command = command.mut_args(|argument| {
        let Some(name) = argument.get_env().map(OsStr::to_owned) else {
            return argument;
        };
        if value(&name).is_some_and(|value| value.is_empty()) {
            return argument.env(None::<&str>);
        }
        if let Some(flag) = argument.get_long() {
            variables.insert(format!("--{flag}"), name.to_string_lossy().into_owned());
        }
        argument
    });
    let names: Vec<_> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, |one| without_empty(one, value, variables));
    }
    command
}

fn is_other_than_run(name: &str) -> bool {
    name != "run" && Plugin::command().find_subcommand(name).is_some()
}

/// Returns how a person calls this program.
#[must_use]
pub fn called() -> &'static str {
    if is_plugin() { "kubectl amplify" } else { PROGRAM }
}

/// Returns the definition of the arguments, for completions and manual pages.
#[must_use]
pub fn definition() -> clap::Command {
    if is_plugin() { plugin() } else { Cli::command() }
}

/// Returns the last part of the path by which this process was called.
#[must_use]
pub fn program_name() -> Option<String> {
    let path = PathBuf::from(env::args_os().next()?);
    Some(path.file_stem()?.to_string_lossy().into_owned())
}

fn is_plugin() -> bool {
    program_name().is_some_and(|name| name == PLUGIN)
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator (the default).
    ///
    /// Kubernetes access: the kubeconfig (KUBECONFIG, ~/.kube/config) or, in a pod, its service account. AWS
    /// credentials and region: the AWS SDK's own chain and environment (AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL, web
    /// identity, pod identity). Log filter: RUST_LOG, a level or a list such as info,amplify_operator=debug. Durations:
    /// 30s, 90m, 1h30m.
    Run(Box<Run>),
    /// Print the CustomResourceDefinitions as YAML.
    Crd,
    /// Print manifests of the existing AWS objects, ready to be committed. Reads AWS only.
    ///
    /// Prints one manifest for each backend, GraphQL API, storage and environment record that AWS shows, with
    /// `adoptionPolicy: IfExists` and `deletionPolicy: Retain`: applying them changes nothing in AWS. No cluster is
    /// needed. AWS credentials: the AWS SDK's own chain and environment, as for `run`. Exit code 3: AWS gave no answer
    /// about some objects, and the output lacks them.
    Import(Import),
    /// Print what the apps have, and what of it AWS's Gen 2 migration takes. Reads AWS only.
    ///
    /// Prints for each environment its GraphQL API, auth, S3 storage and other categories, and what AWS's Gen 2 feature
    /// matrix says of each: taken by `amplify gen2-migration`, to be done by hand, or not supported. Also: which
    /// environment a migration has locked, the pending jobs, and the days left until the end of Amplify Gen 1. No
    /// cluster is needed. AWS credentials: the AWS SDK's own chain and environment, as for `run`. Exit code 3: AWS gave
    /// no answer about a part, which the output names as not known.
    Report(Report),
    /// The commands for people.
    #[command(flatten)]
    People(people::Command),
}

/// Settings of the operator.
#[derive(Args, Debug)]
pub struct Run {
    /// Namespace to watch; repeatable, or a comma-separated list. Unset or empty: all namespaces.
    #[arg(
        long,
        env = "AMPLIFY_OPERATOR_WATCH_NAMESPACE",
        value_parser = namespaces,
        value_name = "NAMESPACE"
    )]
    watch_namespace: Vec<Namespaces>,
    /// How many resources to work on at the same time.
    #[arg(long, env = "AMPLIFY_OPERATOR_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    pub concurrency: u16,
    /// How often to check the AWS object of a Ready resource for changes (at least 1s).
    #[arg(long, env = "AMPLIFY_OPERATOR_DRIFT_INTERVAL", default_value = "1h", value_parser = duration, value_name = "DURATION")]
    pub drift_interval: SignedDuration,
    /// How long an AWS job may run before its resource becomes Stalled, unless spec.jobTimeout is set (at least 1s).
    #[arg(long, env = "AMPLIFY_OPERATOR_JOB_TIMEOUT", default_value = "2h", value_parser = duration, value_name = "DURATION")]
    pub job_timeout: SignedDuration,
    /// After how many FAILED jobs in a row a resource becomes Stalled.
    #[arg(long, env = "AMPLIFY_OPERATOR_MAX_JOB_ATTEMPTS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    pub max_job_attempts: u16,
    /// After a lost reply, how long to look for the job in AWS before sending the request again (at least 30s).
    #[arg(long, env = "AMPLIFY_OPERATOR_OUTCOME_GRACE", default_value = "2m", value_parser = outcome_grace, value_name = "DURATION")]
    pub outcome_grace: SignedDuration,
    /// After a job ends, ignore "not found" from AWS for this long (at least 1s).
    #[arg(long, env = "AMPLIFY_OPERATOR_ABSENCE_GRACE", default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub absence_grace: SignedDuration,
    /// Initial rate of AWS requests per second, for each account and region. The rate grows by 1 every 10 s while
    /// requests wait, and halves when AWS throttles.
    #[arg(long, env = "AMPLIFY_OPERATOR_AWS_REQUESTS_PER_SECOND", default_value_t = 5.0, value_parser = rate, value_name = "N")]
    pub aws_requests_per_second: f64,
    /// Highest rate of AWS requests per second. Below --aws-requests-per-second: the rate does not grow.
    #[arg(long, env = "AMPLIFY_OPERATOR_AWS_MAX_REQUESTS_PER_SECOND", default_value_t = 25.0, value_parser = rate, value_name = "N")]
    pub aws_max_requests_per_second: f64,
    /// How many AWS requests may be sent at once after a quiet time, for each account and region.
    #[arg(long, env = "AMPLIFY_OPERATOR_AWS_BURST", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub aws_burst: u32,
    /// AWS region to allow although this version does not know it; repeatable. A resource in any other unknown region
    /// gets the reason InvalidSpec, and no AWS request is sent for it.
    #[arg(
        long,
        env = "AMPLIFY_OPERATOR_ALLOWED_REGION",
        value_delimiter = ',',
        value_parser = region_or_nothing,
        value_name = "REGION"
    )]
    allowed_region: Vec<String>,
    /// File that maps namespaces to IAM roles. With this file, a namespace without an entry cannot reach AWS.
    #[arg(long, env = "AMPLIFY_OPERATOR_ACCOUNTS", value_name = "FILE")]
    pub accounts: Option<PathBuf>,
    /// Allow requests to AWS in plain HTTP to other machines. Others on the way can then read and change them: for
    /// simulators of AWS, not for AWS.
    #[arg(long, env = ALLOW_PLAIN_HTTP, value_parser = clap::builder::BoolishValueParser::new())]
    pub allow_plain_http: bool,
    /// Elect a leader: one of several processes works, and the others wait to replace it.
    #[arg(long, env = "AMPLIFY_OPERATOR_LEADER_ELECT", value_parser = clap::builder::BoolishValueParser::new())]
    pub leader_elect: bool,
    /// Namespace of the Lease for --leader-elect. Unset or empty: POD_NAMESPACE, otherwise the namespace of the kubeconfig.
    #[arg(long, env = "AMPLIFY_OPERATOR_LEASE_NAMESPACE", value_parser = namespace_or_nothing, value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of the Lease for --leader-elect. Of all processes with the same Lease, one works. Empty: the default.
    #[arg(long, env = "AMPLIFY_OPERATOR_LEASE_NAME", default_value = LEASE, value_parser = lease_name, value_name = "NAME")]
    pub lease_name: String,
    /// Address on which to serve /livez, /readyz and /metrics. `[::]:8080` answers on IPv4 too, and works without IPv6.
    #[arg(
        long,
        env = "AMPLIFY_OPERATOR_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// Format of log lines: text or json.
    #[arg(
        long,
        env = "AMPLIFY_OPERATOR_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: Format,
}

impl Run {
    /// Returns the namespaces to watch, each once. An empty list means all namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        let mut names = Vec::new();
        for name in self.watch_namespace.iter().flat_map(|list| &list.0) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Returns the regions that are allowed besides the known ones. An empty variable allows none.
    #[must_use]
    pub fn allowed_regions(&self) -> Vec<String> {
        let named = self.allowed_region.iter().filter(|region| !region.is_empty());
        named.cloned().collect()
    }
}

/// The namespaces of one value. Empty if the value is empty.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Namespaces(Vec<String>);

/// The settings of `import`.
#[derive(Args, Debug)]
pub struct Import {
    /// Where to read.
    #[command(flatten)]
    pub source: Source,
    /// Print manifests that take over the AWS objects and keep them as the spec says. Without this flag, the manifests
    /// only observe the AWS objects (managementPolicy: Observe), and AWS gets no write for them.
    #[arg(long)]
    pub manage: bool,
    /// Namespace to write into the manifests. Unset: the manifests name no namespace.
    #[arg(long, value_parser = namespace, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Folder to write the manifests into, one file each, instead of printing them. Created if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Overwrite files in --output-dir that have other content.
    #[arg(long, requires = "output_dir")]
    pub force: bool,
}

/// The settings of `report`.
#[derive(Args, Debug)]
pub struct Report {
    /// Where to read.
    #[command(flatten)]
    pub source: Source,
    /// Form of the output: a table for a terminal, JSON for programs, or Markdown for an issue.
    #[arg(short, long, value_enum, default_value_t = Output::Table, value_name = "FORMAT")]
    pub output: Output,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// Plain columns without colours.
    Table,
    /// One object with the fields that docs/report.md lists.
    Json,
    /// For an issue.
    Markdown,
}

/// Where a command that reads AWS reads.
#[derive(Args, Debug)]
pub struct Source {
    /// The apps to read.
    #[command(flatten)]
    pub apps: Apps,
    /// AWS region to read. Unset: AWS_REGION, otherwise the region of the AWS profile. The output names the region.
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// AWS region to allow although this version does not know it; repeatable.
    #[arg(long, value_parser = region, value_name = "REGION")]
    pub allowed_region: Vec<String>,
    /// Allow requests to AWS in plain HTTP to other machines. Others on the way can then read and change them: for
    /// simulators of AWS, not for AWS.
    #[arg(long, env = ALLOW_PLAIN_HTTP, value_parser = clap::builder::BoolishValueParser::new())]
    pub allow_plain_http: bool,
}

/// The apps to read: some, or all of the region.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Apps {
    /// App to read; repeatable.
    #[arg(long, value_name = "APP_ID")]
    pub app_id: Vec<AppId>,
    /// Read all apps of the region.
    #[arg(long)]
    pub all_apps: bool,
}

/// Parses a namespace: a DNS label, as Kubernetes requires.
fn namespace(text: &str) -> Result<String, String> {
    if is_namespace(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "a namespace is 1 to 63 lowercase letters, digits and -, with a letter or digit first and last, such as team-a"
                .to_owned(),
        )
    }
}

/// Parses the name of a region, known or not.
fn region(text: &str) -> Result<String, String> {
    if regions::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("give a region's name such as eu-west-1".to_owned())
    }
}

/// Parses a region or an empty value. A variable may be empty, and a comma may be followed by a blank or by nothing.
fn region_or_nothing(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Ok(String::new()),
        text => region(text),
    }
}

/// Parses a namespace or the empty value of an empty variable.
fn namespace_or_nothing(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    namespace(text)
}

/// Parses the name of a Lease. An empty variable gives the default.
fn lease_name(text: &str) -> Result<String, String> {
    match text {
        "" => Ok(LEASE.to_owned()),
        text if is_object_name(text) => Ok(text.to_owned()),
        _ => Err(
            "the name of a Lease is 1 to 253 lowercase letters, digits, - and ., with a letter or digit at both ends of \
             each part"
                .to_owned(),
        ),
    }
}

/// Parses a list of namespaces. An empty value comes from an empty variable and is allowed. A list of only commas and
/// blanks is a mistake: it must not silently mean all namespaces.
fn namespaces(text: &str) -> Result<Namespaces, String> {
    if text.is_empty() {
        return Ok(Namespaces(Vec::new()));
    }
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<_> = names
        .map(|name| namespace(name).map_err(|error| format!("{name:?}: {error}")))
        .collect::<Result<_, _>>()?;
    if names.is_empty() {
        return Err("it names no namespace: give one, or leave it empty for all namespaces".to_owned());
    }
    Ok(Namespaces(names))
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    duration_from(text, LEAST)
}

fn outcome_grace(text: &str) -> Result<SignedDuration, String> {
    let is_test = std::env::var_os(SHORT_GRACE_FOR_TESTS).is_some_and(|value| value == "1");
    duration_from(text, if is_test { LEAST } else { LEAST_OUTCOME_GRACE }).map_err(|error| {
        format!("{error}, because a request may take 30s and AWS may begin the job at the end of that")
    })
}

fn duration_from(text: &str, least: SignedDuration) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(duration) if duration >= least => Ok(duration),
        Ok(_) => Err(format!("give at least {least:#}")),
        Err(_) => Err(format!("give a duration such as 30s, 90m or 1h30m, at least {least:#}")),
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
    fn an_empty_variable_counts_as_unset_for_every_flag_and_command() {
        fn check(command: &clap::Command, kept: Option<&str>) {
            for argument in command.get_arguments() {
                let name = argument.get_env().and_then(OsStr::to_str);
                assert!(name.is_none() || name == kept, "{name:?} of {}", command.get_name());
            }
            for one in command.get_subcommands() {
                check(one, kept);
            }
        }
        let kept = "AMPLIFY_OPERATOR_CONCURRENCY";
        for (definition, flags) in [(Cli::command(), 1), (plugin(), 1)] {
            let value = |name: &OsStr| Some(OsString::from(if name == kept { "0" } else { "" }));
            let parsing = Parsing::with(definition, &value);
            check(&parsing.definition, Some(kept));
            assert_eq!(parsing.variables.len(), flags, "{:?}", parsing.variables);
        }
        let unset = Parsing::with(Cli::command(), &|_| None);
        assert!(unset.variables.len() > 10, "{:?}", unset.variables);
    }

    #[test]
    fn a_refused_value_names_its_variable_unless_the_flag_gave_it() {
        let parsing = Parsing::with(Cli::command(), &|_| None);
        let named = "(from AMPLIFY_OPERATOR_CONCURRENCY)";
        for (given, is_named) in [
            (&["run"][..], true),
            (&["run", "--job-timeout=2h"], true),
            (&["run", "--concurrency=0"], false),
            (&["run", "--concurrency", "0"], false),
        ] {
            let refused = Cli::try_parse_from(["amplify-operator", "run", "--concurrency=0"]).unwrap_err();
            let given: Vec<_> = given.iter().map(|one| (*one).to_owned()).collect();
            let said = parsing.with_variable(refused, &given).to_string();
            assert_eq!(said.contains(named), is_named, "{given:?}: {said}");
        }
    }

    #[test]
    fn the_plugin_of_kubectl_does_not_show_run() {
        let plugin = plugin();
        assert!(plugin.find_subcommand("run").is_some_and(clap::Command::is_hide_set));
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
        for text in ["", "0s", "-1h", "5", "soon", "999ms"] {
            assert!(duration(text).unwrap_err().contains("at least 1s"), "{text:?}");
        }
        assert_eq!(namespace_or_nothing(""), Ok(String::new()));
        assert_eq!(outcome_grace("30s"), Ok(LEAST_OUTCOME_GRACE));
        assert!(
            outcome_grace("29s")
                .unwrap_err()
                .starts_with("give at least 30s, because")
        );
    }

    #[test]
    fn a_lease_has_a_name_that_an_object_may_have_and_an_empty_variable_means_the_default() {
        let ends = ["a".repeat(253), "a".repeat(254)];
        for (text, expected) in [
            ("", Some(LEASE)),
            ("amplify-operator", Some("amplify-operator")),
            ("123", Some("123")),
            ("amp.v1", Some("amp.v1")),
            (&ends[0], Some(&*ends[0])),
            (&ends[1], None),
            ("Amplify", None),
            ("amplify_operator", None),
            ("-a", None),
            ("a-", None),
            ("a..b", None),
            ("a/b", None),
            (" ", None),
        ] {
            assert_eq!(lease_name(text).ok().as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn namespaces_are_trimmed_told_once_and_checked() {
        let watched = |values: &[&str]| {
            let flags = values.iter().map(|value| format!("--watch-namespace={value}"));
            let flags = std::iter::once("amplify-operator".to_owned()).chain(flags);
            Cli::try_parse_from(flags)
                .map(|cli| cli.run.namespaces().join(" "))
                .map_err(|error| error.to_string())
        };
        for (values, names) in [
            (&["a,b,a"][..], "a b"),
            (&["a", "b", "a"], "a b"),
            (&[" a , b ", "a"], "a b"),
            (&["a, "], "a"),
            (&["a,,b,"], "a b"),
            (&[""], ""),
            (&["", "a"], "a"),
            (&[], ""),
        ] {
            assert_eq!(watched(values).as_deref(), Ok(names), "{values:?}");
        }
        for (values, said) in [
            (&["A_b"][..], "\"A_b\": a namespace is 1 to 63 lowercase letters"),
            (&["a,*"], "\"*\": a namespace is"),
            (&["a b"], "\"a b\": a namespace is"),
            (&["-a"], "a letter or digit first and last"),
            (
                &[" "],
                "it names no namespace: give one, or leave it empty for all namespaces",
            ),
            (&[" , "], "it names no namespace"),
            (&[","], "it names no namespace"),
        ] {
            let refused = watched(values).unwrap_err();
            assert!(refused.contains(said), "{values:?}: {refused}");
        }
    }
}
