//! Keeps the promises of `sealpost_workers::timers` about what is older than it is kept.

use std::sync::Arc;

use crate::harness::{Running, World, event, eventually, make_conversation, message, on_both_stores};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait};
use sealpost_lane::{LaneConfig, Lanes};
use sealpost_schema::entities::{conversation, retention_mark};
use sealpost_schema::{Clock, ConversationId, Event, EventBody, Timestamp};
use sealpost_workers::persistence::CONSUMER;
use sealpost_workers::timers::{TimersConfig, run};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

on_both_stores! {
    what_is_too_old_is_destroyed_and_keeps_its_number
    the_server_sets_the_most_and_conversations_less
    much_at_once_is_worked_off_in_portions_by_several
    nothing_behind_a_hole_is_passed_over
}

const DAY_MS: i64 = 86_400_000;

fn start(world: &World, clock: &Clock, days: Option<u32>) -> Running {
    let (log, tasks, stop) = (Arc::new(world.log.bus.clone()), TaskTracker::new(), CancellationToken::new());
    let lanes = Lanes::new(log, world.db.clone(), LaneConfig::default(), clock.clone(), None, tasks, stop);
    let config = TimersConfig { retention_interval_ms: 20, ..TimersConfig::default() };
    Running::new(|stop| run(lanes, world.log.live.clone(), world.db.clone(), config, days, clock.clone(), stop))
}

async fn kept_for(world: &World, days: Option<i32>) -> ConversationId {
    let (id, _) = make_conversation(world).await;
    let row = conversation::ActiveModel { id: Set(id.0), retention_days: Set(days), ..Default::default() };
    row.update(&world.db).await.unwrap();
    id
}

/// So many days before now.
fn aged(clock: &Clock, days: i64, event: Event) -> Event {
    Event { created_at: Timestamp::from_millis(clock.now().millis() - days * DAY_MS), ..event }
}

async fn store(world: &World, events: &[Event]) {
    for events in events.chunks(100) {
        world.log.append(events).await;
    }
    let persistence = world.persistence();
    world.log.drained(CONSUMER).await;
    persistence.stop().await;
}

async fn with_content(world: &World, conversation: ConversationId) -> Vec<i64> {
    let rows = world.table().await.into_iter().filter(|row| row.conversation_id == conversation.0);
    rows.filter(|row| row.sealed.is_some()).map(|row| row.seq).collect()
}

/// A round is over when the marks say that nothing is due.
async fn worked_off(world: &World, conversation: ConversationId, floor: i64) {
    eventually("the conversation is worked off", async || {
        let mark = retention_mark::Entity::find_by_id(conversation.0).one(&world.db).await.unwrap();
        mark.is_some_and(|mark| mark.floor_seq == floor)
    })
    .await;
}

fn edit(of: &Event, seq: u64) -> Event {
    let body = EventBody::MessageEdited {
        message_id: of.id.into(),
        message_seq: of.seq,
        sealed: format!("edit {seq}"),
        mentions: Vec::new(),
        mentions_all: false,
        expires_at: None,
    };
    event(of.conversation_id, seq, body)
}

async fn what_is_too_old_is_destroyed_and_keeps_its_number(world: World) {
    let clock = Clock::default();
    let (short, kept) = (kept_for(&world, Some(2)).await, kept_for(&world, None).await);
    let mut all = Vec::new();
    for id in [short, kept] {
        let mut events: Vec<_> = (1..=3).map(|seq| aged(&clock, 10, message(id, seq))).collect();
        events.push(aged(&clock, 3, event(id, 4, EventBody::ConversationChanged { sealed_title: None })));
        events.extend((5..=6).map(|seq| aged(&clock, 1, message(id, seq))));
        // A change goes with what it changes, however young it is.
        events.push(aged(&clock, 0, edit(&events[0], 7)));
        events.push(aged(&clock, 0, edit(&events[4], 8)));
        store(&world, &events).await;
        all.push(events);
    }
    let worker = start(&world, &clock, None);
    worked_off(&world, short, 4).await;
    assert_eq!(with_content(&world, short).await, [5, 6, 8]);
    assert_eq!(with_content(&world, kept).await, [1, 2, 3, 5, 6, 7, 8]);
    let before = world.table().await;
    assert_eq!(before.len(), 16, "each number stays");
    assert!(before.iter().all(|row| row.deleted_seq.is_none()));
    store(&world, &all[0]).await;
    assert_eq!(world.table().await, before, "reading the log again brings nothing back");
    clock.step(2 * DAY_MS);
    worked_off(&world, short, 8).await;
    worker.stop().await;
    assert_eq!(with_content(&world, short).await, Vec::<i64>::new());
    assert_eq!(with_content(&world, kept).await, [1, 2, 3, 5, 6, 7, 8]);
}

async fn the_server_sets_the_most_and_conversations_less(world: World) {
    let clock = Clock::default();
    let ids = [kept_for(&world, None).await, kept_for(&world, Some(5)).await, kept_for(&world, Some(50)).await];
    for id in ids {
        let ages = [100, 20, 7, 1];
        let events: Vec<_> = (1..).zip(ages).map(|(seq, days)| aged(&clock, days, message(id, seq))).collect();
        store(&world, &events).await;
    }
    let worker = start(&world, &clock, Some(10));
    for (id, left) in ids.into_iter().zip([[3, 4].as_slice(), &[4], &[3, 4]]) {
        worked_off(&world, id, 4 - i64::try_from(left.len()).unwrap()).await;
        assert_eq!(with_content(&world, id).await, left);
    }
    worker.stop().await;
}

async fn much_at_once_is_worked_off_in_portions_by_several(world: World) {
    let clock = Clock::default();
    let mut ids = Vec::new();
    for _ in 0..25 {
        let id = kept_for(&world, Some(1)).await;
        store(&world, &[aged(&clock, 9, message(id, 1)), aged(&clock, 0, message(id, 2))]).await;
        ids.push(id);
    }
    let long = kept_for(&world, Some(1)).await;
    let events: Vec<_> = (1..=1300).map(|seq| aged(&clock, 5, message(long, seq))).collect();
    store(&world, &events).await;
    let workers = [start(&world, &clock, None), start(&world, &clock, None)];
    worked_off(&world, long, 1300).await;
    assert_eq!(with_content(&world, long).await, Vec::<i64>::new());
    for id in ids {
        worked_off(&world, id, 1).await;
        assert_eq!(with_content(&world, id).await, [2]);
    }
    for worker in workers {
        worker.stop().await;
    }
}

/// What is stored late, because a worker was slow, is not forgotten. What cannot come any more does not hold up what follows.
async fn nothing_behind_a_hole_is_passed_over(world: World) {
    let clock = Clock::default();
    let (id, other) = (kept_for(&world, Some(2)).await, kept_for(&world, Some(2)).await);
    let late = aged(&clock, 10, message(id, 2));
    store(&world, &[aged(&clock, 10, message(id, 1))]).await;
    store(&world, &[aged(&clock, 9, message(id, 3))]).await;
    // Numbers that are gone for good, more of them than are looked at in one portion.
    store(&world, &[aged(&clock, 90, message(other, 700))]).await;
    let worker = start(&world, &clock, None);
    worked_off(&world, id, 1).await;
    worked_off(&world, other, 700).await;
    assert_eq!(with_content(&world, id).await, [3]);
    store(&world, &[late]).await;
    clock.step(2 * 3_600_000);
    worked_off(&world, id, 3).await;
    worker.stop().await;
    assert_eq!(with_content(&world, id).await, Vec::<i64>::new());
    assert_eq!(with_content(&world, other).await, Vec::<i64>::new());
}
