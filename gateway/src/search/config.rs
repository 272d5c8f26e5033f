//! The section of search.

use serde::Deserialize;

/// Section `[search]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// Whether messages are indexed and can be searched. What the index gives away stands in `docs/security.md`.
    pub enabled: bool,
    /// Messages that each gateway indexes in a second, at most; it also rests as long as it wrote, and 19 times as long while it takes more than
    /// 1,000 events a second. 0: as fast as it can, without a rest.
    pub messages_per_second: u32,
    /// Messages of one transaction of the index, at most.
    pub batch: usize,
    /// Searches under way at once in each gateway; the others wait.
    pub max_searches: usize,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self { enabled: true, messages_per_second: 1000, batch: 100, max_searches: 2 }
    }
}

impl SearchConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !(1..=1000).contains(&self.batch) {
            wrong.push(format!("search.batch is {}: use 1 to 1000", self.batch));
        }
        if !(1..=1000).contains(&self.max_searches) {
            wrong.push(format!("search.max_searches is {}: use 1 to 1000", self.max_searches));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_mistakes_are_named() {
        assert_eq!(SearchConfig::default().validate(), Vec::<String>::new());
        let wrong = SearchConfig { batch: 0, max_searches: 0, ..SearchConfig::default() }.validate().join("\n");
        assert!(wrong.contains("search.batch") && wrong.contains("search.max_searches"), "{wrong}");
    }
}
