//! Consumers and dead letters.

use std::collections::BTreeSet;
use std::time::Duration;

use sealpost_bus::{Consumer, ConsumerConfig, ConsumerState, Delivery, EventLog, Position};

use crate::backend::{Backend, consumer, put, put_many};

async fn take(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let batch = consumer.next_batch(count - taken.len()).await.unwrap();
        assert!(!batch.is_empty());
        taken.extend(batch);
    }
    taken
}

fn positions(deliveries: &[Delivery]) -> Vec<Position> {
    deliveries.iter().map(|delivery| delivery.record.position).collect()
}

async fn wait_for_state(log: &dyn EventLog, name: &str, wanted: ConsumerState) {
    while log.consumer_state(name).await.unwrap() != Some(wanted) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const DONE: ConsumerState = ConsumerState { pending: 0, ack_pending: 0 };

pub async fn a_consumer_gets_everything_once_and_in_order(backend: Backend) {
    let log = backend.log();
    let before = put_many(log, "chat.a", 700).await;
    let mut worker = log.consumer(consumer("w")).await.unwrap();
    let taken = take(&mut *worker, 700).await;
    assert_eq!(positions(&taken), before);
    assert!(taken.iter().all(|delivery| delivery.attempt == 1));
    worker.ack(&taken).await.unwrap();
    let (after, taken) = tokio::join!(put_many(log, "chat.b", 50), take(&mut *worker, 50));
    assert_eq!(positions(&taken), after);
    worker.ack(&taken).await.unwrap();
    wait_for_state(log, "w", DONE).await;
}

pub async fn a_batch_takes_what_is_there_and_does_not_wait_for_more(backend: Backend) {
    let log = backend.log();
    let mut worker = log.consumer(consumer("w")).await.unwrap();
    let one = put(log, "chat.a", "one").await;
    assert_eq!(positions(&worker.next_batch(500).await.unwrap()), [one]);
    put_many(log, "chat.b", 30).await;
    let batch = worker.next_batch(10).await.unwrap();
    assert!(batch.len() <= 10);
}

pub async fn two_holders_of_a_name_share_the_records(backend: Backend) {
    let log = backend.log();
    let mut one = log.consumer(consumer("w")).await.unwrap();
    let mut two = log.consumer(consumer("w")).await.unwrap();
    let other = log.consumer(consumer("other")).await.unwrap();
    let all: BTreeSet<_> = put_many(log, "chat.a", 400).await.into_iter().collect();
    let mut seen = Vec::new();
    while seen.len() < all.len() {
        let batch = tokio::select! {
            batch = one.next_batch(7) => batch.unwrap(),
            batch = two.next_batch(7) => batch.unwrap(),
        };
        one.ack(&batch).await.unwrap();
        seen.extend(positions(&batch));
    }
    assert_eq!(seen.len(), all.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
    wait_for_state(log, "w", DONE).await;
    drop(other);
    let mut other = log.consumer(consumer("other")).await.unwrap();
    assert_eq!(take(&mut *other, 400).await.len(), 400);
}

pub async fn a_record_that_was_put_back_comes_again_with_a_higher_attempt(backend: Backend) {
    let log = backend.log();
    let mut worker = log.consumer(consumer("w")).await.unwrap();
    let position = put(log, "chat.a", "1").await;
    let first = take(&mut *worker, 1).await;
    worker.put_back(&first[0], Duration::from_millis(200)).await.unwrap();
    let other = put(log, "chat.b", "2").await;
    let second = take(&mut *worker, 1).await;
    assert_eq!(positions(&second), [other], "the delay is kept");
    let again = take(&mut *worker, 1).await;
    assert_eq!((again[0].record.position, again[0].attempt), (position, 2));
    worker.ack(&again).await.unwrap();
    worker.ack(&second).await.unwrap();
    wait_for_state(log, "w", DONE).await;
}

pub async fn an_unacked_record_comes_again(backend: Backend) {
    let log = backend.log();
    let config = ConsumerConfig { ack_wait: Duration::from_millis(300), ..consumer("w") };
    let mut gone = log.consumer(config.clone()).await.unwrap();
    let position = put(log, "chat.a", "1").await;
    assert_eq!(take(&mut *gone, 1).await[0].attempt, 1);
    drop(gone);
    let mut worker = log.consumer(config).await.unwrap();
    let again = take(&mut *worker, 1).await;
    assert_eq!((again[0].record.position, again[0].attempt), (position, 2));
    worker.ack(&again).await.unwrap();
    wait_for_state(log, "w", DONE).await;
}

pub async fn no_more_than_max_ack_pending_are_out_at_once(backend: Backend) {
    let log = backend.log();
    put_many(log, "chat.a", 20).await;
    let mut worker = log.consumer(ConsumerConfig { max_ack_pending: 5, ..consumer("w") }).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 20 {
        let batch = worker.next_batch(100).await.unwrap();
        assert!(batch.len() <= 5);
        seen.extend(positions(&batch));
        worker.ack(&batch).await.unwrap();
    }
}

pub async fn acked_records_stay_acked_after_a_graceful_restart(mut backend: Backend) {
    let all = put_many(backend.log(), "chat.a", 30).await;
    // Short, so that the test need not wait long for what the broker still waits for.
    let config = ConsumerConfig { ack_wait: Duration::from_millis(500), ..consumer("w") };
    let mut worker = backend.log().consumer(config.clone()).await.unwrap();
    let taken = take(&mut *worker, 20).await;
    let (kept, acked): (Vec<_>, Vec<_>) = taken.into_iter().partition(|delivery| delivery.record.position == all[4]);
    worker.ack(&acked).await.unwrap();
    drop(worker);
    backend.restart().await;
    let mut worker = backend.log().consumer(config).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 11 {
        let batch = worker.next_batch(100).await.unwrap();
        worker.ack(&batch).await.unwrap();
        seen.extend(positions(&batch));
    }
    let mut wanted: BTreeSet<_> = all[20..].iter().copied().collect();
    wanted.insert(kept[0].record.position);
    assert_eq!(seen, wanted);
}

pub async fn a_dropped_wait_loses_nothing(backend: Backend) {
    let log = backend.log();
    let config = ConsumerConfig { ack_wait: Duration::from_secs(1), max_deliver: 50, ..consumer("w") };
    let mut worker = log.consumer(config).await.unwrap();
    let appending = put_many(log, "chat.a", 200);
    let reading = async {
        let mut seen = BTreeSet::new();
        while seen.len() < 200 {
            // Dropped again and again in the middle of a wait.
            if let Ok(batch) = tokio::time::timeout(Duration::from_micros(300), worker.next_batch(3)).await {
                let batch = batch.unwrap();
                worker.ack(&batch).await.unwrap();
                seen.extend(positions(&batch));
            }
        }
        seen
    };
    let (all, seen) = tokio::join!(appending, reading);
    assert_eq!(seen, all.into_iter().collect());
}

pub async fn a_record_handed_out_too_often_becomes_a_dead_letter(backend: Backend) {
    let log = backend.log();
    let config = ConsumerConfig { ack_wait: Duration::from_millis(200), max_deliver: 3, ..consumer("w") };
    let mut worker = log.consumer(config).await.unwrap();
    let poison = put(log, "chat.a", "poison").await;
    for attempt in 1..=3 {
        let taken = take(&mut *worker, 1).await;
        assert_eq!((taken[0].record.position, taken[0].attempt), (poison, attempt));
    }
    let waiting = async { worker.next_batch(1).await.unwrap() };
    let buried = async {
        while log.dead_letters().count().await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        again = waiting => panic!("it came again: {again:?}"),
        () = buried => {}
    }
    let letter = log.dead_letters().list(0, 10).await.unwrap().remove(0);
    assert_eq!((letter.record.position, letter.attempts, letter.consumer.as_str()), (poison, 3, "w"));
    let after = put(log, "chat.a", "after").await;
    assert_eq!(positions(&take(&mut *worker, 1).await), [after]);
}

pub async fn a_dead_letter_is_listed_found_and_removed(mut backend: Backend) {
    put_many(backend.log(), "chat.a", 3).await;
    let mut worker = backend.log().consumer(consumer("w")).await.unwrap();
    for delivery in take(&mut *worker, 3).await {
        worker.dead_letter(&delivery, "does not open:\r\nwrong key").await.unwrap();
        // The ack behind it may be lost, so this happens.
        worker.dead_letter(&delivery, "does not open:\r\nwrong key").await.unwrap();
    }
    wait_for_state(backend.log(), "w", DONE).await;
    drop(worker);
    backend.restart().await;
    let letters = backend.log().dead_letters();
    assert_eq!(letters.count().await.unwrap(), 3);
    let all = letters.list(0, 10).await.unwrap();
    assert_eq!(
        all.iter().map(|letter| letter.record.id.as_str()).collect::<Vec<_>>(),
        ["chat.a-0", "chat.a-1", "chat.a-2"]
    );
    assert!(all[0].reason.contains("wrong key") && all[0].attempts == 1, "{:?}", all[0]);
    let page = letters.list(all[0].number, 1).await.unwrap();
    assert_eq!(page[0].number, all[1].number);
    let found = letters.find(all[1].number).await.unwrap().unwrap();
    assert_eq!((found.record.subject.as_str(), &found.record.payload[..]), ("chat.a", &b"chat.a-1"[..]));
    assert!(letters.remove(all[1].number).await.unwrap());
    assert!(!letters.remove(all[1].number).await.unwrap());
    assert!(letters.find(all[1].number).await.unwrap().is_none());
    assert!(letters.find(0).await.unwrap().is_none());
    assert_eq!(letters.count().await.unwrap(), 2);
    assert_eq!(letters.list(0, 10).await.unwrap().len(), 2);
}

pub async fn a_consumer_opened_again_has_the_new_settings(backend: Backend) {
    let log = backend.log();
    let old = log.consumer(consumer("w")).await.unwrap();
    drop(old);
    let config = ConsumerConfig { ack_wait: Duration::from_millis(200), ..consumer("w") };
    let mut worker = log.consumer(config).await.unwrap();
    put(log, "chat.a", "1").await;
    take(&mut *worker, 1).await;
    assert_eq!(take(&mut *worker, 1).await[0].attempt, 2);
}

pub async fn the_consumer_state_counts_pending_and_unacked(backend: Backend) {
    let log = backend.log();
    assert_eq!(log.consumer_state("w").await.unwrap(), None);
    put_many(log, "chat.a", 10).await;
    let mut worker = log.consumer(ConsumerConfig { max_ack_pending: 4, ..consumer("w") }).await.unwrap();
    let taken = take(&mut *worker, 4).await;
    wait_for_state(log, "w", ConsumerState { pending: 6, ack_pending: 4 }).await;
    worker.ack(&taken[..1]).await.unwrap();
    let more = take(&mut *worker, 1).await;
    wait_for_state(log, "w", ConsumerState { pending: 5, ack_pending: 4 }).await;
    worker.ack(&taken[1..]).await.unwrap();
    worker.ack(&more).await.unwrap();
    for _ in 0..5 {
        let rest = take(&mut *worker, 1).await;
        worker.ack(&rest).await.unwrap();
    }
    wait_for_state(log, "w", DONE).await;
}
