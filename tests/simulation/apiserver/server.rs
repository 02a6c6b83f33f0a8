//! The shell around the state: connections, delays, streams and faults, on tokio's clock. No thread, no I/O.
//!
//! All of it runs in the runtime in which the server was created. Clients may live in others. A task of the server
//! carries out each request that has arrived, even if its client gives up or is killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use http::{Request as HttpRequest, Response, header, request::Parts};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use tower::BoxError;

use super::{
    faults::{End, Faults, Odds, WatchEnd, WatchFate},
    refusal::Refusal,
    request::{Request, Verb},
    resource::Served,
    rights::Withdrawn,
    state::{Caller, Done, State, Write},
    store::Object,
    watch::{Cursor, Next},
};

/// The interval of a watch's bookmarks, and the time from the last bookmark to its end.
const BOOKMARK: Duration = Duration::from_mins(1);
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// How long a watch without a timeout is open.
const OPEN: Duration = Duration::from_mins(30);

/// The API server.
#[derive(Clone)]
pub(crate) struct Server(Arc<Inner>);

struct Inner {
    world: Mutex<World>,
    /// Notified when something changes that a watch may wait for. It wakes in the order of waiting; tokio's watch
    /// channel does not.
    news: Arc<Notify>,
    began: Instant,
    /// The runtime of the server's tasks.
    home: Handle,
    /// Notified whenever something is sent to a client.
    sent: Arc<Notify>,
    observer: Mutex<Option<Observer>>,
}

/// A function that gets each accepted write, before anything else happens.
type Observer = Box<dyn FnMut(&Write) + Send>;

struct World {
    state: State,
    faults: Faults,
    /// This server's time at the moment when its clock began.
    clock: Timestamp,
    is_up: bool,
    /// Counts the times at which all connections broke.
    breaks: u64,
    reach: BTreeMap<String, Reach>,
    /// The clients and plurals whose watches show nothing, although they stay open.
    silent: BTreeSet<(String, String)>,
    /// The delay of the later pages of a list, by plural.
    slow: BTreeMap<String, Duration>,
    requests: BTreeMap<Asked, u64>,
}

/// Whether a client reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Reached,
    /// Its connections break at once.
    Refused,
    /// Its connections stay, but nothing passes through.
    Silent,
}

/// A kind of request: the client, and the request's properties.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    pub(crate) who: String,
    pub(crate) verb: Verb,
    pub(crate) resource: String,
}

/// The reply to a request.
type Reply = Result<Response<Body>, BoxError>;

impl Server {
    /// Creates an empty cluster, at this time. Everything that follows is determined by the seed and the requests.
    pub(crate) fn new(seed: u64, clock: Timestamp) -> Self {
        let world = World {
            state: State::new(seed),
            faults: Faults::new(seed),
            clock,
            is_up: true,
            breaks: 0,
            reach: BTreeMap::new(),
            silent: BTreeSet::new(),
            slow: BTreeMap::new(),
            requests: BTreeMap::new(),
        };
        Self(Arc::new(Inner {
            world: Mutex::new(world),
            news: Arc::default(),
            began: Instant::now(),
            home: Handle::current(),
            sent: Arc::default(),
            observer: Mutex::default(),
        }))
    }

    /// Returns the notification of everything that is sent to a client.
    pub(crate) fn sent(&self) -> Arc<Notify> {
        self.0.sent.clone()
    }

    /// Passes each accepted write to this function from now on, before anything else happens. Writes are then not kept
    /// for [`take_history`](Self::take_history).
    pub(crate) fn observe(&self, observer: impl FnMut(&Write) + Send + 'static) {
        *self.0.observer.lock() = Some(Box::new(observer));
    }

    fn tell(&self, world: &mut World) {
        if let Some(observer) = &mut *self.0.observer.lock() {
            world.state.history.drain(..).for_each(|write| observer(&write));
        }
    }

    /// Returns a service from which a client of this name can be made.
    pub(crate) fn connection(&self, who: &str) -> Connection {
        Connection {
            server: self.clone(),
            who: who.into(),
            silence_limit: None,
        }
    }

    /// Returns a client of this name. It waits for a silent server without end: see [`Connection::giving_up_after`].
    pub(crate) fn client(&self, who: &str, default_namespace: &str) -> Client {
        Client::new(self.connection(who), default_namespace)
    }

    /// Sets the odds of faults from now on.
    pub(crate) fn set_odds(&self, odds: Odds) {
        self.0.world.lock().faults.odds = odds;
    }

    /// Returns the time of this server's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.time(&self.0.world.lock())
    }

    fn time(&self, world: &World) -> Timestamp {
        let passed = SignedDuration::try_from(self.0.began.elapsed()).unwrap_or(SignedDuration::MAX);
        world.clock.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// Moves this server's clock.
    pub(crate) fn step_clock(&self, by: SignedDuration) {
        let mut world = self.0.world.lock();
        world.clock = world.clock.saturating_add(by).unwrap_or(Timestamp::MAX);
    }

    /// Breaks all connections and refuses new ones. The stored state stays.
    pub(crate) fn go_down(&self) {
        self.change(|world| {
            world.is_up = false;
            world.breaks += 1;
        });
    }

    /// Brings the server back with an empty cache, which has no earlier changes.
    pub(crate) fn come_back(&self) {
        self.change(|world| {
            world.is_up = true;
            world.state.cache_begins = world.state.store.revision();
        });
    }

    /// Breaks all connections once.
    pub(crate) fn break_connections(&self) {
        self.change(|world| world.breaks += 1);
    }

    /// Sets whether this client's watches of this resource are silent. They stay open and do not end.
    pub(crate) fn set_silent(&self, who: &str, plural: &str, silent: bool) {
        self.change(|world| {
            let of = (who.to_owned(), plural.to_owned());
            if silent {
                world.silent.insert(of);
            } else {
                world.silent.remove(&of);
            }
        });
    }

    /// Sets the delay of later pages in lists of this resource.
    pub(crate) fn set_slow(&self, plural: &str, time: Duration) {
        self.change(|world| world.slow.insert(plural.to_owned(), time));
    }

    /// Sets whether this client reaches the server.
    pub(crate) fn set_reach(&self, who: &str, reach: Reach) {
        self.change(|world| {
            world.reach.insert(who.to_owned(), reach);
        });
    }

    /// Drops all history: a watch or a list from before is answered with 410.
    pub(crate) fn compact(&self) {
        self.change(|world| {
            let newest = world.state.store.revision();
            world.state.store.compact(newest);
            world.state.cache_begins = newest;
        });
    }

    /// Withdraws rights until they are given back.
    pub(crate) fn withdraw(&self, rights: Withdrawn) {
        self.change(|world| world.state.rights.withdraw(rights));
    }

    /// Gives withdrawn rights back.
    pub(crate) fn give_back(&self, rights: &Withdrawn) {
        self.change(|world| world.state.rights.give_back(rights));
    }

    /// Deletes a definition: its objects are deleted, and after the last one it is no longer served.
    pub(crate) fn remove_definition(&self, plural: &str) {
        let caller = self.caller("admin");
        self.change(|world| {
            if let Some(id) = world.state.table.plural(plural) {
                world.state.remove_definition(&caller, id);
            }
        });
    }

    /// Stops serving a definition and keeps its objects, as `served: false` does.
    pub(crate) fn hide_definition(&self, plural: &str) {
        self.set_served(plural, Served::No);
    }

    /// Serves a definition (again).
    pub(crate) fn serve_definition(&self, plural: &str) {
        self.set_served(plural, Served::Yes);
    }

    fn set_served(&self, plural: &str, served: Served) {
        self.change(|world| {
            if let Some(id) = world.state.table.plural(plural) {
                world.state.table.get_mut(id).served = served;
            }
        });
    }

    /// Returns all accepted writes since the last `take_history`, oldest first. Events that expire are not among them.
    pub(crate) fn history(&self) -> Vec<Write> {
        self.0.world.lock().state.history.clone()
    }

    /// Removes and returns the accepted writes, so that a long run need not keep them.
    pub(crate) fn take_history(&self) -> Vec<Write> {
        std::mem::take(&mut self.0.world.lock().state.history)
    }

    /// Returns the number of requests that have arrived, by client and kind.
    pub(crate) fn requests(&self) -> BTreeMap<Asked, u64> {
        self.0.world.lock().requests.clone()
    }

    /// Returns all objects of a resource in their stored form.
    pub(crate) fn objects(&self, plural: &str) -> Vec<Object> {
        let world = self.0.world.lock();
        let store = &world.state.store;
        let id = world.state.table.plural(plural);
        id.map_or_else(Vec::new, |id| store.list(id, None, store.revision(), None, 0).objects)
    }

    /// Returns a caller with the newest view.
    pub(super) fn caller(&self, who: &str) -> Caller {
        let world = self.0.world.lock();
        Caller {
            who: who.into(),
            now: self.time(&world),
            cached: world.state.store.revision(),
        }
    }

    /// Changes the state at once, and wakes the watches.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        self.change(|world| act(&mut world.state))
    }

    fn change<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.0.world.lock();
        let done = act(&mut world);
        self.tell(&mut world);
        drop(world);
        self.0.news.notify_waiters();
        done
    }

    async fn serve(self, who: Arc<str>, head: Parts, body: Bytes, mut reply: oneshot::Sender<Reply>) {
        match self.answer(&who, &head, body).await {
            // The client may have given up.
            Some(answer) => drop(reply.send(answer)),
            None => return reply.closed().await,
        }
        self.0.sent.notify_one();
    }

    /// Answers a request. None: no reply is sent, and the connection stays.
    async fn answer(&self, who: &Arc<str>, head: &Parts, body: Bytes) -> Option<Reply> {
        let (request, fate, breaks) = {
            let mut world = self.0.world.lock();
            if !world.is_up {
                return Some(Err(broken(io::ErrorKind::ConnectionRefused)));
            }
            let request = Request::read(head, body, &world.state.table);
            let mut slow = Duration::ZERO;
            if let Ok(request) = &request {
                let resource = world.state.table.get(request.resource).plural.clone();
                if request.verb == Verb::List && !request.options.continue_token.is_empty() {
                    slow = world.slow.get(&resource).copied().unwrap_or_default();
                }
                let (who, verb) = (who.to_string(), request.verb);
                *world.requests.entry(Asked { who, verb, resource }).or_default() += 1;
            }
            let mut fate = world.faults.fate(request.as_ref().ok().map(|it| it.verb));
            fate.delays[1] += slow;
            (request, fate, world.breaks)
        };
        pause(fate.delays[0]).await;
        match self.reach(who, breaks) {
            Reach::Reached => {}
            Reach::Refused => return Some(Err(broken(io::ErrorKind::ConnectionReset))),
            Reach::Silent => return None,
        }
        let is_done = match fate.end {
            End::Answered | End::Lost => true,
            End::Dropped | End::Throttled { .. } | End::Unavailable => false,
            End::Failed { done } | End::TimedOut { done } | End::Silent { done } => done,
        };
        let done = is_done.then(|| request.and_then(|request| self.carry_out(who, &request)));
        pause(fate.delays[1]).await;
        match self.reach(who, breaks) {
            Reach::Reached => {}
            Reach::Refused => return Some(Err(broken(io::ErrorKind::ConnectionReset))),
            Reach::Silent => return None,
        }
        let refusal = match fate.end {
            End::Answered => {
                return Some(match done? {
                    Ok(done) => Ok(self.reply(who, done, breaks)),
                    Err(refusal) => Ok(refused(&refusal)),
                });
            }
            End::Dropped | End::Lost => return Some(Err(broken(io::ErrorKind::ConnectionReset))),
            End::Throttled { seconds } => Refusal::too_many_requests(seconds),
            End::Failed { .. } => Refusal::internal("etcdserver: leader changed"),
            End::Unavailable => Refusal::unavailable(),
            End::TimedOut { .. } => Refusal::timeout("request did not complete within the allotted timeout".to_owned()),
            End::Silent { .. } => return None,
        };
        Some(Ok(refused(&refusal)))
    }

    fn reach(&self, who: &Arc<str>, breaks: u64) -> Reach {
        let world = self.0.world.lock();
        if world.breaks != breaks {
            return Reach::Refused;
        }
        world.reach.get(&**who).copied().unwrap_or(Reach::Reached)
    }

    fn carry_out(&self, who: &Arc<str>, request: &Request) -> Result<Done, Refusal> {
        let mut world = self.0.world.lock();
        let world = &mut *world;
        let store = &world.state.store;
        let cached = world.faults.cached(store.revision(), store.compacted());
        let before = store.revision();
        let caller = Caller {
            who: who.clone(),
            now: self.time(world),
            cached,
        };
        let done = world.state.handle(&caller, request);
        self.tell(world);
        if world.state.store.revision() != before {
            self.0.news.notify_waiters();
        }
        done
    }

    fn reply(&self, who: &Arc<str>, done: Done, breaks: u64) -> Response<Body> {
        match done {
            Done::Object(code, object) => response(code, Body::from(object.to_string())),
            Done::Body(body) => response(200, Body::from(body)),
            Done::Watch(cursor) => {
                let fate = self.0.world.lock().faults.watch();
                let lines = Lines::new(self.clone(), who.clone(), *cursor, fate, breaks);
                let (shown, read) = mpsc::unbounded_channel();
                tokio::spawn(lines.show(shown));
                let lines = stream::unfold(read, |mut read| async move { Some((read.recv().await?, read)) });
                response(200, Body::from_stream(lines))
            }
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn broken(kind: io::ErrorKind) -> BoxError {
    io::Error::new(kind, "the model breaks the connection").into()
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let mut response = response(refusal.code, Body::from(refusal.body()));
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if refusal.plain {
        let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
    }
    response
}

fn response(code: u16, body: Body) -> Response<Body> {
    let response = Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, "application/json");
    response.body(body).expect("the parts are valid")
}

/// A client's connection to the server.
#[derive(Clone)]
pub(crate) struct Connection {
    server: Server,
    who: Arc<str>,
    silence_limit: Option<Duration>,
}

impl Connection {
    /// Makes the client give up after a silence of this length, as kube's client does by its `read_timeout`.
    pub(crate) const fn giving_up_after(mut self, silence: Duration) -> Self {
        self.silence_limit = Some(silence);
        self
    }
}

impl tower::Service<HttpRequest<kube::client::Body>> for Connection {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Reply>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<kube::client::Body>) -> Self::Future {
        let Self {
            server,
            who,
            silence_limit,
        } = self.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let (reply, answer) = oneshot::channel();
            let home = server.0.home.clone();
            home.spawn(server.serve(who, head, body, reply));
            let answer = within(silence_limit, answer).await.ok_or_else(timed_out)?;
            let reply = answer.unwrap_or_else(|_| Err(broken(io::ErrorKind::ConnectionReset)))?;
            Ok(reply.map(|body| match silence_limit {
                Some(limit) => bounded(body, limit),
                None => body,
            }))
        }
        .boxed()
    }
}

async fn within<T>(limit: Option<Duration>, it: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, it).await.ok(),
        None => Some(it.await),
    }
}

fn timed_out() -> BoxError {
    broken(io::ErrorKind::TimedOut)
}

/// Returns a body that fails after a silence of this length.
fn bounded(body: Body, limit: Duration) -> Body {
    let bytes = stream::unfold(Some(body.into_data_stream()), move |stream| async move {
        let mut stream = stream?;
        match within(Some(limit), stream.next()).await {
            Some(Some(Ok(bytes))) => Some((Ok::<_, BoxError>(bytes), Some(stream))),
            Some(Some(Err(error))) => Some((Err(error.into()), None)),
            Some(None) => None,
            None => Some((Err(timed_out()), None)),
        }
    });
    Body::from_stream(bytes)
}

/// The lines of a watch, each sent at its time.
struct Lines {
    server: Server,
    who: Arc<str>,
    cursor: Cursor,
    fate: WatchFate,
    breaks: u64,
    deadline: Instant,
    ends: Option<(Instant, WatchEnd)>,
    /// The time of the last shown change. No later change is shown before it.
    shown: Instant,
    /// The time at which to show the next change.
    due: Option<Instant>,
    bookmark: Instant,
    /// Whether the last line has been shown.
    over: bool,
}

/// The next act of a watch.
enum Act {
    Show(Vec<u8>),
    Break,
    End,
    Wait(Option<Instant>),
}

impl Lines {
    fn new(server: Server, who: Arc<str>, cursor: Cursor, fate: WatchFate, breaks: u64) -> Self {
        let now = Instant::now();
        let open = cursor.timeout_seconds.map_or(OPEN, Duration::from_secs);
        let deadline = now + open;
        Self {
            ends: fate.end.map(|(after, end)| (now + after, end)),
            server,
            who,
            cursor,
            fate,
            breaks,
            deadline,
            shown: now,
            due: None,
            bookmark: deadline
                .checked_sub(BOOKMARK_BEFORE_END)
                .unwrap_or(now)
                .min(now + BOOKMARK),
            over: false,
        }
    }

    /// Sends the lines until the last one, or until the reader is gone.
    async fn show(mut self, reader: mpsc::UnboundedSender<Result<Bytes, BoxError>>) {
        loop {
            let line = tokio::select! {
                biased;
                () = reader.closed() => return,
                line = self.next() => line,
            };
            let is_last = line.as_ref().is_none_or(Result::is_err);
            if let Some(line) = line {
                // The reader may be gone.
                let _ = reader.send(line);
            }
            if is_last {
                drop(reader);
                self.server.0.sent.notify_one();
                return;
            }
            self.server.0.sent.notify_one();
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        let news = self.server.0.news.clone();
        loop {
            let mut changed = std::pin::pin!(news.notified());
            changed.as_mut().enable();
            match self.act() {
                Act::Show(line) => return Some(Ok(line.into())),
                Act::Break => {
                    self.over = true;
                    return Some(Err(broken(io::ErrorKind::ConnectionReset)));
                }
                Act::End => return None,
                Act::Wait(until) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(until.unwrap_or(self.deadline)), if until.is_some() => {}
                },
            }
        }
    }

    fn act(&mut self) -> Act {
        if self.over {
            return Act::End;
        }
        let now = Instant::now();
        let world = self.server.0.world.lock();
        let state = &world.state;
        match world.reach.get(&*self.who).copied().unwrap_or(Reach::Reached) {
            Reach::Refused => return Act::Break,
            Reach::Silent => return Act::Wait(None),
            Reach::Reached if world.breaks != self.breaks => return Act::Break,
            Reach::Reached => {}
        }
        let plural = &state.table.get(self.cursor.resource).plural;
        if world.silent.iter().any(|(who, of)| **who == *self.who && of == plural) {
            return Act::Wait(None);
        }
        let end = self.ends.filter(|(at, _)| *at <= now).map(|(_, end)| end);
        match end {
            None => {}
            Some(WatchEnd::Closed) => return Act::End,
            Some(WatchEnd::Cut) => return Act::Break,
            Some(WatchEnd::Silent) => return Act::Wait(None),
            Some(WatchEnd::Torn) => {
                // The connection breaks after this line.
                self.ends = Some((now, WatchEnd::Cut));
                let mut line = self.cursor.bookmark(&state.table);
                line.truncate(line.len() / 2);
                return Act::Show(line);
            }
            Some(WatchEnd::Expired) => {
                self.over = true;
                let refusal = Refusal::expired("The resourceVersion for the provided watch is too old.".to_owned());
                let line = format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", refusal.status());
                return Act::Show(line.into_bytes());
            }
        }
        if state.table.get(self.cursor.resource).served == Served::No || now >= self.deadline {
            return Act::End;
        }
        let due = match self.cursor.look(&state.store) {
            Next::Now => Some(now),
            Next::End => return Act::End,
            Next::Change => {
                let (fate, shown) = (&mut self.fate, self.shown);
                Some(*self.due.get_or_insert_with(|| shown.max(now + fate.lag())))
            }
            Next::Nothing => None,
        };
        if due.is_some_and(|due| due <= now)
            && let Some((line, is_last)) = self.cursor.take(&state.store, &state.table)
        {
            self.due = None;
            self.shown = now;
            self.over = is_last;
            return Act::Show(line);
        }
        if self.cursor.bookmarks && now >= self.bookmark {
            self.bookmark = now + BOOKMARK;
            return Act::Show(self.cursor.bookmark(&state.table));
        }
        let bookmark = self.cursor.bookmarks.then_some(self.bookmark);
        let times = [Some(self.deadline), self.ends.map(|(at, _)| at), due, bookmark];
        Act::Wait(times.into_iter().flatten().min())
    }
}
