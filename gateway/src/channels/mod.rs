//! Public channels: found by everybody signed in, joined by themselves, and, if the owner allows, read live without an account.
//!
//! A public channel has a public name, in clear, by which it is found; its title and messages stay sealed. Readers without an account
//! see messages and display names, no ids of users, and nothing of who takes part. They cost a bounded share of the process.

mod feed;
mod join;
mod list;
mod socket;

pub use feed::PublicFeeds;
pub use socket::handler as public_websocket;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list::list_channels)).routes(routes!(join::join_channel))
}
