//! `sealpost config show`: the sample's defaults below what is set, secrets redacted.

use std::fmt::Write;

use config::{Value, ValueKind};

use super::layers::Layers;
use super::{SAMPLE, secrets};

const DEFAULT: &str = "default";

/// The sample with its settings switched on. A setting is `#key = …` or `#[section]`; `# …` with a blank is a comment.
pub(super) fn sample_settings() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    SAMPLE.lines().map(line).collect()
}

pub(super) fn text(layers: &Layers, mistakes: &[String]) -> String {
    let mut all = Layers::default();
    // The sample is part of the program, and a test reads it.
    let _ = all.add_toml(&sample_settings(), DEFAULT);
    for (key, value) in &layers.settings {
        let plain = all.settings.get(key).is_some_and(|default| !matches!(default.kind, ValueKind::String(_)));
        all.settings.insert(key.clone(), if plain { unquoted(value) } else { value.clone() });
    }
    let mut text = String::new();
    let mut section = "";
    let (top, sections): (Vec<_>, Vec<_>) = all.settings.iter().partition(|(key, _)| !key.contains('.'));
    for (key, value) in top.into_iter().chain(sections) {
        let (prefix, name) = key.rsplit_once('.').unwrap_or(("", key));
        if prefix != section {
            section = prefix;
            let _ = writeln!(text, "\n[{section}]");
        }
        let line = format!("{name} = {}", toml(key, value));
        match value.origin() {
            None | Some(DEFAULT) => writeln!(text, "{line}"),
            Some(origin) => writeln!(text, "{line}  # {origin}"),
        }
        .unwrap_or_default();
    }
    for mistake in mistakes {
        let _ = writeln!(text, "# MISTAKE: {}", mistake.replace('\n', " "));
    }
    text
}

/// A variable is text; where the default is a number or a switch, it is shown as one.
fn unquoted(value: &Value) -> Value {
    let ValueKind::String(text) = &value.kind else { return value.clone() };
    let kind = match (text.parse::<i64>(), text.parse::<bool>()) {
        (Ok(number), _) => ValueKind::I64(number),
        (_, Ok(switch)) => ValueKind::Boolean(switch),
        _ => return value.clone(),
    };
    Value::new(value.origin().map(str::to_owned).as_ref(), kind)
}

fn toml(key: &str, value: &Value) -> String {
    match &value.kind {
        ValueKind::Array(items) => {
            format!("[{}]", items.iter().map(|item| toml(key, item)).collect::<Vec<_>>().join(", "))
        }
        ValueKind::String(text) if secrets::is_secret(key) => format!("{:?}", secrets::redact(key, text)),
        ValueKind::String(text) => format!("{text:?}"),
        _ if secrets::is_secret(key) => format!("{:?}", secrets::REDACTED),
        _ => value.to_string(),
    }
}
