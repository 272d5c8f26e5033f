//! Messages: sending, reading, deleting.

mod delete;
mod get;
mod list;
mod model;
mod read;
mod send;
mod submit;

pub use model::MessageResponse;
pub use read::mark_read;
pub use submit::{Outgoing, check_same, submit};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(send::send_message, list::list_messages))
        .routes(routes!(get::get_message, delete::delete_message))
        .routes(routes!(get::get_conversation_message))
        .routes(routes!(read::put_read))
}
