//! A small server: whole requests in, whole answers out. For `/info`, `/metrics`, `/health`.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

/// Connections at once; more wait.
const CONNECTIONS_MAX: usize = 256;
/// What a request may carry.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a request's head may take, and how long a connection may say nothing.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long a request's body, and the answer to it, may take.
const BODY_MAX: Duration = Duration::from_secs(10);
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long a client may be waited for, all in all, until it has taken what it asked for.
const WRITE_MAX: Duration = Duration::from_secs(20);
/// How long a connection is kept at most, however busy it is.
const CONNECTION_MAX: Duration = Duration::from_secs(600);
/// How long nobody is let in after a connection could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is asked.
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What is said.
pub struct Said {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: Bytes,
}

impl Said {
    pub fn json(body: impl Into<Bytes>) -> Said {
        Said { status: StatusCode::OK, content_type: "application/json", body: body.into() }
    }

    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Said {
        Said { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    pub fn not_found() -> Said {
        Said::text(StatusCode::NOT_FOUND, "not found\n")
    }

    /// The path is there, but not for this method.
    pub fn not_allowed() -> Said {
        Said::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n")
    }
}

/// Answers requests.
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// Whether there is such a path. What is asked of others is not read.
    fn knows(&self, _path: &str) -> bool {
        true
    }

    async fn answer(&self, asked: Asked) -> Said;
}

/// A listening socket that nobody reads yet.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A server that answers until it is dropped.
pub struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins to answer; needs the runtime.
pub fn serve(listener: TcpListener, answers: Arc<dyn Answers>) -> io::Result<Serving> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok(Serving(tokio::spawn(accept(listener, answers))))
}

async fn accept(listener: tokio::net::TcpListener, answers: Arc<dyn Answers>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Connections end with the server: each is a task of this set.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let answers = answers.clone();
        // Where many are here, who was answered makes room for others.
        let is_calm = room.available_permits() > CONNECTIONS_MAX / 2;
        connections.spawn(async move {
            let service = service_fn(move |request| one(answers.clone(), request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).keep_alive(is_calm);
            // A client that breaks off is no news.
            let serving = builder.serve_connection(TokioIo::new(Impatient::new(stream, WRITE_MAX)), service);
            let _ = tokio::time::timeout(CONNECTION_MAX, serving).await;
            drop(permit);
        });
    }
}

/// A connection that ends where its client does not take what it is told: that is held as long.
struct Impatient {
    stream: TcpStream,
    write_max: Duration,
    /// Until when what was asked for last has to be taken, once it had to be waited for.
    until: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream, write_max: Duration) -> Impatient {
        Impatient { stream, write_max, until: None }
    }

    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.write_max)));
        until.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        // It asks for something else.
        if into.filled().len() > before {
            self.until = None;
        }
        read
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, from);
        self.bounded(cx, written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, from);
        self.bounded(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn one(
    answers: Arc<dyn Answers>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let said = match answers.knows(head.uri.path()) {
        true => answer(answers, head, body).await,
        // Whatever it brings.
        false => Said::not_found(),
    };
    let mut response = Response::new(Full::new(said.body));
    *response.status_mut() = said.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(said.content_type));
    if said.status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    Ok(response)
}

async fn answer(answers: Arc<dyn Answers>, head: Parts, body: Incoming) -> Said {
    match tokio::time::timeout(BODY_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Err(_) => Said::text(StatusCode::REQUEST_TIMEOUT, "the body did not come\n"),
        Ok(Ok(body)) => {
            let asked = Asked {
                method: head.method,
                path: head.uri.path().to_string(),
                query: head.uri.query().unwrap_or_default().to_string(),
                headers: head.headers,
                body: body.to_bytes(),
            };
            let answer = tokio::time::timeout(ANSWER_MAX, answers.answer(asked)).await;
            answer.unwrap_or_else(|_| Said::text(StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n"))
        }
        Ok(Err(_)) => Said::text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or broke off\n"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Writes more than buffers hold to a client that takes a part each 50 ms; whether it could, and what came.
    async fn told(part: usize) -> (bool, usize) {
        const MUCH: usize = 64 << 20;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = Impatient::new(stream, Duration::from_secs(2));
        let writing = tokio::spawn(async move { stream.write_all(&vec![b'x'; MUCH]).await.is_ok() });
        let (mut taken, mut some) = (0, vec![0; part.max(1)]);
        while !writing.is_finished() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if part > 0 {
                taken += client.read(&mut some).await.unwrap();
            }
        }
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest).await;
        (writing.await.unwrap(), taken + rest.len())
    }

    #[tokio::test]
    async fn who_does_not_take_what_it_asked_for_is_not_told_for_long() {
        let (is_told, bytes) = told(16 << 20).await;
        assert!(is_told && bytes == 64 << 20, "{bytes}");
        for slow in [0, 64 << 10] {
            let (is_told, bytes) = told(slow).await;
            assert!(!is_told && bytes < 32 << 20, "{slow}: {bytes}");
        }
    }
}
