//! Passkeys (`WebAuthn`): signing in without a name and a password, and a second factor beside one.
//!
//! A passkey is tied by the browser to the name of this server (`gateway.public_url`), so a page that only looks like it gets nothing. Every use
//! needs the device to check its owner: alone it stands for both factors.
//!
//! Promised, and kept by `testing/tests/stacks/passkeys.rs`:
//! - **Nobody learns who is here.** Beginning takes no name and names no passkey; whatever is wrong with one has the same answer.
//! - **What was begun is good once**, for five minutes, through any gateway, and for the one who began it.
//! - **Adding and removing one takes fresh proof**: the password, or a session that has just begun.
//! - **Signatures are counted** where the device counts them. A count that falls behind is refused and stands in the audit log: there may be
//!   a copy of the passkey.
//! - Whoever has one needs a second factor for every other way to sign in, and has recovery codes.

mod ceremonies;
mod manage;
mod party;
mod register;
mod second_step;
mod sign_in;
mod store;

pub use party::RelyingParty;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(manage::list_passkeys, register::begin_passkey))
        .routes(routes!(register::finish_passkey))
        .routes(routes!(manage::rename_passkey))
        .routes(routes!(manage::remove_passkey))
        .routes(routes!(sign_in::begin_sign_in))
        .routes(routes!(sign_in::finish_sign_in))
        .routes(routes!(second_step::begin_second_factor))
        .routes(routes!(second_step::finish_second_factor))
}
