//! Pages of lists that fit into memory. May do: request a page again with fewer objects.
//!
//! A list is paged by number of objects, but users decide how large their objects are. A page is held as text, as JSON
//! and as objects at the same time, so a page of a hundred objects of 1.4 MB would need more memory than the whole
//! process may use.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, Uri, uri::PathAndQuery};
use http_body::Body;
use http_body_util::{BodyExt as _, Either, Full, combinators::UnsyncBoxBody};
use kube::client;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tower::{BoxError, Layer, Service, ServiceExt as _};

/// Upper limit of a page in bytes, unless the page is one object (etcd stores none above 1.5 MiB).
const MOST: usize = 2 << 20;
/// After a page smaller than this, the next page may have twice as many objects.
const HALF: usize = MOST / 2;
/// The size in bytes from which a page is large. Only [`AT_A_TIME`] large pages are read at a time, over all lists.
const LARGE: usize = MOST / 8;
/// How many large pages may be read at a time.
const AT_A_TIME: usize = 2;
/// The object count of a page that is too large is divided by this.
const LESS: u32 = 4;

/// A page that has been read.
type Page = UnsyncBoxBody<Bytes, Infallible>;

/// A layer that requests pages that are too large again with fewer objects, down to one. Lists of smaller objects are
/// not changed.
#[derive(Clone, Debug)]
pub struct Pages {
    /// Objects per page, for the paths where fewer fit than the client requested.
    fits: Arc<Mutex<HashMap<String, u32>>>,
    large: Arc<Semaphore>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            fits: Arc::default(),
            large: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }
}

impl Pages {
    fn fits(&self, path: &str, asked: u32) -> u32 {
        self.fits.lock().get(path).copied().unwrap_or(asked).min(asked)
    }

    fn set(&self, path: &str, fits: u32, asked: u32) {
        let mut all = self.fits.lock();
        if fits < asked {
            all.insert(path.to_owned(), fits);
        } else {
            all.remove(path);
        }
    }

    /// Returns the length and the body. Returns `None` and stops reading if the body is longer than `most`. A large
    /// body keeps its permit until it has been consumed.
    async fn read<B>(&self, mut body: B, most: usize) -> Result<Option<(usize, Page)>, BoxError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError> + Send,
    {
        let (mut bytes, mut turn) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(Into::into)?.into_data() {
                let length = bytes.len() + data.len();
                if length > most {
                    return Ok(None);
                }
                if length > LARGE && turn.is_none() {
                    turn = self.large.clone().acquire_owned().await.ok();
                }
                bytes.extend_from_slice(&data);
            }
        }
        let length = bytes.len();
        let page = Full::new(Bytes::from(bytes)).map_frame(move |frame| {
            let _kept = &turn;
            frame
        });
        Ok(Some((length, page.boxed_unsync())))
    }
}

impl<S> Layer<S> for Pages {
    type Service = Paged<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let pages = self.clone();
        Paged { inner, pages }
    }
}

/// A service that sends requests and returns pages that fit.
#[derive(Clone, Debug)]
pub struct Paged<S> {
    inner: S,
    pages: Pages,
}

impl<S, B> Service<Request<client::Body>> for Paged<S>
where
    S: Service<Request<client::Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Response = Response<Either<B, Page>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<client::Body>) -> Self::Future {
        let unready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, unready);
        let pages = self.pages.clone();
        Box::pin(async move {
            let Some(asked) = limit(&request) else {
                let response = inner.call(request).await.map_err(Into::into)?;
                return Ok(response.map(Either::Left));
            };
            let path = request.uri().path().to_owned();
            loop {
                let limit = pages.fits(&path, asked);
                let page = with_limit(&request, limit)?;
                let response = inner.ready().await.map_err(Into::into)?.call(page).await;
                let response = response.map_err(Into::into)?;
                if !response.status().is_success() {
                    return Ok(response.map(Either::Left));
                }
                let (parts, body) = response.into_parts();
                // A page of one object is accepted at any size.
                let most = if limit > 1 { MOST } else { usize::MAX };
                match pages.read(body, most).await? {
                    Some((length, page)) => {
                        if length < HALF {
                            pages.set(&path, limit.saturating_mul(2), asked);
                        }
                        return Ok(Response::from_parts(parts, Either::Right(page)));
                    }
                    None => pages.set(&path, (limit / LESS).max(1), asked),
                }
            }
        })
    }
}

const LIMIT: &str = "limit=";

/// Returns the number of objects that this request asks for, if it asks for a page of a list.
fn limit(request: &Request<client::Body>) -> Option<u32> {
    let query = request.uri().query().filter(|_| request.method() == Method::GET)?;
    query.split('&').find_map(|part| part.strip_prefix(LIMIT)?.parse().ok())
}

/// Copies the request, with another number of objects.
fn with_limit(request: &Request<client::Body>, limit: u32) -> Result<Request<client::Body>, BoxError> {
    let query: Vec<_> = request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|part| {
            if part.starts_with(LIMIT) {
                format!("{LIMIT}{limit}")
            } else {
                part.to_owned()
            }
        })
        .collect();
    let mut parts = request.uri().clone().into_parts();
    let path = format!("{}?{}", request.uri().path(), query.join("&"));
    parts.path_and_query = Some(PathAndQuery::try_from(path)?);
    let mut page = super::copy(request).ok_or("the body of a request for a list cannot be sent twice")?;
    *page.uri_mut() = Uri::from_parts(parts)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use http_body::Frame;
    use tower::service_fn;

    use super::*;

    /// Lists objects of these sizes. `continue` is the index of the first object not shown yet. Returns the limits that
    /// the server received, and the number of bytes that it returned.
    async fn list(pages: &Pages, sizes: &[usize], path: &str) -> (Vec<u32>, usize) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (told, all) = (asked.clone(), sizes.to_vec());
        let counted = Arc::new(AtomicUsize::new(0));
        let sent = counted.clone();
        let server = service_fn(move |request: Request<client::Body>| {
            let part = |name: &str| -> usize {
                let query = request.uri().query().unwrap_or_default().to_owned();
                let value = query.split('&').find_map(|part| part.strip_prefix(name));
                value.and_then(|value| value.parse().ok()).unwrap_or_default()
            };
            let (from, limit) = (part("continue="), part("limit="));
            told.lock().push(u32::try_from(limit).unwrap());
            let size = all.iter().skip(from).take(limit).sum();
            std::future::ready(Ok::<_, BoxError>(Response::new(Frames::of(size, &counted))))
        });
        let mut service = pages.layer(server);
        let (mut shown, mut from) = (0, 0);
        while from < sizes.len() {
            let uri = format!("/apis/{path}?&limit=100&continue={from}");
            let request = Request::get(uri).body(client::Body::empty()).unwrap();
            let response = service.ready().await.unwrap().call(request).await.unwrap();
            shown += response.into_body().collect().await.unwrap().to_bytes().len();
            from += usize::try_from(*asked.lock().last().unwrap()).unwrap();
        }
        let asked = asked.lock().clone();
        // A page that is too large is not read to its end.
        let given_up = asked.len() * (MOST + FRAME);
        assert!(sent.load(Ordering::Relaxed) <= shown + given_up, "{sent:?}");
        (asked, shown)
    }

    /// Bytes that a server sends at a time.
    const FRAME: usize = 16 * 1024;

    /// A body of this many bytes, sent in small frames as a server does.
    struct Frames {
        left: usize,
        sent: Arc<AtomicUsize>,
    }

    impl Frames {
        fn of(size: usize, sent: &Arc<AtomicUsize>) -> Self {
            let sent = sent.clone();
            Self { left: size, sent }
        }
    }

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let size = self.left.min(FRAME);
            self.left -= size;
            self.sent.fetch_add(size, Ordering::Relaxed);
            Poll::Ready((size > 0).then(|| Ok(Frame::data(Bytes::from(vec![b'x'; size])))))
        }
    }

    #[tokio::test]
    async fn large_pages_are_read_two_at_a_time_until_they_are_taken_and_small_ones_as_they_come() {
        let (pages, sent) = (Pages::default(), Arc::new(AtomicUsize::new(0)));
        let read = async |size| pages.read(Frames::of(size, &sent), MOST).await.unwrap();
        let (first, _second) = (read(MOST).await, read(LARGE + 1).await);
        let mut third = std::pin::pin!(read(MOST));
        assert!(futures::poll!(&mut third).is_pending());
        assert!(read(LARGE).await.is_some());
        let (_, first) = first.unwrap();
        let taken = first.collect().await.unwrap().to_bytes();
        assert_eq!(taken.len(), MOST);
        assert!(futures::poll!(&mut third).is_ready());
    }

    #[tokio::test]
    async fn a_list_of_small_objects_is_asked_for_as_it_was() {
        let sizes = vec![3_000; 250];
        let (asked, shown) = list(&Pages::default(), &sizes, "a").await;
        assert_eq!((asked, shown), (vec![100, 100, 100], 750_000));
    }

    #[tokio::test]
    async fn a_page_that_is_too_large_is_asked_for_with_fewer_objects_and_pages_grow_again() {
        let pages = Pages::default();
        let sizes: Vec<_> = [vec![1_400_000; 3], vec![2_000; 40]].concat();
        let (asked, shown) = list(&pages, &sizes, "a").await;
        // One large object at a time, then twice as many after each page that leaves room.
        assert_eq!(asked, [100, 25, 6, 1, 1, 1, 1, 2, 4, 8, 16, 32]);
        let (asked, _) = list(&pages, &[vec![1_400_000; 2], vec![300_000; 9]].concat(), "c").await;
        assert_eq!(asked, [100, 25, 6, 1, 1, 1, 2, 4, 4]);
        assert_eq!(shown, 3 * 1_400_000 + 40 * 2_000);
        // Another list is not changed.
        let (asked, _) = list(&pages, &[10; 10], "b").await;
        assert_eq!(asked, [100]);
    }

    #[tokio::test]
    async fn one_object_is_taken_however_large_it_is() {
        let (asked, shown) = list(&Pages::default(), &[3 * MOST], "a").await;
        assert_eq!((asked, shown), (vec![100, 25, 6, 1], 3 * MOST));
    }

    #[tokio::test]
    async fn what_is_no_page_of_a_list_and_what_is_refused_pass_as_they_are() {
        let server = service_fn(|request: Request<client::Body>| {
            let (uri, size) = (request.uri().to_string(), 2 * MOST);
            let status = if uri.contains("refused") { 403 } else { 200 };
            let body = Full::new(Bytes::from(vec![b'x'; size]));
            let response = Response::builder().status(status).header("uri", uri).body(body);
            std::future::ready(Ok::<_, BoxError>(response.unwrap()))
        });
        let mut service = Pages::default().layer(server);
        for (method, uri, status) in [
            (Method::GET, "/apis/a?watch=true", 200),
            (Method::GET, "/apis/a/b", 200),
            (Method::DELETE, "/apis/a?limit=100", 200),
            (Method::GET, "/apis/refused?limit=100", 403),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(uri)
                .body(client::Body::empty())
                .unwrap();
            let response = service.ready().await.unwrap().call(request).await.unwrap();
            assert_eq!(response.status(), status, "{uri}");
            assert_eq!(response.headers()["uri"], uri);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.len(), 2 * MOST, "{uri}");
        }
    }
}
