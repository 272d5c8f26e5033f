//! The edge of Sealpost: REST and WebSocket in, sealed events out, live frames back.
//!
//! Cut by feature: `edge`, [`auth`], `users`, `conversations`, `messages`, `live`, `operations`. Only this crate holds plaintext and keys.
//! [`Gateway::start`] begins the background tasks, [`Gateway::serve`] takes requests until it is told to stop.

pub mod accounts;
mod admin;
mod announcements;
pub mod audit;
pub mod auth;
mod authority;
mod blocks;
pub mod caller;
mod channels;
pub mod config;
mod conversations;
mod drafts;
mod edge;
mod export;
mod invites;
mod keys;
pub mod limits;
mod live;
pub mod mail;
mod messages;
pub mod oidc;
mod openapi;
mod operations;
mod page;
mod passkeys;
mod patch;
mod presence;
mod problem;
mod profiles;
mod receipts;
mod scheduled;
pub mod search;
mod second_factor;
mod server;
mod service_accounts;
mod state;
mod transaction;
mod users;
mod webhooks;

pub use auth::{AuthConfig, SigningKey, SigningKeyError};
pub use config::GatewayConfig;
pub use limits::LimitsConfig;
pub use mail::MailConfig;
pub use oidc::OidcConfig;
pub use openapi::{asyncapi, openapi};
pub use search::SearchConfig;
pub use server::{Gateway, GatewayParts, MetricsText, ReadyCheck, StartError};
pub use webhooks::Webhooks;
