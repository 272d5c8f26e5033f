//! Keeps the promises of `sealpost_workers::timers` about messages that disappear.

use std::sync::Arc;

use crate::harness::{Running, World, event, eventually, message_named, on_both_stores};
use sea_orm::prelude::Uuid;
use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait, PaginatorTrait};
use sealpost_lane::{LaneConfig, Lanes};
use sealpost_schema::entities::{conversation_key, mention, reaction};
use sealpost_schema::{
    Clock, ConversationId, Event, EventBody, MessageId, MessageLinks, ReactionHash, Timestamp, UserId,
};
use sealpost_workers::persistence::CONSUMER;
use sealpost_workers::timers::{TimersConfig, run};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

on_both_stores! {
    what_has_disappeared_is_destroyed_with_all_that_belongs_to_it
    what_comes_late_is_destroyed_too
    a_key_goes_when_its_time_has_come
}

fn start(world: &World, clock: &Clock) -> Running {
    let (log, tasks, stop) = (Arc::new(world.log.bus.clone()), TaskTracker::new(), CancellationToken::new());
    let lanes = Lanes::new(log, world.db.clone(), LaneConfig::default(), clock.clone(), None, tasks, stop);
    let config = TimersConfig { interval_ms: 20, page: 3, ..TimersConfig::default() };
    Running::new(|stop| run(lanes, world.log.live.clone(), world.db.clone(), config, None, clock.clone(), stop))
}

fn posted(conversation: ConversationId, seq: u64, expires: Option<Timestamp>) -> Event {
    let mut message = message_named(conversation, seq, &format!("m-{seq}"));
    if let EventBody::MessagePosted { expires_at, links, .. } = &mut message.body {
        *expires_at = expires;
        *links = Some(Box::new(MessageLinks { mentions: vec![UserId(Uuid::from_u128(7))], ..MessageLinks::default() }));
    }
    message
}

fn edit(of: &Event, seq: u64) -> Event {
    let body = EventBody::MessageEdited {
        message_id: of.id.into(),
        message_seq: of.seq,
        sealed: format!("edit {seq}"),
        mentions: vec![UserId(Uuid::from_u128(8))],
        mentions_all: false,
        expires_at: of.body.expires_at(),
    };
    event(of.conversation_id, seq, body)
}

fn reaction_to(of: &Event, seq: u64) -> Event {
    let body = EventBody::ReactionAdded {
        message_id: of.id.into(),
        message_seq: of.seq,
        reaction: ReactionHash(Uuid::from_u128(1)),
        sealed: format!("emoji {seq}"),
        expires_at: of.body.expires_at(),
    };
    event(of.conversation_id, seq, body)
}

fn pin(of: &Event, seq: u64) -> Event {
    event(of.conversation_id, seq, EventBody::MessagePinned { message_id: MessageId::from(of.id), message_seq: of.seq })
}

async fn store(world: &World, events: &[Event]) {
    world.log.append(events).await;
    let persistence = world.persistence();
    world.log.drained(CONSUMER).await;
    persistence.stop().await;
}

/// Seqs of the events that have content.
async fn with_content(world: &World) -> Vec<i64> {
    world.table().await.into_iter().filter(|row| row.sealed.is_some()).map(|row| row.seq).collect()
}

async fn what_has_disappeared_is_destroyed_with_all_that_belongs_to_it(world: World) {
    let clock = Clock::default();
    let (soon, later) = (clock.now().plus(std::time::Duration::from_mins(1)), clock.now());
    let later = later.plus(std::time::Duration::from_hours(2));
    let conversation = ConversationId::new();
    let mut events: Vec<Event> = (1..=10).map(|seq| posted(conversation, seq, Some(soon))).collect();
    events.push(posted(conversation, 11, None));
    events.push(posted(conversation, 12, Some(later)));
    events.extend([edit(&events[0], 13), reaction_to(&events[0], 14), pin(&events[0], 15)]);
    events.extend([edit(&events[10], 16), reaction_to(&events[10], 17), pin(&events[10], 18)]);
    store(&world, &events).await;
    let whole = world.table().await;
    assert_eq!(whole[0].expires_at, Some(soon.millis()));
    let workers = [start(&world, &clock), start(&world, &clock)];
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(world.table().await, whole, "nothing before its time");
    clock.step(60_001);
    eventually("they are destroyed", async || with_content(&world).await == [11, 12, 16, 17]).await;
    for worker in workers {
        worker.stop().await;
    }
    let table = world.table().await;
    assert_eq!(table.len(), events.len(), "each number stays");
    assert_eq!((table[0].pinned_seq, table[10].pinned_seq), (None, Some(18)));
    assert!(table.iter().all(|row| row.deleted_seq.is_none()), "nobody has deleted anything");
    let reactions = reaction::Entity::find().all(&world.db).await.unwrap();
    assert_eq!(reactions.iter().map(|row| row.seq).collect::<Vec<_>>(), [17]);
    let mentions = mention::Entity::find().all(&world.db).await.unwrap();
    let mut mentions: Vec<_> = mentions.iter().map(|row| (row.seq, row.user_id.as_u128())).collect();
    mentions.sort_unstable();
    assert_eq!(mentions, [(11, 8), (12, 7)]);
    // Reading the log again brings nothing back.
    store(&world, &events).await;
    assert_eq!(world.table().await, table);
    assert_eq!(mention::Entity::find().count(&world.db).await.unwrap(), 2);
}

/// A message, and changes of one, that are stored after its time.
async fn what_comes_late_is_destroyed_too(world: World) {
    let clock = Clock::default();
    let past = Timestamp::from_millis(clock.now().millis() - 1);
    let conversation = ConversationId::new();
    let message = posted(conversation, 1, Some(past));
    let worker = start(&world, &clock);
    store(&world, std::slice::from_ref(&message)).await;
    eventually("it is destroyed", async || with_content(&world).await.is_empty()).await;
    worker.stop().await;
    store(&world, &[edit(&message, 2), reaction_to(&message, 3), pin(&message, 4)]).await;
    assert_eq!(with_content(&world).await, Vec::<i64>::new());
    assert_eq!(world.table().await[0].pinned_seq, None);
    assert_eq!(reaction::Entity::find().count(&world.db).await.unwrap(), 0);
    assert_eq!(mention::Entity::find().count(&world.db).await.unwrap(), 0);
}

async fn a_key_goes_when_its_time_has_come(world: World) {
    let clock = Clock::default();
    let conversation = ConversationId::new();
    let soon = clock.now().plus(std::time::Duration::from_mins(1)).millis();
    for (generation, expires_at) in [(1, None), (2, Some(soon)), (3, Some(soon + 3_600_000))] {
        let row = conversation_key::ActiveModel {
            conversation_id: Set(conversation.0),
            generation: Set(generation),
            wrapped: Set("wrapped".to_owned()),
            created_at: Set(0),
            expires_at: Set(expires_at),
            ..Default::default()
        };
        row.insert(&world.db).await.unwrap();
    }
    let generations = async || {
        let rows = conversation_key::Entity::find().all(&world.db).await.unwrap();
        let mut generations: Vec<_> = rows.into_iter().map(|row| row.generation).collect();
        generations.sort_unstable();
        generations
    };
    let worker = start(&world, &clock);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(generations().await, [1, 2, 3]);
    clock.step(60_001);
    eventually("the second goes", async || generations().await == [1, 3]).await;
    worker.stop().await;
}
