//! Requests to addresses that users chose.
//!
//! Promised: no connection is made to an address of this machine, of a private network or of any other that is not for everybody, unless the
//! operator allows that network. It is checked when the connection is made, against the very address that is then connected to, so neither
//! the way an address is written nor a name whose answer changes gets around it; redirections are not followed, no proxy is used, and
//! little is read of an answer ([`Client`], [`Networks`]).
//!
//! And what such requests are signed with: [`WebhookKeys`] make the secret of each webhook anew, so no store has to hold one.

mod address;
mod client;
mod config;
mod signature;
mod url_check;

pub use address::Networks;
pub use client::{Client, ClientError, Found, Resolve, SendError};
pub use config::WebhooksConfig;
pub use signature::{WebhookKey, WebhookKeyError, WebhookKeys, verify};
pub use url_check::{MAX_URL_BYTES, UrlError, check_url};
