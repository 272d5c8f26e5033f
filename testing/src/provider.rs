//! A provider of OpenID Connect for tests: discovery, keys and tokens over a real socket. Signing in at it is a call of [`Provider::let_in`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::certificate::Certificate;
use crate::http::{Request, read_request};
use crate::user::unique;

pub const CLIENT: &str = "chat";
pub const CLIENT_SECRET: &str = "a secret: of the client";

/// Of this test and of nothing else.
const RSA_KEY: &str = "\
    MIIEogIBAAKCAQEAk/1ANqy3kSHN5f2S2QrM1kN5gmTIGh6Wa16PrMByPOhejvG0FZOrp9m0uNr6VRyfL9cyicR9IfzqR3FAfIrF2qTdz/+9vGGrY/+oEnFc\
    zVXV7F6OXZh6NmThji421+xt8EYs/eZ0uwI33wVR02Y9Gh0dqhSfLgLSWiJVQGGY/2cnkmcmsprxfwjScahqcxFqZ1R6nMZHlKhk5pvZNz6jJut2D4JGbt1d\
    ccyPQAy609qAs2GLr3jBTxVNdRPZkW8kj47OuQjIYr/CU7DRgkTXZdUeegAgswRAlM58Eo8kR5v2kmF8EG/kZ8pm1ANX7WDpYrYRBy53gIutxK4FVbPRPwID\
    AQABAoIBABVGbDaFVWKM9zp1iOig+oUMcD8vA+wVXPnp6e0jlt4WEzn+RNhxQVVBIWUN6L0sVIpJKAp8RU0J522xOgcYNYzS9NHT6fqsw+SoEAk5Y5EKzP/3\
    3ARX86yMNjeoLIRAM3yTv3YaQnUmwtInbqBd61zXYLi0fD8zcqWN7Vmdw6QRKrUy7JakOt5ESnfAIkaLDVhslCXgqcLwuL5gtkGrKUlNE6NYqtYp1Q876QsI\
    bG2ZgO05So9b3Xue674zVlPkdHD5xMLNbYnlwcfeZNEPooNk+Av567Oszyfhmkw4qx5I4qtMeeC6+epNZBZh9KGGum7n5PxNK+lnyQhsNK/eI0kCgYEAyUto\
    zv8MAldhk7/Ud+mLgk7Xc66p3Im+KduZdvxabWLLIfEik3lanp2Bd4ifFSSge9msiRckhAytyLerUvk88J169CCIL2h8/uDhLlzaVmeaL8Lf50GVL/yWZBN4\
    CubqmYNVElkDGbf/VMVhLU88t4nZMSm5by1ZhGYRHeCM0p0CgYEAvDVAZJxN9moOUDNyRkd6hAmeXnR4P8vo0Td5/j88kEnokMD1klSsjA/tJPyctrPEIEFz\
    XrA/GF2S6RJRGUTEhV3cYIRj7nfWywMmYtP/iqWu/yxz8sEKj/bos/u2fIlZp8sUbHkrkBRWVzJKTYUZAp/ESYwn8QFa1Zguwd5WbosCgYAKuocyiSt1sHyV\
    6GKFpZ/26QbYtpV9GKZXCspKKjcTn3FeNMD4BT7MN27gFRsNgG9BSp/EisQ6eYaFrSxndrtFw8761gUMKdCHsSqvUumcM1dndkaCx98QuLC3UsZSJm6YkgRl\
    vvLIWyMzvHVqec+tpJ473ZJxl4Qu51XANuiqjQKBgEeQmCOpq5t/SGIGrfU7SMLcRXP1JaRcjPLA/YpH0WesMtqYBMjXmaTIiYv+4jg2suTw/kWLDvLc4ffu\
    Fxhcpb1wq1OoA7exqeMYF4iMxCacSaaN6Kjt7m4/nMyTchh4wbaj6eg1SvNGSG5vmQFREumEhsbQnH9v3HJLo7vkJ0lxAoGAPFZo5nvvGyOB8epn9uV1xdQP\
    rGdhHYPuW8ucnLOHQCrtWgSNq0ivpePrRfeM+R6oKjBMnUC3HWpC+UaQk2TKLgcFvUIN9s0rf2FggTU50Ocb3cLvMGVAqqIhgF6Ms0Nhho+7lVGGor/N7Fe9\
    i8YLMSxVNHZo6/MAXqMJ2NqjQ5o=";

/// What its tokens are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    Es256,
    Rs256,
    EdDsa,
    /// Of no key that it publishes, under the name of one.
    Forged,
    /// None at all.
    None,
    /// With the published key as shared secret.
    Hs256,
}

/// Ends with the test.
pub struct Provider {
    pub issuer: String,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

struct Grant {
    claims: Value,
    signature: Signature,
    challenge: String,
    redirect_uri: String,
}

struct State {
    issuer: String,
    codes: HashMap<String, Grant>,
    es256: EcdsaKeyPair,
    es256_kid: String,
    rs256: RsaKeyPair,
    ed25519: Ed25519KeyPair,
    other: Ed25519KeyPair,
    /// It answers nothing but 500.
    away: bool,
    /// Set over what its description says.
    description: Value,
    asked: usize,
}

impl Provider {
    /// Without TLS, as only a provider on the same machine may be.
    pub async fn start() -> Self {
        Self::start_at("http://127.0.0.1", None).await
    }

    /// At `https://localhost`, with this certificate.
    pub async fn start_tls(certificate: &Certificate) -> Self {
        Self::start_at("https://localhost", Some(certificate)).await
    }

    async fn start_at(origin: &str, certificate: Option<&Certificate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("{origin}:{}/realm", listener.local_addr().unwrap().port());
        let acceptor = certificate.map(Certificate::acceptor);
        let random = SystemRandom::new();
        let ed25519 = || Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
        let state = State {
            issuer: issuer.clone(),
            codes: HashMap::new(),
            es256: new_es256(),
            es256_kid: "es256".to_owned(),
            rs256: RsaKeyPair::from_der(&STANDARD.decode(RSA_KEY).unwrap()).unwrap(),
            ed25519: ed25519(),
            other: ed25519(),
            away: false,
            description: json!({}),
            asked: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                // A client that goes in the middle has its reasons.
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => converse(acceptor.accept(stream).await.ok()?, state).await,
                        None => converse(stream, state).await,
                    }
                });
            }
        });
        Self { issuer, state, task }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Lets somebody in who was sent to `url`, and returns what their browser brings back: `state` and `code`.
    pub fn let_in(&self, url: &str, subject: &str) -> Value {
        self.let_in_with(url, subject, Signature::Es256, &json!({}))
    }

    /// The same, with a token that is signed so and says this (null: does not say it).
    pub fn let_in_with(&self, url: &str, subject: &str, signature: Signature, say: &Value) -> Value {
        let (endpoint, query) = url.split_once('?').unwrap();
        assert_eq!(endpoint, format!("{}/authorize", self.issuer));
        let asked = form(query);
        for (name, value) in [("response_type", "code"), ("client_id", CLIENT), ("code_challenge_method", "S256")] {
            assert_eq!(asked[name], value, "{name}");
        }
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"), "{}", asked["scope"]);
        assert!(asked["state"].len() >= 43 && asked["nonce"].len() >= 43 && asked["code_challenge"].len() == 43);
        let now = now();
        let mut claims = json!({
            "iss": self.issuer, "sub": subject, "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": asked["nonce"],
        });
        for (name, value) in say.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        let (challenge, redirect_uri) = (asked["code_challenge"].clone(), asked["redirect_uri"].clone());
        let code = unique("code-");
        self.state().codes.insert(code.clone(), Grant { claims, signature, challenge, redirect_uri });
        json!({ "state": asked["state"], "code": code })
    }

    /// Whether it answers nothing but 500.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// What its description says instead.
    pub fn describe(&self, description: Value) {
        self.state().description = description;
    }

    /// Takes another key for ES256, under another name; the one before is not published any more.
    pub fn rotate(&self) {
        let mut state = self.state();
        state.es256 = new_es256();
        state.es256_kid = unique("es256-");
    }

    /// How often anything was asked.
    pub fn asked(&self) -> usize {
        self.state().asked
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn new_es256() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a provider has a clock of its own")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Pairs of a form or a query.
fn form(text: &str) -> HashMap<String, String> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
                rest = &rest[2..];
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// One request of HTTP/1.1, and its answer.
async fn converse(stream: impl AsyncRead + AsyncWrite, state: Arc<Mutex<State>>) -> Option<()> {
    let (read, mut write) = tokio::io::split(stream);
    let Request { line, headers, body } = read_request(read).await?;
    let (status, answer) = lock(&state).answer(&line, &headers, &String::from_utf8(body).ok()?);
    let answer = answer.to_string();
    let head = format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", answer.len());
    write.write_all(format!("{head}connection: close\r\n\r\n{answer}").as_bytes()).await.ok()?;
    write.shutdown().await.ok()
}

impl State {
    fn answer(&mut self, line: &str, headers: &HashMap<String, String>, body: &str) -> (u16, Value) {
        self.asked += 1;
        if self.away {
            return (500, json!({ "error": "server_error" }));
        }
        match line.trim_end() {
            "GET /realm/.well-known/openid-configuration HTTP/1.1" => (200, self.description()),
            "GET /realm/keys HTTP/1.1" => (200, json!({ "keys": self.keys() })),
            "POST /realm/token HTTP/1.1" => self.token(headers.get("authorization"), &form(body)),
            _ => (404, Value::Null),
        }
    }

    fn description(&self) -> Value {
        let mut description = json!({
            "issuer": self.issuer,
            "authorization_endpoint": format!("{}/authorize", self.issuer),
            "token_endpoint": format!("{}/token", self.issuer),
            "jwks_uri": format!("{}/keys", self.issuer),
            "response_types_supported": ["code"],
        });
        description.as_object_mut().unwrap().extend(self.description.as_object().unwrap().clone());
        description
    }

    fn keys(&self) -> Vec<Value> {
        let (x, y) = self.es256.public_key().as_ref()[1..].split_at(32);
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(self.rs256.public());
        vec![
            json!({ "kty": "RSA", "use": "enc", "kid": self.es256_kid, "n": BASE64.encode(&rsa.n), "e": BASE64.encode(&rsa.e) }),
            json!({ "kty": "EC", "use": "sig", "crv": "P-256", "kid": self.es256_kid, "x": BASE64.encode(x), "y": BASE64.encode(y) }),
            json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "rs256", "n": BASE64.encode(&rsa.n), "e": BASE64.encode(&rsa.e) }),
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "eddsa", "x": BASE64.encode(self.ed25519.public_key()) }),
        ]
    }

    /// Checks all that a provider has to check.
    fn token(&mut self, authorization: Option<&String>, form: &HashMap<String, String>) -> (u16, Value) {
        let encoded: String = CLIENT_SECRET.replace(':', "%3A").replace(' ', "+");
        let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{encoded}")));
        let in_body = form.get("client_secret").map(String::as_str);
        if authorization != Some(&basic) && in_body != Some(CLIENT_SECRET) {
            return (401, json!({ "error": "invalid_client" }));
        }
        let code = form.get("code").map(String::as_str).unwrap_or_default();
        let Some(grant) = self.codes.remove(code) else {
            return (400, json!({ "error": "invalid_grant" }));
        };
        let verifier = form.get("code_verifier").map(String::as_str).unwrap_or_default();
        let proven = BASE64.encode(digest(&SHA256, verifier.as_bytes())) == grant.challenge;
        let same_page = form.get("redirect_uri") == Some(&grant.redirect_uri);
        if !proven || !same_page || form.get("grant_type").is_none_or(|kind| kind != "authorization_code") {
            return (400, json!({ "error": "invalid_grant" }));
        }
        let token = self.sign(grant.signature, &grant.claims);
        (200, json!({ "access_token": "x", "token_type": "Bearer", "id_token": token }))
    }

    fn sign(&self, signature: Signature, claims: &Value) -> String {
        let (algorithm, kid) = match signature {
            Signature::Es256 => ("ES256", self.es256_kid.as_str()),
            Signature::Rs256 => ("RS256", "rs256"),
            Signature::EdDsa | Signature::Forged => ("EdDSA", "eddsa"),
            Signature::None => ("none", "eddsa"),
            Signature::Hs256 => ("HS256", "eddsa"),
        };
        let header = json!({ "alg": algorithm, "kid": kid, "typ": "JWT" });
        let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let bytes = signed.as_bytes();
        let signature = match signature {
            Signature::Es256 => self.es256.sign(&SystemRandom::new(), bytes).unwrap().as_ref().to_vec(),
            Signature::Rs256 => {
                let mut text = vec![0; self.rs256.public().modulus_len()];
                self.rs256.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), bytes, &mut text).unwrap();
                text
            }
            Signature::EdDsa => self.ed25519.sign(bytes).as_ref().to_vec(),
            Signature::Forged => self.other.sign(bytes).as_ref().to_vec(),
            Signature::None => Vec::new(),
            Signature::Hs256 => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.ed25519.public_key().as_ref());
                ring::hmac::sign(&key, bytes).as_ref().to_vec()
            }
        };
        format!("{signed}.{}", BASE64.encode(signature))
    }
}
