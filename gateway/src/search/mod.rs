//! Search over sealed text.
//!
//! The index holds keyed hashes (`terms.rs`), so that the database learns no words; what it does learn stands in `docs/security.md`.
//! Promised:
//! - the index follows what is stored: what a message says in it is computed from what the store has of the message, so order, repetition
//!   and the number of processes that index do not matter (`index.rs`; `tests/search.rs`);
//! - a deleted message leaves the index in the transaction that destroys its content, a deleted conversation soon after;
//! - nothing is found that the one who searches may not see, and no answer says that there is something: candidates are bounded by what is
//!   visible, loaded through the finders of `event`, opened, and compared with the words themselves;
//! - indexing waits for nobody and nobody waits for it: it reads the event log as a consumer of its own, at its own pace (`follow.rs`);
//! - what one search reads is bounded, whatever is searched for (`scan.rs`, `routes.rs`).

mod config;
mod cursor;
mod fold;
mod follow;
mod index;
mod model;
mod pace;
mod rebuild;
mod routes;
mod scan;
mod scope;
mod terms;
mod upkeep;
mod wanted;
mod words;

pub use config::SearchConfig;
pub use follow::{CONSUMER, follow};
pub use index::{Indexed, Indexer};
pub use pace::Traffic;
pub use rebuild::{Progress, Rebuild, drop_index, rebuild};
pub use upkeep::{purge, upkeep};

use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

/// What the handlers share.
pub struct Search {
    pub config: SearchConfig,
    /// One for each search that may be under way.
    pub permits: Semaphore,
}

impl Search {
    pub fn new(config: SearchConfig) -> Self {
        Self { permits: Semaphore::new(config.max_searches), config }
    }
}

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(routes::search))
}
