//! Where threads stand, for one user: for a page of any length one query.

use std::collections::HashMap;

use sea_orm::FromQueryResult;
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, JoinType, Query, SelectStatement};
use sealpost_schema::entities::{event, thread, thread_follower};
use sealpost_schema::{Seq, Timestamp, UserId};
use serde::Serialize;

use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// Replies are counted up to this.
const MAX_COUNT: u64 = 1000;

/// Of the message that began a thread.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ThreadResponse {
    /// Replies that are not deleted; counted up to 1000.
    pub reply_count: u64,
    /// Of the last reply.
    pub last_seq: Seq,
    /// The caller follows it: they began it, replied, or asked for it.
    pub following: bool,
    /// The caller has read it up to here.
    pub read_seq: Seq,
    /// Replies of others after `read_seq`; counted up to 1000.
    pub unread_count: u64,
}

#[derive(FromQueryResult)]
struct Row {
    root_id: Uuid,
    last_seq: i64,
    replies: i64,
    unread: i64,
    following: Option<bool>,
    read_seq: Option<i64>,
}

/// By the first message of each.
pub async fn states(app: &App, user: UserId, roots: Vec<Uuid>) -> ApiResult<HashMap<Uuid, ThreadResponse>> {
    if roots.is_empty() {
        return Ok(HashMap::new());
    }
    let statement = app.db.get_database_backend().build(&select(user, roots, app.clock.now()));
    let rows = Row::find_by_statement(statement).all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let count = |value: i64| u64::try_from(value).unwrap_or(0);
    let state = |row: Row| {
        let state = ThreadResponse {
            reply_count: count(row.replies),
            last_seq: Seq::from_db(row.last_seq),
            following: row.following.unwrap_or(false),
            read_seq: Seq::from_db(row.read_seq.unwrap_or(0)),
            unread_count: count(row.unread),
        };
        (row.root_id, state)
    };
    Ok(rows.into_iter().map(state).collect())
}

fn select(user: UserId, roots: Vec<Uuid>, now: Timestamp) -> SelectStatement {
    use thread_follower::Column as F;
    let replies = Query::select()
        .expr(Expr::val(1))
        .from(event::Entity)
        .and_where(Expr::col((event::Entity, event::Column::ThreadId)).equals((thread::Entity, thread::Column::RootId)))
        .and_where(Expr::col((event::Entity, event::Column::Sealed)).is_not_null())
        .cond_where(event::Entity::not_expired(now))
        .limit(MAX_COUNT)
        .to_owned();
    let mut unread = replies.clone();
    let read = Expr::cust("COALESCE(thread_followers.read_seq, 0)");
    unread
        .and_where(Expr::col((event::Entity, event::Column::Seq)).gt(read))
        .and_where(Expr::col((event::Entity, event::Column::SenderId)).ne(user.0));
    let count = |of: SelectStatement, name: &'static str| {
        let counted = Query::select().expr(Expr::cust("COUNT(*)")).from_subquery(of, Alias::new(name)).to_owned();
        Expr::SubQuery(None, Box::new(counted.into()))
    };
    let mine = Expr::col((thread_follower::Entity, F::RootId))
        .equals((thread::Entity, thread::Column::RootId))
        .and(Expr::col((thread_follower::Entity, F::UserId)).eq(user.0));
    Query::select()
        .columns([(thread::Entity, thread::Column::RootId), (thread::Entity, thread::Column::LastSeq)])
        .columns([(thread_follower::Entity, F::Following), (thread_follower::Entity, F::ReadSeq)])
        .expr_as(count(replies, "replies_of_it"), "replies")
        .expr_as(count(unread, "unread_of_it"), "unread")
        .from(thread::Entity)
        .join(JoinType::LeftJoin, thread_follower::Entity, mine)
        .and_where(Expr::col((thread::Entity, thread::Column::RootId)).is_in(roots))
        .to_owned()
}
