//! `sealpost-soak`: clients that come and go for minutes, and whether all of them end with what the history shows.

#![allow(clippy::print_stdout, reason = "the report is what this program is for")]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sealpost_torture::{Soak, Stacks, soak};

/// Many clients that come and go. Exit code 1: a view is not what the history shows.
#[derive(Debug, Parser)]
#[command(name = "sealpost-soak", version)]
struct Arguments {
    #[arg(long, default_value_t = 200)]
    clients: u32,
    /// How long the clients work on each stack
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    #[arg(long, value_enum, default_value_t = Stacks::Both)]
    stack: Stacks,
    /// Where the clients' choices come from; by chance if it is missing
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { clients, minutes, stack, seed } = Arguments::parse();
    let seed = seed.unwrap_or_else(|| fastrand::u64(1..1_000_000));
    let mut holds = true;
    for &form in stack.forms() {
        let report = soak(Soak { form, clients, duration: Duration::from_secs_f64(minutes * 60.0), seed }).await;
        println!("{report}");
        holds &= report.wrong.is_empty();
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
