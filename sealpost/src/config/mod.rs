//! The configuration: a TOML file below environment variables, read by [`Loaded::load`], checked by [`Loaded::check`].
//!
//! Promised: an unknown key is a mistake, in the file and in the environment; all mistakes are reported at once, each with
//! its key, where it comes from and the way out; no secret is part of any text made here (`tests/config.rs`).
//! `sealpost.sample.toml` holds every key with its default.

mod layers;
mod mistakes;
mod read;
mod secrets;
mod sections;
mod show;
mod validate;

pub(crate) use secrets::{redact_url, split as split_keys};

pub use layers::Sources;
pub use mistakes::Mistakes;
pub use sections::{DatabaseConfig, LogConfig, LogFormat, NatsConfig, RetentionConfig, WorkerConfig};
pub use validate::Role;

use std::path::PathBuf;

use sealpost_gateway::{AuthConfig, GatewayConfig, LimitsConfig, MailConfig, OidcConfig, SearchConfig};
use sealpost_lane::LaneConfig;
use sealpost_outgoing::WebhooksConfig;
use sealpost_workers::WorkersConfig;
use secrecy::SecretString;
use serde::Deserialize;

use layers::Layers;

/// The commented sample, which is the defaults.
pub const SAMPLE: &str = include_str!("../../sealpost.sample.toml");

/// All settings. The names of the fields are the keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where `serve` keeps its database, its event log and its keys.
    pub data_dir: PathBuf,
    /// Postgres of a cluster.
    #[serde(deserialize_with = "secrets::optional")]
    pub database_url: Option<SecretString>,
    /// NATS of a cluster; several servers are separated by commas.
    #[serde(deserialize_with = "secrets::optional")]
    pub nats_url: Option<SecretString>,
    /// Master keys, newest first.
    #[serde(deserialize_with = "secrets::list")]
    pub fernet_keys: Vec<SecretString>,
    /// Keys of access tokens, newest first: the first one signs, all verify.
    #[serde(deserialize_with = "secrets::list")]
    pub signing_keys: Vec<SecretString>,
    /// Keys of the secrets of webhooks, newest first: the first one makes new secrets, deliveries are signed with all.
    #[serde(deserialize_with = "secrets::list")]
    pub webhook_keys: Vec<SecretString>,
    pub gateway: GatewayConfig,
    pub auth: AuthConfig,
    pub limits: LimitsConfig,
    pub mail: MailConfig,
    /// Providers by name.
    pub oidc: OidcConfig,
    pub search: SearchConfig,
    pub lane: LaneConfig,
    pub retention: RetentionConfig,
    pub webhooks: WebhooksConfig,
    pub workers: WorkersConfig,
    pub worker: WorkerConfig,
    pub database: DatabaseConfig,
    pub nats: NatsConfig,
    pub log: LogConfig,
}

impl Config {
    /// Settings of mail, with the folder that an empty one means.
    pub(crate) fn mail(&self) -> MailConfig {
        let mut mail = self.mail.clone();
        if mail.folder.as_os_str().is_empty() {
            mail.folder = self.data_dir.join("mail");
        }
        mail
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            database_url: None,
            nats_url: None,
            fernet_keys: Vec::new(),
            signing_keys: Vec::new(),
            webhook_keys: Vec::new(),
            gateway: GatewayConfig::default(),
            auth: AuthConfig::default(),
            limits: LimitsConfig::default(),
            mail: MailConfig::default(),
            oidc: OidcConfig::default(),
            search: SearchConfig::default(),
            lane: LaneConfig::default(),
            retention: RetentionConfig::default(),
            webhooks: WebhooksConfig::default(),
            workers: WorkersConfig::default(),
            worker: WorkerConfig::default(),
            database: DatabaseConfig::default(),
            nats: NatsConfig::default(),
            log: LogConfig::default(),
        }
    }
}

/// What the sources say, mistakes included.
#[derive(Debug)]
pub struct Loaded {
    config: Config,
    layers: Layers,
    mistakes: Vec<String>,
}

impl Loaded {
    /// # Errors
    /// The file cannot be read or is not TOML. All other mistakes are kept for [`check`](Self::check).
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut layers = Layers::collect(sources, &mut mistakes)?;
        let config = read::config(&mut layers, &mut mistakes);
        Ok(Self { config, layers, mistakes })
    }

    /// The configuration, if nothing is wrong with it for this role.
    ///
    /// # Errors
    /// Every mistake.
    pub fn check(mut self, role: Role) -> Result<Config, Mistakes> {
        self.mistakes.extend(validate::mistakes(&self.config, role));
        if self.mistakes.is_empty() { Ok(self.config) } else { Err(Mistakes(self.mistakes)) }
    }

    /// Without a check: what could be read, and defaults for what could not.
    pub fn unchecked(self) -> Config {
        self.config
    }

    /// Every setting as TOML with its origin, secrets redacted.
    pub fn show(&self) -> String {
        show::text(&self.layers, &self.mistakes)
    }
}
