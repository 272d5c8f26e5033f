//! Finding people.
//!
//! Everybody who is signed in may find everybody who is not disabled, by user name or display name. Emails and password hashes
//! never leave through here.

mod get;
mod list;
mod model;
pub mod username;

pub use model::UserResponse;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list::list_users)).routes(routes!(get::get_user))
}
