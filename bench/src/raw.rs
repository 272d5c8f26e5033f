//! The yardstick: what JetStream alone does on this machine, with payloads of the size of a sealed message.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;

use crate::population;
use crate::report::{float, per, print};

const WINDOW: usize = 1000;
const PAYLOAD_BYTES: usize = 300;
const SUBJECTS: usize = 50;

#[derive(Clone, Debug, Serialize)]
pub struct RawReport {
    pub published_per_second: f64,
    pub consumed_per_second: f64,
}

impl RawReport {
    pub fn print(&self) {
        print(&format!(
            "\nraw JetStream: {:.0}/s published (window {WINDOW}, {PAYLOAD_BYTES} bytes), {:.0}/s pulled and acknowledged",
            self.published_per_second, self.consumed_per_second
        ));
    }
}

pub async fn run(url: &str, seconds: u64) -> anyhow::Result<RawReport> {
    let jetstream = jetstream::new(async_nats::connect(url).await?);
    let name = format!("BENCH_{}", population::mark());
    let config =
        stream::Config { name: name.clone(), subjects: vec![format!("{name}.>")], ..stream::Config::default() };
    let stream = jetstream.create_stream(config).await?;
    let result = measure(&jetstream, &stream, &name, Duration::from_secs(seconds)).await;
    jetstream.delete_stream(&name).await?;
    result
}

async fn measure(
    jetstream: &jetstream::Context,
    stream: &stream::Stream,
    name: &str,
    limit: Duration,
) -> anyhow::Result<RawReport> {
    let (published, time) = publish(jetstream, name, limit).await?;
    let published_per_second = per(float(published), time.as_secs_f64());
    let (consumed, time) = consume(stream, published, limit).await?;
    Ok(RawReport { published_per_second, consumed_per_second: per(float(consumed), time.as_secs_f64()) })
}

async fn publish(jetstream: &jetstream::Context, name: &str, limit: Duration) -> anyhow::Result<(u64, Duration)> {
    let subjects: Vec<String> = (0..SUBJECTS).map(|number| format!("{name}.{number}")).collect();
    let payload = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let mut unacknowledged = VecDeque::with_capacity(WINDOW);
    let (start, mut count) = (Instant::now(), 0);
    for subject in subjects.iter().cycle() {
        if start.elapsed() >= limit {
            break;
        }
        if unacknowledged.len() >= WINDOW
            && let Some(oldest) = unacknowledged.pop_front()
        {
            IntoFuture::into_future(oldest).await?;
        }
        unacknowledged.push_back(jetstream.publish(subject.clone(), payload.clone()).await?);
        count += 1;
    }
    for rest in unacknowledged {
        rest.await?;
    }
    Ok((count, start.elapsed()))
}

async fn consume(stream: &stream::Stream, available: u64, limit: Duration) -> anyhow::Result<(u64, Duration)> {
    let config = pull::Config {
        durable_name: Some("bench".to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 10_000,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let start = Instant::now();
    let mut messages = consumer.stream().max_messages_per_batch(500).messages().await?;
    let mut count = 0;
    while count < available && start.elapsed() < limit {
        let Some(message) = messages.next().await else { break };
        message?.ack().await.map_err(|error| anyhow::anyhow!(error))?;
        count += 1;
    }
    Ok((count, start.elapsed()))
}
