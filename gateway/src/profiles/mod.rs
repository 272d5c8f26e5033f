//! What people say about themselves: names, status, time zone, language, picture.
//!
//! Everybody who is signed in sees it, except the language and the mail address, which only their owner sees.
//!
//! # Where pictures are
//! In the database, as one row for each size. They are small (some KiB, bounded by [`avatar::MAX_STORED_BYTES`]) and few (one
//! picture a user), so that a database carries them; every gateway sees them at once, they are in the backup and gone with the
//! rows of the user, and neither form needs another place. A folder would not reach other gateways.
//!
//! # What is uploaded is not what is served
//! A picture is decoded within limits that its header is held against first, cut to a square, and encoded again: what rode along
//! (EXIF with its places, scripts in a polyglot file, frames) is gone (`attack_24_image_bombs_are_refused_from_the_header`,
//! `attack_23_only_our_own_pictures_are_served`).

mod avatar;
mod avatar_routes;
mod decode;
pub mod names;
mod update;

pub use avatar::AvatarWork;

use axum::extract::DefaultBodyLimit;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    let upload = OpenApiRouter::new()
        .routes(routes!(avatar_routes::put_avatar, avatar_routes::delete_avatar))
        .layer(DefaultBodyLimit::max(avatar::MAX_UPLOAD_BYTES));
    OpenApiRouter::new().routes(routes!(update::update_me)).routes(routes!(avatar_routes::get_avatar)).merge(upload)
}
