//! Taking connections. `axum::serve` has no time limit for headers and no TLS, so the loop is here: one task for each connection.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::client_address::{Peer, TrustedProxies};
use super::connection::Connection;
use super::places::{Full, Place, Places};
use super::tls::Tls;
use crate::config::GatewayConfig;

/// A process that is out of file descriptors gets some back when connections end.
const PAUSE: Duration = Duration::from_millis(500);

/// For requests beside the WebSockets that `max_connections` counts.
fn most_connections(config: &GatewayConfig) -> usize {
    config.max_connections.saturating_add(config.max_connections / 4).saturating_add(1024)
}

#[derive(Clone)]
struct Edge {
    router: Router,
    tls: Option<Tls>,
    proxies: TrustedProxies,
    header_timeout: Duration,
    stop: CancellationToken,
}

/// Serves `router` until `stop`; returns when the requests that were under way then are answered. WebSockets are their own.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &GatewayConfig,
    tls: Option<Tls>,
    stop: CancellationToken,
) {
    let edge = Edge {
        router,
        tls,
        proxies: config.proxies(),
        header_timeout: Duration::from_secs(config.header_timeout_seconds),
        stop: stop.clone(),
    };
    let places = Places::new(most_connections(config), config.max_connections_per_address);
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let limited = !edge.proxies.contains(peer.ip());
                match places.take(peer.ip(), limited) {
                    Ok(place) => drop(tasks.spawn(edge.clone().run(stream, peer, place))),
                    Err(full) => refuse(peer, full),
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "connections cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // From now on nobody can connect.
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// The connection is closed by dropping it: an answer would cost what the limit saves.
fn refuse(peer: SocketAddr, full: Full) {
    metrics::counter!("sealpost_connections_refused_total").increment(1);
    match full {
        Full::All => tracing::warn!("a connection was closed at once: this process has all that it may have"),
        Full::Address => tracing::warn!(
            address = %peer.ip(),
            "a connection was closed at once: its address has gateway.max_connections_per_address. \
             If it is a reverse proxy, name it in gateway.trusted_proxies"
        ),
    }
}

fn is_of_one_connection(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

impl Edge {
    async fn run(self, stream: TcpStream, peer: SocketAddr, place: Place) {
        // Small frames must not wait for the acknowledgement of the ones before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let connection = match &self.tls {
            None => Connection::plain(stream, place),
            Some(tls) => {
                let shake = tokio::time::timeout(self.header_timeout, tls.accept(stream));
                let shaken = tokio::select! {
                    () = self.stop.cancelled() => return,
                    shaken = shake => shaken,
                };
                match shaken {
                    Ok(Ok(stream)) => Connection::tls(stream, place),
                    Ok(Err(error)) => return tracing::debug!(%error, %peer, "no TLS handshake"),
                    Err(_) => return tracing::debug!(%peer, "the TLS handshake took too long"),
                }
            }
        };
        let service = self.router.map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .serve_connection(TokioIo::new(connection), TowerToHyperService::new(service))
            .with_upgrades();
        let mut served = pin!(served);
        let result = tokio::select! {
            result = served.as_mut() => result,
            () = self.stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, %peer, "a connection ended early");
        }
    }
}
