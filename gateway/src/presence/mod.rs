//! Who is there, and who types: told only to those who watch a conversation, and never written down.
//!
//! Each gateway knows the users of its own connections and tells the others what changed, twice a second and all changes together; so
//! each gateway knows all users who are there ([`table`]). A gateway that falls silent takes its users with it after twelve seconds.
//! A connection whose other end vanished is closed when it leaves a heartbeat without an answer (`gateway.heartbeat_seconds`).
//!
//! Clients name the conversations that they look at (`watch`). For those, and only those, the gateway knows the participants
//! ([`watched`]), so that a change costs as much as there are watched conversations that it concerns. In conversations of more than
//! [`MAX_NAMED`] participants nobody is named, and in any beyond the budget of a tick there is a count in place of names.

mod hear;
mod routes;
mod table;
mod tick;
mod typing;
mod watch;
mod watched;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealpost_schema::{ConversationId, EventBody, Presence, UserId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::state::App;
use table::Table;
use watched::Watched;

pub use hear::hear;
pub use tick::run;
pub use typing::typing;
pub use watch::watch;

/// Between two rounds of telling.
const TICK: Duration = Duration::from_millis(500);
/// Ticks between two signs of life of a gateway.
const TICKS_PER_SIGN: u32 = 8;
/// A gateway that was not heard for so long has died, and its connections with it.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(12);
/// Participants of a conversation who are named.
const MAX_NAMED: usize = 200;
/// Conversations that a connection can watch.
const MAX_WATCHED: usize = 20;

/// What this gateway knows. Locked for moments, never across an await.
pub struct Presences {
    /// This process among the gateways.
    pub gateway: Uuid,
    state: Mutex<State>,
}

struct State {
    table: Table,
    watched: Watched,
    typing: typing::Sent,
    /// Users whose connections changed since the last tick.
    touched: HashSet<UserId>,
    /// Another gateway asked for everything.
    asked: bool,
    /// A notice of another gateway was lost.
    lost: bool,
}

impl Presences {
    pub fn new() -> Self {
        let state = State {
            table: Table::default(),
            watched: Watched::default(),
            typing: typing::Sent::default(),
            touched: HashSet::new(),
            asked: false,
            // Nothing was heard yet.
            lost: true,
        };
        Self { gateway: Uuid::new_v4(), state: Mutex::new(state) }
    }

    /// A connection of this user came, went, or says something else of them.
    pub fn touch(&self, user: UserId) {
        self.lock().touched.insert(user);
    }

    /// Who takes part changes with these events.
    pub fn note<'a>(&self, id: ConversationId, mut events: impl Iterator<Item = &'a EventBody>) {
        let changes = |event: &EventBody| {
            matches!(event, EventBody::ParticipantAdded { .. } | EventBody::ParticipantRemoved { .. })
        };
        if events.any(changes) {
            self.lock().watched.participants_changed(id);
        }
    }

    /// Somebody began or stopped to type, here or at another gateway.
    pub fn types(&self, id: ConversationId, user: UserId, active: bool) {
        self.lock().watched.types(id, user, active, Instant::now());
    }

    pub fn of(&self, user: UserId) -> Presence {
        self.lock().table.of(user)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(routes::get_presence))
}
