//! Calls about the apps of an account in a region. No kind is about apps.

use std::collections::BTreeMap;

use super::{
    super::{AppId, errors::Call},
    Client,
    answers::{absent_is_none, paged, same, unreadable},
    send,
};
use crate::{api::Read, lifecycle::facts::Failure};

impl Client {
    /// Returns the app's name, or `None` if AWS has no such app.
    pub async fn app_name(&self, app: &AppId) -> Result<Option<String>, Failure> {
        const CALL: Call = Call::read(Read::GetApp);
        let sdk = self.usable()?;
        let answer = send!(sdk.observer(), CALL, sdk.amplify_reads.get_app().app_id(app.as_str()));
        let Some(output) = absent_is_none(answer)? else {
            return Ok(None);
        };
        let there = output.app.ok_or_else(|| unreadable(CALL, "the answer has no app"))?;
        same(CALL, "appId", Some(&there.app_id), app.as_str())?;
        Ok(Some(there.name))
    }

    /// Returns the names of all apps, by id, from all pages. A list that cannot be read to its end is `Unavailable`.
    pub async fn list_apps(&self) -> Result<BTreeMap<String, String>, Failure> {
        const CALL: Call = Call::read(Read::ListApps);
        let sdk = self.usable()?;
        let pages = paged(CALL, |token| async move {
            let page = send!(
                sdk.observer(),
                CALL,
                sdk.amplify_reads.list_apps().max_results(100).set_next_token(token)
            )?;
            Ok((page.apps, page.next_token))
        });
        let apps = pages.await?.whole(CALL)?;
        Ok(apps.into_iter().map(|app| (app.app_id, app.name)).collect())
    }
}
