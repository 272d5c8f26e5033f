//! The round of telling: what changed here goes to the other gateways, and what changed anywhere to those who watch.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use bytes::Bytes;
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use sealpost_bus::Subject;
use sealpost_schema::entities::participant;
use sealpost_schema::{ConversationId, Presence, PresenceNotice, ServerFrame, UserId, UserPresence};
use tokio_util::sync::CancellationToken;

use super::watch::everybody;
use super::watched::{Participants, TypingChange};
use super::{GATEWAY_TIMEOUT, MAX_NAMED, State, TICK, TICKS_PER_SIGN};
use crate::conversations::sizes;
use crate::live::encode;
use crate::state::App;

/// Users of one notice: far below what the bus takes in one message.
const USERS_PER_NOTICE: usize = 5000;
/// Conversations whose participants are loaded in one tick.
const LOADS: usize = 100;
/// Participants of a large conversation that are counted.
const MAX_COUNTED: u64 = 100_000;
/// Names pushed in one tick, each to each who watches. Conversations beyond it get a count.
const BUDGET: usize = 20_000;
/// Ticks between two looks for conversations that nobody watches any more.
const TICKS_PER_SWEEP: u32 = 20;

/// Tells, twice a second, until the gateway stops.
pub async fn run(app: App, stop: CancellationToken) {
    let mut beat = tokio::time::interval(TICK);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round: u32 = 0;
    let mut number = 0;
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        round = round.wrapping_add(1);
        tell_gateways(&app, round, &mut number).await;
        if let Err(error) = load(&app).await {
            tracing::debug!(%error, "participants of watched conversations cannot be loaded yet");
        }
        tell_watchers(&app);
        if round.is_multiple_of(TICKS_PER_SWEEP) {
            sweep(&app);
        }
    }
    number += 1;
    publish(&app, &notice(&app, number, true, Vec::new())).await;
}

fn notice(app: &App, number: u64, gone: bool, users: Vec<(UserId, Presence)>) -> PresenceNotice {
    PresenceNotice { from: app.presences.gateway, number, whole: false, gone, users }
}

async fn tell_gateways(app: &App, round: u32, number: &mut u64) {
    let own = app.presences.gateway;
    let touched = std::mem::take(&mut app.presences.lock().touched);
    let now = Instant::now();
    let said: Vec<_> = touched.into_iter().map(|user| (user, said_by_connections(app, user))).collect();
    let (mut users, whole, lost) = {
        let mut state = app.presences.lock();
        state.table.expire(now, GATEWAY_TIMEOUT);
        state.typing.forget_old(now);
        let changed: Vec<_> =
            said.into_iter().filter(|(user, presence)| state.table.said_by(own, *user) != *presence).collect();
        for (user, presence) in &changed {
            state.table.set(own, *user, *presence);
        }
        let (asked, lost) = (std::mem::take(&mut state.asked), std::mem::take(&mut state.lost));
        (if asked { state.table.all_of(own) } else { changed }, asked, lost)
    };
    if lost {
        ask(app).await;
    }
    let mut first = true;
    while !users.is_empty() || first && (whole || round.is_multiple_of(TICKS_PER_SIGN)) {
        let part = users.split_off(users.len().saturating_sub(USERS_PER_NOTICE));
        *number += 1;
        publish(app, &PresenceNotice { whole: whole && first, ..notice(app, *number, false, part) }).await;
        first = false;
    }
}

/// What the user's connections here say together.
fn said_by_connections(app: &App, user: UserId) -> Presence {
    app.connections.of_user(user).iter().map(|connection| connection.presence()).max().unwrap_or_default()
}

async fn ask(app: &App) {
    send(app, PresenceNotice::ASK_SUBJECT, Bytes::from_static(b"{}")).await;
}

async fn publish(app: &App, notice: &PresenceNotice) {
    // Plain data always serialises.
    let payload = serde_json::to_vec(notice).unwrap_or_default();
    send(app, PresenceNotice::SUBJECT, payload.into()).await;
}

/// At most once: what is lost is noticed by its number, and asked for.
async fn send(app: &App, subject: &str, payload: Bytes) {
    if let Ok(subject) = Subject::new(subject)
        && let Err(error) = app.live.publish(subject, payload).await
    {
        tracing::debug!(%error, "presence could not be told to other gateways");
    }
}

/// Loads who takes part in newly watched conversations: two queries for all of them, and one for the count of a large one.
async fn load(app: &App) -> Result<(), DbErr> {
    let unknown = app.presences.lock().watched.unknown(LOADS);
    if !unknown.is_empty() {
        let sizes = sizes(&app.db, unknown.iter().copied()).await?;
        let small = |id: &&ConversationId| sizes.get(*id).is_none_or(|size| *size <= MAX_NAMED as u64);
        let (named, many): (Vec<_>, Vec<_>) = unknown.iter().partition(small);
        let mut users = participants(app, &named).await?;
        let mut state = app.presences.lock();
        for id in named {
            state.watched.know(*id, Participants::Named(users.remove(&id.0).unwrap_or_default()));
            greet(app, &state, *id);
        }
        for id in many {
            state.watched.know(*id, Participants::Many { online: 0, counted: None });
        }
    }
    let uncounted = app.presences.lock().watched.uncounted(Instant::now());
    if let Some(id) = uncounted {
        let users: Vec<Uuid> = participant::Entity::of(id.0)
            .select_only()
            .column(participant::Column::UserId)
            .limit(MAX_COUNTED)
            .into_tuple()
            .all(&app.db)
            .await?;
        let mut state = app.presences.lock();
        let online = users.iter().filter(|user| state.table.of(UserId(**user)) != Presence::Offline).count() as u64;
        state.watched.know(id, Participants::Many { online, counted: Some(Instant::now()) });
        greet(app, &state, id);
    }
    Ok(())
}

async fn participants(app: &App, ids: &[&ConversationId]) -> Result<HashMap<Uuid, HashSet<UserId>>, DbErr> {
    let rows: Vec<(Uuid, Uuid)> = participant::Entity::find()
        .select_only()
        .column(participant::Column::ConversationId)
        .column(participant::Column::UserId)
        .filter(participant::Column::ConversationId.is_in(ids.iter().map(|id| id.0)))
        .into_tuple()
        .all(&app.db)
        .await?;
    let mut users: HashMap<Uuid, HashSet<UserId>> = HashMap::new();
    for (conversation, user) in rows {
        users.entry(conversation).or_default().insert(UserId(user));
    }
    Ok(users)
}

/// Tells all who watch a conversation who is there.
fn greet(app: &App, state: &State, id: ConversationId) {
    if let Some(frame) = everybody(state, id)
        && let Some(room) = app.hub.find(id)
    {
        room.tell_watchers(&encode(&frame));
    }
}

fn tell_watchers(app: &App) {
    let (typing, presence) = {
        let mut state = app.presences.lock();
        let typing = state.watched.typing_changes(Instant::now());
        (typing, differences(app, &mut state))
    };
    for TypingChange { id: conversation_id, started, stopped } in typing {
        let Some(room) = app.hub.find(conversation_id) else { continue };
        for user_id in stopped {
            room.tell_watchers(&encode(&ServerFrame::TypingStop { conversation_id, user_id }));
        }
        for user_id in started {
            room.tell_watchers(&encode(&ServerFrame::TypingStart { conversation_id, user_id }));
        }
    }
    let mut budget = BUDGET;
    // The cheap ones first, so that one large conversation does not take the names of all others.
    let mut costs: Vec<_> = presence
        .into_iter()
        .filter_map(|(id, update)| {
            let room = app.hub.find(id)?;
            let cost = update.users.len().saturating_mul(room.watchers());
            Some((cost, id, room, update))
        })
        .collect();
    costs.sort_by_key(|(cost, ..)| *cost);
    for (cost, conversation_id, room, Update { online, users }) in costs {
        let users = if cost <= budget { users } else { Vec::new() };
        budget = budget.saturating_sub(cost);
        room.tell_watchers(&encode(&ServerFrame::PresenceUpdate { conversation_id, online, whole: false, users }));
    }
}

struct Update {
    online: u64,
    users: Vec<UserPresence>,
}

/// Whose presence changed, for each conversation that names them.
fn differences(app: &App, state: &mut State) -> HashMap<ConversationId, Update> {
    let mut updates: HashMap<ConversationId, Update> = HashMap::new();
    let now = app.clock.now();
    for user_id in state.table.take_changed() {
        let status = state.table.of(user_id);
        let last_seen_at = (status == Presence::Offline).then_some(now);
        for id in state.watched.naming(user_id) {
            let update = updates.entry(id).or_insert_with(|| Update { online: 0, users: Vec::new() });
            update.users.push(UserPresence { user_id, status, last_seen_at });
        }
    }
    for (id, update) in &mut updates {
        if let Some(Participants::Named(users)) = state.watched.participants(*id) {
            update.online = users.iter().filter(|user| state.table.of(**user) != Presence::Offline).count() as u64;
        }
    }
    updates
}

/// Forgets conversations that nobody here watches any more.
fn sweep(app: &App) {
    let all = app.presences.lock().watched.all();
    for id in all {
        if app.hub.find(id).is_none_or(|room| room.watchers() == 0) {
            app.presences.lock().watched.forget(id);
        }
    }
}
