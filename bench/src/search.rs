//! Search over many messages: fills conversations with words as people use them, a few all the time and most hardly ever, and times
//! searches for rare and frequent ones.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::histogram::{Histogram, LatencyMs};
use crate::population::{Population, mark};
use crate::report::{float, per, print, progress, table};
use crate::socket::BUSY_BUFFER;
use crate::wire::{Frame, parse};

/// Different words.
const VOCABULARY: usize = 20_000;
/// Every so many messages hold a word of their own.
const RARE_EVERY: usize = 1000;
/// Messages of one conversation without an acknowledgement; the server takes 64 of a connection.
const WINDOW: usize = 60;

#[derive(Args, Clone, Debug)]
pub struct SearchLoad {
    /// Messages in all conversations together
    #[arg(long, default_value_t = 100_000)]
    pub messages: usize,
    /// Conversations of the user who searches
    #[arg(long, default_value_t = 10)]
    pub conversations: usize,
    /// Seconds that each kind of search is measured
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Searches under way at once
    #[arg(long, default_value_t = 1)]
    pub in_flight: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct SearchReport {
    pub messages: usize,
    pub conversations: usize,
    pub sent_per_second: f64,
    /// From the last message to finding it in every conversation.
    pub index_behind_seconds: f64,
    pub searches: Vec<Measured>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub kind: &'static str,
    pub searches_per_second: f64,
    /// Results of a page, on average.
    pub results: f64,
    pub latency: LatencyMs,
}

impl SearchReport {
    pub fn print(&self) {
        let Self { messages, conversations, sent_per_second, index_behind_seconds, .. } = self;
        print(&format!("\nGET /api/search over {messages} messages in {conversations} conversations"));
        print(&format!("sent at {sent_per_second:.0}/s; all of them found {index_behind_seconds:.1} s after the last"));
        let heading = ["searched for", "searches/s", "results", "p50 ms", "p99 ms"].map(str::to_owned).to_vec();
        let rows = self.searches.iter().map(|one| {
            vec![
                one.kind.to_owned(),
                format!("{:.0}", one.searches_per_second),
                format!("{:.1}", one.results),
                format!("{:.2}", one.latency.p50),
                format!("{:.2}", one.latency.p99),
            ]
        });
        print(&table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>()));
    }
}

/// A small generator with a seed: every run says and asks the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % limit as u64).unwrap_or(0)
    }

    /// The rank of a word: the second is half as frequent as the first, the tenth a tenth (Zipf's law).
    fn rank(&mut self, from: usize, to: usize) -> usize {
        let share = float(self.below(1 << 20) as u64) / float(1 << 20);
        let (low, high) = (float(from as u64 + 1).ln(), float(to as u64 + 1).ln());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the vocabulary")]
        let rank = (low + share * (high - low)).exp() as usize;
        rank.clamp(from + 1, to) - 1
    }
}

/// The word of a rank: two to six syllables.
fn word(rank: usize) -> String {
    const SYLLABLES: [&str; 20] = [
        "ka", "lo", "mi", "ne", "ru", "sa", "te", "vi", "wo", "za", "bre", "cho", "dri", "fla", "gru", "pli", "sto",
        "tra", "quo", "sha",
    ];
    let (mut word, mut rest) = (String::new(), rank + SYLLABLES.len());
    while rest > 0 {
        word.push_str(SYLLABLES[rest % SYLLABLES.len()]);
        rest /= SYLLABLES.len();
    }
    word
}

fn rare(number: usize) -> String {
    format!("needle{number}x")
}

fn text(numbers: &mut Numbers, number: usize) -> String {
    let count = 6 + numbers.below(9);
    let mut words: Vec<String> = (0..count).map(|_| word(numbers.rank(0, VOCABULARY))).collect();
    if number.is_multiple_of(RARE_EVERY) {
        words.push(rare(number / RARE_EVERY));
    }
    words.join(" ")
}

/// Against a server without limits; see `docs/operations.md`.
pub async fn run(population: &mut Population, load: SearchLoad) -> anyhow::Result<SearchReport> {
    ensure!(load.conversations > 0 && load.in_flight > 0, "--conversations and --in-flight must be 1 or more");
    population.grow_to(load.conversations + 1).await?;
    let conversations = population.with_each(load.conversations).await?;
    let (population, start) = (&*population, Instant::now());
    let share = load.messages.div_ceil(load.conversations);
    let end = format!("end{}", mark());
    stream::iter(conversations.iter().enumerate())
        .map(|(index, id)| fill(population, *id, (index * share)..((index + 1) * share).min(load.messages), &end))
        .buffer_unordered(load.conversations.min(20))
        .try_collect::<Vec<()>>()
        .await?;
    let sent_per_second = per(float(load.messages as u64), start.elapsed().as_secs_f64());
    let behind = Instant::now();
    for id in &conversations {
        until_found(population, &format!("/api/search?q={end}&conversation_id={id}")).await?;
    }
    let index_behind_seconds = behind.elapsed().as_secs_f64();
    let mut searches = Vec::new();
    for (kind, one) in KINDS {
        progress(kind);
        searches.push(measure(population, &load, kind, *one, &conversations).await?);
    }
    let (messages, conversations) = (load.messages, load.conversations);
    Ok(SearchReport { messages, conversations, sent_per_second, index_behind_seconds, searches })
}

/// Sends these messages, and a last one that tells that the index has them.
async fn fill(
    population: &Population,
    conversation: Uuid,
    messages: std::ops::Range<usize>,
    end: &str,
) -> anyhow::Result<()> {
    let searcher = population.first(1).first().context("there is no user")?;
    let (mut socket, _) = population.connect(searcher, BUSY_BUFFER).await?;
    let (mut numbers, run) = (Numbers(messages.start as u64 + 1), mark());
    let last = messages.end;
    let mut texts = messages.map(|number| (number, text(&mut numbers, number))).chain([(last, end.to_owned())]);
    let mut waiting = 0;
    loop {
        while waiting < WINDOW
            && let Some((number, text)) = texts.next()
        {
            let frame = serde_json::json!({ "type": "message", "conversation_id": conversation,
                "client_message_id": format!("{run}-{number}"), "text": text, "ack": "stored" });
            socket.feed(Message::text(frame.to_string())).await?;
            waiting += 1;
        }
        if waiting == 0 {
            return Ok(());
        }
        socket.flush().await?;
        let Some(frame) = socket.next().await else { bail!("the server closed a connection") };
        if let Message::Text(text) = frame? {
            match parse(&text)? {
                Frame::Acknowledged { stored: true, .. } => waiting -= 1,
                Frame::Error { problem, .. } => bail!("a message was refused: {problem}"),
                _ => {}
            }
        }
    }
}

async fn until_found(population: &Population, path: &str) -> anyhow::Result<()> {
    let mut told = Instant::now();
    while results(&population.get(0, path).await?) == 0 {
        if told.elapsed() > Duration::from_secs(10) {
            progress("waiting for the index; SEALPOST__SEARCH__MESSAGES_PER_SECOND=0 is fastest");
            told = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn results(page: &serde_json::Value) -> usize {
    page["results"].as_array().map_or(0, Vec::len)
}

/// What one search asks for.
type Query = fn(&mut Numbers, usize, &[Uuid]) -> String;

const KINDS: &[(&str, Query)] = &[
    ("a rare word", |numbers, messages, _| rare(numbers.below(messages.div_ceil(RARE_EVERY)))),
    ("a frequent word", |numbers, _, _| word(numbers.rank(0, 20)) + "%20"),
    ("a word of the middle", |numbers, _, _| word(numbers.rank(200, 2000)) + "%20"),
    ("the beginning of a word", |numbers, _, _| word(numbers.rank(0, 2000)).chars().take(4).collect()),
    ("two words", |numbers, _, _| format!("{}%20{}", word(numbers.rank(0, 50)), word(numbers.rank(50, 1000)))),
    ("two frequent words", |numbers, _, _| format!("{}%20{}", word(numbers.rank(0, 5)), word(numbers.rank(5, 20)))),
    ("two words, one conversation", |numbers, _, conversations| {
        let id = conversations[numbers.below(conversations.len())];
        format!("{}%20{}&conversation_id={id}", word(numbers.rank(0, 50)), word(numbers.rank(50, 1000)))
    }),
    ("a word that is not there", |numbers, _, _| format!("{}zzz", word(numbers.rank(0, 1000)))),
];

async fn measure(
    population: &Population,
    load: &SearchLoad,
    kind: &'static str,
    query: Query,
    conversations: &[Uuid],
) -> anyhow::Result<Measured> {
    let (start, length) = (Instant::now(), Duration::from_secs(load.seconds));
    let (times, found, count) = stream::iter(0..load.in_flight)
        .map(|number| async move {
            let (mut times, mut found, mut count) = (Histogram::default(), 0, 0);
            let mut numbers = Numbers(number as u64 + 77);
            while start.elapsed() < length {
                let path = format!("/api/search?q={}", query(&mut numbers, load.messages, conversations));
                let asked = Instant::now();
                let page = population.get(0, &path).await?;
                times.record(asked.elapsed());
                found += results(&page);
                count += 1;
            }
            anyhow::Ok((times, found, count))
        })
        .buffer_unordered(load.in_flight)
        .try_fold((Histogram::default(), 0, 0), |mut all, one| async move {
            all.0.merge(&one.0);
            Ok((all.0, all.1 + one.1, all.2 + one.2))
        })
        .await?;
    let count = float(count);
    Ok(Measured {
        kind,
        searches_per_second: per(count, start.elapsed().as_secs_f64()),
        results: per(float(found as u64), count),
        latency: times.summary(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_words_are_frequent_and_all_differ() {
        let words: std::collections::BTreeSet<String> = (0..VOCABULARY).map(word).collect();
        assert_eq!(words.len(), VOCABULARY);
        let mut numbers = Numbers(1);
        let first = (0..10_000).filter(|_| numbers.rank(0, VOCABULARY) < 10).count();
        assert!((1500..4000).contains(&first), "{first} of 10000 words are among the ten most frequent");
        assert!((0..1000).all(|_| (200..2000).contains(&numbers.rank(200, 2000))));
    }
}
