//! What an account has in a region: the reads of `amplify-operator import`, which the operator itself never makes.
//!
//! Child of the client, and bound like it: read only, paginated, nothing believed that names something else.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AppId, Call, Client, EnvironmentName, Failure, MAX_PAGES, Tokens, absent_is_none, amplify, is_described, same,
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
        let output = send!(
            &inner.observer,
            CALL,
            inner.amplify_reads.get_app().app_id(app.as_str())
        );
        absent_is_none(output.and_then(|output| {
            let there = output.app.ok_or_else(|| unreadable(CALL, "the answer has no app"))?;
            same(CALL, "appId", Some(&there.app_id), app.as_str())?;
            Ok(Some(there.name))
        }))
    }

    /// The names of all apps by id, all pages. A list that cannot be read to its end is `Unavailable`.
    pub async fn list_apps(&self) -> Result<BTreeMap<String, String>, Failure> {
        const CALL: Call = amplify("ListApps");
        let inner = self.usable()?;
        let mut apps = BTreeMap::new();
        let mut tokens = Tokens::default();
        for _ in 0..MAX_PAGES {
            let page = send!(
                &inner.observer,
                CALL,
                inner
                    .amplify_reads
                    .list_apps()
                    .max_results(100)
                    .set_next_token(tokens.current())
            )?;
            apps.extend(page.apps.into_iter().map(|app| (app.app_id, app.name)));
            if page.next_token.is_none() {
                return Ok(apps);
            }
            if !tokens.advance(page.next_token) {
                return Err(unreadable(CALL, "the list repeats a page"));
            }
        }
        Err(unreadable(CALL, "the list has too many pages"))
    }

    /// The names of the app's environments that `GetBackend` lists. An app that it does not know has none.
    pub async fn backend_names(&self, app: &AppId) -> Result<BTreeSet<String>, Failure> {
        let listed = absent_is_none(self.get_backend(app, None).await.map(Some))?;
        let names = listed.and_then(|output| output.backend_environment_list);
        Ok(names.unwrap_or_default().into_iter().collect())
    }

    /// The backend. `None`: AWS says that there is none.
    pub async fn describe_backend(
        &self,
        app: &AppId,
        environment: &EnvironmentName,
    ) -> Result<Option<Described>, Failure> {
        let output = absent_is_none(self.get_backend(app, Some(environment)).await.map(Some))?;
        let Some(output) = output else { return Ok(None) };
        Ok(is_described(&output, environment)?.then_some(Described {
            app_name: output.app_name,
            meta_config: output.amplify_meta_config,
        }))
    }
}
