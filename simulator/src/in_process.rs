//! The service without a socket, a thread or a clock of its own. The caller transports requests and answers.

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

/// The two Amplify APIs and STS, on a given clock. They wait on the tokio clock of the runtime that polls them.
#[derive(Clone, Debug)]
pub struct InProcess {
    shared: Arc<Shared>,
}

/// The result of a request.
#[derive(Debug)]
pub enum Delivery {
    /// An answer.
    Whole(Response<Bytes>),
    /// Half of an answer; then the connection breaks.
    Cut(Response<Bytes>),
    /// No answer; the connection breaks.
    Nothing,
}

impl InProcess {
    /// Creates the service with this configuration. `now` is the time by AWS's clock since the epoch. All random values
    /// come from the seed.
    pub fn new(config: &Config, now: impl Fn() -> Duration + Send + Sync + 'static, seed: u64) -> Self {
        let clock = Clock::new(move || crate::clock::millis(now()));
        Self {
            shared: Arc::new(Shared::new(config, clock, seed)),
        }
    }

    /// Returns the control of clock, settings, faults and all other changes that clients do not see.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(self.shared.clone())
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn history(&self) -> Calls {
        Calls::new(self.shared.clone())
    }

    /// Carries out a request and returns the result. If the caller polls this future to its end, a request that has
    /// arrived is carried out even when its client no longer waits for the answer.
    pub async fn answer(&self, request: Request<Bytes>) -> Delivery {
        let (head, body) = request.into_parts();
        let answer = self.shared.clone().answer(Incoming::new(head, body)).await;
        let damage = answer.damage;
        let mut response = server::whole(answer);
        let date = Timestamp::from_millisecond(self.shared.clock.wall()).unwrap_or_default();
        // An HTTP server adds this header too.
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
