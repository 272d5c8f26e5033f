//! Sessions of browsers, in cookies.

use std::collections::BTreeMap;

use reqwest::{Method, Response, StatusCode};
use sealpost_testing::{Connect, Stack, User};
use serde_json::{Value, json};

/// What a browser keeps, as far as a test needs it.
struct Browser {
    base: String,
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new(stack: &Stack, gateway: usize) -> Self {
        Self { base: stack.url(gateway), http: reqwest::Client::new(), cookies: BTreeMap::new() }
    }

    fn cookie(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// With the cookies and these headers.
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        let mut request = self.http.request(method.parse::<Method>().unwrap(), format!("{}{path}", self.base));
        if !self.cookies.is_empty() {
            request = request.header("cookie", self.cookie());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await.unwrap()
    }

    /// As a page of this server does; cookies of the answer are kept.
    async fn own(&mut self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let origin = self.base.clone();
        let headers = [("sealpost-session", "cookie"), ("origin", origin.as_str()), ("sec-fetch-site", "same-origin")];
        let answer = self.ask(method, path, &headers, &body).await;
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                assert!(cookie.contains("Max-Age=0"), "{cookie}");
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let status = answer.status();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    async fn sign_in(stack: &Stack, gateway: usize, user: &User) -> Self {
        let mut browser = Self::new(stack, gateway);
        let credentials =
            json!({ "username": user.username, "password": user.password, "device": { "kind": "browser" } });
        let (status, body) = browser.own("POST", "/api/auth/signin", credentials).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!((&body["access_token"], &body["refresh_token"]), (&json!(""), &json!("")), "no script sees them");
        assert_eq!(browser.cookies.len(), 2);
        browser
    }
}

pub async fn a_browser_keeps_its_session_in_cookies(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let mut browser = Browser::sign_in(stack, 0, &ann).await;
    let (status, me) = browser.own("GET", "/api/auth/me", Value::Null).await;
    assert_eq!((status.as_u16(), &me["id"]), (200, &json!(ann.id)));
    let (status, me) = browser.own("PATCH", "/api/auth/me", json!({ "status_text": "In a browser" })).await;
    assert_eq!((status.as_u16(), &me["status_text"]), (200, &json!("In a browser")));
    // Renewed without a body.
    let before = browser.cookies.clone();
    let (status, body) = browser.own("POST", "/api/auth/refresh", Value::Null).await;
    assert_eq!((status.as_u16(), &body["refresh_token"]), (200, &json!("")), "{body}");
    assert_ne!(before["sealpost_refresh"], browser.cookies["sealpost_refresh"]);
    let origin = browser.base.clone();
    let connect = Connect::to(&browser.base).header("cookie", &browser.cookie()).header("origin", origin.as_str());
    let mut socket = connect.open().await.unwrap();
    assert_eq!(socket.ready().await["user_id"], ann.id);
    // Signed out: the cookies go, the socket closes, and what was copied is of no use.
    let copied = browser.cookies.clone();
    let (status, _) = browser.own("POST", "/api/auth/signout", Value::Null).await;
    assert_eq!((status.as_u16(), browser.cookies.len()), (204, 0));
    assert_eq!(socket.wait_for_close().await, Some(4401));
    browser.cookies = copied;
    assert_eq!(browser.own("GET", "/api/auth/me", Value::Null).await.0, 401);
    assert_eq!(browser.own("POST", "/api/auth/refresh", Value::Null).await.0, 401);
    assert!(browser.cookies.is_empty(), "a session that is over leaves no cookies");
    // Without the header tokens are in the answer, and no cookie is set.
    let credentials = json!({ "username": ann.username, "password": ann.password });
    let plain = Browser::new(stack, 0).ask("POST", "/api/auth/signin", &[], &credentials).await;
    assert!(plain.headers().get("set-cookie").is_none() && plain.text().await.unwrap().contains("eyJ"));
}

/// Attack case 10: every route that changes something, with the cookies of somebody who is signed in.
pub async fn attack_10_other_sites_cannot_use_the_cookies(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let mut browser = Browser::sign_in(stack, 0, &ann).await;
    let own = browser.base.clone();
    let document: Value =
        serde_json::from_str(&browser.ask("GET", "/openapi.json", &[], &Value::Null).await.text().await.unwrap())
            .unwrap();
    let somebody = uuid::Uuid::now_v7().to_string();
    let mut tried = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let mut path = path.clone();
        while let Some((start, rest)) = path.clone().split_once('{') {
            path = format!("{start}{somebody}{}", rest.split_once('}').unwrap().1);
        }
        for method in operations.as_object().unwrap().keys().filter(|method| *method != "get") {
            for headers in [
                // A form of another site; a fetch of it; one that found out about the header; a page of nowhere; a neighbour's.
                &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("content-type", "text/plain")]
                    [..],
                &[("origin", "https://evil.example")],
                &[("origin", "https://evil.example"), ("sealpost-session", "cookie")],
                &[("origin", "null"), ("sealpost-session", "cookie")],
                &[("sec-fetch-site", "same-site"), ("sealpost-session", "cookie")],
                // Ours, but without the header: an old browser that sends no origin.
                &[("origin", own.as_str())],
                &[],
            ] {
                let answer = browser.ask(&method.to_uppercase(), &path, headers, &Value::Null).await;
                let status = answer.status();
                let text = answer.text().await.unwrap();
                assert!(status == 403 && text.contains("cross-site-request"), "{method} {path} {headers:?}: {text}");
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
    for origin in [None, Some("https://evil.example"), Some("null")] {
        let mut connect = Connect::to(&own).header("cookie", &browser.cookie());
        if let Some(origin) = origin {
            connect = connect.header("origin", origin);
        }
        let refused = connect.open().await.err().unwrap();
        assert_eq!(refused.status, 403, "{origin:?}: {refused:?}");
    }
    // A foreign page cannot sign the browser in as somebody else either: without the header no cookie is set.
    let credentials = json!({ "username": ann.username, "password": ann.password });
    browser.cookies.clear();
    let answer = browser.ask("POST", "/api/auth/signin", &[("origin", "https://evil.example")], &credentials).await;
    assert!(answer.headers().get("set-cookie").is_none());
    let preflight = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "sealpost-session"),
    ];
    let answer = browser.ask("OPTIONS", "/api/auth/signin", &preflight, &Value::Null).await;
    assert!(answer.headers().get("access-control-allow-origin").is_none());
    ann.get("/api/auth/me").await.ok(200);
}
