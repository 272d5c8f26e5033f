//! The live side: who is connected, what they see, and the WebSocket protocol.
//!
//! Promised to each connection: every event of its conversations exactly once and in the order of seq, from where it started,
//! or a close code that tells it to resume. A [`Room`](room::Room) keeps that order for all connections of one conversation in this process;
//! events come to it from the local lane at once and from the delivery workers through the bus, and a hole is filled
//! from the log or the store before anything after it is sent.

mod announce;
mod connection;
mod connections;
mod hub;
mod inbound;
mod render;
mod resume;
mod room;
mod shown;
mod socket;

pub use announce::{announce, hear, notify};
pub use connection::{Connection, encode};
pub use connections::Connections;
pub use hub::Hub;
pub use inbound::join;
pub use render::render;
pub use resume::{follow_from_now, resync};
pub use socket::handler as websocket;
