//! The client. The address is checked when the connection is made: what a name means may have changed since anybody looked.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, Client as HttpClient};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::Service;
use url::Url;

use crate::address::Networks;

const USER_AGENT: &str = concat!("sealpost/", env!("CARGO_PKG_VERSION"));
/// Read of an answer, so that its receiver need not be cut off in the middle. Nobody is shown any of it.
const MAX_ANSWER_BYTES: usize = 4096;
/// Addresses of one name that are tried.
const MAX_TRIED: usize = 4;

/// The addresses of a name.
pub type Found = io::Result<Vec<IpAddr>>;
/// Looks a name up. Tests have their own.
pub type Resolve = Arc<dyn Fn(String) -> BoxFuture<'static, Found> + Send + Sync>;

/// Sends requests. Cheap to clone. Each request has a connection of its own, so each is checked.
#[derive(Clone)]
pub struct Client {
    http: HttpClient<HttpsConnector<Connector>, Full<Bytes>>,
    timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("no client for webhooks can be made: {0}")]
pub struct ClientError(#[from] rustls::Error);

/// Why a request has no answer that counts, as its owner is told. It names no address that a name led to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the address leads into a network that webhooks may not reach")]
    Closed,
    #[error("the name of the host cannot be resolved")]
    UnknownHost,
    #[error("there was no answer in time")]
    Timeout,
    #[error("no connection could be made: {0}")]
    Connect(String),
    #[error("the connection broke off")]
    Broken,
    #[error("the address cannot be used")]
    Address,
}

impl Client {
    /// `timeout`: of a whole request, with looking the name up and reading the answer.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(networks: Networks, timeout: Duration) -> Result<Self, ClientError> {
        Self::resolving(networks, timeout, Arc::new(|host| Box::pin(look_up(host))))
    }

    /// The same with another way to look names up.
    pub fn resolving(networks: Networks, timeout: Duration, resolve: Resolve) -> Result<Self, ClientError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // An operator's own authority is known to the machine.
        let (_, _unreadable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = tls.with_root_certificates(roots).with_no_client_auth();
        let connector = Connector { networks: Arc::new(networks), resolve };
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let mut builder = HttpClient::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(0);
        Ok(Self { http: builder.build(https.wrap_connector(connector)), timeout })
    }

    /// Posts a JSON body. Any status is an answer; a redirection is one like the others.
    pub async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<StatusCode, SendError> {
        let uri: Uri = url.as_str().parse().map_err(|_| SendError::Address)?;
        let mut request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONNECTION, "close");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|_| SendError::Address)?;
        let answered = async {
            let answer = self.http.request(request).await.map_err(|error| told(&error))?;
            let status = answer.status();
            // What comes after the status has no say.
            let _ = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            Ok(status)
        };
        tokio::time::timeout(self.timeout, answered).await.unwrap_or(Err(SendError::Timeout))
    }
}

/// The innermost word that we know of the causes.
fn told(error: &legacy::Error) -> SendError {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    let mut innermost = String::new();
    while let Some(cause) = source {
        if let Some(refusal) = cause.downcast_ref::<ConnectError>() {
            return refusal.told();
        }
        innermost = cause.to_string();
        source = cause.source();
    }
    if error.is_connect() { SendError::Connect(innermost) } else { SendError::Broken }
}

async fn look_up(host: String) -> Found {
    Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
}

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("a closed network")]
    Closed,
    #[error("an unknown host")]
    UnknownHost,
    #[error("no host")]
    NoHost,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ConnectError {
    fn told(&self) -> SendError {
        match self {
            Self::Closed => SendError::Closed,
            Self::UnknownHost => SendError::UnknownHost,
            Self::NoHost => SendError::Address,
            // Without what the system adds to it, which may name an address.
            Self::Io(error) => SendError::Connect(error.kind().to_string()),
        }
    }
}

/// Looks up, checks, and connects to exactly what was checked.
#[derive(Clone)]
struct Connector {
    networks: Arc<Networks>,
    resolve: Resolve,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let literal: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let found = match literal {
            Some(address) => vec![address],
            None => (self.resolve)(host.to_owned()).await.map_err(|_| ConnectError::UnknownHost)?,
        };
        if found.is_empty() {
            return Err(ConnectError::UnknownHost);
        }
        let mut last = ConnectError::Closed;
        for address in found.into_iter().filter(|address| self.networks.permit(*address)).take(MAX_TRIED) {
            match TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => {
                    // One small request: nothing to wait for.
                    let _ = stream.set_nodelay(true);
                    return Ok(TokioIo::new(stream));
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { Ok(connector.connect(uri).await?) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers everybody the same, and counts who came.
    async fn server(at: &str, answer: String, endless: bool) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind(at).await.unwrap();
        let (address, came) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                tokio::spawn(async move {
                    read_request(&mut stream).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                    while endless && stream.write_all(&[b'x'; 4096]).await.is_ok() {}
                });
            }
        });
        (address, came)
    }

    /// All of it: whoever closes a connection with something unread resets it, and the answer may be lost.
    async fn read_request(stream: &mut TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"{}") && stream.read_buf(&mut request).await.is_ok_and(|bytes| bytes > 0) {}
    }

    fn ok(status: &str, headers: &str) -> String {
        format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: 0\r\n\r\n")
    }

    fn this_machine() -> Networks {
        Networks::allowing(vec!["127.0.0.1/32".parse().unwrap()])
    }

    fn client(networks: Networks) -> Client {
        Client::new(networks, Duration::from_secs(20)).unwrap()
    }

    async fn post(client: &Client, url: &str) -> Result<u16, SendError> {
        let url = Url::parse(url).unwrap();
        client.post(&url, &[("sealpost-delivery", "1".to_owned())], b"{}".to_vec()).await.map(|status| status.as_u16())
    }

    #[tokio::test]
    async fn attack_25_no_connection_is_made_into_a_closed_network() {
        let (address, came) = server("127.0.0.1:0", ok("200 OK", ""), false).await;
        let (strict, port) = (client(Networks::default()), address.port());
        for host in ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0", "[::ffff:127.0.0.1]", "localhost"]
        {
            assert_eq!(post(&strict, &format!("http://{host}:{port}/")).await, Err(SendError::Closed), "{host}");
        }
        assert_eq!(came.load(Ordering::SeqCst), 0);
        // The same server, where it is allowed.
        assert_eq!(post(&client(this_machine()), &format!("http://127.0.0.1:{port}/")).await, Ok(200));
        assert_eq!(came.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn attack_25_a_redirection_into_a_closed_network_is_not_followed() {
        let (inner, came) = server("127.0.0.2:0", ok("200 OK", ""), false).await;
        for status in ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"] {
            let to = format!("location: http://{inner}/\r\n");
            let (outer, _) = server("127.0.0.1:0", ok(status, &to), false).await;
            let answer = post(&client(this_machine()), &format!("http://{outer}/")).await;
            assert_eq!(answer, Ok(status[..3].parse().unwrap()));
        }
        assert_eq!(came.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn attack_25_a_name_that_changes_its_answer_gets_no_further() {
        let (inner, came) = server("127.0.0.2:0", ok("200 OK", ""), false).await;
        let outer = TcpListener::bind(("127.0.0.1", inner.port())).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = outer.accept().await {
                read_request(&mut stream).await;
                let _ = stream.write_all(ok("200 OK", "").as_bytes()).await;
            }
        });
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        // Good at the first look, bad at the second, both at the third.
        let resolve: Resolve = Arc::new(move |_| {
            let answer: &[&str] = match counter.fetch_add(1, Ordering::SeqCst) {
                0 => &["127.0.0.1"],
                1 => &["127.0.0.2"],
                _ => &["127.0.0.2", "127.0.0.1"],
            };
            let found: Vec<IpAddr> = answer.iter().map(|address| address.parse().unwrap()).collect();
            Box::pin(async move { Ok(found) })
        });
        let client = Client::resolving(this_machine(), Duration::from_secs(20), resolve).unwrap();
        let url = format!("http://rebinding.example:{}/", inner.port());
        assert_eq!(post(&client, &url).await, Ok(200));
        assert_eq!(post(&client, &url).await, Err(SendError::Closed));
        assert_eq!(post(&client, &url).await, Ok(200), "only the address that was checked is used");
        assert_eq!((asked.load(Ordering::SeqCst), came.load(Ordering::SeqCst)), (3, 0));
    }

    #[tokio::test]
    async fn attack_25_an_endless_answer_takes_little_and_a_slow_one_ends() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n".to_owned();
        let (endless, _) = server("127.0.0.1:0", head, true).await;
        assert_eq!(post(&client(this_machine()), &format!("http://{endless}/")).await, Ok(200));
        let quick = Client::new(this_machine(), Duration::from_millis(200)).unwrap();
        // It says that there is more and sends nothing; and one that says nothing at all.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = listener.local_addr().unwrap();
        assert_eq!(post(&quick, &format!("http://{silent}/")).await, Err(SendError::Timeout));
        drop(listener);
        assert!(matches!(post(&quick, &format!("http://{silent}/")).await, Err(SendError::Connect(_))));
    }

    #[tokio::test]
    async fn a_host_without_an_address_is_told_so() {
        let resolve: Resolve = Arc::new(|_| Box::pin(async { Err(io::Error::other("no such name")) }));
        let client = Client::resolving(this_machine(), Duration::from_secs(20), resolve).unwrap();
        assert_eq!(post(&client, "https://nowhere.example/").await, Err(SendError::UnknownHost));
    }
}
