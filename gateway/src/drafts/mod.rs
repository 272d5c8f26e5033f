//! Drafts: what a user has begun to write, one for each conversation, the same on all their devices.
//!
//! A draft is a row of its user and no event: nobody else hears of it. It is sealed as messages are. Other connections of the user are told by
//! a notice that may be lost; who reconnects reads the drafts again.

mod notice;
mod routes;
mod store;

pub use notice::tell;
pub use store::{open, put};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(routes::put_draft, routes::get_draft, routes::delete_draft))
        .routes(routes!(routes::list_drafts))
}
