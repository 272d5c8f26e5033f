//! Every route that takes a token, with every token that it must not take.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sealpost_testing::{Connect, Reply, Stack, User};
use serde_json::{Value, json};

/// Makes tokens with the server's own key: what it refuses, it refuses for what the token says.
struct Forge {
    pair: Ed25519KeyPair,
    header: Value,
    claims: Value,
}

fn encode(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

impl Forge {
    fn new(stack: &Stack, user: &User) -> Self {
        let seed = BASE64.decode(stack.signing_key().trim_end_matches('=')).unwrap();
        let mut parts = user.access_token.split('.').map(|part| BASE64.decode(part).unwrap());
        let mut read = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
        Self { pair: Ed25519KeyPair::from_seed_unchecked(&seed).unwrap(), header: read(), claims: read() }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature))
    }

    /// With one field of header or claims set, or taken out if it is null.
    fn with(&self, part: &str, name: &str, value: &Value) -> String {
        let (mut header, mut claims) = (self.header.clone(), self.claims.clone());
        let object = if part == "header" { &mut header } else { &mut claims };
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            object[name] = value.clone();
        }
        self.sign(&header, &claims)
    }

    /// By a key of somebody else's, which the header offers to the one who checks.
    fn offered(&self, name: &str, value: &Value) -> String {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let mut header = self.header.clone();
        header[name] = value.clone();
        if name == "jwk" {
            header[name]["x"] = json!(BASE64.encode(pair.public_key()));
        }
        Self { pair, header: Value::Null, claims: Value::Null }.sign(&header, &self.claims)
    }

    /// HS256 with the public key as its secret.
    fn confused(&self) -> String {
        let mut header = self.header.clone();
        header["alg"] = json!("HS256");
        let signed = format!("{}.{}", encode(&header), encode(&self.claims));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.pair.public_key().as_ref());
        format!("{signed}.{}", BASE64.encode(ring::hmac::sign(&key, signed.as_bytes())))
    }

    /// What it is, the token, and the problem that answers it.
    fn bad(&self, user: &User) -> Vec<(&'static str, String, &'static str)> {
        let now = self.claims["iat"].as_i64().unwrap();
        let none = format!("{}.{}.", encode(&json!({ "alg": "none", "typ": "at+jwt" })), encode(&self.claims));
        let good = self.sign(&self.header, &self.claims);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let turned: String = signature.chars().rev().collect();
        let unknown = "unauthenticated";
        vec![
            ("algorithm none", none, unknown),
            ("HS256 with the public key", self.confused(), unknown),
            ("no signature", format!("{signed}."), unknown),
            ("another signature", format!("{signed}.{turned}"), unknown),
            ("expired", self.with("claims", "exp", &json!(now - 3600)), "token-expired"),
            ("no expiry", self.with("claims", "exp", &Value::Null), unknown),
            ("expiry as text", self.with("claims", "exp", &json!((now + 900).to_string())), unknown),
            ("not yet good", self.with("claims", "nbf", &json!(now + 3600)), unknown),
            ("another audience", self.with("claims", "aud", &json!("other")), unknown),
            ("no audience", self.with("claims", "aud", &Value::Null), unknown),
            ("another issuer", self.with("claims", "iss", &json!("other")), unknown),
            ("another type", self.with("header", "typ", &json!("JWT")), unknown),
            ("key by path", self.with("header", "kid", &json!("../../etc/passwd")), unknown),
            ("key by SQL", self.with("header", "kid", &json!("' OR 1=1 --")), unknown),
            ("no key", self.with("header", "kid", &Value::Null), unknown),
            ("RS256 by name", self.with("header", "alg", &json!("RS256")), unknown),
            ("a key at an address", self.offered("jku", &json!("http://127.0.0.1:1/keys")), unknown),
            ("a certificate at an address", self.offered("x5u", &json!("http://127.0.0.1:1/pem")), unknown),
            ("a key that it brings along", self.offered("jwk", &json!({ "kty": "OKP", "crv": "Ed25519" })), unknown),
            ("a critical extension", self.with("header", "crit", &json!(["exp"])), unknown),
            ("a refresh token", user.refresh_token.clone(), unknown),
            ("garbage", "x".to_owned(), unknown),
            ("an API token that is none", format!("spt_{}_{}", user.id.replace('-', ""), "A".repeat(43)), unknown),
        ]
    }
}

/// Method and path of every operation of the API's own description that takes a token.
fn operations(document: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["security"].is_array() {
                found.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    assert!(found.len() > 30, "{found:?}");
    found
}

/// With this id wherever the path has one.
fn filled(path: &str, id: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { id.to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// RELIABILITY.md 3.6, number 8.
pub async fn attack_8_every_route_refuses_every_bad_token(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let forge = Forge::new(stack, &ann);
    let good = forge.sign(&forge.header, &forge.claims);
    ann.api.request("GET", "/api/auth/me", Some(&good), &Value::Null).await.ok(200);
    let bad = forge.bad(&ann);
    let document = ann.api.get("/openapi.json").await.ok(200);
    for (method, path) in operations(&document) {
        let path = filled(&path, &ann.id);
        let ask = async |token: Option<&str>| -> Reply { ann.api.request(&method, &path, token, &Value::Null).await };
        ask(None).await.is_problem(401, "unauthenticated");
        for (what, token, problem) in &bad {
            let reply = ask(Some(token)).await;
            assert_eq!(reply.status, 401, "{what}: {reply}");
            reply.is_problem(401, problem);
            assert_eq!(reply.header("www-authenticate"), "Bearer", "{what}: {reply}");
        }
    }
    for (what, token, problem) in bad {
        let connect = Connect::to(&ann.api.base).header("authorization", &format!("Bearer {token}"));
        let refused = connect.open().await.err().unwrap_or_else(|| panic!("{what} opened a socket"));
        assert_eq!(
            (refused.status, &refused.body["type"]),
            (401, &json!(sealpost_testing::problem(problem))),
            "{what}"
        );
    }
}

/// What belongs to somebody else answers as if it were not there, or refuses; nothing happens to it.
pub async fn another_users_token_reaches_nothing(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 0, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob]).await;
    let message = ann.say(&group, "m-1", "for two").await.ok(201)["message_id"].as_str().unwrap().to_owned();
    stack.settle().await;
    let account =
        ann.post("/api/service-accounts", json!({ "username": sealpost_testing::unique("bot") })).await.ok(201);
    let account = account["id"].as_str().unwrap();
    let document = ann.api.get("/openapi.json").await.ok(200);
    let owned = operations(&document).into_iter().filter(|(_, path)| {
        // Whom one blocks is one's own.
        path.contains('{') && !path.contains("/users/{id}") && !path.contains("/blocks/")
    });
    let mut asked = 0;
    for (method, path) in owned {
        let id = if path.contains("service-accounts") { account } else { &ann.session_id };
        let path = path.replace("{conversation_id}", &group).replace("{message_id}", &message);
        let path = filled(&path.replace("{user_id}", &bob.id), id);
        for body in [Value::Null, json!({ "role": "owner" }), json!({ "seq": 1 }), json!({ "title": "eve's" })] {
            let reply = eve.request(&method, &path, body).await;
            assert!([403, 404, 415, 422].contains(&reply.status), "{reply}");
            assert!(!reply.text.contains("for two"), "{reply}");
        }
        asked += 1;
    }
    assert!(asked > 10, "{asked}");
    ann.get("/api/auth/me").await.ok(200);
    assert_eq!(ann.history(&group).await[0].text.as_deref(), Some("for two"));
    assert_eq!(ann.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"]["title"], "A group");
}
