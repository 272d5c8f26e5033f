//! One authenticated WebSocket connection, without TLS: the servers that are measured listen on loopback or in a private
//! network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;

use crate::wire::Ready;

pub type Socket = WebSocketStream<TcpStream>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Small: it is zeroed before every read, and holds more than a window of messages.
pub const BUSY_BUFFER: usize = 8 << 10;
pub const IDLE_BUFFER: usize = 256;

/// Where clients come from. To a server on loopback the load generator's users are as many machines, like real users,
/// so that limits per address meet the addresses they are made for.
#[derive(Clone, Copy)]
pub struct Source(pub usize);

impl Source {
    pub const COUNT: usize = 250;

    pub fn address(self, url: &Url) -> Option<IpAddr> {
        let loopback = matches!(url.host(), Some(url::Host::Ipv4(host)) if host.is_loopback());
        let last = u8::try_from(1 + self.0 % Self::COUNT).unwrap_or(1);
        loopback.then_some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
    }
}

/// Live events from now on.
pub const LIVE: &str = "/ws";
/// They wait for a `resume` frame.
pub const RESUME: &str = "/ws?resume=true";

/// Connects and waits for the `ready` frame.
pub async fn connect(
    url: &Url,
    path: &str,
    source: Source,
    token: &str,
    buffer: usize,
) -> anyhow::Result<(Socket, Ready)> {
    tokio::time::timeout(CONNECT_TIMEOUT, connect_in_time(url, path, source, token, buffer))
        .await
        .context("no `ready` frame within 30 s")?
        .with_context(|| format!("cannot connect to {url}"))
}

async fn connect_in_time(
    url: &Url,
    path: &str,
    source: Source,
    token: &str,
    buffer: usize,
) -> anyhow::Result<(Socket, Ready)> {
    let stream = open(url, source).await?;
    stream.set_nodelay(true)?;
    let mut target = url.join(path)?;
    if target.set_scheme("ws").is_err() {
        bail!("only http:// URLs can be measured");
    }
    let mut request = target.as_str().into_client_request()?;
    request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
    let config = WebSocketConfig::default().read_buffer_size(buffer).write_buffer_size(64 << 10);
    let (mut socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    loop {
        match socket.next().await.context("closed before `ready`")?? {
            Message::Text(text) => {
                let ready = Ready::parse(&text).with_context(|| format!("got `{text}` instead of `ready`"))?;
                return Ok((socket, ready));
            }
            Message::Close(frame) => bail!("closed before `ready`: {frame:?}"),
            _ => {}
        }
    }
}

async fn open(url: &Url, source: Source) -> anyhow::Result<TcpStream> {
    let host = url.host_str().context("the URL has no host")?.trim_matches(['[', ']']);
    let port = url.port_or_known_default().context("the URL has no port")?;
    if let Some(from) = source.address(url) {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(from, 0))?;
        return Ok(socket.connect(SocketAddr::new(host.parse()?, port)).await?);
    }
    Ok(TcpStream::connect((host, port)).await?)
}
