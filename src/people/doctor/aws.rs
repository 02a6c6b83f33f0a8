//! The checks of AWS: credentials, accounts and regions, as the operator would find them in this process. May do: read
//! AWS through the port.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Check, checks::Told};
use crate::{
    amplify::{Base, Route, Sessions, accounts::Lookup},
    cli::people::Doctor,
    clock::Clock,
    lifecycle::facts::{Class, Failure},
    proxy::Proxies,
    telemetry::Metrics,
};

pub(super) const CREDENTIALS: &str = "credentials";
/// How many accounts are asked at a time.
const AT_A_TIME: usize = 8;
/// How long the questions about one entry may take: an endpoint that does not answer must not keep the others from theirs.
const EACH: Duration = Duration::from_secs(15);
/// How long all questions may take: shorter than a check, so that it ends with what is known by then.
const ALL: Duration = Duration::from_secs(40);
const REGION: &str = "region";
/// The next step where AWS does not answer.
const WAY: &str = "check the way to AWS from here: DNS, firewall, proxy (HTTPS_PROXY), AWS_ENDPOINT_URL";

/// Asks AWS who this process is, and for the apps of the region; with an accounts file, for each of its entries.
pub(super) async fn check(settings: &Doctor, told: Told, namespaces: &[String]) -> Vec<Check> {
    let accounts = match told {
        Told::Nothing => None,
        Told::Accounts(accounts) => Some(accounts),
        // This process's own credentials would say nothing: with this file, the operator uses no others.
        Told::Broken => {
            let said = "which roles the operator uses is in the accounts file, which cannot be read";
            return vec![Check::skipped(CREDENTIALS, said)];
        }
    };
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let allowed = settings.allowed_region.iter().filter(|region| !region.is_empty());
    let allowed = allowed.cloned().collect();
    let told = accounts.clone();
    let clock = Arc::new(Clock::of_machine());
    let route = match route(settings.allow_plain_http).await {
        Ok(route) => route,
        Err(error) => {
            let next = "correct it, or give this command the operator's own flags: with these settings, the operator ends at its start";
            return vec![Check::failed(CREDENTIALS, error.to_string(), next)];
        }
    };
    let sessions = Sessions::new(Base::load(route).await, metrics, clock, accounts, allowed);
    let Some(accounts) = told else {
        return one(&sessions, "", "this process").await;
    };
    let mut seen = BTreeSet::new();
    let mut asked = Vec::new();
    // The namespaces with resources first: of an entry with several namespaces, one is asked for.
    for namespace in namespaces.iter().map(String::as_str).chain(accounts.namespaces()) {
        if let Lookup::Entry(entry) = accounts.for_namespace(namespace)
            && seen.insert(entry.name.clone())
        {
            asked.push((namespace, format!("the entry {:?} of the accounts file", entry.name)));
        }
    }
    let sessions = &sessions;
    let who: Vec<_> = asked.iter().map(|(_, who)| who.clone()).collect();
    let questions = asked
        .into_iter()
        .map(|(namespace, who)| async move { one(sessions, namespace, &who).await });
    answered(&who, questions.collect()).await
}

/// Returns the checks of all entries, in their order. An entry whose questions take too long has a check that says so.
async fn answered<W: Future<Output = Vec<Check>>>(who: &[String], questions: Vec<W>) -> Vec<Check> {
    let until = Instant::now() + ALL;
    let mut running = stream::iter(who.iter().zip(questions).enumerate())
        .map(|(place, (who, question))| async move {
            let late = |_| {
                let said = format!("{who}: no answer within {} s", EACH.as_secs());
                vec![Check::failed(CREDENTIALS, said, WAY)]
            };
            (place, timeout(EACH, question).await.unwrap_or_else(late))
        })
        .buffer_unordered(AT_A_TIME);
    let mut known: Vec<_> = who.iter().map(|_| None).collect();
    while let Ok(Some((place, checks))) = timeout_at(until, running.next()).await {
        if let Some(known) = known.get_mut(place) {
            *known = Some(checks);
        }
    }
    let all = known.into_iter().zip(who).map(|(checks, who)| {
        checks.unwrap_or_else(|| {
            let said = format!("{who}: not known after {} s for all entries", ALL.as_secs());
            vec![Check::skipped(CREDENTIALS, said)]
        })
    });
    all.flatten().collect()
}

/// Returns the way to AWS, as the operator would go it in this process.
async fn route(plain_http: bool) -> anyhow::Result<Route> {
    Ok(Route::of_machine(Arc::new(Proxies::from_env()?), plain_http).await?)
}

/// Checks the account and the region of one namespace.
async fn one(sessions: &Sessions, namespace: &str, who: &str) -> Vec<Check> {
    let region = sessions.assignment(namespace).region;
    let region = region.filter(|region| !region.trim().is_empty());
    let session = match sessions.session_for(namespace) {
        Ok(session) => session,
        Err(failure) => return vec![refused(CREDENTIALS, who, &failure)],
    };
    let account = match session.account_id().await {
        Ok(account) => account,
        Err(failure) => return vec![refused(CREDENTIALS, who, &failure)],
    };
    let mut all = vec![Check::ok(CREDENTIALS, format!("{who}: AWS account {account}"))];
    let Some(region) = region else {
        all.push(Check::warning(
            REGION,
            format!("{who} has no region: each resource must name its own in spec.region"),
            "set AWS_REGION (the chart's aws.region), or leave it so if you want this",
        ));
        return all;
    };
    if let Some(why) = sessions.refuses_region(&region) {
        all.push(Check::failed(
            REGION,
            format!("{who}: {why}"),
            "correct AWS_REGION (the chart's aws.region) or the entry's region",
        ));
        return all;
    }
    all.push(match session.client(&region).list_apps().await {
        Ok(apps) if apps.is_empty() => Check::warning(
            REGION,
            format!("{who}: the account {account} has no Amplify app in {region}"),
            "if your apps are in another region, set that one",
        ),
        Ok(apps) => Check::ok(
            REGION,
            format!("{who}: {region}, where the account has Amplify apps: {}", apps.len()),
        ),
        Err(failure) => refused(REGION, &format!("{who}, in {region}"), &failure),
    });
    all
}

fn refused(what: &'static str, who: &str, failure: &Failure) -> Check {
    let next = match failure.class {
        Class::AccessDenied if what == CREDENTIALS => {
            "give the process credentials that AWS accepts: docs/credentials.md has the ways"
        }
        Class::AccessDenied => "give the role the actions in deploy/iam-policy.json",
        Class::Unavailable => WAY,
        Class::Throttled => "AWS asks for fewer requests: try again in a minute",
        Class::AccountNotFound => "add the namespace to an entry of the accounts file",
        Class::NotFound | Class::BadRequest | Class::Pending | Class::QuotaExceeded | Class::AccountChanged => {
            "see AWS's words"
        }
    };
    Check::failed(what, format!("{who}: {}", failure.message), next)
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;

    use super::{super::Verdict, *};

    #[tokio::test(start_paused = true)]
    async fn entries_whose_endpoint_hangs_hide_no_other() {
        for (hanging, failed, ok, skipped) in [(0, 0, 1, 0), (9, 9, 1, 0), (16, 16, 1, 0), (30, 16, 0, 15)] {
            let who: Vec<_> = (0..=hanging).map(|number| format!("entry {number}")).collect();
            let question = |place: usize| -> BoxFuture<'static, Vec<Check>> {
                if place < hanging {
                    Box::pin(futures::future::pending())
                } else {
                    Box::pin(async { vec![Check::ok(CREDENTIALS, "well")] })
                }
            };
            let begun = Instant::now();
            let checks = answered(&who, (0..=hanging).map(question).collect()).await;
            assert!(begun.elapsed() <= ALL, "{hanging}: {:?}", begun.elapsed());
            let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
            assert_eq!(
                (count(Verdict::Failed), count(Verdict::Ok), count(Verdict::Skipped)),
                (failed, ok, skipped),
                "{hanging}: {checks:?}"
            );
        }
    }
}
