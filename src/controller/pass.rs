//! One reconcile: asks the lifecycle for the next step and performs it, until the resource is settled.
//!
//! Each step makes at most one request that writes. What a write returned is what the next decision is made from,
//! never an older cache.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt, runtime::controller::Action};
use serde_json::Value;
use tracing::{debug, info, warn};

use super::{
    context::Context,
    index::{KindName, ObjectKey},
    kind::{Kind, Located},
    kinds, kubernetes,
    listings::Listing,
    memory::{self, Recollection},
    watch::Watched,
};
use crate::{
    amplify::{
        Accepted, Client, Creation, Found, InvalidName, Object, Session,
        throttle::{BucketKey, Class as TokenClass, Permit},
        without_request_id,
    },
    api::{
        FINALIZER, Job, RECONCILE_REQUESTED_AT, ResourceConfig,
        conditions::{self, Reason},
    },
    lifecycle::{
        self, Config, Known, Listed, Looked, Memory, Polled, Purpose, Reply, Resource as Wanted, Sending, State, Step,
        Surroundings, View, Wake, Write,
        facts::{Class, Failure, JobSeen, Sent},
        timing,
    },
};

/// Steps of one pass at the most; more are a bug that must not become a hot loop.
const MAX_STEPS: usize = 64;
/// Stale views of one pass at the most, before the resource waits its turn again.
const MAX_STALE: usize = 20;
/// How long a recording is still tried once the operator is to end.
const RECORD_AFTER_SHUTDOWN: Duration = Duration::from_secs(20);

/// Why a pass could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The API server did not take or give what was asked for.
    #[error("{what}: {source}")]
    Kubernetes {
        what: &'static str,
        source: Box<kube::Error>,
    },
    /// The lifecycle asked for more steps than any situation needs.
    #[error("no end after {MAX_STEPS} steps: this is a bug in the operator")]
    Endless,
}

impl Error {
    /// The class of the error, for metrics.
    pub(super) const fn class(&self) -> &'static str {
        match self {
            Self::Kubernetes { .. } => "kubernetes",
            Self::Endless => "endless",
        }
    }

    fn kubernetes(what: &'static str) -> impl Fn(kube::Error) -> Self {
        move |source| Self::Kubernetes {
            what,
            source: Box::new(source),
        }
    }
}

/// How the performing of a step ends a pass.
enum Pause {
    /// Tokens are reserved for it when it is its turn; it is woken then.
    Queued,
    /// Come again after this time.
    Later(Duration),
    /// The pass failed.
    Failed(Error),
}

impl From<Error> for Pause {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// One pass over one resource.
pub(super) struct Pass<'a, K: Kind> {
    watched: &'a Watched<K>,
    context: &'a Context,
    api: Api<K>,
    key: ObjectKey,
    uid: String,
    object: Arc<K>,
    located: Located,
    known: Known,
    memory: Memory,
    /// What AWS showed of the object in this pass.
    found: Option<Found>,
    /// The configuration with its references resolved.
    config: Option<ResourceConfig>,
    permit: Option<Permit>,
    /// Whose credentials the last call was made with.
    session: Option<Arc<Session>>,
    /// A read that failed for worn-out credentials is made again, once in a pass.
    renewed: bool,
    /// What the accounts file said of the namespace when this pass began.
    mapping: u64,
    stale: usize,
}

/// Reconciles a resource once.
pub(super) async fn reconcile<K: Kind>(watched: &Watched<K>, cached: Arc<K>) -> Result<Action, Error> {
    let Some(mut pass) = Pass::begin(watched, cached) else {
        return Ok(Action::await_change());
    };
    if let Some(action) = pass.is_settled() {
        return Ok(action);
    }
    let result = pass.run().await;
    drop(pass.permit.take());
    let freed = watched.context.index.lock().end_reservation(&pass.key);
    watched.context.wake(freed);
    if result.is_err() {
        pass.recall(|it| it.settled = None);
    }
    match result {
        Ok(action) => Ok(action),
        Err(Pause::Queued) => Ok(Action::await_change()),
        Err(Pause::Later(delay)) => Ok(Action::requeue(delay)),
        Err(Pause::Failed(error)) => Err(error),
    }
}

impl<'a, K: Kind> Pass<'a, K> {
    fn begin(watched: &'a Watched<K>, cached: Arc<K>) -> Option<Self> {
        let context = &watched.context;
        let key = Watched::key(cached.as_ref())?;
        let uid = cached.uid()?;
        let (object, memory) = watched.recollections.with(&key, &uid, Context::now(), |it| {
            // The cache is read again here: while this pass waited its turn, it may have caught up with what this
            // process wrote, and what was written is remembered only until then.
            (
                it.newest(watched.cached(&key, &uid).unwrap_or(cached)),
                it.memory.clone(),
            )
        });
        let mut pass = Self {
            watched,
            context,
            api: Api::namespaced(context.client.clone(), &key.namespace),
            uid,
            object,
            located: Located::default(),
            known: Known::default(),
            memory,
            found: None,
            config: None,
            permit: None,
            session: None,
            renewed: false,
            // Before the object is located: what changes from here on is seen as a change.
            mapping: context.sessions.assignment(&key.namespace).digest,
            key,
            stale: 0,
        };
        pass.index();
        Some(pass)
    }

    /// Works on what is remembered of the resource.
    fn recall<R>(&self, work: impl FnOnce(&mut Recollection<K>) -> R) -> R {
        self.watched
            .recollections
            .with(&self.key, &self.uid, Context::now(), work)
    }

    /// A digest of what decisions are made from: the object and its account.
    fn fingerprint(&self) -> memory::Fingerprint {
        memory::fingerprint(self.object.as_ref()) ^ self.mapping
    }

    /// Whether nothing has happened since this resource was settled, so that its wake-up time still holds.
    fn is_settled(&self) -> Option<Action> {
        let fingerprint = self.fingerprint();
        self.recall(|it| {
            let poked = std::mem::take(&mut it.poked);
            let (settled, wake) = it.settled?;
            let waits = conditions::ready_reason(&self.object.state().ledger.conditions).is_some_and(|reason| {
                matches!(
                    reason,
                    Reason::WaitingForJob
                        | Reason::Conflict
                        | Reason::DependencyNotReady
                        | Reason::InUse
                        | Reason::Deleting
                        | Reason::InvalidSpec
                        | Reason::AccountChanged
                )
            });
            if settled != fingerprint || poked && waits {
                return None;
            }
            match wake {
                Wake::Never => Some(Action::await_change()),
                Wake::At(at) => {
                    let left = at.duration_since(Context::now());
                    left.is_positive().then(|| Action::requeue(left.unsigned_abs()))
                }
            }
        })
    }

    async fn run(&mut self) -> Result<Action, Pause> {
        for _ in 0..MAX_STEPS {
            self.try_new_credentials();
            let wanted = self.wanted();
            let state = self.object.state();
            let surroundings = self.surroundings();
            let step = lifecycle::next(&View {
                now: Context::now(),
                jitter: jitter(),
                settings: &self.context.settings,
                resource: &wanted,
                state: &state,
                surroundings: &surroundings,
                known: &self.known,
                memory: &self.memory,
            });
            match step {
                Step::Settle { state, wake, retry } => {
                    if let Some(action) = self.settle(&state, wake, retry).await? {
                        return Ok(action);
                    }
                }
                Step::Release => {
                    if self.release().await? {
                        return Ok(Action::await_change());
                    }
                }
                step => self.perform(step).await?,
            }
        }
        Err(Error::Endless.into())
    }

    async fn perform(&mut self, step: Step) -> Result<(), Pause> {
        // What was begun is finished; nothing new is begun once the operator is to end.
        let is_under_way = self.known.sending == Sending::Intended || self.known.reply.is_some();
        if self.context.shutdown.is_cancelled() && !is_under_way && !matches!(step, Step::Record(_)) {
            return Err(Pause::Later(Duration::from_secs(1)));
        }
        match step {
            Step::Resolve => self.resolve().await?,
            Step::Look(purpose) => self.look(purpose).await?,
            Step::ListJobs(purpose) => self.list_jobs(purpose).await?,
            Step::Poll => self.poll().await?,
            Step::TakeSlot => {
                let slot = self.context.index.lock().take_slot(&self.key, Context::now());
                self.known.slot = Some(slot);
            }
            Step::AddFinalizer => {
                let written = kubernetes::set_finalizer(&self.api, &self.object, true).await;
                self.written(written, "cannot add the finalizer").await?;
            }
            Step::Intend(state) => {
                if self.write(&state, "cannot store the intent").await? {
                    self.known.sending = Sending::Intended;
                }
            }
            Step::Send(write) => self.send(write).await?,
            Step::RecordAccepted(state) => self.record(&state).await?,
            Step::Record(state) => {
                if self.write(&state, "cannot write the status").await? {
                    self.known = Known {
                        account: self.known.account.take(),
                        look: self.known.look.take(),
                        config: self.known.config.take(),
                        ..Known::default()
                    };
                }
            }
            Step::Release | Step::Settle { .. } => {}
        }
        Ok(())
    }

    // ---- what decisions are made from ----

    fn wanted(&self) -> Wanted {
        let meta = self.object.meta();
        let policies = self.object.policies();
        Wanted {
            generation: meta.generation.unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            finalizer: self.object.finalizers().iter().any(|name| name == FINALIZER),
            create: self.object.create(),
            deletion_policy: policies.deletion,
            adoption_policy: policies.adoption,
            suspend: policies.suspend,
            job_timeout: policies.job_timeout,
            request: self.object.annotations().get(RECONCILE_REQUESTED_AT).cloned(),
        }
    }

    fn surroundings(&self) -> Surroundings {
        let index = self.context.index.lock();
        Surroundings {
            region: self.located.region.clone(),
            invalid: self.located.invalid.clone(),
            dependency: self.located.dependency.clone(),
            resolved: self.located.location.is_some(),
            winner: index.winner(&self.key).map(ToString::to_string),
            dependents: index.dependents(&self.key),
            phase: self.phase(),
            account: self.context.sessions.assignment(&self.key.namespace).account,
        }
    }

    /// Checks of all resources that share a list fall together; those of the others are spread.
    fn phase(&self) -> SignedDuration {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        match &self.located.location {
            Some(location) if location.resource.is_none() => {
                let account = self.object.state().ledger.account_id;
                (account, &location.environment.region, &location.environment.app).hash(&mut hasher);
            }
            _ => self.uid.hash(&mut hasher),
        }
        let interval = u64::try_from(self.context.settings.drift_interval.as_millis())
            .unwrap_or(1)
            .max(1);
        SignedDuration::from_millis(i64::try_from(hasher.finish() % interval).unwrap_or_default())
    }

    /// When the check that is being made fell due.
    fn due(&self) -> Timestamp {
        let interval = self.context.settings.drift_interval;
        let next = timing::next_check(Context::now(), interval, self.phase());
        next.saturating_sub(interval).unwrap_or(next)
    }

    /// Locates the AWS object and tells the index, and so the other resources, what this one is now.
    fn index(&mut self) {
        self.located = self.watched.index_entry(&self.key, self.object.as_ref());
    }

    // ---- AWS ----

    /// A client for the object's account and region, with a token for one call. None: `known.failed` says why not.
    async fn aws(&mut self, class: TokenClass, calls: u32) -> Result<Option<Client>, Pause> {
        match self.session(class, calls).await {
            Ok(client) => Ok(Some(client)),
            Err(Refusal::Pause(pause)) => Err(pause),
            Err(Refusal::Failure(failure)) => {
                self.known.failed = Some(failure);
                Ok(None)
            }
        }
    }

    async fn session(&mut self, class: TokenClass, calls: u32) -> Result<Client, Refusal> {
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
            return Err(Refusal::Pause(Pause::Later(Duration::from_secs(1))));
        }
        let Some(location) = &self.located.location else {
            return Err(Refusal::Failure(invalid("the AWS object cannot be named yet")));
        };
        let region = location.environment.region.clone();
        if self.permit.is_none() {
            let bucket = BucketKey {
                account: account.clone(),
                region: region.clone(),
            };
            let permit = self.context.throttle.acquire(&bucket, self.key.clone(), class, calls);
            self.permit = Some(permit.ok_or(Refusal::Pause(Pause::Queued))?);
        }
        if let Some(permit) = &self.permit {
            permit.spend();
        }
        self.known.account = Some(account);
        Ok(session.client(&region))
    }

    /// AWS has refused the credentials of a read as expired: the read is made once more, with new ones.
    fn try_new_credentials(&mut self) {
        let worn_out = self.session.as_ref().is_some_and(|session| session.is_worn_out());
        if self.known.failed.is_some() && worn_out && !self.renewed {
            self.renewed = true;
            self.known.failed = None;
        }
    }

    fn object_name(&self) -> Result<Object, Failure> {
        let location = self
            .located
            .location
            .as_ref()
            .ok_or_else(|| invalid("the AWS object cannot be named yet"))?;
        let refuse = |error: InvalidName| invalid(&error.to_string());
        let app = location.environment.app.parse().map_err(refuse)?;
        let environment = location.environment.name.parse().map_err(refuse)?;
        Ok(match (K::NAME, &location.resource) {
            (KindName::AmplifyBackend, _) => Object::Backend { app, environment },
            (KindName::BackendApi, resource) => {
                let resource = resource.as_deref().unwrap_or_default().parse().map_err(refuse)?;
                Object::Api {
                    app,
                    environment,
                    resource,
                }
            }
            (KindName::BackendEnvironment, _) => Object::Environment { app, environment },
        })
    }

    /// What a failure means beyond this resource, and what of it may go into its status.
    fn failure(&self, failure: &Failure) -> Failure {
        debug!(object = %self.key, class = ?failure.class, "{}", failure.message);
        if failure.class == Class::Throttled
            && let (Some(account), Some(location)) = (&self.known.account, &self.located.location)
        {
            let region = location.environment.region.clone();
            self.context.throttle.throttled(&BucketKey {
                account: account.clone(),
                region,
            });
        }
        // A request id differs with every call, and each difference would be a write.
        let message = without_request_id(&failure.message).to_owned();
        Failure { message, ..*failure }
    }

    async fn look(&mut self, purpose: Purpose) -> Result<(), Pause> {
        let object = match self.object_name() {
            Ok(object) => object,
            Err(failure) => {
                self.known.failed = Some(failure);
                return Ok(());
            }
        };
        if purpose == Purpose::Drift && !matches!(object, Object::Api { .. }) {
            match self.listed_environment(&object).await? {
                Some(found) => {
                    self.looked(Some(found));
                    return Ok(());
                }
                // Not in the list, or no list: only a look of its own can tell that it is gone.
                None if self.known.failed.is_some() => return Ok(()),
                None => {}
            }
        }
        let calls = purpose.calls(self.object.create());
        let Some(client) = self.aws(class(purpose), calls).await? else {
            return Ok(());
        };
        match client.look(&object).await {
            Ok(found) => self.looked(found),
            Err(failure) => self.known.failed = Some(self.failure(&failure)),
        }
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
    async fn listed_environment(&mut self, object: &Object) -> Result<Option<Found>, Pause> {
        let Some(location) = self.located.location.clone() else {
            return Ok(None);
        };
        // Shared by those who would see the same: not by another role of the account.
        let account = self.object.state().ledger.account_id.unwrap_or_default();
        let account = format!("{account}/{:x}", self.mapping);
        let app = (account, location.environment.region, location.environment.app);
        let records = match self.context.listings.get(&app, self.due(), Context::now()) {
            Listing::Fresh(records) => records,
            Listing::UnderWay => return Err(Pause::Later(Duration::from_secs(1))),
            Listing::Begin => {
                let listed = match self.aws(TokenClass::Drift, 1).await {
                    Ok(Some(client)) => client
                        .list_environments(object.app())
                        .await
                        .map_err(|failure| self.failure(&failure)),
                    Ok(None) => Err(self.known.failed.take().unwrap_or_else(|| invalid("no client"))),
                    Err(pause) => {
                        self.context.listings.put(app, Context::now(), None);
                        return Err(pause);
                    }
                };
                let listed = listed.map(Arc::new);
                self.context
                    .listings
                    .put(app, Context::now(), listed.as_ref().ok().cloned());
                match listed {
                    Ok(records) => records,
                    Err(failure) => {
                        self.known.failed = Some(failure);
                        return Ok(None);
                    }
                }
            }
        };
        Ok(records.get(object.environment().as_str()).map(|record| match object {
            Object::Environment { .. } => Found::Environment(record.clone()),
            _ => Found::Backend { app_name: None },
        }))
    }

    async fn list_jobs(&mut self, purpose: Purpose) -> Result<(), Pause> {
        let calls = purpose.calls(self.object.create());
        let mut jobs: Vec<JobSeen> = Vec::new();
        let source = self
            .located
            .location
            .as_ref()
            .and_then(|location| location.source.clone());
        let object = self.object_name();
        let environments = object.and_then(|object| {
            let source = source
                .map(|source| {
                    source
                        .name
                        .parse()
                        .map_err(|error| invalid(&format!("cloneFrom: {error}")))
                })
                .transpose()?;
            Ok((object.app().clone(), [Some(object.environment().clone()), source]))
        });
        let (app, environments) = match environments {
            Ok(environments) => environments,
            Err(failure) => {
                self.known.failed = Some(failure);
                return Ok(());
            }
        };
        let at = Context::now();
        for environment in environments.into_iter().flatten() {
            let Some(client) = self.aws(class(purpose), calls).await? else {
                return Ok(());
            };
            match client.list_jobs(&app, &environment).await {
                Ok(listed) => jobs.extend(listed),
                Err(failure) => {
                    self.known.failed = Some(self.failure(&failure));
                    return Ok(());
                }
            }
        }
        self.known.jobs = Some(Listed { at, jobs });
        Ok(())
    }

    async fn poll(&mut self) -> Result<(), Pause> {
        let ledger = self.object.state().ledger;
        let request = self.object.annotations().get(RECONCILE_REQUESTED_AT);
        let is_requested = request.is_some() && request != ledger.last_handled_reconcile_at.as_ref();
        let due = self.recall(|it| it.poll_due).filter(|_| !is_requested);
        if let Some(early) = due
            .map(|due| due.duration_since(Context::now()))
            .filter(SignedDuration::is_positive)
        {
            return Err(Pause::Later(early.unsigned_abs()));
        }
        let job = ledger.job;
        let named = self.object_name().and_then(|object| {
            let job = job.ok_or_else(|| invalid("there is no job"))?;
            let id = job
                .id
                .unwrap_or_default()
                .parse()
                .map_err(|error| invalid(&format!("job id: {error}")))?;
            let environment = match job.backend_environment_name {
                Some(name) => name.parse().map_err(|error| invalid(&format!("job: {error}")))?,
                None => object.environment().clone(),
            };
            Ok((object.app().clone(), environment, id))
        });
        let (app, environment, id) = match named {
            Ok(named) => named,
            Err(failure) => {
                self.known.failed = Some(failure);
                return Ok(());
            }
        };
        let Some(client) = self.aws(TokenClass::Poll, 1).await? else {
            return Ok(());
        };
        match client.get_job(&app, &environment, &id).await {
            Ok(job) => self.known.poll = Some(Polled { job }),
            Err(failure) => self.known.failed = Some(self.failure(&failure)),
        }
        Ok(())
    }

    async fn send(&mut self, write: Write) -> Result<(), Pause> {
        let prepared = self
            .object_name()
            .and_then(|object| Ok((object, self.creation(write)?)));
        let (object, creation) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                self.known.reply = Some(Reply::Failed(failure));
                return Ok(());
            }
        };
        let client = match self.session(TokenClass::Write, 1).await {
            Ok(client) => client,
            Err(Refusal::Failure(failure)) => {
                self.known.reply = Some(Reply::Failed(Failure {
                    sent: Sent::Never,
                    ..failure
                }));
                return Ok(());
            }
            Err(Refusal::Pause(pause)) => return Err(pause),
        };
        // Nothing may come between this and the request: see `leader`.
        if !self.context.leadership.holds() {
            return Err(Pause::Later(Duration::from_secs(1)));
        }
        let reply = match (write, &creation) {
            (Write::Create, Some(creation)) => client.create(&object, creation).await.map(Some),
            (Write::Update, Some(Creation::Api { config })) => client.update(&object, config).await.map(Some),
            _ => client.delete(&object).await,
        };
        let reply = match reply {
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
            Err(failure) => {
                warn!(object = %self.key, class = ?failure.class, sent = ?failure.sent, "{}", failure.message);
                Reply::Failed(self.failure(&failure))
            }
        };
        // What was seen before the write says nothing of what came of it.
        self.known.look = None;
        self.known.jobs = None;
        self.known.sending = Sending::Nothing;
        self.known.reply = Some(reply);
        Ok(())
    }

    fn creation(&self, write: Write) -> Result<Option<Creation>, Failure> {
        if write == Write::Delete {
            return Ok(None);
        }
        let location = self
            .located
            .location
            .as_ref()
            .ok_or_else(|| invalid("the AWS object cannot be named yet"))?;
        self.object
            .creation(location, self.config.as_ref())
            .map(Some)
            .map_err(|error| invalid(&error))
    }

    async fn resolve(&mut self) -> Result<(), Pause> {
        let Some(spec) = self.object.config() else {
            return Ok(());
        };
        let mut config = spec.clone();
        if let Some(from) = config.transform_schema_from.take() {
            let reference = from.config_map_key_ref;
            let value = kubernetes::config_map_key(
                &self.context.client,
                &self.key.namespace,
                &reference.name,
                &reference.key,
            )
            .await
            .map_err(Error::kubernetes(
                "cannot read the ConfigMap that transformSchemaFrom names",
            ))?;
            match value {
                Ok(schema) => config.transform_schema = Some(schema),
                Err(missing) => {
                    self.known.config = Some(Err(missing));
                    return Ok(());
                }
            }
        }
        self.known.config = Some(Ok(Config {
            hash: kinds::config_hash(&config),
        }));
        self.config = Some(config);
        Ok(())
    }

    // ---- Kubernetes ----

    fn status(&self, state: &State) -> (Value, Value) {
        let old = self.object.stored();
        let new = self
            .object
            .status(state, self.located.location.as_ref(), self.found.as_ref());
        (old, new)
    }

    /// Writes this status on condition that nothing else has changed. False: the view was stale and is renewed.
    async fn write(&mut self, state: &State, what: &'static str) -> Result<bool, Pause> {
        let (old, new) = self.status(state);
        let before = self.object.state();
        let written = kubernetes::set_status(&self.api, &self.object, &old, &new).await;
        let done = self.written(written, what).await?;
        if done {
            self.tell(&before, state);
        }
        Ok(done)
    }

    /// Takes in what a conditional write returned. False: the view was stale and is renewed.
    async fn written(&mut self, written: kube::Result<K>, what: &'static str) -> Result<bool, Pause> {
        match written {
            Ok(object) => {
                self.take(object);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                self.refresh().await?;
                Ok(false)
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Err(Pause::Queued),
            Err(error) => Err(Error::kubernetes(what)(error).into()),
        }
    }

    fn take(&mut self, object: K) {
        self.object = Arc::new(object);
        let object = self.object.clone();
        self.recall(|it| it.wrote(object));
        self.index();
    }

    /// The view was stale: look at the object itself. What was learnt stays only if nothing that decides has changed.
    async fn refresh(&mut self) -> Result<(), Pause> {
        self.stale += 1;
        if self.stale > MAX_STALE {
            return Err(Pause::Later(Duration::from_secs(1)));
        }
        let live = kubernetes::get(&self.api, &self.key.name)
            .await
            .map_err(Error::kubernetes("cannot read the resource"))?;
        let Some(live) = live.filter(|live| live.uid().as_ref() == Some(&self.uid)) else {
            return Err(Pause::Queued);
        };
        // What AWS showed stays true while others fight over the metadata.
        if live.meta().generation != self.object.meta().generation || live.stored() != self.object.stored() {
            self.known = Known::default();
            self.found = None;
            self.config = None;
        }
        self.take(live);
        Ok(())
    }

    /// Stores what AWS accepted. Tried until it lands: a job must not be lost.
    async fn record(&mut self, state: &State) -> Result<(), Pause> {
        let before = self.object.state();
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .without_max_times()
            .build();
        let object = loop {
            let (old, new) = self.status(state);
            match kubernetes::record(&self.api, &self.object, &old, &new).await {
                Ok(object) => break object,
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    self.lost(state, "the resource is gone");
                    return Err(Pause::Queued);
                }
                Err(kube::Error::Api(status)) if status.code == 422 => {
                    // Another object of this name, or another attempt: see which.
                    self.refresh().await?;
                    let stored = self.object.state().ledger.job.map(|job| job.attempt);
                    if stored > state.ledger.job.as_ref().map(|job| job.attempt) {
                        self.lost(state, "another operator has taken over");
                        return Err(Pause::Queued);
                    }
                }
                Err(error) => {
                    warn!(object = %self.key, %error, "cannot record what AWS accepted; trying until it lands");
                }
            }
            self.pause(delays.next().unwrap_or(Duration::from_secs(5))).await?;
        };
        self.take(object);
        let ended = state
            .ledger
            .job
            .as_ref()
            .filter(|job| job.is_running() && job.status.as_deref() == Some(Job::COMPLETED));
        self.known = Known {
            account: self.known.account.take(),
            config: self.known.config.take(),
            sending: Sending::Recorded,
            poll: ended.map(|job| Polled { job: Some(seen(job)) }),
            ..Known::default()
        };
        self.tell(&before, state);
        Ok(())
    }

    async fn pause(&self, delay: Duration) -> Result<(), Pause> {
        let patience = async {
            self.context.shutdown.cancelled().await;
            tokio::time::sleep(RECORD_AFTER_SHUTDOWN).await;
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(()),
            // The intent is stored: the next process finds the job by it.
            () = patience => Err(Pause::Later(Duration::from_secs(1))),
        }
    }

    fn lost(&self, state: &State, why: &str) {
        let job = state.ledger.job.as_ref();
        warn!(
            object = %self.key,
            operation = job.map(|job| job.operation.name()),
            job = job.and_then(|job| job.id.as_deref()),
            "a job that AWS accepted cannot be recorded: {why}"
        );
    }

    /// Stores this status where it differs and ends the pass. None: the view was stale; go on with the new one.
    async fn settle(&mut self, state: &State, wake: Wake, retry: bool) -> Result<Option<Action>, Pause> {
        let (old, new) = self.status(state);
        if old != new && !self.write(state, "cannot write the status").await? {
            return Ok(None);
        }
        let now = Context::now();
        let fingerprint = self.fingerprint();
        let checked = self.found.is_some().then_some(now);
        let denied = conditions::ready_reason(&state.ledger.conditions) == Some(Reason::AccessDenied)
            || self
                .known
                .failed
                .as_ref()
                .is_some_and(|failure| failure.class == Class::AccessDenied);
        self.recall(|it| {
            it.settled = Some((fingerprint, wake));
            it.poll_due = match wake {
                Wake::At(at) if state.ledger.job.as_ref().is_some_and(Job::is_running) => Some(at),
                _ => None,
            };
            it.memory.checked = checked.or(it.memory.checked);
            it.memory.tries = if retry { it.memory.tries.saturating_add(1) } else { 0 };
            it.memory.denied_since = denied.then(|| it.memory.denied_since.unwrap_or(now));
        });
        debug!(object = %self.key, ?wake, retry, "settled");
        Ok(Some(match wake {
            Wake::Never => Action::await_change(),
            Wake::At(at) => {
                let left = at.duration_since(Context::now()).max(SignedDuration::from_millis(10));
                Action::requeue(left.unsigned_abs())
            }
        }))
    }

    /// Removes the finalizer. False: the view was stale; go on with the new one.
    async fn release(&mut self) -> Result<bool, Pause> {
        let written = kubernetes::set_finalizer(&self.api, &self.object, false).await;
        let released = self.written(written, "cannot remove the finalizer").await?;
        if released {
            info!(object = %self.key, owned = self.object.state().ledger.origin.is_some(), "released");
        }
        Ok(released)
    }

    /// One line and one Event for each transition.
    fn tell(&self, before: &State, after: &State) {
        let (old, new) = (&before.ledger, &after.ledger);
        let job = new.job.as_ref();
        let action = job.map_or("Reconcile", |job| job.operation.name());
        let reference = || self.object.object_ref(&());
        if old.origin.is_some() && new.origin.is_none() && job.is_some_and(|job| !job.has_failed()) {
            self.context.events.gone(reference(), action);
        }
        let Some(reason) = conditions::ready_reason(&new.conditions) else {
            return;
        };
        let is_transition = conditions::ready_reason(&old.conditions) != Some(reason);
        let has_started =
            job.is_some_and(|job| job.id.is_some() && old.job.as_ref().map(|job| &job.id) != Some(&job.id));
        // What is about to be sent is told when it is known what came of it.
        let is_about_to_send =
            job.is_some_and(Job::is_open_intent) && matches!(reason, Reason::Creating | Reason::Cloning);
        if !(is_transition || has_started) || is_about_to_send {
            return;
        }
        let message = conditions::get(&new.conditions, conditions::READY).map_or("", |ready| ready.message.as_str());
        info!(
            object = %self.key,
            reason = reason.name(),
            operation = job.map(|job| job.operation.name()),
            job = job.and_then(|job| job.id.as_deref()),
            attempt = job.map(|job| job.attempt),
            "{message}"
        );
        self.context.events.transition(reference(), reason, message, action);
    }
}

/// Why no AWS call can be made.
enum Refusal {
    Pause(Pause),
    Failure(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let message = without_request_id(&failure.message).to_owned();
        Self::Failure(Failure { message, ..failure })
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

fn seen(job: &Job) -> JobSeen {
    JobSeen {
        id: job.id.clone().unwrap_or_default(),
        environment: job.backend_environment_name.clone().unwrap_or_default(),
        operation: job.operation.name().to_owned(),
        status: job.status.clone().unwrap_or_default(),
        create_time: None,
        error: None,
    }
}

/// A number in 0..1 that differs from call to call.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    f64::from(u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}
