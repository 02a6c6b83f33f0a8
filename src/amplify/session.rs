//! The credentials for a namespace's calls. May do: the requests of the SDK's credentials chain, and STS.
//!
//! Without an accounts file, one session of the SDK's own chain serves all namespaces. With such a file, each namespace
//! has a session of its own, with the role of its entry, and a namespace without an entry has none.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_config::{
    Region, SdkConfig,
    identity::IdentityCache,
    sts::{AssumeRoleProvider, AssumeRoleProviderBuilder},
};
use aws_credential_types::provider::{
    ProvideCredentials, Result as Provided, SharedCredentialsProvider, error::CredentialsError,
    future::ProvideCredentials as Providing,
};
use parking_lot::Mutex;
use tokio::{sync::OnceCell, time::Instant};

use super::{
    AppId,
    accounts::{Accounts, Entry, Lookup, is_account},
    client::{Client, Limits, Observer, send},
    errors::{Call, NotProvided, not_assumed},
    given::{NO_KEY, is_key},
    http::Route,
    regions,
};
use crate::{
    api::operation::Service,
    clock::Clock,
    lifecycle::{
        Account,
        facts::{Class, Failure, Sent},
    },
    telemetry::metrics::{Metrics, class_name},
};

/// Shortest time between two renewals of credentials that AWS refuses.
const RENEWAL: Duration = Duration::from_secs(5);
/// Time limit for assuming a role. The call that waits for it ends within 30 s.
const ASSUMING: Duration = Duration::from_secs(10);
/// The region for STS if no region is set. The STS of any region answers for all.
const ANY_REGION: Region = Region::from_static("us-east-1");
/// Longest session name that STS accepts.
const SESSION_NAME_LIMIT: usize = 64;

/// The SDK's base configuration: credentials, region, HTTP client, timers and clock.
#[derive(Clone, Debug)]
pub struct Base {
    config: SdkConfig,
    /// The credentials chain, if it can be loaded again.
    chain: Option<Chain>,
}

impl Base {
    /// Loads the SDK's own chain: environment, profile, web identity, pod identity, instance. All requests go this way.
    pub async fn load(route: Route) -> Self {
        let loader = route.loader();
        let chain = Chain {
            kept: Arc::default(),
            route,
        };
        let config = loader
            .credentials_provider(SharedCredentialsProvider::new(chain.clone()))
            .load()
            .await;
        Self {
            config,
            chain: Some(chain),
        }
    }

    /// Makes a base of this configuration.
    #[must_use]
    pub const fn of(config: SdkConfig) -> Self {
        Self { config, chain: None }
    }
}

/// All sessions, and their base configuration.
#[derive(Debug)]
pub struct Sessions {
    base: Base,
    common: Common,
    own: Mutex<Arc<Session>>,
    tenants: Option<Mutex<Tenants>>,
}

/// The parts that all sessions share.
#[derive(Clone, Debug)]
struct Common {
    limits: Limits,
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
    /// Regions that are allowed although no known AWS partition has them.
    allowed_regions: Arc<[String]>,
}

/// The accounts file, and the sessions of its namespaces.
#[derive(Debug)]
struct Tenants {
    accounts: Accounts,
    sessions: BTreeMap<String, (Arc<Entry>, Arc<Session>)>,
}

/// A namespace's account and region, as known without a call to AWS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Assignment {
    /// The account.
    pub account: Account,
    /// The region of resources without one.
    pub region: Option<String>,
    /// Changes with everything in the entry that matters to the resources of the namespace. 0 without an accounts file.
    pub digest: u64,
    /// The entry of the namespace.
    entry: Option<Arc<Entry>>,
}

impl Assignment {
    /// Returns the account for an AWS object in this region and of this app: none, if the entry does not allow them.
    #[must_use]
    pub fn account_at(&self, region: &str, app: &AppId) -> Account {
        let refused = self.entry.as_ref().and_then(|entry| entry.refusal(region, app));
        refused.map_or_else(|| self.account.clone(), Account::Missing)
    }
}

impl Sessions {
    /// Makes the sessions from this base. With `accounts`, the base only serves to assume their roles. Each answer of
    /// AWS corrects the clock.
    #[must_use]
    pub fn new(
        base: Base,
        metrics: Arc<Metrics>,
        clock: Arc<Clock>,
        accounts: Option<Accounts>,
        allowed_regions: Vec<String>,
    ) -> Self {
        let common = Common {
            limits: Limits::default(),
            metrics,
            clock,
            allowed_regions: allowed_regions.into(),
        };
        Self::with(base, common, accounts)
    }

    fn with(base: Base, common: Common, accounts: Option<Accounts>) -> Self {
        let own = Session::new(base.config.clone(), common.clone(), None);
        Self {
            base,
            common,
            own: Mutex::new(Arc::new(own)),
            tenants: accounts.map(|accounts| {
                Mutex::new(Tenants {
                    accounts,
                    sessions: BTreeMap::new(),
                })
            }),
        }
    }

    /// Returns the clock that all answers of AWS correct.
    #[must_use]
    pub fn clock(&self) -> &Arc<Clock> {
        &self.common.clock
    }

    /// Returns why no call is made to this region, for people: no AWS partition has it, and it is not allowed by a
    /// setting. `None`: calls are made.
    #[must_use]
    pub fn refuses_region(&self, region: &str) -> Option<String> {
        regions::refusal(region, &self.common.allowed_regions)
    }

    /// Returns the session for an AWS object in this region and of this app, for the resources of a namespace.
    ///
    /// # Errors
    ///
    /// `AccountNotFound` if the accounts file gives the namespace no account, or does not allow it the region or the app.
    pub fn session_at(&self, namespace: &str, region: &str, app: &AppId) -> Result<Arc<Session>, Failure> {
        match self.assignment(namespace).account_at(region, app) {
            Account::Missing(message) => Err(no_account(message)),
            Account::Own | Account::Mapped(_) => self.session_for(namespace),
        }
    }

    /// Returns the session for the resources of a namespace. A session whose credentials AWS has refused is replaced.
    ///
    /// # Errors
    ///
    /// `AccountNotFound` if the accounts file gives the namespace no account.
    pub fn session_for(&self, namespace: &str) -> Result<Arc<Session>, Failure> {
        let Some(tenants) = &self.tenants else {
            let mut own = self.own.lock();
            if own.is_due_for_renewal() {
                if let Some(chain) = &self.base.chain {
                    chain.forget();
                }
                let base = with_own_cache(&self.base.config);
                *own = Arc::new(Session::new(base, self.common.clone(), None));
            }
            return Ok(own.clone());
        };
        let mut tenants = tenants.lock();
        let Tenants { accounts, sessions } = &mut *tenants;
        let lookup = accounts.for_namespace(namespace);
        let Lookup::Entry(entry) = lookup else {
            return Err(no_account(lookup.missing(namespace).unwrap_or_default()));
        };
        if let Some((of, session)) = sessions.get(namespace)
            && of.is_same_identity(entry)
            && !session.is_due_for_renewal()
        {
            return Ok(session.clone());
        }
        let session = Arc::new(self.assume(entry, namespace));
        sessions.insert(namespace.to_owned(), (entry.clone(), session.clone()));
        Ok(session)
    }

    /// Makes a session of the entry's role for a namespace. No request is sent before its first call.
    fn assume(&self, entry: &Arc<Entry>, namespace: &str) -> Session {
        let provider = Assume {
            entry: entry.clone(),
            session_name: session_name(namespace),
            // The SDK's STS endpoint is regional. Our region is certainly enabled; the entry's region may not be
            // enabled for us.
            base: with_region(self.common.limits.reads(&self.base.config), entry.region.as_deref()),
            provider: OnceCell::new(),
            metrics: self.common.metrics.clone(),
        };
        let base = with_own_cache(&self.base.config)
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(provider))
            .build();
        Session::new(base, self.common.clone(), Some(entry.clone()))
    }

    /// Returns a namespace's account and region, as known without a call to AWS.
    #[must_use]
    pub fn assignment(&self, namespace: &str) -> Assignment {
        let own = || named_region(&self.base.config).map(ToString::to_string);
        let Some(tenants) = &self.tenants else {
            return Assignment {
                account: Account::Own,
                region: own(),
                digest: 0,
                entry: None,
            };
        };
        let tenants = tenants.lock();
        let lookup = tenants.accounts.for_namespace(namespace);
        let digest = lookup.digest();
        match &lookup {
            Lookup::Entry(entry) => Assignment {
                account: Account::Mapped(entry.account.clone()),
                region: entry.region.clone().or_else(own),
                digest,
                entry: Some(Arc::clone(entry)),
            },
            Lookup::None | Lookup::Ambiguous(_) => Assignment {
                account: Account::Missing(lookup.missing(namespace).unwrap_or_default()),
                region: own(),
                digest,
                entry: None,
            },
        }
    }

    /// Replaces the accounts. Returns the namespaces whose entries changed. Sessions of another identity are dropped.
    pub fn set_accounts(&self, accounts: Accounts) -> BTreeSet<String> {
        let Some(tenants) = &self.tenants else {
            return BTreeSet::new();
        };
        let mut tenants = tenants.lock();
        let changed = tenants.accounts.changed(&accounts);
        let is_current = |namespace: &str, of: &Entry| match accounts.for_namespace(namespace) {
            Lookup::Entry(entry) => of.is_same_identity(entry),
            Lookup::None | Lookup::Ambiguous(_) => false,
        };
        tenants.sessions.retain(|namespace, (of, _)| is_current(namespace, of));
        tenants.accounts = accounts;
        changed
    }
}

/// The SDK's own chain of credentials. The SDK reads a profile's files once and keeps the result, even an empty one.
/// After a failure, and after AWS has refused the credentials, the chain is made anew.
#[derive(Clone, Debug)]
struct Chain {
    kept: Arc<Mutex<Option<SharedCredentialsProvider>>>,
    route: Route,
}

impl Chain {
    async fn credentials(&self) -> Provided {
        let kept = self.kept.lock().take();
        let provider = match kept {
            Some(provider) => provider,
            None => self
                .route
                .loader()
                .load()
                .await
                .credentials_provider()
                .ok_or_else(|| CredentialsError::not_loaded("the SDK has no chain of credentials"))?,
        };
        let credentials = provider.provide_credentials().await?;
        // The SDK would panic on them.
        let token = credentials.session_token().unwrap_or_default();
        if !is_key(credentials.access_key_id()) || !is_key(token) {
            let why = format!("the access key or the session token {NO_KEY}");
            return Err(CredentialsError::invalid_configuration(why));
        }
        *self.kept.lock() = Some(provider);
        Ok(credentials)
    }

    fn forget(&self) {
        self.kept.lock().take();
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(self.credentials())
    }
}

/// Credentials that never change their account. A source may begin to return credentials of another account (another
/// role of the pod, another profile). Objects of the first account would then be searched for, and created again, in
/// the second.
#[derive(Debug)]
struct SameAccount {
    provider: SharedCredentialsProvider,
    /// The configuration for STS, called with the credentials in question.
    sts: SdkConfig,
    observer: Observer,
    /// The account of the credentials, once STS has returned it.
    account: Arc<OnceCell<String>>,
    /// The access key of the last credentials.
    key: Mutex<Option<String>>,
    /// Whether the credentials now belong to another account. The next session is for that account.
    has_changed: AtomicBool,
}

impl SameAccount {
    async fn credentials(&self) -> Provided {
        let credentials = self.provider.provide_credentials().await?;
        let key = credentials.access_key_id().to_owned();
        let is_new = self.key.lock().as_ref().is_some_and(|known| *known != key);
        if let Some(account) = self.account.get().filter(|_| is_new) {
            let provider = SharedCredentialsProvider::new(credentials.clone());
            let sts = self.sts.to_builder().credentials_provider(provider).build();
            let refused = |failure| CredentialsError::provider_error(NotProvided(failure));
            let now = caller(&self.observer, &aws_sdk_sts::Client::new(&sts))
                .await
                .map_err(refused)?;
            if now != *account {
                self.has_changed.store(true, Ordering::Release);
                return Err(refused(Failure {
                    class: Class::Unavailable,
                    sent: Sent::Never,
                    message: format!(
                        "the operator's AWS credentials belonged to account {account} and now belong to account {now}: this request was not sent. The operator tries again with a new session"
                    ),
                }));
            }
        }
        *self.key.lock() = Some(key);
        Ok(credentials)
    }
}

impl ProvideCredentials for SameAccount {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(self.credentials())
    }
}

/// Returns the account of this client's credentials.
async fn caller(observer: &Observer, sts: &aws_sdk_sts::Client) -> Result<String, Failure> {
    const CALL: Call = Call {
        service: Service::Sts,
        operation: "GetCallerIdentity",
    };
    send!(observer, CALL, sts.get_caller_identity())?
        .account
        .filter(|account| is_account(account))
        .ok_or_else(|| Failure {
            class: Class::Unavailable,
            sent: Sent::Unknown,
            message: "GetCallerIdentity: the answer names no account".to_owned(),
        })
}

/// Makes the failure of a call that the accounts file gives no account to. It is not sent.
fn no_account(message: String) -> Failure {
    Failure {
        class: Class::AccountNotFound,
        sent: Sent::Never,
        message,
    }
}

/// Returns the configuration with a credentials cache of its own, not shared with other sessions.
fn with_own_cache(base: &SdkConfig) -> SdkConfig {
    base.to_builder()
        .identity_cache(IdentityCache::lazy().load_timeout(ASSUMING).build())
        .build()
}

/// Returns the region of the configuration. An empty `AWS_REGION` counts as none, although the SDK accepts it.
fn named_region(base: &SdkConfig) -> Option<&Region> {
    base.region().filter(|region| !region.as_ref().trim().is_empty())
}

/// Returns the configuration with its own region, otherwise with `region`, otherwise with any.
fn with_region(base: SdkConfig, region: Option<&str>) -> SdkConfig {
    if named_region(&base).is_some() {
        return base;
    }
    let region = region.map_or(ANY_REGION, |region| Region::new(region.to_owned()));
    base.to_builder().region(region).build()
}

/// Returns the session name of a namespace's calls in AWS's logs. Two namespaces never share one.
fn session_name(namespace: &str) -> String {
    const PREFIX: &str = "amplify-operator-";
    let room = SESSION_NAME_LIMIT - PREFIX.len();
    if namespace.len() <= room {
        return format!("{PREFIX}{namespace}");
    }
    let mut hasher = DefaultHasher::new();
    namespace.hash(&mut hasher);
    // The name of a namespace never contains a dot.
    let digest = format!(".{:016x}", hasher.finish());
    let start: String = namespace.chars().take(room - digest.len()).collect();
    format!("{PREFIX}{start}{digest}")
}

/// The credentials of an entry's role, for one namespace. The SDK renews them before they expire.
struct Assume {
    entry: Arc<Entry>,
    session_name: String,
    base: SdkConfig,
    provider: OnceCell<AssumeRoleProvider>,
    metrics: Arc<Metrics>,
}

/// Omits the provider: it would show the external id.
impl fmt::Debug for Assume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assume")
            .field("role", &self.entry.role_arn)
            .field("session_name", &self.session_name)
            .finish_non_exhaustive()
    }
}

impl Assume {
    async fn credentials(&self) -> Provided {
        let provider = self.provider.get_or_init(|| self.builder().build()).await;
        let start = Instant::now();
        let result = provider.provide_credentials().await.map_err(|error| {
            let role = format!("{} (account entry {:?})", self.entry.role_arn, self.entry.name);
            not_assumed(&role, &error)
        });
        let outcome = result.as_ref().err().map_or("ok", |failure| class_name(failure.class));
        self.metrics
            .aws_request(Service::Sts.name(), "AssumeRole", outcome, start.elapsed());
        result.map_err(|failure| CredentialsError::provider_error(NotProvided(failure)))
    }

    fn builder(&self) -> AssumeRoleProviderBuilder {
        let builder = AssumeRoleProvider::builder(&self.entry.role_arn)
            .session_name(&self.session_name)
            .configure(&self.base);
        match &self.entry.external_id {
            Some(id) => builder.external_id(id.reveal()),
            None => builder,
        }
    }
}

impl ProvideCredentials for Assume {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(self.credentials())
    }
}

/// One AWS identity, with a client for each region.
#[derive(Debug)]
pub struct Session {
    base: SdkConfig,
    sts: aws_sdk_sts::Client,
    /// The accounts file's entry of a namespace's session. The session must be in its account.
    entry: Option<Arc<Entry>>,
    account: Arc<OnceCell<String>>,
    /// The credentials of the session without an entry: they detect a change of their account.
    guard: Option<Arc<SameAccount>>,
    /// The clients by region. No more than there are known regions.
    clients: Mutex<BTreeMap<String, Client>>,
    limits: Limits,
    allowed_regions: Arc<[String]>,
    observer: Observer,
    /// Whether STS has refused the credentials as expired or unknown.
    worn_out: AtomicBool,
    /// Locked while STS is asked.
    asking: tokio::sync::Mutex<()>,
    since: Instant,
}

impl Session {
    fn new(base: SdkConfig, common: Common, entry: Option<Arc<Entry>>) -> Self {
        let Common {
            limits,
            metrics,
            clock,
            allowed_regions,
        } = common;
        // If every resource names its region, only the calls to STS lack one.
        let region = entry.as_ref().and_then(|entry| entry.region.as_deref());
        let observer = Observer::new(metrics, clock);
        let account = Arc::<OnceCell<String>>::default();
        // A role always stays in its account.
        let provider = base.credentials_provider().filter(|_| entry.is_none());
        let guard = provider.map(|provider| {
            Arc::new(SameAccount {
                provider,
                sts: with_region(limits.reads(&base), region),
                observer: observer.clone(),
                account: account.clone(),
                key: Mutex::default(),
                has_changed: AtomicBool::new(false),
            })
        });
        let base = match &guard {
            None => base,
            Some(guard) => {
                let guard: Arc<dyn ProvideCredentials> = guard.clone();
                let provider = SharedCredentialsProvider::from(guard);
                base.to_builder().credentials_provider(provider).build()
            }
        };
        Self {
            sts: aws_sdk_sts::Client::new(&with_region(limits.reads(&base), region)),
            base,
            entry,
            account,
            guard,
            clients: Mutex::default(),
            limits,
            allowed_regions,
            observer,
            worn_out: AtomicBool::new(false),
            asking: tokio::sync::Mutex::default(),
            since: Instant::now(),
        }
    }

    /// Returns the account that the credentials must belong to, or are known to belong to. Sends no request.
    #[must_use]
    pub fn expected_account(&self) -> Option<String> {
        let expected = self.entry.as_ref().map(|entry| entry.account.clone());
        expected.or_else(|| self.account.get().cloned())
    }

    /// Returns the AWS account of the credentials. STS is asked once. A failure is not cached. Concurrent callers share
    /// one request.
    pub async fn account_id(&self) -> Result<String, Failure> {
        let account = self
            .account
            .get_or_try_init(|| async {
                let account = caller(&self.observer, &self.sts).await?;
                match &self.entry {
                    Some(entry) if entry.account != account => Err(Failure {
                        class: Class::AccessDenied,
                        sent: Sent::Never,
                        message: format!(
                            "the credentials for {} (account entry {:?}) belong to account {account}, not to the account of the role: no request is sent with them",
                            entry.role_arn, entry.name
                        ),
                    }),
                    _ => Ok(account),
                }
            })
            .await?;
        Ok(account.clone())
    }

    /// Whether the credentials are worn out: AWS has refused them as expired or unknown and STS refuses them too, or
    /// they now belong to another account. The next call's session has new ones.
    ///
    /// A region that is not enabled for the account, or that does not accept tokens of the global STS endpoint, refuses
    /// valid credentials as if they were invalid (AWS knowledge center, `iam-validate-access-credentials`). Such a
    /// refusal says nothing about the credentials.
    pub async fn is_found_worn_out(&self) -> bool {
        // Concurrent callers wait for the first one's result.
        let _one = self.asking.lock().await;
        if self.observer.take_refused() {
            let asked = caller(&self.observer, &self.sts).await;
            if asked.is_err_and(|failure| failure.class == Class::AccessDenied) {
                self.worn_out.store(true, Ordering::Release);
            }
        }
        self.is_worn_out()
    }

    fn is_worn_out(&self) -> bool {
        let has_changed = |guard: &Arc<SameAccount>| guard.has_changed.load(Ordering::Acquire);
        self.worn_out.load(Ordering::Acquire) || self.guard.as_ref().is_some_and(has_changed)
    }

    fn is_due_for_renewal(&self) -> bool {
        self.is_worn_out() && self.since.elapsed() >= RENEWAL
    }

    /// Returns the client for a region. If AWS does not have the region, the client refuses every call.
    #[must_use]
    pub fn client(&self, region: &str) -> Client {
        if let Some(why) = regions::refusal(region, &self.allowed_regions) {
            return Client::refusing(&why);
        }
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(region) {
            return client.clone();
        }
        let client = Client::new(&self.base, region, self.limits, self.observer.clone());
        clients.insert(region.to_owned(), client.clone());
        client
    }
}

#[cfg(test)]
pub(super) mod tests {
    use aws_config::BehaviorVersion;
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};

    use super::*;

    /// Makes sessions whose calls all go to this address, with these limits.
    pub(in crate::amplify) fn sessions(
        endpoint: &str,
        limits: Limits,
        credentials: Option<SharedCredentialsProvider>,
    ) -> Sessions {
        let credentials = credentials.unwrap_or_else(|| SharedCredentialsProvider::new(Credentials::for_tests()));
        let base = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(Route::default().client())
            .endpoint_url(endpoint)
            .region(Region::from_static("eu-west-1"))
            .credentials_provider(credentials)
            .build();
        Sessions::with(Base::of(base), common(limits), None)
    }

    fn common(limits: Limits) -> Common {
        Common {
            limits,
            metrics: Arc::new(Metrics::new("test")),
            clock: Arc::new(Clock::of_machine()),
            allowed_regions: Arc::new(["eu-new-1".to_owned()]),
        }
    }

    /// Makes the same sessions with an accounts file.
    pub(in crate::amplify) async fn tenants(endpoint: &str, limits: Limits, accounts: &str) -> Sessions {
        // Loaded: the SDK's provider of roles needs a time source, which a built configuration does not have.
        let base = aws_config::defaults(BehaviorVersion::latest())
            .http_client(Route::default().client())
            .endpoint_url(endpoint)
            .region(Region::from_static("eu-west-1"))
            .credentials_provider(Credentials::for_tests())
            .load()
            .await;
        let accounts = Accounts::parse(accounts, &[]).unwrap();
        Sessions::with(Base::of(base), common(limits), Some(accounts))
    }

    #[test]
    fn a_session_is_named_after_its_namespace_within_what_sts_takes() {
        assert_eq!(session_name("shop"), "amplify-operator-shop");
        let fits = "n".repeat(47);
        assert_eq!(session_name(&fits), format!("amplify-operator-{fits}"));
        let long = |last: &str| session_name(&format!("{}{last}", "n".repeat(62)));
        assert_eq!(long("a").len(), 64);
        assert!(long("a").starts_with("amplify-operator-nnnnnnnn"), "{}", long("a"));
        assert_ne!(long("a"), long("b"));
    }

    #[test]
    fn a_namespace_is_assigned_by_the_file_alone_where_there_is_one() {
        let file = |yaml: &str| Some(Accounts::parse(yaml, &[]).unwrap());
        let base = || {
            SdkConfig::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::from_static("eu-west-1"))
                .build()
        };
        let with = |accounts| Sessions::with(Base::of(base()), common(Limits::default()), accounts);
        let own = with(None).assignment("a");
        assert_eq!((own.account, own.digest), (Account::Own, 0));
        assert_eq!(own.region.as_deref(), Some("eu-west-1"));

        let one =
            "accounts: [{name: t, namespaces: [a], roleArn: \"arn:aws:iam::111111111111:role/x\", region: eu-west-3}]";
        let sessions = with(file(one));
        let mapped = sessions.assignment("a");
        assert_eq!(mapped.account, Account::Mapped("111111111111".to_owned()));
        assert_eq!(mapped.region.as_deref(), Some("eu-west-3"));
        assert!(matches!(sessions.assignment("b").account, Account::Missing(_)));
        assert_eq!(sessions.session_for("b").unwrap_err().class, Class::AccountNotFound);

        let first = sessions.session_for("a").unwrap();
        assert!(Arc::ptr_eq(&first, &sessions.session_for("a").unwrap()));
        assert!(sessions.set_accounts(file(one).unwrap()).is_empty());
        assert!(Arc::ptr_eq(&first, &sessions.session_for("a").unwrap()));
        let edited = one.replace("namespaces: [a]", "namespaces: [a, b], externalId: \"s3cret\"");
        let changed = sessions.set_accounts(file(&edited).unwrap());
        assert_eq!(changed.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(!Arc::ptr_eq(&first, &sessions.session_for("a").unwrap()));
        assert_ne!(mapped.digest, sessions.assignment("a").digest);
        let (a, b) = (sessions.session_for("a").unwrap(), sessions.session_for("b").unwrap());
        assert!(!Arc::ptr_eq(&a, &b), "two namespaces of one entry share no session");
        assert!(!format!("{sessions:?}").contains("s3cret"));

        let narrowed = edited.replace("externalId", "apps: [d1], regions: [eu-west-3], externalId");
        let changed = sessions.set_accounts(file(&narrowed).unwrap());
        assert_eq!(changed.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(
            Arc::ptr_eq(&a, &sessions.session_for("a").unwrap()),
            "the role is the same"
        );
        let app = |id: &str| id.parse().unwrap();
        assert!(Arc::ptr_eq(
            &a,
            &sessions.session_at("a", "eu-west-3", &app("d1")).unwrap()
        ));
        for (region, id) in [("eu-west-3", "d2"), ("eu-west-1", "d1")] {
            let refused = sessions.session_at("a", region, &app(id)).unwrap_err();
            assert_eq!((refused.class, refused.sent), (Class::AccountNotFound, Sent::Never));
            let account = sessions.assignment("a").account_at(region, &app(id));
            assert_eq!(account, Account::Missing(refused.message));
        }
        sessions.set_accounts(Accounts::default());
        assert_eq!(sessions.session_for("a").unwrap_err().class, Class::AccountNotFound);
    }
}
