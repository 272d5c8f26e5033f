//! How the way to NATS is set up.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How to sign in. `Debug` shows no secret.
#[derive(Clone, Default)]
pub enum Credentials {
    #[default]
    None,
    UserPassword {
        user: String,
        password: String,
    },
    Token(String),
    /// A `.creds` file with a JWT and an nkey seed.
    File(PathBuf),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::UserPassword { user, .. } => write!(f, "UserPassword({user}, ***)"),
            Self::Token(_) => f.write_str("Token(***)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// Settings of [`JetStreamBus`](super::JetStreamBus). [`JetStreamConfig::new`] has the defaults.
#[derive(Clone)]
pub struct JetStreamConfig {
    /// One or more `nats://host:port` (or `tls://`), tried in turn.
    pub urls: Vec<String>,
    pub credentials: Credentials,
    /// This connection's name, as the server shows it.
    pub name: String,
    pub require_tls: bool,
    /// Further root certificates, in PEM.
    pub root_certificates: Option<PathBuf>,
    /// Copies of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Records older than this are deleted. 7 days.
    pub max_age: Duration,
    /// How long an id is remembered for duplicate detection. 2 minutes.
    pub duplicate_window: Duration,
    /// Size of the log in bytes at which appends are turned away (`Unavailable`); 0: no limit. 0.
    pub max_bytes: u64,
    /// No answer to an append within this is `Unknown`. 5 s.
    pub publish_timeout: Duration,
    /// The same for everything else that is asked. 5 s.
    pub request_timeout: Duration,
    /// Messages that a live subscription holds before it loses some. 1,024.
    pub live_queue: usize,
    /// Records on their way to a consumer at most, per holder. 500.
    pub prefetch: usize,
}

impl JetStreamConfig {
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            credentials: Credentials::None,
            name: "sealpost".into(),
            require_tls: false,
            root_certificates: None,
            replicas: 1,
            max_age: Duration::from_hours(7 * 24),
            duplicate_window: Duration::from_mins(2),
            max_bytes: 0,
            publish_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            live_queue: 1024,
            prefetch: 500,
        }
    }
}

/// A password inside a URL is not shown.
fn without_password(text: &str) -> String {
    match url::Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            // Only URLs without a host refuse a password, and those have none.
            let _ = url.set_password(Some("***"));
            url.into()
        }
        Ok(url) if !url.username().is_empty() => text.replacen(url.username(), "***", 1),
        _ => text.into(),
    }
}

impl fmt::Debug for JetStreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamConfig")
            .field("urls", &self.urls.iter().map(|url| without_password(url)).collect::<Vec<_>>())
            .field("credentials", &self.credentials)
            .field("name", &self.name)
            .field("replicas", &self.replicas)
            .field("max_age", &self.max_age)
            .field("duplicate_window", &self.duplicate_window)
            .field("max_bytes", &self.max_bytes)
            .field("publish_timeout", &self.publish_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_secret() {
        let mut config = JetStreamConfig::new("nats://sam:hunter2@localhost:4222");
        config.urls.push("nats://hunter2@localhost:4222".into());
        for credentials in [
            Credentials::Token("hunter2".into()),
            Credentials::UserPassword { user: "sam".into(), password: "hunter2".into() },
        ] {
            config.credentials = credentials;
            let shown = format!("{config:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("localhost:4222"), "{shown}");
        }
    }
}
