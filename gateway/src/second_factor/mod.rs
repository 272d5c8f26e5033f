//! The second factor: one-time codes of an app (TOTP, RFC 6238), passkeys ([`crate::passkeys`]), and recovery codes for those who lost them.
//!
//! Whoever has one gets no session for a password or a link alone, but a **challenge**, which with a code or a passkey completes the sign-in
//! that it began ([`crate::auth::complete_sign_in`] is the one place).
//!
//! Promised, and kept by `testing/tests/stacks/second_factor.rs`:
//! - A code is good once, in its 30 seconds and the ones beside them; so is a recovery code.
//! - Guessing is slow: after five wrong codes in a row each further one costs a pause that doubles up to 15 minutes. Only who knows the
//!   first factor gets that far, so a stranger can lock nobody out.
//! - The secret is sealed under the master keys; a stolen database makes no codes. Recovery codes are there as hashes.
//! - A challenge ends after five minutes, and with a change of the password.

mod codes;
mod pauses;
pub mod recovery;
mod routes;
pub mod store;
pub mod waiting;

pub use waiting::{SecondFactorRequired, wait};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(routes::begin_totp))
        .routes(routes!(routes::confirm_totp))
        .routes(routes!(routes::disable_totp))
        .routes(routes!(routes::complete))
        .routes(routes!(recovery::renew_recovery_codes))
}
