//! Announcements: what those who administer this server tell everybody.
//!
//! They are pushed to everybody who is connected, readers of public channels too, and kept until they expire: whoever connects gets those
//! that they have not marked as seen. The store has them sealed. Each gateway keeps the current ones in memory and looks for new ones
//! when it is told, and once a minute in case that it was not: so connecting costs no query while there are none.

mod admin;
mod board;
mod routes;

pub use board::{Announcements, greet, refresh, watch};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(admin::create_announcement))
        .routes(routes!(admin::withdraw_announcement))
        .routes(routes!(routes::list_announcements))
        .routes(routes!(routes::mark_announcements_seen))
}
