//! Load generator on Sealpost's public API, and the figures the server is held to.
//!
//! `sealpost-bench` alone starts both stacks, measures every scenario and compares with the targets; its exit code is 1 if
//! one is missed. The other commands measure a server that runs already.

mod accounts;
mod baseline;
mod child;
mod dm;
mod fill;
mod histogram;
mod history;
mod idle;
mod ledger;
mod pair;
mod population;
mod presence;
mod processes;
mod raw;
mod report;
mod resume;
mod room;
mod search;
mod servers;
mod socket;
mod start;
mod suite;
mod targets;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use crate::accounts::{ListLoad, ListReport, SignInLoad, SignInReport};
use crate::dm::{DmReport, Load};
use crate::history::{HistoryLoad, HistoryReport};
use crate::idle::IdleReport;
use crate::population::Population;
use crate::presence::{PresenceLoad, PresenceReport};
use crate::processes::Watched;
use crate::raw::RawReport;
use crate::resume::{ResumeLoad, ResumeReport};
use crate::room::{RoomLoad, RoomReport};
use crate::search::{SearchLoad, SearchReport};
use crate::start::StartReport;
use crate::suite::{ProgramArguments, SuiteArguments};

/// Measures Sealpost. Without a command: the whole suite, compared with the targets.
#[derive(Debug, Parser)]
#[command(name = "sealpost-bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    suite: SuiteArguments,
    /// Threads of the load generator; one is enough for about 50,000 messages a second
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start both stacks, measure everything, compare with the targets (the default)
    Suite(SuiteArguments),
    /// Pairs of users that send to each other, against a running server
    Dm {
        #[command(flatten)]
        server: RunningServer,
        #[command(flatten)]
        load: Load,
    },
    /// One sender into a room of many members, against a running server
    Room {
        #[command(flatten)]
        server: RunningServer,
        #[command(flatten)]
        load: RoomLoad,
    },
    /// Pages somewhere in a long history, against a running server without limits
    History {
        #[command(flatten)]
        server: RunningServer,
        #[command(flatten)]
        load: HistoryLoad,
    },
    /// Many clients that come back at once, against a running server
    Resume {
        #[command(flatten)]
        server: RunningServer,
        #[command(flatten)]
        load: ResumeLoad,
    },
    /// Idle connections, and the memory each costs a running server. Start it anew after its users have signed up, or
    /// memory that sign-up gave back hides some of it; the suite does
    Idle {
        #[command(flatten)]
        server: RunningServer,
        #[arg(long, default_value_t = 2000)]
        connections: usize,
    },
    /// Sign-ins: the times of known and unknown users, and many at once, against a running server without limits
    SignIn {
        #[command(flatten)]
        server: RunningServer,
        #[command(flatten)]
        load: SignInLoad,
    },
    /// A user who lists conversations, and the queries that it costs, against a running server without limits
    Conversations {
        #[command(flatten)]
        server: RunningServer,
        #[command(flatten)]
        load: ListLoad,
    },
    /// Users who go away and come back, and what it costs a running server without limits
    Presence {
        #[command(flatten)]
        server: RunningServer,
        #[command(flatten)]
        load: PresenceLoad,
    },
    /// Fill conversations and search them, against a running server without limits
    Search {
        #[command(flatten)]
        server: RunningServer,
        #[command(flatten)]
        load: SearchLoad,
    },
    /// The time from starting `sealpost serve` on an empty folder to its first answer
    Start {
        #[command(flatten)]
        program: ProgramArguments,
        /// Where the figures go as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// The yardstick: JetStream alone
    Raw {
        #[arg(long, value_name = "URL")]
        nats: String,
        /// Seconds for publishing, and for consuming at most
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Where the figures go as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
struct RunningServer {
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: Url,
    /// A server process to watch; may be given several times. A Postgres stands for all of its processes
    #[arg(long = "pid", value_name = "NAME=PID")]
    watched: Vec<Watched>,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let mut runtime = match cli.threads {
        0 => bail!("--threads must be 1 or more"),
        1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(threads);
            runtime
        }
    };
    runtime.enable_all().build()?.block_on(async {
        match cli.command.unwrap_or(Command::Suite(cli.suite)) {
            // It has a database to remove before it ends.
            Command::Suite(arguments) => suite(arguments).await,
            command => tokio::select! {
                result = run(command) => result,
                () = asked_to_stop() => Ok(ExitCode::from(130)),
            },
        }
    })
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Suite(arguments) => return suite(arguments).await,
        Command::Dm { server, load } => {
            let report = dm::run(&mut Population::new(server.url)?, load, &server.watched).await?;
            finish(&report, DmReport::print, server.json)?;
            if !report.is_faultless() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Room { server, load } => {
            let report = room::run(&mut Population::new(server.url)?, load).await?;
            finish(&report, RoomReport::print, server.json)?;
            if report.faults > 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::History { server, load } => {
            let report = history::run(&mut Population::new(server.url)?, load).await?;
            finish(&report, HistoryReport::print, server.json)?;
        }
        Command::Resume { server, load } => {
            let report = resume::run(&mut Population::new(server.url)?, load).await?;
            finish(&report, ResumeReport::print, server.json)?;
        }
        Command::Idle { server, connections } => {
            let report = idle::run(&mut Population::new(server.url)?, connections, &server.watched).await?;
            finish(&report, IdleReport::print, server.json)?;
        }
        Command::SignIn { server, load } => {
            let report = accounts::sign_in(&mut Population::new(server.url)?, load, &server.watched).await?;
            finish(&report, SignInReport::print, server.json)?;
        }
        Command::Conversations { server, load } => {
            let report = accounts::list(&mut Population::new(server.url)?, load).await?;
            finish(&report, ListReport::print, server.json)?;
        }
        Command::Presence { server, load } => {
            let report = presence::run(&mut Population::new(server.url)?, load, &server.watched).await?;
            finish(&report, PresenceReport::print, server.json)?;
        }
        Command::Search { server, load } => {
            let report = search::run(&mut Population::new(server.url)?, load).await?;
            finish(&report, SearchReport::print, server.json)?;
        }
        Command::Start { program, json } => {
            finish(&start::run(&program.program()?).await?, StartReport::print, json)?;
        }
        Command::Raw { nats, seconds, json } => {
            finish(&raw::run(&nats, seconds).await?, RawReport::print, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn suite(arguments: SuiteArguments) -> anyhow::Result<ExitCode> {
    Ok(Box::pin(suite::run(arguments)).await?.exit_code())
}

fn finish<T: Serialize>(report: &T, print: fn(&T), json: Option<PathBuf>) -> anyhow::Result<()> {
    print(report);
    json.map_or(Ok(()), |file| report::write_json(&file, report))
}

/// Ends with Ctrl-C or a termination signal.
pub async fn asked_to_stop() {
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without handlers the signals end the process, as ever.
        _ => std::future::pending().await,
    }
}
