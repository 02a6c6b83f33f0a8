//! The objects that AWS has, for `import` and `report`.
//!
//! May do: read AWS through the port, draw a progress bar on stderr. May not: write to AWS, use Kubernetes, print
//! anything else, decide what a command makes of an answer. `fetch` reads; this file holds the types and the way to
//! AWS.

mod fetch;

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) use fetch::{AT_A_TIME, patiently, why};

use crate::{
    amplify::{AppSeen, Base, Client, EnvironmentName, Route, Sessions},
    api::{ResourceConfig, text::clean},
    cli::Source,
    clock::Clock,
    kinds::{backend_environment::Record, backend_storage::Storage, overview::Overview},
    lifecycle::facts::{Class, Failure},
    proxy::Proxies,
    telemetry::Metrics,
};

/// Exit code of a command: AWS gave no answer about some existing objects.
pub(crate) const INCOMPLETE: u8 = 3;

/// All data that was read.
#[derive(Clone, Debug)]
pub(crate) struct Inventory {
    /// The AWS account.
    pub(crate) account: String,
    /// The region.
    pub(crate) region: String,
    /// The apps, by id.
    pub(crate) apps: BTreeMap<String, App>,
}

/// AWS's answer about one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer<T> {
    /// The object exists.
    There(T),
    /// The object does not exist.
    Absent,
    /// Unknown: no request could be sent, or there was no answer. The text is the reason.
    Unknown(String),
}

/// An app.
#[derive(Clone, Debug)]
pub(crate) struct App {
    /// Its name.
    pub(crate) name: String,
    /// The environment that a Gen 2 migration has locked.
    pub(crate) locked: Option<EnvironmentName>,
    /// The environments, by name.
    pub(crate) environments: Answer<BTreeMap<String, Environment>>,
}

/// An environment of an app.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    /// Its record, if it has one.
    pub(crate) record: Option<Record>,
    /// Its backend. No request is sent for a name that the port refuses.
    pub(crate) backend: Answer<Backend>,
}

/// A backend.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    /// The app's name, if AWS returned it.
    pub(crate) app_name: Option<String>,
    /// The APIs by resource name, or why they are unknown.
    pub(crate) apis: Result<BTreeMap<String, Answer<ResourceConfig>>, String>,
    /// The name and content of the storage, if the backend has one, or why it is unknown.
    pub(crate) storage: Result<Option<(String, Answer<Storage>)>, String>,
    /// The sign-in and the rest of the contents, or why they are unknown.
    pub(crate) overview: Result<Overview, String>,
}

/// Access to the account and region of a command.
pub(crate) struct Connection {
    /// Reads AWS.
    pub(crate) client: Client,
    /// The account of the credentials.
    pub(crate) account: String,
    /// The region.
    pub(crate) region: String,
    /// The time, by AWS's answers.
    pub(crate) clock: Arc<Clock>,
}

/// Finds the region and the credentials, and asks AWS for their account.
pub(crate) async fn connect(source: &Source) -> anyhow::Result<Connection> {
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let clock = Arc::new(Clock::of_machine());
    let allowed = source.allowed_region.clone();
    let route = Route::of_machine(Arc::new(Proxies::from_env()?), source.allow_plain_http).await?;
    let base = Base::load(route).await;
    let sessions = Sessions::new(base, metrics, Arc::clone(&clock), None, allowed);
    // A namespace determines the account only with an accounts file.
    let region = source.region.clone().or_else(|| sessions.assignment("").region);
    // The SDK accepts an empty AWS_REGION as a region.
    let region = region.filter(|region| !region.trim().is_empty());
    let region =
        region.context("no AWS region is known: give --region, set AWS_REGION, or set a region in the AWS profile")?;
    if let Some(why) = sessions.refuses_region(&region) {
        bail!("{why}");
    }
    let session = sessions.session_for("").map_err(|failure| refused(&failure))?;
    Ok(Connection {
        client: session.client(&region),
        account: session.account_id().await.map_err(|failure| refused(&failure))?,
        region,
        clock,
    })
}

impl Connection {
    /// Reads the apps that the arguments name, with everything in them.
    pub(crate) async fn read(&self, source: &Source) -> anyhow::Result<Inventory> {
        let bar = progress("reading AWS")?;
        let mut apps = BTreeMap::new();
        for (id, seen) in self.apps(source).await? {
            bar.set_message(format!("app {}", clean(&id)));
            let app = fetch::app(&self.client, &id, seen, &bar).await;
            apps.insert(id, app);
        }
        bar.finish_and_clear();
        Ok(Inventory {
            account: self.account.clone(),
            region: self.region.clone(),
            apps,
        })
    }

    async fn apps(&self, source: &Source) -> anyhow::Result<BTreeMap<String, AppSeen>> {
        let Self {
            client,
            account,
            region,
            ..
        } = self;
        if source.apps.all_apps {
            return patiently(|| client.list_apps())
                .await
                .map_err(|failure| refused(&failure));
        }
        let mut apps = BTreeMap::new();
        for id in &source.apps.app_id {
            let seen = patiently(|| client.get_app(id))
                .await
                .map_err(|failure| refused(&failure))?;
            let Some(seen) = seen else {
                bail!(
                    "AWS account {account} has no Amplify app {id} in {region}: check the app id, --region and AWS_PROFILE; --all-apps reads every app there"
                );
            };
            apps.insert(id.as_str().to_owned(), seen);
        }
        Ok(apps)
    }
}

/// Returns a bar that counts environments. It is drawn on stderr, and only on a terminal.
pub(crate) fn progress(doing: &str) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template(&format!("{doing} {{bar:30}} {{pos}}/{{len}} environments {{msg}}"))?;
    let bar = ProgressBar::new(0).with_style(style);
    bar.tick();
    Ok(bar)
}

/// Returns the error for a failure that makes the whole command impossible, with advice.
fn refused(failure: &Failure) -> anyhow::Error {
    let hint = match failure.class {
        Class::AccessDenied => {
            ". Credentials come from the AWS SDK's own chain (AWS_PROFILE, AWS_ACCESS_KEY_ID, SSO, a role); they need the actions in deploy/iam-policy-import.json"
        }
        Class::Unavailable => ". Nothing was printed: try again",
        Class::NotFound
        | Class::BadRequest
        | Class::Pending
        | Class::Throttled
        | Class::QuotaExceeded
        | Class::AccountNotFound
        | Class::AccountChanged => "",
    };
    anyhow::anyhow!("{}{hint}", failure.message)
}
