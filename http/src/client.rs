//! One client: connections are used again, TLS by rustls with the system's roots, proxies as the
//! environment names them (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::header::{DATE, HeaderMap, PROXY_AUTHORIZATION, RETRY_AFTER};
use hyper::http::uri::Authority;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::{CertificateError, ClientConfig};
use tower_service::Service;

/// How long a connection may take to stand, and with TLS and by way of a proxy.
const CONNECT_MAX: Duration = Duration::from_secs(10);
const SECURE_MAX: Duration = Duration::from_secs(20);
/// How long a connection that nobody uses is kept.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// What is read of an answer: more than any message for people.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long the body of an answer is waited for.
const BODY_MAX: Duration = Duration::from_secs(2);
/// The longest that an answer may ask to be left alone.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// How long the other side asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The beginning of its body.
    pub body: Bytes,
}

impl Answer {
    /// Its body as one short line, for messages.
    pub fn line(&self) -> String {
        const CHARACTERS_MAX: usize = 200;
        let text = String::from_utf8_lossy(&self.body);
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARACTERS_MAX).collect();
        line.trim().to_string()
    }
}

/// Sends requests. Cloning gives another hand on the same connections.
#[derive(Clone)]
pub struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    proxies: Arc<Matcher>,
    /// For a whole request and its answer.
    timeout: Duration,
}

impl Client {
    /// A client for requests to one host; the error says why there is no TLS here, or which proxy cannot be used.
    pub fn new(to: &Uri, timeout: Duration) -> Result<Client, String> {
        let proxies = Arc::new(Matcher::from_env());
        usable_proxy(&proxies, to, |name| std::env::var(name).ok())?;
        let connector = Connector::new(to, proxies.clone())?;
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connector);
        Ok(Client { pool, proxies, timeout })
    }

    /// Sends one request. The error says, in words, why there was no answer.
    pub async fn send(&self, method: Method, url: &Uri, headers: HeaderMap, body: Bytes) -> Result<Answer, String> {
        let mut headers = headers;
        if url.scheme_str() == Some("http")
            && let Some(auth) = self.proxies.intercept(url).and_then(|proxy| proxy.basic_auth().cloned())
        {
            headers.insert(PROXY_AUTHORIZATION, auth);
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.clone();
        *request.headers_mut() = headers;
        let asked = async {
            let response = self.pool.request(request).await.map_err(|error| reason(&error))?;
            let status = response.status();
            let retry_after = retry_after(response.headers());
            Ok((status, retry_after, response.into_body()))
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok((status, retry_after, body))) => {
                // The status has decided; what is said beside it is worth a moment.
                let body = tokio::time::timeout(BODY_MAX, beginning(body)).await.unwrap_or_default();
                Ok(Answer { status, retry_after, body })
            }
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("no answer within {} s", self.timeout.as_secs())),
        }
    }
}

/// Whether what the environment names for an address is a proxy that can be used. All are spoken to in plain HTTP: one of
/// another scheme would be told its password in the clear. What is no address would be passed by in silence.
fn usable_proxy(proxies: &Matcher, url: &Uri, env: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    let host = url.host().unwrap_or_default();
    if let Some(proxy) = proxies.intercept(url) {
        return match proxy.uri().scheme_str() {
            Some("http") | None => Ok(()),
            Some(scheme) => Err(format!(
                "the environment names a proxy of `{scheme}://` for `{host}`: write one that is spoken to by `http://`"
            )),
        };
    }
    // There proxies are meant for nobody, or not for all.
    if ["REQUEST_METHOD", "NO_PROXY", "no_proxy"].iter().any(|name| env(name).is_some_and(|value| !value.is_empty())) {
        return Ok(());
    }
    let own =
        if url.scheme_str() == Some("https") { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    // Of a pair, the first that is set counts.
    let named = [own, ["ALL_PROXY", "all_proxy"]].into_iter().find_map(|pair| {
        let (name, value) = pair.into_iter().find_map(|name| Some((name, env(name)?)))?;
        (!value.trim().is_empty()).then_some(name)
    });
    match named {
        Some(name) => Err(format!("`{name}` names no proxy: write `http://host:port`")),
        None => Ok(()),
    }
}

/// How long to wait (RFC 9110, 10.2.3): a number of seconds, or until a date, by the clock of who answers.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(RETRY_AFTER)?;
    let wait = match asked.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) => RETRY_AFTER_MAX,
        Err(_) => {
            let now = httpdate::parse_http_date(text(DATE)?).ok()?;
            httpdate::parse_http_date(asked).ok()?.duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The beginning of a body. What breaks off is as long as it is.
async fn beginning(mut body: hyper::body::Incoming) -> Bytes {
    let mut bytes = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(&data[..data.len().min(ANSWER_BYTES_MAX - bytes.len())]);
        }
        if bytes.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    bytes.freeze()
}

/// The innermost cause, which is the one that a person can do something about.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let cause = innermost(error);
    match cause.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(wrong)) => refused(wrong),
        _ => cause.to_string(),
    }
}

fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    innermost(error).is::<rustls::Error>()
}

fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut cause = error;
    while let Some(inner) = made_from(cause).or_else(|| cause.source()) {
        cause = inner;
    }
    cause
}

/// What an error of input and output is made from, which is no source of it.
fn made_from<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a (dyn std::error::Error + 'static)> {
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(inner)
}

/// Why nobody may speak to who has such a certificate.
fn refused(wrong: &CertificateError) -> String {
    use CertificateError as Wrong;
    match wrong {
        Wrong::UnknownIssuer => "its certificate is of an authority that this host does not trust".to_string(),
        Wrong::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "its certificate is an authority's own, as of those that sign themselves, and no server's".to_string()
        }
        // With names and times, where they are known.
        other => format!("its certificate is not taken: {other}"),
    }
}

/// Connects, through a proxy where the environment names one for the destination.
#[derive(Clone)]
struct Connector {
    proxies: Arc<Matcher>,
    http: HttpConnector,
    /// For who speaks TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl Connector {
    fn new(to: &Uri, proxies: Arc<Matcher>) -> Result<Connector, String> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_MAX));
        http.set_nodelay(true);
        let tls = is_secure(to).then(tls).transpose()?;
        Ok(Connector { proxies, http, tls })
    }
}

fn is_secure(to: &Uri) -> bool {
    to.scheme_str() == Some("https")
}

/// TLS with the authorities that the system trusts.
fn tls() -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.with_native_roots().map_err(|_| no_roots(|name| std::env::var(name).ok()))?;
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// What is said where there is no certificate of an authority.
fn no_roots(env: impl Fn(&str) -> Option<String>) -> String {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(|name| Some((name, env(name)?)));
    let named: Vec<String> =
        named.filter(|(_, path)| !path.is_empty()).map(|(name, path)| format!("`{name}` (`{path}`)")).collect();
    let help = match named.is_empty() {
        true => "install `ca-certificates`, or name a file that may be read in `SSL_CERT_FILE`".to_string(),
        false => format!("they are looked for where {} says", named.join(" or ")),
    };
    format!("`https://` is checked by certificates of authorities, and none can be read here: {help}")
}

type Stream = Pin<Box<dyn Io>>;

/// What a connection can do.
trait Io: Read + Write + Connection + Send {}
impl<T: Read + Write + Connection + Send> Io for T {}

/// A connection, direct or to a proxy.
struct Link {
    stream: Stream,
    /// Whether requests on it name their destination, because a proxy reads them.
    is_proxied: bool,
}

impl Service<Uri> for Connector {
    type Response = Link;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Link, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    /// The pool lets connections that it does not need any more stand up by themselves: each has an end.
    fn call(&mut self, to: Uri) -> Self::Future {
        let proxy = self.proxies.intercept(&to);
        let (mut http, tls) = (self.http.clone(), self.tls.clone().filter(|_| is_secure(&to)));
        Box::pin(async move {
            if is_secure(&to) && tls.is_none() {
                return Err("this client was made for `http://`".into());
            }
            let by = proxy.as_ref().map(|proxy| proxy.uri().clone());
            let linking = async {
                match (proxy, tls) {
                    (None, None) => link(http.call(to), false).await,
                    (None, Some(tls)) => link(HttpsConnector::from((http, tls)).call(to), false).await,
                    (Some(proxy), None) => link(http.call(proxy.uri().clone()), true).await,
                    (Some(proxy), Some(tls)) => {
                        let mut tunnel = Tunnel::new(proxy.uri().clone(), http);
                        if let Some(auth) = proxy.basic_auth() {
                            tunnel = tunnel.with_auth(auth.clone());
                        }
                        link(HttpsConnector::from((tunnel, tls)).call(to), false).await
                    }
                }
            };
            let linked = tokio::time::timeout(SECURE_MAX, linking).await;
            let linked =
                linked.unwrap_or_else(|_| Err(format!("no connection within {} s", SECURE_MAX.as_secs()).into()));
            linked.map_err(|error| match by.as_ref().and_then(Uri::authority) {
                // Who has a certificate is the far end. Without what is before the `@`, which is a password.
                Some(by) if !is_of_tls(&*error) => {
                    format!("by the proxy `{}`: {}", address(by), reason(&*error)).into()
                }
                _ => error,
            })
        })
    }
}

/// A proxy's host and port.
fn address(of: &Authority) -> String {
    let port = of.port_u16().map(|port| format!(":{port}"));
    format!("{}{}", of.host(), port.unwrap_or_default())
}

async fn link<S, E>(connecting: impl Future<Output = Result<S, E>>, is_proxied: bool) -> Result<Link, Failure>
where
    S: Io + 'static,
    E: Into<Failure>,
{
    let stream = connecting.await.map_err(Into::into)?;
    Ok(Link { stream: Box::pin(stream), is_proxied })
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.is_proxied)
    }
}

impl Read for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(cx, into)
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, from)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::UnixTime;

    use super::*;

    /// Nobody listens at port 1.
    #[tokio::test]
    async fn a_proxy_that_fails_is_told_from_the_far_end() {
        let linked = |proxies: Matcher| async {
            let to = Uri::from_static("http://127.0.0.1:1/x");
            let mut connector = Connector::new(&to, Arc::new(proxies)).unwrap();
            connector.call(to).await.err().map(|error| reason(&*error))
        };
        let refused = "Connection refused (os error 111)";
        assert_eq!(linked(Matcher::builder().build()).await.unwrap(), refused);
        let proxied = linked(Matcher::builder().http("http://u:secret@127.0.0.1:1").build()).await;
        assert_eq!(proxied.unwrap(), format!("by the proxy `127.0.0.1:1`: {refused}"));
    }

    #[test]
    fn certificates_that_are_not_taken_are_told_in_words() {
        let told = |wrong: CertificateError| {
            let error = rustls::Error::InvalidCertificate(wrong);
            reason(&io::Error::other(io::Error::other(error)))
        };
        let untrusted = "its certificate is of an authority that this host does not trust";
        assert_eq!(told(CertificateError::UnknownIssuer), untrusted);
        let (time, not_after) = (UnixTime::since_unix_epoch(Duration::from_secs(20)), UnixTime::now());
        let expired = told(CertificateError::ExpiredContext { time, not_after });
        assert!(expired.starts_with("its certificate is not taken: ") && expired.contains("20"), "{expired}");
    }

    #[test]
    fn where_certificates_are_looked_for_is_told() {
        let none = no_roots(|_| None);
        assert!(none.contains("install `ca-certificates`"), "{none}");
        let named = no_roots(|name| (name == "SSL_CERT_DIR").then(|| "/x".into()));
        assert!(named.contains("they are looked for where `SSL_CERT_DIR` (`/x`) says"), "{named}");
    }

    #[test]
    fn proxies_that_cannot_be_used_are_told() {
        let of = |name: &'static str, value: &'static str, url: &'static str| {
            let builder = Matcher::builder();
            let proxies = match name {
                "HTTP_PROXY" => builder.http(value),
                "HTTPS_PROXY" => builder.https(value),
                _ => builder.all(value),
            };
            usable_proxy(&proxies.build(), &Uri::from_static(url), |asked| (asked == name).then(|| value.into()))
        };
        let secure = "https://far.example/x";
        for value in ["http://proxy:3128", "http://u:p@proxy:3128/", "proxy:3128", "10.0.0.1:8080", ""] {
            assert_eq!(of("HTTPS_PROXY", value, secure), Ok(()), "{value}");
        }
        let other =
            "the environment names a proxy of `socks5://` for `far.example`: write one that is spoken to by `http://`";
        assert_eq!(of("ALL_PROXY", "socks5://proxy:1080", secure), Err(other.into()));
        assert!(of("HTTPS_PROXY", "https://u:secret@proxy", secure).is_err_and(|why| !why.contains("secret")));
        // It is not used for this address.
        assert_eq!(of("HTTPS_PROXY", "https://proxy", "http://far.example/"), Ok(()));
        for value in ["::::not a url", "proxy:3128/path"] {
            let why = "`HTTP_PROXY` names no proxy: write `http://host:port`";
            assert_eq!(of("HTTP_PROXY", value, "http://far.example/"), Err(why.into()), "{value}");
        }
    }
}
