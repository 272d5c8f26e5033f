//! Tests that owners ask for: sent at once, whatever waits, and answered with what came of it.

use std::time::Duration;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DatabaseConnection, DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _,
};
use sealpost_schema::Timestamp;
use sealpost_schema::entities::{webhook, webhook_test};

use super::body::Body;
use super::deliver::{self, Done};
use super::outcome::note_success;
use super::worker::Shared;

/// Nobody waits for one that is older, and it goes.
const FORGOTTEN: Duration = Duration::from_mins(5);
const AT_ONCE: u64 = 16;

/// Takes those that nobody has taken.
pub(super) async fn take(
    db: &DatabaseConnection,
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<(webhook_test::Model, webhook::Model)>, DbErr> {
    let open: Vec<Uuid> = webhook_test::Entity::find()
        .select_only()
        .column(webhook_test::Column::WebhookId)
        .filter(webhook_test::Column::DoneAt.is_null())
        .filter(webhook_test::Column::LeaseUntil.lte(now.millis()))
        .limit(AT_ONCE)
        .into_tuple()
        .all(db)
        .await?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let taken = webhook_test::Entity::update_many()
        .col_expr(webhook_test::Column::LeaseUntil, Expr::value(until.millis()))
        .filter(webhook_test::Column::WebhookId.is_in(open))
        .filter(webhook_test::Column::DoneAt.is_null())
        .filter(webhook_test::Column::LeaseUntil.lte(now.millis()))
        .exec_with_returning(db)
        .await?;
    let ids: Vec<Uuid> = taken.iter().map(|test| test.webhook_id).collect();
    let webhooks = webhook::Entity::find().filter(webhook::Column::Id.is_in(ids)).all(db).await?;
    let with_webhook = |test: webhook_test::Model| {
        let webhook = webhooks.iter().find(|webhook| webhook.id == test.webhook_id)?.clone();
        Some((test, webhook))
    };
    Ok(taken.into_iter().filter_map(with_webhook).collect())
}

pub(super) async fn run(shared: &Shared, test: webhook_test::Model, webhook: &webhook::Model) -> Done {
    let body = Body::Ping { webhook_id: webhook.id, delivery_id: test.id };
    let answer = deliver::post(shared, webhook, test.id, &body).await;
    let now = shared.clock.now();
    let change = webhook_test::ActiveModel {
        done_at: Set(Some(now.millis())),
        status: Set(answer.status()),
        error: Set(answer.error()),
        ..Default::default()
    };
    let noted = webhook_test::Entity::update_many()
        .set(change)
        .filter(webhook_test::Column::WebhookId.eq(webhook.id))
        .filter(webhook_test::Column::Id.eq(test.id))
        .exec(&shared.db)
        .await;
    let mut is_back = false;
    let noted = match noted {
        Ok(_) if answer.is_taken() => {
            note_success(&shared.db, webhook, now).await.inspect(|was_away| is_back = *was_away).map(|_| ())
        }
        other => other.map(|_| ()),
    };
    if let Err(error) = noted {
        tracing::warn!(webhook = %webhook.id, %error, "the store did not take what became of a test");
    }
    Done { webhook: webhook.id, conversation: Uuid::nil(), is_back }
}

/// What nobody asked about again goes.
pub(super) async fn forget(db: &DatabaseConnection, now: Timestamp) -> Result<(), DbErr> {
    let before = now.minus(FORGOTTEN).millis();
    webhook_test::Entity::delete_many().filter(webhook_test::Column::AskedAt.lt(before)).exec(db).await?;
    Ok(())
}
