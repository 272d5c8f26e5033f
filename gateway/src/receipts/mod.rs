//! Receipts: how far each participant has got.
//!
//! Two watermarks a participant, delivered and read, which only rise. What clients say is gathered in memory and written for all of them
//! together once a second: however fast somebody scrolls, they cost one row a second. After the write everybody who may know is
//! told. A mark that is lost with a process is said again by a client that compares `read_seq` when it comes back.
//!
//! Participants see each other's marks in conversations of up to [`MAX_SHOWN`] people; in larger ones there are counts. What was read is
//! shown to nobody but the user's own devices, if the user does not want it.

mod marks;
mod read;
mod routes;
mod write;

pub use marks::{Marks, Reached};
pub use read::mark;
pub use write::{settle, write};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

/// Participants of a conversation who see each other's marks.
pub const MAX_SHOWN: u64 = 50;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read::put_read))
        .routes(routes!(routes::get_receipts))
        .routes(routes!(routes::get_message_receipts))
}
