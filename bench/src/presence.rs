//! Users who go away and come back all the time, and what it costs the server to tell those who look.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::population::Population;
use crate::processes::{self, Watched};
use crate::report::{float, per, print, progress, table};
use crate::socket::{IDLE_BUFFER, Socket};

const AT_ONCE: usize = 16;
/// For the server to finish what connecting began.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Args, Clone, Copy, Debug)]
pub struct PresenceLoad {
    #[arg(long, default_value_t = 5000)]
    pub users: usize,
    /// Users that share a conversation
    #[arg(long, default_value_t = 50)]
    pub members: usize,
    /// Those of them that look at it
    #[arg(long, default_value_t = 10)]
    pub watchers: usize,
    /// Each goes away, or comes back, once in so many seconds
    #[arg(long, default_value_t = 10)]
    pub every: u64,
    /// Seconds that are measured, first at rest and then so
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct PresenceReport {
    pub users: usize,
    pub changes_per_second: f64,
    pub told_per_second: f64,
    pub processes: Vec<Cost>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub name: String,
    /// Of one core, while nobody changes anything.
    pub at_rest_percent: f64,
    pub changing_percent: f64,
}

impl PresenceReport {
    pub fn print(&self) {
        let Self { users, changes_per_second, told_per_second, processes } = self;
        print(&format!(
            "\npresence: {users} users, {changes_per_second:.0} changes/s, {told_per_second:.0} frames/s to those who look"
        ));
        let mut rows = vec![["process", "% of a core at rest", "changing"].map(str::to_owned).to_vec()];
        for cost in processes {
            let percents = [cost.at_rest_percent, cost.changing_percent].map(|percent| format!("{percent:.1}"));
            rows.push(std::iter::once(cost.name.clone()).chain(percents).collect());
        }
        print(&table(&rows));
    }
}

pub async fn run(
    population: &mut Population,
    load: PresenceLoad,
    watched: &[Watched],
) -> anyhow::Result<PresenceReport> {
    ensure!(load.members > 0 && load.users >= load.members, "too few users or members");
    ensure!(load.every > 0 && load.seconds > 0, "--every and --seconds must be 1 or more");
    progress(&format!("signing up {} users", load.users));
    population.grow_to(load.users).await?;
    let (population, users) = (&*population, population.first(load.users));
    let groups: Vec<Uuid> = stream::iter(users.chunks(load.members))
        .map(|members| population.group(members))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    progress("connecting");
    let told = Arc::new(AtomicU64::new(0));
    let connected = stream::iter(users).map(|user| population.connect(user, IDLE_BUFFER)).buffered(AT_ONCE);
    let mut connected = std::pin::pin!(connected.enumerate());
    let mut sinks = Vec::with_capacity(users.len());
    while let Some((number, connection)) = connected.next().await {
        let (mut sink, mut stream) = connection?.0.split();
        if number % load.members < load.watchers {
            let ids = [groups[number / load.members]];
            sink.send(Message::text(json!({ "type": "watch", "conversation_ids": ids }).to_string())).await?;
        }
        let told = Arc::clone(&told);
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if message.to_text().is_ok_and(|text| text.starts_with(r#"{"type":"presence_update""#)) {
                    told.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        sinks.push(sink);
    }
    let length = Duration::from_secs(load.seconds);
    // Those who do not write have to flush, or the server's pings stay without an answer.
    tend(&mut sinks, SETTLE, None).await?;
    let before = processes::sample(watched);
    tend(&mut sinks, length, None).await?;
    let between = processes::sample(watched);
    told.store(0, Ordering::Relaxed);
    let changes = tend(&mut sinks, length, Some(load.every)).await?;
    let after = processes::sample(watched);
    let seconds = float(load.seconds);
    let percent =
        |after: &processes::Sample, before: &processes::Sample| 100.0 * per(after.cpu_seconds_since(*before), seconds);
    let cost = |(number, process): (usize, &Watched)| Cost {
        name: process.name.clone(),
        at_rest_percent: percent(&between[number], &before[number]),
        changing_percent: percent(&after[number], &between[number]),
    };
    Ok(PresenceReport {
        users: load.users,
        changes_per_second: per(float(changes), seconds),
        told_per_second: per(float(told.load(Ordering::Relaxed)), seconds),
        processes: watched.iter().enumerate().map(cost).collect(),
    })
}

/// Flushes every connection once a second, and changes each one's status once in `every` seconds, spread over them. How many changes.
async fn tend(sinks: &mut [SplitSink<Socket, Message>], length: Duration, every: Option<u64>) -> anyhow::Result<u64> {
    let mut changes = 0;
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.tick().await;
    for second in 0..length.as_secs() {
        for (number, sink) in sinks.iter_mut().enumerate() {
            match every {
                Some(every) if (number as u64 + second).is_multiple_of(every) => {
                    let status = if (second / every).is_multiple_of(2) { "away" } else { "online" };
                    sink.send(Message::text(json!({ "type": "presence_update", "status": status }).to_string()))
                        .await?;
                    changes += 1;
                }
                _ => sink.flush().await?,
            }
        }
        seconds.tick().await;
    }
    Ok(changes)
}
