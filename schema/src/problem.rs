//! Errors as clients see them: RFC 9457 `application/problem+json`, from a closed catalogue with stable types.

use serde::{Deserialize, Serialize};

/// An error reply. `type` is stable and meant for programs, `detail` says to a person what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// Names this request in the server's log; present on server errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Seconds to wait before the same is tried again; the header `Retry-After` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Milliseconds to wait before the same frame is sent again; on WebSockets, where limits are counted finer than seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

macro_rules! catalogue {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// The catalogue. On the wire: `urn:sealpost:problem:<name>`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ProblemKind {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl ProblemKind {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable type.
            pub fn uri(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }

            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

catalogue! {
    /// The body or frame is not JSON, or not of the documented shape.
    Malformed = "urn:sealpost:problem:malformed", 400, "The request could not be read";
    /// A path, query or body value is outside its limits.
    Invalid = "urn:sealpost:problem:invalid", 422, "A value is not allowed";
    /// A frame type that this server does not know.
    UnknownFrame = "urn:sealpost:problem:unknown-frame", 400, "Unknown frame type";
    /// A frame type that stands for something which comes later.
    ReservedFrame = "urn:sealpost:problem:reserved-frame", 400, "The frame's type is reserved";
    FrameTooLarge = "urn:sealpost:problem:frame-too-large", 413, "The frame is too large";
    BodyTooLarge = "urn:sealpost:problem:body-too-large", 413, "The body is too large";
    UnsupportedMediaType = "urn:sealpost:problem:unsupported-media-type", 415, "Unsupported media type";
    /// No token, or one that is not valid.
    Unauthenticated = "urn:sealpost:problem:unauthenticated", 401, "Not signed in";
    TokenExpired = "urn:sealpost:problem:token-expired", 401, "The access token has expired";
    /// Wrong user name or password; which of them is not said.
    WrongCredentials = "urn:sealpost:problem:wrong-credentials", 401, "Wrong user name or password";
    /// A code of a second factor that is wrong, used, or too late.
    WrongCode = "urn:sealpost:problem:wrong-code", 401, "The code is not good";
    /// A passkey that is not known, is another one's, or did not sign what it should.
    PasskeyRefused = "urn:sealpost:problem:passkey-refused", 401, "The passkey is not good";
    RefreshRefused = "urn:sealpost:problem:refresh-refused", 401, "The refresh token is not valid";
    /// A link of a mail that was used, is too old, or is for something else.
    LinkRefused = "urn:sealpost:problem:link-refused", 403, "The link is not good";
    /// It takes a password, or a session that has just begun.
    ProofNeeded = "urn:sealpost:problem:proof-needed", 403, "Prove again that it is you";
    /// What came back from a sign-in provider is not good, or was not asked for by this browser.
    ProviderRefused = "urn:sealpost:problem:provider-refused", 403, "The sign-in with the provider is not good";
    /// The provider vouches for somebody who has no account here.
    UnknownIdentity = "urn:sealpost:problem:unknown-identity", 403, "No account here belongs to this one";
    /// Signed in by cookie, but not shown to come from a page that may.
    CrossSiteRequest = "urn:sealpost:problem:cross-site-request", 403, "Another site may have made this request";
    ForeignOrigin = "urn:sealpost:problem:foreign-origin", 403, "Origin not allowed";
    /// An invitation to sign up, or a link to join a conversation, that is not good.
    InvitationRefused = "urn:sealpost:problem:invitation-refused", 403, "The invitation is not good";
    /// You can see it, but your role does not allow this.
    Forbidden = "urn:sealpost:problem:forbidden", 403, "Not allowed";
    /// It does not exist, or you may not see it.
    NotFound = "urn:sealpost:problem:not-found", 404, "Not found";
    UnknownRecipient = "urn:sealpost:problem:unknown-recipient", 404, "Unknown recipient";
    MethodNotAllowed = "urn:sealpost:problem:method-not-allowed", 405, "Method not allowed";
    SecondFactorOn = "urn:sealpost:problem:second-factor-on", 409, "The second factor cannot be switched on now";
    SecondFactorOff = "urn:sealpost:problem:second-factor-off", 409, "There is no second factor";
    /// The server has no address that passkeys could belong to.
    PasskeysOff = "urn:sealpost:problem:passkeys-off", 409, "This server has no passkeys";
    /// Whoever runs the server has switched it off.
    SearchOff = "urn:sealpost:problem:search-off", 409, "This server does not search";
    /// The server has no key for the secrets of webhooks.
    WebhooksOff = "urn:sealpost:problem:webhooks-off", 409, "This server has no webhooks";
    TooManyPasskeys = "urn:sealpost:problem:too-many-passkeys", 409, "There are too many passkeys";
    /// Without it nobody could sign in to this account any more.
    LastWayIn = "urn:sealpost:problem:last-way-in", 409, "The last way to sign in cannot go";
    IdentityTaken = "urn:sealpost:problem:identity-taken", 409, "The provider's account belongs to another one here";
    UsernameTaken = "urn:sealpost:problem:username-taken", 409, "The user name is taken";
    ChannelNameTaken = "urn:sealpost:problem:channel-name-taken", 409, "The public name is taken";
    /// The same client message id came with another text.
    ClientMessageIdReused = "urn:sealpost:problem:client-message-id-reused", 409, "The client message id was used for another message";
    /// It had been deleted when the change would have got its number.
    MessageDeleted = "urn:sealpost:problem:message-deleted", 409, "The message is deleted";
    TooManyReactions = "urn:sealpost:problem:too-many-reactions", 409, "Too many different reactions";
    TooManyPins = "urn:sealpost:problem:too-many-pins", 409, "Too many pinned messages";
    /// A scheduled message that is being sent, or was.
    AlreadySent = "urn:sealpost:problem:already-sent", 409, "The message is being sent, or was sent";
    TooManyScheduled = "urn:sealpost:problem:too-many-scheduled", 409, "Too many scheduled messages";
    LastOwner = "urn:sealpost:problem:last-owner", 409, "The last owner cannot go";
    EmptyText = "urn:sealpost:problem:empty-text", 422, "The text is empty";
    TextTooLong = "urn:sealpost:problem:text-too-long", 422, "The text is too long";
    WeakPassword = "urn:sealpost:problem:weak-password", 422, "The password is too weak";
    SeqOutOfRange = "urn:sealpost:problem:seq-out-of-range", 422, "The seq is out of range";
    TooManyRequests = "urn:sealpost:problem:too-many-requests", 429, "Too many requests";
    Internal = "urn:sealpost:problem:internal", 500, "Something failed on the server";
    /// The event log did not answer in time: the message may or may not have been taken.
    OutcomeUnknown = "urn:sealpost:problem:outcome-unknown", 503, "It is not known whether the message was taken";
    /// The change is decided and recorded, and takes effect when the event log is back.
    Pending = "urn:sealpost:problem:pending", 503, "Recorded, not yet in effect";
    /// A sign-in provider does not answer, or not as it should.
    ProviderUnavailable = "urn:sealpost:problem:provider-unavailable", 503, "The sign-in provider does not answer";
    /// The event log or the store is away or behind; nothing was taken.
    Unavailable = "urn:sealpost:problem:unavailable", 503, "Temporarily unavailable";
}

/// By hand: the derive does not see names that come out of a macro.
impl utoipa::PartialSchema for ProblemKind {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .enum_values(Some(Self::ALL.iter().map(|kind| kind.uri())))
            .description(Some("The catalogue. On the wire: `urn:sealpost:problem:<name>`."))
            .into()
    }
}

impl utoipa::ToSchema for ProblemKind {}

impl Problem {
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            request_id: None,
            retry_after: None,
            retry_after_ms: None,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.uri(), self.detail)
    }
}

impl std::error::Error for Problem {}
