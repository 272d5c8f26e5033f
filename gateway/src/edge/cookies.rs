//! Sessions of browsers: the same tokens, in cookies that no script can read.
//!
//! A page that sends `Sealpost-Session: cookie` when it signs in gets its tokens as cookies (`HttpOnly`, `SameSite=Lax`, and with TLS
//! `Secure` and the prefix `__Host-`); in the answer their places are empty. From then on the cookie stands for `Authorization`, and
//! `POST /api/auth/refresh` with that header renews both. Everything behind this layer sees the header and no cookies.
//!
//! # Requests that another site makes the browser send
//! What changes something and is signed in by cookie needs two proofs, after OWASP's advice: the header above, which no form can send and
//! no foreign page may (CORS), and an `Origin` and `Sec-Fetch-Site` of this server or of `gateway.allowed_origins`. A WebSocket, which
//! has no headers of its own in browsers, needs an `Origin` (`attack_10_other_sites_cannot_use_the_cookies`).

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::InvalidHeaderValue;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sealpost_schema::{Problem, ProblemKind};
use serde_json::{Value, json};

use crate::config::GatewayConfig;
use crate::problem::respond;

/// With the value `cookie`: «this page keeps its session in cookies».
pub const SESSION_HEADER: HeaderName = HeaderName::from_static("sealpost-session");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const WEBSOCKET: &str = "/ws";
const REFRESH: &str = "/api/auth/refresh";
const SIGN_OUT: &str = "/api/auth/signout";
/// Answers with tokens come from here.
const ISSUERS: &str = "/api/auth/";
/// More than such an answer has.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What a browser keeps while it is away at a sign-in provider ([`crate::oidc`]): only there an answer is good.
#[derive(Clone)]
pub struct BrowserKey(pub String);

fn browser_key_name(config: &GatewayConfig) -> &'static str {
    if config.is_behind_tls() { "__Host-sealpost_oidc" } else { "sealpost_oidc" }
}

/// The header that makes a browser keep it.
pub fn browser_key_cookie(
    config: &GatewayConfig,
    key: &str,
    lifetime: Duration,
) -> Result<HeaderValue, InvalidHeaderValue> {
    let secure = if config.is_behind_tls() { "; Secure" } else { "" };
    // Only our own page sends it back, with a request of its own.
    let attributes = "Path=/; HttpOnly; SameSite=Strict";
    let (name, seconds) = (browser_key_name(config), lifetime.as_secs());
    HeaderValue::from_str(&format!("{name}={key}; Max-Age={seconds}; {attributes}{secure}"))
}

/// What the layer needs to know. Cheap enough to clone for each request.
#[derive(Clone)]
pub struct Cookies {
    access: &'static str,
    refresh: &'static str,
    browser_key: &'static str,
    attributes: &'static str,
    refresh_seconds: u64,
    origins: std::sync::Arc<[String]>,
}

impl Cookies {
    pub fn new(config: &GatewayConfig, refresh_seconds: u64) -> Self {
        let mut origins = config.allowed_origins.clone();
        if !config.public_url.is_empty() {
            origins.push(config.public_url.clone());
        }
        let (access, refresh, attributes) = if config.is_behind_tls() {
            ("__Host-sealpost_access", "__Host-sealpost_refresh", "Path=/; HttpOnly; SameSite=Lax; Secure")
        } else {
            ("sealpost_access", "sealpost_refresh", "Path=/; HttpOnly; SameSite=Lax")
        };
        let browser_key = browser_key_name(config);
        Self { access, refresh, browser_key, attributes, refresh_seconds, origins: origins.into() }
    }

    /// Nothing where there is no such page, which is told from one that may not.
    fn origin_is_allowed(&self, headers: &HeaderMap) -> Option<bool> {
        let origin = headers.get(header::ORIGIN)?.to_str().unwrap_or_default();
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let own = origin
            .split_once("://")
            .is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && !host.is_empty() && rest == host);
        Some(own || self.origins.iter().any(|allowed| allowed == origin))
    }

    /// Whether a request that is signed in by cookie was made by a page that may.
    fn check(&self, method: &Method, websocket: bool, headers: &HeaderMap) -> Result<(), Problem> {
        let refused = |detail: &str| Err(Problem::new(ProblemKind::CrossSiteRequest, detail));
        // Reading changes nothing, and CORS keeps the answer from pages that may not have it.
        if !websocket && [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
            return Ok(());
        }
        let origin = self.origin_is_allowed(headers);
        if origin == Some(false) || (websocket && origin.is_none()) {
            return refused("The page's origin may not use this session. Add it to gateway.allowed_origins.");
        }
        // Browsers write this one themselves.
        let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        if site.is_some_and(|site| site != b"same-origin") && origin != Some(true) {
            return refused("Another site made this request.");
        }
        if !websocket && !is_wanted(headers) {
            return refused("A request that is signed in by cookie needs the header `Sealpost-Session: cookie`.");
        }
        Ok(())
    }

    fn set(&self, headers: &mut HeaderMap, name: &str, value: &str, seconds: u64) {
        let cookie = format!("{name}={value}; Max-Age={seconds}; {}", self.attributes);
        // Tokens are of base64 and points.
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }

    fn clear(&self, headers: &mut HeaderMap) {
        self.set(headers, self.access, "", 0);
        self.set(headers, self.refresh, "", 0);
    }

    /// Moves the tokens of an answer into cookies.
    async fn keep_tokens(&self, response: Response) -> Response {
        let (mut parts, body) = response.into_parts();
        let Ok(bytes) = to_bytes(body, MAX_ANSWER_BYTES).await else {
            return respond(&Problem::new(ProblemKind::Internal, "The server could not do this."));
        };
        let Ok(mut answer) = serde_json::from_slice::<Value>(&bytes) else {
            return Response::from_parts(parts, Body::from(bytes));
        };
        let lifetime = answer["expires_in"].as_u64().unwrap_or_default();
        for (field, name, seconds) in
            [("access_token", self.access, lifetime), ("refresh_token", self.refresh, self.refresh_seconds)]
        {
            if let Some(Value::String(token)) = answer.get_mut(field).map(|token| std::mem::replace(token, json!(""))) {
                self.set(&mut parts.headers, name, &token, seconds);
            }
        }
        parts.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(parts, Body::from(answer.to_string()))
    }
}

fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get(SESSION_HEADER).is_some_and(|value| value == "cookie")
}

/// The value of a cookie. Of two with one name none counts: one of them is not ours.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = texts
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, value)| *found == name && !value.is_empty())
        .map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none())
}

/// Whether the request shows a token by other means, which then counts.
fn shows_a_token(headers: &HeaderMap) -> bool {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    headers.contains_key(header::AUTHORIZATION)
        || offered.flat_map(|list| list.split(',')).any(|protocol| protocol.trim().starts_with("bearer."))
}

/// The layer.
pub async fn cookie_sessions(State(cookies): State<Cookies>, mut request: Request, next: Next) -> Response {
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let headers = request.headers();
    let wanted = is_wanted(headers);
    let access = cookie(headers, cookies.access).filter(|_| !shows_a_token(headers)).map(str::to_owned);
    let refresh = cookie(headers, cookies.refresh).filter(|_| wanted && path == REFRESH).map(str::to_owned);
    if (access.is_some() || refresh.is_some())
        && let Err(problem) = cookies.check(&method, path == WEBSOCKET, headers)
    {
        return respond(&problem);
    }
    if let Some(key) = cookie(headers, cookies.browser_key).map(str::to_owned) {
        request.extensions_mut().insert(BrowserKey(key));
    }
    request.headers_mut().remove(header::COOKIE);
    if let Some(bearer) = access.as_ref().and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok()) {
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    if let Some(token) = &refresh {
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().remove(header::CONTENT_LENGTH);
        *request.body_mut() = Body::from(json!({ "refresh_token": token }).to_string());
    }
    let mut response = next.run(request).await;
    let status = response.status();
    if wanted && status.is_success() && status != StatusCode::NO_CONTENT && path.starts_with(ISSUERS) {
        response = cookies.keep_tokens(response).await;
    }
    let over = (access.is_some() && path == SIGN_OUT && status.is_success())
        || (refresh.is_some() && status == StatusCode::UNAUTHORIZED);
    if over {
        cookies.clear(response.headers_mut());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()));
        pairs.collect::<Vec<(HeaderName, HeaderValue)>>().into_iter().collect()
    }

    #[test]
    fn a_cookie_is_found_among_others_and_a_second_one_spoils_it() {
        let found = |text: &str| cookie(&headers(&[("cookie", text)]), "a").map(str::to_owned);
        assert_eq!(found("b=1; a=2; c=3").as_deref(), Some("2"));
        assert_eq!(found("a=x=y").as_deref(), Some("x=y"));
        for none in ["", "b=1", "a=", "aa=1", "a=1; a=2", "A=1"] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[test]
    fn what_changes_something_needs_both_proofs() {
        let config = GatewayConfig {
            public_url: "https://chat.example".to_owned(),
            allowed_origins: vec!["https://app.example".to_owned()],
            ..GatewayConfig::default()
        };
        let cookies = Cookies::new(&config, 1);
        let post = |pairs: &[(&str, &str)]| cookies.check(&Method::POST, false, &headers(pairs)).is_ok();
        let own = ("sealpost-session", "cookie");
        assert!(post(&[own]) && post(&[own, ("sec-fetch-site", "same-origin")]));
        assert!(post(&[own, ("origin", "https://chat.example"), ("sec-fetch-site", "same-origin")]));
        assert!(post(&[own, ("origin", "https://app.example"), ("sec-fetch-site", "cross-site")]));
        assert!(post(&[own, ("origin", "http://10.0.0.1:80"), ("host", "10.0.0.1:80")]));
        for bad in [
            &[][..],
            &[("origin", "https://chat.example")],
            &[own, ("origin", "https://evil.example")],
            &[own, ("origin", "null")],
            &[own, ("origin", "https://chat.example.evil")],
            &[own, ("sec-fetch-site", "cross-site")],
            &[own, ("sec-fetch-site", "same-site")],
            &[("sealpost-session", "x")],
        ] {
            assert!(!post(bad), "{bad:?}");
        }
        let open = |pairs: &[(&str, &str)]| cookies.check(&Method::GET, true, &headers(pairs)).is_ok();
        assert!(open(&[("origin", "https://app.example")]));
        assert!(!open(&[]) && !open(&[("origin", "https://evil.example")]));
        assert!(cookies.check(&Method::GET, false, &headers(&[("origin", "https://evil.example")])).is_ok());
    }

    #[test]
    fn with_tls_cookies_belong_to_this_host_alone() {
        let with = |public_url: &str| {
            let config = GatewayConfig { public_url: public_url.to_owned(), ..GatewayConfig::default() };
            let mut headers = HeaderMap::new();
            Cookies::new(&config, 9).clear(&mut headers);
            headers[header::SET_COOKIE].to_str().unwrap().to_owned()
        };
        assert_eq!(
            with("https://a.example"),
            "__Host-sealpost_access=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(with(""), "sealpost_access=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax");
    }
}
