//! `GetBackend`: a backend with its contents, and the list of an app's backends. Used by more than one kind.

use std::collections::BTreeSet;

use aws_sdk_amplify::operation::RequestId as _;
use aws_sdk_amplifybackend::operation::get_backend::GetBackendOutput;

use super::{
    Place,
    meta_config::{self, MetaConfig},
    overview::Overview,
};
use crate::{
    amplify::{
        AppId, Call, Client, EnvironmentName,
        answers::{absent_is_none, no_error, same, unreadable},
        send,
    },
    api::Read,
    controller::index::Location,
    lifecycle::facts::Failure,
};

const GET: Call = Call::read(Read::GetBackend);

/// A backend with its contents.
#[derive(Clone, Eq, PartialEq)]
pub struct Described {
    /// The app's name, if AWS returned it.
    pub app_name: Option<String>,
    /// AmplifyMetaConfig, unparsed.
    text: Option<String>,
}

impl std::fmt::Debug for Described {
    /// Omits the text: it holds secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Described")
            .field("app_name", &self.app_name)
            .finish_non_exhaustive()
    }
}

impl Described {
    /// Returns the contents of the backend, or why they are unknown.
    pub fn meta(&self) -> Result<MetaConfig, String> {
        MetaConfig::parse(self.text.as_deref())
    }

    /// Returns the overview of contents that [`Self::meta`] can read, or why it is unknown.
    pub fn overview(&self) -> Result<Overview, String> {
        Overview::parse(meta_config::readable(self.text.as_deref())?)
    }
}

/// The backends of an app, as one answer lists them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Backends {
    /// The app's name, if AWS returned it.
    pub app_name: Option<String>,
    /// The names of the backend environments.
    pub environments: BTreeSet<String>,
}

/// Returns the backend, or `None` if AWS answers that there is none.
pub async fn describe(
    client: &Client,
    app: &AppId,
    environment: &EnvironmentName,
) -> Result<Option<Described>, Failure> {
    let Some(output) = absent_is_none(get(client, app, Some(environment)).await)? else {
        return Ok(None);
    };
    Ok(is_described(&output, environment)?.then_some(Described {
        text: output.amplify_meta_config,
        app_name: output.app_name,
    }))
}

/// Returns the contents of the backend of this environment, or why they are unknown. `None`: AWS answers that there is
/// no such backend.
pub(super) async fn contents(
    client: &Client,
    location: &Location,
) -> Result<Option<Result<MetaConfig, String>>, Failure> {
    let environment = location.environment.as_ref();
    let described = describe(client, &environment.app, &environment.name).await?;
    Ok(described.map(|described| described.meta()))
}

/// Returns the place of an object in the backend of this environment. `of` reads it from the contents of the backend.
pub(super) async fn place(
    client: &Client,
    location: &Location,
    of: impl FnOnce(&MetaConfig) -> Place + Send,
) -> Result<Place, Failure> {
    Ok(match contents(client, location).await? {
        None => Place::Free,
        Some(Ok(meta)) => of(&meta),
        Some(Err(_)) => Place::Unclear,
    })
}

/// Makes the failure of a look that cannot determine what AWS has.
pub(super) fn unknown(why: &str) -> Failure {
    unreadable(GET, why)
}

/// Lists the app's backends.
pub(super) async fn list(client: &Client, app: &AppId) -> Result<Backends, Failure> {
    let output = get(client, app, None).await?;
    let environments = output
        .backend_environment_list
        .ok_or_else(|| unreadable(GET, "the answer lists no environments"))?;
    Ok(Backends {
        app_name: output.app_name,
        environments: environments.into_iter().collect(),
    })
}

/// Returns the names of the app's environments that `GetBackend` lists. Empty if AWS has no such app, or answers
/// without a list: many apps have no backend.
pub async fn names(client: &Client, app: &AppId) -> Result<BTreeSet<String>, Failure> {
    let Some(output) = absent_is_none(get(client, app, None).await)? else {
        return Ok(BTreeSet::new());
    };
    match output.backend_environment_list {
        Some(names) => Ok(names.into_iter().collect()),
        None if output.app_id.is_some() => Ok(BTreeSet::new()),
        None => Err(unreadable(GET, "the answer names no app")),
    }
}

/// Calls `GetBackend` for one environment or, without one, for the list of the app's environments.
async fn get(client: &Client, app: &AppId, environment: Option<&EnvironmentName>) -> Result<GetBackendOutput, Failure> {
    let sdk = client.usable()?;
    let request = sdk.backend_reads.get_backend().app_id(app.as_str());
    let request = request.set_backend_environment_name(environment.map(|name| name.as_str().to_owned()));
    let output = send!(sdk.observer(), GET, request)?;
    same(GET, "appId", output.app_id.as_deref(), app.as_str())?;
    no_error(GET, output.error.clone())?;
    Ok(output)
}

/// Whether an answer to `GetBackend` shows the requested environment.
fn is_described(output: &GetBackendOutput, environment: &EnvironmentName) -> Result<bool, Failure> {
    match (&output.backend_environment_name, &output.backend_environment_list) {
        (Some(name), _) => {
            same(GET, "backendEnvironmentName", Some(name), environment.as_str())?;
            Ok(true)
        }
        (None, Some(names)) if names.iter().any(|name| name == environment.as_str()) => Ok(true),
        // An environment that is missing in the list is gone. Only an answer of AWS itself proves this.
        (None, Some(_)) if output.request_id().is_none() => Err(unreadable(
            GET,
            "the answer has neither the environment nor AWS's request id",
        )),
        (None, Some(_)) => Ok(false),
        (None, None) => Err(unreadable(GET, "the answer names no environment")),
    }
}
