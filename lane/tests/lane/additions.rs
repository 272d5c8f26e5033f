//! What a message or a conversation takes a bounded number of.

use futures_util::future::join_all;
use sea_orm::prelude::Uuid;
use sealpost_lane::{Counted, Draft, LaneError, Room, Rule};
use sealpost_schema::{Action, Event, EventBody, ReactionHash, Seq};

use crate::world::World;

fn reaction(world: &World, of: &Event, emoji: u128, added: bool, rule: Rule) -> Draft {
    let (reaction, sealed, message_seq) = (ReactionHash(Uuid::from_u128(emoji)), String::new(), of.seq);
    world.change(of, rule, |message_id| {
        if added {
            EventBody::ReactionAdded { message_id, message_seq, reaction, sealed, expires_at: None }
        } else {
            EventBody::ReactionRemoved { message_id, message_seq, reaction, sealed, expires_at: None }
        }
    })
}

fn pin(world: &World, of: &Event, rule: Rule) -> Draft {
    world.change(of, rule, |message_id| EventBody::MessagePinned { message_id, message_seq: of.seq })
}

fn counted(as_of: Seq, room: Room) -> Counted {
    Counted { as_of, room }
}

#[tokio::test]
async fn what_is_bounded_is_counted_at_its_number_whatever_process_it_goes_through() {
    let world = World::new().await;
    let processes = [world.lanes(), world.lanes()];
    let posted = world.send(&processes[0], "m").await.unwrap().event;
    let other = world.send(&processes[1], "n").await.unwrap().event;
    // Forty processes counted at the same moment that seven more fit.
    let may = |room| Rule::MayAdd(Action::React, counted(other.seq, room));
    let adding = (1..=40).map(|emoji| {
        let draft = reaction(&world, &posted, emoji, true, may(Room::Left(7)));
        processes[usize::try_from(emoji % 2).unwrap()].append(world.conversation, draft)
    });
    let answers = join_all(adding).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 7);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(LaneError::Changed))), "{answers:?}");
    // Another message has room of its own, and so have pins.
    let append = async |process: usize, draft: Draft| processes[process].append(world.conversation, draft).await;
    append(0, reaction(&world, &other, 1, true, may(Room::Left(1)))).await.unwrap();
    let may_pin = Rule::MayAdd(Action::Pin, counted(other.seq, Room::Left(1)));
    append(1, pin(&world, &posted, may_pin)).await.unwrap();
    assert_eq!(append(0, pin(&world, &other, may_pin)).await.unwrap_err(), LaneError::Changed);
    // What somebody else has takes no room, until they take it away.
    append(1, reaction(&world, &posted, 1, true, may(Room::Shared))).await.unwrap();
    append(0, reaction(&world, &posted, 1, false, Rule::May(Action::React))).await.unwrap();
    assert_eq!(append(1, reaction(&world, &posted, 1, true, may(Room::Shared))).await.unwrap_err(), LaneError::Changed);
    append(1, reaction(&world, &posted, 2, true, may(Room::Shared))).await.unwrap();
    // A lane that was not there cannot know what was added since.
    let late = world.lanes();
    let draft = reaction(&world, &posted, 9, true, may(Room::Left(50)));
    assert_eq!(late.append(world.conversation, draft).await.unwrap_err(), LaneError::Changed);
    let head = world.logged().last().unwrap().seq;
    let now = Rule::MayAdd(Action::React, counted(head, Room::Left(1)));
    late.append(world.conversation, reaction(&world, &posted, 9, true, now)).await.unwrap();
}
