//! Many clients that come back at once, each of whom missed something.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::fill::fill;
use crate::histogram::{Histogram, LatencyMs};
use crate::population::{Account, Population};
use crate::report::{print, progress, table};
use crate::socket::BUSY_BUFFER;

const CREATES_AT_ONCE: usize = 8;
/// Events of a group before anybody speaks: its beginning and its title.
const BEFORE: u64 = 2;

#[derive(Args, Clone, Copy, Debug)]
pub struct ResumeLoad {
    #[arg(long, default_value_t = 1000)]
    pub clients: usize,
    /// Clients that share a conversation
    #[arg(long, default_value_t = 10)]
    pub members: usize,
    /// Events that each of them missed
    #[arg(long, default_value_t = 100)]
    pub missed: usize,
    /// Length of each message's text
    #[arg(long, default_value_t = 200)]
    pub text_bytes: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct ResumeReport {
    pub clients: usize,
    pub missed: usize,
    /// From the first connection to the last client that has everything.
    pub seconds: f64,
    /// Of one client, from connecting on.
    pub each: LatencyMs,
}

impl ResumeReport {
    pub fn print(&self) {
        print(&format!("\nresume: {} clients at once, {} missed events each", self.clients, self.missed));
        print(&table(&[
            ["all back, s", "one: p50 ms", "p99 ms"].map(str::to_owned).to_vec(),
            vec![format!("{:.2}", self.seconds), format!("{:.0}", self.each.p50), format!("{:.0}", self.each.p99)],
        ]));
    }
}

pub async fn run(population: &mut Population, load: ResumeLoad) -> anyhow::Result<ResumeReport> {
    ensure!(load.members > 0 && load.clients >= load.members, "too few clients or members");
    population.grow_to(load.clients).await?;
    let users = population.first(load.clients);
    let conversations: Vec<Uuid> = stream::iter(users.chunks(load.members))
        .map(|members| population.group(members))
        .buffered(CREATES_AT_ONCE)
        .try_collect()
        .await?;
    progress(&format!("writing {} messages into {} conversations", load.missed, conversations.len()));
    let speakers = users.chunks(load.members).map(|members| &members[0]).zip(conversations.iter().copied());
    fill(population, speakers, load.missed, load.text_bytes).await?;

    let start = Instant::now();
    let all = users.iter().enumerate().map(|(number, user)| {
        let own = conversations[number / load.members];
        come_back(population, user, own, load.missed)
    });
    let times = futures_util::future::try_join_all(all).await?;
    let mut each = Histogram::default();
    for time in times {
        each.record(time);
    }
    Ok(ResumeReport {
        clients: load.clients,
        missed: load.missed,
        seconds: start.elapsed().as_secs_f64(),
        each: each.summary(),
    })
}

/// Everything that was said, in order and once.
async fn come_back(
    population: &Population,
    user: &Account,
    own: Uuid,
    missed: usize,
) -> anyhow::Result<std::time::Duration> {
    let start = Instant::now();
    let (mut socket, ready) = population.come_back(user, BUSY_BUFFER).await?;
    let seen = |id: Uuid, head: u64| if id == own { BEFORE } else { head };
    let cursor: Map<String, Value> = ready
        .conversations
        .iter()
        .map(|head| (head.conversation_id.to_string(), json!(seen(head.conversation_id, head.head_seq))))
        .collect();
    socket.send(Message::text(json!({ "type": "resume", "cursor": cursor }).to_string())).await?;
    let mut next = BEFORE + 1;
    loop {
        let Message::Text(text) = socket.next().await.context("a connection ended")?? else { continue };
        if let Ok(crate::wire::Frame::Message { seq, .. }) = crate::wire::parse(&text) {
            ensure!(seq == next, "seq {seq} came instead of {next}");
            next += 1;
        } else if text.starts_with(r#"{"type":"resumed""#) {
            break;
        }
    }
    let came = next - BEFORE - 1;
    ensure!(came == missed as u64, "{came} of {missed} missed events came");
    Ok(start.elapsed())
}
