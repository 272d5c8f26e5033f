//! The connection: made in the background, watched, and checked at every (re)connection.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ServerAddr, jetstream};
use tokio::sync::{Mutex, watch};

use super::config::{Credentials, JetStreamConfig};
use super::live::Queues;
use super::version::{Verdict, judge};
use crate::{Connection, LogError};

/// A dead peer is noticed after three of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// The event log, dead letters and live fan-out on one NATS connection. Cloning is cheap and shares the connection.
#[derive(Clone)]
pub struct JetStreamBus {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) config: JetStreamConfig,
    pub(super) client: Client,
    pub(super) context: jetstream::Context,
    pub(super) connection: watch::Sender<Connection>,
    /// Why this server must not be used.
    pub(super) refusal: watch::Sender<Option<String>>,
    pub(super) queues: Arc<Queues>,
    /// When the stream of the log was made, in nanoseconds since 1970.
    pub(super) log_created: std::sync::Mutex<Option<i128>>,
    /// One task at a time makes streams.
    pub(super) making_streams: Mutex<()>,
}

impl std::fmt::Debug for JetStreamBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JetStreamBus").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// What the client's callback saw last.
#[derive(Clone, Copy, Default)]
struct Seen {
    up: bool,
    connects: u64,
}

impl JetStreamBus {
    /// Answers at once, with a handle whose [`connection`](crate::EventLog::connection) is down until a server was reached,
    /// its version is good and both streams are there; this is tried for ever, with growing delays. Wait for it with
    /// [`JetStreamBus::ready`]. `Err`: an address or a credentials file is unusable.
    pub async fn connect(config: JetStreamConfig) -> Result<Self, LogError> {
        let bad = |error: &dyn std::fmt::Display| LogError::Failed(format!("the settings for NATS: {error}"));
        let urls = config.urls.iter().map(|url| url.parse::<ServerAddr>()).collect::<Result<Vec<_>, _>>();
        let urls = urls.map_err(|error| bad(&error))?;
        let queues = Arc::new(Queues::default());
        let seen = watch::Sender::new(Seen::default());
        let watching = seen.subscribe();
        let options = options(&config, queues.clone(), seen).await.map_err(|error| bad(&error))?;
        let client = options.connect(urls).await.map_err(|error| bad(&error))?;
        let context = jetstream::ContextBuilder::new().timeout(config.request_timeout).build(client.clone());
        let connection = watch::Sender::new(Connection { up: false, epoch: 0 });
        let refusal = watch::Sender::new(None);
        let making_streams = Mutex::default();
        let log_created = std::sync::Mutex::default();
        let inner =
            Arc::new(Inner { config, client, context, connection, refusal, queues, log_created, making_streams });
        tokio::spawn(supervise(Arc::downgrade(&inner), watching));
        Ok(Self { inner })
    }

    /// Waits until the log can be used. `Err`: the server answered and must not be used.
    pub async fn ready(&self) -> Result<(), LogError> {
        let (mut connection, mut refusal) = (self.inner.connection.subscribe(), self.inner.refusal.subscribe());
        loop {
            if let Some(refusal) = refusal.borrow_and_update().clone() {
                return Err(LogError::Failed(refusal));
            }
            if connection.borrow_and_update().up {
                return Ok(());
            }
            // The senders live in `self`, so neither ends.
            tokio::select! {
                _ = connection.changed() => {}
                _ = refusal.changed() => {}
            }
        }
    }
}

impl Inner {
    /// Fails at once when a request would only wait in the client's queue, to be sent some time after a reconnect.
    pub(super) fn reachable(&self) -> Result<(), String> {
        if let Some(refusal) = self.refusal.borrow().clone() {
            return Err(refusal);
        }
        if self.client.connection_state() == State::Connected { Ok(()) } else { Err("not connected to NATS".into()) }
    }

    pub(super) fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }
}

async fn options(
    config: &JetStreamConfig,
    queues: Arc<Queues>,
    seen: watch::Sender<Seen>,
) -> std::io::Result<ConnectOptions> {
    let seen = Arc::new(seen);
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .retry_on_initial_connect()
        .ping_interval(PING_INTERVAL)
        .connection_timeout(Duration::from_secs(5))
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(8).min(8);
            Duration::from_millis(20 << doublings).min(Duration::from_secs(4))
        })
        .event_callback(move |event| {
            observe(&event, &queues, &seen);
            std::future::ready(())
        });
    if config.require_tls {
        options = options.require_tls(true);
    }
    if let Some(path) = &config.root_certificates {
        options = options.add_root_certificates(path.clone());
    }
    match &config.credentials {
        Credentials::None => Ok(options),
        Credentials::UserPassword { user, password } => Ok(options.user_and_password(user.clone(), password.clone())),
        Credentials::Token(token) => Ok(options.token(token.clone())),
        Credentials::File(path) => options.credentials_file(path).await,
    }
}

fn observe(event: &Event, queues: &Queues, seen: &watch::Sender<Seen>) {
    match event {
        Event::Connected => {
            seen.send_modify(|seen| *seen = Seen { up: true, connects: seen.connects + 1 });
            queues.reconnected(seen.borrow().connects);
        }
        Event::Disconnected | Event::Closed => {
            tracing::warn!("the connection to NATS is gone; reconnecting");
            seen.send_modify(|seen| seen.up = false);
        }
        // It does not say which subscription in a way that we could look up, so all are told.
        Event::SlowConsumer(_) => {
            tracing::warn!("a live subscription was too slow and lost messages");
            queues.lost();
        }
        Event::ServerError(error) => tracing::warn!(%error, "NATS reports an error"),
        Event::ClientError(error) => tracing::warn!(%error, "cannot reach NATS; trying again"),
        Event::LameDuckMode => tracing::info!("the NATS server is about to stop"),
        Event::Draining => {}
    }
}

/// After each (re)connection: is the server good, are the streams there? Then the log is up.
async fn supervise(inner: Weak<Inner>, mut seen: watch::Receiver<Seen>) {
    let mut checked = 0;
    let mut delay = Duration::ZERO;
    loop {
        let now = *seen.borrow_and_update();
        let Some(inner) = inner.upgrade() else { return };
        if !now.up || now.connects != checked {
            // A reconnection may come before its loss was looked at; the epoch tells the difference.
            inner.connection.send_if_modified(|connection| std::mem::replace(&mut connection.up, false));
        }
        let mut retry = false;
        if now.up && now.connects != checked {
            match check(&inner).await {
                Ok(()) => {
                    checked = now.connects;
                    delay = Duration::ZERO;
                    inner.connection.send_modify(|connection| {
                        *connection = Connection { up: true, epoch: connection.epoch + 1 };
                    });
                }
                Err(error) => {
                    delay = (delay * 2).clamp(Duration::from_millis(100), Duration::from_secs(5));
                    tracing::warn!(%error, "NATS is there, but the event log is not usable yet; trying again");
                    retry = true;
                }
            }
        }
        drop(inner);
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(delay), if retry => {}
        }
    }
}

async fn check(inner: &Inner) -> Result<(), LogError> {
    let version = inner.client.server_info().version;
    match judge(&version) {
        Verdict::Good => {}
        Verdict::Old(text) => tracing::warn!("{text}"),
        Verdict::TooOld(text) => {
            inner.refusal.send_replace(Some(text.clone()));
            return Err(LogError::Failed(text));
        }
    }
    inner.refusal.send_replace(None);
    inner.make_streams().await
}
