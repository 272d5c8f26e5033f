//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::extract::FromRef;
use sea_orm::DatabaseConnection;
use sealpost_bus::{EventLog, Live};
use sealpost_lane::{Lanes, Reader};
use sealpost_schema::Clock;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::announcements::Announcements;
use crate::auth::{ApiTokens, AuthConfig, Passwords, Revocations, Seen, Tokens};
use crate::channels::PublicFeeds;
use crate::config::GatewayConfig;
use crate::keys::ConversationKeys;
use crate::limits::{Limits, Throttle};
use crate::live::{Connections, Hub};
use crate::mail::Mailer;
use crate::oidc::Providers;
use crate::passkeys::RelyingParty;
use crate::presence::Presences;
use crate::profiles::AvatarWork;
use crate::receipts::Marks;
use crate::search::Search;
use crate::webhooks::Webhooks;

/// Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<AppParts>);

pub struct AppParts {
    pub config: GatewayConfig,
    pub auth: AuthConfig,
    pub clock: Clock,
    /// How old the server lets messages become.
    pub retention_days: Option<u32>,
    pub db: DatabaseConnection,
    pub log: Arc<dyn EventLog>,
    pub live: Arc<dyn Live>,
    pub lanes: Lanes,
    pub keys: Arc<ConversationKeys>,
    pub hub: Arc<Hub>,
    pub connections: Arc<Connections>,
    pub tokens: Tokens,
    pub passwords: Passwords,
    pub avatars: AvatarWork,
    pub mailer: Mailer,
    pub passkeys: RelyingParty,
    pub providers: Providers,
    pub revocations: Revocations,
    pub seen: Seen,
    pub api_tokens: ApiTokens,
    pub tokens_seen: Seen,
    pub limits: Limits,
    pub throttle: Throttle,
    pub marks: Marks,
    pub search: Search,
    pub presences: Arc<Presences>,
    pub announcements: Announcements,
    /// Public channels that are read without an account.
    pub public: PublicFeeds,
    pub resumes: Arc<Semaphore>,
    pub exports: Arc<Semaphore>,
    pub webhooks: Webhooks,
    /// Soft stop: no new connections, the open ones are asked to go.
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    /// What workers and other gateways announce arrives here.
    pub hears_notices: AtomicBool,
}

impl App {
    pub fn new(parts: AppParts) -> Self {
        Self(Arc::new(parts))
    }

    pub fn reader(&self) -> &Reader {
        self.lanes.reader()
    }
}

impl std::ops::Deref for App {
    type Target = AppParts;
    fn deref(&self) -> &AppParts {
        &self.0
    }
}

impl FromRef<App> for Tokens {
    fn from_ref(app: &App) -> Self {
        app.tokens.clone()
    }
}
