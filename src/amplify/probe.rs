//! Observes one call: whether its request was sent, and AWS's time in its answer.

use std::{sync::Arc, time::Duration};

use aws_sdk_amplify::operation::RequestId as _;
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef},
            dyn_dispatch_hint,
        },
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{DateTime, config_bag::ConfigBag, date_time::Format};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::clock::Clock;

/// The probe of one call: records whether the call handed its request to the HTTP client, and gives the clock the date
/// of the answer.
///
/// The SDK's errors do not tell the two cases apart: missing credentials and a reset connection are both dispatch
/// failures, and its timeouts cover both.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    clock: Arc<Clock>,
    /// The uptime when the request was last handed over.
    sent: Arc<Mutex<Option<Duration>>>,
}

impl Probe {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        Self {
            clock,
            sent: Arc::default(),
        }
    }

    /// Whether the request was handed over.
    pub(super) fn transmitted(&self) -> bool {
        self.sent.lock().is_some()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Probe {
    fn name(&self) -> &'static str {
        "Probe"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        *self.sent.lock() = Some(self.clock.uptime());
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        // A date from a proxy between the operator and AWS is not AWS's.
        if headers.request_id().is_some()
            && let Some(date) = headers.get("date").and_then(date)
            && let Some(sent) = *self.sent.lock()
        {
            self.clock.told(date, sent);
        }
        Ok(())
    }
}

fn date(text: &str) -> Option<Timestamp> {
    let time = DateTime::from_str(text, Format::HttpDate).ok()?;
    Timestamp::from_second(time.secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_and_garbage_is_no_date() {
        let read = date("Sun, 22 Nov 2026 10:00:00 GMT").map(|date| date.to_string());
        assert_eq!(read.as_deref(), Some("2026-11-22T10:00:00Z"));
        for garbage in [
            "",
            "now",
            "2026-11-22T10:00:00Z",
            "Sun, 99 Nov 2026 10:00:00 GMT",
            "1795341600",
            "Sun, 22 Nov 99999 10:00:00 GMT",
        ] {
            assert_eq!(date(garbage), None, "{garbage:?}");
        }
    }
}
