//! `sealpost dead-letters`: on the cluster when `nats_url` is set, else on the event log in `data_dir`, next to a running server.

use std::time::Duration;

use anyhow::{Context, bail};
use sea_orm::DatabaseConnection;
use sealpost_bus::embedded::EmbeddedDeadLetters;
use sealpost_bus::{DeadLetters, EventLog, Live};
use sealpost_workers::dead_letters::{self, LetterDetails};

use crate::cli::DeadLettersCommand;
use crate::config::Config;
use crate::run::{self, Folder, cluster, database};
use crate::{output, telemetry};

const PAGE: usize = 100;
/// A person waits; a server does not.
const NATS_LIMIT: Duration = Duration::from_secs(15);

pub(crate) fn run(command: &DeadLettersCommand, config: Config) -> anyhow::Result<()> {
    telemetry::start_logs(&config.log)?;
    run::block_on(async move {
        if config.nats_url.is_some() {
            let bus = cluster::connect(&config, "dead-letters").await?;
            tokio::time::timeout(NATS_LIMIT, bus.ready()).await.context("NATS does not answer")??;
            act(command, bus.dead_letters(), Some(&bus), || async {
                if config.database_url.is_none() {
                    bail!("a replay stores events: set DATABASE_URL as for the workers");
                }
                database::postgres(&config).await
            })
            .await
        } else {
            let folder = Folder::at(&config.data_dir);
            let letters = EmbeddedDeadLetters::open(folder.log()).with_context(|| {
                format!("{} has no event log; for a cluster set NATS_URL", config.data_dir.display())
            })?;
            act(command, &letters, None, || database::sqlite(folder.database(), database::SQLITE_WRITER)).await
        }
    })
}

async fn act<F: Future<Output = anyhow::Result<DatabaseConnection>>>(
    command: &DeadLettersCommand,
    letters: &dyn DeadLetters,
    live: Option<&dyn Live>,
    database: impl FnOnce() -> F,
) -> anyhow::Result<()> {
    match command {
        DeadLettersCommand::List => list(letters).await,
        DeadLettersCommand::Show { number } => show(&dead_letters::show(letters, *number).await?),
        DeadLettersCommand::Replay { number } => {
            let db = database().await?;
            dead_letters::replay(letters, &db, live, *number).await?;
            db.close().await?;
            output::line(format!("{number} was processed and removed"))
        }
        DeadLettersCommand::Drop { number } => {
            dead_letters::discard(letters, *number).await?;
            output::line(format!("{number} was deleted"))
        }
    }
}

async fn list(letters: &dyn DeadLetters) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let page = dead_letters::list(letters, after, PAGE).await?;
        for letter in &page {
            let attempts = format!("{} attempts", letter.attempts);
            output::line(format!(
                "{}\t{}\t{attempts}\t{}\t{}",
                letter.number, letter.consumer, letter.subject, letter.reason
            ))?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.number,
            None if after == 0 => return output::line("there are no dead letters"),
            _ => return Ok(()),
        }
    }
}

fn show(details: &LetterDetails) -> anyhow::Result<()> {
    output::line(serde_json::to_string_pretty(details)?)
}
