//! Keeps the promises of `sealpost_workers::outbox`, with real lanes.

use std::sync::Arc;

use crate::harness::{Running, World, eventually, make_conversation, on_both_stores};
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, EntityTrait, PaginatorTrait};
use sealpost_lane::{LaneConfig, Lanes};
use sealpost_schema::entities::outbox;
use sealpost_schema::{Clock, ConversationId, EventBody, EventId, UserId};
use sealpost_workers::outbox::{OutboxConfig, run};
use sealpost_workers::persistence::CONSUMER;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

on_both_stores! {
    old_rows_are_appended_in_order_stored_and_gone
    young_rows_are_left_to_their_gateway
    a_row_that_fails_keeps_no_other_conversation_waiting
}

const GRACE_MS: u64 = 60_000;

fn start(world: &World, clock: &Clock) -> Running {
    let lanes = Lanes::new(
        Arc::new(world.log.bus.clone()),
        world.db.clone(),
        LaneConfig::default(),
        clock.clone(),
        None,
        TaskTracker::new(),
        CancellationToken::new(),
    );
    let config = OutboxConfig { grace_ms: GRACE_MS, interval_ms: 20, page: 3, ..OutboxConfig::default() };
    Running::new(|stop| run(lanes, world.db.clone(), config, clock.clone(), Arc::new(Notify::new()), stop))
}

async fn leave(world: &World, clock: &Clock, conversation: ConversationId, sender: UserId) -> EventId {
    let id = EventId::new();
    let body = EventBody::ParticipantRemoved { user_id: UserId::new() };
    let row = outbox::ActiveModel {
        id: Set(id.0),
        conversation_id: Set(conversation.0),
        sender_id: Set(sender.0),
        body: Set(serde_json::to_string(&body).unwrap()),
        created_at: Set(clock.now().millis()),
    };
    row.insert(&world.db).await.unwrap();
    id
}

async fn is_empty(world: &World) -> bool {
    outbox::Entity::find().count(&world.db).await.unwrap() == 0
}

async fn old_rows_are_appended_in_order_stored_and_gone(world: World) {
    let clock = Clock::default();
    let (one, other) = (make_conversation(&world).await, make_conversation(&world).await);
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        ones.push(leave(&world, &clock, one.0, one.1).await.0);
        others.push(leave(&world, &clock, other.0, other.1).await.0);
    }
    clock.step(i64::try_from(GRACE_MS).unwrap() + 1);
    let (sweeper, persistence) = (start(&world, &clock), world.persistence());
    eventually("the outbox is empty", async || is_empty(&world).await).await;
    sweeper.stop().await;
    world.log.drained(CONSUMER).await;
    persistence.stop().await;
    let table = world.table().await;
    for (conversation, ids) in [(one.0, ones), (other.0, others)] {
        let stored = table.iter().filter(|row| row.conversation_id == conversation.0).map(|row| row.id);
        assert_eq!(stored.collect::<Vec<_>>(), ids, "each once, in order");
    }
}

async fn young_rows_are_left_to_their_gateway(world: World) {
    let clock = Clock::default();
    let (conversation, owner) = make_conversation(&world).await;
    leave(&world, &clock, conversation, owner).await;
    let (sweeper, persistence) = (start(&world, &clock), world.persistence());
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(world.table().await.is_empty());
    clock.step(i64::try_from(GRACE_MS).unwrap() + 1);
    eventually("the outbox is empty", async || is_empty(&world).await).await;
    sweeper.stop().await;
    persistence.stop().await;
}

async fn a_row_that_fails_keeps_no_other_conversation_waiting(world: World) {
    let clock = Clock::default();
    for _ in 0..5 {
        // There is no such conversation.
        leave(&world, &clock, ConversationId::new(), UserId::new()).await;
    }
    let (conversation, owner) = make_conversation(&world).await;
    let id = leave(&world, &clock, conversation, owner).await;
    clock.step(i64::try_from(GRACE_MS).unwrap() + 1);
    let (sweeper, persistence) = (start(&world, &clock), world.persistence());
    eventually("the good row is gone", async || {
        outbox::Entity::find_by_id(id.0).one(&world.db).await.unwrap().is_none()
    })
    .await;
    sweeper.stop().await;
    persistence.stop().await;
    assert_eq!(outbox::Entity::find().count(&world.db).await.unwrap(), 5, "nothing is thrown away");
}
