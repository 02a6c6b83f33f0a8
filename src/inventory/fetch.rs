//! Reads the apps of an account. Reads only; a few calls at a time, and patient when AWS throttles.

use std::{collections::BTreeMap, time::Duration};

use backon::{ExponentialBuilder, Retryable as _};
use futures::{StreamExt as _, stream};
use indicatif::ProgressBar;

use super::{Answer, App, Backend, Environment};
use crate::{
    amplify::{AppId, AppSeen, Client, EnvironmentName, InvalidName, without_request_id},
    api::{BackendEnvironment, ResourceConfig},
    kinds::{
        Remote as _, Sight, backend_api,
        backend_environment::Record,
        backend_storage::{self, Shown, Storage},
        described::{self, Described},
        meta_config::{self, MetaConfig},
    },
    lifecycle::facts::{Class, Failure},
};

/// How many calls may be in flight.
pub(crate) const AT_A_TIME: usize = 4;

/// Reads the app with all its environments. Advances the bar by one for each environment.
pub(super) async fn app(client: &Client, id: &str, seen: AppSeen, bar: &ProgressBar) -> App {
    let environments = match id.parse::<AppId>() {
        Ok(id) => match environments(client, &id, bar).await {
            Ok(environments) => Answer::There(environments),
            Err(failure) if failure.class == Class::NotFound => Answer::Absent,
            Err(failure) => unknown(&failure),
        },
        Err(refused) => Answer::Unknown(refused.to_string()),
    };
    App {
        name: seen.name,
        locked: seen.locked_environment,
        environments,
    }
}

async fn environments(
    client: &Client,
    app: &AppId,
    bar: &ProgressBar,
) -> Result<BTreeMap<String, Environment>, Failure> {
    let mut records: BTreeMap<String, Option<Record>> = patiently(|| BackendEnvironment::list(client, app))
        .await?
        .into_iter()
        .map(|(name, record)| (name, Some(record)))
        .collect();
    // If the record of a backend was deleted, only this list has the backend.
    for name in patiently(|| described::names(client, app)).await? {
        records.entry(name).or_default();
    }
    bar.inc_length(u64::try_from(records.len()).unwrap_or(u64::MAX));
    Ok(stream::iter(records)
        .map(async |(name, record)| {
            let backend = backend(client, app, &name).await;
            bar.inc(1);
            (name, Environment { record, backend })
        })
        .buffered(AT_A_TIME)
        .collect()
        .await)
}

async fn backend(client: &Client, app: &AppId, name: &str) -> Answer<Backend> {
    let name: EnvironmentName = match name.parse() {
        Ok(name) => name,
        Err(refused) => return Answer::Unknown(refused.to_string()),
    };
    match patiently(|| described::describe(client, app, &name)).await {
        Ok(Some(described)) => Answer::There(with_contents(client, app, &name, described).await),
        Ok(None) => Answer::Absent,
        Err(failure) => unknown(&failure),
    }
}

async fn with_contents(client: &Client, app: &AppId, environment: &EnvironmentName, described: Described) -> Backend {
    let meta = described.meta();
    let storages = meta.as_ref().map_err(String::clone).and_then(MetaConfig::storages);
    let storage = match storages.map(|mut storages| storages.next()) {
        Ok(Some(named)) => Ok(Some((
            named.name.clone(),
            storage(client, app, environment, named).await,
        ))),
        Ok(None) => Ok(None),
        Err(why) => Err(why),
    };
    let apis = match meta.as_ref().map_err(String::clone).and_then(MetaConfig::graphql_apis) {
        Ok(names) => {
            let mut apis = BTreeMap::new();
            for name in names {
                let answer = api(client, app, environment, name).await;
                apis.insert(name.clone(), answer);
            }
            Ok(apis)
        }
        Err(why) => Err(why),
    };
    let overview = meta.and_then(|_| described.overview());
    Backend {
        app_name: described.app_name,
        apis,
        storage,
        overview,
    }
}

async fn storage(
    client: &Client,
    app: &AppId,
    environment: &EnvironmentName,
    named: &meta_config::Storage,
) -> Answer<Storage> {
    let resource = match named.name.parse() {
        Ok(resource) => resource,
        Err(refused) => return Answer::Unknown(InvalidName::to_string(&refused)),
    };
    match patiently(|| backend_storage::look(client, app, environment, &resource)).await {
        // The backend's contents say whether a storage is imported. GetBackendStorage may not say it.
        Ok(Sight::Shown(storage)) => Answer::There(Storage {
            is_imported: storage.is_imported || named.is_imported,
            bucket: storage.bucket.or_else(|| named.bucket.clone()),
            ..storage
        }),
        Ok(Sight::Absent | Sight::Undescribed(_)) if named.is_imported => Answer::There(Storage {
            name: named.name.clone(),
            is_imported: true,
            bucket: named.bucket.clone(),
            permissions: Shown::default(),
        }),
        Ok(Sight::Absent) => Answer::Absent,
        Ok(Sight::Undescribed(failure)) | Err(failure) => unknown(&failure),
    }
}

async fn api(client: &Client, app: &AppId, environment: &EnvironmentName, name: &str) -> Answer<ResourceConfig> {
    let resource = match name.parse() {
        Ok(resource) => resource,
        Err(refused) => return Answer::Unknown(InvalidName::to_string(&refused)),
    };
    match patiently(|| backend_api::look(client, app, environment, &resource)).await {
        Ok(Sight::Shown(api)) => Answer::There(api.config),
        Ok(Sight::Absent) => Answer::Absent,
        Ok(Sight::Undescribed(failure)) | Err(failure) => unknown(&failure),
    }
}

fn unknown<T>(failure: &Failure) -> Answer<T> {
    Answer::Unknown(why(failure))
}

/// Returns why there is no answer. The request id is removed: it would make the output of each run different.
pub(crate) fn why(failure: &Failure) -> String {
    without_request_id(&failure.message).to_owned()
}

/// Repeats the call, up to 6 times, while AWS throttles: these commands are in no hurry.
pub(crate) async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let waits = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(20))
        .with_max_times(6);
    call.retry(waits)
        .when(|failure: &Failure| failure.class == Class::Throttled)
        .await
}
