//! What a message has beside its text: what it replies to, which thread it belongs to, and whom it mentions. Resolved here, before the text is
//! sealed: who stores it cannot read it.

use std::collections::BTreeSet;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Query;
use sea_orm::{ColumnTrait as _, QueryFilter as _, QuerySelect as _};
use sealpost_schema::entities::{event, participant, user};
use sealpost_schema::{Action, ConversationId, MessageId, MessageLinks, UserId};

use super::current::Current;
use crate::conversations::load_start;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;
use crate::users::username::normalize;

/// Users whom one message can mention by name; further names are plain text.
const MAX_MENTIONS: usize = 50;

/// `None`: it is a message and nothing else. A text without `@` that is no reply costs no query.
pub async fn resolve(
    app: &App,
    sender: UserId,
    conversation: ConversationId,
    text: &str,
    reply_to: Option<MessageId>,
    thread_id: Option<MessageId>,
) -> ApiResult<Option<Box<MessageLinks>>> {
    let (mentions, mentions_all) = mentions(app, sender, conversation, text).await?;
    if reply_to.is_some() || thread_id.is_some() {
        // Who takes no part is told what they would be told without a reply, so that they do not learn whether there is such a conversation.
        let start = load_start(app, sender, conversation, "conversation").await?;
        if let Some(id) = reply_to {
            Current::load_from(app, sender, conversation, start, id).await?;
        }
        if let Some(id) = thread_id {
            let root = Current::load_from(app, sender, conversation, start, id).await?;
            if root.row.thread_id.is_some() {
                return Err(ApiError::invalid(
                    "thread_id names a message that is in a thread itself. Name that thread's first message.",
                ));
            }
        }
    }
    let links = MessageLinks { reply_to, thread_id, mentions, mentions_all };
    Ok((links != MessageLinks::default()).then(|| Box::new(links)))
}

/// The participants whom the text names, and whether it calls all; that takes a right, without which `@all` is plain text.
pub async fn mentions(
    app: &App,
    sender: UserId,
    conversation: ConversationId,
    text: &str,
) -> ApiResult<(Vec<UserId>, bool)> {
    if !text.contains('@') {
        return Ok((Vec::new(), false));
    }
    let mut names = names(text);
    let calls_all = names.remove("all");
    let mentions = if names.is_empty() { Vec::new() } else { participants(app, conversation, names).await? };
    let mentions_all = calls_all
        && app.lanes.fold(conversation).await.map_err(|error| ApiError::lane(&error))?.may(sender, Action::MentionAll);
    Ok((mentions, mentions_all))
}

async fn participants(app: &App, conversation: ConversationId, names: BTreeSet<String>) -> ApiResult<Vec<UserId>> {
    let here = Query::select()
        .column(participant::Column::UserId)
        .from(participant::Entity)
        .and_where(participant::Column::ConversationId.eq(conversation.0))
        .to_owned();
    let ids: Vec<Uuid> = user::Entity::active()
        .select_only()
        .column(user::Column::Id)
        .filter(user::Column::Username.is_in(names))
        .filter(user::Column::Id.in_subquery(here))
        .into_tuple()
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let mut ids: Vec<UserId> = ids.into_iter().map(UserId).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// What stands behind an `@` that begins a word, as user names are kept.
fn names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices('@') {
        let begins = text[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric());
        let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
        let rest = &text[at + 1..];
        let end = rest.find(|character| !allowed(character)).unwrap_or(rest.len());
        // The end of a sentence belongs to no name.
        let name = rest[..end].trim_end_matches(['.', '-', '_']);
        if begins && names.len() <= MAX_MENTIONS {
            names.extend(normalize(name));
        }
    }
    names
}

/// The messages that are quoted, by conversation and id, as far as the user may see them.
pub async fn quoted(app: &App, user: UserId, by_conversation: Vec<(Uuid, Uuid)>) -> ApiResult<Vec<event::Model>> {
    if by_conversation.is_empty() {
        return Ok(Vec::new());
    }
    let ids = by_conversation.iter().map(|(_, id)| *id);
    let rows = event::Entity::for_user(user.0)
        .filter(event::Column::Id.is_in(ids))
        .filter(event::Column::Kind.eq("message_posted"))
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    // A message quotes what its conversation has; nobody sees more by naming another's.
    Ok(rows.into_iter().filter(|row| by_conversation.contains(&(row.conversation_id, row.id))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_words_and_end_with_them() {
        let found = names("@Ada, see (@bob.b) and @eve_1... not mail@ada.example, @x, @@dan @all! ä@tim");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["ada", "all", "bob.b", "dan", "eve_1"]);
        assert!(names("no names @ all").is_empty());
    }
}
