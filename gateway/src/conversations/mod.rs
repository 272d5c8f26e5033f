//! Conversations and who takes part in them.
//!
//! Each change is one database transaction together with its row in `outbox`; the event is then appended at once, and by the
//! outbox worker if this process dies in between. A handler answers when the event has its number, so that a removal has
//! taken effect everywhere when its request returns.

mod add;
mod control;
mod create;
mod delete;
mod get;
mod list;
mod model;
mod remove;
mod update;

pub use control::{check_right, find_visible};
pub use model::{ConversationResponse, ParticipantResponse, sizes};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create::create_conversation, list::list_conversations))
        .routes(routes!(get::get_conversation, update::update_conversation, delete::delete_conversation))
        .routes(routes!(add::add_participant))
        .routes(routes!(remove::remove_participant))
}
