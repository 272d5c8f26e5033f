//! A back end with its own folder, which can be restarted and killed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sealpost_bus::embedded::{EmbeddedBus, EmbeddedConfig, EmbeddedLive};
use sealpost_bus::jetstream::{JetStreamBus, JetStreamConfig};
use sealpost_bus::{Append, Appended, ConsumerConfig, EventLog, Live, Position, Subject};
use tempfile::TempDir;

/// A test that waits for something that never comes ends here.
pub async fn limited(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_mins(2), test).await.expect("the test ends within two minutes");
}

/// Live subscriptions of the fixtures hold so many messages.
pub const LIVE_QUEUE: usize = 8;

pub enum Backend {
    Embedded { folder: TempDir, config: EmbeddedConfig, bus: EmbeddedBus, live: EmbeddedLive },
    JetStream { server: NatsServer, config: JetStreamConfig, bus: JetStreamBus },
}

impl Backend {
    pub async fn embedded() -> Self {
        Self::embedded_with(|_| {}).await
    }

    #[expect(clippy::unused_async, reason = "as its twin")]
    pub async fn embedded_with(change: impl FnOnce(&mut EmbeddedConfig)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = EmbeddedConfig::new(folder.path());
        change(&mut config);
        let bus = EmbeddedBus::open(config.clone()).unwrap();
        Self::Embedded { folder, config, bus, live: EmbeddedLive::new(LIVE_QUEUE) }
    }

    pub async fn jetstream() -> Self {
        Self::jetstream_with(|_| {}).await
    }

    pub async fn jetstream_with(change: impl FnOnce(&mut JetStreamConfig)) -> Self {
        let server = NatsServer::start();
        let mut config = JetStreamConfig::new(server.url());
        config.live_queue = LIVE_QUEUE;
        change(&mut config);
        let bus = JetStreamBus::connect(config.clone()).await.unwrap();
        bus.ready().await.unwrap();
        Self::JetStream { server, config, bus }
    }

    pub fn log(&self) -> &dyn EventLog {
        match self {
            Self::Embedded { bus, .. } => bus,
            Self::JetStream { bus, .. } => bus,
        }
    }

    pub fn live(&self) -> &dyn Live {
        match self {
            Self::Embedded { live, .. } => live,
            Self::JetStream { bus, .. } => bus,
        }
    }

    /// Ends the log's process in order and starts it again.
    pub async fn restart(&mut self) {
        self.restart_with_age(None).await;
    }

    /// The same, with another age limit.
    pub async fn restart_with_age(&mut self, age: Option<Duration>) {
        match self {
            Self::Embedded { config, bus, .. } => {
                config.max_age = age.unwrap_or(config.max_age);
                bus.close().await;
                *bus = EmbeddedBus::open(config.clone()).unwrap();
            }
            Self::JetStream { server, config, bus } => {
                config.max_age = age.unwrap_or(config.max_age);
                config.duplicate_window = config.duplicate_window.min(config.max_age);
                server.stop();
                server.start_again();
                *bus = JetStreamBus::connect(config.clone()).await.unwrap();
                bus.ready().await.unwrap();
            }
        }
    }

    /// After [`NatsServer::kill`] or the end of a child process that held the folder.
    pub async fn reopen(&mut self) {
        match self {
            Self::Embedded { config, bus, .. } => *bus = EmbeddedBus::open(config.clone()).unwrap(),
            Self::JetStream { server, bus, .. } => {
                server.start_again();
                bus.ready().await.unwrap();
            }
        }
    }

    pub fn folder(&self) -> &Path {
        match self {
            Self::Embedded { folder, .. } => folder.path(),
            Self::JetStream { server, .. } => server.folder.path(),
        }
    }
}

pub fn subject(text: &str) -> Subject {
    Subject::new(text).unwrap()
}

pub fn append(on: &str, id: &str, expected: Option<u64>) -> Append {
    Append {
        subject: subject(on),
        id: id.into(),
        expected: expected.map(Position),
        payload: id.as_bytes().to_vec().into(),
    }
}

pub async fn put(log: &dyn EventLog, on: &str, id: &str) -> Position {
    let Appended { position, duplicate } = log.append(append(on, id, None)).await.unwrap();
    assert!(!duplicate, "{id}");
    position
}

pub async fn put_many(log: &dyn EventLog, on: &str, count: usize) -> Vec<Position> {
    let mut positions = Vec::new();
    for n in 0..count {
        positions.push(put(log, on, &format!("{on}-{n}")).await);
    }
    positions
}

pub fn consumer(name: &str) -> ConsumerConfig {
    ConsumerConfig { name: name.into(), ack_wait: Duration::from_secs(30), max_deliver: 5, max_ack_pending: 1000 }
}

/// A real nats-server on a free port with its own folder; killed when dropped.
pub struct NatsServer {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl NatsServer {
    pub fn start() -> Self {
        // The port could be taken between this and the server's start; then the test says so.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { folder: TempDir::new().unwrap(), port, child: None };
        server.start_again();
        server
    }

    pub fn start_again(&mut self) {
        let child = Command::new(binary())
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"])
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server starts");
        self.child = Some(child);
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn stop(&mut self) {
        self.signal("TERM");
        self.child.take().unwrap().wait().unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }

    /// Returns when no thread of the server runs any more: a thread on another core goes on for a moment after the signal.
    pub fn pause(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.child.as_ref().unwrap().id());
        let is_stopped = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            text.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        // Without /proc there is nothing to look at.
        while let Ok(mut tasks) = std::fs::read_dir(&tasks) {
            if tasks.all(|task| is_stopped(task.unwrap())) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn binary() -> PathBuf {
    let path = std::env::var_os("NATS_SERVER")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/nats-server"), PathBuf::from);
    assert!(path.is_file(), "there is no nats-server at {}: run `make tools`, or set NATS_SERVER", path.display());
    path
}
