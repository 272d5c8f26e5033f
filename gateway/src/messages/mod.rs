//! Messages: sending, reading, editing, deleting, reacting, pinning, threads, mentions.
//!
//! A change of a message is an event like the message itself: numbered, sealed, sent to everybody. What changes a message starts from
//! [`current`], decides in its own file, and goes through [`change`]; what shows messages goes through [`show`].

mod change;
mod current;
mod delete;
mod edit;
mod edits;
mod emoji;
mod get;
mod links;
mod list;
mod mentions;
mod model;
mod pin;
mod react;
mod reactions;
mod send;
mod show;
mod submit;
mod thread_state;
mod threads;

pub use change::{Change, change};
pub use get::find;
pub use links::{mentions as resolve_mentions, resolve as resolve_links};
pub use model::MessageResponse;
pub use show::{Found, show};
pub use submit::{Outgoing, check_same, check_text, first, key_error, submit};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(send::send_message, list::list_messages))
        .routes(routes!(get::get_message, edit::edit_message, delete::delete_message))
        .routes(routes!(get::get_conversation_message))
        .routes(routes!(edits::list_edits))
        .routes(routes!(react::add_reaction, reactions::list_reactions))
        .routes(routes!(react::remove_reaction))
        .routes(routes!(pin::pin_message, pin::unpin_message))
        .routes(routes!(pin::list_pins))
        .routes(routes!(mentions::list_mentions))
        .routes(routes!(threads::list_threads))
        .routes(routes!(threads::get_thread, threads::put_thread))
}
