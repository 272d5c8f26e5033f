//! The outermost layer: TCP and TLS, who is at the other end, and what browsers are told.
//!
//! Promised to everything inside:
//! - A connection that says nothing, or says it too slowly, is closed: a TLS handshake and the header of a request each
//!   have `header_timeout_seconds`. One address gets `max_connections_per_address` connections, and the process a bounded number
//!   (`attack_13_slow_headers_and_idle_connections_are_bounded` in `testing/tests/stacks/edge.rs`).
//! - The address of a client is the one that a trusted proxy names, or that of the connection; nothing that a client
//!   writes into a header counts by itself ([`ClientAddress`]).
//! - Certificates are read again when their files change, without a restart ([`Tls`]).

mod accept;
mod client_address;
mod connection;
mod cookies;
mod headers;
mod pages;
mod places;
mod tls;

pub use accept::serve;
pub use client_address::{ClientAddress, ProxyHeader, TrustedProxies, note_client_address};
pub use cookies::{BrowserKey, Cookies, browser_key_cookie, cookie_sessions};
pub use headers::{cors, security_headers};
pub use pages::own_page;
pub use places::{Place, Places};
pub use tls::{Tls, TlsError};
