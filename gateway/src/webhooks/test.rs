//! `POST /webhooks/{id}/test`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _};
use sealpost_schema::entities::webhook_test;
use sealpost_schema::{Problem, ProblemKind};
use serde::Serialize;
use uuid::Uuid;

use super::{announce, load};
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// Longer than a worker waits for a receiver.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Serialize, utoipa::ToSchema)]
pub struct TestWebhookResponse {
    /// As in the header `Sealpost-Delivery`.
    pub delivery_id: Uuid,
    /// Whether it was answered with a status of 200 to 299.
    pub taken: bool,
    /// The status it was answered with.
    #[schema(example = 204)]
    pub status: Option<i32>,
    /// Why it was not taken.
    #[schema(example = "there was no answer in time")]
    pub error: Option<String>,
}

/// Send a test
///
/// A delivery worker posts a `ping` at once, signed as all deliveries, and this answers with what came of it. It moves nothing on; a receiver that was
/// away and takes it gets what waits.
#[utoipa::path(
    post, path = "/webhooks/{id}/test", tag = "webhooks", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = TestWebhookResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such webhook"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "This server has no key for webhooks"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "A test of it is under way, or too many requests"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or no delivery worker sends webhooks"),
    )
)]
pub async fn test_webhook(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> ApiResult<Json<TestWebhookResponse>> {
    app.webhooks.keys()?;
    load(&app, principal, id).await?;
    let test = begin(&app, id).await?;
    announce(&app, id).await;
    let store = |error| ApiError::store(&error);
    let mine = || webhook_test::Entity::find_by_id(id).filter(webhook_test::Column::Id.eq(test));
    let done = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let found = mine().one(&app.db).await.map_err(store)?;
            if let Some(row) = found.as_ref().filter(|row| row.done_at.is_some()) {
                return ApiResult::Ok(row.clone());
            }
            // The webhook was deleted meanwhile.
            found.ok_or_else(super::not_found)?;
        }
    };
    let done = tokio::time::timeout(PATIENCE, done).await;
    let mut gone = webhook_test::Entity::delete_many().filter(webhook_test::Column::WebhookId.eq(id));
    gone = gone.filter(webhook_test::Column::Id.eq(test));
    gone.exec(&app.db).await.map_err(store)?;
    let Ok(done) = done else {
        return Err(ApiError::new(
            ProblemKind::Unavailable,
            "No delivery worker sent the test in time. One has to run, with WEBHOOK_KEY set.",
        ));
    };
    let row = done?;
    let taken = row.error.is_none();
    Ok(Json(TestWebhookResponse { delivery_id: test, taken, status: row.status, error: row.error }))
}

/// One at a time: whoever asks while another one waits comes again.
async fn begin(app: &App, id: Uuid) -> ApiResult<Uuid> {
    let (store, now) = (|error| ApiError::store(&error), app.clock.now());
    // One that nobody waits for any more is in nobody's way.
    webhook_test::Entity::delete_many()
        .filter(webhook_test::Column::WebhookId.eq(id))
        .filter(webhook_test::Column::AskedAt.lt(now.minus(2 * PATIENCE).millis()))
        .exec(&app.db)
        .await
        .map_err(store)?;
    let test = Uuid::now_v7();
    let row = webhook_test::Model {
        webhook_id: id,
        id: test,
        asked_at: now.millis(),
        lease_until: 0,
        done_at: None,
        status: None,
        error: None,
    };
    let inserted = webhook_test::Entity::insert(row.into_active_model())
        .on_conflict(OnConflict::column(webhook_test::Column::WebhookId).do_nothing().to_owned())
        .exec_without_returning(&app.db)
        .await
        .map_err(store)?;
    if inserted == 0 {
        return Err(ApiError::new(
            ProblemKind::TooManyRequests,
            "A test of this webhook is under way. Wait for its end.",
        ));
    }
    Ok(test)
}
