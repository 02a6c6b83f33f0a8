//! `GetBackend`: a backend with what AWS tells of it, and the list of an app's backends. More than one kind asks for it.

use std::collections::BTreeSet;

use aws_sdk_amplify::operation::RequestId as _;
use aws_sdk_amplifybackend::operation::get_backend::GetBackendOutput;

use super::{Place, meta_config::MetaConfig};
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

/// A backend with what AWS tells of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Described {
    /// The app's name, where AWS says it.
    pub app_name: Option<String>,
    /// AmplifyMetaConfig, as it came.
    text: Option<String>,
}

impl std::fmt::Debug for Described {
    /// Without the text, which holds secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Described")
            .field("app_name", &self.app_name)
            .finish_non_exhaustive()
    }
}

impl Described {
    /// What is in it, or why that is not known.
    pub fn meta(&self) -> Result<MetaConfig, String> {
        MetaConfig::parse(self.text.as_deref())
    }
}

/// The backends of an app, as one answer lists them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Backends {
    /// The app's name, where AWS says it.
    pub app_name: Option<String>,
    /// The names of the backend environments.
    pub environments: BTreeSet<String>,
}

/// The backend. `None`: AWS says that there is none.
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

/// What is in the backend of this environment, or why that is not known. `None`: AWS says that there is no such backend.
pub(super) async fn contents(
    client: &Client,
    location: &Location,
) -> Result<Option<Result<MetaConfig, String>>, Failure> {
    let environment = location.environment.as_ref();
    let described = describe(client, &environment.app, &environment.name).await?;
    Ok(described.map(|described| described.meta()))
}

/// The place of an object in the backend of this environment, as `of` reads it from what is in there.
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

/// That what AWS has there cannot be told.
pub(super) fn unknown(why: &str) -> Failure {
    unreadable(GET, why)
}

/// The app's backends.
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

/// The names of the app's environments that `GetBackend` lists. An app that it does not know has none, nor has one that it
/// names without a list: many apps have no backend.
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

/// `GetBackend` for one environment, or without one for the list of the app's environments.
async fn get(client: &Client, app: &AppId, environment: Option<&EnvironmentName>) -> Result<GetBackendOutput, Failure> {
    let sdk = client.usable()?;
    let request = sdk.backend_reads.get_backend().app_id(app.as_str());
    let request = request.set_backend_environment_name(environment.map(|name| name.as_str().to_owned()));
    let output = send!(sdk.observer(), GET, request)?;
    same(GET, "appId", output.app_id.as_deref(), app.as_str())?;
    no_error(GET, output.error.clone())?;
    Ok(output)
}

/// Whether an answer to `GetBackend` shows the environment that was asked for.
fn is_described(output: &GetBackendOutput, environment: &EnvironmentName) -> Result<bool, Failure> {
    match (&output.backend_environment_name, &output.backend_environment_list) {
        (Some(name), _) => {
            same(GET, "backendEnvironmentName", Some(name), environment.as_str())?;
            Ok(true)
        }
        (None, Some(names)) if names.iter().any(|name| name == environment.as_str()) => Ok(true),
        // What is not in the list is gone: only AWS itself may say so.
        (None, Some(_)) if output.request_id().is_none() => Err(unreadable(
            GET,
            "the answer has neither the environment nor AWS's request id",
        )),
        (None, Some(_)) => Ok(false),
        (None, None) => Err(unreadable(GET, "the answer names no environment")),
    }
}
