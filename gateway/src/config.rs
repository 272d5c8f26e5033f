//! The gateway's section of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::edge::{ProxyHeader, TrustedProxies};

/// Section `[gateway]`. Sizes are in bytes, times in the unit of their name.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Address under which people reach this server, such as `https://chat.example.org`; empty: not known. Links in mails begin
    /// with it, and if it is `https`, browsers are told to come back that way only.
    pub public_url: String,
    /// Certificate chain and private key, PEM. Empty: no TLS here. They are read again when they change.
    pub tls_certificate: PathBuf,
    pub tls_key: PathBuf,
    /// Networks of reverse proxies, such as `10.0.0.0/8`: their word about a client's address is taken.
    pub trusted_proxies: Vec<String>,
    /// The header in which they give it.
    pub proxy_header: ProxyHeader,
    /// Origins of browsers that may use the API and open a WebSocket, such as `https://chat.example.org`. Programs send none.
    pub allowed_origins: Vec<String>,
    /// Longest text of a message.
    pub max_text_bytes: usize,
    /// Longest WebSocket frame.
    pub max_frame_bytes: usize,
    /// Longest request body.
    pub max_body_bytes: usize,
    /// A TLS handshake, and the header of a request, take at most this long. Idle connections are closed after it.
    pub header_timeout_seconds: u64,
    /// A REST request takes at most this long.
    pub request_timeout_seconds: u64,
    /// Open WebSockets of this process.
    pub max_connections: usize,
    /// Open WebSockets of one user in this process.
    pub max_connections_per_user: usize,
    /// Open connections of any kind from one address (of IPv6: from one /64) in this process; trusted proxies may have more.
    pub max_connections_per_address: usize,
    /// Readers of public channels without an account, in this process and from one address (of IPv6: from one /64).
    pub max_public_readers: usize,
    pub max_public_readers_per_address: usize,
    /// Messages of one connection that wait for their acknowledgement; beyond it the connection is not read.
    pub max_in_flight: usize,
    /// Frames waiting to be written to one connection; beyond it the connection is closed with 4008.
    pub send_queue_frames: usize,
    /// The same in bytes.
    pub send_queue_bytes: usize,
    /// The server pings a connection this often, and closes it when nothing came for two and a half times as long.
    pub heartbeat_seconds: u64,
    /// A connection without a token has this long to authenticate.
    pub authenticate_seconds: u64,
    /// Missed events sent per conversation at a resume; beyond it a `gap` frame.
    pub max_resume_events: usize,
    /// Missed events sent at one resume, of all conversations; beyond it `gap` frames.
    pub max_resume_total: usize,
    /// Resumes that read events at once in this process; the others wait.
    pub max_resumes: usize,
    /// Conversation keys kept unwrapped in memory.
    pub max_cached_keys: usize,
    /// Participants of one conversation.
    pub max_participants: usize,
    /// The soft phase of a stop: connections are asked to go, requests may finish.
    pub shutdown_seconds: u64,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: String::new(),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            trusted_proxies: Vec::new(),
            proxy_header: ProxyHeader::XForwardedFor,
            allowed_origins: Vec::new(),
            max_text_bytes: 16 * 1024,
            max_frame_bytes: 64 * 1024,
            max_body_bytes: 64 * 1024,
            header_timeout_seconds: 30,
            request_timeout_seconds: 30,
            max_connections: 50_000,
            max_connections_per_user: 50,
            max_connections_per_address: 1000,
            max_public_readers: 5_000,
            max_public_readers_per_address: 20,
            max_in_flight: 64,
            send_queue_frames: 1024,
            send_queue_bytes: 1024 * 1024,
            heartbeat_seconds: 4,
            authenticate_seconds: 5,
            max_resume_events: 1000,
            max_resume_total: 10_000,
            max_resumes: 16,
            max_cached_keys: 50_000,
            max_participants: 10_000,
            shutdown_seconds: 10,
        }
    }
}

impl GatewayConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut at_least = |key: &str, value: usize, least: usize| {
            if value < least {
                wrong.push(format!("gateway.{key} is {value}: use {least} or more"));
            }
        };
        at_least("max_text_bytes", self.max_text_bytes, 1);
        // JSON may need six characters for one byte of text.
        at_least("max_body_bytes", self.max_body_bytes, self.max_text_bytes + 1024);
        at_least("max_frame_bytes", self.max_frame_bytes, self.max_text_bytes + 1024);
        at_least("max_connections", self.max_connections, 1);
        at_least("max_connections_per_user", self.max_connections_per_user, 1);
        at_least("max_connections_per_address", self.max_connections_per_address, 1);
        at_least("max_public_readers", self.max_public_readers, 1);
        at_least("max_public_readers_per_address", self.max_public_readers_per_address, 1);
        at_least("max_in_flight", self.max_in_flight, 1);
        at_least("send_queue_frames", self.send_queue_frames, 16);
        at_least("send_queue_bytes", self.send_queue_bytes, self.max_frame_bytes);
        at_least("max_resumes", self.max_resumes, 1);
        at_least("max_cached_keys", self.max_cached_keys, 1);
        at_least("max_participants", self.max_participants, 2);
        for (key, value) in [
            ("heartbeat_seconds", self.heartbeat_seconds),
            ("authenticate_seconds", self.authenticate_seconds),
            ("header_timeout_seconds", self.header_timeout_seconds),
            ("request_timeout_seconds", self.request_timeout_seconds),
        ] {
            at_least(key, usize::try_from(value).unwrap_or(usize::MAX), 1);
        }
        for origin in &self.allowed_origins {
            if !is_origin(origin) {
                wrong.push(format!("gateway.allowed_origins has `{origin}`: write scheme and host only, such as `https://chat.example.org`"));
            }
        }
        self.check_addresses(&mut wrong);
        wrong
    }

    fn check_addresses(&self, wrong: &mut Vec<String>) {
        if !self.public_url.is_empty() && !is_origin(&self.public_url) {
            wrong.push(format!(
                "gateway.public_url is `{}`: write scheme and host only, such as `https://chat.example.org`",
                self.public_url
            ));
        }
        if self.tls_certificate.as_os_str().is_empty() != self.tls_key.as_os_str().is_empty() {
            wrong.push("gateway.tls_certificate and gateway.tls_key belong together: set both or none".to_owned());
        }
        for network in TrustedProxies::parse(&self.trusted_proxies, self.proxy_header).err().unwrap_or_default() {
            wrong.push(format!(
                "gateway.trusted_proxies has `{network}`: write a network such as `10.0.0.0/8`, or an address"
            ));
        }
    }

    /// Those of a valid configuration; else nobody is trusted.
    pub fn proxies(&self) -> TrustedProxies {
        TrustedProxies::parse(&self.trusted_proxies, self.proxy_header).unwrap_or_default()
    }

    pub fn has_tls(&self) -> bool {
        !self.tls_certificate.as_os_str().is_empty()
    }

    /// How addresses of this server begin. Never taken from a request.
    pub fn base_url(&self) -> String {
        if self.public_url.is_empty() {
            let scheme = if self.has_tls() { "https" } else { "http" };
            return format!("{scheme}://{}", self.listen);
        }
        self.public_url.clone()
    }

    /// Whether people reach this server by `https`, by itself or through a proxy.
    pub fn is_behind_tls(&self) -> bool {
        self.has_tls() || self.public_url.starts_with("https://")
    }
}

/// Scheme and host, with a port or without.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(|c: char| "/?#@\\".contains(c) || c.is_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(GatewayConfig::default().validate(), Vec::<String>::new());
    }

    #[test]
    fn mistakes_in_addresses_are_named() {
        let config = GatewayConfig {
            public_url: "chat.example.org".to_owned(),
            tls_key: "key.pem".into(),
            trusted_proxies: vec!["proxy".to_owned()],
            allowed_origins: vec!["https://a.example/".to_owned(), "https://b.example".to_owned()],
            ..GatewayConfig::default()
        };
        let wrong = config.validate();
        assert_eq!(wrong.len(), 4, "{wrong:#?}");
        for origin in ["https://a/b", "https://", "ftp://a", "https://a@b", "https://a?b", "//a"] {
            assert!(!is_origin(origin), "{origin}");
        }
        assert!(is_origin("http://127.0.0.1:8080") && is_origin("https://[::1]:1"));
    }
}
