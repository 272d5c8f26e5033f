//! Keeps the promises of `sealpost_workers::timers` about scheduled messages, with real lanes.

use std::sync::Arc;

use crate::harness::{Running, World, eventually, make_conversation, next_live, on_both_stores};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait, IntoActiveModel};
use sealpost_lane::{Draft, LaneConfig, Lanes, Rule};
use sealpost_schema::entities::{conversation, conversation_key, participant, scheduled_message, user};
use sealpost_schema::{
    ClientMessageId, Clock, ControlNotice, ConversationId, EventBody, EventId, MessageLinks, ScheduledFailure,
    ScheduledState, TIMERS_SUBJECT, Timestamp, UserId,
};
use sealpost_workers::persistence::CONSUMER;
use sealpost_workers::timers::{TimersConfig, run};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

on_both_stores! {
    what_is_due_is_sent_once_by_many_workers
    nothing_is_sent_before_its_time_and_a_word_wakes_the_worker
    what_a_dead_worker_had_begun_is_sent_once
    what_is_refused_says_why_and_keeps_nobody_waiting
    a_used_name_is_not_sent_again
    what_is_sent_later_disappears_as_the_settings_say_then
}

fn lanes(world: &World, clock: &Clock) -> Lanes {
    let log = Arc::new(world.log.bus.clone());
    let config = LaneConfig { ack_timeout_ms: 100, ..LaneConfig::default() };
    Lanes::new(log, world.db.clone(), config, clock.clone(), None, TaskTracker::new(), CancellationToken::new())
}

fn start(world: &World, clock: &Clock, interval_ms: u64) -> Running {
    let config = TimersConfig { interval_ms, page: 3, ..TimersConfig::default() };
    let (lanes, live) = (lanes(world, clock), world.log.live.clone());
    Running::new(|stop| run(lanes, live, world.db.clone(), config, None, clock.clone(), stop))
}

async fn group(world: &World) -> (ConversationId, UserId) {
    let (conversation, owner) = make_conversation(world).await;
    let row = user::Model::new(owner.0, &owner.0.simple().to_string(), 0);
    row.into_active_model().insert(&world.db).await.unwrap();
    (conversation, owner)
}

async fn schedule(world: &World, conversation: ConversationId, user: UserId, name: &str, at: Timestamp) -> EventId {
    let row = scheduled_message::Model {
        id: EventId::new().0,
        user_id: user.0,
        conversation_id: conversation.0,
        client_message_id: name.to_owned(),
        sealed: format!("sealed {name}"),
        key_generation: 1,
        links: None,
        send_at: at.millis(),
        state: "waiting".to_owned(),
        failure: None,
        claimed_at: None,
        created_at: 0,
    };
    let id = EventId(row.id);
    row.into_active_model().insert(&world.db).await.unwrap();
    id
}

async fn rows(world: &World) -> Vec<scheduled_message::Model> {
    scheduled_message::Entity::find().all(&world.db).await.unwrap()
}

async fn nothing_left(world: &World) {
    eventually("all is sent, stored and gone", async || rows(world).await.is_empty()).await;
    world.log.drained(CONSUMER).await;
}

/// The names of the stored messages, in order.
async fn names(world: &World, conversation: ConversationId) -> Vec<String> {
    let rows = world.table().await.into_iter().filter(|row| row.conversation_id == conversation.0);
    rows.filter_map(|row| row.client_message_id).collect()
}

async fn what_is_due_is_sent_once_by_many_workers(world: World) {
    let clock = Clock::default();
    let now = clock.now();
    let (one, other) = (group(&world).await, group(&world).await);
    // Missed long ago, and in the order of their times.
    for number in 0..10 {
        let at = Timestamp::from_millis(now.millis() - 100_000 + number);
        schedule(&world, one.0, one.1, &format!("m-{number}"), at).await;
        schedule(&world, other.0, other.1, &format!("m-{number}"), at).await;
    }
    let workers: Vec<_> = (0..3).map(|_| start(&world, &clock, 20)).collect();
    let persistence = world.persistence();
    nothing_left(&world).await;
    for worker in workers {
        worker.stop().await;
    }
    persistence.stop().await;
    for (conversation, sender) in [one, other] {
        let mut sent = names(&world, conversation).await;
        // Workers that share a conversation's messages send side by side.
        sent.sort();
        assert_eq!(sent, (0..10).map(|number| format!("m-{number}")).collect::<Vec<_>>(), "each once");
        for row in world.table().await.iter().filter(|row| row.conversation_id == conversation.0) {
            assert_eq!((row.sender_id, row.sealed.as_deref().map(|text| &text[..6])), (sender.0, Some("sealed")));
            assert!(row.created_at >= now.millis(), "the moment of sending");
        }
    }
}

async fn nothing_is_sent_before_its_time_and_a_word_wakes_the_worker(world: World) {
    let clock = Clock::default();
    let (conversation, owner) = group(&world).await;
    let mut notices = world.log.subscribe(ControlNotice::SUBJECT).await;
    let id = schedule(&world, conversation, owner, "later", clock.now().plus(std::time::Duration::from_hours(1))).await;
    // It would sleep for a minute.
    let (worker, persistence) = (start(&world, &clock, 60_000), world.persistence());
    let word = async || {
        let subject = sealpost_bus::Subject::new(TIMERS_SUBJECT).unwrap();
        sealpost_bus::Live::publish(&*world.log.live, subject, bytes::Bytes::new()).await.unwrap();
    };
    for _ in 0..20 {
        word().await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(rows(&world).await[0].state, "waiting");
    clock.step(3_600_000);
    eventually("it is sent", async || {
        word().await;
        rows(&world).await.iter().all(|row| row.state != "waiting")
    })
    .await;
    nothing_left(&world).await;
    worker.stop().await;
    persistence.stop().await;
    assert_eq!(world.table().await[0].id, id.0);
    let notice: ControlNotice = serde_json::from_slice(&next_live(&mut notices).await).unwrap();
    let ControlNotice::Scheduled(notice) = notice else { panic!("{notice:?}") };
    assert_eq!((notice.user_id, notice.message_id.0, notice.state), (owner, id.0, ScheduledState::Sent));
}

/// Dead before appending, after it, and with the event stored.
async fn what_a_dead_worker_had_begun_is_sent_once(world: World) {
    let clock = Clock::default();
    let (conversation, owner) = group(&world).await;
    let persistence = world.persistence();
    let mut ids = Vec::new();
    for name in ["claimed", "appended", "stored"] {
        ids.push(schedule(&world, conversation, owner, name, clock.now()).await);
    }
    let dead = lanes(&world, &clock);
    let append = async |id: EventId, name: &str| {
        let draft = Draft {
            id,
            sender_id: owner,
            created_at: clock.now(),
            body: EventBody::MessagePosted {
                client_message_id: ClientMessageId::try_from(name.to_owned()).unwrap(),
                sealed: format!("sealed {name}"),
                links: None,
                expires_at: None,
            },
            rule: Rule::Post,
            retry: true,
        };
        dead.append(conversation, draft).await.unwrap()
    };
    append(ids[2], "stored").await;
    world.log.drained(CONSUMER).await;
    append(ids[1], "appended").await;
    for row in rows(&world).await {
        let mut row = row.into_active_model();
        (row.state, row.claimed_at) = (Set("sending".to_owned()), Set(Some(clock.now().millis())));
        row.update(&world.db).await.unwrap();
    }
    // The lease has long to go, but this one has just begun: whoever claimed them may be gone.
    clock.step(1);
    let worker = start(&world, &clock, 20);
    nothing_left(&world).await;
    worker.stop().await;
    persistence.stop().await;
    let mut sent = names(&world, conversation).await;
    sent.sort();
    assert_eq!(sent, ["appended", "claimed", "stored"]);
    assert!(world.log.dead_letters().await.is_empty());
}

async fn what_is_refused_says_why_and_keeps_nobody_waiting(world: World) {
    let clock = Clock::default();
    let (conversation, owner) = group(&world).await;
    let (gone, disabled, reader) = (group(&world).await.1, group(&world).await, group(&world).await);
    schedule(&world, conversation, gone, "not-here", clock.now()).await;
    schedule(&world, ConversationId::new(), owner, "nowhere", clock.now()).await;
    schedule(&world, disabled.0, disabled.1, "disabled", clock.now()).await;
    let row = user::ActiveModel { id: Set(disabled.1.0), disabled_at: Set(Some(1)), ..Default::default() };
    row.update(&world.db).await.unwrap();
    schedule(&world, reader.0, reader.1, "only-reads", clock.now()).await;
    let row = participant::ActiveModel {
        conversation_id: Set(reader.0.0),
        user_id: Set(reader.1.0),
        role: Set("reader".to_owned()),
        ..Default::default()
    };
    row.update(&world.db).await.unwrap();
    let calling = schedule(&world, conversation, owner, "good", clock.now()).await;
    let links = MessageLinks { mentions_all: true, ..MessageLinks::default() };
    let row = scheduled_message::ActiveModel {
        id: Set(calling.0),
        links: Set(Some(serde_json::to_string(&links).unwrap())),
        ..Default::default()
    };
    row.update(&world.db).await.unwrap();
    let (worker, persistence) = (start(&world, &clock, 20), world.persistence());
    eventually("all are decided", async || {
        let rows = rows(&world).await;
        rows.len() == 4 && rows.iter().all(|row| row.state == "failed")
    })
    .await;
    worker.stop().await;
    persistence.stop().await;
    let why: std::collections::BTreeMap<_, _> =
        rows(&world).await.into_iter().map(|row| (row.client_message_id, row.failure.unwrap())).collect();
    let expected = [
        ("not-here", ScheduledFailure::NotAParticipant),
        ("nowhere", ScheduledFailure::NotAParticipant),
        ("disabled", ScheduledFailure::AccountDisabled),
        ("only-reads", ScheduledFailure::Forbidden),
    ];
    for (name, failure) in expected {
        assert_eq!(why[name], failure.as_str(), "{name}");
    }
    let table = world.table().await;
    assert_eq!((table.len(), &table[0].data), (1, &Some(serde_json::to_string(&links).unwrap())));
}

async fn a_used_name_is_not_sent_again(world: World) {
    let clock = Clock::default();
    let (conversation, owner) = group(&world).await;
    let persistence = world.persistence();
    world
        .log
        .append(&[crate::harness::message_named(conversation, 1, "same")].map(|mut event| {
            event.sender_id = owner;
            event
        }))
        .await;
    world.log.drained(CONSUMER).await;
    schedule(&world, conversation, owner, "same", clock.now()).await;
    let worker = start(&world, &clock, 20);
    eventually("it is refused", async || rows(&world).await[0].state == "failed").await;
    worker.stop().await;
    persistence.stop().await;
    assert_eq!(rows(&world).await[0].failure.as_deref(), Some("client_message_id_reused"));
    assert_eq!(names(&world, conversation).await, ["same"]);
}

async fn what_is_sent_later_disappears_as_the_settings_say_then(world: World) {
    let clock = Clock::default();
    let (conversation, owner) = group(&world).await;
    let (stays, other) = (group(&world).await, (conversation, owner));
    let row =
        conversation::ActiveModel { id: Set(conversation.0), disappear_after: Set(Some(60)), ..Default::default() };
    row.update(&world.db).await.unwrap();
    for (id, user) in [stays, other] {
        schedule(&world, id, user, "later", clock.now()).await;
        let row = conversation_key::ActiveModel {
            conversation_id: Set(id.0),
            generation: Set(1),
            wrapped: Set("wrapped".to_owned()),
            created_at: Set(0),
            purpose: Set(conversation_key::SINGLE.to_owned()),
            ..Default::default()
        };
        row.insert(&world.db).await.unwrap();
    }
    let (worker, persistence) = (start(&world, &clock, 20), world.persistence());
    nothing_left(&world).await;
    worker.stop().await;
    persistence.stop().await;
    for row in world.table().await {
        let expires_at = (row.conversation_id == conversation.0).then_some(row.created_at + 60_000);
        assert_eq!(row.expires_at, expires_at);
        let key = conversation_key::Entity::find_by_id((row.conversation_id, 1)).one(&world.db).await.unwrap();
        assert_eq!(key.unwrap().expires_at, expires_at, "its key goes with it");
    }
}
