//! Conversations and who takes part in them.
//!
//! Each change is one database transaction together with its row in `outbox`; the event is then appended at once, and by the
//! outbox worker if this process dies in between. A handler answers when the event has its number, so that a removal has
//! taken effect everywhere when its request returns.

mod add;
pub mod control;
mod create;
mod delete;
mod get;
mod list;
mod model;
mod own_state;
mod remove;
mod transfer;
mod update;
mod visibility;

pub use control::{check_right, find_visible, forbidden};
pub use model::{ConversationResponse, ParticipantResponse, Wanted, load, load_one, open_title, sizes};
pub use own_state::head_of;
pub use visibility::{find_start, load_start};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create::create_conversation, list::list_conversations))
        .routes(routes!(get::get_conversation, update::update_conversation, delete::delete_conversation))
        .routes(routes!(add::add_participant))
        .routes(routes!(remove::remove_participant))
        .routes(routes!(own_state::update_state))
        .routes(routes!(transfer::transfer_conversation))
}
