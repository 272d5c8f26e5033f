//! Control changes keep the order in which they were decided, and rights follow the events.

use std::time::Duration;

use sealpost_lane::{Draft, LaneConfig, LaneError};
use sealpost_schema::{EventBody, Role, UserId};
use tokio_util::sync::CancellationToken;

use crate::log::Fault;
use crate::world::World;

fn impatient() -> LaneConfig {
    LaneConfig { send_timeout_ms: 300, ..LaneConfig::default() }
}

/// The first gateway recorded its change and went away; the second knows the conversation, and appends its own.
#[tokio::test]
async fn two_changes_through_two_processes_while_the_log_is_away_keep_their_order() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let (one, other) = (world.lanes_until(impatient(), stop.clone()), world.lanes());
    world.send(&one, "a").await.unwrap();
    world.send(&other, "b").await.unwrap();
    world.log.fail_next([Fault::Unavailable; 1000]);
    let removal = world.decide(1, EventBody::ParticipantRemoved { user_id: world.bob }).await;
    let error = one.append_decided(world.conversation, removal).await.unwrap_err();
    assert!(matches!(error, LaneError::Unavailable(_)), "{error:?}");
    stop.cancel();
    world.log.heal();
    let addition = world.decide(2, EventBody::ParticipantAdded { user_id: world.bob, role: Role::Member }).await;
    let appended = other.append_decided(world.conversation, addition).await.unwrap();
    assert_eq!(appended.event.seq.0, 4);
    world.assert_log(&["a", "b", "participant_removed", "participant_added"]);
}

/// Ids are made before the conversation is locked, by clocks that differ: they say nothing about the order.
#[tokio::test]
async fn the_order_is_that_of_the_rows_times_and_not_of_their_ids() {
    let world = World::new().await;
    let lanes = world.lanes();
    world.send(&lanes, "a").await.unwrap();
    let addition = world.decide(2, EventBody::ParticipantAdded { user_id: UserId::new(), role: Role::Member });
    let addition = addition.await;
    world.decide(1, EventBody::ParticipantRemoved { user_id: world.bob }).await;
    lanes.append_decided(world.conversation, addition).await.unwrap();
    world.assert_log(&["a", "participant_removed", "participant_added"]);
}

#[tokio::test]
async fn a_lane_begins_with_what_is_decided() {
    let world = World::new().await;
    world.decide(1, EventBody::ParticipantRemoved { user_id: world.bob }).await;
    world.decide(2, EventBody::ParticipantAdded { user_id: world.bob, role: Role::Member }).await;
    let lanes = world.lanes();
    let draft = Draft { sender_id: world.bob, ..world.draft("hello") };
    lanes.append(world.conversation, draft).await.unwrap();
    // Bob may post since he was added again: his message stands behind that.
    world.assert_log(&["participant_removed", "participant_added", "hello"]);
}

/// What is decided waits for the log without an end; those who send something do not.
#[tokio::test]
async fn what_is_decided_outlasts_those_who_wait_behind_it() {
    let world = World::new().await;
    world.decide(1, EventBody::ParticipantRemoved { user_id: world.bob }).await;
    let lanes = world.lanes_with(impatient());
    world.log.fail_next([Fault::Unavailable; 1000]);
    let error = world.send(&lanes, "a").await.unwrap_err();
    assert!(matches!(error, LaneError::Unavailable(_)), "{error:?}");
    world.log.heal();
    world.send(&lanes, "b").await.unwrap();
    world.assert_log(&["participant_removed", "b"]);
}

/// A copy of it waited here while so much was appended that this lane had forgotten the event when it came to the copy. What a lane
/// appends again every lane believes: in the simulation (seed 277) somebody who had been removed since was let in by it.
#[tokio::test]
async fn what_another_process_appended_is_not_appended_again_however_much_came_since() {
    let world = World::new().await;
    let (one, other) = (world.lanes(), world.lanes_with(LaneConfig { max_known: 2, ..LaneConfig::default() }));
    world.send(&one, "a").await.unwrap();
    world.send(&other, "b").await.unwrap();
    let addition = world.decide(1, EventBody::ParticipantAdded { user_id: UserId::new(), role: Role::Member }).await;
    world.log.fail_next([Fault::RequestLost]);
    let copy = || other.append(world.conversation, addition.clone());
    let elsewhere = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        one.append(world.conversation, addition.clone()).await.unwrap();
        for name in ["c", "d", "e"] {
            world.send(&one, name).await.unwrap();
        }
    };
    let (first, second, ()) = tokio::join!(copy(), copy(), elsewhere);
    assert_eq!(first.unwrap().event.seq, second.unwrap().event.seq);
    world.send(&other, "f").await.unwrap();
    world.assert_log(&["a", "b", "participant_added", "c", "d", "e", "f"]);
}
