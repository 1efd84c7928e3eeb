//! A small server: whole requests in, whole answers out. For `/info`, `/metrics`, `/health`.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

/// Connections at once; more wait.
const CONNECTIONS_MAX: usize = 256;
/// What a connection is read into; the head of a request has to fit in.
const BUFFER_BYTES: usize = 8 << 10;
/// What a request may carry.
const BODY_BYTES_MAX: usize = 1 << 20;
/// What all of them carry together, from their first byte until whoever was given them is done.
const BODIES_BYTES_MAX: usize = 2 << 20;
/// Bytes that a server holds for requests at most. A body that grows has room for twice as much as came.
pub const HELD_BYTES_MAX: usize = CONNECTIONS_MAX * BUFFER_BYTES + 2 * BODIES_BYTES_MAX;
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
    pub body: Body,
}

/// What a request carried. It has its room until it is dropped.
#[derive(Default)]
pub struct Body {
    bytes: BytesMut,
    room: Option<OwnedSemaphorePermit>,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
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
    let bodies = Arc::new(Semaphore::new(BODIES_BYTES_MAX));
    Ok(Serving(tokio::spawn(accept(listener, Desk { answers, bodies }))))
}

/// Where requests come to.
#[derive(Clone)]
struct Desk {
    answers: Arc<dyn Answers>,
    /// Room for their bodies, in bytes.
    bodies: Arc<Semaphore>,
}

async fn accept(listener: tokio::net::TcpListener, desk: Desk) {
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
        let desk = desk.clone();
        // Where many are here, who was answered makes room for others.
        let is_calm = room.available_permits() > CONNECTIONS_MAX / 2;
        connections.spawn(async move {
            let service = service_fn(move |request| one(desk.clone(), request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).keep_alive(is_calm);
            builder.max_buf_size(BUFFER_BYTES);
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

async fn one(desk: Desk, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let said = match desk.answers.knows(head.uri.path()) {
        true => answer(desk, head, body).await,
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

async fn answer(desk: Desk, head: Parts, body: Incoming) -> Said {
    let body = match tokio::time::timeout(BODY_MAX, read(body, &desk.bodies)).await {
        Ok(Ok(body)) => body,
        Ok(Err(said)) => return said,
        Err(_) => return Said::text(StatusCode::REQUEST_TIMEOUT, "the body did not come\n"),
    };
    let asked = Asked {
        method: head.method,
        path: head.uri.path().to_string(),
        query: head.uri.query().unwrap_or_default().to_string(),
        headers: head.headers,
        body,
    };
    let answer = tokio::time::timeout(ANSWER_MAX, desk.answers.answer(asked)).await;
    answer.unwrap_or_else(|_| Said::text(StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n"))
}

/// Reads so much of a body for nothing: whoever still sends it would have his connection reset, and no answer.
async fn pass_over(body: &mut Incoming, bytes_max: usize) {
    let mut bytes = 0;
    while bytes <= bytes_max
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// All of a body, as far as there is room; otherwise what is said instead.
async fn read(mut body: Incoming, room: &Arc<Semaphore>) -> Result<Body, Said> {
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Said::text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"));
    }
    let mut read = Body::default();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Said::text(StatusCode::BAD_REQUEST, "the body broke off\n")) };
        let Some(data) = frame.data_ref() else { continue };
        if read.bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(Said::text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"));
        }
        // Not waited for: those who wait for each other's would have none of it.
        let Ok(more) = room.clone().try_acquire_many_owned(data.len() as u32) else {
            let left = BODY_BYTES_MAX - read.bytes.len();
            drop(read);
            pass_over(&mut body, left).await;
            return Err(Said::text(StatusCode::SERVICE_UNAVAILABLE, "busy\n"));
        };
        match &mut read.room {
            Some(room) => room.merge(more),
            none => *none = Some(more),
        }
        read.bytes.extend_from_slice(data);
    }
    Ok(read)
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

    struct Taker;

    #[async_trait]
    impl Answers for Taker {
        async fn answer(&self, asked: Asked) -> Said {
            Said::text(StatusCode::OK, asked.body.len().to_string())
        }
    }

    /// Sends so many bytes of a body that is to have others.
    async fn sent(port: u16, bytes: usize, of: usize) -> TcpStream {
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {of}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![b'x'; bytes]).await.unwrap();
        client
    }

    /// What is answered, in the end.
    async fn until(port: u16, bytes: usize, status: &str) -> String {
        for _ in 0..500 {
            let mut text = String::new();
            let _ = sent(port, bytes, bytes).await.read_to_string(&mut text).await;
            if text.starts_with(&format!("HTTP/1.1 {status} ")) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {status}")
    }

    #[tokio::test]
    async fn bodies_have_so_much_room_together() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let _serving = serve(listener, Arc::new(Taker)).unwrap();
        let all_but_one = BODY_BYTES_MAX - 1;
        let mut stalled = Vec::new();
        for _ in 0..BODIES_BYTES_MAX / BODY_BYTES_MAX {
            stalled.push(sent(port, all_but_one, BODY_BYTES_MAX).await);
        }
        // They take what is left of the room before anybody else does.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(until(port, 1_000, "503").await.ends_with("busy\n"));
        stalled.clear();
        assert!(until(port, BODY_BYTES_MAX, "200").await.ends_with(&BODY_BYTES_MAX.to_string()));
        until(port, BODY_BYTES_MAX + 1, "413").await;
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
