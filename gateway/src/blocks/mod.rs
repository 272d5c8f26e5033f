//! Blocking people.
//!
//! What a blocked person begins goes on without the one who blocks them: a dm with them, and what they are added to by them, is shut for
//! the one who blocks (`participants.shut_by`). It is in none of their lists, they get none of its events, and for them it is not
//! there. The blocked person sees nothing unusual: what they send is taken, and the other one stays a participant. What both take part in
//! otherwise goes on as it was. With the end of the block everything that was shut is there again, with all that was written.

mod list;
mod store;
mod update;

pub use store::{blocks_of, check_not_blocked, is_blocked};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list::list_blocks)).routes(routes!(update::block_user, update::unblock_user))
}
