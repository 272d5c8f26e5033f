//! Pairs of users who talk at the same time: throughput, latency, order and what it costs the servers.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::histogram::LatencyMs;
use crate::ledger::Order;
use crate::pair::{End, Pair, Plan, Tally};
use crate::population::{self, Account, Population};
use crate::processes::{self, Sample, Usage, Watched};
use crate::report::{float, per, print, table};
use crate::socket::BUSY_BUFFER;
use crate::wire::{Ready, Writer};

const CONNECTS_AT_ONCE: usize = 16;
pub const PATIENCE_SECONDS: u64 = 15;
#[derive(Args, Clone, Copy, Debug)]
pub struct Load {
    /// Pairs of a sender and a receiver
    #[arg(long, default_value_t = 50)]
    pub pairs: usize,
    /// Messages that each sender keeps without acknowledgement
    #[arg(long, default_value_t = 16)]
    pub in_flight: u64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Seconds of load before them
    #[arg(long, default_value_t = 2)]
    pub warmup: u64,
    /// Seconds to wait, after the last message was sent, for what is still on its way
    #[arg(long, default_value_t = PATIENCE_SECONDS)]
    pub patience: u64,
    /// Length of each message's text
    #[arg(long, default_value_t = 200)]
    pub text_bytes: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct DmReport {
    pub pairs: usize,
    pub in_flight: u64,
    pub seconds: u64,
    pub text_bytes: usize,
    pub delivered_per_second: f64,
    pub stored_per_second: f64,
    /// From sending to the frame at the receiver.
    pub delivery_ms: LatencyMs,
    /// From sending to the acknowledgement `stored` at the sender.
    pub stored_ms: LatencyMs,
    pub sent: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub missing: u64,
    pub unacknowledged: u64,
    pub duplicates: u64,
    pub order_violations: u64,
    pub servers: Vec<Usage>,
    pub server_cpu_seconds_per_1000: f64,
    pub generator_cpu_us_per_message: f64,
}

impl DmReport {
    /// Everything that was sent came once and in order.
    pub fn is_faultless(&self) -> bool {
        let faults = [self.errors, self.missing, self.unacknowledged, self.duplicates, self.order_violations];
        faults == [0; 5] && self.sent > 0
    }

    pub fn print(&self) {
        print(&format!("\ndm: {} pairs x {} in flight, {} s", self.pairs, self.in_flight, self.seconds));
        let number = |value: f64, digits: usize| format!("{value:.digits$}");
        let latency = |name: &str, of: &LatencyMs| {
            let mut row = vec![name.to_owned()];
            row.extend([of.p50, of.p90, of.p99, of.max].map(|value| number(value, 3)));
            row
        };
        print(&table(&[
            vec!["delivered/s".to_owned(), number(self.delivered_per_second, 0)],
            vec!["stored acks/s".to_owned(), number(self.stored_per_second, 0)],
        ]));
        print(&table(&[
            ["latency, ms", "p50", "p90", "p99", "max"].map(str::to_owned).to_vec(),
            latency("send -> delivery", &self.delivery_ms),
            latency("send -> stored ack", &self.stored_ms),
        ]));
        let mut rows = vec![["process", "CPU s per 1,000", "RSS MiB"].map(str::to_owned).to_vec()];
        for server in &self.servers {
            rows.push(vec![server.name.clone(), number(server.cpu_seconds_per_1000, 4), number(server.rss_mib, 1)]);
        }
        rows.push(vec!["all servers".to_owned(), number(self.server_cpu_seconds_per_1000, 4)]);
        rows.push(vec!["load generator".to_owned(), number(self.generator_cpu_us_per_message / 1000.0, 4)]);
        print(&table(&rows));
        print(&format!(
            "sent {}, errors {}, missing {}, without ack {}, duplicates {}, order violations {}",
            self.sent, self.errors, self.missing, self.unacknowledged, self.duplicates, self.order_violations
        ));
        if let Some(error) = &self.first_error {
            print(&format!("first error: {error}"));
        }
    }
}

pub async fn run(population: &mut Population, load: Load, watched: &[Watched]) -> anyhow::Result<DmReport> {
    population.grow_to(2 * load.pairs).await?;
    let users = population.first(2 * load.pairs);
    let conversations = population.conversations(users).await?;
    let ends = connect_all(population, users, &conversations).await?;
    let plan = plan(load);
    let run = population::mark();
    let mut tasks = Vec::with_capacity(load.pairs);
    for ((sender, receiver), conversation) in ends.into_iter().zip(&conversations) {
        let writer = Writer::new(*conversation, &run, load.text_bytes);
        tasks.push(tokio::spawn(Pair::new(sender, receiver, conversation.to_string(), writer, plan.clone())));
    }
    let meter = Meter::start(&plan, watched.to_vec());
    let mut tally = Tally::default();
    for task in tasks {
        tally.merge(task.await.context("a pair failed")?);
    }
    let meter = meter.await.context("the meter failed")?;
    Ok(report(load, tally, &meter, watched))
}

fn plan(load: Load) -> Plan {
    let start = Duration::from_secs(load.warmup);
    let end = start + Duration::from_secs(load.seconds);
    Plan {
        epoch: Instant::now(),
        window: start..end,
        patience: end + Duration::from_secs(load.patience),
        in_flight: load.in_flight,
    }
}

async fn connect_all(
    population: &Population,
    users: &[Account],
    conversations: &[Uuid],
) -> anyhow::Result<Vec<(End, End)>> {
    let connect = async |user: &Account, conversation: Uuid| {
        let (socket, ready) = population.connect(user, BUSY_BUFFER).await?;
        anyhow::Ok(End { socket, order: Order::from_head(head_of(&ready, conversation)) })
    };
    let connect = &connect;
    stream::iter(users.chunks_exact(2).zip(conversations))
        .map(|(pair, conversation)| async move {
            Ok((connect(&pair[0], *conversation).await?, connect(&pair[1], *conversation).await?))
        })
        .buffered(CONNECTS_AT_ONCE)
        .try_collect()
        .await
}

fn head_of(ready: &Ready, conversation: Uuid) -> Option<u64> {
    ready.conversations.iter().find(|head| head.conversation_id == conversation).map(|head| head.head_seq)
}

/// Samples at both ends of the window. On a thread of its own: reading `/proc` takes milliseconds, which no latency
/// should contain.
struct Meter {
    before: (Sample, Vec<Sample>),
    after: (Sample, Vec<Sample>),
}

impl Meter {
    fn start(plan: &Plan, watched: Vec<Watched>) -> oneshot::Receiver<Self> {
        let (sender, receiver) = oneshot::channel();
        let (epoch, window) = (plan.epoch, plan.window.clone());
        std::thread::spawn(move || {
            let at = |time: Duration| {
                std::thread::sleep((epoch + time).saturating_duration_since(Instant::now()));
                (processes::own_cpu(), processes::sample(&watched))
            };
            // Nobody waits for it any more if the run was interrupted.
            let _ = sender.send(Self { before: at(window.start), after: at(window.end) });
        });
        receiver
    }
}

fn report(load: Load, tally: Tally, meter: &Meter, watched: &[Watched]) -> DmReport {
    let (seconds, delivered) = (float(load.seconds), float(tally.delivered));
    let usage = |((process, before), after): ((&Watched, &Sample), &Sample)| {
        let cpu_seconds = after.cpu_seconds_since(*before);
        Usage {
            name: process.name.clone(),
            cpu_seconds,
            cpu_seconds_per_1000: per(cpu_seconds * 1000.0, delivered),
            rss_mib: float(after.memory_kib) / 1024.0,
        }
    };
    let servers: Vec<Usage> = watched.iter().zip(&meter.before.1).zip(&meter.after.1).map(usage).collect();
    DmReport {
        pairs: load.pairs,
        in_flight: load.in_flight,
        seconds: load.seconds,
        text_bytes: load.text_bytes,
        delivered_per_second: per(delivered, seconds),
        stored_per_second: per(float(tally.stored), seconds),
        delivery_ms: tally.delivery.summary(),
        stored_ms: tally.acknowledgement.summary(),
        sent: tally.sent,
        errors: tally.errors,
        first_error: tally.first_error,
        missing: tally.missing,
        unacknowledged: tally.unacknowledged,
        duplicates: tally.duplicates,
        order_violations: tally.order_violations,
        server_cpu_seconds_per_1000: servers.iter().fold(0.0, |sum, server| sum + server.cpu_seconds_per_1000),
        servers,
        generator_cpu_us_per_message: per(meter.after.0.cpu_seconds_since(meter.before.0) * 1e6, delivered),
    }
}
