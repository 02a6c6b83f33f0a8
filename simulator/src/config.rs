//! What a simulator is started with, and the settings that a test changes while it runs. No behaviour.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::clock::as_millis;

/// The account that the default key belongs to.
pub const DEFAULT_ACCOUNT: &str = "123456789012";

/// The access key id that is accepted by default.
pub const DEFAULT_ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";

/// The secret of the default key: AWS's own example, so that secret scanners know it.
pub const DEFAULT_SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// What a simulator is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 picks one.
    pub listen: SocketAddr,
    /// The region named in [`client_env`](crate::Simulator::client_env) and of apps that name none. Any other works.
    pub region: String,
    /// Accepted keys; the first one is handed to clients.
    pub keys: Vec<Key>,
    /// Roles with conditions of their own.
    pub roles: Vec<Role>,
    /// Whether roles that are not listed can be assumed too.
    pub unlisted_roles: bool,
    /// Apps that exist from the start.
    pub apps: Vec<App>,
    /// The first settings.
    pub settings: Settings,
    /// How many calls the history keeps; the counters go on.
    pub history_limit: usize,
    /// Request bodies longer than this are not kept.
    pub history_body_limit: usize,
    /// How far a signature's time may be off the wall clock.
    pub max_clock_skew: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            region: "eu-west-1".into(),
            keys: vec![Key {
                access_key_id: DEFAULT_ACCESS_KEY_ID.into(),
                secret_access_key: DEFAULT_SECRET_ACCESS_KEY.into(),
                session_token: None,
                account: DEFAULT_ACCOUNT.into(),
            }],
            roles: Vec::new(),
            unlisted_roles: true,
            apps: Vec::new(),
            settings: Settings::default(),
            history_limit: 100_000,
            history_body_limit: 64 * 1024,
            max_clock_skew: Duration::from_mins(5),
        }
    }
}

impl Config {
    /// Adds an app of the default account and region.
    #[must_use]
    pub fn app(mut self, app_id: &str, name: &str) -> Self {
        self.apps.push(App {
            account: None,
            region: None,
            app_id: app_id.into(),
            name: name.into(),
        });
        self
    }

    /// Adds a key of an account.
    #[must_use]
    pub fn key(mut self, access_key_id: &str, secret_access_key: &str, account: &str) -> Self {
        self.keys.push(Key {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
            account: account.into(),
        });
        self
    }

    /// Adds a role that can be assumed, with the external id that it asks for.
    #[must_use]
    pub fn role(mut self, arn: &str, external_id: Option<&str>) -> Self {
        self.roles.push(Role {
            arn: arn.into(),
            external_id: external_id.map(str::to_owned),
        });
        self
    }

    /// Returns how long jobs run.
    #[must_use]
    pub const fn job_duration(mut self, duration: Duration) -> Self {
        self.settings.job_duration = duration;
        self
    }

    /// Whether an app that is not registered exists as soon as it is named.
    #[must_use]
    pub const fn auto_register_apps(mut self, yes: bool) -> Self {
        self.settings.auto_register_apps = yes;
        self
    }

    /// Replaces the settings.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }
}

/// A long-term key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Key {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: String,
    /// The token that has to come with it, for a temporary key.
    #[serde(default)]
    pub session_token: Option<String>,
    /// The account that it belongs to.
    pub account: String,
}

/// A role that can be assumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    /// `arn:aws:iam::<account>:role/<name>`.
    pub arn: String,
    /// The external id that its trust policy asks for.
    #[serde(default)]
    pub external_id: Option<String>,
}

/// An app, which the two APIs never make themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct App {
    /// The first key's account if absent.
    #[serde(default)]
    pub account: Option<String>,
    /// The simulator's region if absent.
    #[serde(default)]
    pub region: Option<String>,
    /// `d…`.
    pub app_id: String,
    /// Its name.
    pub name: String,
}

/// How the simulated AWS behaves when no fault is ordered. A job or an object keeps what held when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
// Each is a switch of its own.
#[expect(clippy::struct_excessive_bools)]
pub struct Settings {
    /// How long jobs run; with 0 the reply to a create already says COMPLETED.
    #[serde(rename = "jobDurationMillis", with = "as_millis")]
    pub job_duration: Duration,
    /// How long `ListBackendJobs` does not show a new job.
    #[serde(rename = "jobListingDelayMillis", with = "as_millis")]
    pub job_listing_delay: Duration,
    /// How long reads answer 404 for what was just created.
    #[serde(rename = "readAfterCreateDelayMillis", with = "as_millis")]
    pub read_after_create_delay: Duration,
    /// What the ids of jobs begin with.
    pub job_id_prefix: String,
    /// Creates are visible to reads while their job still runs.
    pub visible_while_creating: bool,
    /// No page is longer than this, whatever the request asks for.
    pub page_size: Option<usize>,
    /// Calls per second that an account and region takes, with a second's worth at once; more are answered with 429. None: any.
    pub calls_per_second: Option<u32>,
    /// Every page names the same token and is the first one.
    pub repeat_page_token: bool,
    /// The oldest job comes first in `ListBackendJobs`.
    pub oldest_job_first: bool,
    /// The environment that a clone's job is listed under.
    pub clone_job_environment: CloneJobEnvironment,
    /// Whether an app that is not registered exists as soon as it is named.
    pub auto_register_apps: bool,
    /// How AWS says that a backend has no room for a resource: it has one of a kind, and a storage needs an auth.
    pub crowded: Crowded,
    /// Reads of a resource by another name than that of the only one of its category show that one.
    pub any_name_shows_the_only_one: bool,
    /// A new backend has an auth, as after `amplify add auth`: no operation about it is simulated.
    pub new_backends_have_auth: bool,
    /// How `GetBackendAPI` changes what was stored.
    pub echo: Echo,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            job_duration: Duration::from_secs(5),
            job_listing_delay: Duration::ZERO,
            read_after_create_delay: Duration::ZERO,
            job_id_prefix: String::new(),
            visible_while_creating: false,
            page_size: None,
            calls_per_second: None,
            repeat_page_token: false,
            oldest_job_first: false,
            clone_job_environment: CloneJobEnvironment::Target,
            auto_register_apps: false,
            crowded: Crowded::Refused,
            any_name_shows_the_only_one: false,
            new_backends_have_auth: false,
            echo: Echo::default(),
        }
    }
}

/// How AWS says that a backend has no room for a resource: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Crowded {
    /// At once, with 400.
    #[default]
    Refused,
    /// By a job that fails.
    FailedJob,
}

/// The environment that a clone's job is listed under. It excludes other jobs in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CloneJobEnvironment {
    /// The one that is made.
    #[default]
    Target,
    /// The one that is read.
    Source,
}

/// How `GetBackendAPI` changes what was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Echo {
    /// Members of `resourceConfig` that are left out; a dot goes deeper (`defaultAuthType.settings`).
    pub omit: Vec<String>,
    /// `transformSchema` comes back with a newline at its end.
    pub trailing_newline: bool,
    /// Members that were never sent come back with AWS's defaults.
    pub defaults: bool,
}
