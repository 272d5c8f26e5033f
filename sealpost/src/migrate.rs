//! `sealpost migrate`: brings the cluster's database up to date.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::run::database::{self, Need};
use crate::run::{self, Missing};
use crate::{output, telemetry};

pub(crate) fn run(config: Config, check: bool) -> anyhow::Result<ExitCode> {
    telemetry::start_logs(&config.log)?;
    run::block_on(async move {
        let db = database::postgres(&config).await?;
        database::wait(Need::Reached, &db, &config, &Missing::default(), &CancellationToken::new()).await;
        let pending = sealpost_migrations::pending(&db).await?;
        if check {
            pending.iter().try_for_each(output::line)?;
            return Ok(if pending.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        sealpost_migrations::migrate(&db).await?;
        match pending.len() {
            0 => output::line("the database is up to date")?,
            _ => output::line(format!("the database is up to date; new: {}", pending.join(", ")))?,
        }
        db.close().await?;
        Ok(ExitCode::SUCCESS)
    })
}
