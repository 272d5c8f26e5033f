//! Who is asking: accounts, sign-in, sessions and their tokens.
//!
//! A **session** is one signed-in device. It has two tokens:
//! - the **access token**, a JWT of 15 minutes, checked without a query ([`Tokens`], [`Revocations`]);
//! - the **refresh token**, good for one new pair, of which the database knows only a hash ([`refresh_token`]).
//!
//! # The chain of refresh tokens
//! Each refresh token has exactly one successor, computed from the token itself and a secret of the server. So:
//! - **One chain.** Of any number of refreshes with the same token, through any gateways, one moves the session on (a
//!   conditional `UPDATE`) and the others, within the grace of 15 s, get the *same* successor again: nothing forks.
//! - **A lost answer is survived.** A client that never saw the answer asks again within the grace and gets that answer.
//! - **Reuse ends the session.** A token that was replaced longer ago than the grace, or whose successor has been used, was
//!   copied: the session ends and all its connections close. Old tokens are recognised however many there were, because
//!   a token carries a proof that this server made it; a made-up one is refused and harms nobody.
//!
//! A session ends for good `refresh_token_days` after sign-in, and before when it is not used. Kept by the tests in `sessions.rs` and
//! `refresh_token.rs`.
//!
//! # The end of a session
//! Within a second of its end, by whatever way, its access token is refused and its WebSockets are closed, on every gateway
//! ([`ending`], [`revocations`]; `an_ended_session_is_refused_everywhere`).

mod api_tokens;
mod authenticate;
mod config;
mod device;
pub mod email;
mod ending;
mod hashing;
mod invitations;
mod jwks;
mod key_changes;
mod me;
mod password_rules;
mod passwords;
mod principal;
mod proof;
mod refresh;
mod refresh_token;
mod revocations;
mod scopes;
mod seen;
mod session_list;
mod sessions;
mod signed_in;
mod signin;
mod signing_key;
mod signout;
mod signup;
mod tokens;
mod upkeep;

pub use crate::users::username;
pub use api_tokens::{ApiTokens, new_token};
pub use authenticate::{Authenticated, authenticate, token_of_handshake};
pub use config::{AuthConfig, SignupMode};
pub use device::{Device, DeviceKind};
pub use ending::{Ending, Which, announce, end as end_sessions, mark as mark_ended};
pub use invitations::{hash_of_code, new_code};
pub use jwks::{__path_get_jwks, get_jwks};
pub use key_changes::{KeyIds, record as record_key_changes};
pub use me::{MeResponse, load_account, load_me};
pub use passwords::{PasswordError, Passwords};
pub use principal::{Admin, Principal, is_admin};
pub use proof::{ProofRequest, prove};
pub use revocations::{Revocations, end_here, watch as watch_revocations};
pub use scopes::{Grant, Scope};
pub use seen::{Seen, write as write_seen};
pub use session_list::{EndedSessionsResponse, ListSessionsResponse, SessionResponse};
pub use signed_in::{SignIn, SignInResponse, SignedInResponse, complete_sign_in, complete_with_second_factor};
pub use signing_key::{SigningKey, SigningKeyError};
pub use tokens::Tokens;
pub use upkeep::run as upkeep;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(signup::sign_up))
        .routes(routes!(signin::sign_in))
        .routes(routes!(refresh::refresh))
        .routes(routes!(signout::sign_out))
        .routes(routes!(me::get_me))
        .routes(routes!(session_list::list_sessions, session_list::end_other_sessions))
        .routes(routes!(session_list::end_session))
}
