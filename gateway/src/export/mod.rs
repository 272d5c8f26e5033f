//! Taking data along: one JSON object a line, written while the store is read, so that no export needs more memory than any other.
//!
//! Events are the frames of the WebSocket protocol, word for word: who can read one can read the other. The last line is `end`; a file
//! without it is not whole.

mod conversation;
mod lines;
mod own;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

/// Exports under way at once in a process.
pub const AT_ONCE: usize = 4;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(conversation::export_conversation)).routes(routes!(own::export_own_data))
}
