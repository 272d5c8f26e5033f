//! Changes of messages in the store: whatever order they come in, and however often, the same rows.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{World, deletion, event, message, on_both_stores, quick};
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use sealpost_schema::entities::{event as stored, mention, reaction, thread, thread_follower};
use sealpost_schema::{ConversationId, Event, EventBody, MessageId, MessageLinks, ReactionHash, UserId};
use sealpost_workers::persistence::{CONSUMER, PersistenceConfig};

on_both_stores! {
    changes_in_any_order_and_repeated_end_in_the_same_rows
    an_edit_that_is_stored_after_the_deletion_loses_its_content
    edits_and_deletions_by_racing_workers_leave_no_content
    a_change_before_its_message_waits_for_it
}

/// Most changes come before their messages here, and are put back many times.
fn patient() -> PersistenceConfig {
    PersistenceConfig { put_back_max_ms: 1000, max_attempts: 10_000, ..quick() }
}

/// A small generator with a seed: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % limit as u64).unwrap()
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            list.swap(index, self.below(index + 1));
        }
    }
}

fn change(of: &Event, seq: u64, body: impl FnOnce(MessageId) -> EventBody) -> Event {
    event(of.conversation_id, seq, body(MessageId::from(of.id)))
}

fn edit(of: &Event, seq: u64) -> Event {
    change(of, seq, |message_id| EventBody::MessageEdited {
        message_id,
        message_seq: of.seq,
        sealed: format!("edit {seq}"),
        mentions: Vec::new(),
        mentions_all: false,
        expires_at: None,
    })
}

/// Two of three users, so that edits change who is mentioned.
fn mentions(numbers: &mut Numbers) -> Vec<UserId> {
    let left_out = numbers.below(4) as u128;
    (0..3).filter(|user| *user != left_out).map(|user| UserId(Uuid::from_u128(user))).collect()
}

/// A message that mentions some, and answers in a thread if there is one to answer in.
fn linked(numbers: &mut Numbers, conversation: ConversationId, seq: u64, roots: &[Event]) -> Event {
    let mut posted = message(conversation, seq);
    posted.sender_id = UserId(Uuid::from_u128(numbers.below(3) as u128));
    let root = numbers.below(roots.len() + 1);
    let thread_id = roots.get(root).map(|root| MessageId::from(root.id));
    let mentions_all = numbers.below(4) == 0;
    if let EventBody::MessagePosted { links, .. } = &mut posted.body {
        let mentions = mentions(numbers);
        *links = Some(Box::new(MessageLinks { reply_to: None, thread_id, mentions, mentions_all }));
    }
    posted
}

fn reaction(of: &Event, seq: u64, emoji: u128, user: u128, added: bool) -> Event {
    let (reaction, sealed, message_seq) = (ReactionHash(Uuid::from_u128(emoji)), format!("emoji {seq}"), of.seq);
    let event = change(of, seq, |message_id| {
        if added {
            EventBody::ReactionAdded { message_id, message_seq, reaction, sealed, expires_at: None }
        } else {
            EventBody::ReactionRemoved { message_id, message_seq, reaction, sealed, expires_at: None }
        }
    });
    Event { sender_id: UserId(Uuid::from_u128(user)), ..event }
}

/// A conversation of 120 events, as a lane would number them: after a deletion nothing changes that message.
fn history(numbers: &mut Numbers) -> Vec<Event> {
    let conversation = ConversationId::new();
    let mut events: Vec<Event> = (1..=6).map(|seq| message(conversation, seq)).collect();
    let mut alive: Vec<Event> = events.clone();
    // Threads begin with messages that are in none, and go on when those are deleted.
    let roots = events[..3].to_vec();
    for seq in 7..=120 {
        if alive.is_empty() {
            events.push(linked(numbers, conversation, seq, &roots));
            alive.extend(events.last().cloned());
            continue;
        }
        let index = numbers.below(alive.len());
        let of = alive[index].clone();
        let user = numbers.below(2) as u128;
        events.push(match numbers.below(20) {
            0..4 => edit(&of, seq),
            4..6 => {
                let mut edited = edit(&of, seq);
                if let EventBody::MessageEdited { mentions: named, .. } = &mut edited.body {
                    *named = mentions(numbers);
                }
                edited
            }
            6..11 => reaction(&of, seq, numbers.below(3) as u128, user, true),
            11..15 => reaction(&of, seq, numbers.below(3) as u128, user, false),
            15..17 => change(&of, seq, |message_id| EventBody::MessagePinned { message_id, message_seq: of.seq }),
            17 => change(&of, seq, |message_id| EventBody::MessageUnpinned { message_id, message_seq: of.seq }),
            18 => {
                alive.remove(index);
                deletion(seq, &of)
            }
            _ => {
                let posted = linked(numbers, conversation, seq, &roots);
                alive.push(posted.clone());
                posted
            }
        });
    }
    events
}

/// Of a message: sealed, deleted, edited, pinned.
type Shown = (Option<String>, Option<i64>, Option<i64>, Option<i64>);
/// By message, emoji and user: seq, added.
type Reactions = BTreeMap<(Uuid, Uuid, Uuid), (i64, bool)>;

/// What the events say, read in their order.
fn expected(events: &[Event]) -> (BTreeMap<Uuid, Shown>, Reactions) {
    let (mut messages, mut reactions): (BTreeMap<Uuid, Shown>, Reactions) = Default::default();
    for event in events {
        let seq = event.seq.to_db();
        let mut react = |message: MessageId, reaction: ReactionHash, added| {
            reactions.insert((message.0, reaction.0, event.sender_id.0), (seq, added));
        };
        match &event.body {
            EventBody::MessagePosted { sealed, .. } => {
                messages.insert(event.id.0, (Some(sealed.clone()), None, None, None));
            }
            EventBody::MessageEdited { message_id, .. } => messages.get_mut(&message_id.0).unwrap().2 = Some(seq),
            EventBody::MessagePinned { message_id, .. } => messages.get_mut(&message_id.0).unwrap().3 = Some(seq),
            EventBody::MessageUnpinned { message_id, .. } => messages.get_mut(&message_id.0).unwrap().3 = None,
            EventBody::ReactionAdded { message_id, reaction, .. } => react(*message_id, *reaction, true),
            EventBody::ReactionRemoved { message_id, reaction, .. } => react(*message_id, *reaction, false),
            EventBody::MessageDeleted { message_id, .. } => {
                let shown = messages.get_mut(&message_id.0).unwrap();
                (shown.0, shown.1, shown.3) = (None, Some(seq), None);
                reactions.retain(|(message, ..), _| *message != message_id.0);
            }
            other => panic!("{other:?}"),
        }
    }
    (messages, reactions)
}

/// By thread: the last seq. Who follows which. Which message mentions whom.
type Links = (BTreeMap<Uuid, i64>, BTreeSet<(Uuid, Uuid)>, BTreeSet<(Uuid, Uuid)>);

fn expected_links(events: &[Event]) -> Links {
    let (mut threads, mut followers, mut mentions): Links = Default::default();
    let mut mention = |message: Uuid, users: &[UserId], all: bool| {
        mentions.retain(|(of, _)| *of != message);
        mentions.extend(users.iter().map(|user| (message, user.0)).chain(all.then_some((message, Uuid::nil()))));
    };
    for event in events {
        match &event.body {
            EventBody::MessagePosted { links: Some(links), .. } => {
                mention(event.id.0, &links.mentions, links.mentions_all);
                if let Some(root) = links.thread_id {
                    threads.insert(root.0, event.seq.to_db());
                    let author = events.iter().find(|event| event.id.0 == root.0).unwrap().sender_id;
                    followers.extend([(event.sender_id.0, root.0), (author.0, root.0)]);
                }
            }
            EventBody::MessageEdited { message_id, mentions: users, mentions_all, .. } => {
                mention(message_id.0, users, *mentions_all);
            }
            EventBody::MessageDeleted { message_id, .. } => mention(message_id.0, &[], false),
            _ => {}
        }
    }
    (threads, followers, mentions)
}

async fn assert_links(world: &World, events: &[Event]) {
    let conversation = events[0].conversation_id.0;
    let threads = thread::Entity::find().filter(thread::Column::ConversationId.eq(conversation)).all(&world.db).await;
    let followers = thread_follower::Entity::find()
        .filter(thread_follower::Column::ConversationId.eq(conversation))
        .filter(thread_follower::Column::Following.eq(true))
        .all(&world.db)
        .await;
    let mentions =
        mention::Entity::find().filter(mention::Column::ConversationId.eq(conversation)).all(&world.db).await;
    let stored: Links = (
        threads.unwrap().into_iter().map(|row| (row.root_id, row.last_seq)).collect(),
        followers.unwrap().into_iter().map(|row| (row.user_id, row.root_id)).collect(),
        mentions.unwrap().into_iter().map(|row| (row.message_id, row.user_id)).collect(),
    );
    assert_eq!(stored, expected_links(events));
}

async fn assert_stored(world: &World, events: &[Event]) {
    assert_links(world, events).await;
    let (messages, reactions) = expected(events);
    let conversation = events[0].conversation_id.0;
    let rows = stored::Entity::find()
        .filter(stored::Column::ConversationId.eq(conversation))
        .order_by_asc(stored::Column::Seq)
        .all(&world.db)
        .await
        .unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    assert_eq!(ids, events.iter().map(|event| event.id.0).collect::<Vec<_>>());
    for (row, event) in rows.iter().zip(events) {
        if row.kind == "message_posted" {
            let shown = (row.sealed.clone(), row.deleted_seq, row.edited_seq, row.pinned_seq);
            assert_eq!(Some(&shown), messages.get(&row.id), "{row:?}");
            continue;
        }
        let gone = event.body.target().is_some_and(|message| messages[&message.0].1.is_some());
        let whole = if gone { event.without_content() } else { event.clone() };
        assert_eq!(row.to_event().unwrap(), whole, "{row:?}");
    }
    let rows = reaction::Entity::find().filter(reaction::Column::ConversationId.eq(conversation)).all(&world.db).await;
    let stored: Reactions = rows
        .unwrap()
        .into_iter()
        .map(|row| ((row.message_id, row.reaction, row.user_id), (row.seq, row.added)))
        .collect();
    assert_eq!(stored, reactions);
}

async fn changes_in_any_order_and_repeated_end_in_the_same_rows(world: World) {
    let mut numbers = Numbers(17);
    let histories: Vec<Vec<Event>> = (0..8).map(|_| history(&mut numbers)).collect();
    let mut records: Vec<Vec<Event>> =
        histories.iter().flat_map(|events| events.chunks(3)).map(<[Event]>::to_vec).collect();
    records.extend(records.clone());
    numbers.shuffle(&mut records);
    for record in &records {
        world.log.append(record).await;
    }
    let config = PersistenceConfig { max_records: 7, max_events: 20, ..patient() };
    let workers = [world.persistence_on(&world.log, config.clone()), world.persistence_on(&world.log, config.clone())];
    world.log.drained(CONSUMER).await;
    for worker in workers {
        worker.stop().await;
    }
    for events in &histories {
        assert_stored(&world, events).await;
    }
    // All of it once more, in another order, when everything is there.
    numbers.shuffle(&mut records);
    for record in &records {
        world.log.append(record).await;
    }
    let worker = world.persistence_on(&world.log, config);
    world.log.drained(CONSUMER).await;
    worker.stop().await;
    for events in &histories {
        assert_stored(&world, events).await;
    }
    assert!(world.log.dead_letters().await.is_empty());
}

async fn an_edit_that_is_stored_after_the_deletion_loses_its_content(world: World) {
    let posted = message(ConversationId::new(), 1);
    let events = [posted.clone(), edit(&posted, 2), reaction(&posted, 3, 1, 1, true), deletion(4, &posted)];
    let worker = world.persistence();
    for index in [0, 3, 1, 2, 0, 1, 2] {
        world.log.append(&events[index..=index]).await;
        world.log.drained(CONSUMER).await;
    }
    worker.stop().await;
    assert_stored(&world, &events).await;
    assert!(world.table().await.iter().all(|row| row.sealed.is_none()));
}

async fn edits_and_deletions_by_racing_workers_leave_no_content(world: World) {
    let conversation = ConversationId::new();
    let posted: Vec<Event> = (1..=60).map(|seq| message(conversation, seq)).collect();
    let mut events = posted.clone();
    for (of, seq) in posted.iter().zip(61..) {
        events.push(edit(of, seq));
    }
    for (of, seq) in posted.iter().zip(121..) {
        events.push(deletion(seq, of));
    }
    for (index, (edit, deletion)) in events[60..120].iter().zip(&events[120..]).enumerate() {
        if index == 10 {
            world.log.append(&posted).await;
        }
        world.log.append(std::slice::from_ref(deletion)).await;
        world.log.append(std::slice::from_ref(edit)).await;
    }
    let config = PersistenceConfig { max_records: 1, ..patient() };
    let workers = [0; 4].map(|_| world.persistence_on(&world.log, config.clone()));
    world.log.drained(CONSUMER).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_stored(&world, &events).await;
    assert!(world.log.dead_letters().await.is_empty());
}

async fn a_change_before_its_message_waits_for_it(world: World) {
    let posted = message(ConversationId::new(), 1);
    let events = [posted.clone(), edit(&posted, 2), reaction(&posted, 3, 1, 1, true)];
    let worker = world.persistence();
    world.log.append(&events[1..]).await;
    world.log.append(&events[..1]).await;
    world.log.drained(CONSUMER).await;
    worker.stop().await;
    assert_stored(&world, &events).await;
}
