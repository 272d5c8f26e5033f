//! Mail, and what is done with the links in it: new passwords, sign-in, proof of an address.
//!
//! Promised:
//! - **A link is good once, for ten minutes, for one purpose and one account.** The store has only its hash. Of any number of uses at
//!   once one succeeds (`attack_22_a_link_is_good_once_however_many_use_it`).
//! - **Looking at a link uses nothing up.** The token stands behind `#`, which browsers and scanners do not send; only a POST counts.
//! - **A link begins with `gateway.public_url`** (else with the address that the server listens on), never with what a request says
//!   about its host.
//! - **Who asks for a mail learns nothing.** The answer is the same and comes before anybody was looked up: that, and sending, is done by
//!   a task with a bounded queue and retries ([`Mailer`]). What waits in it when the process is told to stop is kept in the store for
//!   the next one (`mails_that_wait_at_a_stop_are_sent_after_it`); a crash loses it, and people ask again.
//! - **Only proven addresses** get links that open an account: a mistyped one would open it to a stranger.

mod compose;
mod config;
mod kept;
mod mailer;
mod page;
mod password;
mod routes;
mod tokens;
mod transport;

pub use config::{MailConfig, MailTransport, SmtpTls};
pub use mailer::{Job, Mailer};
pub use page::page;
pub use password::confirm_password;
pub use tokens::void as void_links;
pub use transport::MailError;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(password::change_password))
        .routes(routes!(routes::forgot_password))
        .routes(routes!(password::reset_password))
        .routes(routes!(routes::ask_magic_link))
        .routes(routes!(routes::sign_in_by_magic_link))
        .routes(routes!(routes::change_email))
        .routes(routes!(routes::verify_email))
}
