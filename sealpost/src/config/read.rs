//! From settings to [`Config`].
//!
//! Serde stops at its first error, so each setting is first tried on its own: then every mistake is known, with its key and
//! its origin, and the good settings are read together.

use config::{ConfigError, Map, Value, ValueKind};
use serde::Deserialize;

use super::layers::Layers;
use super::{Config, secrets};

pub(super) fn config(layers: &mut Layers, mistakes: &mut Vec<String>) -> Config {
    let mut good = Value::new(None, ValueKind::Table(Map::new()));
    for (key, value) in &mut layers.settings {
        match fitting(key, value) {
            Ok(fitting) => {
                *value = fitting;
                put(&mut good, key, value);
            }
            Err(error) => mistakes.push(mistake(key, value, &error)),
        }
    }
    Config::deserialize(good).unwrap_or_else(|error| {
        // Not reached as long as settings are independent of each other; never silently.
        mistakes.push(error.to_string());
        Config::default()
    })
}

/// The value as it can be read. A variable for a list is split at its commas.
fn fitting(key: &str, value: &Value) -> Result<Value, ConfigError> {
    let first = match attempt(key, value) {
        Ok(()) => return Ok(value.clone()),
        Err(error) => error,
    };
    let ValueKind::String(text) = &value.kind else { return Err(first) };
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let list = items.map(|item| Value::new(value.origin().map(str::to_owned).as_ref(), item)).collect::<Vec<_>>();
    let list = Value::new(value.origin().map(str::to_owned).as_ref(), ValueKind::Array(list));
    attempt(key, &list).map(|()| list).map_err(|_| first)
}

fn attempt(key: &str, value: &Value) -> Result<(), ConfigError> {
    let mut alone = Value::new(None, ValueKind::Table(Map::new()));
    put(&mut alone, key, value);
    Config::deserialize(alone).map(|_| ())
}

fn put(table: &mut Value, key: &str, value: &Value) {
    let ValueKind::Table(map) = &mut table.kind else { return };
    match key.split_once('.') {
        None => {
            map.insert(key.to_owned(), value.clone());
        }
        Some((section, rest)) => {
            let section = map.entry(section.to_owned());
            put(section.or_insert_with(|| Value::new(None, ValueKind::Table(Map::new()))), rest, value);
        }
    }
}

fn mistake(key: &str, value: &Value, error: &ConfigError) -> String {
    let reason = if secrets::is_secret(key) { "expected a text".to_owned() } else { reason(error) };
    match value.origin() {
        Some(origin) if origin.starts_with("SEALPOST__") => format!("{origin}: {reason}"),
        Some(origin) => format!("{key} in {origin}: {reason}"),
        None => format!("{key}: {reason}"),
    }
}

/// The innermost error, without the key and origin that [`mistake`] names better.
fn reason(error: &ConfigError) -> String {
    match error {
        ConfigError::At { error, .. } => reason(error),
        ConfigError::Type { unexpected, expected, .. } => format!("it is {unexpected}, expected {expected}"),
        other => other.to_string().replace("unknown field", "unknown key"),
    }
}
