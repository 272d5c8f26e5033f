//! Reading pages somewhere in a long history.

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::fill::fill;
use crate::histogram::{Histogram, LatencyMs};
use crate::population::Population;
use crate::report::{float, per, print, progress, table};

const WRITERS: usize = 8;

#[derive(Args, Clone, Copy, Debug)]
pub struct HistoryLoad {
    /// Messages in the conversation
    #[arg(long, default_value_t = 1_000_000)]
    pub messages: usize,
    /// Messages of a page
    #[arg(long, default_value_t = 50)]
    pub page: usize,
    /// Requests under way at once, for the most that can be read
    #[arg(long, default_value_t = 16)]
    pub in_flight: usize,
    /// Seconds of that, and of half as many pages a second
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Length of each message's text
    #[arg(long, default_value_t = 200)]
    pub text_bytes: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct HistoryReport {
    pub messages: usize,
    pub page: usize,
    pub pages_per_second: f64,
    /// At half as many.
    pub at_half: LatencyMs,
    pub page_bytes: f64,
}

impl HistoryReport {
    pub fn print(&self) {
        print(&format!("\nhistory: pages of {} of {} messages", self.page, self.messages));
        print(&table(&[
            ["pages/s", "at half: p50 ms", "p99 ms", "KiB a page"].map(str::to_owned).to_vec(),
            vec![
                format!("{:.0}", self.pages_per_second),
                format!("{:.2}", self.at_half.p50),
                format!("{:.2}", self.at_half.p99),
                format!("{:.1}", self.page_bytes / 1024.0),
            ],
        ]));
    }
}

pub async fn run(population: &mut Population, load: HistoryLoad) -> anyhow::Result<HistoryReport> {
    ensure!(load.messages >= WRITERS && load.in_flight > 0, "too few messages or requests");
    population.grow_to(WRITERS).await?;
    let users = population.first(WRITERS);
    let id = population.group(users).await?;
    progress(&format!("writing {} messages", load.messages));
    let speakers = users.iter().map(|user| (user, id));
    fill(population, speakers, load.messages.div_ceil(WRITERS), load.text_bytes).await?;
    population.until_indexed(id, load.messages as u64).await?;

    let (start, length) = (Instant::now(), Duration::from_secs(load.seconds));
    let population = &*population;
    let counts: Vec<(u64, u64)> = stream::iter(0..load.in_flight)
        .map(|reader| async move {
            let (mut pages, mut bytes) = (0, 0);
            while start.elapsed() < length {
                let request = population.request(reader % WRITERS, &some_page(id, load))?;
                bytes += request.send().await?.error_for_status()?.bytes().await?.len() as u64;
                pages += 1;
            }
            anyhow::Ok((pages, bytes))
        })
        .buffer_unordered(load.in_flight)
        .try_collect()
        .await?;
    let took = start.elapsed().as_secs_f64();
    let (pages, bytes) = counts.into_iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    let pages_per_second = per(float(pages), took);
    Ok(HistoryReport {
        messages: load.messages,
        page: load.page,
        pages_per_second,
        at_half: at_rate(population, id, load, pages_per_second / 2.0).await?.summary(),
        page_bytes: per(float(bytes), float(pages)),
    })
}

fn some_page(id: Uuid, load: HistoryLoad) -> String {
    let random = usize::try_from(Uuid::new_v4().as_u128() % load.messages as u128).unwrap_or(0);
    let before = random.max(load.page) + 2;
    format!("/api/conversations/{id}/messages?before={before}&limit={}", load.page)
}

/// Requests that do not wait for each other: what is late counts as late.
async fn at_rate(population: &Population, id: Uuid, load: HistoryLoad, rate: f64) -> anyhow::Result<Histogram> {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate.max(1.0)));
    let (start, length) = (Instant::now(), Duration::from_secs(load.seconds));
    let mut times = Histogram::default();
    let mut under_way = JoinSet::new();
    let mut asked = 0;
    while start.elapsed() < length {
        tokio::select! {
            due = ticks.tick() => {
                let request = population.request(asked % WRITERS, &some_page(id, load))?;
                asked += 1;
                under_way.spawn(async move {
                    request.send().await?.error_for_status()?.bytes().await?;
                    anyhow::Ok(due.into_std().elapsed())
                });
            }
            Some(done) = under_way.join_next() => times.record(done??),
        }
    }
    while let Some(done) = under_way.join_next().await {
        times.record(done??);
    }
    Ok(times)
}
