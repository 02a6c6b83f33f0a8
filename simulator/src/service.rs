//! The way from a request to its answer: identify, add to the history, apply faults, perform, complete the history. It
//! waits only if a fault orders it, and never while it holds the lock on the state.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, Method, request::Parts};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::info;

use crate::{
    clock::{Clock, millis},
    config::{Config, Settings},
    faults::{Action, Faults, Garbage, Subject},
    history::{Body, Call, History},
    identity::{Caller, Identities},
    ids::Ids,
    limits::Limits,
    operations::{self, Context, Names, Request},
    sigv4::{Authorization, Signed},
    state::{App, World},
    wire::{
        input::{Input, Query},
        operation::{Class, Service},
        path,
        reply::{AwsError, Reply},
        route,
    },
};

/// The state that all connections and controls share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) state: Mutex<State>,
    /// Counts the releases of hung requests.
    pub(crate) released: watch::Sender<u64>,
    /// Changes whenever a call begins or ends.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) default_account: String,
    pub(crate) default_region: String,
    history_body_limit: usize,
    max_clock_skew: i64,
}

/// The state behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) identities: Identities,
    pub(crate) settings: Settings,
    pub(crate) faults: Faults,
    pub(crate) limits: Limits,
    pub(crate) history: History,
    pub(crate) ids: Ids,
}

/// A request as received.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Incoming {
    pub(crate) fn new(head: Parts, body: Bytes) -> Self {
        Self {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body,
        }
    }
}

/// An answer, and its damage.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    /// The request id. None: the answer is not AWS's own.
    pub(crate) request_id: Option<String>,
    pub(crate) damage: Damage,
}

impl Answer {
    /// Returns no answer: the connection is reset.
    fn reset() -> Self {
        Self {
            reply: Reply::error(None, &AwsError::new(0, "Reset", ""), ""),
            request_id: None,
            damage: Damage::Reset,
        }
    }
}

/// The damage to an answer on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    None,
    /// The connection is reset instead.
    Reset,
    /// Half of the body, then a reset.
    Truncate,
}

/// A request whose signature has been checked.
struct Admitted {
    seq: u64,
    request: Request,
    service: Service,
    region: String,
    caller: Caller,
    request_id: String,
    action: Option<Action>,
}

impl Shared {
    /// Creates the state with this clock. Ids are derived from this seed.
    pub(crate) fn new(config: &Config, clock: Clock, seed: u64) -> Self {
        let now = clock.now();
        let default_account = config
            .keys
            .first()
            .map_or_else(|| crate::config::DEFAULT_ACCOUNT.to_owned(), |key| key.account.clone());
        let mut world = World::default();
        for app in &config.apps {
            let account = app.account.as_deref().unwrap_or(&default_account);
            let region = app.region.as_deref().unwrap_or(&config.region);
            world
                .region(account, region)
                .apps
                .insert(app.app_id.clone(), App::new(&app.app_id, &app.name, now));
        }
        Self {
            clock,
            state: Mutex::new(State {
                world,
                identities: Identities::new(&config.keys, &config.roles, config.unlisted_roles),
                settings: config.settings.clone(),
                faults: Faults::default(),
                limits: Limits::default(),
                history: History::new(config.history_limit.max(1)),
                ids: Ids::new(seed),
            }),
            released: watch::Sender::new(0),
            changed: watch::Sender::new(0),
            default_account,
            default_region: config.region.clone(),
            history_body_limit: config.history_body_limit,
            max_clock_skew: millis(config.max_clock_skew),
        }
    }

    /// Answers a request of one of the AWS APIs.
    pub(crate) async fn answer(self: Arc<Self>, incoming: Incoming) -> Answer {
        // Subscribed first, so that a request that is already shown as in flight does not miss a release.
        let mut released = self.released.subscribe();
        let admitted = match self.admit(&incoming) {
            Ok(admitted) => admitted,
            Err(answer) => return answer,
        };
        self.changed.send_modify(|count| *count += 1);
        let action = admitted.action.clone();
        if let Some(Action::Hang { duration }) = action {
            hang(&mut released, duration).await;
        }
        if action == Some(Action::Reset) {
            return self.finish(&admitted, Err(AwsError::new(0, "Reset", "")), Damage::Reset);
        }
        if let Some(Action::ArriveLate { duration }) = action {
            tokio::spawn(async move {
                hang(&mut released, duration).await;
                let (reply, error) = self.perform(&admitted);
                // No client receives this reply.
                self.finish(&admitted, Ok((reply, error)), Damage::Reset);
            });
            return Answer::reset();
        }
        if let Some(Action::Intercepted { status, body }) = &action {
            let answer = self.finish(&admitted, Ok((Reply::of_a_proxy(*status, body), None)), Damage::None);
            return Answer {
                request_id: None,
                ..answer
            };
        }
        if let Some(action) = &action
            && let Some((error, body)) = action.refusal(&admitted.subject(), &admitted.caller.arn())
        {
            let mut reply = Reply::error(Some(admitted.service), &error, &admitted.request_id);
            if let Some(body) = body {
                reply.body = body.into();
            }
            return self.finish(&admitted, Ok((reply, Some(error))), Damage::None);
        }
        if let Some(Action::ErrorInReply { error }) = &action {
            return self.finish(&admitted, Ok((error_in_reply(&admitted, error), None)), Damage::None);
        }
        released.mark_unchanged();
        let (mut reply, mut error) = self.perform(&admitted);
        self.changed.send_modify(|count| *count += 1);
        if let Some(Action::HangAfter { duration }) = action {
            hang(&mut released, duration).await;
        }
        let damage = match &action {
            Some(Action::ResetAfter) => Damage::Reset,
            Some(Action::Truncate) => Damage::Truncate,
            Some(Action::Garbage { kind }) => {
                reply.body = garbage(*kind, &reply.body);
                Damage::None
            }
            Some(other) => {
                if let Some((instead, body)) = other.replacement() {
                    reply = Reply::error(Some(admitted.service), &instead, &admitted.request_id);
                    if let Some(body) = body {
                        reply.body = body.into();
                    }
                    error = Some(instead);
                }
                Damage::None
            }
            None => Damage::None,
        };
        self.finish(&admitted, Ok((reply, error)), damage)
    }

    /// Checks the signature, adds the call to the history and finds the rule that hits it.
    fn admit(&self, incoming: &Incoming) -> Result<Admitted, Answer> {
        let claims = Authorization::read(&incoming.headers);
        let service = claims
            .as_ref()
            .ok()
            .and_then(|claims| Service::from_scope(&claims.service));
        // An unsigned request has no scope. For the history its path is enough.
        let (request, unreadable) = take_apart(service.unwrap_or_else(|| guess(&incoming.path)), incoming);
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let request_id = state.ids.uuid();
        let verified = claims.and_then(|claims| {
            let caller = self.verify(&state.identities, &claims, incoming)?;
            Ok((claims, caller))
        });
        let caller = verified.as_ref().ok().map(|(_, caller)| caller);
        let region = verified.as_ref().ok().map(|(claims, _)| claims.region.as_str());
        let mut call = self.call(incoming, service, &request, caller, region);
        let failed = match (verified, unreadable, service) {
            (Ok((claims, caller)), None, Some(service)) => {
                let subject = subject(&request, service, &caller, &claims.region);
                let mut is_refused = || {
                    let limit = state.settings.calls_per_second.filter(|_| service != Service::Sts);
                    let now = self.clock.now();
                    limit.is_some_and(|limit| !state.limits.take(&caller.account, &claims.region, limit, now))
                };
                let action = state.faults.take(&subject);
                let action = action.or_else(|| is_refused().then_some(Action::TooManyRequests));
                call.faulted = action.is_some();
                let seq = state.history.begin(call);
                return Ok(Admitted {
                    seq,
                    request,
                    service,
                    region: claims.region,
                    caller,
                    request_id,
                    action,
                });
            }
            (Err(error), ..) | (_, Some(error), _) => error,
            (Ok((claims, _)), _, None) => AwsError::new(
                403,
                "InvalidSignatureException",
                format!(
                    "Credential should be scoped to a valid service, not '{}'.",
                    claims.service
                ),
            ),
        };
        call.status = Some(failed.status);
        call.error = Some(failed.code.as_str().into());
        call.in_flight = false;
        let operation = call.operation;
        state.history.begin(call);
        drop(guard);
        self.changed.send_modify(|count| *count += 1);
        info!(%operation, path = incoming.path, status = failed.status, error = failed.code, "request refused");
        Err(Answer {
            reply: Reply::error(service, &failed, &request_id),
            request_id: Some(request_id),
            damage: Damage::None,
        })
    }

    fn verify(&self, identities: &Identities, claims: &Authorization, incoming: &Incoming) -> Result<Caller, AwsError> {
        let credentials = identities.find(&claims.access_key_id)?;
        let token = incoming
            .headers
            .get("x-amz-security-token")
            .and_then(|token| token.to_str().ok());
        let now = self.clock.wall();
        credentials.check(token, now)?;
        let signed = Signed {
            method: incoming.method.as_str(),
            path: &incoming.path,
            query: &incoming.query,
            headers: &incoming.headers,
            body: &incoming.body,
        };
        claims.verify(&signed, &credentials.secret, now, self.max_clock_skew)?;
        Ok(credentials.caller.clone())
    }

    fn call(
        &self,
        incoming: &Incoming,
        service: Option<Service>,
        request: &Request,
        caller: Option<&Caller>,
        region: Option<&str>,
    ) -> Call {
        let names = request.names();
        let body = if service == Some(Service::Sts) {
            // Stored as an object, so that tests read all bodies in the same way.
            let form = request.query.0.iter();
            let members: serde_json::Map<_, _> = form
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect();
            serde_json::Value::Object(members).to_string().into()
        } else {
            // A copy, because the connection's buffer may be much longer than the body in it.
            Bytes::copy_from_slice(&incoming.body)
        };
        let kept = body.len() <= self.history_body_limit;
        let role = caller.and_then(|caller| caller.role.as_ref());
        Call {
            seq: 0,
            time: self.clock.now(),
            service,
            operation: request.route.operation,
            request_line: format!("{} {}", incoming.method, incoming.path).into(),
            account: caller.map(|caller| caller.account.clone()),
            region: region.map(Into::into),
            app: names.app.map(Into::into),
            environment: names.environment.map(Into::into),
            source_environment: names.source_environment.map(Into::into),
            resource: names.resource.map(Into::into),
            access_key_id: caller.map(|caller| caller.access_key_id.clone()),
            role: role.map(|role| role.name.clone()),
            session_name: role.map(|role| role.session_name.clone()),
            body: Body::new(if kept { body } else { Bytes::new() }),
            status: None,
            error: None,
            accepted: false,
            job_id: None,
            in_flight: true,
            faulted: false,
        }
    }

    /// Does the work. An accepted write is marked in the history here, whatever happens to the reply.
    fn perform(&self, admitted: &Admitted) -> (Reply, Option<AwsError>) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let operation = admitted.request.route.operation;
        let mut context = Context {
            region: state.world.region(&admitted.caller.account, &admitted.region),
            region_name: &admitted.region,
            identities: &mut state.identities,
            settings: &state.settings,
            ids: &mut state.ids,
            caller: &admitted.caller,
            request: &admitted.request,
            faults: &mut state.faults,
            subject: admitted.subject(),
            request_id: &admitted.request_id,
            now: self.clock.now(),
            wall: self.clock.wall(),
        };
        match operations::perform(&mut context) {
            Ok(done) => {
                if operation.class() == Class::Write {
                    state.history.accepted(operation);
                    state.history.change(admitted.seq, |call| {
                        call.accepted = true;
                        call.job_id = done.job_id.map(Into::into);
                    });
                }
                (done.reply, None)
            }
            Err(error) => (
                Reply::error(Some(admitted.service), &error, &admitted.request_id),
                Some(error),
            ),
        }
    }

    /// Completes the history entry of a call.
    fn finish(
        &self,
        admitted: &Admitted,
        outcome: Result<(Reply, Option<AwsError>), AwsError>,
        damage: Damage,
    ) -> Answer {
        let (reply, error) = match outcome {
            Ok((reply, error)) => (reply, error),
            Err(error) => (Reply::error(None, &error, ""), Some(error)),
        };
        let status = (damage != Damage::Reset).then_some(reply.status);
        let code = error.map(|error| error.code);
        let names = admitted.request.names();
        info!(
            seq = admitted.seq,
            operation = %admitted.request.route.operation,
            account = %admitted.caller.account,
            region = admitted.region,
            app = names.app,
            environment = names.environment,
            resource = names.resource,
            status,
            error = code,
            fault = ?admitted.action,
            "request"
        );
        let mut state = self.state.lock();
        state.history.change(admitted.seq, |call| {
            call.status = status;
            call.error = code.map(Into::into);
            call.in_flight = false;
        });
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        Answer {
            reply,
            request_id: Some(admitted.request_id.clone()),
            damage,
        }
    }
}

/// Waits in real time, because clients measure their timeouts in real time.
async fn hang(released: &mut watch::Receiver<u64>, duration: Option<Duration>) {
    let release = released.changed();
    // Both ends are a release. A closed channel means that the simulator stops.
    match duration {
        None => drop(release.await),
        Some(duration) => drop(tokio::time::timeout(duration, release).await),
    }
}

impl Admitted {
    fn subject(&self) -> Subject<'_> {
        subject(&self.request, self.service, &self.caller, &self.region)
    }
}

fn subject<'a>(request: &'a Request, service: Service, caller: &'a Caller, region: &'a str) -> Subject<'a> {
    let Names {
        app,
        environment,
        source_environment,
        resource,
    } = request.names();
    Subject {
        service: Some(service),
        operation: request.route.operation,
        account: Some(&caller.account),
        region: Some(region),
        app,
        environment,
        source_environment,
        resource,
    }
}

/// Parses a request. If the body is unreadable, the names in the path are still returned.
fn take_apart(service: Service, incoming: &Incoming) -> (Request, Option<AwsError>) {
    if service == Service::Sts {
        return (operations::route_sts(&incoming.body, &incoming.query), None);
    }
    let (input, error) = match Input::parse(&incoming.body) {
        Ok(input) => (input, None),
        Err(error) => (Input::default(), Some(error)),
    };
    let request = Request {
        route: route::route(service, incoming.method.as_str(), &incoming.path),
        input,
        query: Query(path::pairs(&incoming.query, false).unwrap_or_default()),
    };
    (request, error)
}

fn guess(path: &str) -> Service {
    if path.starts_with("/backend") {
        Service::AmplifyBackend
    } else {
        Service::Amplify
    }
}

fn error_in_reply(admitted: &Admitted, error: &str) -> Reply {
    let names = admitted.request.names();
    let mut body = serde_json::json!({
        "appId": names.app,
        "backendEnvironmentName": names.environment,
        "error": error,
    });
    if admitted.request.route.operation.class() == Class::Write {
        body["operation"] = admitted.request.route.operation.as_str().into();
        body["status"] = "FAILED".into();
    }
    Reply::json(&body)
}

fn garbage(kind: Garbage, body: &Bytes) -> Bytes {
    const DEPTH: usize = 100_000;
    const LARGE: usize = 32 << 20;
    match kind {
        Garbage::Html => Bytes::from_static(b"<html><body><h1>200 OK</h1></body></html>"),
        Garbage::Empty => Bytes::new(),
        Garbage::NoMembers => Bytes::from_static(b"{}"),
        Garbage::InvalidUtf8 => Bytes::from_static(b"{\"jobId\":\"\xff\xfe\",\"appId\":\"\xc3\x28\"}"),
        Garbage::Deep => format!("{{\"a\":{}{}}}", "[".repeat(DEPTH), "]".repeat(DEPTH)).into(),
        Garbage::Large => {
            let text = String::from_utf8_lossy(body);
            let members = text.trim_end().strip_suffix('}').unwrap_or("{");
            let comma = if members.len() > 1 { "," } else { "" };
            format!("{members}{comma}\"padding\":\"{}\"}}", "x".repeat(LARGE)).into()
        }
    }
}
