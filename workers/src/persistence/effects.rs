//! What stored events change in other rows. Everything here may happen any number of times, in any order.

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};
use sealpost_schema::entities::{conversation_key, event, outbox};
use sealpost_schema::{Event, EventBody, MessageId};

use super::insert::portions;
use super::store::{Stored, claim};

/// Deleted messages lose their content, deleted conversations their keys; what is stored leaves the outbox.
pub(super) async fn apply(transaction: &DatabaseTransaction, events: &[&Event], stored: &Stored) -> Result<(), DbErr> {
    let mut done: Vec<Uuid> = Vec::new();
    for event in events.iter().filter(|event| event.body.kind() != "message_posted") {
        if stored.problems.contains_key(&claim(event)) {
            // Not stored: no effect, and it stays in the outbox.
            continue;
        }
        done.push(event.id.0);
        if stored.is_voided(event) {
            // Its like was stored under another seq, with its effect.
            continue;
        }
        match event.body {
            EventBody::MessageDeleted { message_id, .. } => destroy_message(transaction, event, message_id).await?,
            EventBody::ConversationDeleted => destroy_keys(transaction, event).await?,
            _ => {}
        }
    }
    for ids in portions(&done) {
        outbox::Entity::delete_many().filter(outbox::Column::Id.is_in(ids)).exec(transaction).await?;
    }
    Ok(())
}

/// Of several deletions of one message the first counts, in whatever order they come.
async fn destroy_message(transaction: &DatabaseTransaction, event: &Event, message: MessageId) -> Result<(), DbErr> {
    let seq = event.seq.to_db();
    let later = Expr::col(event::Column::DeletedSeq).is_null().or(Expr::col(event::Column::DeletedSeq).gt(seq));
    event::Entity::update_many()
        .col_expr(event::Column::Sealed, Expr::value(Option::<String>::None))
        .col_expr(
            event::Column::DeletedSeq,
            Expr::case(later, seq).finally(Expr::col(event::Column::DeletedSeq)).into(),
        )
        .filter(event::Column::ConversationId.eq(event.conversation_id.0))
        .filter(event::Column::Id.eq(message.0))
        .filter(event::Column::Kind.eq("message_posted"))
        .exec(transaction)
        .await?;
    Ok(())
}

async fn destroy_keys(transaction: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    conversation_key::Entity::delete_many()
        .filter(conversation_key::Column::ConversationId.eq(event.conversation_id.0))
        .exec(transaction)
        .await?;
    Ok(())
}
