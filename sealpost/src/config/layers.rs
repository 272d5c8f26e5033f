//! Where settings come from: the file, and above it the environment. Each setting keeps the name of its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{FileFormat, Map, Source, Value, ValueKind};

use super::{Mistakes, secrets};

const PREFIX: &str = "SEALPOST__";
const DEFAULT_FILE: &str = "sealpost.toml";

/// Where to look. Tests make their own, without touching the process's environment.
#[derive(Clone, Default)]
pub struct Sources {
    /// Must exist. `None`: no file.
    pub file: Option<PathBuf>,
    /// Environment variables; those that are no setting are ignored.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// This process's environment, and `file`, or `./sealpost.toml` if there is one.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let file = file.or_else(|| Path::new(DEFAULT_FILE).is_file().then(|| PathBuf::from(DEFAULT_FILE)));
        let variables = std::env::vars_os();
        let environment =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        Self { file, environment }
    }
}

/// Settings by key (with dots), the environment's over the file's.
#[derive(Default)]
pub(super) struct Layers {
    pub settings: BTreeMap<String, Value>,
}

/// Keys only: values may be secret.
impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.settings.keys()).finish()
    }
}

impl Layers {
    pub fn collect(sources: &Sources, mistakes: &mut Vec<String>) -> Result<Self, Mistakes> {
        let mut layers = Self::default();
        if let Some(file) = &sources.file {
            layers.add_toml(&read_file(file)?, &file.display().to_string())?;
        }
        layers.add_environment(&sources.environment, mistakes);
        Ok(layers)
    }

    pub fn add_toml(&mut self, text: &str, origin: &str) -> Result<(), Mistakes> {
        let map = config::File::from_str(text, FileFormat::Toml)
            .collect()
            .map_err(|error| Mistakes(vec![format!("{origin} is not valid TOML: {}", without_source_lines(&error))]))?;
        self.add_table("", map, origin);
        Ok(())
    }

    fn add_table(&mut self, prefix: &str, map: Map<String, Value>, origin: &str) {
        for (name, value) in map {
            let key = format!("{prefix}{name}");
            match value.kind {
                ValueKind::Table(map) => self.add_table(&format!("{key}."), map, origin),
                kind => {
                    self.settings.insert(key, Value::new(Some(&origin.to_owned()), kind));
                }
            }
        }
    }

    /// An empty variable counts as not set, as compose files pass those on.
    fn add_environment(&mut self, environment: &BTreeMap<String, String>, mistakes: &mut Vec<String>) {
        let mut found = Vec::new();
        for (variable, key) in secrets::well_known() {
            if let Some(value) = environment.get(variable) {
                found.push((variable.to_owned(), key.to_owned(), value.clone()));
            }
            let variable = format!("{variable}_FILE");
            if let Some(path) = environment.get(&variable) {
                found.push((variable, format!("{key}_file"), path.clone()));
            }
        }
        for (variable, value) in environment {
            if let Some(name) = variable.strip_prefix(PREFIX) {
                found.push((variable.clone(), name.to_lowercase().replace("__", "."), value.clone()));
            }
        }
        let mut set: BTreeMap<String, String> = BTreeMap::new();
        for (variable, key, value) in found.into_iter().filter(|(_, _, value)| !value.trim().is_empty()) {
            let (key, value) = match key.strip_suffix("_file").filter(|key| secrets::is_listed(key)) {
                None => (key, value),
                Some(key) => match std::fs::read_to_string(value.trim()) {
                    Ok(content) => (key.to_owned(), content.trim().to_owned()),
                    Err(error) => {
                        mistakes
                            .push(format!("{variable} names the file {}, which cannot be read: {error}", value.trim()));
                        continue;
                    }
                },
            };
            if let Some(other) = set.insert(key.clone(), variable.clone()) {
                mistakes.push(format!("{other} and {variable} both set {key}: keep one of them"));
            }
            self.settings.insert(key, Value::new(Some(&variable), ValueKind::String(value)));
        }
    }
}

fn read_file(file: &Path) -> Result<String, Mistakes> {
    std::fs::read_to_string(file)
        .map_err(|error| Mistakes(vec![format!("the configuration file {} cannot be read: {error}", file.display())]))
}

/// The parser quotes the line it stumbled over, which may hold a secret: only the position and the reason are kept.
fn without_source_lines(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let quotes = |line: &&str| !line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    text.lines().filter(quotes).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}
