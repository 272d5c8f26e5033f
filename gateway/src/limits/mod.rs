//! How much of this server one client can take.
//!
//! - **Rates** ([`Limits`]): requests by class. Where a user is known the limit is theirs, wherever they ask from; requests that begin
//!   or renew a session are counted by address. Answers say where a client stands (`RateLimit`), refusals when to come again (`Retry-After`).
//!   Frames on WebSockets count with the requests that do the same, whatever number of connections they come on; what is refused is
//!   answered by an error with `retry_after_ms`, and the connection is not read for so long (`attack_21_a_flood_of_frames_is_slowed_down`).
//! - **Delays** ([`Throttle`]): after failed sign-ins, growing, for the one who failed. Never a lock: a stranger's failures do not keep
//!   out who comes from an address that the account was signed in from before.
//!
//! Both count in this process; with several gateways a client can take as many times as much. All maps are bounded.

mod config;
mod layer;
mod rates;
mod throttle;

pub use config::LimitsConfig;
pub use layer::{Standing, limit_requests, too_many};
pub use rates::{Class, Limits};
pub use throttle::{Attempt, Throttle};
