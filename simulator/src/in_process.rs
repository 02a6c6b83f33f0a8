//! The service without a socket, a thread or a clock of its own: whoever has it carries the requests and the answers.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderValue, Request, Response, header};
use bytes::Bytes;
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use crate::{
    Calls, Control,
    clock::Clock,
    config::Config,
    server,
    service::{Damage, Incoming, Shared},
};

/// The two Amplify APIs and STS, on a clock that is given. It waits on tokio's clock: in the runtime that polls it.
#[derive(Clone, Debug)]
pub struct InProcess {
    shared: Arc<Shared>,
}

/// What comes back of a request.
#[derive(Debug)]
pub enum Delivery {
    /// An answer.
    Whole(Response<Bytes>),
    /// Half of an answer; then the connection breaks.
    Cut(Response<Bytes>),
    /// The connection breaks.
    Nothing,
}

impl InProcess {
    /// With this configuration. `now` is the time by AWS's clock since the epoch; all that is left to chance comes from
    /// the seed.
    pub fn new(config: &Config, now: impl Fn() -> Duration + Send + Sync + 'static, seed: u64) -> Self {
        let clock = Clock::new(move || crate::clock::millis(now()));
        Self {
            shared: Arc::new(Shared::new(config, clock, seed)),
        }
    }

    /// Clock, settings, faults, and whatever else happens behind a client's back.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(self.shared.clone())
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn history(&self) -> Calls {
        Calls::new(self.shared.clone())
    }

    /// Carries a request out, and says what comes back. A request that has arrived is carried out though nobody waits
    /// for the answer any more, if this future is polled to its end.
    pub async fn answer(&self, request: Request<Bytes>) -> Delivery {
        let (head, body) = request.into_parts();
        let answer = self.shared.clone().answer(Incoming::new(head, body)).await;
        let damage = answer.damage;
        let mut response = server::whole(answer);
        let date = Timestamp::from_millisecond(self.shared.clock.wall()).unwrap_or_default();
        // As an HTTP server does.
        if let Ok(date) = DateTimePrinter::new().timestamp_to_rfc9110_string(&date)
            && let Ok(date) = HeaderValue::from_str(&date)
        {
            response.headers_mut().insert(header::DATE, date);
        }
        match damage {
            Damage::None => Delivery::Whole(response),
            Damage::Truncate => {
                let body = response.body_mut();
                body.truncate(body.len() / 2);
                Delivery::Cut(response)
            }
            Damage::Reset => Delivery::Nothing,
        }
    }
}
