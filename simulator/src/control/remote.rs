//! A client of the control API for a simulator in another process. It sends one plain HTTP/1.1 request per connection:
//! that needs no HTTP library, and control calls are rare.

use std::{io, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::AppState;
use crate::{
    config::Settings,
    faults::{Fault, JobFault},
    history::{Call, Filter},
    server::CONTROL_PREFIX,
};

/// Controls a simulator in another process. [`call`](Self::call) makes calls that have no method of their own.
#[derive(Clone, Debug)]
pub struct RemoteControl {
    authority: String,
}

/// The error of a control call.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The simulator could not be reached.
    #[error("cannot reach the simulator")]
    Connection(#[from] io::Error),
    /// The call was refused.
    #[error("the simulator answered {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// The answer cannot be parsed.
    #[error("cannot read the simulator's answer")]
    Unreadable(#[from] serde_json::Error),
}

impl RemoteControl {
    /// Creates a client for a URL such as `http://127.0.0.1:4566`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let authority = url.trim_start_matches("http://").trim_end_matches('/');
        Self {
            authority: authority.to_owned(),
        }
    }

    /// Moves the simulated clock forward.
    pub async fn advance(&self, by: Duration) -> Result<(), RemoteError> {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.call::<Value>("POST", "/clock/advance", &json!({ "millis": millis }))
            .await
            .map(drop)
    }

    /// Replaces the settings.
    pub async fn set_settings(&self, settings: &Settings) -> Result<(), RemoteError> {
        self.call::<Value>("PUT", "/settings", settings).await.map(drop)
    }

    /// Orders a fault.
    pub async fn fault(&self, fault: &Fault) -> Result<(), RemoteError> {
        self.call::<Value>("POST", "/faults", fault).await.map(drop)
    }

    /// Orders how jobs go.
    pub async fn job_fault(&self, fault: &JobFault) -> Result<(), RemoteError> {
        self.call::<Value>("POST", "/job-faults", fault).await.map(drop)
    }

    /// Removes all rules.
    pub async fn clear_faults(&self) -> Result<(), RemoteError> {
        self.call::<Value>("DELETE", "/faults", &json!({})).await.map(drop)
    }

    /// Lets every hanging request continue.
    pub async fn release(&self) -> Result<(), RemoteError> {
        self.call::<Value>("POST", "/release", &json!({})).await.map(drop)
    }

    /// Returns the current state of all apps.
    pub async fn apps(&self) -> Result<Vec<AppState>, RemoteError> {
        self.call("GET", "/apps", &json!({})).await
    }

    /// Returns the calls that match a filter. The client filters, not the server.
    pub async fn history(&self, filter: &Filter) -> Result<Vec<Call>, RemoteError> {
        let mut calls: Vec<Call> = self.call("GET", "/history", &json!({})).await?;
        calls.retain(|call| filter.admits(call));
        Ok(calls)
    }

    /// Makes any control call. `path` has no prefix.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, RemoteError> {
        let body = serde_json::to_vec(body)?;
        let head = format!(
            "{method} {CONTROL_PREFIX}{path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: \
             application/json\r\ncontent-length: {}\r\n\r\n",
            self.authority,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.authority).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let (status, body) = split(&answer)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP with a length"))?;
        if status >= 300 {
            return Err(RemoteError::Refused {
                status,
                body: String::from_utf8_lossy(body).into_owned(),
            });
        }
        Ok(serde_json::from_slice(body)?)
    }
}

/// Splits an answer into status and body. The control API always sends a length, never chunks.
fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, &answer[end + 4..]))
}
