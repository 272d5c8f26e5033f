//! The database entities, the same on SQLite and Postgres, with finders that are scoped to what a user may see.
//!
//! Handlers start from the scoped finders; the bare `find()` is for workers. Moments are `BIGINT` milliseconds, ids are
//! UUIDs (16-byte blobs in SQLite).

pub mod announcement;
pub mod announcement_mark;
pub mod api_token;
pub mod audit;
pub mod avatar;
pub mod block;
pub mod code_failure;
pub mod conversation;
pub mod conversation_key;
pub mod draft;
pub mod event;
pub mod identity;
pub mod invitation;
pub mod invite_link;
pub mod kept_mail;
pub mod mail_token;
pub mod mention;
pub mod oidc_sign_in;
pub mod outbox;
pub mod participant;
pub mod passkey;
pub mod passkey_ceremony;
pub mod reaction;
pub mod recovery_code;
pub mod retention_mark;
pub mod scheduled_message;
pub mod search_message;
pub mod search_term;
pub mod session;
pub mod thread;
pub mod thread_follower;
pub mod totp;
pub mod user;
pub mod waiting_sign_in;
pub mod webhook;
pub mod webhook_cursor;
pub mod webhook_test;

mod by_place;

pub use by_place::ByPlace;
