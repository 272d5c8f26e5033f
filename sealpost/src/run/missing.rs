//! What a process waits for, as `/readyz` says it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Sentences by topic. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Missing(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Missing {
    pub fn set(&self, topic: &'static str, sentence: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(topic, sentence.into());
    }

    pub fn clear(&self, topic: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    pub fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
