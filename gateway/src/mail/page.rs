//! The page that links in mails lead to. It needs nothing but this server, and does nothing before a button is pressed.

use axum::Router;

use crate::edge::own_page;

/// `/mail` and its script.
pub fn page() -> Router {
    own_page(("/mail", include_str!("page.html")), ("/mail.js", include_str!("page.js")))
}
