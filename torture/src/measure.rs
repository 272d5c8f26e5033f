//! What can be seen of the servers from outside: what they have left to do, what they use, and what lies in their files.

use std::time::{Duration, Instant};

use sealpost_testing::{Form, Stack, files_with};
use sqlx::{Connection as _, Executor as _, Row as _, SqliteConnection};

use crate::history::{Settled, Usage};

/// For workers to finish after healing.
const LIMIT: Duration = Duration::from_secs(45);

#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    pub pending: u64,
    pub outbox: u64,
    pub dead_letters: u64,
    pub clashes: u64,
}

impl Measured {
    /// Waits until nothing is left to do.
    pub async fn settle(stack: &Stack, healed: Instant, expected_dead_letters: u64) -> Settled {
        let start = Instant::now();
        let mut last = Self { pending: u64::MAX, ..Self::default() };
        loop {
            let now = Self::now(stack).await;
            last = now.unwrap_or(last);
            let done = now.is_some_and(|now| now.pending == 0 && now.outbox == 0);
            if done || start.elapsed() > LIMIT {
                let after_ms = done.then(|| u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX));
                let Self { pending, outbox, dead_letters, clashes } = last;
                return Settled { after_ms, pending, outbox, dead_letters, expected_dead_letters, clashes };
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn now(stack: &Stack) -> Option<Self> {
        let outbox = "SELECT count(*) FROM outbox";
        match stack.form {
            Form::Cluster => {
                let streams = async_nats::jetstream::new(async_nats::connect(stack.nats_url()).await.ok()?);
                let mut pending = 0;
                for name in ["persistence", "delivery"] {
                    let stream = streams.get_stream("CHAT").await.ok()?;
                    let consumer = stream.consumer_info(name).await.ok()?;
                    pending += consumer.num_pending + consumer.num_ack_pending as u64;
                }
                let mut connection = stack.database().connect().await;
                let outbox: i64 = connection.fetch_one(outbox).await.ok()?.get(0);
                let (dead_letters, clashes) = dead_letters(stack);
                Some(Self { pending, outbox: u64::try_from(outbox).ok()?, dead_letters, clashes })
            }
            Form::Embedded => {
                let store = stack.folder().join("data/sealpost.db");
                let mut connection = SqliteConnection::connect(&format!("sqlite://{}", store.display())).await.ok()?;
                let outbox: i64 = connection.fetch_one(outbox).await.ok()?.get(0);
                // Numbers without a row are on their way.
                let open = "SELECT coalesce(sum(high - rows), 0) FROM (SELECT max(seq) AS high, count(*) AS rows FROM events GROUP BY conversation_id)";
                let pending: i64 = connection.fetch_one(open).await.ok()?.get(0);
                let (pending, outbox) = (u64::try_from(pending).ok()?, u64::try_from(outbox).ok()?);
                let (dead_letters, clashes) = dead_letters(stack);
                Some(Self { pending, outbox, dead_letters, clashes })
            }
        }
    }
}

/// All of them, and those about one number with two events.
fn dead_letters(stack: &Stack) -> (u64, u64) {
    let list = stack.run(&["dead-letters", "list"]);
    let letters = || list.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    (letters().count() as u64, letters().filter(|line| line.contains("seq clash")).count() as u64)
}

/// What a process uses now.
pub fn usage(process: u32) -> Option<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let handles = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?.count() as u64;
    Some(Usage { resident_kib: number("VmRSS:")?, handles, threads: number("Threads:")?, ..Usage::default() })
}

/// What all gateways together say of themselves at `/metrics`.
pub async fn counts(stack: &Stack) -> Option<Usage> {
    let mut counts = Usage::default();
    let gateways = if stack.form == Form::Cluster { 2 } else { 1 };
    for gateway in 0..gateways {
        let text = reqwest::get(format!("{}/metrics", stack.url(gateway))).await.ok()?.text().await.ok()?;
        let value = |name: &str| -> Option<f64> {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts of tasks and subscriptions"
        )]
        {
            counts.tasks += value("sealpost_tasks")? as u64;
            counts.subscriptions += value("sealpost_live_subscriptions")? as u64;
        }
    }
    Some(counts)
}

/// Looks for plaintext in all files of all servers, and in a dump of the database. How many places, and where it is.
pub fn search(stack: &Stack, canary: &str, dump: &str) -> (u64, Vec<String>) {
    let mut folders = vec![stack.folder().to_path_buf()];
    if stack.form == Form::Cluster {
        folders.push(stack.database().folder().to_path_buf());
    }
    let mut hits: Vec<String> = Vec::new();
    for folder in &folders {
        let found = files_with(folder, canary.as_bytes());
        hits.extend(found.iter().map(|path| path.strip_prefix(folder).unwrap_or(path).display().to_string()));
    }
    if dump.contains(canary) {
        hits.push("the dump of the database".to_owned());
    }
    (folders.len() as u64 + u64::from(!dump.is_empty()), hits)
}
