//! The steps of a pass that read from AWS or write to it. A token is taken before the first call. A write is one call
//! and is sent once.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    super::{
        context::HandedOver,
        index::{Environment, Location, ObjectKey},
        listings::Listing,
        locks::Scope,
    },
    Pass, Pause, time_between,
};
use crate::{
    amplify::{
        Accepted, Client,
        throttle::{BucketKey, Class as TokenClass, End},
        without_request_id,
    },
    api::{AdoptionPolicy, Job, Operation, RECONCILE_REQUESTED_AT},
    kinds::{Observation, Place, Remote, Sight, meta_config::MetaConfig},
    lifecycle::{
        self, Listed, Looked, Observed, Polled, Purpose, Queued, Reply, Step, Write,
        facts::{Class, Failure, JobSeen, Sent},
    },
    telemetry::metrics::class_name,
};

/// Why a call to AWS has no answer.
pub(super) enum Refusal {
    /// The call could not be made yet.
    Pause(Pause),
    /// The call could not be made at all, or AWS refused it. The decision uses this failure.
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

impl<K: Remote> Pass<'_, K> {
    /// Performs a step that reads AWS. If AWS refuses worn-out credentials, the step is repeated once with new ones.
    pub(super) async fn read(&mut self, step: &Step) -> Result<Observed, Pause> {
        let mut read = self.asked(step).await;
        if let (Err(Refusal::Failure(_)), Some(session), false) = (&read, &self.session, self.renewed)
            && session.is_found_worn_out().await
        {
            self.renewed = true;
            read = self.asked(step).await;
        }
        match read {
            Ok(observed) => Ok(observed),
            Err(Refusal::Pause(pause)) => Err(pause),
            Err(Refusal::Failure(failure)) => Ok(Observed::Failed(self.told(failure, false))),
        }
    }

    async fn asked(&mut self, step: &Step) -> Result<Observed, Refusal> {
        match step {
            Step::Look(purpose) => self.look(step, *purpose).await.map(Observed::Look),
            Step::ListJobs(purpose) => self.list_jobs(step, *purpose).await.map(Observed::Jobs),
            Step::Poll => self.poll(step).await.map(Observed::Poll),
            Step::ReadLock(purpose) => self.lock(step, *purpose).await.map(Observed::Lock),
            Step::Resolve
            | Step::TakeSlot
            | Step::AddFinalizer
            | Step::Intend(_)
            | Step::Send(_)
            | Step::RecordAccepted(_)
            | Step::Record(_)
            | Step::Release
            | Step::Settle { .. } => Err(invalid("this step reads nothing of AWS").into()),
        }
    }

    /// Counts and logs a failure, and returns it as it may go into a status. The log line has AWS's request id. A
    /// failed write is logged each time; a failed read only once while reads keep failing with the same class.
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
        // A request id differs with every call, and each change of a status is a write.
        let message = without_request_id(&message).to_owned();
        Failure { class, sent, message }
    }

    async fn look(&mut self, step: &Step, purpose: Purpose) -> Result<Looked, Refusal> {
        if purpose == Purpose::Drift
            && K::IS_LISTED
            && !self.lacks_contents()
            && let Some((at, found)) = self.listed(step).await?
        {
            return Ok(self.looked(at, Some(found)));
        }
        // Not in the list: only a look can prove that the object is gone.
        let calls = purpose.calls(&self.object.abilities());
        let client = self.aws(step, class(purpose), calls).await?;
        // The time before the call: the answer may be as old as that.
        let begun = self.context.clock.uptime();
        let sight = self.answered(self.object.look(&client, self.location()?).await)?;
        // No object is created for a resource that is being deleted.
        let is_deleted = self.object.meta().deletion_timestamp.is_some();
        let (found, undescribed, is_asked) = match sight {
            Sight::Shown(found) => (Some(self.described(step, purpose, found).await?), None, false),
            Sight::Absent => (None, None, self.object.abilities().is_alone && !is_deleted),
            Sight::Undescribed(failure) => (None, Some(failure), true),
        };
        let mut bar = None;
        if is_asked {
            let client = self.aws(step, class(purpose), calls).await?;
            bar = match (self.place(&client, undescribed.is_none()).await?, undescribed) {
                (Place::Free, _) | (Place::Unclear, None) => None,
                (Place::Barred(bar), _) => Some(bar),
                (Place::Unclear, Some(failure)) => return Err(self.failed(failure)),
            };
        }
        Ok(Looked {
            bar,
            ..self.looked(self.context.clock.at(begun), found)
        })
    }

    /// Returns the place of the object, by the contents of its backend. If AWS refuses this read but has said that the
    /// object is absent, the place is unclear and AWS itself decides whether a create succeeds.
    async fn place(&self, client: &Client, is_absent: bool) -> Result<Place, Refusal> {
        match self.answered(self.object.place(client, self.location()?).await) {
            Err(Refusal::Failure(Failure {
                class: Class::AccessDenied | Class::BadRequest,
                sent: Sent::Refused,
                ..
            })) if is_absent => Ok(Place::Unclear),
            place => place,
        }
    }

    /// Whether its status may show values of the AWS object, now or after its adoption.
    fn may_show_values(&self) -> bool {
        let policies = self.object.policies();
        let is_its_own = self.object.ledger().is_some_and(|ledger| policies.shows_values(ledger));
        is_its_own || policies.adoption_policy == AdoptionPolicy::IfExists || policies.is_observed()
    }

    /// Whether its status lacks values from the contents of its backend, and may show them.
    fn lacks_contents(&self) -> bool {
        self.object.lacks_contents() && self.may_show_values()
    }

    /// The object, with its values from the contents of the backend that it is in: while its status has none, after its create, and
    /// where somebody asks for a look. If they cannot be read, the object stays as it is, and the next look asks again.
    async fn described(&mut self, step: &Step, purpose: Purpose, mut found: K::Found) -> Result<K::Found, Refusal> {
        if self.location()?.within.is_none() {
            return Ok(found);
        }
        let is_asked = purpose == Purpose::Request && self.may_show_values();
        let is_new = self.has_completed(Operation::is_create) && !self.containers().is_empty();
        if !(self.lacks_contents() || is_asked || is_new) {
            return Ok(found);
        }
        match self.contents(step, class(purpose)).await {
            // Contents that the backend does not show are not asked for again and again.
            Ok(contents) => self.object.describe(&mut found, &contents.unwrap_or_default()),
            Err(pause @ Refusal::Pause(_)) => return Err(pause),
            Err(Refusal::Failure(failure)) => debug!(%failure.message, "the contents of the backend cannot be read"),
        }
        Ok(found)
    }

    /// Reads the contents of the backend once more after the object in it is deleted, for the resources of the backend.
    pub(super) async fn contents_left(&mut self) {
        let is_in_backend = self
            .located
            .location
            .as_ref()
            .is_some_and(|location| location.within.is_some());
        if is_in_backend && self.has_completed(Operation::is_delete) && !self.containers().is_empty() {
            let step = Step::Look(Purpose::Write);
            // The deletion does not wait for that.
            let _ = self.contents(&step, TokenClass::Write).await;
        }
    }

    /// Reads the contents of the backend, and hands its outputs to the resources of the backend.
    async fn contents(&mut self, step: &Step, class: TokenClass) -> Result<Option<MetaConfig>, Refusal> {
        let client = self.aws(step, class, 1).await?;
        let contents = self.answered(K::contents(&client, self.location()?).await)?;
        if let Some(contents) = &contents {
            let outputs = Arc::new(contents.outputs());
            for (container, uid) in self.containers() {
                let handed_over = HandedOver {
                    uid,
                    outputs: outputs.clone(),
                };
                self.context.outputs.lock().insert(container.clone(), handed_over);
                self.context.wake([container]);
            }
        }
        Ok(contents)
    }

    /// Whether a job of such an operation is seen to have completed, by this pass or before the object was released.
    fn has_completed(&self, is_such: fn(Operation) -> bool) -> bool {
        let job = self.object.ledger().and_then(|ledger| ledger.job.as_ref());
        let polled = self.known.poll.as_ref().and_then(|polled| polled.job.as_ref());
        let is_seen = polled.is_some_and(|seen| seen.status == Job::COMPLETED);
        job.is_some_and(|job| is_such(job.operation) && (is_seen || job.operation.is_delete() && job.has_completed()))
    }

    /// Returns the resources of the backend that the object is in, if they see the same of AWS as this one: not through another role.
    fn containers(&self) -> Vec<(ObjectKey, String)> {
        let mut all = self.context.index.lock().containers(&self.key);
        all.retain(|(key, _)| self.context.sessions.assignment(&key.namespace).digest == self.mapping);
        all
    }

    fn looked(&mut self, at: Timestamp, found: Option<K::Found>) -> Looked {
        let seen = found
            .as_ref()
            .map(|found| self.object.compare(found, self.config.as_ref()));
        self.found = found.map_or(Observation::Absent, Observation::Object);
        Looked { at, seen, bar: None }
    }

    /// Returns the object from the list that all drift checks of its app share, and when this list was made. This pass
    /// or the pass of another resource makes the list.
    async fn listed(&mut self, step: &Step) -> Result<Option<(Timestamp, K::Found)>, Refusal> {
        let environment = self.location()?.environment.clone();
        let (account, region) = self.scope(&environment);
        let app = (account, region, environment.app.clone());
        let lists = &self.watched.lists;
        let (at, list) = match lists.get(&app, self.due(), self.context.now()) {
            Listing::Fresh(at, list) => (at, list),
            Listing::UnderWay => return Err(Pause::Later(Duration::from_secs(1)).into()),
            Listing::Begin => {
                let listed = match self.aws(step, TokenClass::Drift, 1).await {
                    Ok(client) => {
                        let begun = self.context.clock.uptime();
                        let listed = self.answered(K::list(&client, &environment.app).await);
                        listed.map(|list| (self.context.clock.at(begun), Arc::new(list)))
                    }
                    Err(refusal) => Err(refusal),
                };
                let made = listed.as_ref().ok().cloned();
                let at = made.as_ref().map_or_else(|| self.context.now(), |(at, _)| *at);
                lists.put(app, at, made.map(|(_, list)| list));
                listed?
            }
        };
        Ok(K::in_list(&list, &environment.name).map(|found| (at, found)))
    }

    /// Returns the account, as the role of this namespace sees it, and the region of an environment.
    pub(super) fn scope(&self, environment: &Environment) -> Scope {
        let pinned = || self.object.ledger().and_then(|ledger| ledger.account_id.clone());
        let account = self.known.account.clone().or_else(pinned);
        // Shared only by resources with the same view of AWS: another role of the account may have a different one.
        let account = format!("{}/{:x}", account.unwrap_or_default(), self.mapping);
        (account, environment.region.clone())
    }

    async fn list_jobs(&mut self, step: &Step, purpose: Purpose) -> Result<Listed, Refusal> {
        let calls = purpose.calls(&self.object.abilities());
        let location = self.location()?.clone();
        let mut jobs: Vec<JobSeen> = Vec::new();
        let begun = self.context.clock.uptime();
        for environment in [Some(&location.environment), location.source.as_ref()]
            .into_iter()
            .flatten()
        {
            let client = self.aws(step, class(purpose), calls).await?;
            let listed = client.list_jobs(&environment.app, &environment.name).await;
            jobs.extend(self.answered(listed)?);
        }
        let at = self.context.clock.at(begun);
        Ok(Listed { at, jobs })
    }

    async fn poll(&mut self, step: &Step) -> Result<Polled, Refusal> {
        let ledger = self.object.state().ledger;
        let request = self.object.annotations().get(RECONCILE_REQUESTED_AT);
        let is_requested = request.is_some() && request != ledger.last_handled_reconcile_at.as_ref();
        let due = self.recall(|it| it.poll_due).filter(|_| !is_requested);
        let early = due.map(|due| due.saturating_duration_since(Instant::now()));
        if let Some(early) = early.filter(|early| !early.is_zero()) {
            return Err(Pause::Later(early).into());
        }
        let environment = self.location()?.environment.clone();
        let job = ledger.job.ok_or_else(|| invalid("there is no job"))?;
        let id = job.id.unwrap_or_default();
        let named = job.backend_environment_name.map(|name| name.parse());
        let named = named.transpose().map_err(|error| invalid(&format!("job: {error}")))?;
        let client = self.aws(step, TokenClass::Poll, 1).await?;
        let name = named.as_ref().unwrap_or(&environment.name);
        let polled = client.get_job(&environment.app, name, &id).await;
        let polled = self.answered(polled)?;
        if let Some(job) = &polled {
            self.ended(job);
        }
        Ok(Polled { job: polled })
    }

    /// Records the end of the job, the first time that it is seen.
    pub(super) fn ended(&self, seen: &JobSeen) {
        let job = self.object.ledger().and_then(|ledger| ledger.job.as_ref());
        let Some(job) = job.filter(|job| seen.is_terminal() && job.is_running()) else {
            return;
        };
        let end = seen.update_time.unwrap_or_else(|| self.context.now());
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

    /// Sends a write, once.
    pub(super) async fn send(&mut self, step: &Step, write: Write) -> Result<Observed, Pause> {
        match self.sent(step, write).await {
            Ok(observed) => Ok(observed),
            Err(Refusal::Pause(pause)) => Err(pause),
            Err(Refusal::Failure(failure)) => Ok(Observed::Reply(Reply::Failed(self.told(failure, true)))),
        }
    }

    async fn sent(&mut self, step: &Step, write: Write) -> Result<Observed, Refusal> {
        let location = self.location()?.clone();
        let client = self
            .aws(step, TokenClass::Write, 1)
            .await
            .map_err(|refusal| match refusal {
                Refusal::Failure(failure) => Refusal::Failure(Failure {
                    sent: Sent::Never,
                    ..failure
                }),
                pause @ Refusal::Pause(_) => pause,
            })?;
        // An update or a delete has no intent that a second operator would see, so the resource itself is read again.
        match write {
            Write::Create => {}
            Write::Update | Write::Delete => {
                if let Some(stale) = self.stale_view().await? {
                    return Ok(stale);
                }
            }
        }
        if !self.may_write() {
            // What the write rests on has grown old: it is read again.
            return Ok(Observed::Stale { same: true });
        }
        // Nothing may come between this check and the request: see `leader`.
        if !self.context.leadership.holds() {
            return Err(Pause::Later(Duration::from_secs(1)).into());
        }
        let begun = self.context.clock.uptime();
        if let Some(permit) = &mut self.permit {
            permit.begin();
        }
        let reply = match write {
            Write::Create => self
                .object
                .create(&client, &location, self.config.as_ref())
                .await
                .map(Some),
            Write::Update => {
                let config = self.config.as_ref();
                let config = config.ok_or_else(|| invalid("the configuration is not resolved"))?;
                K::update(&client, &location, config).await.map(Some)
            }
            Write::Delete => K::delete(&client, &location, self.found.as_ref().object()).await,
        };
        Ok(Observed::Reply(match self.answered(reply)? {
            None => Reply::Absent,
            Some(Accepted::Done(found)) => {
                let seen = self.object.compare(&found, None);
                if write == Write::Create {
                    self.found = Observation::Object(found);
                }
                // The time, corrected by the date of the answer itself.
                let asked = self.context.clock.at(begun);
                Reply::Done { asked, seen }
            }
            Some(Accepted::Job {
                id,
                environment,
                status,
                error,
            }) => Reply::Job {
                id,
                environment,
                status,
                error,
            },
        }))
    }

    /// Returns a client for the object's account and region, with a token for one call.
    pub(super) async fn aws(&mut self, step: &Step, class: TokenClass, calls: u32) -> Result<Client, Refusal> {
        let environment = self.location()?.environment.clone();
        let (region, app) = (&environment.region, &environment.app);
        // The accounts file may have changed since the decision.
        let session = self.context.sessions.session_at(&self.key.namespace, region, app)?;
        self.session = Some(session.clone());
        let expected = match session.expected_account() {
            Some(account) => account,
            None => session.account_id().await?,
        };
        let pinned = self.object.ledger().and_then(|ledger| ledger.account_id.clone());
        if let Some(pinned) = pinned.filter(|pinned| *pinned != expected) {
            return Err(Refusal::Failure(Failure {
                class: Class::AccountChanged,
                sent: Sent::Never,
                message: format!(
                    "the AWS object is in account {pinned}, and the credentials of this namespace now belong to {expected}: restore the former credentials, or set deletionPolicy: Retain and delete this resource, which leaves the AWS object there"
                ),
            }));
        }
        if self.known.account.as_ref().is_some_and(|before| *before != expected) {
            // The facts of this pass come from another account.
            return Err(Pause::Later(Duration::from_secs(1)).into());
        }
        if self.permit.is_none() {
            let bucket = BucketKey {
                account: expected,
                region: region.clone(),
            };
            let who = ObjectKey::clone(&self.key);
            match self.context.throttle.acquire(&bucket, who, class, calls) {
                Some(permit) => self.permit = Some(permit),
                None => return Err(self.queued().await?.into()),
            }
        }
        if let Some(permit) = &mut self.permit {
            permit.spend();
        }
        // STS is asked once. For a role assumed for this call the request may hang. It has a permit, so it delays no
        // more passes than a hanging AWS.
        let account = session.account_id().await.map_err(|failure| self.failed(failure))?;
        lifecycle::learn(&mut self.known, step, Observed::Account(account));
        Ok(session.client(region))
    }

    /// Returns how to wait for tokens. Writes the status first if it would not be true in the meantime.
    async fn queued(&mut self) -> Result<Pause, Pause> {
        self.is_queued = true;
        match self.decide(lifecycle::queued) {
            Queued::Wait => Ok(Pause::Queued),
            Queued::Until(end) => Ok(Pause::Later(time_between(self.context.now(), end))),
            Queued::Say(state) => {
                self.write(&state, "cannot write the status").await?;
                Ok(Pause::Queued)
            }
        }
    }

    /// Returns the answer of a call, and reports its end to the bucket: it affects all calls to the same account and
    /// region.
    pub(super) fn answered<T>(&self, result: Result<T, Failure>) -> Result<T, Refusal> {
        let answer = result.map_err(|failure| self.failed(failure))?;
        self.tell_bucket(Some(End::Answered));
        Ok(answer)
    }

    fn failed(&self, failure: Failure) -> Refusal {
        self.tell_bucket(end_of(&failure));
        failure.into()
    }

    fn tell_bucket(&self, end: Option<End>) {
        if let (Some(permit), Some(end)) = (&self.permit, end) {
            permit.ended(end);
        }
    }

    pub(super) fn location(&self) -> Result<&Location, Failure> {
        let location = self.located.location.as_ref();
        let why = self.located.invalid.as_deref();
        location.ok_or_else(|| invalid(why.unwrap_or("the AWS object cannot be named yet")))
    }
}

/// Returns how a failed call ended for the bucket. `None`: the failure shows nothing about AWS.
const fn end_of(failure: &Failure) -> Option<End> {
    match (failure.class, failure.sent) {
        (Class::Throttled, _) => Some(End::Throttled),
        (Class::Unavailable, _) => Some(End::Unavailable),
        (
            Class::NotFound
            | Class::BadRequest
            | Class::Pending
            | Class::QuotaExceeded
            | Class::AccessDenied
            | Class::AccountNotFound
            | Class::AccountChanged,
            Sent::Refused | Sent::Unknown,
        ) => Some(End::Answered),
        (_, Sent::Never) => None,
    }
}

pub(super) const fn class(purpose: Purpose) -> TokenClass {
    match purpose {
        Purpose::Outcome => TokenClass::UnknownOutcome,
        Purpose::Write => TokenClass::Write,
        Purpose::Request => TokenClass::Request,
        Purpose::Drift => TokenClass::Drift,
    }
}

/// Makes the failure for a name or spec that cannot be sent. The API server should have refused it.
fn invalid(message: &str) -> Failure {
    Failure {
        class: Class::BadRequest,
        sent: Sent::Never,
        message: message.to_owned(),
    }
}
