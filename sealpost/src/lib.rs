//! The program: command line, configuration, life cycle and telemetry. It joins the other crates and holds no messaging.
//!
//! `serve` runs everything in one process on SQLite and an embedded log; `gateway` and `worker` run one part each, on
//! Postgres and NATS. Both ways run the same gateway and the same workers.

mod admin;
mod cli;
pub mod config;
mod dead_letters;
mod healthcheck;
pub mod keys;
mod migrate;
mod openapi;
mod output;
mod run;
mod search;
mod telemetry;

pub use cli::{Cli, Command};

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{ConfigCommand, KeysCommand, WorkerKind};
use crate::config::{Config, Loaded, Role, Sources};

/// Reads the command line and does what it says. 0: done, or stopped cleanly; 1: failed; 2: the configuration or the
/// command line is wrong.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<config::Mistakes>() => {
            eprintln!("sealpost: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            // The alternate form has the causes, too.
            eprintln!("sealpost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let sources = Sources::of_process(cli.config);
    match cli.command.unwrap_or(Command::Serve) {
        // These need no configuration, and so work while it is wrong or not there yet.
        Command::Keys { command: KeysCommand::Generate } => keys::print_new()?,
        Command::Openapi { out, check } => return openapi::write(&out, check),
        Command::Config { command } => run_config(&command, &sources)?,
        Command::Healthcheck { url } => return healthcheck::run(url.as_deref(), &sources),
        Command::Serve => return run::serve(checked(&sources, Role::Serve)?),
        Command::Gateway => return run::gateway(checked(&sources, Role::Gateway)?),
        Command::Worker { kind } => {
            let role = if kind == WorkerKind::Delivery { Role::Delivery } else { Role::Worker };
            return run::worker(kind, checked(&sources, role)?);
        }
        Command::Migrate { check } => return migrate::run(checked(&sources, Role::Migrate)?, check),
        Command::Admin { command } => admin::run(command, checked(&sources, Role::Admin)?)?,
        Command::Search { command } => search::run(&command, checked(&sources, Role::Search)?)?,
        Command::DeadLetters { command } => dead_letters::run(&command, checked(&sources, Role::DeadLetters)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn checked(sources: &Sources, role: Role) -> anyhow::Result<Config> {
    Ok(Loaded::load(sources)?.check(role)?)
}

fn run_config(command: &ConfigCommand, sources: &Sources) -> anyhow::Result<()> {
    let loaded = Loaded::load(sources)?;
    match command {
        ConfigCommand::Show => output::text(&loaded.show()),
        ConfigCommand::Check { role } => {
            loaded.check(role.unwrap_or(Role::Any))?;
            output::line("the configuration is fine")
        }
    }
}
