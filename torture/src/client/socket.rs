//! A WebSocket that reports what comes and judges nothing.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// The server pings every two seconds in these runs; who hears nothing for so long is cut off.
pub const SILENCE: Duration = Duration::from_secs(6);
const HANDSHAKE: Duration = Duration::from_secs(5);

pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    silence: Duration,
}

pub enum Opened {
    Socket(Box<Socket>),
    /// The token is not good any more.
    Unauthenticated,
    NoAnswer,
}

/// Opens `/ws?resume=true` at `http://host:port`. The connection counts as lost when nothing is heard for so long.
pub async fn open(base: &str, token: &str, silence: Duration) -> Opened {
    let address = base.trim_start_matches("http://");
    let opening = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let _ = stream.set_nodelay(true);
        let mut request = format!("ws://{address}/ws?resume=true").into_client_request().ok()?;
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().ok()?);
        Some(client_async(request, stream).await)
    };
    match tokio::time::timeout(HANDSHAKE, opening).await {
        Ok(Some(Ok((stream, _)))) => Opened::Socket(Box::new(Socket { stream, silence })),
        Ok(Some(Err(Error::Http(answer)))) if answer.status() == 401 => Opened::Unauthenticated,
        _ => Opened::NoAnswer,
    }
}

impl Socket {
    /// The next frame. `Err`: the connection has ended, or nothing was heard for too long; with the close code, if there was one.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let message = tokio::time::timeout(self.silence, self.stream.next()).await.map_err(|_| None)?;
            match message {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).map_err(|_| None),
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                None | Some(Err(_)) => return Err(None),
                Some(Ok(_)) => {}
            }
        }
    }

    pub async fn send(&mut self, frame: &Value) -> Result<(), Option<u16>> {
        let sent = tokio::time::timeout(self.silence, self.stream.send(Message::text(frame.to_string()))).await;
        sent.map_err(|_| None)?.map_err(|_| None)
    }
}
