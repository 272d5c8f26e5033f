//! What is asked of a provider: what it can do, its keys, and a token for a code.
//!
//! Addresses come from the configuration and from the provider's own document, by TLS; redirections are not followed, answers are bounded in
//! size and time. What it published is kept for a quarter of an hour, and used on while the provider is away.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::JwkSet;
use sealpost_schema::{Clock, ProblemKind, Timestamp};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::config::{ProviderConfig, is_endpoint, is_local};
use super::http::{HttpClient, HttpError};
use super::id_token::{self, Claims, Expected, TokenRefusal};
use crate::problem::{ApiError, ApiResult};

/// What was published is asked for again after this.
const FRESH: Duration = Duration::from_mins(15);
/// Not more often than this, whatever tokens and failures say.
const PAUSE: Duration = Duration::from_secs(5);
/// Tokens asked for at once.
const AT_ONCE: usize = 32;

/// The provider's own description. OpenID Connect Discovery 3.
#[derive(Clone, Debug, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

#[derive(Clone)]
struct Published {
    metadata: Metadata,
    keys: JwkSet,
    at: Timestamp,
}

#[derive(Default)]
struct Known {
    published: Option<Published>,
    failed_at: Option<Timestamp>,
}

/// One provider.
pub struct Provider {
    pub name: String,
    pub config: ProviderConfig,
    redirect_uri: String,
    client: HttpClient,
    clock: Clock,
    known: Mutex<Known>,
    at_work: Semaphore,
}

/// A code, and what belongs to it.
pub struct Answer<'a> {
    pub code: &'a str,
    pub verifier: &'a str,
    pub nonce: &'a str,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

#[derive(Default, Deserialize)]
struct ErrorAnswer {
    #[serde(default)]
    error: String,
}

/// Why it cannot be asked; for the log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("it answers with status {0}")]
    Status(StatusCode),
    #[error("its answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("it calls itself `{0}`, and the configuration calls it otherwise")]
    OtherIssuer(String),
    #[error("it names an address that cannot be used: `{0}`")]
    Endpoint(String),
    #[error("it was away a moment ago")]
    Lately,
}

impl Provider {
    pub fn new(name: &str, config: &ProviderConfig, base_url: &str, client: HttpClient, clock: Clock) -> Self {
        Self {
            name: name.to_owned(),
            config: config.clone(),
            redirect_uri: format!("{base_url}/oidc/{name}"),
            client,
            clock,
            known: Mutex::default(),
            at_work: Semaphore::new(AT_ONCE),
        }
    }

    pub fn title(&self) -> &str {
        if self.config.title.is_empty() { &self.name } else { &self.config.title }
    }

    /// Where a browser is sent to sign in.
    pub async fn authorization_url(&self, state: &str, nonce: &str, challenge: &str) -> ApiResult<String> {
        let published = self.published(None).await.map_err(|failure| self.away(&failure))?;
        // Checked when it was fetched.
        let mut url =
            Url::parse(&published.metadata.authorization_endpoint).map_err(|error| ApiError::internal(&error))?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &self.config.scopes.join(" "))
            .append_pair("state", state)
            .append_pair("nonce", nonce)
            .append_pair("code_challenge", challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// Whether an answer that names its issuer (RFC 9207), or does not, can be this provider's.
    pub async fn check_issuer(&self, issuer: Option<&str>) -> ApiResult<()> {
        let published = self.published(None).await.map_err(|failure| self.away(&failure))?;
        let missing = published.metadata.authorization_response_iss_parameter_supported && issuer.is_none();
        if missing || issuer.is_some_and(|issuer| issuer != self.config.issuer) {
            return Err(refused("The answer comes from another provider than the one that was asked."));
        }
        Ok(())
    }

    /// Who a code stands for.
    pub async fn redeem(&self, answer: &Answer<'_>) -> ApiResult<Claims> {
        let Ok(_permit) = self.at_work.try_acquire() else {
            return Err(ApiError::new(ProblemKind::Unavailable, "Too many people sign in right now. Begin again."));
        };
        let published = self.published(None).await.map_err(|failure| self.away(&failure))?;
        let token = self.token(&published.metadata, answer).await?;
        let expected = Expected { issuer: &self.config.issuer, client_id: &self.config.client_id, nonce: answer.nonce };
        let mut verified = id_token::verify(&token, &published.keys, &expected, self.clock.now());
        if matches!(verified, Err(TokenRefusal::UnknownKey)) {
            let newer = self.published(Some(published.at)).await.map_err(|failure| self.away(&failure))?;
            verified = id_token::verify(&token, &newer.keys, &expected, self.clock.now());
        }
        verified.map_err(|refusal| {
            tracing::warn!(provider = self.name, %refusal, "the token of a sign-in provider was refused");
            refused("What the provider says about you is not good. Begin again; if it stays so, tell the operator of this server.")
        })
    }

    async fn token(&self, metadata: &Metadata, answer: &Answer<'_>) -> ApiResult<String> {
        let (authorization, form) = self.token_request(metadata, answer);
        let answered = self.client.post_form(&metadata.token_endpoint, authorization, form).await;
        let (status, body) = answered.map_err(|failure| self.away(&failure.into()))?;
        if status == StatusCode::OK {
            let answer: Result<TokenAnswer, _> = serde_json::from_slice(&body);
            return answer.map(|answer| answer.id_token).map_err(|error| self.away(&error.into()));
        }
        let said: ErrorAnswer = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_client_error() && said.error == "invalid_grant" {
            return Err(refused(
                "The provider does not take its code any more: it was used, or took too long. Begin again.",
            ));
        }
        // `invalid_client` and its like are for the operator to mend.
        let error: String = said.error.chars().filter(char::is_ascii_graphic).take(64).collect();
        tracing::error!(provider = self.name, %status, error, "a sign-in provider gives no token: check its client_id and client_secret");
        Err(self.unavailable())
    }

    /// RFC 6749, 4.1.3: the header that says who this server is, if that is not said in the form, and the form.
    fn token_request(&self, metadata: &Metadata, answer: &Answer<'_>) -> (Option<String>, String) {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", answer.code)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("code_verifier", answer.verifier)
            .append_pair("client_id", &self.config.client_id);
        let secret = self.config.client_secret.expose_secret();
        let methods = &metadata.token_endpoint_auth_methods_supported;
        let in_body = !methods.is_empty() && !methods.iter().any(|method| method == "client_secret_basic");
        let mut authorization = None;
        if !secret.is_empty() && in_body {
            form.append_pair("client_secret", secret);
        } else if !secret.is_empty() {
            // 2.3.1: encoded as in a form before they are joined.
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encoded(&self.config.client_id), encoded(secret));
            authorization = Some(format!("Basic {}", STANDARD.encode(pair)));
        }
        (authorization, form.finish())
    }

    /// What the provider published: fetched anew if it is old, or not newer than `after`.
    async fn published(&self, after: Option<Timestamp>) -> Result<Published, Failure> {
        // One asks, the others wait for what it brings.
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        let at = known.published.as_ref().map(|published| published.at);
        let is_good = at.is_some_and(|at| match after {
            None => now < at.plus(FRESH),
            Some(after) => at > after || now < at.plus(PAUSE),
        });
        if let Some(published) = known.published.clone().filter(|_| is_good) {
            return Ok(published);
        }
        let failed_lately = known.failed_at.is_some_and(|failed_at| now < failed_at.plus(PAUSE));
        let fetched = if failed_lately { Err(Failure::Lately) } else { self.fetch().await };
        match (fetched, known.published.clone()) {
            (Ok(published), _) => {
                *known = Known { published: Some(published.clone()), failed_at: None };
                Ok(published)
            }
            (Err(failure), before) => {
                if !failed_lately {
                    known.failed_at = Some(now);
                    tracing::warn!(provider = self.name, %failure, "a sign-in provider cannot be asked");
                }
                before.ok_or(failure)
            }
        }
    }

    async fn fetch(&self) -> Result<Published, Failure> {
        let address = format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let metadata: Metadata = self.get(&address).await?;
        if metadata.issuer != self.config.issuer {
            return Err(Failure::OtherIssuer(metadata.issuer));
        }
        let is_local = is_local(&self.config.issuer);
        for endpoint in [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri] {
            if !is_endpoint(endpoint, is_local) {
                return Err(Failure::Endpoint(endpoint.clone()));
            }
        }
        let keys = self.get(&metadata.jwks_uri).await?;
        Ok(Published { metadata, keys, at: self.clock.now() })
    }

    async fn get<T: DeserializeOwned>(&self, address: &str) -> Result<T, Failure> {
        let (status, body) = self.client.get(address).await?;
        if status != StatusCode::OK {
            return Err(Failure::Status(status));
        }
        Ok(serde_json::from_slice(&body)?)
    }

    fn away(&self, failure: &Failure) -> ApiError {
        tracing::debug!(provider = self.name, %failure, "somebody could not sign in with a provider");
        self.unavailable()
    }

    fn unavailable(&self) -> ApiError {
        ApiError::new(
            ProblemKind::ProviderUnavailable,
            format!(
                "The sign-in provider `{}` does not answer as it should. Try again, or sign in another way.",
                self.name
            ),
        )
    }
}

pub fn refused(detail: &str) -> ApiError {
    ApiError::new(ProblemKind::ProviderRefused, detail)
}
