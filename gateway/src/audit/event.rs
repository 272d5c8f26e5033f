//! What can be recorded. A new kind is a new variant; names and fields of those that are there stay.

use sealpost_schema::{ConversationId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::accounts::ServerRole;
use crate::auth::Scope;

/// Fields are ids, numbers and enums: nothing that a person typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", content = "details", rename_all = "snake_case")]
pub enum AuditEvent {
    SignedUp {
        /// Which invitation was used.
        invitation_id: Option<Uuid>,
    },
    SignedIn {
        method: SignInMethod,
    },
    /// The row names the account, if there is one; what was typed is nowhere.
    SignInFailed {
        method: SignInMethod,
    },
    SessionsEnded {
        count: u64,
        reason: EndReason,
    },
    /// By an admin or by the operator.
    UserCreated {},
    RoleChanged {
        role: ServerRole,
    },
    UserDisabled {},
    /// A link that went to the address was used.
    EmailVerified {},
    SecondFactorEnabled {},
    SecondFactorDisabled {},
    /// The first factor was right and the code was not.
    SecondFactorFailed {
        method: SignInMethod,
    },
    /// The old ones are void.
    RecoveryCodesRenewed {},
    PasskeyAdded {
        passkey_id: Uuid,
    },
    PasskeyRemoved {
        passkey_id: Uuid,
    },
    /// Its signatures are counted, and the count fell behind: there may be a copy of it. It was refused.
    PasskeyCloned {
        passkey_id: Uuid,
    },
    /// An account at a provider, which the configuration names.
    IdentityLinked {
        provider: String,
    },
    IdentityUnlinked {
        provider: String,
    },
    UserEnabled {},
    PasswordChanged {
        by: PasswordChange,
    },
    InvitationCreated {
        invitation_id: Uuid,
        max_uses: u64,
        expires_at: Timestamp,
    },
    InvitationRevoked {
        invitation_id: Uuid,
    },
    Announced {
        announcement_id: Uuid,
    },
    AnnouncementWithdrawn {
        announcement_id: Uuid,
    },
    /// The row's session is the token's id.
    TokenCreated {
        scopes: Vec<Scope>,
    },
    TokenRevoked {},
    /// All that the account has was written out for its owner.
    DataExported {},
    ConversationExported {
        conversation_id: ConversationId,
    },
    WebhookCreated {
        webhook_id: Uuid,
        /// None: of the service account that the row names.
        conversation_id: Option<ConversationId>,
    },
    /// Its address, its kinds, or whether it is paused.
    WebhookChanged {
        webhook_id: Uuid,
    },
    WebhookSecretRotated {
        webhook_id: Uuid,
    },
    WebhookDeleted {
        webhook_id: Uuid,
    },
    /// By the server, which gave up on it. A worker writes this row, under the same name.
    WebhookDisabled {
        webhook_id: Uuid,
        /// `failed` or `not_allowed`.
        reason: String,
    },
    /// A gateway started with other keys of access tokens than the one before it. The first one signs.
    SigningKeysChanged {
        key_ids: Vec<String>,
    },
    /// A gateway started with other master keys than the one before it. The first one wraps. Ids are made of the keys and tell nothing of them.
    MasterKeysChanged {
        key_ids: Vec<String>,
    },
    /// An old refresh token came again: somebody copied it. Its session ended.
    RefreshReused {},
}

/// How somebody showed who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignInMethod {
    Password,
    /// A link in a mail.
    MagicLink,
    /// A passkey, and nothing else.
    Passkey,
    /// A provider of OpenID Connect.
    Oidc,
}

impl SignInMethod {
    /// As columns have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::MagicLink => "magic_link",
            Self::Passkey => "passkey",
            Self::Oidc => "oidc",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Password, Self::MagicLink, Self::Passkey, Self::Oidc].into_iter().find(|method| method.as_str() == text)
    }
}

/// Who gave an account a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PasswordChange {
    /// Its owner, who knew the old one.
    Owner,
    /// Its owner, by a link in a mail.
    Mail,
    Operator,
}

/// Why sessions ended before their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    SignedOut,
    /// From another session of the same user.
    EndedByUser,
    EndedByAdmin,
    PasswordChanged,
    UserDisabled,
    RefreshReused,
    /// The user had as many as the server allows: the one seen longest ago gave way.
    TooMany,
}

impl AuditEvent {
    /// The name, such as `signed_in`.
    pub fn action(&self) -> String {
        self.split().0
    }

    /// The fields, a JSON object.
    pub fn details(&self) -> Value {
        self.split().1
    }

    fn split(&self) -> (String, Value) {
        // Tagged so, an enum of plain fields is always an object with these two.
        let mut value = serde_json::to_value(self).unwrap_or_default();
        let action = value["action"].as_str().unwrap_or_default().to_owned();
        let details = value.get_mut("details").map_or_else(|| json!({}), Value::take);
        (action, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_name_and_an_object() {
        let event = AuditEvent::SignedIn { method: SignInMethod::Password };
        assert_eq!((event.action().as_str(), event.details()), ("signed_in", json!({ "method": "password" })));
        let webhook_id = Uuid::nil();
        let event = AuditEvent::WebhookDisabled { webhook_id, reason: "failed".to_owned() };
        let written = json!({ "webhook_id": webhook_id, "reason": "failed" });
        assert_eq!(
            (event.action().as_str(), event.details()),
            ("webhook_disabled", written),
            "as the worker writes it"
        );
        let event = AuditEvent::RefreshReused {};
        assert_eq!((event.action().as_str(), event.details()), ("refresh_reused", json!({})));
    }
}
