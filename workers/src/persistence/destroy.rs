//! Destroying what messages say, whatever the reason: they were deleted, have disappeared, or are older than what is kept.

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use sealpost_schema::entities::{event, search_term};

use super::insert::portions;
use super::{links, reactions};

/// In the order of their ids, as whoever stores changes of messages locks them: they wait for each other rather than deadlock.
pub(crate) async fn lock(transaction: &DatabaseTransaction, messages: &[Uuid]) -> Result<(), DbErr> {
    for ids in portions(messages) {
        event::Entity::find()
            .select_only()
            .column(event::Column::Id)
            .filter(event::Column::Id.is_in(ids))
            .order_by_asc(event::Column::Id)
            .lock_exclusive()
            .into_tuple::<Uuid>()
            .all(transaction)
            .await?;
    }
    Ok(())
}

/// Takes away the content of these messages and all that was made of it: edits, reactions, the pin, mentions, the search index. What stays is a row that says
/// that there was a message. Of several deletions of one the first counts, in whatever order they come; what an edit or reaction says
/// that is stored later goes, too. May be done any number of times.
pub(crate) async fn messages(transaction: &DatabaseTransaction, messages: &[Uuid]) -> Result<(), DbErr> {
    const FIRST: &str = "COALESCE((SELECT MIN(e.seq) FROM events e \
        WHERE e.target_id = events.id AND e.kind = 'message_deleted'), deleted_seq)";
    let nothing = || Expr::value(Option::<String>::None);
    for ids in portions(messages) {
        event::Entity::update_many()
            .col_expr(event::Column::Sealed, nothing())
            .col_expr(event::Column::DeletedSeq, Expr::cust(FIRST))
            .col_expr(event::Column::PinnedSeq, Expr::value(Option::<i64>::None))
            .filter(event::Column::Id.is_in(ids.clone()))
            .filter(event::Column::Kind.eq("message_posted"))
            .exec(transaction)
            .await?;
        event::Entity::update_many()
            .col_expr(event::Column::Sealed, nothing())
            .filter(event::Column::TargetId.is_in(ids.clone()))
            .filter(event::Column::Sealed.is_not_null())
            .exec(transaction)
            .await?;
        reactions::destroy(transaction, ids.clone()).await?;
        search_term::forget(transaction, ids.clone()).await?;
        links::forget_mentions(transaction, ids).await?;
    }
    Ok(())
}
