//! The figures of an earlier run, to hold new ones against.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::targets::{Check, Stack};

/// As the suite writes it; the reports of the scenarios are passed over.
#[derive(Debug, Deserialize)]
pub struct Baseline {
    pub version: String,
    checks: Vec<Measure>,
}

#[derive(Debug, Deserialize)]
struct Measure {
    stack: Stack,
    figure: String,
    measured: Option<f64>,
}

impl Baseline {
    /// `None`: there is no such file.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        serde_json::from_str(&text).map(Some).with_context(|| format!("{} holds no figures", path.display()))
    }

    /// What the same figure was then.
    pub fn of(&self, check: &Check) -> Option<f64> {
        let same = |one: &&Measure| one.stack == check.stack && one.figure == check.figure;
        self.checks.iter().find(same)?.measured
    }
}
