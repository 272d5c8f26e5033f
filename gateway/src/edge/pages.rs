//! Pages of this server: one file and its script, which need nothing from elsewhere.

use axum::Router;
use axum::http::header;
use axum::routing::get;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A page, and the script that it loads: each an address and the text that is there.
pub fn own_page((at, page): (&str, &'static str), (script_at, script): (&str, &'static str)) -> Router {
    let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    let javascript = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    Router::new()
        .route(at, get(move || async move { (html, page) }))
        .route(script_at, get(move || async move { (javascript, script) }))
}
