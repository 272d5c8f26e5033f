//! Which keys sign and wrap here, in the audit log: a process that starts with other keys than the newest row names adds a row. So a
//! rotation, and a key that somebody slipped in, can be seen afterwards. Held by `a_change_of_signing_keys_is_recorded` and
//! `a_change_of_master_keys_is_recorded`.

use std::time::Duration;

use sea_orm::{ColumnTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _};
use sealpost_schema::entities::audit as row;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, AuditEntry, AuditEvent};
use crate::caller::Caller;
use crate::state::App;

const PAUSE: Duration = Duration::from_secs(5);

/// The ids of keys, newest first.
pub struct KeyIds {
    pub signing: Vec<String>,
    pub master: Vec<String>,
}

/// Until the store knows them. Gateways that start at the same moment may each add a row.
pub async fn record(app: App, KeyIds { signing, master }: KeyIds, stop: CancellationToken) {
    let events =
        [AuditEvent::SigningKeysChanged { key_ids: signing }, AuditEvent::MasterKeysChanged { key_ids: master }];
    for event in events {
        while let Err(error) = record_once(&app, &event).await {
            tracing::warn!(%error, "which keys are in use could not be recorded yet");
            if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }
}

async fn record_once(app: &App, event: &AuditEvent) -> Result<(), DbErr> {
    let newest = row::Entity::find().filter(row::Column::Action.eq(event.action())).order_by_desc(row::Column::Id);
    let newest = newest.one(&app.db).await?;
    let details = event.details().to_string();
    if newest.is_some_and(|newest| newest.details == details) {
        return Ok(());
    }
    // Nobody who is signed in did it.
    audit::record(&app.db, app.clock.now(), &Caller::default(), AuditEntry::to(None, event.clone())).await
}
