//! What an account has in a region: the reads of `amplify-operator import`, which the operator itself never makes.
//!
//! Child of the client, and bound like it: read only, paginated, nothing believed that names something else.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AppId, Call, Client, EnvironmentName, Failure, absent_is_none, amplify, backend, is_described, paged, same,
    unreadable,
};

/// A backend as `GetBackend` describes it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Described {
    /// The app's name, where AWS says it.
    pub app_name: Option<String>,
    /// AmplifyMetaConfig, where AWS says it: JSON that others wrote, of any size. Not to be logged.
    pub meta_config: Option<String>,
}

impl Client {
    /// The app's name. `None`: AWS knows no such app.
    pub async fn app_name(&self, app: &AppId) -> Result<Option<String>, Failure> {
        const CALL: Call = amplify("GetApp");
        let inner = self.usable()?;
        let answer = send!(
            &inner.observer,
            CALL,
            inner.amplify_reads.get_app().app_id(app.as_str())
        );
        let Some(output) = absent_is_none(answer)? else {
            return Ok(None);
        };
        let there = output.app.ok_or_else(|| unreadable(CALL, "the answer has no app"))?;
        same(CALL, "appId", Some(&there.app_id), app.as_str())?;
        Ok(Some(there.name))
    }

    /// The names of all apps by id, all pages. A list that cannot be read to its end is `Unavailable`.
    pub async fn list_apps(&self) -> Result<BTreeMap<String, String>, Failure> {
        const CALL: Call = amplify("ListApps");
        let inner = self.usable()?;
        let pages = paged(CALL, |token| async move {
            let page = send!(
                &inner.observer,
                CALL,
                inner.amplify_reads.list_apps().max_results(100).set_next_token(token)
            )?;
            Ok((page.apps, page.next_token))
        });
        let apps = pages.await?.whole(CALL)?;
        Ok(apps.into_iter().map(|app| (app.app_id, app.name)).collect())
    }

    /// The names of the app's environments that `GetBackend` lists. An app that it does not know has none, nor has one
    /// that it names without a list: many apps have no backend.
    pub async fn backend_names(&self, app: &AppId) -> Result<BTreeSet<String>, Failure> {
        let Some(output) = absent_is_none(self.get_backend(app, None).await)? else {
            return Ok(BTreeSet::new());
        };
        match output.backend_environment_list {
            Some(names) => Ok(names.into_iter().collect()),
            None if output.app_id.is_some() => Ok(BTreeSet::new()),
            None => Err(unreadable(backend("GetBackend"), "the answer names no app")),
        }
    }

    /// The backend. `None`: AWS says that there is none.
    pub async fn describe_backend(
        &self,
        app: &AppId,
        environment: &EnvironmentName,
    ) -> Result<Option<Described>, Failure> {
        let Some(output) = absent_is_none(self.get_backend(app, Some(environment)).await)? else {
            return Ok(None);
        };
        Ok(is_described(&output, environment)?.then_some(Described {
            app_name: output.app_name,
            meta_config: output.amplify_meta_config,
        }))
    }
}
