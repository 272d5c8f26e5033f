//! Messages for later: a user writes them now, and they are sent at a time.
//!
//! Until then a message is a row of its user and no event. It is sealed when it is written, under the id that its event will have, so that a
//! worker without keys can send it (`workers/src/timers/scheduled.rs`). Rights count at the moment of sending. Changing and cancelling race
//! with sending: whoever is first wins, and the other hears that (`too_late`).

mod change;
mod create;
mod list;
mod model;
mod notice;
mod store;

pub use notice::tell;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create::schedule_message, list::list_scheduled_of_conversation))
        .routes(routes!(list::list_scheduled))
        .routes(routes!(change::change_scheduled, change::cancel_scheduled))
}
