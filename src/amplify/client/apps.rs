//! Calls about the apps of an account in a region. No kind is about apps.

use std::collections::BTreeMap;

use aws_sdk_amplify::types::App;

use super::{
    super::{AppId, EnvironmentName, errors::Call},
    Client,
    answers::{absent_is_none, paged, same, unreadable},
    send,
};
use crate::{api::Read, lifecycle::facts::Failure};

/// The variable of an app by which `amplify gen2-migration lock` names the environment that it has locked.
const LOCKED: &str = "GEN2_MIGRATION_ENVIRONMENT_NAME";

/// The parts of an app that are kept. The rest, with the app's variables in clear, is dropped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppSeen {
    /// Its name.
    pub name: String,
    /// The environment that a Gen 2 migration of the app has locked.
    pub locked_environment: Option<EnvironmentName>,
}

impl From<App> for AppSeen {
    fn from(mut app: App) -> Self {
        Self {
            name: std::mem::take(&mut app.name),
            locked_environment: locked(app),
        }
    }
}

impl Client {
    /// Returns the app, or `None` if AWS has no such app.
    pub async fn get_app(&self, app: &AppId) -> Result<Option<AppSeen>, Failure> {
        Ok(self.app(app).await?.map(AppSeen::from))
    }

    /// Returns the environment that a Gen 2 migration of the app has locked. An app that AWS does not know has none.
    pub async fn locked_environment(&self, app: &AppId) -> Result<Option<EnvironmentName>, Failure> {
        Ok(self.app(app).await?.and_then(locked))
    }

    /// Returns the locked environments of all apps, by app, from all pages. A list that cannot be read to its end is
    /// `Unavailable`.
    pub async fn locked_environments(&self) -> Result<BTreeMap<AppId, EnvironmentName>, Failure> {
        let apps = self.apps(|app| Some((app.app_id.parse().ok()?, locked(app)?))).await?;
        Ok(apps.into_iter().flatten().collect())
    }

    /// Returns all apps, by id, from all pages. A list that cannot be read to its end is `Unavailable`.
    pub async fn list_apps(&self) -> Result<BTreeMap<String, AppSeen>, Failure> {
        let apps = self.apps(|app| (app.app_id.clone(), AppSeen::from(app))).await?;
        Ok(apps.into_iter().collect())
    }

    async fn app(&self, app: &AppId) -> Result<Option<App>, Failure> {
        const CALL: Call = Call::read(Read::GetApp);
        let sdk = self.usable()?;
        let answer = send!(sdk.observer(), CALL, sdk.amplify_reads.get_app().app_id(app.as_str()));
        let Some(output) = absent_is_none(answer)? else {
            return Ok(None);
        };
        let there = output.app.ok_or_else(|| unreadable(CALL, "the answer has no app"))?;
        same(CALL, "appId", Some(&there.app_id), app.as_str())?;
        Ok(Some(there))
    }

    /// Returns the part of each app that `keep` takes. The rest, with the app's variables in clear, is dropped page by page.
    async fn apps<T>(&self, keep: impl Fn(App) -> T + Copy) -> Result<Vec<T>, Failure> {
        const CALL: Call = Call::read(Read::ListApps);
        let sdk = self.usable()?;
        let pages = paged(CALL, |token| async move {
            let page = send!(
                sdk.observer(),
                CALL,
                sdk.amplify_reads.list_apps().max_results(100).set_next_token(token)
            )?;
            Ok((page.apps.into_iter().map(keep).collect(), page.next_token))
        });
        pages.await?.whole(CALL)
    }
}

/// Returns the environment that the app's mark names. A name that no environment can have locks none.
fn locked(app: App) -> Option<EnvironmentName> {
    let mut variables = app.environment_variables;
    variables.remove(LOCKED)?.parse().ok()
}
