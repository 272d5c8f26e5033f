//! The gateway's life: background tasks, router, serving and stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, Request, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Router, extract::DefaultBodyLimit};
use futures_util::future::BoxFuture;
use sea_orm::DatabaseConnection;
use sealpost_bus::{EventLog, Live, LiveItem, LiveSubscription, Subject};
use sealpost_lane::{LaneConfig, Lanes, Reader};
use sealpost_schema::{Clock, CloseCode, ControlNotice, Problem, ProblemKind, StoredNotice};
use sealpost_sealing::KeyRing;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

use crate::announcements::{self, Announcements};
use crate::auth::{ApiTokens, AuthConfig, Passwords, Revocations, Seen, SigningKey, Tokens};
use crate::auth::{KeyIds, record_key_changes, upkeep, watch_revocations, write_seen};
use crate::channels::{PublicFeeds, public_websocket};
use crate::config::GatewayConfig;
use crate::edge::{self, ClientAddress, Tls, TlsError};
use crate::export;
use crate::keys::ConversationKeys;
use crate::limits::{Limits, LimitsConfig, Throttle, limit_requests};
use crate::live::{Connections, Hub, hear, resync, websocket};
use crate::mail::{MailConfig, MailError, Mailer};
use crate::oidc::{OidcConfig, Providers, ProvidersError};
use crate::passkeys::RelyingParty;
use crate::presence::{Presences, hear as hear_presence, run as tell_presence};
use crate::problem::respond;
use crate::profiles::AvatarWork;
use crate::receipts::{Marks, write as write_receipts};
use crate::search::{Indexer, Search, SearchConfig};
use crate::state::{App, AppParts};
use crate::webhooks::Webhooks;
use crate::{openapi, operations, search};

/// The text of `/metrics`.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;
/// What else is missing before this process can serve, a sentence each.
pub type ReadyCheck = Arc<dyn Fn() -> BoxFuture<'static, Vec<String>> + Send + Sync>;

/// What a gateway is made of.
pub struct GatewayParts {
    pub config: GatewayConfig,
    pub auth: AuthConfig,
    pub limits: LimitsConfig,
    pub lane: LaneConfig,
    /// How old the server lets messages become; conversations may be set to less. `None`: as old as they want.
    pub retention_days: Option<u32>,
    pub mail: MailConfig,
    pub oidc: OidcConfig,
    pub search: SearchConfig,
    /// Newest first; that one signs.
    pub signing_keys: Vec<SigningKey>,
    pub key_ring: KeyRing,
    pub webhooks: Webhooks,
    pub clock: Clock,
    pub db: DatabaseConnection,
    pub log: Arc<dyn EventLog>,
    pub live: Arc<dyn Live>,
    pub metrics: Option<MetricsText>,
    pub ready: ReadyCheck,
}

/// Why a gateway cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error(transparent)]
    Providers(#[from] ProvidersError),
}

/// A running gateway.
pub struct Gateway {
    app: App,
    router: Router,
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Gateway {
    /// Starts the background tasks on `tasks`. `stop` begins the soft phase; `hard_stop` ends everything, the lanes too.
    ///
    /// # Errors
    /// Settings are of no use.
    pub fn start(
        parts: GatewayParts,
        tasks: TaskTracker,
        stop: CancellationToken,
        hard_stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let GatewayParts {
            config,
            auth,
            limits,
            lane,
            retention_days,
            mail,
            oidc,
            search,
            signing_keys,
            key_ring,
            webhooks,
            clock,
            mut db,
            log,
            live,
            metrics,
            ready,
        } = parts;
        operations::count_queries(&mut db);
        let key_ids = KeyIds {
            signing: signing_keys.iter().map(|key| key.id().to_owned()).collect(),
            master: key_ring.ids().to_vec(),
        };
        let keys = Arc::new(ConversationKeys::new(key_ring, db.clone(), clock.clone(), config.max_cached_keys));
        let presences = Arc::new(Presences::new());
        let reader = Reader::new(Arc::clone(&log), db.clone());
        let hub = Hub::new(
            Arc::clone(&keys),
            reader,
            db.clone(),
            Arc::clone(&live),
            Arc::clone(&presences),
            tasks.clone(),
            hard_stop.clone(),
        );
        let lanes = Lanes::new(
            Arc::clone(&log),
            db.clone(),
            lane,
            clock.clone(),
            Some(Arc::clone(&hub) as Arc<dyn sealpost_lane::Observer>),
            tasks.clone(),
            hard_stop.clone(),
        );
        let mailer = Mailer::start(mail, &config, clock.clone(), db.clone(), &tasks, hard_stop.clone())?;
        let app = App::new(AppParts {
            tokens: Tokens::new(&auth, signing_keys, clock.clone()),
            passwords: Passwords::new(&auth),
            avatars: AvatarWork::default(),
            mailer,
            passkeys: RelyingParty::new(&config, &auth.issuer),
            providers: Providers::new(&oidc, &config.base_url(), &clock)?,
            revocations: Revocations::new(auth.access_lifetime()),
            seen: Seen::default(),
            api_tokens: ApiTokens::default(),
            tokens_seen: Seen::default(),
            limits: Limits::new(&limits),
            throttle: Throttle::new(&limits),
            connections: Arc::new(Connections::new(config.max_connections, config.max_connections_per_user)),
            marks: Marks::default(),
            search: Search::new(search),
            presences,
            announcements: Announcements::default(),
            public: PublicFeeds::new(config.max_public_readers, config.max_public_readers_per_address),
            resumes: Arc::new(Semaphore::new(config.max_resumes)),
            exports: Arc::new(Semaphore::new(export::AT_ONCE)),
            webhooks,
            config,
            auth,
            retention_days,
            clock,
            db,
            log,
            live,
            lanes,
            keys,
            hub,
            stop,
            tasks,
            hears_notices: AtomicBool::new(false),
        });
        app.tasks.spawn(hear_notices(app.clone(), hard_stop.clone()));
        app.tasks.spawn(watch_revocations(app.clone(), hard_stop.clone()));
        app.tasks.spawn(write_seen(app.clone(), hard_stop.clone()));
        app.tasks.spawn(record_key_changes(app.clone(), key_ids, hard_stop.clone()));
        app.tasks.spawn(announcements::watch(app.clone(), hard_stop.clone()));
        app.tasks.spawn(upkeep(app.clone(), hard_stop.clone()));
        app.tasks.spawn(drop_expired_keys(app.clone(), hard_stop.clone()));
        app.tasks.spawn(write_receipts(app.clone(), hard_stop.clone()));
        app.tasks.spawn(hear_presence(app.clone(), hard_stop.clone()));
        app.tasks.spawn(tell_presence(app.clone(), hard_stop.clone()));
        follow_with_the_index(&app);
        app.tasks.spawn(watch_connection(app.clone(), hard_stop));
        let router = router(&app, metrics, ready);
        Ok(Self { app, router })
    }

    /// For the workers in the same process.
    pub fn lanes(&self) -> Lanes {
        self.app.lanes.clone()
    }

    /// Serves until the soft stop; then asks connections to go and lets requests finish, for `shutdown_seconds` at most.
    ///
    /// # Errors
    /// The files of TLS are of no use.
    pub async fn serve(self, listener: TcpListener) -> Result<(), TlsError> {
        let (app, stop) = (self.app.clone(), self.app.stop.clone());
        let config = &app.config;
        let tls = config.has_tls().then(|| Tls::start(&config.tls_certificate, &config.tls_key, stop.clone()));
        let server = edge::serve(listener, self.router, config, tls.transpose()?, stop.clone());
        let limit = Duration::from_secs(app.config.shutdown_seconds);
        let deadline = async {
            stop.cancelled().await;
            app.connections.close_all(CloseCode::GoingAway);
            let gone = async {
                while !app.connections.is_empty() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            // Connections that do not go are ended by the hard stop.
            let _ = tokio::time::timeout(limit, gone).await;
        };
        let served = async {
            tokio::select! {
                () = server => {}
                () = async { stop.cancelled().await; tokio::time::sleep(limit).await; } => {}
            }
        };
        tokio::join!(served, deadline);
        Ok(())
    }
}

/// Nothing waits for the index: it ends with the soft stop.
fn follow_with_the_index(app: &App) {
    let (config, log, db, stop) = (&app.search.config, &app.log, &app.db, &app.stop);
    app.tasks.spawn(search::upkeep(Arc::clone(log), db.clone(), config.clone(), stop.clone()));
    if config.enabled {
        let indexer = Indexer::of(db.clone(), Arc::clone(&app.keys));
        let traffic = Arc::clone(&app.hub.traffic);
        app.tasks.spawn(search::follow(Arc::clone(log), indexer, config.clone(), traffic, stop.clone()));
    }
}

fn router(app: &App, metrics: Option<MetricsText>, ready: ReadyCheck) -> Router {
    let (api, document) = openapi::routes().split_for_parts();
    let timeout = Duration::from_secs(app.config.request_timeout_seconds);
    let cookies = edge::Cookies::new(&app.config, app.auth.refresh_token_days.saturating_mul(86_400));
    let api = api
        .layer(middleware::from_fn_with_state(app.clone(), limit_requests))
        .layer(middleware::from_fn(operations::measure))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, timeout))
        .layer(DefaultBodyLimit::max(app.config.max_body_bytes));
    Router::new()
        .merge(api)
        .route("/ws", any(websocket))
        .route("/ws/public/{channel}", any(public_websocket))
        .with_state(app.clone())
        .merge(operations::router(app, metrics, ready))
        .merge(openapi::docs(openapi::complete(document)))
        .fallback(|| async {
            respond(&Problem::new(
                ProblemKind::NotFound,
                "There is nothing at this address. See /docs for what there is.",
            ))
        })
        .method_not_allowed_fallback(|| async {
            respond(&Problem::new(ProblemKind::MethodNotAllowed, "This address does not take this method. See /docs."))
        })
        .layer(middleware::from_fn_with_state(cookies, edge::cookie_sessions))
        .layer(middleware::from_fn(complete_problem))
        .layer(edge::cors(&app.config))
        .layer(CatchPanicLayer::custom(|_| {
            respond(&Problem::new(ProblemKind::Internal, "The server could not do this. The cause is in its log."))
        }))
        .layer(middleware::from_fn_with_state(app.config.is_behind_tls(), edge::security_headers))
        .layer(
            // The path without the query: nothing that a client puts there by mistake gets into the log.
            TraceLayer::new_for_http().make_span_with(|request: &Request<_>| {
                let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok());
                let client =
                    request.extensions().get::<ClientAddress>().map(|client| tracing::field::display(client.0));
                let (method, path) = (request.method(), request.uri().path());
                tracing::info_span!("request", %method, path, client, request_id = id)
            }),
        )
        .layer(middleware::from_fn_with_state(app.config.proxies(), edge::note_client_address))
        .layer(PropagateRequestIdLayer::new(X_REQUEST_ID))
        .layer(SetRequestIdLayer::new(X_REQUEST_ID, MakeRequestUuid))
        .layer(middleware::from_fn(own_request_id))
}

/// Request ids are ours: a client's own could forge log lines.
async fn own_request_id(mut request: Request<axum::body::Body>, next: Next) -> Response {
    request.headers_mut().remove(X_REQUEST_ID);
    next.run(request).await
}

/// Gives every error the problem shape, and server errors their request id.
async fn complete_problem(request: Request<axum::body::Body>, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok().map(str::to_owned));
    let response = next.run(request).await;
    let status = response.status();
    let is_problem =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    let mut problem = if status.is_server_error() && is_problem {
        let Ok(body) = axum::body::to_bytes(response.into_body(), 64 * 1024).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem,
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    } else if status == StatusCode::SERVICE_UNAVAILABLE && !response.headers().contains_key(header::CONTENT_TYPE) {
        // The time-out's answer has no body.
        Problem::new(
            ProblemKind::OutcomeUnknown,
            "The server did not finish this in time. It may or may not have been done.",
        )
    } else if status == StatusCode::PAYLOAD_TOO_LARGE && !is_problem {
        Problem::new(ProblemKind::BodyTooLarge, "The body is larger than this server takes. Send less at once.")
    } else {
        return response;
    };
    if problem.status >= 500 {
        problem.request_id = id;
    }
    respond(&problem)
}

/// Notices of workers and other gateways, for as long as the process lives. Until they are heard the gateway is not ready.
async fn hear_notices(app: App, stop: CancellationToken) {
    let mut connection = app.log.connection();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            up = connection.wait_for(|connection| connection.up) => if up.is_err() { return },
        }
        match subscribe(&app).await {
            Ok((stored, control)) => {
                catch_up(&app).await;
                app.hears_notices.store(true, Ordering::Release);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = listen(&app, stored, control) => {}
                }
                app.hears_notices.store(false, Ordering::Release);
            }
            Err(error) => tracing::warn!(error, "notices cannot be heard yet"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
}

/// Notices may have been missed: asks the store for what they would have said.
async fn catch_up(app: &App) {
    app.lanes.ask_store();
    if app.connections.is_empty() {
        return;
    }
    if let Err(error) = resync(app).await {
        tracing::warn!(%error, "neither notices nor the store can be asked: connections have to resume");
        app.connections.close_all(CloseCode::TryAgainLater);
    }
}

async fn subscribe(app: &App) -> Result<(LiveSubscription, LiveSubscription), String> {
    let mut subscriptions = Vec::new();
    for subject in [StoredNotice::SUBJECT, ControlNotice::SUBJECT] {
        let subject = Subject::pattern(subject).map_err(|error| error.to_string())?;
        subscriptions.push(app.live.subscribe(subject).await.map_err(|error| error.to_string())?);
    }
    match (subscriptions.pop(), subscriptions.pop()) {
        (Some(control), Some(stored)) => Ok((stored, control)),
        _ => Err("no subscription".to_owned()),
    }
}

async fn listen(app: &App, mut stored: LiveSubscription, mut control: LiveSubscription) {
    loop {
        let (item, is_stored) = tokio::select! {
            item = stored.recv() => (item, true),
            item = control.recv() => (item, false),
        };
        match item {
            Some(LiveItem::Lost) if is_stored => app.lanes.ask_store(),
            Some(LiveItem::Lost) => catch_up(app).await,
            Some(LiveItem::Message(message)) if is_stored => {
                match serde_json::from_slice::<StoredNotice>(&message.payload) {
                    Ok(notice) => {
                        app.lanes.stored(&notice);
                        app.hub.stored(&notice);
                    }
                    Err(error) => tracing::error!(%error, "an unreadable notice was dropped"),
                }
            }
            Some(LiveItem::Message(message)) => match serde_json::from_slice(&message.payload) {
                Ok(notice) => hear(app, notice),
                Err(error) => tracing::error!(%error, "an unreadable notice was dropped"),
            },
            None => return,
        }
    }
}

/// Keys of what has disappeared are wiped within a second.
async fn drop_expired_keys(app: App, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_some() {
        app.keys.drop_expired();
    }
}

/// After a reconnect of the bus, every room looks at its head itself.
async fn watch_connection(app: App, stop: CancellationToken) {
    let mut connection = app.log.connection();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = connection.changed() => if changed.is_err() { return },
        }
        if connection.borrow_and_update().up {
            app.hub.check_all();
        }
    }
}
