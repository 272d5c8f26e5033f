//! A WebSocket client that checks the order of events by itself.

use std::fmt;
use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::view::View;
use crate::wait::{PATIENCE, within};

/// How to open a WebSocket.
#[derive(Clone)]
pub struct Connect {
    address: String,
    path: String,
    headers: Vec<(String, String)>,
    receive_buffer: Option<u32>,
    view: View,
}

/// A handshake that was not accepted.
pub struct Refused {
    /// 0: there was no answer.
    pub status: u16,
    pub body: Value,
    cause: String,
}

/// What comes next.
#[derive(Debug)]
pub enum Incoming {
    Frame(Value),
    /// With the code of the close frame, if there was one.
    Closed(Option<u16>),
}

impl Connect {
    /// `base`: `http://host:port`.
    pub fn to(base: &str) -> Self {
        Self {
            address: base.trim_start_matches("http://").to_owned(),
            path: "/ws".to_owned(),
            headers: Vec::new(),
            receive_buffer: None,
            view: View::default(),
        }
    }

    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Adds a header, or replaces it.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn without_token(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "authorization");
        self
    }

    /// A client that has little room for what it does not read.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Goes on with what was seen before.
    #[must_use]
    pub fn view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    pub async fn open(self) -> Result<Socket, Refused> {
        let mut request = format!("ws://{}{}", self.address, self.path).into_client_request().unwrap();
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let address: SocketAddr = self.address.parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let no_answer = |cause: String| Refused { status: 0, body: Value::Null, cause };
        let stream = socket.connect(address).await.map_err(|error| no_answer(error.to_string()))?;
        stream.set_nodelay(true).unwrap();
        let opened = tokio::time::timeout(PATIENCE, client_async(request, stream)).await;
        match opened.map_err(|_| no_answer("time-out".to_owned()))? {
            Ok((stream, _)) => Ok(Socket { stream, view: self.view }),
            Err(Error::Http(answer)) => {
                let body = answer.body().as_deref().unwrap_or_default();
                let status = answer.status().as_u16();
                let cause = String::from_utf8_lossy(body).into_owned();
                Err(Refused { status, body: serde_json::from_slice(body).unwrap_or(Value::Null), cause })
            }
            Err(error) => Err(no_answer(error.to_string())),
        }
    }

    /// Opens it and resumes from the view: what was missed is seen when this returns.
    pub async fn resume(self) -> Result<Socket, Refused> {
        let lost = |incoming| Refused { status: 0, body: Value::Null, cause: format!("{incoming:?}") };
        let mut socket = self.path("/ws?resume=true").open().await?;
        match socket.next().await {
            Incoming::Frame(frame) if frame["type"] == "ready" => {}
            other => return Err(lost(other)),
        }
        let (cursor, last_events) = (socket.view.cursor(), socket.view.last_events());
        if !socket.try_send(&json!({ "type": "resume", "cursor": cursor, "last_events": last_events })).await {
            return Err(lost(Incoming::Closed(None)));
        }
        loop {
            match socket.next().await {
                Incoming::Frame(frame) if frame["type"] == "resumed" => return Ok(socket),
                Incoming::Frame(_) => {}
                closed @ Incoming::Closed(_) => return Err(lost(closed)),
            }
        }
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the WebSocket was refused with status {}: {}", self.status, self.cause)
    }
}

/// An open WebSocket. Panics as soon as an event is out of order.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    pub view: View,
}

impl Socket {
    /// The next frame; pings are answered on the way. Panics when nothing comes.
    pub async fn next(&mut self) -> Incoming {
        loop {
            let message = within("a frame", self.stream.next()).await;
            match message {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
                    self.view.record(&frame);
                    return Incoming::Frame(frame);
                }
                Some(Ok(Message::Close(frame))) => return Incoming::Closed(frame.map(|frame| frame.code.into())),
                None | Some(Err(_)) => return Incoming::Closed(None),
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next frame of a connection that must stay open.
    pub async fn frame(&mut self) -> Value {
        match self.next().await {
            Incoming::Frame(frame) => frame,
            Incoming::Closed(code) => panic!("the connection was closed with {code:?}"),
        }
    }

    /// Reads up to the frame that fits.
    pub async fn wait_for(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                let frame = self.frame().await;
                if fits(&frame) {
                    return frame;
                }
            }
        };
        within(what, search).await
    }

    /// Reads up to the next frame of this type.
    pub async fn wait_for_type(&mut self, kind: &str) -> Value {
        self.wait_for(kind, |frame| frame["type"] == kind).await
    }

    /// Reads until this seq has been seen.
    pub async fn wait_for_seq(&mut self, conversation: &str, seq: u64) {
        let read = async {
            while self.view.seq(conversation) < seq {
                self.frame().await;
            }
        };
        within(&format!("seq {seq}"), read).await;
    }

    /// Reads up to the end of the connection; its code.
    pub async fn wait_for_close(&mut self) -> Option<u16> {
        let read = async {
            loop {
                if let Incoming::Closed(code) = self.next().await {
                    return code;
                }
            }
        };
        within("the connection's end", read).await
    }

    /// Reads `ready`, which must come first.
    pub async fn ready(&mut self) -> Value {
        let frame = self.frame().await;
        assert_eq!(frame["type"], "ready", "{frame}");
        self.view.start_at(&frame);
        frame
    }

    /// Reads `ready`, which must come first, of a connection that is to resume from anywhere.
    pub async fn ready_unseen(&mut self) {
        let frame = self.frame().await;
        assert_eq!(frame["type"], "ready", "{frame}");
    }

    pub async fn send(&mut self, frame: &Value) {
        assert!(self.try_send(frame).await, "the connection is gone");
    }

    /// False: the connection is gone.
    pub async fn try_send(&mut self, frame: &Value) -> bool {
        self.try_send_raw(Message::text(frame.to_string())).await
    }

    pub async fn try_send_raw(&mut self, message: Message) -> bool {
        self.stream.send(message).await.is_ok()
    }

    /// Below the WebSocket, for bytes that no client would send.
    pub fn tcp(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    /// Sends a message and waits for its ack.
    pub async fn say(&mut self, conversation: &str, client_message_id: &str, text: &str) -> Value {
        self.send(&message(conversation, client_message_id, text)).await;
        self.wait_for("an ack", |frame| {
            assert!(frame["type"] != "error" || frame["client_message_id"] != client_message_id, "{frame}");
            frame["type"] == "message_ack" && frame["client_message_id"] == client_message_id
        })
        .await
    }

    /// Sends a frame and waits for the problem that answers it.
    pub async fn refused(&mut self, frame: &Value) -> Value {
        self.send(frame).await;
        self.wait_for_type("error").await["problem"].clone()
    }

    /// Returns when everything that the server queued before has been read.
    pub async fn ping(&mut self) {
        let id = u64::from(uuid::Uuid::new_v4().as_fields().0);
        self.send(&json!({ "type": "ping", "id": id })).await;
        self.wait_for("pong", |frame| frame["type"] == "pong" && frame["id"] == id).await;
    }
}

/// A `message` frame.
pub fn message(conversation: &str, client_message_id: &str, text: &str) -> Value {
    json!({ "type": "message", "conversation_id": conversation, "client_message_id": client_message_id, "text": text })
}
