//! What is left after the process that keeps the log was killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sealpost_bus::embedded::{EmbeddedBus, EmbeddedConfig};
use sealpost_bus::{ConsumerConfig, EventLog, Position};

use crate::backend::{Backend, append, consumer, put_many};

const FOLDER: &str = "SEALPOST_BUS_TEST_FOLDER";
const TASK: &str = "SEALPOST_BUS_TEST_TASK";
const IN_FLIGHT: usize = 16;

/// Appends for ever and reports each `Ok`.
async fn load(log: &dyn EventLog, lane: usize, report: impl Fn(&str, Position)) {
    for n in 0.. {
        let id = format!("{lane}-{n}");
        match log.append(append(&format!("chat.{lane}"), &id, None)).await {
            Ok(appended) => report(&id, appended.position),
            Err(_) => return,
        }
    }
}

/// Not a test of its own: the process that the crash tests kill.
#[tokio::test(flavor = "multi_thread")]
async fn child_process_for_the_crash_tests() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let bus = EmbeddedBus::open(EmbeddedConfig::new(folder)).unwrap();
    let say = |text: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n@ {text}").and_then(|()| out.flush()).unwrap();
    };
    if std::env::var(TASK).unwrap() == "append" {
        let loads = (0..IN_FLIGHT).map(|lane| {
            let bus = &bus;
            async move { load(bus, lane, |id, position| say(&format!("{id} {}", position.0))).await }
        });
        futures_util::future::join_all(loads).await;
    } else {
        let mut worker = bus.consumer(poison_config()).await.unwrap();
        let batch = worker.next_batch(100).await.unwrap();
        say(&format!("took {}", batch.iter().map(|delivery| delivery.attempt).max().unwrap()));
        std::future::pending::<()>().await;
    }
}

fn poison_config() -> ConsumerConfig {
    ConsumerConfig { max_deliver: 3, ..consumer("w") }
}

pub fn child(folder: &std::path::Path, task: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crashes::child_process_for_the_crash_tests", "--nocapture"])
        .env(FOLDER, folder)
        .env(TASK, task)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines.filter_map(|line| line.strip_prefix("@ ").map(str::to_owned)))
}

pub async fn every_acknowledged_append_survives_a_kill_under_load(mut backend: Backend) {
    let acknowledged = match &mut backend {
        Backend::Embedded { bus, folder, .. } => {
            bus.close().await;
            let (mut process, lines) = child(folder.path(), "append");
            let parse = |line: String| {
                let (id, position) = line.split_once(' ').unwrap();
                (id.to_owned(), Position(position.parse().unwrap()))
            };
            let mut lines = lines.map(parse);
            let mut seen: Vec<_> = lines.by_ref().take(3000).collect();
            process.kill().unwrap();
            process.wait().unwrap();
            // The last line may be cut off by the kill, and parse as something shorter; the rest was written whole.
            seen.truncate(3000);
            seen
        }
        Backend::JetStream { server, bus, .. } => {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let loads: Vec<_> = (0..IN_FLIGHT)
                .map(|lane| {
                    let (bus, seen) = (bus.clone(), seen.clone());
                    let report = move |id: &str, at: Position| seen.lock().unwrap().push((id.to_owned(), at));
                    tokio::spawn(async move { load(&bus, lane, report).await })
                })
                .collect();
            while seen.lock().unwrap().len() < 3000 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            server.kill();
            futures_util::future::join_all(loads).await;
            let seen = seen.lock().unwrap();
            seen.clone()
        }
    };
    backend.reopen().await;
    assert!(acknowledged.len() >= 3000);
    for (id, position) in acknowledged {
        let record = backend.log().get(position).await.unwrap();
        assert_eq!(record.map(|record| record.id), Some(id), "{position:?}");
    }
    // Each lane's records stand in the order of its appends, without a hole.
    for lane in 0..IN_FLIGHT {
        let on = crate::backend::subject(&format!("chat.{lane}"));
        let mut from = Position(0);
        let mut n = 0;
        while let Some(record) = backend.log().next(&on, from).await.unwrap() {
            assert_eq!(record.id, format!("{lane}-{n}"));
            from = Position(record.position.0 + 1);
            n += 1;
        }
    }
}

pub async fn unacked_records_come_again_after_a_kill(mut backend: Backend) {
    let all = put_many(backend.log(), "chat.a", 10).await;
    let config = ConsumerConfig { ack_wait: Duration::from_secs(2), ..consumer("w") };
    match &mut backend {
        Backend::Embedded { bus, folder, .. } => {
            bus.close().await;
            let (mut process, mut lines) = child(folder.path(), "take");
            assert_eq!(lines.next().unwrap(), "took 1");
            process.kill().unwrap();
            process.wait().unwrap();
        }
        Backend::JetStream { server, bus, .. } => {
            let mut worker = bus.consumer(config.clone()).await.unwrap();
            worker.next_batch(100).await.unwrap();
            server.kill();
        }
    }
    backend.reopen().await;
    let mut worker = loop {
        match backend.log().consumer(config.clone()).await {
            Ok(worker) => break worker,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < all.len() {
        let batch = worker.next_batch(100).await.unwrap();
        seen.extend(batch.iter().map(|delivery| delivery.record.position));
        worker.ack(&batch).await.unwrap();
    }
    assert_eq!(seen, all.into_iter().collect());
}
