//! What the index promises.

use std::sync::Arc;

use fastrand::Rng;
use sea_orm::EntityTrait as _;
use sealpost_bus::embedded::{EmbeddedBus, EmbeddedConfig};
use sealpost_bus::{Append, EventLog as _};
use sealpost_gateway::search::{CONSUMER, drop_index, follow, purge, rebuild};
use sealpost_schema::entities::search_term;
use sealpost_schema::{Event, EventBody};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{Index, Talk, World, eventually, on_both_stores, quick, record};

on_both_stores! {
    whatever_order_and_however_often_the_index_is_what_the_store_says
    the_index_follows_edits_and_leaves_nothing_of_what_was_deleted
    a_deleted_conversation_leaves_the_index
    the_index_follows_the_log_and_waits_for_the_store
    a_rebuild_gives_what_was_dropped
    no_word_is_in_the_tables
}

const WORDS: [&str; 8] =
    ["anchor", "harbour", "schooner", "Straße", "東京都", "https://example.org", "no", "lighthouse"];

fn text(rng: &mut Rng) -> String {
    (0..rng.usize(1..6)).map(|_| WORDS[rng.usize(0..WORDS.len())]).collect::<Vec<_>>().join(" ")
}

/// As a lane would number them: nothing changes a message after its deletion.
fn history(talk: &Talk, rng: &mut Rng) -> Vec<Event> {
    let mut events: Vec<Event> = (1..=8).map(|seq| talk.post(seq, &text(rng))).collect();
    let mut alive = events.clone();
    for seq in 9..=40 {
        let index = rng.usize(0..alive.len());
        let of = alive[index].clone();
        if alive.len() > 2 && rng.u8(0..5) == 0 {
            events.push(talk.deletion(&of, seq));
            alive.remove(index);
        } else {
            events.push(talk.edit(&of, seq, &text(rng)));
        }
    }
    events
}

/// The message that an event is about.
fn message_of(event: &Event) -> Uuid {
    event.body.target().map_or(event.id.0, |message| message.0)
}

async fn made_anew(world: &World) -> Index {
    drop_index(&world.db).await.unwrap();
    let done = rebuild(&world.db, world.rebuild(None), |_| {}).await.unwrap();
    assert_eq!((done.done, done.written, done.unreadable), (done.total, done.total, 0));
    world.index().await
}

/// Four at once, each with every event in an order of its own: stored, twice, and indexed after it was stored, as those who follow the log
/// do it.
async fn whatever_order_and_however_often_the_index_is_what_the_store_says(world: World) {
    for seed in 0..6 {
        let mut rng = Rng::with_seed(seed);
        let talk = world.talk().await;
        let events = history(&talk, &mut rng);
        let tasks = (0..4).map(|_| {
            let (world, mut queue, mut rng) = (world.clone(), [events.clone(), events.clone()].concat(), rng.fork());
            tokio::spawn(async move {
                rng.shuffle(&mut queue);
                let indexer = world.indexer();
                while let Some(event) = queue.pop() {
                    if !world.store(&event).await {
                        queue.insert(rng.usize(0..=queue.len() / 2), event);
                        continue;
                    }
                    indexer.index(&[message_of(&event)]).await.unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let index = world.index().await;
        assert!(index.is_consistent(), "seed {seed}: {index:?}");
        assert_eq!(index, made_anew(&world).await, "seed {seed}");
    }
}

async fn the_index_follows_edits_and_leaves_nothing_of_what_was_deleted(world: World) {
    let (talk, indexer) = (world.talk().await, world.indexer());
    let has = async |word: &str| world.index().await.terms.iter().any(|(term, _)| *term == talk.word(word));
    let (first, second) = (talk.post(1, "The anchor is up"), talk.post(2, "anchor, lighthouse"));
    for event in [&first, &second] {
        assert!(world.store(event).await);
    }
    let ids = [first.id.0, second.id.0];
    let indexed = indexer.index(&ids).await.unwrap();
    assert_eq!((indexed.written, indexed.unreadable), (2, 0));
    assert_eq!(indexer.index(&ids).await.unwrap().written, 0, "what is right is not written again");
    assert!(has("anchor").await && has("lighthouse").await && !has("schooner").await);
    assert!(world.store(&talk.edit(&second, 3, "schooner")).await);
    indexer.index(&ids).await.unwrap();
    assert!(has("anchor").await && !has("lighthouse").await && has("schooner").await);
    assert!(world.store(&talk.deletion(&second, 4)).await);
    assert!(!has("schooner").await, "gone with the content, before anybody indexes");
    assert_eq!(indexer.index(&ids).await.unwrap().written, 0);
    assert!(world.store(&talk.deletion(&first, 5)).await);
    let index = world.index().await;
    assert_eq!((index.terms, index.messages), (Vec::new(), Vec::new()));
}

async fn a_deleted_conversation_leaves_the_index(world: World) {
    let (doomed, other, indexer) = (world.talk().await, world.talk().await, world.indexer());
    let mut ids = Vec::new();
    for seq in 1..=250 {
        let event = doomed.post(seq, &format!("the anchor number{seq}"));
        assert!(world.store(&event).await);
        ids.push(event.id.0);
    }
    let stays = other.post(1, "the anchor");
    assert!(world.store(&stays).await);
    indexer.index(&[stays.id.0]).await.unwrap();
    indexer.index(&ids).await.unwrap();
    assert_eq!(purge(&world.db).await.unwrap(), 0, "nothing is deleted");
    world.delete(&doomed, 251).await;
    // Its key is still in this indexer's memory; all the same nothing comes back.
    let mut gone = 0;
    loop {
        match purge(&world.db).await.unwrap() {
            0 => break,
            some => gone += some,
        }
        indexer.index(&ids).await.unwrap();
    }
    indexer.index(&ids).await.unwrap();
    assert_eq!(gone, 250);
    let index = world.index().await;
    assert!(index.is_consistent());
    assert_eq!(index.messages.iter().map(|row| row.message_id).collect::<Vec<_>>(), [stays.id.0]);
}

async fn the_index_follows_the_log_and_waits_for_the_store(world: World) {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedBus::open(EmbeddedConfig::new(folder.path())).unwrap();
    let append = async |events: &[Event]| {
        let record = record(events);
        let (subject, id, payload) = (record.subject, record.id, record.payload);
        log.append(Append { subject, id, expected: None, payload }).await.unwrap();
    };
    let talk = world.talk().await;
    let events = [talk.post(1, "the anchor"), talk.post(2, "the lighthouse")];
    append(&events).await;
    append(&[talk.event(3, EventBody::ConversationChanged { sealed_title: None })]).await;
    let edit = talk.edit(&events[0], 4, "the schooner");
    append(std::slice::from_ref(&edit)).await;
    let forged = sealpost_bus::Subject::new("chat.0123").unwrap();
    log.append(Append { subject: forged, id: "x".to_owned(), expected: None, payload: "garbage".into() })
        .await
        .unwrap();
    let stop = CancellationToken::new();
    // Two gateways.
    let followers: Vec<_> = (0..2)
        .map(|_| tokio::spawn(follow(Arc::new(log.clone()), world.indexer(), quick(), Arc::default(), stop.clone())))
        .collect();
    let left = async || {
        let state = log.consumer_state(CONSUMER).await.unwrap();
        state.map_or(u64::MAX, |state| state.pending + state.ack_pending)
    };
    eventually("what says nothing is acked", async || left().await == 2).await;
    assert_eq!(world.index().await.terms, []);
    for event in events.iter().chain([&edit]) {
        assert!(world.store(event).await);
    }
    eventually("the index has it all", async || left().await == 0).await;
    let index = world.index().await;
    assert!(index.is_consistent() && index.messages.len() == 2, "{index:?}");
    let has = |word: &str| index.terms.iter().any(|(term, _)| *term == talk.word(word));
    assert!(has("schooner") && has("lighthouse") && !has("anchor"));
    stop.cancel();
    for follower in followers {
        follower.await.unwrap();
    }
    assert_eq!(log.dead_letters().count().await.unwrap(), 0);
}

async fn a_rebuild_gives_what_was_dropped(world: World) {
    let (one, other) = (world.talk().await, world.talk().await);
    let mut rng = Rng::with_seed(7);
    for event in history(&one, &mut rng).iter().chain(&history(&other, &mut rng)) {
        assert!(world.store(event).await);
    }
    let all = made_anew(&world).await;
    assert!(all.is_consistent() && !all.messages.is_empty());
    let again = rebuild(&world.db, world.rebuild(None), |_| {}).await.unwrap();
    assert_eq!((again.written, again.done), (0, again.total));
    assert_eq!(drop_index(&world.db).await.unwrap(), all.messages.len() as u64);
    let mut told = Vec::new();
    let part = rebuild(&world.db, world.rebuild(Some(one.id)), |progress| told.push(progress)).await.unwrap();
    assert!(told.len() >= 2 && told[0].done == 0 && told.last() == Some(&part), "{told:?}");
    assert!(world.index().await.messages.iter().all(|row| row.conversation_id == one.id.0));
    rebuild(&world.db, world.rebuild(None), |_| {}).await.unwrap();
    assert_eq!(world.index().await, all);
}

async fn no_word_is_in_the_tables(world: World) {
    let (one, other, indexer) = (world.talk().await, world.talk().await, world.indexer());
    for talk in [&one, &other] {
        let event = talk.post(1, "canary");
        assert!(world.store(&event).await);
        indexer.index(&[event.id.0]).await.unwrap();
    }
    let index = world.index().await;
    let bytes: Vec<u8> = index
        .messages
        .iter()
        .flat_map(|row| row.terms.clone())
        .chain(index.terms.iter().flat_map(|(term, at)| [term.to_be_bytes(), at.to_be_bytes()].concat()))
        .collect();
    assert!(!bytes.windows(3).any(|window| window == b"can"));
    let terms: std::collections::BTreeSet<i64> = index.terms.iter().map(|(term, _)| *term).collect();
    assert_eq!(terms.len(), index.terms.len(), "the same word in two conversations has no term in common");
    assert_eq!(search_term::Entity::find().all(&world.db).await.unwrap().len(), index.terms.len());
}
