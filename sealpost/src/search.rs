//! `sealpost search`: the index made anew, or emptied. Works on the cluster's database when `database_url` is set, else on the one in `data_dir`,
//! next to a running server or while it is stopped.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sea_orm::{DatabaseConnection, EntityTrait as _};
use sealpost_gateway::search::{self, Progress, Rebuild};
use sealpost_schema::ConversationId;
use sealpost_schema::entities::conversation;

use crate::cli::SearchCommand;
use crate::config::Config;
use crate::keys::{self, Configured};
use crate::run::{self, Folder};
use crate::{admin, output, telemetry};

/// Between two lines of progress.
const EVERY: Duration = Duration::from_secs(1);

pub(crate) fn run(command: &SearchCommand, config: Config) -> anyhow::Result<()> {
    telemetry::start_logs(&config.log)?;
    run::block_on(async move {
        let db = admin::open(&config).await?;
        let done = match command {
            SearchCommand::Rebuild { conversation, fast } => rebuild(&db, config, *conversation, *fast).await,
            SearchCommand::Drop => drop_index(&db, &config).await,
        };
        db.close().await?;
        done
    })
}

async fn rebuild(
    db: &DatabaseConnection,
    mut config: Config,
    conversation: Option<ConversationId>,
    fast: bool,
) -> anyhow::Result<()> {
    if !config.search.enabled {
        bail!("search is switched off: set search.enabled, here and for the servers, before the index is made");
    }
    if let Some(id) = conversation
        && conversation::Entity::find_by_id(id.0).one(db).await?.is_none_or(|row| row.deleted_at.is_some())
    {
        bail!("there is no conversation {id}, or it is deleted");
    }
    let keys = if config.database_url.is_some() {
        keys::parse(Configured::of(&config))?
    } else {
        keys::of_folder(Folder::at(&config.data_dir).path(), Configured::of(&config), true)?
    };
    if fast {
        config.search.messages_per_second = 0;
    }
    let mut last: Option<Instant> = None;
    let told = |progress: Progress| {
        if last.is_none_or(|last| last.elapsed() >= EVERY) {
            last = Some(Instant::now());
            let Progress { done, total, written, .. } = progress;
            let percent = done.saturating_mul(100) / total.max(1);
            eprintln!("sealpost: {done} of {total} messages ({percent} %), {written} indexed");
        }
    };
    let what = Rebuild { key_ring: keys.key_ring, config: config.search, conversation };
    let done = search::rebuild(db, what, told).await.context("the index is not complete; run this again")?;
    let Progress { done, written, unreadable, .. } = done;
    let lost = if unreadable == 0 { String::new() } else { format!("; {unreadable} cannot be opened") };
    output::line(format!("{done} messages looked at, {written} indexed{lost}"))
}

async fn drop_index(db: &DatabaseConnection, config: &Config) -> anyhow::Result<()> {
    let count = search::drop_index(db).await?;
    output::line(format!("the index is empty; {count} messages were in it"))?;
    if config.search.enabled {
        output::line(
            "search is on: running servers index what is new. `sealpost search rebuild` brings the rest back; \
             search.enabled = false keeps it empty",
        )?;
    }
    Ok(())
}
