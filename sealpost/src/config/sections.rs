//! The sections of the program itself.

use std::net::SocketAddr;

use sealpost_schema::Lifetimes;
use secrecy::SecretString;
use serde::Deserialize;

use super::secrets;

/// Section `[database]`: the pool of connections to Postgres.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Connections of this process at most.
    pub max_connections: u32,
    /// A request waits this long for a connection before it fails.
    pub acquire_timeout_seconds: u64,
    /// A connection without work is closed after this.
    pub idle_timeout_seconds: u64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { max_connections: 16, acquire_timeout_seconds: 5, idle_timeout_seconds: 600 }
    }
}

/// A smaller log would be full within minutes.
const MIN_LOG_BYTES: u64 = 64 * 1024 * 1024;

/// Section `[nats]`: the stream, and the way to the server.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// Copies of the event log: 1, or 3 or 5 in a cluster of as many servers.
    pub replicas: usize,
    /// Events older than this leave the log; by then they are in the database.
    pub max_age_days: u64,
    /// Size of the log at which appending fails, until something is old enough to go. 0: only the server's own bound.
    pub max_bytes: u64,
    /// An append without an answer after this has an unknown outcome.
    pub publish_timeout_ms: u64,
    /// Name and password, or a token, if they are not in `nats_url`.
    #[serde(deserialize_with = "secrets::optional_text")]
    pub user: Option<String>,
    #[serde(deserialize_with = "secrets::optional")]
    pub password: Option<SecretString>,
    #[serde(deserialize_with = "secrets::optional")]
    pub token: Option<SecretString>,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            replicas: 1,
            max_age_days: 7,
            max_bytes: 0,
            publish_timeout_ms: 5000,
            user: None,
            password: None,
            token: None,
        }
    }
}

/// Section `[log]`. Logs go to stderr.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, or a filter such as `info,sealpost_gateway=debug`. `RUST_LOG` goes before it.
    pub filter: String,
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Section `[retention]`: the same for all processes of a server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// What messages say is destroyed when they are so old; conversations may be set to less. 0: never.
    pub days: u32,
}

/// Section `[worker]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// A worker's `/healthz`, `/readyz` and `/metrics`. Port 0: none.
    pub listen: SocketAddr,
    /// A worker that was told to stop has this long to finish its batch.
    pub shutdown_seconds: u64,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), shutdown_seconds: 10 }
    }
}

impl DatabaseConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let keys = [
            ("max_connections", u64::from(self.max_connections)),
            ("acquire_timeout_seconds", self.acquire_timeout_seconds),
            ("idle_timeout_seconds", self.idle_timeout_seconds),
        ];
        at_least_one("database", &keys)
    }
}

impl NatsConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let keys = [("max_age_days", self.max_age_days), ("publish_timeout_ms", self.publish_timeout_ms)];
        let mut wrong = at_least_one("nats", &keys);
        if ![1, 3, 5].contains(&self.replicas) {
            wrong.push(format!("nats.replicas is {}: use 1, 3 or 5", self.replicas));
        }
        if (1..MIN_LOG_BYTES).contains(&self.max_bytes) || i64::try_from(self.max_bytes).is_err() {
            wrong.push(format!(
                "nats.max_bytes is {}: use 0 for no bound of its own, or {MIN_LOG_BYTES} or more",
                self.max_bytes
            ));
        }
        if self.user.is_some() != self.password.is_some() {
            wrong.push("nats.user and nats.password belong together: set both or none".to_owned());
        }
        if self.user.is_some() && self.token.is_some() {
            wrong.push("nats.token is set beside nats.user: keep the one that the server asks for".to_owned());
        }
        wrong
    }
}

impl RetentionConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let most = Lifetimes::RETENTION_DAYS.end();
        if self.days <= *most {
            return Vec::new();
        }
        vec![format!("retention.days is {}: use 1 to {most}, or 0 to keep everything", self.days)]
    }

    /// None: for ever.
    pub fn days(&self) -> Option<u32> {
        (self.days > 0).then_some(self.days)
    }
}

impl LogConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        match tracing_subscriber::EnvFilter::try_new(&self.filter) {
            Ok(_) => Vec::new(),
            Err(error) => {
                vec![format!("log.filter is `{}`: {error}; use `info`, or `info,sealpost_gateway=debug`", self.filter)]
            }
        }
    }
}

fn at_least_one(section: &str, keys: &[(&str, u64)]) -> Vec<String> {
    let zero = keys.iter().filter(|(_, value)| *value == 0);
    zero.map(|(key, _)| format!("{section}.{key} is 0: use 1 or more")).collect()
}
