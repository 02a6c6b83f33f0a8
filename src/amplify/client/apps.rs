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
        let locked = app.environment_variables.remove(LOCKED);
        Self {
            name: app.name,
            // A blank beside the name unlocks nothing. A name that no environment can have locks none.
            locked_environment: locked.and_then(|name| name.trim().parse().ok()),
        }
    }
}

impl Client {
    /// Returns the app, or `None` if AWS has no such app.
    pub async fn get_app(&self, app: &AppId) -> Result<Option<AppSeen>, Failure> {
        const CALL: Call = Call::read(Read::GetApp);
        let sdk = self.usable()?;
        let answer = send!(sdk.observer(), CALL, sdk.amplify_reads.get_app().app_id(app.as_str()));
        let Some(output) = absent_is_none(answer)? else {
            return Ok(None);
        };
        let there = output.app.ok_or_else(|| unreadable(CALL, "the answer has no app"))?;
        same(CALL, "appId", Some(&there.app_id), app.as_str())?;
        Ok(Some(there.into()))
    }

    /// Returns all apps, by id, from all pages. A list that cannot be read to its end is `Unavailable`.
    pub async fn list_apps(&self) -> Result<BTreeMap<String, AppSeen>, Failure> {
        const CALL: Call = Call::read(Read::ListApps);
        let sdk = self.usable()?;
        let pages = paged(CALL, |token| async move {
            let page = send!(
                sdk.observer(),
                CALL,
                sdk.amplify_reads.list_apps().max_results(100).set_next_token(token)
            )?;
            let seen = |app: App| (app.app_id.clone(), AppSeen::from(app));
            Ok((page.apps.into_iter().map(seen).collect(), page.next_token))
        });
        Ok(pages.await?.whole(CALL)?.into_iter().collect())
    }
}
