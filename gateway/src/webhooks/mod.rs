//! Webhooks: addresses that are told of events, of a service account's conversations or of one conversation.
//!
//! This manages them; the workers deliver, since a receiver may be slow and far away. Who may manage a service account manages its webhooks;
//! who may change a conversation's settings manages those of the conversation, and one of these is as good as the right of whoever made it,
//! as an invite link is. Their secrets are made anew from the server's key whenever they are needed: no row holds one.

mod create;
mod deliveries;
mod kinds;
mod list;
mod model;
mod replay;
mod secret;
mod test;
mod update;

use sea_orm::EntityTrait as _;
use sealpost_outgoing::{Networks, WebhookKeys};
use sealpost_schema::entities::webhook;
use sealpost_schema::{Action, ConversationId, ProblemKind, UserId, WebhookNotice};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::Principal;
use crate::conversations::control::check_right;
use crate::live::notify;
use crate::problem::{ApiError, ApiResult};
use crate::service_accounts;
use crate::state::App;

/// What the settings say about webhooks.
#[derive(Debug, Default)]
pub struct Webhooks {
    /// None: there are no webhooks on this server.
    pub keys: Option<WebhookKeys>,
    /// What an address may lead into.
    pub networks: Networks,
}

impl Webhooks {
    fn keys(&self) -> ApiResult<&WebhookKeys> {
        self.keys.as_ref().ok_or_else(|| {
            ApiError::new(
                ProblemKind::WebhooksOff,
                "This server has no key for webhooks. Whoever runs it sets WEBHOOK_KEY, the same for gateways and delivery workers; \
                 `sealpost keys generate` makes one.",
            )
        })
    }
}

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create::create_webhook, list::list_webhooks))
        .routes(routes!(list::get_webhook, update::update_webhook, update::delete_webhook))
        .routes(routes!(secret::rotate_webhook_secret))
        .routes(routes!(deliveries::list_deliveries))
        .routes(routes!(replay::replay_webhook))
        .routes(routes!(test::test_webhook))
}

/// A webhook that the caller may manage; else it is not there, or, of a conversation that they see, not theirs to manage.
async fn load(app: &App, principal: Principal, id: Uuid) -> ApiResult<webhook::Model> {
    let found = webhook::Entity::find_by_id(id).one(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let row = found.ok_or_else(not_found)?;
    let allowed = match row.conversation_id {
        Some(conversation) => {
            check_right(app, principal.user_id, ConversationId(conversation), Action::ChangeSettings).await
        }
        None => service_accounts::load(app, principal, UserId(row.reader_id)).await.map(|_| ()),
    };
    match allowed {
        Ok(()) => Ok(row),
        Err(error) if error.0.kind == ProblemKind::NotFound => Err(not_found()),
        Err(error) => Err(error),
    }
}

fn not_found() -> ApiError {
    ApiError::not_found("webhook")
}

/// Tells the workers to look. If that is lost, they look by themselves soon.
async fn announce(app: &App, webhook_id: Uuid) {
    notify(app, WebhookNotice::SUBJECT, &WebhookNotice { webhook_id }).await;
}
