//! A worker process's own small listener: `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use sea_orm::DatabaseConnection;
use sealpost_bus::EventLog;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::missing::Missing;

/// A database that takes longer is as good as away.
const PING_LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(super) struct Monitor {
    pub metrics: PrometheusHandle,
    pub missing: Missing,
    pub log: Arc<dyn EventLog>,
    pub db: Option<DatabaseConnection>,
}

impl Monitor {
    /// Runs until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let app = Router::new()
            .route("/healthz", get(async || Json(serde_json::json!({ "status": "ok" }))))
            .route("/readyz", get(readyz))
            .route("/metrics", get(async |State(monitor): State<Self>| monitor.metrics.render()))
            .with_state(self);
        let server = axum::serve(listener, app).with_graceful_shutdown({
            let stop = stop.clone();
            async move { stop.cancelled().await }
        });
        // A request that never ends must not delay the stop.
        tokio::select! {
            result = server.into_future() => {
                if let Err(error) = result {
                    tracing::error!(%error, "the worker's listener failed");
                }
            }
            () = async { stop.cancelled().await; tokio::time::sleep(PING_LIMIT).await } => {}
        }
    }

    async fn missing(&self) -> Vec<String> {
        let mut missing = self.missing.list();
        if !self.log.connection().borrow().up {
            missing.push("the event log is not reachable (NATS_URL)".to_owned());
        }
        if missing.is_empty()
            && let Some(db) = &self.db
            && !tokio::time::timeout(PING_LIMIT, db.ping()).await.is_ok_and(|answer| answer.is_ok())
        {
            missing.push("the store is not reachable (DATABASE_URL)".to_owned());
        }
        missing
    }
}

async fn readyz(State(monitor): State<Monitor>) -> (StatusCode, Json<serde_json::Value>) {
    let missing = monitor.missing().await;
    if missing.is_empty() {
        return (StatusCode::OK, Json(serde_json::json!({ "ready": true })));
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(serde_json::json!({ "ready": false, "missing": missing })))
}
