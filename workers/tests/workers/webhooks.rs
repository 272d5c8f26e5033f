//! Keeps the promises of `sealpost_workers::webhooks`, with a real store and a real receiver.

use std::time::Duration;

use sea_orm::prelude::Uuid;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
};
use sealpost_bus::{Live as _, Subject};
use sealpost_outgoing::{Client, Networks, WebhookKeys, verify};
use sealpost_schema::entities::{audit, conversation, event, participant, user, webhook, webhook_cursor};
use sealpost_schema::{Clock, ConversationId, Event, EventId, Seq, StoredNotice, StoredRange, UserId};
use sealpost_testing::{Answer, Receiver};
use sealpost_workers::webhooks::{Parts, WebhookWorkerConfig, run};
use secrecy::SecretString;

use crate::harness::{Running, World, deletion, eventually, message, on_both_stores};

on_both_stores! {
    events_are_told_in_order_and_each_once_by_two_workers
    one_conversation_that_is_refused_holds_up_no_other_one
    a_receiver_that_is_away_is_asked_by_one_request_at_a_time
    the_lease_of_a_killed_worker_ends
    after_days_without_success_a_webhook_is_disabled_and_goes_on_where_it_stopped
    a_conversation_that_is_never_taken_is_stopped_alone
    a_reader_is_told_what_they_see_at_that_moment_and_no_more
    a_conversations_webhook_is_as_good_as_the_right_of_its_maker
    a_hole_is_waited_for_and_what_is_not_wanted_is_left_out
    a_newcomer_begins_with_the_event_that_added_them
    a_replay_meets_no_other_request_of_its_conversation
}

const HOUR_MS: u64 = 3_600_000;

/// 32 bytes.
const KEY: &str = "c2VhbHBvc3QtdGVzdC1tYXN0ZXIta2V5LTAxMjM0NTY=";

fn keys() -> WebhookKeys {
    WebhookKeys::parse(&[SecretString::from(KEY)]).unwrap().unwrap()
}

/// Looks often, and tries again soon.
fn quick() -> WebhookWorkerConfig {
    WebhookWorkerConfig {
        interval_ms: 20,
        sweep_ms: 100,
        first_delay_ms: 20,
        max_delay_ms: 50,
        ..WebhookWorkerConfig::default()
    }
}

/// Pauses pass only when the clock is stepped.
fn stepped() -> WebhookWorkerConfig {
    WebhookWorkerConfig { first_delay_ms: HOUR_MS, max_delay_ms: HOUR_MS, ..quick() }
}

fn worker(world: &World, clock: &Clock, config: WebhookWorkerConfig) -> Running {
    let networks = Networks::allowing(vec!["127.0.0.1/32".parse().unwrap()]);
    let client = Client::new(networks, Duration::from_millis(config.timeout_ms)).unwrap();
    let (db, live, clock) = (world.db.clone(), world.log.live.clone(), clock.clone());
    Running::new(move |stop| run(Parts { db, live, client, keys: keys(), config, clock }, stop))
}

async fn account(world: &World) -> UserId {
    let id = UserId::new();
    let row = user::Model { kind: user::SERVICE.to_owned(), ..user::Model::new(id.0, &id.0.simple().to_string(), 0) };
    user::Entity::insert(row.into_active_model()).exec_without_returning(&world.db).await.unwrap();
    id
}

async fn group(world: &World) -> ConversationId {
    let id = ConversationId::new();
    let row = conversation::ActiveModel {
        id: Set(id.0),
        kind: Set("group".to_owned()),
        created_by: Set(Uuid::nil()),
        created_at: Set(0),
        history: Set("all".to_owned()),
        open_reading: Set(false),
        ..Default::default()
    };
    conversation::Entity::insert(row).exec_without_returning(&world.db).await.unwrap();
    id
}

async fn join(world: &World, conversation: ConversationId, user: UserId, visible_from: i64, added_by: Option<EventId>) {
    let row = participant::ActiveModel {
        conversation_id: Set(conversation.0),
        user_id: Set(user.0),
        role: Set("admin".to_owned()),
        added_at: Set(0),
        read_seq: Set(0),
        delivered_seq: Set(0),
        visible_from: Set(visible_from),
        added_event_id: Set(added_by.map(|id| id.0)),
        ..Default::default()
    };
    participant::Entity::insert(row).exec_without_returning(&world.db).await.unwrap();
}

async fn leave(world: &World, conversation: ConversationId, user: UserId) {
    participant::Entity::delete_by_id((conversation.0, user.0)).exec(&world.db).await.unwrap();
}

/// Stores events as the persistence worker does, and tells of it.
async fn store(world: &World, events: &[Event]) {
    let rows: Vec<_> = events.iter().map(|event| event::Model::of(event).unwrap().into_active_model()).collect();
    event::Entity::insert_many(rows).exec_without_returning(&world.db).await.unwrap();
    let stored = events.iter().map(|event| StoredRange {
        conversation_id: event.conversation_id,
        first: event.seq,
        last: event.seq,
        ids: 0,
    });
    let notice = StoredNotice { stored: stored.collect(), voided: Vec::new() };
    let payload = serde_json::to_vec(&notice).unwrap();
    world.log.live.publish(Subject::new(StoredNotice::SUBJECT).unwrap(), payload.into()).await.unwrap();
}

async fn messages(world: &World, conversation: ConversationId, seqs: std::ops::RangeInclusive<u64>) {
    let events: Vec<_> = seqs.map(|seq| message(conversation, seq)).collect();
    store(world, &events).await;
}

async fn hook(world: &World, reader: UserId, url: &str, of: Option<ConversationId>, kinds: Option<&str>) -> Uuid {
    let row = webhook::Model {
        id: Uuid::now_v7(),
        reader_id: reader.0,
        conversation_id: of.map(|id| id.0),
        url: url.to_owned(),
        kinds: kinds.map(str::to_owned),
        secret_version: 1,
        secret_rotated_at: None,
        created_by: reader.0,
        created_at: 0,
        paused_at: None,
        disabled_at: None,
        disabled_reason: None,
        attempts: 0,
        next_attempt_at: 0,
        failing_since: None,
        last_success_at: None,
    };
    let id = row.id;
    webhook::Entity::insert(row.into_active_model()).exec_without_returning(&world.db).await.unwrap();
    id
}

async fn load(world: &World, id: Uuid) -> webhook::Model {
    webhook::Entity::find_by_id(id).one(&world.db).await.unwrap().unwrap()
}

async fn cursor(world: &World, hook: Uuid, conversation: ConversationId) -> webhook_cursor::Model {
    webhook_cursor::Entity::find_by_id((hook, conversation.0)).one(&world.db).await.unwrap().unwrap()
}

/// Long enough for a worker that does what it should not to do it: it looks every 20 ms, and at everything every 100.
async fn several_looks() {
    tokio::time::sleep(Duration::from_millis(400)).await;
}

async fn events_are_told_in_order_and_each_once_by_two_workers(world: World) {
    let (receiver, clock, reader) = (Receiver::start().await, Clock::default(), account(&world).await);
    let mut groups = Vec::new();
    for _ in 0..3 {
        let id = group(&world).await;
        join(&world, id, reader, 0, None).await;
        groups.push(id);
    }
    messages(&world, groups[0], 1..=250).await;
    let id = hook(&world, reader, &receiver.url, None, None).await;
    let workers = [worker(&world, &clock, quick()), worker(&world, &clock, quick())];
    for seq in 1..=30 {
        for group in &groups[1..] {
            messages(&world, *group, seq..=seq).await;
        }
    }
    for (group, last) in [(groups[0], 250), (groups[1], 30), (groups[2], 30)] {
        receiver.took(&group.to_string(), last).await;
        assert_eq!(receiver.seqs(&group.to_string()), (1..=last).collect::<Vec<_>>(), "each once, in order");
    }
    assert_eq!(receiver.most_at_once(), 1);
    let secret = keys().secret(id, 1);
    let now = clock.now().unix_seconds();
    for request in receiver.received() {
        assert!(verify(request.header("sealpost-signature"), &secret, &request.body, now, 300), "{request:?}");
        assert_eq!(request.header("sealpost-delivery"), request.json["delivery_id"]);
        assert_eq!((&request.json["type"], &request.json["webhook_id"]), (&"events".into(), &id.to_string().into()));
        let events = request.json["events"].as_array().unwrap();
        assert!((1..=100).contains(&events.len()));
        assert!(!String::from_utf8_lossy(&request.body).contains("sealed"), "no content, not even sealed");
        assert_eq!(events[0]["message_id"], events[0]["id"]);
    }
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(cursor(&world, id, groups[0]).await.lease_id, None, "leases are given back");
}

async fn one_conversation_that_is_refused_holds_up_no_other_one(world: World) {
    let (receiver, clock, reader) = (Receiver::start().await, Clock::default(), account(&world).await);
    let (bad, good) = (group(&world).await, group(&world).await);
    for id in [bad, good] {
        join(&world, id, reader, 0, None).await;
    }
    let refused = bad.to_string();
    let is_refused = refused.clone();
    receiver.answer(move |request| {
        Answer::Status(if request.json["conversation_id"] == is_refused.as_str() { 400 } else { 204 })
    });
    messages(&world, bad, 1..=3).await;
    let id = hook(&world, reader, &receiver.url, None, None).await;
    let running = worker(&world, &clock, quick());
    let attempts = || async { cursor(&world, id, bad).await.attempts };
    receiver.came(1).await;
    eventually("it was tried again", async || attempts().await >= 3).await;
    for seq in 1..=20 {
        messages(&world, good, seq..=seq).await;
        receiver.took(&good.to_string(), seq).await;
    }
    let row = cursor(&world, id, bad).await;
    assert_eq!((row.next_seq, row.last_status), (1, Some(400)));
    assert_eq!(row.last_error.as_deref(), Some("it answered with status 400"));
    assert_eq!(load(&world, id).await.attempts, 0, "it is not the receiver's fault");
    messages(&world, bad, 4..=4).await;
    receiver.answer(|_| Answer::Status(200));
    receiver.took(&refused, 4).await;
    assert_eq!(receiver.seqs(&refused), [1, 2, 3, 4]);
    running.stop().await;
    let row = cursor(&world, id, bad).await;
    assert_eq!((row.attempts, row.retry_at, row.failing_since, row.last_error), (0, None, None, None));
}

async fn a_receiver_that_is_away_is_asked_by_one_request_at_a_time(world: World) {
    let (receiver, clock, reader) = (Receiver::start().await, Clock::default(), account(&world).await);
    receiver.answer(|_| Answer::Status(503));
    let mut groups = Vec::new();
    for _ in 0..20 {
        let id = group(&world).await;
        join(&world, id, reader, 0, None).await;
        messages(&world, id, 1..=1).await;
        groups.push(id);
    }
    let id = hook(&world, reader, &receiver.url, None, None).await;
    let workers = [worker(&world, &clock, stepped()), worker(&world, &clock, stepped())];
    eventually("it is known to be away", async || load(&world, id).await.attempts == 1).await;
    several_looks().await;
    let first = receiver.received().len();
    assert!(first <= 8, "{first} requests: as many as two workers have under way at once");
    for more in 1..=3 {
        clock.step(i64::try_from(HOUR_MS).unwrap() + 1);
        receiver.came(first + more).await;
        eventually("the attempt counts", async || load(&world, id).await.attempts == i64::try_from(more).unwrap() + 1)
            .await;
        several_looks().await;
        assert_eq!(receiver.received().len(), first + more, "one more after each pause");
    }
    receiver.answer(|_| Answer::Status(200));
    // Those that have been tried wait for their own time.
    for _ in 0..3 {
        clock.step(i64::try_from(HOUR_MS).unwrap() + 1);
        several_looks().await;
    }
    for group in &groups {
        receiver.took(&group.to_string(), 1).await;
        assert_eq!(receiver.seqs(&group.to_string()), [1]);
    }
    let row = load(&world, id).await;
    assert_eq!((row.attempts, row.failing_since), (0, None));
    for worker in workers {
        worker.stop().await;
    }
}

async fn the_lease_of_a_killed_worker_ends(world: World) {
    let (receiver, clock, reader) = (Receiver::start().await, Clock::default(), account(&world).await);
    let id = group(&world).await;
    join(&world, id, reader, 0, None).await;
    messages(&world, id, 1..=2).await;
    receiver.answer(|_| Answer::Hold);
    hook(&world, reader, &receiver.url, None, None).await;
    let killed = worker(&world, &clock, quick());
    receiver.came(1).await;
    killed.kill().await;
    receiver.answer(|_| Answer::Status(200));
    let other = worker(&world, &clock, quick());
    several_looks().await;
    assert_eq!(receiver.received().len(), 1, "it is the other one's as long as its lease goes");
    clock.step(i64::try_from(quick().lease_ms).unwrap() + 1);
    receiver.took(&id.to_string(), 2).await;
    assert_eq!(receiver.seqs(&id.to_string()), [1, 2]);
    other.stop().await;
}

async fn after_days_without_success_a_webhook_is_disabled_and_goes_on_where_it_stopped(world: World) {
    let (receiver, clock, reader) = (Receiver::start().await, Clock::default(), account(&world).await);
    let conversation = group(&world).await;
    join(&world, conversation, reader, 0, None).await;
    messages(&world, conversation, 1..=2).await;
    receiver.answer(|_| Answer::Status(404));
    let id = hook(&world, reader, &receiver.url, None, None).await;
    let running = worker(&world, &clock, stepped());
    for hour in 0..72_u32 {
        receiver.came(hour as usize + 1).await;
        let attempts = i64::from(hour) + 1;
        eventually("the attempt counts", async || cursor(&world, id, conversation).await.attempts == attempts).await;
        assert_eq!(load(&world, id).await.disabled_at, None, "after {hour} hours");
        clock.step(i64::try_from(HOUR_MS).unwrap());
    }
    eventually("it is disabled", async || load(&world, id).await.disabled_at.is_some()).await;
    let row = load(&world, id).await;
    assert_eq!(row.disabled_reason.as_deref(), Some("failed"));
    let recorded =
        audit::Entity::find().filter(audit::Column::Action.eq("webhook_disabled")).all(&world.db).await.unwrap();
    assert_eq!(recorded.len(), 1);
    assert!(recorded[0].details.contains(&id.to_string()) && recorded[0].user_id == Some(reader.0));
    let asked = receiver.received().len();
    messages(&world, conversation, 3..=3).await;
    clock.step(i64::try_from(HOUR_MS).unwrap() * 5);
    several_looks().await;
    assert_eq!(receiver.received().len(), asked, "nothing more is sent");
    // As its owner lets it go on.
    receiver.answer(|_| Answer::Status(200));
    let mut change = row.into_active_model();
    (change.disabled_at, change.disabled_reason) = (Set(None), Set(None));
    change.update(&world.db).await.unwrap();
    receiver.took(&conversation.to_string(), 3).await;
    assert_eq!(receiver.seqs(&conversation.to_string()), [1, 2, 3]);
    running.stop().await;
}

async fn a_conversation_that_is_never_taken_is_stopped_alone(world: World) {
    let (receiver, clock, reader) = (Receiver::start().await, Clock::default(), account(&world).await);
    let (bad, good) = (group(&world).await, group(&world).await);
    for id in [bad, good] {
        join(&world, id, reader, 0, None).await;
    }
    let refused = bad.to_string();
    receiver.answer(move |request| {
        Answer::Status(if request.json["conversation_id"] == refused.as_str() { 422 } else { 204 })
    });
    messages(&world, bad, 1..=1).await;
    let id = hook(&world, reader, &receiver.url, None, None).await;
    let running = worker(&world, &clock, stepped());
    receiver.came(1).await;
    eventually("the attempt counts", async || cursor(&world, id, bad).await.attempts == 1).await;
    clock.step(2000);
    messages(&world, good, 1..=1).await;
    receiver.took(&good.to_string(), 1).await;
    eventually("the success counts", async || load(&world, id).await.last_success_at.is_some()).await;
    clock.step(i64::try_from(HOUR_MS).unwrap() * 73);
    eventually("it is stopped", async || cursor(&world, id, bad).await.stopped_at.is_some()).await;
    assert_eq!(load(&world, id).await.disabled_at, None);
    messages(&world, bad, 2..=2).await;
    messages(&world, good, 2..=2).await;
    receiver.took(&good.to_string(), 2).await;
    clock.step(i64::try_from(HOUR_MS).unwrap() * 73);
    several_looks().await;
    assert_eq!(receiver.received().len(), 4, "two of each");
    running.stop().await;
}

async fn a_reader_is_told_what_they_see_at_that_moment_and_no_more(world: World) {
    let (receiver, clock, reader) = (Receiver::start().await, Clock::default(), account(&world).await);
    let (seen, foreign) = (group(&world).await, group(&world).await);
    join(&world, seen, reader, 3, None).await;
    join(&world, foreign, UserId::new(), 0, None).await;
    messages(&world, seen, 1..=4).await;
    messages(&world, foreign, 1..=4).await;
    let id = hook(&world, reader, &receiver.url, None, None).await;
    let running = worker(&world, &clock, quick());
    receiver.took(&seen.to_string(), 4).await;
    assert_eq!(receiver.seqs(&seen.to_string()), [3, 4], "nothing from before they may see it");
    // A request is under way when they are removed: it is the last one.
    receiver.answer(|_| Answer::Hold);
    messages(&world, seen, 5..=5).await;
    receiver.came(2).await;
    leave(&world, seen, reader).await;
    receiver.answer(|_| Answer::Status(200));
    receiver.let_go();
    messages(&world, seen, 6..=6).await;
    several_looks().await;
    assert_eq!(receiver.seqs(&seen.to_string()), [3, 4]);
    // Back again, they begin with what brought them back.
    let added = message(seen, 7);
    join(&world, seen, reader, 0, Some(added.id)).await;
    several_looks().await;
    assert_eq!(receiver.received().len(), 2, "nothing before that is stored");
    store(&world, &[added]).await;
    receiver.took(&seen.to_string(), 7).await;
    assert_eq!(receiver.seqs(&seen.to_string()), [3, 4, 7]);
    // An account that is disabled hears nothing.
    let change = user::ActiveModel { disabled_at: Set(Some(1)), ..Default::default() };
    user::Entity::update_many().set(change).filter(user::Column::Id.eq(reader.0)).exec(&world.db).await.unwrap();
    messages(&world, seen, 8..=8).await;
    several_looks().await;
    assert_eq!(receiver.seqs(&seen.to_string()), [3, 4, 7]);
    assert!(receiver.seqs(&foreign.to_string()).is_empty());
    assert!(load(&world, id).await.is_active());
    running.stop().await;
}

async fn a_conversations_webhook_is_as_good_as_the_right_of_its_maker(world: World) {
    let (receiver, clock) = (Receiver::start().await, Clock::default());
    let (maker, leaver) = (account(&world).await, account(&world).await);
    let (id, other) = (group(&world).await, group(&world).await);
    join(&world, id, maker, 0, None).await;
    join(&world, id, leaver, 0, None).await;
    join(&world, other, maker, 0, None).await;
    let hooks = [
        hook(&world, maker, &format!("{}/stays", receiver.url), Some(id), None).await,
        hook(&world, leaver, &format!("{}/leaves", receiver.url), Some(id), None).await,
    ];
    let running = worker(&world, &clock, quick());
    messages(&world, other, 1..=1).await;
    messages(&world, id, 1..=1).await;
    receiver.came(2).await;
    let mut paths: Vec<_> = receiver.received().into_iter().map(|request| request.path).collect();
    paths.sort();
    assert_eq!(paths, ["/leaves", "/stays"], "and nothing of another conversation");
    leave(&world, id, leaver).await;
    eventually("it is disabled", async || load(&world, hooks[1]).await.disabled_at.is_some()).await;
    let change = participant::ActiveModel { role: Set("member".to_owned()), ..Default::default() };
    participant::Entity::update_many()
        .set(change)
        .filter(participant::Column::UserId.eq(maker.0))
        .exec(&world.db)
        .await
        .unwrap();
    messages(&world, id, 2..=2).await;
    eventually("it is disabled, too", async || load(&world, hooks[0]).await.disabled_at.is_some()).await;
    for hook in hooks {
        assert_eq!(load(&world, hook).await.disabled_reason.as_deref(), Some("not_allowed"));
    }
    assert_eq!(receiver.received().len(), 2);
    running.stop().await;
}

async fn a_hole_is_waited_for_and_what_is_not_wanted_is_left_out(world: World) {
    let (receiver, clock, reader) = (Receiver::start().await, Clock::default(), account(&world).await);
    let id = group(&world).await;
    join(&world, id, reader, 0, None).await;
    let all: Vec<_> = (1..=6).map(|seq| message(id, seq)).collect();
    store(&world, &[all[0].clone(), all[1].clone(), all[3].clone()]).await;
    hook(&world, reader, &format!("{}/all", receiver.url), None, None).await;
    let some = hook(&world, reader, &format!("{}/some", receiver.url), None, Some("message_deleted")).await;
    let running = worker(&world, &clock, quick());
    let seqs = |path: &str| {
        let received = receiver.received().into_iter().filter(|one| one.path == path);
        received.flat_map(|one| one.events()).map(|(_, event)| event["seq"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    eventually("what comes before the hole", async || seqs("/all") == [1, 2]).await;
    several_looks().await;
    assert_eq!(seqs("/all"), [1, 2], "later events can be stored before earlier ones");
    store(&world, &[all[2].clone()]).await;
    eventually("what comes after the hole", async || seqs("/all") == [1, 2, 3, 4]).await;
    assert_eq!(seqs("/some"), [0_u64; 0]);
    let gone = deletion(5, &all[0]);
    store(&world, std::slice::from_ref(&gone)).await;
    eventually("what is wanted", async || seqs("/some") == [5]).await;
    let last = receiver.received().into_iter().rfind(|one| one.path == "/some").unwrap();
    assert_eq!(last.json["events"][0]["message_id"], all[0].id.to_string(), "the message that it is about");
    eventually("the cursor is behind it", async || cursor(&world, some, id).await.next_seq == 6).await;
    running.stop().await;
}

async fn a_newcomer_begins_with_the_event_that_added_them(world: World) {
    let (receiver, clock, reader) = (Receiver::start().await, Clock::default(), account(&world).await);
    let id = group(&world).await;
    messages(&world, id, 1..=5).await;
    hook(&world, reader, &receiver.url, None, None).await;
    let running = worker(&world, &clock, quick());
    let added = message(id, 6);
    join(&world, id, reader, 0, Some(added.id)).await;
    store(&world, &[added, message(id, 7)]).await;
    receiver.took(&id.to_string(), 7).await;
    assert_eq!(receiver.seqs(&id.to_string()), [6, 7]);
    running.stop().await;
}

async fn a_replay_meets_no_other_request_of_its_conversation(world: World) {
    let (receiver, clock, reader) = (Receiver::start().await, Clock::default(), account(&world).await);
    let conversation = group(&world).await;
    join(&world, conversation, reader, 0, None).await;
    messages(&world, conversation, 1..=3).await;
    let id = hook(&world, reader, &receiver.url, None, None).await;
    let workers = [worker(&world, &clock, quick()), worker(&world, &clock, quick())];
    receiver.took(&conversation.to_string(), 3).await;
    receiver.answer(|_| Answer::Hold);
    messages(&world, conversation, 4..=4).await;
    receiver.came(2).await;
    // As the API does it, while a request is under way.
    let change = webhook_cursor::ActiveModel { next_seq: Set(Seq(2).to_db()), ..Default::default() };
    let of = webhook_cursor::Column::WebhookId.eq(id);
    webhook_cursor::Entity::update_many().set(change).filter(of).exec(&world.db).await.unwrap();
    several_looks().await;
    assert_eq!(receiver.received().len(), 2, "not before the other one has ended");
    receiver.answer(|_| Answer::Status(200));
    receiver.let_go();
    receiver.took(&conversation.to_string(), 4).await;
    assert_eq!(receiver.seqs(&conversation.to_string()), [1, 2, 3, 2, 3, 4]);
    assert_eq!(receiver.most_at_once(), 1);
    for worker in workers {
        worker.stop().await;
    }
}
