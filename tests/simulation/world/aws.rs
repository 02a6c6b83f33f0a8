//! The way from an operator to AWS: the SDK's HTTP client, a network that delays, drops and loses requests, and the
//! simulator.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use amplify_simulator::{Delivery, InProcess};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use axum::body::Bytes;
use fastrand::Rng;
use http::{HeaderValue, Request, header};
use http_body_util::{Full, Limited};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::sleep,
};

use super::line::{Fate, Line};

/// The probability of each fault, from 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Odds {
    /// The request or the answer takes up to `longest`.
    pub(crate) delayed: f64,
    pub(crate) longest: Duration,
    /// The connection breaks before the request has arrived.
    pub(crate) dropped: f64,
    /// The connection breaks, and the request arrives up to `latest` later.
    pub(crate) late: f64,
    pub(crate) latest: Duration,
    /// The answer is lost.
    pub(crate) lost: f64,
}

impl Odds {
    /// Odds with every fault now and then. A request arrives within 30 s, or never.
    pub(crate) const ROUGH: Self = Self {
        delayed: 0.15,
        longest: Duration::from_secs(20),
        dropped: 0.03,
        late: 0.02,
        latest: Duration::from_secs(30),
        lost: 0.04,
    };
}

/// AWS, and the network before it.
#[derive(Clone)]
pub(crate) struct Cloud(Arc<Inner>);

struct Inner {
    aws: InProcess,
    network: Mutex<Network>,
    /// Notified when a region begins or ceases to hang.
    turned: Notify,
    home: Handle,
    /// Notified whenever something is sent to a client.
    sent: Arc<Notify>,
}

struct Network {
    rng: Rng,
    odds: Odds,
    /// Regions that do not answer.
    hanging: BTreeSet<String>,
}

impl Cloud {
    /// Creates the network. This runtime carries its requests. All random values come from the seed.
    pub(crate) fn new(aws: InProcess, seed: u64, home: Handle, sent: Arc<Notify>) -> Self {
        Self(Arc::new(Inner {
            aws,
            network: Mutex::new(Network {
                rng: Rng::with_seed(seed),
                odds: Odds::default(),
                hanging: BTreeSet::new(),
            }),
            turned: Notify::new(),
            home,
            sent,
        }))
    }

    pub(crate) fn set_odds(&self, odds: Odds) {
        self.0.network.lock().odds = odds;
    }

    /// Sets whether a region hangs.
    pub(crate) fn set_hanging(&self, region: &str, hangs: bool) {
        let all = &mut self.0.network.lock().hanging;
        if hangs {
            all.insert(region.to_owned());
        } else {
            all.remove(region);
        }
        self.0.turned.notify_waiters();
    }

    /// Returns the SDK's HTTP client for a machine.
    pub(crate) fn client(&self, line: Arc<Line>) -> Carrier {
        Carrier {
            cloud: self.clone(),
            line,
        }
    }

    async fn carry(self, request: Request<Bytes>, mut answer: oneshot::Sender<Delivery>) {
        let (delays, end) = self.0.network.lock().draw();
        sleep(delays[0]).await;
        let region = region(&request);
        // While its region hangs, the request has not arrived, and its client waits.
        loop {
            let mut turned = std::pin::pin!(self.0.turned.notified());
            turned.as_mut().enable();
            if !self.0.network.lock().hanging.contains(&region) {
                break;
            }
            tokio::select! {
                biased;
                () = turned => {}
                () = answer.closed() => return,
            }
        }
        let delivery = match end {
            End::Dropped => Delivery::Nothing,
            End::Late(by) => {
                self.hand_back(answer, Delivery::Nothing);
                sleep(by).await;
                drop(self.0.aws.answer(request).await);
                return;
            }
            End::Lost => {
                drop(self.0.aws.answer(request).await);
                Delivery::Nothing
            }
            End::Answered => self.0.aws.answer(request).await,
        };
        sleep(delays[1]).await;
        self.hand_back(answer, delivery);
    }

    fn hand_back(&self, answer: oneshot::Sender<Delivery>, delivery: Delivery) {
        // The client may have given up.
        let _ = answer.send(delivery);
        self.0.sent.notify_one();
    }
}

/// The end of a request's way.
enum End {
    Answered,
    Dropped,
    Late(Duration),
    Lost,
}

impl Network {
    fn draw(&mut self) -> ([Duration; 2], End) {
        let Self { rng, odds, .. } = self;
        let mut up_to = |longest: Duration| longest.mul_f64(rng.f64());
        let (delay, late) = (up_to(odds.longest), up_to(odds.latest));
        let mut delays = [Duration::ZERO; 2];
        if rng.f64() < odds.delayed {
            delays[rng.usize(0..2)] = delay;
        }
        let mut left = rng.f64();
        for (odds, end) in [
            (odds.dropped, End::Dropped),
            (odds.late, End::Late(late)),
            (odds.lost, End::Lost),
        ] {
            if left < odds {
                return (delays, end);
            }
            left -= odds;
        }
        (delays, End::Answered)
    }
}

/// Returns the region for which the request is signed.
fn region(request: &Request<Bytes>) -> String {
    let signed = request.headers().get("authorization");
    let signed = signed.and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Credential=KEY/DATE/REGION/SERVICE/aws4_request
    signed.split('/').nth(2).unwrap_or_default().to_owned()
}

/// Carries the requests of one machine.
#[derive(Clone)]
pub(crate) struct Carrier {
    cloud: Cloud,
    line: Arc<Line>,
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Carrier")
    }
}

impl HttpClient for Carrier {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Carrier {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { cloud, line } = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            let mut request = request.map(|body| Bytes::copy_from_slice(body.bytes().unwrap_or_default()));
            // An HTTP client sets this header too.
            let host = request.uri().host().and_then(|host| HeaderValue::from_str(host).ok());
            request.headers_mut().extend(host.map(|host| (header::HOST, host)));
            let fate = line.fate();
            if fate == Fate::KilledBefore {
                return line.die().await;
            }
            let (sender, answer) = oneshot::channel();
            cloud.0.home.spawn(cloud.clone().carry(request, sender));
            line.leave();
            if fate == Fate::KilledAfter {
                return line.die().await;
            }
            match answer.await {
                Ok(Delivery::Whole(response)) => taken(response, false),
                Ok(Delivery::Cut(response)) => taken(response, true),
                Ok(Delivery::Nothing) | Err(_) => Err(ConnectorError::io(broken().into())),
            }
        })
    }
}

fn taken(response: http::Response<Bytes>, is_cut: bool) -> Result<HttpResponse, ConnectorError> {
    let (head, body) = response.into_parts();
    let body = if is_cut {
        // An error replaces the last byte.
        let limit = body.len().saturating_sub(1);
        SdkBody::from_body_1_x(Limited::new(Full::new(body), limit))
    } else {
        SdkBody::from(body)
    };
    let status = StatusCode::try_from(head.status.as_u16()).map_err(|error| ConnectorError::user(error.into()))?;
    let mut taken = HttpResponse::new(status, body);
    for (name, value) in &head.headers {
        let value = value.to_str().unwrap_or_default().to_owned();
        taken.headers_mut().insert(name.as_str().to_owned(), value);
    }
    Ok(taken)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the network breaks the connection")
}
