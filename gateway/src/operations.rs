//! For those who run the server: health, readiness, metrics.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::MatchedPath;
use axum::http::{Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use sea_orm::DatabaseConnection;
use serde_json::json;

use crate::server::{MetricsText, ReadyCheck};
use crate::state::App;

/// `/healthz`: the process answers. `/readyz`: it can serve, or what is missing. `/metrics`: Prometheus text.
pub fn router(app: &App, metrics: Option<MetricsText>, ready: ReadyCheck) -> Router {
    let app = app.clone();
    let readiness = move || {
        let (app, ready) = (app.clone(), ready.clone());
        async move { readiness(&app, &ready).await }
    };
    let scrape = move || {
        let metrics = metrics.clone();
        async move {
            match metrics {
                Some(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text()).into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            }
        }
    };
    Router::new()
        .route("/healthz", get(|| async { axum::Json(json!({ "status": "ok" })) }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(scrape))
}

async fn readiness(app: &App, ready: &ReadyCheck) -> Response {
    let mut missing = Vec::new();
    if app.stop.is_cancelled() {
        missing.push("the server is stopping".to_owned());
    }
    if !app.log.connection().borrow().up {
        missing.push("the event log is not reachable (NATS_URL)".to_owned());
    }
    if !app.hears_notices.load(Ordering::Acquire) {
        missing.push("notices of the workers cannot be heard yet".to_owned());
    }
    let ping = tokio::time::timeout(Duration::from_secs(2), app.db.ping()).await;
    if matches!(ping, Ok(Ok(()))) {
        missing.extend(ready().await);
    } else {
        missing.push("the store is not reachable (DATABASE_URL)".to_owned());
    }
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": missing.is_empty(), "missing": missing });
    (status, axum::Json(body)).into_response()
}

tokio::task_local! {
    /// Queries of the request that this task serves.
    static QUERIES: Cell<u64>;
}

/// Counts what is asked of the store for each request.
pub fn count_queries(db: &mut DatabaseConnection) {
    db.set_metric_callback(|_| {
        // Background work belongs to no request.
        let _ = QUERIES.try_with(|queries| queries.set(queries.get() + 1));
    });
}

/// Counts and times requests by route, and the queries that they cost.
pub async fn measure(request: Request<axum::body::Body>, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().as_str().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let counted = async {
        let response = next.run(request).await;
        (response, QUERIES.with(Cell::get))
    };
    let (response, queries) = QUERIES.scope(Cell::new(0), counted).await;
    let labels = [("method", method), ("route", route), ("status", response.status().as_u16().to_string())];
    metrics::counter!("sealpost_http_requests_total", &labels).increment(1);
    metrics::counter!("sealpost_http_queries_total", &labels[..2]).increment(queries);
    metrics::histogram!("sealpost_http_request_seconds", &labels[..2]).record(start.elapsed().as_secs_f64());
    response
}
