//! Time per seal and per open of a body of 200 bytes, on one thread:
//! `cargo run --release -p sealpost-sealing --example seal_speed`

#![expect(clippy::print_stdout, reason = "a measurement that prints its result")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use sealpost_sealing::{Binding, ConversationKey, KeyRing, Suite};
use uuid::Uuid;

const ROUNDS: u32 = 100_000;
const REPEATS: usize = 7;
const NOW: u64 = 1_800_000_000;

/// The middle of several runs, per round.
fn measure(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            (0..ROUNDS).for_each(|_| run());
            start.elapsed() / ROUNDS
        })
        .collect();
    times.sort();
    times[REPEATS / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let conversation = Uuid::from_u128(1);
    let binding = Binding { conversation, message: Uuid::from_u128(2), sender: Uuid::from_u128(3) };
    let key = ConversationKey::generate(conversation, 7, Suite::Fernet);
    let body = [b'x'; 200];
    let envelope = key.seal(&binding, &body, NOW)?;
    let ring = KeyRing::parse(&[KeyRing::generate_key()])?;
    let wrapped = ring.wrap(&key, NOW);

    println!("seal       {:?}", measure(|| drop(black_box(key.seal(black_box(&binding), black_box(&body), NOW)))));
    println!("open       {:?}", measure(|| drop(black_box(key.open(black_box(&binding), black_box(&envelope))))));
    println!("unwrap key {:?}", measure(|| drop(black_box(ring.unwrap(black_box(&wrapped), conversation, 7)))));
    println!("envelope   {} bytes for a body of {}", envelope.len(), body.len());
    Ok(())
}
