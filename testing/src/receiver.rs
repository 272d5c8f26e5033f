//! A receiver of webhooks for tests: real requests over a real socket, kept as they came, and answered as a test says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::http::{Request, read_request};
use crate::wait::eventually;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    /// By name in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// Null if it is not JSON.
    pub json: Value,
    /// What it was answered with; none: it was not answered.
    pub status: Option<u16>,
}

/// How a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// Status 302.
    Redirect(String),
    /// Not at all: the connection stays open until [`Receiver::let_go`].
    Hold,
}

type Decide = Box<dyn Fn(&Received) -> Answer + Send>;

/// Ends with the test.
pub struct Receiver {
    /// `http://127.0.0.1:<port>`
    pub url: String,
    state: Arc<Mutex<State>>,
    held: Arc<tokio::sync::Notify>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    received: Vec<Received>,
    decide: Decide,
    /// Requests that have come and are not answered yet, by conversation.
    open: HashMap<String, usize>,
    /// Of one conversation at the same time, at most.
    most_at_once: usize,
    connections: usize,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1").await
    }

    /// At another address of this machine.
    pub async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            received: Vec::new(),
            decide: Box::new(|_| Answer::Status(204)),
            open: HashMap::new(),
            most_at_once: 0,
            connections: 0,
        };
        let (state, held) = (Arc::new(Mutex::new(state)), Arc::new(tokio::sync::Notify::new()));
        let (shared, holding) = (Arc::clone(&state), Arc::clone(&held));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                lock(&shared).connections += 1;
                // A client that goes in the middle has its reasons.
                tokio::spawn(converse(stream, Arc::clone(&shared), Arc::clone(&holding)));
            }
        });
        Self { url, state, held, task }
    }

    /// Answers from now on as this says.
    pub fn answer(&self, decide: impl Fn(&Received) -> Answer + Send + 'static) {
        self.state().decide = Box::new(decide);
    }

    /// Ends what was held.
    pub fn let_go(&self) {
        self.held.notify_waiters();
    }

    /// What has come so far, in the order in which it came.
    pub fn received(&self) -> Vec<Received> {
        self.state().received.clone()
    }

    /// The events that were taken, in the order of their requests: conversation and event. A batch that was refused does not count.
    pub fn taken(&self) -> Vec<(String, Value)> {
        let received = self.received();
        let taken = received.iter().filter(|one| one.status.is_some_and(|status| status < 300));
        taken.flat_map(Received::events).collect()
    }

    /// The seqs of one conversation that were taken.
    pub fn seqs(&self, conversation: &str) -> Vec<u64> {
        let taken = self.taken().into_iter().filter(|(of, _)| of == conversation);
        taken.map(|(_, event)| event["seq"].as_u64().unwrap()).collect()
    }

    /// Waits until this seq of the conversation was taken.
    pub async fn took(&self, conversation: &str, seq: u64) {
        let what = format!("seq {seq} of {conversation} at the receiver");
        eventually(&what, async || self.seqs(conversation).contains(&seq).then_some(())).await;
    }

    /// Waits until so many requests have come.
    pub async fn came(&self, requests: usize) {
        eventually(&format!("{requests} requests at the receiver"), async || {
            (self.state().received.len() >= requests).then_some(())
        })
        .await;
    }

    /// How many requests of one conversation were open at the same time, at most.
    pub fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    pub fn connections(&self) -> usize {
        self.state().connections
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Received {
    /// Conversation and event of each.
    pub fn events(&self) -> Vec<(String, Value)> {
        let conversation = self.json["conversation_id"].as_str().unwrap_or_default().to_owned();
        let events = self.json["events"].as_array().cloned().unwrap_or_default();
        events.into_iter().map(|event| (conversation.clone(), event)).collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn converse(mut stream: TcpStream, state: Arc<Mutex<State>>, held: Arc<tokio::sync::Notify>) -> Option<()> {
    let (mut read, mut write) = stream.split();
    let Request { line, headers, body } = read_request(&mut read).await?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let conversation = json["conversation_id"].as_str().unwrap_or_default().to_owned();
    let answer = {
        let mut state = lock(&state);
        let mut received = Received { path, headers, body, json, status: None };
        let answer = (state.decide)(&received);
        received.status = match &answer {
            Answer::Status(status) => Some(*status),
            Answer::Redirect(_) => Some(302),
            Answer::Hold => None,
        };
        state.received.push(received);
        let open = state.open.entry(conversation.clone()).or_default();
        *open += 1;
        let open = *open;
        state.most_at_once = state.most_at_once.max(open);
        answer
    };
    let let_go = held.notified();
    // Time for a second request of the conversation, if there is a defect that makes one.
    tokio::task::yield_now().await;
    let text = match answer {
        Answer::Status(status) => format!("HTTP/1.1 {status} x\r\n"),
        Answer::Redirect(to) => format!("HTTP/1.1 302 x\r\nlocation: {to}\r\n"),
        Answer::Hold => {
            // Until the test lets go or the client does.
            let mut rest = [0; 1];
            tokio::select! {
                () = let_go => {}
                _ = read.read(&mut rest) => {}
            }
            String::new()
        }
    };
    if let Some(open) = lock(&state).open.get_mut(&conversation) {
        *open -= 1;
    }
    if text.is_empty() {
        return None;
    }
    write.write_all(format!("{text}connection: close\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.ok()
}
