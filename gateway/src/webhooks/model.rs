//! A webhook as the API shows it.

use sealpost_schema::entities::webhook;
use sealpost_schema::{ConversationId, Timestamp, UserId};
use serde::Serialize;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// Events are delivered.
    Active,
    /// By its owner. What happens meanwhile is delivered later.
    Paused,
    /// By the server, see `disabled_reason`. `PATCH` with `"paused": false` lets it go on from where it stopped.
    Disabled,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct WebhookResponse {
    pub id: Uuid,
    /// It is told of all conversations of this service account.
    pub service_account_id: Option<UserId>,
    /// It is told of this conversation.
    pub conversation_id: Option<ConversationId>,
    #[schema(example = "https://example.org/hooks/sealpost")]
    pub url: String,
    /// None: all kinds of events.
    #[schema(example = json!(["message_posted"]))]
    pub kinds: Option<Vec<String>>,
    pub state: WebhookState,
    /// `failed`: nothing was taken for days. `not_allowed`: whoever made it may not change the conversation's settings any more.
    pub disabled_reason: Option<String>,
    pub created_by: UserId,
    pub created_at: Timestamp,
    /// Since when the receiver is away.
    pub failing_since: Option<Timestamp>,
    /// When it is tried again then.
    pub next_attempt_at: Option<Timestamp>,
    /// To about a second.
    pub last_success_at: Option<Timestamp>,
}

impl From<webhook::Model> for WebhookResponse {
    fn from(row: webhook::Model) -> Self {
        let state = match (row.disabled_at, row.paused_at) {
            (Some(_), _) => WebhookState::Disabled,
            (None, Some(_)) => WebhookState::Paused,
            (None, None) => WebhookState::Active,
        };
        let is_failing = row.failing_since.is_some();
        Self {
            id: row.id,
            service_account_id: row.conversation_id.is_none().then_some(UserId(row.reader_id)),
            conversation_id: row.conversation_id.map(ConversationId),
            url: row.url,
            kinds: row.kinds.map(|kinds| kinds.split(',').map(str::to_owned).collect()),
            state,
            disabled_reason: row.disabled_reason,
            created_by: UserId(row.created_by),
            created_at: Timestamp::from_millis(row.created_at),
            failing_since: row.failing_since.map(Timestamp::from_millis),
            next_attempt_at: is_failing.then_some(Timestamp::from_millis(row.next_attempt_at)),
            last_success_at: row.last_success_at.map(Timestamp::from_millis),
        }
    }
}
