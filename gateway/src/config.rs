//! The gateway's section of the configuration.

use std::net::SocketAddr;

use serde::Deserialize;

/// Section `[gateway]`. Sizes are in bytes, times in the unit of their name.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Origins of browsers that may use the API and open a WebSocket, such as `https://chat.example.org`. Programs send none.
    pub allowed_origins: Vec<String>,
    /// Longest text of a message.
    pub max_text_bytes: usize,
    /// Longest WebSocket frame.
    pub max_frame_bytes: usize,
    /// Longest request body.
    pub max_body_bytes: usize,
    /// A REST request takes at most this long.
    pub request_timeout_seconds: u64,
    /// Open WebSockets of this process.
    pub max_connections: usize,
    /// Open WebSockets of one user in this process.
    pub max_connections_per_user: usize,
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
    /// Resumes under way at once in this process; the others wait.
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
            allowed_origins: Vec::new(),
            max_text_bytes: 16 * 1024,
            max_frame_bytes: 64 * 1024,
            max_body_bytes: 64 * 1024,
            request_timeout_seconds: 30,
            max_connections: 50_000,
            max_connections_per_user: 50,
            max_in_flight: 64,
            send_queue_frames: 1024,
            send_queue_bytes: 1024 * 1024,
            heartbeat_seconds: 20,
            authenticate_seconds: 5,
            max_resume_events: 1000,
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
        at_least("max_in_flight", self.max_in_flight, 1);
        at_least("send_queue_frames", self.send_queue_frames, 16);
        at_least("send_queue_bytes", self.send_queue_bytes, self.max_frame_bytes);
        at_least("max_resumes", self.max_resumes, 1);
        at_least("max_cached_keys", self.max_cached_keys, 1);
        at_least("max_participants", self.max_participants, 2);
        for (key, value) in [
            ("heartbeat_seconds", self.heartbeat_seconds),
            ("authenticate_seconds", self.authenticate_seconds),
            ("request_timeout_seconds", self.request_timeout_seconds),
        ] {
            at_least(key, usize::try_from(value).unwrap_or(usize::MAX), 1);
        }
        for origin in &self.allowed_origins {
            let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if rest.is_none_or(|host| host.is_empty() || host.contains('/')) {
                wrong.push(format!("gateway.allowed_origins has `{origin}`: write scheme and host only, such as `https://chat.example.org`"));
            }
        }
        wrong
    }
}
