//! What other gateways say.

use std::time::{Duration, Instant};

use sealpost_bus::{LiveItem, LiveSubscription, Subject};
use sealpost_schema::PresenceNotice;
use tokio_util::sync::CancellationToken;

use crate::state::App;

/// Before another try to subscribe.
const PAUSE: Duration = Duration::from_secs(1);

/// Hears the other gateways for as long as the process lives.
pub async fn hear(app: App, stop: CancellationToken) {
    loop {
        match subscribe(&app).await {
            Ok((notices, asks)) => {
                // What was said before this is not known.
                app.presences.lock().lost = true;
                if stop.run_until_cancelled(listen(&app, notices, asks)).await.is_none() {
                    return;
                }
            }
            Err(error) => tracing::debug!(error, "other gateways cannot be heard yet"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

async fn subscribe(app: &App) -> Result<(LiveSubscription, LiveSubscription), String> {
    let subscription = async |subject: &str| {
        let subject = Subject::pattern(subject).map_err(|error| error.to_string())?;
        app.live.subscribe(subject).await.map_err(|error| error.to_string())
    };
    Ok((subscription(PresenceNotice::SUBJECT).await?, subscription(PresenceNotice::ASK_SUBJECT).await?))
}

async fn listen(app: &App, mut notices: LiveSubscription, mut asks: LiveSubscription) {
    loop {
        let item = tokio::select! {
            item = notices.recv() => item,
            item = asks.recv() => {
                if item.is_none() {
                    return;
                }
                app.presences.lock().asked = true;
                continue;
            }
        };
        match item {
            None => return,
            Some(LiveItem::Lost) => app.presences.lock().lost = true,
            Some(LiveItem::Message(message)) => match serde_json::from_slice::<PresenceNotice>(&message.payload) {
                Ok(notice) if notice.from == app.presences.gateway => {}
                Ok(notice) => {
                    let mut state = app.presences.lock();
                    let complete = state.table.hear(&notice, Instant::now());
                    state.lost |= !complete;
                }
                Err(error) => tracing::error!(%error, "an unreadable notice of presence was dropped"),
            },
        }
    }
}
