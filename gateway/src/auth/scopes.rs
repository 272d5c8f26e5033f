//! What a token of a service account may do.
//!
//! Everything that is not named here is refused to tokens: accounts, sessions, administration. So a route that is added later is
//! closed to them until somebody decides. Whom an account blocks is decided by whoever can sign in to it, and so is what its webhooks
//! are: an address outlives the token that named it.

use std::collections::HashSet;

use axum::http::Method;
use sealpost_schema::{ConversationId, ProblemKind, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::problem::{ApiError, ApiResult};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// See conversations, messages and users; get live events; set read watermarks.
    Read,
    /// Send, edit and delete messages, react to them, pin them: as far as the account's role allows.
    Send,
    /// Create, rename and delete conversations, add and remove participants: as far as the account's role allows.
    Manage,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Send => "send",
            Self::Manage => "manage",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Send, Self::Manage].into_iter().find(|scope| scope.as_str() == text)
    }
}

/// A token that is good, as it is remembered.
#[derive(Debug)]
pub struct Grant {
    /// Stands where others have a session.
    pub token_id: SessionId,
    pub user_id: UserId,
    pub secret_hash: Vec<u8>,
    pub scopes: Vec<Scope>,
    /// None: all that the account takes part in.
    pub conversations: Option<HashSet<ConversationId>>,
    pub expires_at: Timestamp,
    pub changed_at: Timestamp,
}

impl Grant {
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    pub fn reaches(&self, conversation: ConversationId) -> bool {
        self.conversations.as_ref().is_none_or(|chosen| chosen.contains(&conversation))
    }

    /// Whether a frame of this scope about this conversation is allowed.
    pub fn check(&self, scope: Scope, conversation: ConversationId) -> ApiResult<()> {
        if !self.has(scope) {
            return Err(lacks(scope));
        }
        if !self.reaches(conversation) {
            return Err(ApiError::not_found("conversation"));
        }
        Ok(())
    }

    /// Whether a request is allowed. `path`: as it was sent, with or without `/api`.
    pub fn check_request(&self, method: &Method, path: &str) -> ApiResult<()> {
        let path = path.strip_prefix("/api").unwrap_or(path);
        let segments: Vec<_> = path.strip_prefix('/').unwrap_or_default().split('/').collect();
        let (scope, conversation) = match (method.as_str(), segments.as_slice()) {
            (
                "GET" | "HEAD",
                ["auth", "me"] | ["users" | "conversations" | "channels" | "announcements" | "search"] | ["users", _],
            ) => (Scope::Read, None),
            ("PUT", ["messages", _, "thread"])
            | (
                "GET" | "HEAD",
                ["mentions" | "drafts" | "scheduled"]
                | ["messages", _]
                | ["messages", _, "edits" | "reactions" | "receipts" | "thread"],
            ) => (Scope::Read, Some(None)),
            ("PUT" | "DELETE", ["messages", _] | ["messages", _, "pin"])
            | ("PATCH" | "DELETE", ["scheduled", _])
            | ("POST", ["messages", _, "reactions"])
            | ("DELETE", ["messages", _, "reactions", _]) => (Scope::Send, Some(None)),
            // A link lets strangers in, and seeing links is for those who may make some.
            (_, ["conversations", id, "invites", ..]) => (Scope::Manage, Some(id.parse().ok())),
            ("GET" | "HEAD", ["conversations", id, ..])
            | ("PUT", ["conversations", id, "read"])
            | ("PATCH", ["conversations", id, "state"]) => (Scope::Read, Some(id.parse().ok())),
            ("POST", ["conversations", id, "messages" | "scheduled"])
            | ("PUT" | "DELETE", ["conversations", id, "draft"]) => (Scope::Send, Some(id.parse().ok())),
            ("POST", ["conversations"] | ["invites", "join"]) => (Scope::Manage, Some(None)),
            ("POST", ["channels", id, "join"]) | (_, ["conversations", id, ..]) => {
                (Scope::Manage, Some(id.parse().ok()))
            }
            _ => {
                return Err(ApiError::new(
                    ProblemKind::Forbidden,
                    "API tokens may not do this. Sign in, and send an access token.",
                ));
            }
        };
        if !self.has(scope) {
            return Err(lacks(scope));
        }
        match (conversation, &self.conversations) {
            (None, _) | (_, None) => Ok(()),
            (Some(Some(id)), Some(chosen)) if chosen.contains(&id) => Ok(()),
            (Some(Some(_)), Some(_)) => Err(ApiError::not_found("conversation")),
            (Some(None), Some(_)) => Err(ApiError::new(
                ProblemKind::Forbidden,
                "This API token is for chosen conversations: use the routes below /api/conversations/{conversation_id}.",
            )),
        }
    }
}

fn lacks(scope: Scope) -> ApiError {
    ApiError::new(ProblemKind::Forbidden, format!("This API token lacks the scope `{}`.", scope.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(scopes: &[Scope], conversations: Option<&[ConversationId]>) -> Grant {
        Grant {
            token_id: SessionId::new(),
            user_id: UserId::new(),
            secret_hash: Vec::new(),
            scopes: scopes.to_vec(),
            conversations: conversations.map(|ids| ids.iter().copied().collect()),
            expires_at: Timestamp::default(),
            changed_at: Timestamp::default(),
        }
    }

    fn asks(grant: &Grant, method: &Method, path: &str) -> u16 {
        grant.check_request(method, path).err().map_or(200, |error| error.0.status)
    }

    #[test]
    fn each_scope_allows_what_it_says() {
        let id = ConversationId::new();
        let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
        let asked = [
            (&get, format!("/api/conversations/{id}/messages"), Scope::Read),
            (&get, "/api/conversations".to_owned(), Scope::Read),
            (&get, "/api/messages/x".to_owned(), Scope::Read),
            (&get, "/api/channels".to_owned(), Scope::Read),
            (&get, "/api/search".to_owned(), Scope::Read),
            (&get, "/api/announcements".to_owned(), Scope::Read),
            (&post, format!("/api/channels/{id}/join"), Scope::Manage),
            (&get, "/api/auth/me".to_owned(), Scope::Read),
            (&put, format!("/api/conversations/{id}/read"), Scope::Read),
            (&Method::PATCH, format!("/api/conversations/{id}/state"), Scope::Read),
            (&post, format!("/api/conversations/{id}/messages"), Scope::Send),
            (&delete, "/api/messages/x".to_owned(), Scope::Send),
            (&put, "/api/messages/x".to_owned(), Scope::Send),
            (&get, "/api/messages/x/edits".to_owned(), Scope::Read),
            (&get, "/api/messages/x/thread".to_owned(), Scope::Read),
            (&put, "/api/messages/x/thread".to_owned(), Scope::Read),
            (&get, "/api/mentions".to_owned(), Scope::Read),
            (&get, "/api/drafts".to_owned(), Scope::Read),
            (&get, "/api/scheduled".to_owned(), Scope::Read),
            (&get, format!("/api/conversations/{id}/scheduled"), Scope::Read),
            (&post, format!("/api/conversations/{id}/scheduled"), Scope::Send),
            (&Method::PATCH, "/api/scheduled/x".to_owned(), Scope::Send),
            (&delete, "/api/scheduled/x".to_owned(), Scope::Send),
            (&put, format!("/api/conversations/{id}/draft"), Scope::Send),
            (&get, format!("/api/conversations/{id}/threads"), Scope::Read),
            (&get, "/api/messages/x/reactions".to_owned(), Scope::Read),
            (&post, "/api/messages/x/reactions".to_owned(), Scope::Send),
            (&delete, "/api/messages/x/reactions/y".to_owned(), Scope::Send),
            (&put, "/api/messages/x/pin".to_owned(), Scope::Send),
            (&get, format!("/api/conversations/{id}/pins"), Scope::Read),
            (&post, "/api/conversations".to_owned(), Scope::Manage),
            (&post, "/api/invites/join".to_owned(), Scope::Manage),
            (&get, format!("/api/conversations/{id}/invites"), Scope::Manage),
            (&put, format!("/api/conversations/{id}/participants/x"), Scope::Manage),
            (&delete, format!("/api/conversations/{id}"), Scope::Manage),
        ];
        for (method, path, needed) in asked {
            for scope in [Scope::Read, Scope::Send, Scope::Manage] {
                let expected = if scope == needed { 200 } else { 403 };
                assert_eq!(asks(&grant(&[scope], None), method, &path), expected, "{method} {path} {scope:?}");
            }
        }
    }

    #[test]
    fn accounts_and_administration_are_closed_to_tokens() {
        let all = grant(&[Scope::Read, Scope::Send, Scope::Manage], None);
        for path in [
            "/api/auth/sessions",
            "/api/admin/users",
            "/api/service-accounts",
            "/api/webhooks",
            "/api/auth/me/",
            "/ws",
            "/api/anything",
        ] {
            assert_eq!(asks(&all, &Method::GET, path), 403, "{path}");
        }
        assert_eq!(asks(&all, &Method::PATCH, "/api/auth/me"), 403);
    }

    #[test]
    fn chosen_conversations_are_all_that_it_reaches() {
        let (chosen, other) = (ConversationId::new(), ConversationId::new());
        let grant = grant(&[Scope::Read, Scope::Send, Scope::Manage], Some(&[chosen]));
        let of = |id: &dyn std::fmt::Display| format!("/api/conversations/{id}/messages");
        assert_eq!(asks(&grant, &Method::POST, &of(&chosen)), 200);
        assert_eq!(asks(&grant, &Method::POST, &format!("/conversations/{chosen}/messages")), 200);
        assert_eq!(asks(&grant, &Method::POST, &of(&other)), 404);
        assert_eq!(asks(&grant, &Method::GET, &of(&other)), 404);
        assert_eq!(asks(&grant, &Method::GET, &of(&"%30")), 403, "in no disguise");
        for (method, path) in [
            (Method::POST, "/api/conversations"),
            (Method::GET, "/api/messages/x"),
            (Method::DELETE, "/api/messages/x"),
        ] {
            assert_eq!(asks(&grant, &method, path), 403, "{path}");
        }
        assert!(grant.check(Scope::Send, chosen).is_ok());
        assert_eq!(grant.check(Scope::Send, other).unwrap_err().0.status, 404);
    }
}
