//! The page that links in mails lead to. It needs nothing but this server, and does nothing before a button is pressed.

use axum::Router;
use axum::http::header;
use axum::routing::get;

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// `/mail` and its script.
pub fn page() -> Router {
    let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    let script = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    Router::new()
        .route("/mail", get(move || async move { (html, PAGE) }))
        .route("/mail.js", get(move || async move { (script, SCRIPT) }))
}
