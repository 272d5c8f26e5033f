//! The two streams: made, compared with what was asked for, and made again.

use std::sync::PoisonError;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};

use super::config::JetStreamConfig;
use super::connect::Inner;
use crate::LogError;

pub(super) const LOG: &str = "CHAT";
pub(super) const DEAD: &str = "DEAD";

fn wanted(config: &JetStreamConfig) -> [Config; 2] {
    let stream = |name: &str, subject: &str| Config {
        name: name.into(),
        subjects: vec![subject.into()],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        num_replicas: config.replicas,
        duplicate_window: config.duplicate_window,
        allow_direct: true,
        max_bytes: -1,
        max_messages: -1,
        ..Config::default()
    };
    let max_bytes = if config.max_bytes == 0 { -1 } else { i64::try_from(config.max_bytes).unwrap_or(i64::MAX) };
    let log = Config { max_age: config.max_age, max_bytes, ..stream(LOG, "chat.>") };
    // Dead letters stay until somebody decides.
    let dead = Config { max_age: Duration::ZERO, ..stream(DEAD, "dead.>") };
    [log, dead]
}

/// What differs, as sentences for a person. The flag: it cannot be lived with.
fn differences(wanted: &Config, is: &Config) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut compare = |what: &str, wanted: String, is: String, fatal: bool| {
        if wanted != is {
            found.push((format!("{what} is {is} instead of {wanted}"), fatal));
        }
    };
    compare("subjects", format!("{:?}", wanted.subjects), format!("{:?}", is.subjects), true);
    compare("storage", format!("{:?}", wanted.storage), format!("{:?}", is.storage), true);
    compare("retention", format!("{:?}", wanted.retention), format!("{:?}", is.retention), true);
    compare("discard", format!("{:?}", wanted.discard), format!("{:?}", is.discard), true);
    compare("allow_direct", wanted.allow_direct.to_string(), is.allow_direct.to_string(), true);
    compare("replicas", wanted.num_replicas.to_string(), is.num_replicas.to_string(), false);
    compare("max_age", format!("{:?}", wanted.max_age), format!("{:?}", is.max_age), false);
    compare("max_bytes", wanted.max_bytes.max(-1).to_string(), is.max_bytes.max(-1).to_string(), false);
    let windows = (format!("{:?}", wanted.duplicate_window), format!("{:?}", is.duplicate_window));
    compare("duplicate_window", windows.0, windows.1, false);
    found
}

impl Inner {
    /// Makes what is missing, updates what differs.
    pub(super) async fn make_streams(&self) -> Result<(), LogError> {
        let _one_at_a_time = self.making_streams.lock().await;
        for wanted in wanted(&self.config) {
            self.make_stream(&wanted).await?;
        }
        Ok(())
    }

    /// A log that was made anew is empty: everybody here looks at it as after a reconnect, and appends again what only this process has.
    fn note_made(&self, wanted: &Config, created: i128) {
        if wanted.name != LOG {
            return;
        }
        let before = self.log_created.lock().unwrap_or_else(PoisonError::into_inner).replace(created);
        if before.is_some_and(|before| before != created) {
            tracing::error!("the stream of the event log was made anew: what it held is gone");
            self.connection.send_modify(|connection| connection.epoch += 1);
        }
    }

    async fn make_stream(&self, wanted: &Config) -> Result<(), LogError> {
        let unavailable = |error: &dyn std::fmt::Display| {
            LogError::Unavailable(format!("the stream {} cannot be made: {error}", wanted.name))
        };
        let made = self.context.get_or_create_stream(wanted.clone()).await.map_err(|error| unavailable(&error))?;
        self.note_made(wanted, made.cached_info().created.unix_timestamp_nanos());
        let mut is = made.cached_info().config.clone();
        if !differences(wanted, &is).is_empty() {
            // Only what we ask for changes; other settings of an operator stay.
            let changed = Config {
                subjects: wanted.subjects.clone(),
                discard: wanted.discard,
                num_replicas: wanted.num_replicas,
                max_age: wanted.max_age,
                max_bytes: wanted.max_bytes,
                duplicate_window: wanted.duplicate_window,
                allow_direct: wanted.allow_direct,
                ..is.clone()
            };
            match self.context.update_stream(changed).await {
                Ok(info) => is = info.config,
                Err(error) => tracing::warn!(stream = wanted.name, %error, "the stream could not be updated"),
            }
        }
        let mut fatal = Vec::new();
        for (difference, cannot_live_with) in differences(wanted, &is) {
            tracing::warn!(stream = wanted.name, "the stream is not as asked for: {difference}");
            if cannot_live_with {
                fatal.push(difference);
            }
        }
        if fatal.is_empty() {
            return Ok(());
        }
        Err(LogError::Failed(format!("the stream {} is not usable: {}", wanted.name, fatal.join(", "))))
    }

    /// A handle on a stream, without asking the server.
    pub(super) async fn stream(&self, name: &str) -> Result<Stream<()>, LogError> {
        self.reachable().map_err(LogError::Unavailable)?;
        self.context.get_stream_no_info(name).await.map_err(|error| LogError::Failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named() {
        let [wanted, _] = wanted(&JetStreamConfig::new("nats://localhost"));
        let is = Config { allow_direct: false, max_age: Duration::from_mins(1), max_bytes: 0, ..wanted.clone() };
        let found: Vec<_> =
            differences(&wanted, &is).into_iter().map(|(text, fatal)| format!("{text} {fatal}")).collect();
        assert_eq!(found[0], "allow_direct is false instead of true true");
        assert_eq!(found[1], "max_age is 60s instead of 604800s false");
    }
}
