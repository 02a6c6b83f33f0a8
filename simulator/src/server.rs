//! The listening side: connections, bodies, and the damage that faults do to them. It has no knowledge of AWS.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, StatusCode, header},
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming as IncomingBody, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tower_service::Service as _;
use tracing::debug;

use crate::service::{Answer, Damage, Incoming, Shared};

/// The largest accepted request: well above AWS's own limit.
const BODY_LIMIT: usize = 16 << 20;

/// The prefix of the control API. No AWS path has it.
pub(crate) const CONTROL_PREFIX: &str = "/_simulator";

/// Accepts connections until dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, control: Router) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(connection(stream, peer, shared.clone(), control.clone()));
            }
            Err(error) => {
                // Most likely a temporary lack of file descriptors.
                debug!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, control: Router) {
    // Small answers must not wait for the client's acknowledgements.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let reset = Arc::new(AtomicBool::new(false));
    let stream = Resettable {
        stream,
        reset: reset.clone(),
    };
    let service = service_fn(move |request: Request<IncomingBody>| {
        let (shared, control, reset) = (shared.clone(), control.clone(), reset.clone());
        async move {
            if request.uri().path().starts_with(CONTROL_PREFIX) {
                return Ok::<_, Reset>(controlled(control, peer.ip(), request).await);
            }
            match answered(shared, request).await {
                Some(answer) if answer.damage != Damage::Reset => {
                    if answer.damage == Damage::Truncate {
                        reset.store(true, Ordering::Relaxed);
                    }
                    Ok(response(answer))
                }
                _ => {
                    reset.store(true, Ordering::Relaxed);
                    Err(Reset)
                }
            }
        }
    });
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, %peer, "connection ended");
    }
}

async fn answered(shared: Arc<Shared>, request: Request<IncomingBody>) -> Option<Answer> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await.ok()?.to_bytes();
    let incoming = Incoming::new(head, body);
    // The request runs in a task of its own, so that a hanging request is carried out even if the client has closed the
    // connection. A service that has already received the request does the same.
    tokio::spawn(shared.answer(incoming)).await.ok()
}

async fn controlled(mut control: Router, peer: IpAddr, request: Request<IncomingBody>) -> Response<Body> {
    if !peer.to_canonical().is_loopback() {
        return status(StatusCode::FORBIDDEN);
    }
    let response: Result<Response<Body>, Infallible> = control.call(request.map(Body::new)).await;
    response.unwrap_or_else(|never| match never {})
}

fn response(answer: Answer) -> Response<Body> {
    let is_cut = answer.damage == Damage::Truncate;
    whole(answer).map(|body| Body::new(ReplyBody::new(body, is_cut)))
}

/// Returns the undamaged answer.
pub(crate) fn whole(answer: Answer) -> Response<Bytes> {
    let length = answer.reply.body.len();
    let mut response = Response::new(answer.reply.body);
    *response.status_mut() = StatusCode::from_u16(answer.reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(answer.reply.content_type),
    );
    headers.insert(header::CONTENT_LENGTH, length.into());
    if let Some(Ok(id)) = answer.request_id.as_deref().map(HeaderValue::from_str) {
        headers.insert("x-amzn-requestid", id);
    }
    if let Some(Ok(code)) = answer.reply.error_type.as_deref().map(HeaderValue::from_str) {
        headers.insert("x-amzn-errortype", code);
    }
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The error that ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset")]
struct Reset;

/// A stream that is closed with a reset, instead of an orderly end, if its flag is set.
struct Resettable {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed)
            && let Err(error) = self.stream.set_zero_linger()
        {
            debug!(%error, "cannot reset a connection");
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A whole body, or half of one followed by an error.
struct ReplyBody {
    bytes: Bytes,
    truncated: bool,
    flushed: bool,
}

impl ReplyBody {
    fn new(mut bytes: Bytes, truncated: bool) -> Self {
        if truncated {
            bytes.truncate(bytes.len() / 2);
        }
        Self {
            bytes,
            truncated,
            flushed: false,
        }
    }
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if !self.truncated {
            return Poll::Ready(None);
        }
        if !self.flushed {
            // The half must be sent before the error, which drops all buffered bytes.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(Reset)))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty() && !self.truncated
    }

    fn size_hint(&self) -> SizeHint {
        if self.truncated {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
