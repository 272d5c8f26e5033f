//! The page that providers send browsers back to.

use axum::Router;
use axum::http::header;
use axum::routing::get;

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// `/oidc/{provider}` and its script.
pub fn page() -> Router {
    let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    let script = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    Router::new()
        .route("/oidc/{provider}", get(move || async move { (html, PAGE) }))
        .route("/oidc.js", get(move || async move { (script, SCRIPT) }))
}
