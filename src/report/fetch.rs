//! Reads the jobs of each environment. Reads only, at the pace of the inventory.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};

use crate::{
    amplify::{AppId, Client, EnvironmentName, InvalidName},
    inventory::{AT_A_TIME, Answer, Inventory, patiently, progress, why},
    lifecycle::facts::JobSeen,
};

/// The jobs of each environment, by app id and name of the environment, or why they are unknown.
pub(super) type Jobs = BTreeMap<(String, String), Result<Vec<JobSeen>, String>>;

/// Lists the jobs of every environment of the inventory. No request is sent for a name that the port refuses.
pub(super) async fn jobs(client: &Client, inventory: &Inventory) -> anyhow::Result<Jobs> {
    let mut places = Vec::new();
    for (id, app) in &inventory.apps {
        if let Answer::There(environments) = &app.environments {
            places.extend(environments.keys().map(|name| (id.clone(), name.clone())));
        }
    }
    let bar = progress("reading jobs")?;
    bar.set_length(u64::try_from(places.len()).unwrap_or(u64::MAX));
    let jobs = stream::iter(places)
        .map(async |(app, environment)| {
            let listed = list(client, &app, &environment).await;
            bar.inc(1);
            ((app, environment), listed)
        })
        .buffered(AT_A_TIME)
        .collect()
        .await;
    bar.finish_and_clear();
    Ok(jobs)
}

async fn list(client: &Client, app: &str, environment: &str) -> Result<Vec<JobSeen>, String> {
    let refused = |refused: InvalidName| refused.to_string();
    let app: AppId = app.parse().map_err(refused)?;
    let environment: EnvironmentName = environment.parse().map_err(refused)?;
    patiently(|| client.list_jobs(&app, &environment))
        .await
        .map_err(|failure| why(&failure))
}
