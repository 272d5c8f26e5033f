//! What only the embedded log promises.

use std::time::Duration;

use sealpost_bus::embedded::{EmbeddedBus, EmbeddedConfig, EmbeddedDeadLetters};
use sealpost_bus::{AppendError, DeadLetters, EventLog};

use crate::backend::{Backend, append, consumer, limited, put, put_many, subject};
use crate::crashes::child;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opener_is_refused_until_the_first_closes() {
    let backend = Backend::embedded().await;
    let Backend::Embedded { bus, config, .. } = &backend else { unreachable!() };
    let error = EmbeddedBus::open(config.clone()).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    bus.close().await;
    EmbeddedBus::open(config.clone()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_log_says_so_and_wakes_its_consumers() {
    let backend = Backend::embedded().await;
    let Backend::Embedded { bus, .. } = &backend else { unreachable!() };
    let mut worker = bus.consumer(consumer("w")).await.unwrap();
    let waiting = tokio::spawn(async move { worker.next_batch(1).await.map(|batch| batch.len()) });
    put(bus, "chat.a", "1").await;
    waiting.await.unwrap().unwrap();
    let mut worker = bus.consumer(consumer("w")).await.unwrap();
    let waiting = tokio::spawn(async move { worker.next_batch(1).await.map(|batch| batch.len()) });
    bus.close().await;
    limited(async { assert!(waiting.await.unwrap().is_err()) }).await;
    assert!(matches!(bus.append(append("chat.a", "2", None)).await, Err(AppendError::Unavailable(_))));
    assert!(bus.last(&subject("chat.a")).await.is_err());
    assert!(!bus.connection().borrow().up);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_last_handle_frees_the_folder_and_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let bus = EmbeddedBus::open(EmbeddedConfig::new(folder.path())).unwrap();
        put(&bus, "chat.a", &format!("{round}")).await;
        assert_eq!(bus.state().await.unwrap().records, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_beyond_the_memory_tail_are_read_from_the_disk() {
    let backend = Backend::embedded_with(|config| config.tail_records = 4).await;
    let log = backend.log();
    let all = put_many(log, "chat.a", 100).await;
    put_many(log, "chat.b", 10).await;
    assert_eq!(log.last(&subject("chat.a")).await.unwrap().unwrap().position, all[99]);
    assert_eq!(log.next(&subject("chat.a"), all[50]).await.unwrap().unwrap().position, all[50]);
    let mut one = log.consumer(consumer("w")).await.unwrap();
    let mut two = log.consumer(consumer("w")).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 110 {
        let (a, b) = if seen.is_empty() {
            let (a, b) = tokio::join!(one.next_batch(20), two.next_batch(20));
            (a.unwrap(), b.unwrap())
        } else {
            (one.next_batch(10).await.unwrap(), Vec::new())
        };
        seen.extend(a.into_iter().chain(b).map(|delivery| delivery.record.position));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 110);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_can_work_on_the_dead_letters() {
    let backend = Backend::embedded().await;
    let log = backend.log();
    put_many(log, "chat.a", 2).await;
    let mut worker = log.consumer(consumer("w")).await.unwrap();
    while log.dead_letters().count().await.unwrap() < 2 {
        for delivery in worker.next_batch(2).await.unwrap() {
            worker.dead_letter(&delivery, "no").await.unwrap();
        }
    }
    let outside = EmbeddedDeadLetters::open(backend.folder()).unwrap();
    let letters = outside.list(0, 10).await.unwrap();
    assert_eq!(letters.len(), 2);
    assert!(outside.remove(letters[0].number).await.unwrap());
    assert_eq!(outside.count().await.unwrap(), 1);
    assert_eq!(log.dead_letters().count().await.unwrap(), 1);
    put(log, "chat.a", "still writable").await;
    assert!(EmbeddedDeadLetters::open(backend.folder().join("nowhere")).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_kills_the_process_each_time_becomes_a_dead_letter() {
    let mut backend = Backend::embedded().await;
    put_many(backend.log(), "chat.a", 1).await;
    let Backend::Embedded { bus, folder, .. } = &backend else { unreachable!() };
    bus.close().await;
    let mut highest = 0;
    // Killed at once, long before the state is persisted in the ordinary way.
    for _ in 0..6 {
        let (mut process, mut lines) = child(folder.path(), "take");
        let said = tokio::task::spawn_blocking(move || lines.next());
        let said = tokio::time::timeout(Duration::from_secs(5), said).await;
        process.kill().unwrap();
        process.wait().unwrap();
        match said {
            Ok(line) => {
                let attempt: u32 = line.unwrap().unwrap().strip_prefix("took ").unwrap().parse().unwrap();
                assert!(attempt >= highest && attempt <= 3, "{attempt} after {highest}");
                highest = attempt;
            }
            Err(_) => break,
        }
    }
    backend.reopen().await;
    let letters = backend.log().dead_letters().list(0, 10).await.unwrap();
    assert_eq!(letters.len(), 1, "highest attempt {highest}");
    assert_eq!(letters[0].attempts, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_cannot_be_committed_is_unavailable_and_the_log_goes_on() {
    let backend = Backend::embedded().await;
    let log = backend.log();
    let first = put(log, "chat.a", "1").await;
    // Another process keeps the file to itself for longer than the writer waits.
    let intruder = rusqlite::Connection::open(backend.folder().join("log.db")).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let outcome = log.append(append("chat.a", "2", Some(first.0))).await;
    intruder.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(outcome, Err(AppendError::Unavailable(_))), "{outcome:?}");
    assert_eq!(log.last(&subject("chat.a")).await.unwrap().unwrap().position, first);
    assert!(!log.append(append("chat.a", "2", Some(first.0))).await.unwrap().duplicate);
}
