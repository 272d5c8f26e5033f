//! `GET /search`

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use sea_orm::{ColumnTrait as _, QueryFilter as _};
use sealpost_schema::entities::event;
use sealpost_schema::entities::search_term::{first_place, next_place};
use sealpost_schema::{ConversationId, Problem, ProblemKind, Timestamp, UserId};
use serde::Deserialize;

use super::cursor::Cursor;
use super::model::{SearchResponse, SearchResult};
use super::scan::{Lookup, Proposal, propose};
use super::scope::{Scope, Searchable, scope};
use super::terms::{Feature, PURPOSE};
use super::wanted::Wanted;
use super::words::has_link;
use crate::auth::Principal;
use crate::keys::KeyError;
use crate::messages::{Found, MessageResponse, key_error, show};
use crate::page::check_limit;
use crate::problem::{ApiError, ApiResult, Query};
use crate::state::App;

/// Results of a page.
const MAX_LIMIT: u64 = 50;
/// How often a search that has not found enough looks further, and how many messages it opens, before it lets the client decide.
const MAX_ROUNDS: usize = 4;
const MAX_OPENED: usize = 300;
/// Of each conversation so many more than a page are proposed: some may not hold what they promise.
const MORE_PROPOSALS: usize = 10;

/// What a message may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Has {
    /// An address that begins with `http://` or `https://`.
    Link,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// Words that a message has all of, up to 16 in 256 characters. Upper and lower case, accents, and width do not matter. A word has at least
    /// two letters or digits; of Chinese, Japanese and Thai, any two characters that follow each other are found. The last word may be the first
    /// three or more letters of one, unless a blank follows. May be left out if there is `sender_id` or `has`.
    #[param(example = "anchor harb", max_length = 256)]
    pub q: Option<String>,
    /// Only in this conversation; else in all that the caller's list shows.
    pub conversation_id: Option<ConversationId>,
    /// Who wrote it.
    pub sender_id: Option<UserId>,
    /// Sent at this moment or later.
    pub after: Option<Timestamp>,
    /// Sent before this moment.
    pub before: Option<Timestamp>,
    #[param(inline)]
    pub has: Option<Has>,
    /// 1 to 50.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 50, default = 20)]
    pub limit: u64,
    /// `next_cursor` of the page before, with everything else as it was.
    pub cursor: Option<String>,
}

fn default_limit() -> u64 {
    20
}

/// Search messages
///
/// By words, sender, time, and whether there is a link, in one or all of the caller's conversations: among the messages that the caller may see,
/// with the text that they have now. A message can be found a moment after it is stored. Highlights are counted in characters.
#[utoipa::path(
    get, path = "/search", tag = "messages", security(("bearer" = [])),
    params(SearchQuery),
    responses(
        (status = 200, body = SearchResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Search is switched off on this server"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Nothing to search for, or a value out of range"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn search(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<SearchQuery>,
) -> ApiResult<Json<SearchResponse>> {
    if !app.search.config.enabled {
        return Err(ApiError::new(
            ProblemKind::SearchOff,
            "Search is switched off on this server. Whoever runs it decides about that.",
        ));
    }
    let run = Run::parse(query)?;
    let started = Instant::now();
    // Closed never: then the bound would be gone, and not the search.
    let _permit = app.search.permits.acquire().await.ok();
    let scope = scope(&app, principal, run.conversation_id).await?;
    let response = run.page(&app, principal.user_id, scope).await?;
    metrics::histogram!("sealpost_search_seconds").record(started.elapsed().as_secs_f64());
    Ok(Json(response))
}

/// A query that was understood.
struct Run {
    wanted: Option<Wanted>,
    conversation_id: Option<ConversationId>,
    sender_id: Option<UserId>,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
    has_link: bool,
    limit: usize,
    cursor: Option<Cursor>,
}

impl Run {
    fn parse(query: SearchQuery) -> ApiResult<Self> {
        check_limit(query.limit, MAX_LIMIT)?;
        let words = query.q.filter(|words| !words.trim().is_empty());
        if words.is_none() && query.sender_id.is_none() && query.has.is_none() {
            return Err(ApiError::invalid("Say what to look for: words in `q`, a `sender_id`, or what it `has`."));
        }
        if let (Some(after), Some(before)) = (query.after, query.before)
            && after >= before
        {
            return Err(ApiError::invalid("`after` is not earlier than `before`: nothing can be between them."));
        }
        let cursor = query.cursor.map(|text| {
            Cursor::parse(&text)
                .ok_or_else(|| ApiError::invalid("cursor is none: send `next_cursor` of a page as it is."))
        });
        let wanted = words.map(|words| Wanted::parse(&words).map_err(|error| ApiError::invalid(error.to_string())));
        Ok(Self {
            wanted: wanted.transpose()?,
            conversation_id: query.conversation_id,
            sender_id: query.sender_id,
            after: query.after,
            before: query.before,
            has_link: query.has == Some(Has::Link),
            limit: usize::try_from(query.limit).unwrap_or(1),
            cursor: cursor.transpose()?,
        })
    }

    /// What the index is asked for, the most telling first.
    fn features(&self) -> Vec<Feature> {
        let mut features: Vec<_> = self.sender_id.map(Feature::Sender).into_iter().collect();
        features.extend(self.has_link.then_some(Feature::Link));
        features.extend(self.wanted.iter().flat_map(|wanted| wanted.features.clone()));
        features
    }

    async fn page(&self, app: &App, user: UserId, scope: Scope) -> ApiResult<SearchResponse> {
        let ids: Vec<_> = scope.conversations.iter().map(|conversation| conversation.id).collect();
        app.keys.prepare_all(&ids).await.map_err(key_error)?;
        let places = self.lookups(app, &scope.conversations).await?;
        let (mut results, mut cursor, mut opened) = (Vec::new(), self.cursor, 0);
        // Where many proposals are none, as for long beginnings of words, each look takes twice as many.
        let mut portion = self.limit;
        // Proposals that turn out to be none leave room: then it looks further, a bounded number of times.
        for _ in 0..MAX_ROUNDS {
            let lookups = places.iter().filter_map(|lookup| up_to(lookup, cursor)).collect();
            let proposals = propose(&app.db, lookups, self.limit + MORE_PROPOSALS).await;
            let proposals = proposals.map_err(|error| ApiError::store(&error))?;
            let mut found = proposals.found.as_slice();
            while !found.is_empty() && results.len() < self.limit && opened < MAX_OPENED {
                let (part, rest) = found.split_at(found.len().min(portion));
                opened += part.len();
                portion *= 2;
                for (proposal, result) in self.checked(app, user, part).await? {
                    cursor = Some(Cursor(proposal));
                    results.extend(result);
                    if results.len() == self.limit {
                        break;
                    }
                }
                found = rest;
            }
            let all_told = proposals.found.last().is_none_or(|last| cursor == Some(Cursor(*last)));
            if all_told {
                match proposals.complete_to {
                    None => return Ok(SearchResponse { results, next_cursor: None, incomplete: scope.incomplete }),
                    Some(place) => cursor = Some(Cursor::after_place(place)),
                }
            }
            if results.len() == self.limit || opened >= MAX_OPENED {
                break;
            }
        }
        let next_cursor = cursor.map(|cursor| cursor.to_string());
        Ok(SearchResponse { results, next_cursor, incomplete: scope.incomplete })
    }

    /// What is looked for in each conversation.
    async fn lookups(&self, app: &App, conversations: &[Searchable]) -> ApiResult<Vec<Lookup>> {
        let features = self.features();
        let after = self.after.map_or(0, first_place);
        let to = self.before.map_or(i64::MAX, next_place);
        let mut lookups = Vec::with_capacity(conversations.len());
        for conversation in conversations {
            // Its key is in memory by now, or there is none: then there is nothing to be found either.
            let key = match app.keys.hash_key(conversation.id, PURPOSE).await {
                Ok(key) => key,
                Err(error @ KeyError::Store(_)) => return Err(key_error(error)),
                Err(_) => continue,
            };
            lookups.push(Lookup {
                conversation_id: conversation.id,
                from: conversation.from.max(after),
                to,
                visible_from: conversation.visible_from,
                terms: features.iter().map(|feature| feature.term(&key)).collect(),
            });
        }
        Ok(lookups)
    }

    /// The proposals in their order, those that hold what they promise with what is shown of them.
    async fn checked(
        &self,
        app: &App,
        user: UserId,
        proposals: &[Proposal],
    ) -> ApiResult<Vec<(Proposal, Option<SearchResult>)>> {
        let places = proposals.iter().map(|proposal| (proposal.conversation_id.0, proposal.seq().to_db()));
        let Some(proposed) = event::at(places) else { return Ok(Vec::new()) };
        let messages = event::Entity::for_user(user.0)
            .filter(proposed)
            .filter(event::Column::Kind.eq("message_posted"))
            .filter(event::Column::Sealed.is_not_null());
        let rows = event::Shown::of(messages).all(&app.db).await.map_err(|error| ApiError::store(&error))?;
        let rows =
            rows.into_iter().map(|event::Shown(row)| row).filter(|row| self.fits(row)).map(Found::from).collect();
        let mut shown: BTreeMap<_, _> = show(app, user, rows)
            .await?
            .into_iter()
            .map(|message| ((message.conversation_id, message.seq), message))
            .collect();
        let checked = proposals.iter().map(|proposal| {
            let message = shown.remove(&(proposal.conversation_id, proposal.seq()));
            (*proposal, message.and_then(|message| self.result(message)))
        });
        Ok(checked.collect())
    }

    fn fits(&self, row: &event::Model) -> bool {
        let created_at = Timestamp::from_millis(row.created_at);
        self.sender_id.is_none_or(|sender| sender.0 == row.sender_id)
            && self.after.is_none_or(|after| created_at >= after)
            && self.before.is_none_or(|before| created_at < before)
    }

    fn result(&self, message: MessageResponse) -> Option<SearchResult> {
        let text = message.text.as_deref()?;
        if self.has_link && !has_link(text) {
            return None;
        }
        let ranges = match &self.wanted {
            Some(wanted) => wanted.find_in(text)?,
            None => Vec::new(),
        };
        Some(SearchResult::new(message, &ranges))
    }
}

/// What is left of it after the cursor.
fn up_to(lookup: &Lookup, cursor: Option<Cursor>) -> Option<Lookup> {
    let to = cursor.map_or(lookup.to, |cursor| cursor.end_in(lookup.conversation_id).min(lookup.to));
    (lookup.from < to).then(|| Lookup { to, ..lookup.clone() })
}
