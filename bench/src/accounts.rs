//! Signing in and listing conversations: what they cost, and whether their times tell anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::StatusCode;
use serde::Serialize;
use url::Url;

use crate::histogram::{Histogram, LatencyMs};
use crate::population::Population;
use crate::processes::{self, Watched};
use crate::report::{per, print, table};

/// Known users who take turns, so that no account has enough failures to be delayed.
const KNOWN: usize = 20;

#[derive(Args, Clone, Debug)]
pub struct SignInLoad {
    /// Sign-ins with a wrong password, half of them of users that are there
    #[arg(long, default_value_t = 2000)]
    pub samples: usize,
    /// Sign-ins at once, after them
    #[arg(long, default_value_t = 200)]
    pub parallel: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct SignInReport {
    pub known: LatencyMs,
    pub unknown: LatencyMs,
    /// Of the medians, without sign.
    pub difference_p50_ms: f64,
    pub difference_p99_ms: f64,
    pub parallel: usize,
    pub parallel_seconds: f64,
    /// Since the process began.
    pub peak_memory_mib: Vec<(String, f64)>,
    /// Of `GET /api/auth/me` while they were under way.
    pub meanwhile: LatencyMs,
}

impl SignInReport {
    pub fn print(&self) {
        print("\nsign-in, one at a time, wrong password");
        let row = |name: &str, latency: &LatencyMs| {
            vec![name.to_owned(), format!("{:.2}", latency.p50), format!("{:.2}", latency.p99)]
        };
        let difference = [self.difference_p50_ms, self.difference_p99_ms].map(|difference| format!("{difference:.2}"));
        print(&table(&[
            ["user", "p50 ms", "p99 ms"].map(str::to_owned).to_vec(),
            row("known", &self.known),
            row("unknown", &self.unknown),
            vec!["difference".to_owned(), difference[0].clone(), difference[1].clone()],
            row("other routes meanwhile", &self.meanwhile),
        ]));
        print(&format!("{} sign-ins at once took {:.2} s", self.parallel, self.parallel_seconds));
        for (name, memory) in &self.peak_memory_mib {
            print(&format!("peak memory of {name}: {memory:.0} MiB"));
        }
    }
}

/// Against a server without limits: see `docs/operations.md`.
pub async fn sign_in(
    population: &mut Population,
    load: SignInLoad,
    watched: &[Watched],
) -> anyhow::Result<SignInReport> {
    population.grow_to(KNOWN).await?;
    let mut times = [Histogram::default(), Histogram::default()];
    for number in 0..load.samples {
        // By turns, so that both meet the same moods of the machine.
        let (known, number) = (number % 2 == 0, number / 2);
        let name = if known { population.name(number % KNOWN) } else { population.name(1_000_000 + number) };
        let start = Instant::now();
        let status = population.sign_in(number, &name, "not the password").await?;
        ensure!(status == StatusCode::UNAUTHORIZED, "a wrong password was answered with {status}");
        times[usize::from(!known)].record(start.elapsed());
    }
    let (meanwhile, parallel_seconds) = at_once(population, load.parallel).await?;
    let [known, unknown] = times.map(|times| times.summary());
    Ok(SignInReport {
        difference_p50_ms: (known.p50 - unknown.p50).abs(),
        difference_p99_ms: (known.p99 - unknown.p99).abs(),
        known,
        unknown,
        parallel: load.parallel,
        parallel_seconds,
        peak_memory_mib: processes::peaks(watched),
        meanwhile,
    })
}

/// Right passwords, and another route that is asked meanwhile.
async fn at_once(population: &Population, count: usize) -> anyhow::Result<(LatencyMs, f64)> {
    let done = Arc::new(AtomicBool::new(false));
    let others = async {
        let mut times = Histogram::default();
        while !done.load(Ordering::Relaxed) {
            let start = Instant::now();
            population.get(0, "/api/auth/me").await?;
            times.record(start.elapsed());
        }
        anyhow::Ok(times)
    };
    let start = Instant::now();
    let flood = async {
        let one = |number: usize| async move {
            let (name, password) = (population.name(number % KNOWN), population.password(number % KNOWN));
            let status = population.sign_in(number, &name, &password).await?;
            ensure!(status == StatusCode::OK, "a sign-in was answered with {status}");
            Ok(())
        };
        let signed_in = try_join_all((0..count).map(one)).await;
        done.store(true, Ordering::Relaxed);
        signed_in.map(|_| start.elapsed())
    };
    let (times, took) = tokio::try_join!(others, flood)?;
    Ok((times.summary(), took.as_secs_f64()))
}

#[derive(Args, Clone, Debug)]
pub struct ListLoad {
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Conversations of the user who lists them
    #[arg(long, default_value_t = 20)]
    pub conversations: usize,
    /// Requests under way at once
    #[arg(long, default_value_t = 16)]
    pub in_flight: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct ListReport {
    pub conversations: usize,
    pub requests_per_second: f64,
    /// As the server counted them.
    pub queries_per_request: f64,
    pub latency: LatencyMs,
}

impl ListReport {
    pub fn print(&self) {
        print(&format!("\nGET /api/conversations, {} conversations", self.conversations));
        print(&table(&[
            ["requests/s", "queries per request", "p50 ms", "p99 ms"].map(str::to_owned).to_vec(),
            vec![
                format!("{:.0}", self.requests_per_second),
                format!("{:.2}", self.queries_per_request),
                format!("{:.2}", self.latency.p50),
                format!("{:.2}", self.latency.p99),
            ],
        ]));
    }
}

const LIST: &str = "/api/conversations";

pub async fn list(population: &mut Population, load: ListLoad) -> anyhow::Result<ListReport> {
    population.grow_to(load.conversations + 1).await?;
    let users = population.first(load.conversations + 1);
    for other in &users[1..] {
        population.talk(&users[0], other).await?;
    }
    let found = population.get(0, LIST).await?;
    let count = found["conversations"].as_array().map_or(0, Vec::len);
    ensure!(count == load.conversations, "{count} conversations are listed, and {} were made", load.conversations);
    let (url, before) = (population.url(), counted(population.url()).await?);
    let (start, length) = (Instant::now(), Duration::from_secs(load.seconds));
    let population = &*population;
    let times = stream::iter(0..load.in_flight)
        .map(|_| async move {
            let mut times = Histogram::default();
            while start.elapsed() < length {
                let asked = Instant::now();
                // Not read as JSON: on two cores that would be a tenth of what is measured.
                population.request(0, LIST)?.send().await?.error_for_status()?.bytes().await?;
                times.record(asked.elapsed());
            }
            anyhow::Ok(times)
        })
        .buffer_unordered(load.in_flight)
        .try_fold(Histogram::default(), |mut all, times| async move {
            all.merge(&times);
            Ok(all)
        })
        .await?;
    let (took, after) = (start.elapsed(), counted(url).await?);
    let requests = after.requests - before.requests;
    ensure!(requests > 0.0, "the server counted no request: is /metrics of the gateway that was asked?");
    Ok(ListReport {
        conversations: load.conversations,
        requests_per_second: per(requests, took.as_secs_f64()),
        queries_per_request: per(after.queries - before.queries, requests),
        latency: times.summary(),
    })
}

/// What a gateway has counted for the route.
struct Counted {
    requests: f64,
    queries: f64,
}

async fn counted(url: &Url) -> anyhow::Result<Counted> {
    let text = reqwest::get(url.join("/metrics")?).await?.error_for_status()?.text().await?;
    let sum = |name: &str| {
        let own = |line: &&str| {
            line.starts_with(name) && line.contains(r#"method="GET""#) && line.contains(&format!(r#"route="{LIST}""#))
        };
        text.lines().filter(own).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let requests = sum("sealpost_http_requests_total");
    let queries = sum("sealpost_http_queries_total");
    text.contains("sealpost_http_queries_total")
        .then_some(())
        .context("the server counts no queries: it is older than this")?;
    Ok(Counted { requests, queries })
}
