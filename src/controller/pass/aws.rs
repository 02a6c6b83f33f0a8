//! The steps of a pass that ask AWS, or have it do something. A token is taken before the first call; a write is one
//! call and is sent once.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::{debug, warn};

use super::{
    super::{
        context::Context,
        index::{KindName, Location, ObjectKey},
        kind::Kind,
        listings::{Listing, Records},
    },
    Pass, Pause, time_between,
};
use crate::{
    amplify::{
        Accepted, AppId, Client, Creation, Found, InvalidName, Object,
        throttle::{BucketKey, Class as TokenClass},
        without_request_id,
    },
    api::{Job, RECONCILE_REQUESTED_AT},
    lifecycle::{
        Listed, Looked, Polled, Purpose, Reply, Sending, Write,
        facts::{Class, Failure, JobSeen, Sent},
    },
    telemetry::metrics::class_name,
};

/// Why AWS gave no answer.
pub(super) enum Refusal {
    /// It could not be asked yet.
    Pause(Pause),
    /// It could not be asked at all, or refused: a fact to decide from.
    Failure(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Pause> for Refusal {
    fn from(pause: Pause) -> Self {
        Self::Pause(pause)
    }
}

impl<K: Kind> Pass<'_, K> {
    /// Takes in how a read ended.
    pub(super) fn learnt(&mut self, read: Result<(), Refusal>) -> Result<(), Pause> {
        match read {
            Ok(()) => Ok(()),
            Err(Refusal::Pause(pause)) => Err(pause),
            Err(Refusal::Failure(failure)) => {
                self.known.failed = Some(self.told(failure, false));
                Ok(())
            }
        }
    }

    /// A failure as it may go into a status. It is counted, and told with the request id by which AWS finds the call:
    /// that of a write each time, that of reads once while they go on to fail so.
    fn told(&self, failure: Failure, always: bool) -> Failure {
        let Failure { class, sent, message } = failure;
        self.context
            .metrics
            .reconcile_error(self.key.kind.name(), class_name(class));
        let before = self.recall(|it| it.told.replace(class));
        if always || before != Some(class) {
            warn!(?class, ?sent, "{message}");
        } else {
            debug!(?class, ?sent, "{message}");
        }
        // A request id differs with every call, and in a status each difference would be a write.
        let message = without_request_id(&message).to_owned();
        Failure { class, sent, message }
    }

    /// AWS has refused the credentials of a read as expired: the read is made once more, with new ones.
    pub(super) fn try_new_credentials(&mut self) {
        let worn_out = self.session.as_ref().is_some_and(|session| session.is_worn_out());
        if self.known.failed.is_some() && worn_out && !self.renewed {
            self.renewed = true;
            self.known.failed = None;
        }
    }

    pub(super) async fn look(&mut self, purpose: Purpose) -> Result<(), Refusal> {
        let object = self.object_name()?;
        if purpose == Purpose::Drift
            && !matches!(object, Object::Api { .. })
            && let Some(found) = self.listed_environment(&object).await?
        {
            self.looked(Some(found));
            return Ok(());
        }
        // Not in a list: only a look of its own can tell that it is gone.
        let calls = purpose.calls(self.object.create());
        let client = self.aws(class(purpose), calls).await?;
        let found = client.look(&object).await.map_err(|failure| self.failed(failure))?;
        self.looked(found);
        Ok(())
    }

    fn looked(&mut self, found: Option<Found>) {
        let seen = found
            .as_ref()
            .map(|found| self.object.compare(found, self.config.as_ref()));
        self.found = found;
        self.known.look = Some(Looked {
            at: Context::now(),
            seen,
        });
    }

    /// The object in the list that all drift checks of its app share.
    async fn listed_environment(&mut self, object: &Object) -> Result<Option<Found>, Refusal> {
        let environment = self.location()?.environment.clone();
        // Shared by those who would see the same: not by another role of the account.
        let account = self.object.state().ledger.account_id.unwrap_or_default();
        let account = format!("{account}/{:x}", self.mapping);
        let app = (account, environment.region.clone(), environment.app.clone());
        let records = match self.context.listings.get(&app, self.due(), Context::now()) {
            Listing::Fresh(records) => records,
            Listing::UnderWay => return Err(Pause::Later(Duration::from_secs(1)).into()),
            Listing::Begin => {
                let listed = self.list_environments(object.app()).await;
                let made = listed.as_ref().ok().cloned();
                self.context.listings.put(app, Context::now(), made);
                listed?
            }
        };
        Ok(records.get(object.environment().as_str()).map(|record| match object {
            Object::Environment { .. } => Found::Environment(record.clone()),
            _ => Found::Backend { app_name: None },
        }))
    }

    async fn list_environments(&mut self, app: &AppId) -> Result<Records, Refusal> {
        let client = self.aws(TokenClass::Drift, 1).await?;
        let listed = client.list_environments(app).await;
        Ok(Arc::new(listed.map_err(|failure| self.failed(failure))?))
    }

    pub(super) async fn list_jobs(&mut self, purpose: Purpose) -> Result<(), Refusal> {
        let calls = purpose.calls(self.object.create());
        let object = self.object_name()?;
        let source = match &self.location()?.source {
            None => None,
            Some(source) => Some(source.name.parse().map_err(|error| misnamed("cloneFrom", &error))?),
        };
        let mut jobs: Vec<JobSeen> = Vec::new();
        let at = Context::now();
        for environment in [Some(object.environment()), source.as_ref()].into_iter().flatten() {
            let client = self.aws(class(purpose), calls).await?;
            let listed = client.list_jobs(object.app(), environment).await;
            jobs.extend(listed.map_err(|failure| self.failed(failure))?);
        }
        self.known.jobs = Some(Listed { at, jobs });
        Ok(())
    }

    pub(super) async fn poll(&mut self) -> Result<(), Refusal> {
        let ledger = self.object.state().ledger;
        let request = self.object.annotations().get(RECONCILE_REQUESTED_AT);
        let is_requested = request.is_some() && request != ledger.last_handled_reconcile_at.as_ref();
        let due = self.recall(|it| it.poll_due).filter(|_| !is_requested);
        if let Some(early) = due
            .map(|due| due.duration_since(Context::now()))
            .filter(SignedDuration::is_positive)
        {
            return Err(Pause::Later(early.unsigned_abs()).into());
        }
        let object = self.object_name()?;
        let job = ledger.job.ok_or_else(|| invalid("there is no job"))?;
        let id = job.id.unwrap_or_default();
        let environment = match job.backend_environment_name {
            Some(name) => name.parse().map_err(|error| misnamed("job", &error))?,
            None => object.environment().clone(),
        };
        let client = self.aws(TokenClass::Poll, 1).await?;
        let polled = client.get_job(object.app(), &environment, &id).await;
        let polled = polled.map_err(|failure| self.failed(failure))?;
        if let Some((job, updated)) = &polled {
            self.ended(job, *updated);
        }
        let job = polled.map(|(job, _)| job);
        self.known.poll = Some(Polled { job });
        Ok(())
    }

    /// Takes note of the end of the job, the first time that it is seen.
    pub(super) fn ended(&self, seen: &JobSeen, at: Option<Timestamp>) {
        let job = self.object.state().ledger.job;
        let Some(job) = job.filter(|job| seen.is_terminal() && job.is_running()) else {
            return;
        };
        let end = at.unwrap_or_else(Context::now);
        let known = self.recall(|it| it.ended.replace((seen.id.clone(), end)));
        if known.is_some_and(|(id, _)| id == seen.id) {
            return;
        }
        let begin = seen.create_time.unwrap_or(job.request_time);
        let result = if seen.status == Job::COMPLETED {
            "completed"
        } else {
            "failed"
        };
        self.context
            .metrics
            .job_ended(job.operation, result, time_between(begin, end));
    }

    pub(super) async fn send(&mut self, write: Write) -> Result<(), Pause> {
        let reply = match self.sent(write).await {
            Ok(reply) => reply,
            Err(Refusal::Pause(pause)) => return Err(pause),
            Err(Refusal::Failure(failure)) => Reply::Failed(self.told(failure, true)),
        };
        self.known.reply = Some(reply);
        Ok(())
    }

    async fn sent(&mut self, write: Write) -> Result<Reply, Refusal> {
        let object = self.object_name()?;
        let creation = match write {
            Write::Create | Write::Update => Some(self.creation()?),
            Write::Delete => None,
        };
        let client = self.aws(TokenClass::Write, 1).await.map_err(|refusal| match refusal {
            Refusal::Failure(failure) => Refusal::Failure(Failure {
                sent: Sent::Never,
                ..failure
            }),
            pause @ Refusal::Pause(_) => pause,
        })?;
        // Nothing may come between this and the request: see `leader`.
        if !self.context.leadership.holds() {
            return Err(Pause::Later(Duration::from_secs(1)).into());
        }
        let reply = match (write, &creation) {
            (Write::Create, Some(creation)) => client.create(&object, creation).await.map(Some),
            (Write::Update, Some(Creation::Api { config })) => client.update(&object, config).await.map(Some),
            _ => client.delete(&object).await,
        };
        // What was seen before the write says nothing of what came of it.
        self.known.look = None;
        self.known.jobs = None;
        self.known.sending = Sending::Nothing;
        Ok(match reply {
            Ok(None) => Reply::Absent,
            Ok(Some(Accepted::Record(record))) => {
                if write == Write::Create {
                    self.found = Some(Found::Environment(record));
                }
                Reply::Done
            }
            Ok(Some(Accepted::Job {
                id,
                environment,
                status,
                error,
            })) => Reply::Job {
                id,
                environment,
                status,
                error,
            },
            Err(failure) => return Err(self.failed(failure)),
        })
    }

    fn creation(&self) -> Result<Creation, Failure> {
        self.object
            .creation(self.location()?, self.config.as_ref())
            .map_err(|error| invalid(&error))
    }

    /// A client for the object's account and region, with a token for one call.
    async fn aws(&mut self, class: TokenClass, calls: u32) -> Result<Client, Refusal> {
        let session = self.context.sessions.session_for(&self.key.namespace)?;
        self.session = Some(session.clone());
        let account = session.account_id().await?;
        let pinned = self.object.state().ledger.account_id;
        if let Some(pinned) = pinned.filter(|pinned| *pinned != account) {
            return Err(Refusal::Failure(Failure {
                class: Class::AccountChanged,
                sent: Sent::Never,
                message: format!(
                    "the AWS object is in account {pinned}, and the credentials of this namespace now belong to {account}: give back the former ones, or delete this resource with deletionPolicy: Retain"
                ),
            }));
        }
        if self.known.account.as_ref().is_some_and(|before| *before != account) {
            // What this pass has seen was in another account.
            return Err(Pause::Later(Duration::from_secs(1)).into());
        }
        let region = self.location()?.environment.region.clone();
        if self.permit.is_none() {
            let bucket = BucketKey {
                account: account.clone(),
                region: region.clone(),
            };
            let permit = self
                .context
                .throttle
                .acquire(&bucket, ObjectKey::clone(&self.key), class, calls);
            self.permit = Some(permit.ok_or(Pause::Queued)?);
        }
        if let Some(permit) = &self.permit {
            permit.spend();
        }
        self.known.account = Some(account);
        Ok(session.client(&region))
    }

    /// What a refusal by AWS means beyond this resource.
    fn failed(&self, failure: Failure) -> Refusal {
        if failure.class == Class::Throttled
            && let (Some(account), Ok(location)) = (&self.known.account, self.location())
        {
            self.context.throttle.throttled(&BucketKey {
                account: account.clone(),
                region: location.environment.region.clone(),
            });
        }
        failure.into()
    }

    fn location(&self) -> Result<&Location, Failure> {
        let location = self.located.location.as_ref();
        location.ok_or_else(|| invalid("the AWS object cannot be named yet"))
    }

    fn object_name(&self) -> Result<Object, Failure> {
        let location = self.location()?;
        let refuse = |error: InvalidName| invalid(&error.to_string());
        let app = location.environment.app.parse().map_err(refuse)?;
        let environment = location.environment.name.parse().map_err(refuse)?;
        Ok(match K::NAME {
            KindName::AmplifyBackend => Object::Backend { app, environment },
            KindName::BackendApi => {
                let resource = location.resource.as_deref().unwrap_or_default();
                Object::Api {
                    app,
                    environment,
                    resource: resource.parse().map_err(refuse)?,
                }
            }
            KindName::BackendEnvironment => Object::Environment { app, environment },
        })
    }
}

const fn class(purpose: Purpose) -> TokenClass {
    match purpose {
        Purpose::Outcome => TokenClass::UnknownOutcome,
        Purpose::Write => TokenClass::Write,
        Purpose::Drift => TokenClass::Drift,
    }
}

/// What this operator cannot send: a name or a spec that the API server should have refused.
fn invalid(message: &str) -> Failure {
    Failure {
        class: Class::BadRequest,
        sent: Sent::Never,
        message: message.to_owned(),
    }
}

fn misnamed(what: &str, error: &InvalidName) -> Failure {
    invalid(&format!("{what}: {error}"))
}
