use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sealpost_lane::{Draft, LaneConfig, LaneError, Progress, Rule, expiry};
use sealpost_schema::{
    Action, Event, EventBody, EventId, LeastRole, Lifetimes, MessageId, RightsChange, Role, Seq, StoredNotice, UserId,
};
use tokio_util::sync::CancellationToken;

use crate::log::Fault;
use crate::world::{World, name_of};

#[tokio::test]
async fn events_are_numbered_without_a_gap_in_sending_order() {
    let world = World::new().await;
    let lanes = world.lanes();
    let sends = (0..100).map(|n| {
        let (world, lanes) = (&world, &lanes);
        async move { world.send(lanes, &format!("m{n}")).await.unwrap().event.seq.0 }
    });
    let seqs = join_all(sends).await;
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
    assert!(world.log.records().len() < 100, "what gathered while a record was on its way shared the next one");
}

#[tokio::test]
async fn two_processes_share_one_sequence() {
    let world = World::new().await;
    let (one, other) = (world.lanes(), world.lanes());
    let sends = (0..200).map(|n| {
        let lanes = if n % 2 == 0 { &one } else { &other };
        let world = &world;
        async move { world.send(lanes, &format!("m{n}")).await.unwrap().event.seq.0 }
    });
    let seqs: HashSet<u64> = join_all(sends).await.into_iter().collect();
    assert_eq!(seqs, (1..=200).collect::<HashSet<_>>());
    assert_eq!(world.logged().len(), 200);
}

#[tokio::test]
async fn the_same_client_message_id_fifty_times_through_two_processes_is_one_message() {
    let world = World::new().await;
    let (one, other) = (world.lanes(), world.lanes());
    let sends = (0..50).map(|n| world.send(if n % 2 == 0 { &one } else { &other }, "same"));
    let answers: Vec<_> = join_all(sends).await.into_iter().map(Result::unwrap).collect();
    let ids: HashSet<_> = answers.iter().map(|answer| (answer.event.id, answer.event.seq)).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
    world.assert_log(&["same"]);
}

#[tokio::test]
async fn a_lost_answer_is_found_out_and_nothing_is_doubled() {
    let world = World::new().await;
    let lanes = world.lanes();
    world.send(&lanes, "a").await.unwrap();
    world.log.fail_next([Fault::AnswerLost]);
    assert_eq!(world.send(&lanes, "b").await.unwrap().event.seq, Seq(2));
    world.log.fail_next([Fault::RequestLost, Fault::RequestLost, Fault::Unavailable, Fault::AnswerLost]);
    assert_eq!(world.send(&lanes, "c").await.unwrap().event.seq, Seq(3));
    world.send(&lanes, "d").await.unwrap();
    world.assert_log(&["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_log_that_stays_away_is_unavailable_if_nothing_was_sent_and_unknown_otherwise() {
    let world = World::new().await;
    let impatient = LaneConfig { send_timeout_ms: 300, ..LaneConfig::default() };
    let lanes = world.lanes_with(impatient.clone());
    world.send(&lanes, "a").await.unwrap();
    world.log.fail_next([Fault::Unavailable; 200]);
    let error = world.send(&lanes, "b").await.unwrap_err();
    assert!(matches!(error, LaneError::Unavailable(_)), "{error:?}");
    let world = World::new().await;
    let lanes = world.lanes_with(impatient);
    world.log.fail_next([Fault::RequestLost; 200]);
    let error = world.send(&lanes, "b").await.unwrap_err();
    assert_eq!(error, LaneError::OutcomeUnknown);
}

#[tokio::test]
async fn a_refused_record_fails_its_senders_and_not_the_next() {
    let world = World::new().await;
    let lanes = world.lanes();
    world.log.fail_next([Fault::Refused]);
    assert!(matches!(world.send(&lanes, "a").await, Err(LaneError::Refused(_))));
    world.send(&lanes, "b").await.unwrap();
    world.assert_log(&["b"]);
}

#[tokio::test]
async fn a_cold_lane_goes_on_behind_the_log() {
    let world = World::new().await;
    world.send(&world.lanes(), "a").await.unwrap();
    world.send(&world.lanes(), "b").await.unwrap();
    let again = world.send(&world.lanes(), "a").await.unwrap();
    assert!(again.duplicate, "it reads the names that are in the log and not in the store");
    world.assert_log(&["a", "b"]);
}

#[tokio::test]
async fn a_cold_lane_goes_on_behind_the_store_when_the_log_is_empty() {
    let world = World::new().await;
    let lanes = world.lanes();
    for name in ["a", "b", "c"] {
        world.send(&lanes, name).await.unwrap();
    }
    world.persist(&lanes, &world.logged()).await;
    world.log.expire_all();
    let cold = world.lanes();
    assert_eq!(world.send(&cold, "d").await.unwrap().event.seq, Seq(4));
    let again = world.send(&cold, "b").await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.event.seq, Seq(2));
    // The warm lane finds its position gone and goes on as well.
    assert_eq!(world.send(&lanes, "e").await.unwrap().event.seq, Seq(5));
}

#[tokio::test]
async fn a_tail_that_the_log_lost_is_appended_again_with_the_same_numbers() {
    let world = World::new().await;
    let lanes = world.lanes();
    for name in ["a", "b", "c", "d"] {
        world.send(&lanes, name).await.unwrap();
    }
    let before = world.logged();
    world.persist(&lanes, &before[..2]).await;
    world.log.lose_tail(3);
    // Without anything new: the reconnect is enough.
    while world.logged().len() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = world.logged();
    let unstored: Vec<_> = after.iter().filter(|event| event.seq > Seq(2)).map(|event| (event.seq, event.id)).collect();
    assert_eq!(unstored, before[2..].iter().map(|event| (event.seq, event.id)).collect::<Vec<_>>());
    assert_eq!(world.send(&lanes, "e").await.unwrap().event.seq, Seq(5));
}

#[tokio::test]
async fn two_processes_that_both_know_the_lost_tail_append_it_once() {
    let world = World::new().await;
    let (one, other) = (world.lanes(), world.lanes());
    for name in ["a", "b"] {
        world.send(&one, name).await.unwrap();
    }
    world.send(&other, "c").await.unwrap();
    world.log.lose_tail(2);
    let (d, e) = tokio::join!(world.send(&one, "d"), world.send(&other, "e"));
    d.unwrap();
    e.unwrap();
    let names: Vec<_> = world.logged().iter().map(|event| crate::world::name_of(event)).collect();
    let distinct: HashSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), 5, "{names:?}");
    assert_eq!(names.len(), 5, "{names:?}");
}

/// The process that appended them is gone, and so is the log's tail: two faults at once. Who read them in the log has them still.
#[tokio::test]
async fn what_was_taken_over_from_a_process_that_died_is_appended_again_when_the_log_loses_it() {
    for opens_late in [false, true] {
        let world = World::new().await;
        let stop = CancellationToken::new();
        let (one, other) = (world.lanes_until(LaneConfig::default(), stop.clone()), world.lanes());
        if !opens_late {
            other.fold(world.conversation).await.unwrap();
        }
        for name in ["a", "b"] {
            world.send(&one, name).await.unwrap();
        }
        // It finds them in the log: when it is opened, or when somebody else has appended first.
        world.send(&other, "c").await.unwrap();
        stop.cancel();
        let before = world.logged();
        world.log.lose_tail(3);
        while world.logged().len() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let ids = |events: &[Arc<Event>]| events.iter().map(|event| (event.seq, event.id)).collect::<Vec<_>>();
        assert_eq!(ids(&world.logged()), ids(&before), "opened late: {opens_late}");
        world.persist(&other, &before).await;
        while other.unstored() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn who_may_not_post_gets_no_number() {
    let world = World::new().await;
    let lanes = world.lanes();
    let by = |sender| Draft { sender_id: sender, ..world.draft("x") };
    let error = lanes.append(world.conversation, by(world.bob)).await.unwrap_err();
    assert_eq!(error, LaneError::Forbidden, "a reader");
    let error = lanes.append(world.conversation, by(sealpost_schema::UserId::new())).await.unwrap_err();
    assert_eq!(error, LaneError::NotFound, "a stranger");
    assert!(world.log.records().is_empty());
}

#[tokio::test]
async fn nothing_of_a_removed_participant_is_numbered_after_the_removal_whatever_process_it_goes_through() {
    let world = World::new().await;
    let (one, other) = (world.lanes(), world.lanes());
    world.send(&other, "before").await.unwrap();
    let removal = Draft {
        id: EventId::new(),
        sender_id: world.ada,
        body: EventBody::ParticipantRemoved { user_id: world.ada },
        rule: Rule::Control,
        ..world.draft("unused")
    };
    one.append(world.conversation, removal).await.unwrap();
    assert_eq!(world.send(&other, "after").await.unwrap_err(), LaneError::NotFound);
    world.assert_log(&["before", "participant_removed"]);
}

#[tokio::test]
async fn a_control_event_is_appended_once_however_often_it_is_swept() {
    let world = World::new().await;
    let draft = Draft {
        body: EventBody::ConversationChanged { sealed_title: None },
        rule: Rule::Control,
        ..world.draft("unused")
    };
    let (one, other) = (world.lanes(), world.lanes());
    let first = one.append(world.conversation, draft.clone()).await.unwrap();
    for lanes in [&one, &other, &world.lanes()] {
        let again = lanes.append(world.conversation, draft.clone()).await.unwrap();
        assert!(again.duplicate);
        assert_eq!(again.event.seq, first.event.seq);
    }
    world.persist(&one, &world.logged()).await;
    world.log.expire_all();
    assert!(world.lanes().append(world.conversation, draft).await.unwrap().duplicate, "found in the store");
}

#[tokio::test]
async fn a_sender_hears_accepted_and_then_stored() {
    let world = World::new().await;
    let lanes = world.lanes();
    let mut progress = world.follow(&lanes, world.draft("a")).await;
    assert!(matches!(progress.recv().await, Some(Progress::Accepted { stored: false, .. })));
    let mut repeated = world.follow(&lanes, world.draft("a")).await;
    assert!(matches!(repeated.recv().await, Some(Progress::Accepted { appended, .. }) if appended.duplicate));
    world.persist(&lanes, &world.logged()).await;
    assert!(matches!(progress.recv().await, Some(Progress::Stored)));
    assert!(matches!(repeated.recv().await, Some(Progress::Stored)), "the repeat hears it, too");
    let mut late = world.follow(&lanes, world.draft("a")).await;
    assert!(matches!(late.recv().await, Some(Progress::Accepted { stored: true, .. })));
}

#[tokio::test]
async fn a_lost_stored_notice_is_made_up_for_by_asking_the_store() {
    let world = World::new().await;
    let lanes = world.lanes_with(LaneConfig { ack_timeout_ms: 100, ..LaneConfig::default() });
    let mut progress = world.follow(&lanes, world.draft("a")).await;
    assert!(matches!(progress.recv().await, Some(Progress::Accepted { .. })));
    assert!(matches!(progress.recv().await, Some(Progress::Overdue)));
    world.persist(&world.lanes(), &world.logged()).await;
    assert!(matches!(progress.recv().await, Some(Progress::Stored)));
    assert_eq!(lanes.unstored(), 0);
}

#[tokio::test]
async fn stored_notices_may_come_in_any_order() {
    let world = World::new().await;
    let lanes = world.lanes();
    for name in ["a", "b", "c"] {
        world.send(&lanes, name).await.unwrap();
    }
    assert_eq!(lanes.unstored(), 3);
    let logged = world.logged();
    let notice = |first, last| {
        let events = logged.iter().filter(|event| (Seq(first)..=Seq(last)).contains(&event.seq));
        StoredNotice { stored: vec![world.range(first, last, events.map(|event| event.id))], voided: Vec::new() }
    };
    lanes.stored(&notice(3, 3));
    lanes.stored(&notice(1, 2));
    while lanes.unstored() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_that_is_far_behind_slows_senders_down_and_loses_nothing() {
    let world = World::new().await;
    let config = LaneConfig { max_unstored: 4, max_record_events: 2, send_timeout_ms: 200, ..LaneConfig::default() };
    let lanes = world.lanes_with(config);
    let mut taken = 0;
    let error = loop {
        match world.send(&lanes, &format!("m{taken}")).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LaneError::Unavailable(_)), "{error:?}");
    assert_eq!(taken, 4);
    world.persist(&lanes, &world.logged()).await;
    world.send(&lanes, "after").await.unwrap();
    assert_eq!(world.logged().len(), 5);
}

#[tokio::test]
async fn the_reader_joins_store_and_log_without_hole_or_double() {
    let world = World::new().await;
    let lanes = world.lanes();
    for n in 1..=10 {
        world.send(&lanes, &format!("m{n}")).await.unwrap();
    }
    let all = world.logged();
    world.persist(&lanes, &all[..4]).await;
    for after in 0..10 {
        let expected: Vec<_> = all.iter().filter(|event| event.seq > Seq(after)).map(|event| event.id).collect();
        let found = lanes.reader().after(world.conversation, Seq(after), 100).await.unwrap();
        assert_eq!(found.iter().map(|event| event.id).collect::<Vec<_>>(), expected, "after {after}");
        let filled = lanes.reader().fill(world.conversation, Seq(after), 100).await.unwrap();
        assert_eq!(filled.iter().map(|event| event.id).collect::<Vec<_>>(), expected, "fill after {after}");
        let some = lanes.reader().after(world.conversation, Seq(after), 3).await.unwrap();
        assert_eq!(some.len(), expected.len().min(3));
    }
}

#[tokio::test]
async fn an_idle_lane_goes_and_comes_back() {
    let world = World::new().await;
    let lanes = world.lanes_with(LaneConfig { idle_ms: 30, ..LaneConfig::default() });
    world.send(&lanes, "a").await.unwrap();
    world.persist(&lanes, &world.logged()).await;
    while lanes.open_lanes() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.send(&lanes, "b").await.unwrap().event.seq, Seq(2));
}

#[tokio::test]
async fn a_stored_notice_that_is_faster_than_the_logs_answer_counts() {
    let world = World::new().await;
    let lanes = world.lanes();
    world.send(&lanes, "a").await.unwrap();
    let draft = world.draft("b");
    lanes.stored(&StoredNotice { stored: vec![world.range(2, 2, [draft.id])], voided: Vec::new() });
    // The lane hears it before the next draft gets its number.
    lanes.fold(world.conversation).await.unwrap();
    let mut progress = world.follow(&lanes, draft).await;
    assert!(matches!(progress.recv().await, Some(Progress::Accepted { stored: false, .. })));
    assert!(matches!(progress.recv().await, Some(Progress::Stored)));
}

/// The log forgot what one process had appended, and another gave the number away. The store has that one, and says so.
#[tokio::test]
async fn a_number_that_the_store_gave_to_another_event_is_not_taken_for_stored() {
    let world = World::new().await;
    let config = LaneConfig { ack_timeout_ms: 60, ..LaneConfig::default() };
    let (one, other) = (world.lanes_with(config.clone()), world.lanes_with(config));
    world.send(&one, "a").await.unwrap();
    world.send(&other, "b").await.unwrap();
    world.persist(&one, &world.logged()).await;
    let mut progress = world.follow(&one, world.draft("mine")).await;
    assert!(matches!(progress.recv().await, Some(Progress::Accepted { stored: false, .. })));
    // Nobody is told that the log lost it: the worst case.
    world.log.forget(1);
    world.send(&other, "theirs").await.unwrap();
    let theirs: Vec<_> = world.logged().into_iter().filter(|event| event.seq == Seq(3)).collect();
    assert_eq!(name_of(&theirs[0]), "theirs");
    world.persist(&one, &theirs).await;
    // It must not hear that its message is stored; the message comes again under another number.
    while one.unstored() > 0 || world.logged().len() < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let rest: Vec<_> = world.logged().into_iter().filter(|event| event.seq > Seq(3)).collect();
        if !rest.is_empty() {
            world.persist(&one, &rest).await;
            break;
        }
    }
    world.assert_log(&["a", "b", "theirs", "mine"]);
    while let Ok(progress) = progress.try_recv() {
        assert!(!matches!(progress, Progress::Stored), "it was called stored under a number that is another's");
    }
    // A repeat gets the number that it has now.
    let again = Draft { retry: true, ..world.draft("mine") };
    assert_eq!(one.append(world.conversation, again).await.unwrap().event.seq, Seq(4));
}

/// The log has the event under the number that is another's in the store: under its new number it is another record.
#[tokio::test]
async fn an_event_that_gets_a_new_number_is_no_repeat_to_the_log() {
    let world = World::new().await;
    let lanes = world.lanes_with(LaneConfig { ack_timeout_ms: 60, ..LaneConfig::default() });
    world.send(&lanes, "a").await.unwrap();
    world.persist(&lanes, &world.logged()).await;
    let mine = world.send(&lanes, "mine").await.unwrap().event;
    let theirs = Event { id: EventId::new(), ..(*mine).clone() };
    let theirs = Event { body: world.draft("theirs").body, ..theirs };
    world.persist(&lanes, &[Arc::new(theirs)]).await;
    while !world.log_has(mine.id, Seq(3)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.persist(&lanes, &[Arc::new(Event { seq: Seq(3), ..(*mine).clone() })]).await;
    while lanes.unstored() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_message_that_was_lost_gets_no_number_behind_its_senders_removal() {
    let world = World::new().await;
    let config = LaneConfig { ack_timeout_ms: 60, ..LaneConfig::default() };
    let (one, other) = (world.lanes_with(config.clone()), world.lanes_with(config));
    world.send(&one, "a").await.unwrap();
    world.persist(&one, &world.logged()).await;
    world.send(&one, "mine").await.unwrap();
    world.log.forget(1);
    let control = |body| Draft { id: EventId::new(), body, rule: Rule::Control, ..world.draft("unused") };
    other.append(world.conversation, control(EventBody::ParticipantRemoved { user_id: world.ada })).await.unwrap();
    let removal: Vec<_> = world.logged().into_iter().filter(|event| event.seq == Seq(2)).collect();
    world.persist(&one, &removal).await;
    while one.unstored() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Behind the message in the same lane.
    one.append(world.conversation, control(EventBody::ParticipantAdded { user_id: world.bob, role: Role::Member }))
        .await
        .unwrap();
    world.assert_log(&["a", "participant_removed", "participant_added"]);
}

#[tokio::test]
async fn posts_that_wait_in_one_lane_with_a_removal_are_refused() {
    let world = World::new().await;
    let lanes = world.lanes();
    world.send(&lanes, "warm").await.unwrap();
    // The record before keeps the lane busy while these gather.
    world.log.fail_next([Fault::RequestLost]);
    let first = world.follow(&lanes, world.draft("first")).await;
    let removal = Draft {
        id: EventId::new(),
        body: EventBody::ParticipantRemoved { user_id: world.ada },
        rule: Rule::Control,
        ..world.draft("unused")
    };
    let mut removed = world.follow(&lanes, removal).await;
    let mut late = world.follow(&lanes, world.draft("late")).await;
    assert!(matches!(removed.recv().await, Some(Progress::Accepted { .. })));
    assert!(matches!(late.recv().await, Some(Progress::Failed(LaneError::NotFound))));
    drop(first);
    world.assert_log(&["warm", "first", "participant_removed"]);
}

#[tokio::test]
async fn a_cold_lane_knows_what_lies_in_a_hole_of_the_store() {
    let world = World::new().await;
    let lanes = world.lanes();
    for name in ["a", "b", "c"] {
        world.send(&lanes, name).await.unwrap();
    }
    let all = world.logged();
    world.persist(&lanes, &[all[0].clone(), all[2].clone()]).await;
    let again = world.send(&world.lanes(), "b").await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.event.seq, Seq(2));
    assert_eq!(lanes.reader().stored_floor(world.conversation).await.unwrap(), (Seq(1), Seq(3)));
}

#[tokio::test]
async fn numbers_whose_events_are_lost_for_good_are_closed() {
    let world = World::new().await;
    let lanes = world.lanes();
    for name in ["a", "b", "c", "d"] {
        world.send(&lanes, name).await.unwrap();
    }
    let all = world.logged();
    world.persist(&lanes, &[all[0].clone(), all[2].clone()]).await;
    // Every process that knew them is gone, and so is the log's tail.
    drop(lanes);
    world.log.expire_all();
    let (one, other) = (world.lanes(), world.lanes());
    let (e, f) = tokio::join!(world.send(&one, "e"), world.send(&other, "f"));
    let mut seqs = [e.unwrap().event.seq.0, f.unwrap().event.seq.0];
    seqs.sort_unstable();
    assert_eq!(seqs, [4, 5], "numbering goes on behind what is stored");
    let names: Vec<_> = world.logged().iter().map(|event| (event.seq.0, event.body.kind())).collect();
    assert_eq!(names, [(2, "void"), (4, "message_posted"), (5, "message_posted")]);
    let read = one.reader().after(world.conversation, Seq(0), 10).await.unwrap();
    assert_eq!(read.len(), 5, "readers get past it");
}

/// What a conversation's settings allow counts when the number is given: for an open lane, one in another process that has to catch
/// up, and one that opens later.
#[tokio::test]
async fn a_right_that_was_taken_counts_at_the_next_number() {
    let world = World::new().await;
    let (one, other) = (world.lanes(), world.lanes());
    let by_bob = |name: &str| Draft { sender_id: world.bob, ..world.draft(name) };
    assert_eq!(one.append(world.conversation, by_bob("a")).await.unwrap_err(), LaneError::Forbidden);
    let set = |least| Draft {
        id: EventId::new(),
        body: EventBody::SettingsChanged {
            rights: RightsChange::from([(Action::Post, least)]),
            history: None,
            public: None,
            lifetimes: None,
        },
        rule: Rule::May(Action::ChangeSettings),
        ..world.draft("settings")
    };
    one.append(world.conversation, set(LeastRole::Reader)).await.unwrap();
    // The other lane is behind until its append fails.
    other.append(world.conversation, by_bob("b")).await.unwrap();
    let refused = Draft { sender_id: world.bob, ..set(LeastRole::Nobody) };
    assert_eq!(other.append(world.conversation, refused).await.unwrap_err(), LaneError::Forbidden);
    // The draft behind a change is checked after it.
    let (change, late) = tokio::join!(
        one.append(world.conversation, set(LeastRole::Owner)),
        one.append(world.conversation, by_bob("c"))
    );
    assert_eq!((change.unwrap().event.seq, late.unwrap_err()), (Seq(3), LaneError::Forbidden));
    assert!(
        !world.lanes().fold(world.conversation).await.unwrap().may(world.bob, Action::Post),
        "a lane that opens now"
    );
    // With everything in the store and the log worked off, a lane starts from the row.
    world.set_rights(r#"{"post":"reader","change_settings":"owner"}"#).await;
    world.persist(&one, &world.logged()).await;
    let fold = world.lanes().fold(world.conversation).await.unwrap();
    assert!(fold.may(world.bob, Action::Post) && !fold.may(world.bob, Action::ChangeSettings));
    assert!(fold.may(world.ada, Action::ChangeSettings) && !fold.may(UserId::new(), Action::Post));
}

/// A message that was sealed for other settings gets no number, whichever process it goes through.
#[tokio::test]
async fn a_message_disappears_as_the_settings_say_at_its_number() {
    let world = World::new().await;
    let (one, other) = (world.lanes(), world.lanes());
    let posted = |name: &str, after: Option<u32>| {
        let mut draft = world.draft(name);
        if let EventBody::MessagePosted { expires_at, .. } = &mut draft.body {
            *expires_at = expiry(after, draft.created_at);
        }
        draft
    };
    let set = |seconds| Draft {
        id: EventId::new(),
        body: EventBody::SettingsChanged {
            rights: RightsChange::new(),
            history: None,
            public: None,
            lifetimes: Some(Lifetimes { disappear_after_seconds: seconds, retention_days: None }),
        },
        rule: Rule::May(Action::ChangeSettings),
        ..world.draft("settings")
    };
    other.append(world.conversation, posted("a", None)).await.unwrap();
    assert_eq!(other.disappear_after(world.conversation).await, Ok(None));
    one.append(world.conversation, set(Some(60))).await.unwrap();
    assert_eq!(one.disappear_after(world.conversation).await, Ok(Some(60)));
    // The other one does not know yet, and learns of it when it appends.
    let changed = other.append(world.conversation, posted("b", None)).await.unwrap_err();
    assert_eq!(changed, LaneError::Changed);
    assert_eq!(other.disappear_after(world.conversation).await, Ok(Some(60)));
    assert_eq!(other.append(world.conversation, posted("b", Some(61))).await.unwrap_err(), LaneError::Changed);
    other.append(world.conversation, posted("b", Some(60))).await.unwrap();
    // What is behind a change is checked after it; a repeat of what was posted before is not.
    let (changed, late) =
        tokio::join!(one.append(world.conversation, set(None)), one.append(world.conversation, posted("c", Some(60))));
    assert_eq!((changed.unwrap().event.seq, late.unwrap_err()), (Seq(4), LaneError::Changed));
    assert!(one.append(world.conversation, posted("b", None)).await.unwrap().duplicate);
    assert_eq!(world.lanes().disappear_after(world.conversation).await, Ok(None), "a lane that opens now");
}

fn edit(world: &World, of: &Event) -> Draft {
    world.change(of, Rule::EditMessageOf(of.sender_id), |message_id| EventBody::MessageEdited {
        message_id,
        message_seq: of.seq,
        sealed: "sealed edit".to_owned(),
        mentions: Vec::new(),
        mentions_all: false,
        expires_at: None,
    })
}

fn deletion(world: &World, of: &Event) -> Draft {
    let draft = world.change(of, Rule::DeleteMessageOf(of.sender_id), |message_id| EventBody::MessageDeleted {
        message_id,
        message_seq: of.seq,
    });
    Draft { id: MessageId::from(of.id).deletion_id(), ..draft }
}

#[tokio::test]
async fn nothing_gets_a_number_that_changes_a_deleted_message_whatever_process_it_goes_through() {
    let world = World::new().await;
    let (one, other) = (world.lanes(), world.lanes());
    for round in 0..20 {
        let posted = world.send(&one, &format!("m{round}")).await.unwrap().event;
        let edits = (0..10).map(|n| {
            let draft = edit(&world, &posted);
            if n % 2 == 0 { one.append(world.conversation, draft) } else { other.append(world.conversation, draft) }
        });
        let deleting = other.append(world.conversation, deletion(&world, &posted));
        let (edited, deleted) = tokio::join!(join_all(edits), deleting);
        let deleted = deleted.unwrap().event.seq;
        for answer in edited {
            match answer {
                Ok(appended) => assert!(appended.event.seq < deleted),
                Err(error) => assert_eq!(error, LaneError::Deleted),
            }
        }
        for lanes in [&one, &other] {
            assert_eq!(lanes.append(world.conversation, edit(&world, &posted)).await.unwrap_err(), LaneError::Deleted);
            let again = lanes.append(world.conversation, deletion(&world, &posted)).await.unwrap();
            assert_eq!((again.event.seq, again.duplicate), (deleted, true));
        }
    }
}

#[tokio::test]
async fn what_is_deleted_comes_back_without_its_content_when_the_log_has_lost_it() {
    let world = World::new().await;
    let lanes = world.lanes();
    let posted = world.send(&lanes, "a").await.unwrap().event;
    lanes.append(world.conversation, edit(&world, &posted)).await.unwrap();
    world.send(&lanes, "b").await.unwrap();
    lanes.append(world.conversation, deletion(&world, &posted)).await.unwrap();
    world.log.lose_tail(world.log.records().len());
    world.send(&lanes, "c").await.unwrap();
    let contents: Vec<_> = world.logged().iter().map(|event| event.body.content().map(str::to_owned)).collect();
    let content = |text: &str| Some(text.to_owned());
    assert_eq!(contents, [content(""), content(""), content("sealed b"), None, content("sealed c")]);
}

/// A lane that has not heard of what another process appended says no to nobody who may.
#[tokio::test]
async fn a_lane_that_is_behind_looks_before_it_says_no() {
    let world = World::new().await;
    let (one, other) = (world.lanes(), world.lanes());
    other.fold(world.conversation).await.unwrap();
    let eve = UserId::new();
    let by = |user, name: &str| Draft { sender_id: user, ..world.draft(name) };
    assert_eq!(other.append(world.conversation, by(eve, "a")).await.unwrap_err(), LaneError::NotFound);
    let added = EventBody::ParticipantAdded { user_id: eve, role: Role::Member };
    let control = Draft { id: EventId::new(), body: added, rule: Rule::Control, ..world.draft("add") };
    one.append(world.conversation, control).await.unwrap();
    let sends = ["b", "c", "d"].map(|name| other.append(world.conversation, by(eve, name)));
    let seqs: Vec<_> = join_all(sends).await.into_iter().map(|sent| sent.unwrap().event.seq.0).collect();
    assert_eq!(seqs, [2, 3, 4]);
    // And still no to those who may not.
    assert_eq!(one.append(world.conversation, by(world.bob, "e")).await.unwrap_err(), LaneError::Forbidden);
    assert_eq!(one.append(world.conversation, by(UserId::new(), "f")).await.unwrap_err(), LaneError::NotFound);
    world.log.fail_next([Fault::Unavailable]);
    assert_eq!(one.append(world.conversation, by(world.bob, "g")).await.unwrap_err(), LaneError::Forbidden);
}
