//! For those who administer this server: users, their sessions, invitations, the audit log.
//!
//! Every handler takes an [`Admin`](crate::auth::Admin), who is looked up at each request; everybody else gets 403. What an admin
//! does is recorded in the transaction that does it. Message texts are nowhere here.

mod audit_export;
mod audit_log;
mod invitations;
mod sessions;
mod state;
mod users;

pub use audit_log::AuditRowResponse;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accounts::AccountError;
use crate::problem::ApiError;
use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(users::list_users))
        .routes(routes!(users::get_user))
        .routes(routes!(state::disable_user))
        .routes(routes!(state::enable_user))
        .routes(routes!(state::set_role))
        .routes(routes!(sessions::list_sessions, sessions::end_sessions))
        .routes(routes!(sessions::end_session))
        .routes(routes!(invitations::create_invitation, invitations::list_invitations))
        .routes(routes!(invitations::revoke_invitation))
        .routes(routes!(audit_log::list_audit))
        .routes(routes!(audit_export::export_audit))
}

fn account_error(error: &AccountError) -> ApiError {
    match error {
        AccountError::NotFound => ApiError::not_found("user"),
        AccountError::Taken | AccountError::Changed => ApiError::internal(error),
        AccountError::Store(error) => ApiError::store(error),
    }
}
