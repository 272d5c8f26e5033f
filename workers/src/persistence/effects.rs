//! What stored events change in other rows. Everything here may happen any number of times, in any order: what a row says is computed from
//! the events that are stored, or the higher seq wins.

use std::collections::BTreeSet;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};
use sealpost_schema::entities::{conversation_key, draft, event, outbox, participant};
use sealpost_schema::{Event, EventBody, UserId};

use super::bases::Bases;
use super::destroy;
use super::insert::{is_plain, portions};
use super::links;
use super::reactions;
use super::store::{Stored, claim};

/// Deleted messages lose their content and that of their edits and reactions, deleted conversations their keys; edited and pinned messages
/// name the event that says so; what is stored leaves the outbox.
pub(super) async fn apply(
    transaction: &DatabaseTransaction,
    events: &[&Event],
    stored: &Stored,
    bases: &Bases,
) -> Result<(), DbErr> {
    let mut done: Vec<Uuid> = Vec::new();
    let (mut deleted, mut edited, mut pinned) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut reacted: Vec<&Event> = Vec::new();
    let (mut replies, mut texts): (Vec<&Event>, Vec<&Event>) = Default::default();
    for &event in events.iter().filter(|event| !is_plain(event)) {
        if stored.problems.contains_key(&claim(event)) {
            // Not stored: no effect, and it stays in the outbox.
            continue;
        }
        if !matches!(event.body, EventBody::MessagePosted { .. }) {
            done.push(event.id.0);
        }
        if stored.is_voided(event) {
            // Its like was stored under another seq, with its effect.
            continue;
        }
        if let Some(message) = event.body.target().filter(|_| bases.is_destroyed(event)) {
            deleted.insert(message.0);
        }
        match event.body {
            EventBody::MessageDeleted { message_id, .. } => drop(deleted.insert(message_id.0)),
            EventBody::MessageEdited { message_id, .. } => {
                edited.insert(message_id.0);
                texts.push(event);
            }
            EventBody::MessagePosted { ref links, .. } => {
                replies.extend(event.body.thread().map(|_| event));
                texts.extend(links.as_ref().map(|_| event));
            }
            EventBody::MessagePinned { message_id, .. } | EventBody::MessageUnpinned { message_id, .. } => {
                pinned.insert(message_id.0);
            }
            EventBody::ReactionAdded { .. } | EventBody::ReactionRemoved { .. } => reacted.push(event),
            EventBody::ParticipantAdded { user_id, .. } => let_see(transaction, event, user_id).await?,
            EventBody::ConversationDeleted => destroy_keys(transaction, event).await?,
            _ => {}
        }
    }
    name_newest_edit(transaction, edited).await?;
    name_pin(transaction, pinned).await?;
    links::apply_threads(transaction, &replies).await?;
    texts.retain(|event| event.body.target().is_none_or(|message| !deleted.contains(&message.0)));
    links::apply_mentions(transaction, &texts).await?;
    reacted.retain(|event| event.body.target().is_some_and(|message| !deleted.contains(&message.0)));
    reactions::apply(transaction, &reacted).await?;
    destroy::messages(transaction, &deleted.into_iter().collect::<Vec<_>>()).await?;
    for ids in portions(&done) {
        outbox::Entity::delete_many().filter(outbox::Column::Id.is_in(ids)).exec(transaction).await?;
    }
    Ok(())
}

async fn name_newest_edit(transaction: &DatabaseTransaction, messages: BTreeSet<Uuid>) -> Result<(), DbErr> {
    const NEWEST: &str =
        "(SELECT MAX(e.seq) FROM events e WHERE e.target_id = events.id AND e.kind = 'message_edited')";
    let messages: Vec<Uuid> = messages.into_iter().collect();
    for ids in portions(&messages) {
        event::Entity::update_many()
            .col_expr(event::Column::EditedSeq, Expr::cust(NEWEST))
            .filter(event::Column::Id.is_in(ids))
            .filter(event::Column::Kind.eq("message_posted"))
            .exec(transaction)
            .await?;
    }
    Ok(())
}

/// A message is pinned if the newest event that pins or unpins it pins it.
async fn name_pin(transaction: &DatabaseTransaction, messages: BTreeSet<Uuid>) -> Result<(), DbErr> {
    const PIN: &str = "(SELECT CASE WHEN e.kind = 'message_pinned' THEN e.seq END FROM events e \
        WHERE e.target_id = events.id AND e.kind IN ('message_pinned', 'message_unpinned') \
        ORDER BY e.seq DESC LIMIT 1)";
    let messages: Vec<Uuid> = messages.into_iter().collect();
    for ids in portions(&messages) {
        event::Entity::update_many()
            .col_expr(event::Column::PinnedSeq, Expr::cust(PIN))
            .filter(event::Column::Id.is_in(ids))
            .filter(event::Column::Kind.eq("message_posted"))
            .exec(transaction)
            .await?;
    }
    Ok(())
}

/// Whoever sees a conversation only since they joined it sees it from this event on. The row knows which event added them, so that one
/// from before they left and came back has no effect.
async fn let_see(transaction: &DatabaseTransaction, event: &Event, user: UserId) -> Result<(), DbErr> {
    let update = participant::Entity::joined(event.conversation_id.0, user.0, event.id.0, event.seq.to_db());
    update.exec(transaction).await?;
    Ok(())
}

async fn destroy_keys(transaction: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    conversation_key::Entity::delete_many()
        .filter(conversation_key::Column::ConversationId.eq(event.conversation_id.0))
        .exec(transaction)
        .await?;
    // Nobody could open them any more.
    draft::Entity::delete_many()
        .filter(draft::Column::ConversationId.eq(event.conversation_id.0))
        .exec(transaction)
        .await?;
    Ok(())
}
