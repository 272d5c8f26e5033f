//! REST, with answers that explain themselves.

use std::fmt;

use serde_json::Value;

/// The API of one gateway.
#[derive(Clone)]
pub struct Api {
    pub base: String,
    http: reqwest::Client,
    patience: std::time::Duration,
}

/// Type of a problem by its short name.
pub fn problem(name: &str) -> String {
    format!("urn:sealpost:problem:{name}")
}

impl Api {
    pub fn new(base: &str) -> Self {
        Self { base: base.to_owned(), http: reqwest::Client::new(), patience: crate::PATIENCE }
    }

    /// Waits so long for an answer.
    #[must_use]
    pub fn patience(mut self, patience: std::time::Duration) -> Self {
        self.patience = patience;
        self
    }

    /// As a client at this address, to a server that trusts `X-Forwarded-For`.
    #[must_use]
    pub fn forwarded(&self, address: &str) -> Self {
        self.with_header("x-forwarded-for", address)
    }

    /// With this header in each request.
    #[must_use]
    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let name = reqwest::header::HeaderName::from_static(name);
        let headers = reqwest::header::HeaderMap::from_iter([(name, value.parse().unwrap())]);
        let http = reqwest::Client::builder().default_headers(headers).build().unwrap();
        Self { http, ..self.clone() }
    }

    /// A request with a JSON body (none if it is null). `None`: there was no answer.
    pub async fn try_request(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Option<Reply> {
        let body = (!body.is_null()).then(|| ("application/json", body.to_string().into_bytes()));
        self.try_raw(method, path, token, body).await
    }

    pub async fn request(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Reply {
        let reply = self.try_request(method, path, token, body).await;
        reply.unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// A request with any body.
    pub async fn try_raw(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<(&str, Vec<u8>)>,
    ) -> Option<Reply> {
        let mut request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let mut asked = format!("{method} {path}");
        if let Some((kind, body)) = body {
            asked = format!("{asked} {:.300}", String::from_utf8_lossy(&body));
            request = request.header("content-type", kind).body(body);
        }
        let answer = request.timeout(self.patience).send().await.ok()?;
        let status = answer.status().as_u16();
        let header = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let content_type = header.unwrap_or_default().to_owned();
        let headers = answer.headers().clone();
        let text = answer.text().await.ok()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Some(Reply { asked, status, content_type, headers, text, body })
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.request("GET", path, None, &Value::Null).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.request("POST", path, None, body).await
    }
}

/// An answer, with what was asked.
pub struct Reply {
    asked: String,
    pub status: u16,
    pub content_type: String,
    headers: reqwest::header::HeaderMap,
    pub text: String,
    /// Null if it is not JSON.
    pub body: Value,
}

impl Reply {
    /// The value of a header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body, if the status is this one.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        self.body
    }

    /// Fails unless this is a complete problem of that type.
    #[track_caller]
    pub fn is_problem(&self, status: u16, name: &str) {
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.content_type, "application/problem+json", "{self}");
        assert_eq!(self.body["type"], problem(name), "{self}");
        assert_eq!(self.body["status"], status, "{self}");
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self}");
        assert!(self.body["title"].as_str().is_some_and(|title| !title.is_empty()), "{self}");
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was answered with status {} ({}): {}", self.asked, self.status, self.content_type, self.text)
    }
}
