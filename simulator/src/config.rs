//! The configuration at start, and the settings that a test changes while the simulator runs. No behaviour.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::clock::as_millis;

/// The account that the default key belongs to.
pub const DEFAULT_ACCOUNT: &str = "123456789012";

/// The access key id that the simulator accepts by default.
pub const DEFAULT_ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";

/// The secret of the default key. It is AWS's own example, so that secret scanners ignore it.
pub const DEFAULT_SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// The configuration of a simulator at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on; port 0 picks a free port.
    pub listen: SocketAddr,
    /// The region in [`client_env`](crate::Simulator::client_env), and the region of apps without one. All other
    /// regions work too.
    pub region: String,
    /// Accepted keys; clients get the first one.
    pub keys: Vec<Key>,
    /// The roles with conditions of their own.
    pub roles: Vec<Role>,
    /// Whether other roles can be assumed too.
    pub unlisted_roles: bool,
    /// Apps that exist from the start.
    pub apps: Vec<App>,
    /// The initial settings.
    pub settings: Settings,
    /// How many calls the history keeps. The counters count all calls.
    pub history_limit: usize,
    /// The history drops request bodies longer than this.
    pub history_body_limit: usize,
    /// How far a signature's time may differ from the wall clock.
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

    /// Adds a role that can be assumed, with the external id that it requires.
    #[must_use]
    pub fn role(mut self, arn: &str, external_id: Option<&str>) -> Self {
        self.roles.push(Role {
            arn: arn.into(),
            external_id: external_id.map(str::to_owned),
        });
        self
    }

    /// Sets the length of jobs.
    #[must_use]
    pub const fn job_duration(mut self, duration: Duration) -> Self {
        self.settings.job_duration = duration;
        self
    }

    /// Sets whether an app that is not registered exists as soon as a request names it.
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
    /// The access key id, the public half.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token that a request must carry, for a temporary key.
    #[serde(default)]
    pub session_token: Option<String>,
    /// The account that the key belongs to.
    pub account: String,
}

/// A role that can be assumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    /// The ARN: `arn:aws:iam::<account>:role/<name>`.
    pub arn: String,
    /// The external id that its trust policy requires.
    #[serde(default)]
    pub external_id: Option<String>,
}

/// An app. The two APIs never create apps themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct App {
    /// The account; if absent, that of the first key.
    #[serde(default)]
    pub account: Option<String>,
    /// The region; if absent, the simulator's.
    #[serde(default)]
    pub region: Option<String>,
    /// The app id: `d…`.
    pub app_id: String,
    /// The app's name.
    pub name: String,
}

/// The behaviour of the simulated AWS when no fault is ordered. A job or an object keeps the settings of the time at
/// which it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
// Each boolean is an independent switch.
#[expect(clippy::struct_excessive_bools)]
pub struct Settings {
    /// The length of jobs. With 0, the reply to a create already says COMPLETED.
    #[serde(rename = "jobDurationMillis", with = "as_millis")]
    pub job_duration: Duration,
    /// The time for which `ListBackendJobs` does not show a new job.
    #[serde(rename = "jobListingDelayMillis", with = "as_millis")]
    pub job_listing_delay: Duration,
    /// The time for which reads of a new object answer 404.
    #[serde(rename = "readAfterCreateDelayMillis", with = "as_millis")]
    pub read_after_create_delay: Duration,
    /// The prefix of job ids.
    pub job_id_prefix: String,
    /// Whether reads show a new object while its job still runs.
    pub visible_while_creating: bool,
    /// The longest page, whatever page size the request asks for.
    pub page_size: Option<usize>,
    /// Calls per second that an account and region accepts, with a burst of one second's calls; further calls are
    /// answered with 429. None: no limit.
    pub calls_per_second: Option<u32>,
    /// Whether every page has the same token and the content of the first page.
    pub repeat_page_token: bool,
    /// Whether `ListBackendJobs` begins with the oldest job.
    pub oldest_job_first: bool,
    /// The environment under which a clone's job is listed.
    pub clone_job_environment: CloneJobEnvironment,
    /// Whether an app that is not registered exists as soon as a request names it.
    pub auto_register_apps: bool,
    /// How AWS refuses a resource in a backend that already has one of its kind, or a storage in a backend without an
    /// auth.
    pub crowded: Crowded,
    /// Whether a read with a wrong resource name returns the only resource of the category.
    pub any_name_shows_the_only_one: bool,
    /// Whether a new backend has an auth, as after `amplify add auth`. No operation on auths is simulated.
    pub new_backends_have_auth: bool,
    /// How `GetBackendAPI` changes the stored configuration.
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

/// How AWS refuses a resource that a backend has no room for. AWS's real way is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Crowded {
    /// The request is refused at once, with 400.
    #[default]
    Refused,
    /// A job starts and fails.
    FailedJob,
}

/// The environment under which a clone's job is listed. The job excludes other jobs in both environments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CloneJobEnvironment {
    /// The new environment.
    #[default]
    Target,
    /// The environment that is cloned.
    Source,
}

/// How `GetBackendAPI` changes the stored configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Echo {
    /// Members of `resourceConfig` to leave out; a dot leads to an inner member (`defaultAuthType.settings`).
    pub omit: Vec<String>,
    /// Whether `transformSchema` is returned with a newline at its end.
    pub trailing_newline: bool,
    /// Whether members that were never sent are returned with AWS's defaults.
    pub defaults: bool,
}
