//! `sealpost-torture`: starts Sealpost, works on it while breaking what it stands on, and judges what came of it.

#![allow(clippy::print_stdout, reason = "the report is what this program is for")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use sealpost_testing::Form;
use sealpost_torture::report::Total;
use sealpost_torture::{Fault, Request, Stacks, check_file, report, run};

/// Tortures whole servers and holds them to their promises. Exit code 1: a promise was broken.
#[derive(Debug, Parser)]
#[command(name = "sealpost-torture", version)]
struct Arguments {
    /// Where the schedule and the clients' choices come from; by chance if it is missing
    #[arg(long)]
    seed: Option<u64>,
    /// How long each stack is under load
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// F1,F4,… or all
    #[arg(long, default_value = "all", value_delimiter = ',')]
    faults: Vec<String>,
    #[arg(long, value_enum, default_value_t = Stacks::Both)]
    stack: Stacks,
    /// NATS servers of the cluster: 1 or 3. With 1, both stacks and F7 among the faults a shorter run on three is added
    #[arg(long, default_value_t = 1)]
    brokers: usize,
    /// Operations a second over all clients
    #[arg(long, default_value_t = 150)]
    rate: u32,
    /// Runs on each stack, each with the seed after the last one's
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// More runs, until so many processes were killed; histories of runs without a finding are not kept
    #[arg(long, default_value_t = 0)]
    until_kills: u64,
    /// More runs, until so many messages were acknowledged as stored; histories of runs without a finding are not kept
    #[arg(long, default_value_t = 0)]
    until_stored: u64,
    /// Where histories, reports and pictures go
    #[arg(long, default_value = "torture-results")]
    out: PathBuf,
    /// Runs nothing: judges a history that was written before
    #[arg(long)]
    check: Option<PathBuf>,
}

/// Of the minutes of the others.
const SHARE_OF_THREE: f64 = 0.3;
/// What belongs to three brokers, and some of what else happens then.
const WITH_THREE: [Fault; 3] = [Fault::F7, Fault::F14, Fault::F20];

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.check {
        let verdict = check_file(path).with_context(|| format!("{} cannot be judged", path.display()))?;
        println!("{}", serde_json::to_string_pretty(&verdict)?);
        return Ok(if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let first = arguments.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000));
    let faults = faults(&arguments.faults)?;
    let brokers = |form| if form == Form::Cluster { arguments.brokers } else { 1 };
    let mut runs: Vec<(Form, usize, f64)> =
        arguments.stack.forms().iter().map(|&form| (form, brokers(form), 1.0)).collect();
    if arguments.stack == Stacks::Both && arguments.brokers == 1 && faults.contains(&Fault::F7) {
        runs.push((Form::Cluster, 3, SHARE_OF_THREE));
    }
    // One run's history at a time is in memory.
    let mut total = Total::default();
    let enough = |total: &Total| total.kills >= arguments.until_kills && total.stored >= arguments.until_stored;
    let long = !enough(&total);
    for seed in first.. {
        if seed >= first + arguments.runs && enough(&total) {
            break;
        }
        for &(form, brokers, share) in &runs {
            let minutes = arguments.minutes * share;
            println!("seed {seed}, {form:?} stack, {brokers} brokers, {minutes} minutes");
            let request = Request {
                seed,
                form,
                brokers,
                duration: Duration::from_secs_f64(minutes * 60.0),
                faults: if brokers > 1 && runs.len() == 3 { WITH_THREE.to_vec() } else { faults.clone() },
                rate: arguments.rate,
                folder: arguments.out.clone(),
            };
            let outcome = run(request).await;
            println!("{}", report::write(&outcome)?);
            total.add(&outcome);
            report::write_total(&arguments.out, &total)?;
            if long && outcome.verdict.holds() {
                std::fs::remove_file(outcome.history_file())?;
            }
        }
    }
    println!("{total}");
    Ok(if total.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn faults(names: &[String]) -> anyhow::Result<Vec<Fault>> {
    if names.iter().any(|name| name == "all") {
        return Ok(Fault::ALL.to_vec());
    }
    let mut faults = Vec::new();
    for name in names.iter().filter(|name| *name != "none") {
        let Some(fault) = Fault::parse(name) else {
            let known: Vec<_> = Fault::ALL.iter().map(|fault| format!("{} {}", fault.name(), fault.title())).collect();
            bail!("there is no fault {name}; there are:\n  {}", known.join("\n  "));
        };
        faults.push(fault);
    }
    Ok(faults)
}
