//! The simulator as a program, for demos and for tests in other languages: parses arguments and runs a simulator.

use std::{io::Write, net::SocketAddr, time::Duration};

use amplify_simulator::{
    App, Config, DEFAULT_ACCESS_KEY_ID, DEFAULT_ACCOUNT, DEFAULT_SECRET_ACCESS_KEY, Echo, Key, Role, Settings,
    Simulator,
};
use anyhow::Context;
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// AWS Amplify's control APIs and STS on loopback, for tests and demos.
///
/// Requests to /_simulator/… on the same port inject faults, move the clock and play foreign actors.
#[derive(Debug, Parser)]
#[command(name = "amplify-simulator", version)]
// Each boolean flag is an independent switch.
#[allow(clippy::struct_excessive_bools)]
struct Args {
    /// Address to listen on; port 0 picks a free port.
    #[arg(long, env = "AMPLIFY_SIMULATOR_LISTEN", default_value = "127.0.0.1:4566")]
    listen: SocketAddr,
    /// Region of apps without one, and of the printed export lines. Requests for any region are served.
    #[arg(long, env = "AMPLIFY_SIMULATOR_REGION", default_value = "eu-west-1")]
    region: String,
    /// Length of jobs, such as 500ms, 5s or 2m; with 0s a job is complete at once.
    #[arg(long, env = "AMPLIFY_SIMULATOR_JOB_DURATION", default_value = "5s", value_parser = duration)]
    job_duration: Duration,
    /// An app that exists from the start: ID=NAME, or ACCOUNT/REGION/ID=NAME. Repeatable.
    #[arg(long = "app", env = "AMPLIFY_SIMULATOR_APP", value_delimiter = ',', value_parser = app)]
    apps: Vec<App>,
    /// Create any app when a request first names it.
    #[arg(long, env = "AMPLIFY_SIMULATOR_AUTO_REGISTER_APPS")]
    auto_register_apps: bool,
    /// An accepted key: ID:SECRET, or ID:SECRET:ACCOUNT. Repeatable; the first one is printed.
    #[arg(long = "access-key", env = "AMPLIFY_SIMULATOR_ACCESS_KEY", value_delimiter = ',', value_parser = key, hide_env_values = true)]
    keys: Vec<Key>,
    /// A role that can be assumed: ARN, or ARN=EXTERNAL-ID. Repeatable; without this flag, every role can be assumed.
    #[arg(long = "role", env = "AMPLIFY_SIMULATOR_ROLE", value_delimiter = ',', value_parser = role)]
    roles: Vec<Role>,
    /// How long ListBackendJobs hides a new job.
    #[arg(long, env = "AMPLIFY_SIMULATOR_JOB_LISTING_DELAY", default_value = "0s", value_parser = duration)]
    job_listing_delay: Duration,
    /// How long reads answer 404 for an object that was just created.
    #[arg(long, env = "AMPLIFY_SIMULATOR_READ_AFTER_CREATE_DELAY", default_value = "0s", value_parser = duration)]
    read_after_create_delay: Duration,
    /// Largest number of items on a page.
    #[arg(long, env = "AMPLIFY_SIMULATOR_PAGE_SIZE")]
    page_size: Option<usize>,
    /// Let GetBackendAPI end transformSchema with a newline and add AWS's defaults.
    #[arg(long, env = "AMPLIFY_SIMULATOR_NORMALISE_ECHO")]
    normalise_echo: bool,
    /// Give each new backend an auth, as `amplify add auth` does. A storage needs an auth.
    #[arg(long, env = "AMPLIFY_SIMULATOR_NEW_BACKENDS_HAVE_AUTH")]
    new_backends_have_auth: bool,
    /// How many calls the history keeps.
    #[arg(long, env = "AMPLIFY_SIMULATOR_HISTORY_LIMIT", default_value_t = 100_000)]
    history_limit: usize,
}

impl Args {
    fn config(self) -> Config {
        let mut config = Config {
            listen: self.listen,
            region: self.region,
            apps: self.apps,
            unlisted_roles: self.roles.is_empty(),
            roles: self.roles,
            history_limit: self.history_limit,
            settings: Settings {
                job_duration: self.job_duration,
                job_listing_delay: self.job_listing_delay,
                read_after_create_delay: self.read_after_create_delay,
                page_size: self.page_size,
                auto_register_apps: self.auto_register_apps,
                new_backends_have_auth: self.new_backends_have_auth,
                echo: Echo {
                    trailing_newline: self.normalise_echo,
                    defaults: self.normalise_echo,
                    ..Echo::default()
                },
                ..Settings::default()
            },
            ..Config::default()
        };
        if !self.keys.is_empty() {
            config.keys = self.keys;
        }
        config
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Standard output carries the export lines and nothing else.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let config = args.config();
    let simulator = Simulator::start(&config).with_context(|| format!("cannot listen on {}", config.listen))?;
    tracing::info!(address = %simulator.address(), "listening");
    let mut out = std::io::stdout().lock();
    for (name, value) in simulator.client_env() {
        writeln!(out, "export {name}={value}")?;
    }
    out.flush()?;
    drop(out);
    interrupted().await?;
    tracing::info!("stopping");
    simulator.shutdown();
    Ok(())
}

async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome,
        _ = terminate.recv() => Ok(()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits]
        .parse()
        .map_err(|_| "give a number and a unit, such as 5s".to_owned())?;
    match &text[digits..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        "" if number == 0 => Ok(Duration::ZERO),
        unit => Err(format!("unknown unit '{unit}': use ms, s, m or h")),
    }
}

fn app(text: &str) -> Result<App, String> {
    let (place, name) = text.split_once('=').ok_or("give ID=NAME")?;
    match place.split('/').collect::<Vec<_>>()[..] {
        [id] => Ok(App {
            account: None,
            region: None,
            app_id: id.into(),
            name: name.into(),
        }),
        [account, region, id] => Ok(App {
            account: Some(account.into()),
            region: Some(region.into()),
            app_id: id.into(),
            name: name.into(),
        }),
        _ => Err("give ID=NAME or ACCOUNT/REGION/ID=NAME".into()),
    }
}

// clap prints this error. The return type is that of the other parsers.
fn key(text: &str) -> Result<Key, String> {
    let mut parts = text.splitn(3, ':');
    let id = parts
        .next()
        .filter(|id| !id.is_empty())
        .unwrap_or(DEFAULT_ACCESS_KEY_ID);
    let secret = parts.next().unwrap_or(DEFAULT_SECRET_ACCESS_KEY);
    let account = parts.next().unwrap_or(DEFAULT_ACCOUNT);
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("an account has 12 digits".into());
    }
    Ok(Key {
        access_key_id: id.into(),
        secret_access_key: secret.into(),
        session_token: None,
        account: account.into(),
    })
}

// An invalid ARN is refused later, by AssumeRole.
#[expect(clippy::unnecessary_wraps)]
fn role(text: &str) -> Result<Role, String> {
    let (arn, external_id) = text.split_once('=').map_or((text, None), |(arn, id)| (arn, Some(id)));
    Ok(Role {
        arn: arn.into(),
        external_id: external_id.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn arguments_become_a_configuration() {
        let args = Args::parse_from([
            "amplify-simulator",
            "--listen",
            "127.0.0.1:0",
            "--job-duration",
            "250ms",
            "--app",
            "d1=shop",
            "--app",
            "111111111111/us-east-1/d2=blog",
            "--access-key",
            "AKIA:s/e+c:222222222222",
            "--role",
            "arn:aws:iam::333333333333:role/x=ext",
            "--page-size",
            "1",
        ]);
        let config = args.config();
        assert_eq!(config.settings.job_duration, Duration::from_millis(250));
        assert_eq!(config.settings.page_size, Some(1));
        assert_eq!(config.apps[1].region.as_deref(), Some("us-east-1"));
        assert_eq!(config.keys[0].account, "222222222222");
        assert_eq!(config.keys[0].secret_access_key, "s/e+c");
        assert_eq!(config.roles[0].external_id.as_deref(), Some("ext"));
        assert!(!config.unlisted_roles);
    }

    #[test]
    fn durations_need_a_unit_unless_they_are_zero() {
        for (text, millis) in [
            ("0", Some(0)),
            ("5s", Some(5000)),
            ("2m", Some(120_000)),
            ("7", None),
            ("1d", None),
            ("s", None),
        ] {
            let expected = millis.map(Duration::from_millis);
            assert_eq!(duration(text).ok(), expected, "{text}");
        }
    }
}
