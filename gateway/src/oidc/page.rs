//! The page that providers send browsers back to.

use axum::Router;

use crate::edge::own_page;

/// `/oidc/{provider}` and its script.
pub fn page() -> Router {
    own_page(("/oidc/{provider}", include_str!("page.html")), ("/oidc.js", include_str!("page.js")))
}
