//! Signing in with a provider, and what must not be one.

use sealpost_testing::{
    Api, CLIENT, CLIENT_SECRET, Certificate, Form, Provider, Reply, Running, Settings, Signature, Stack, User,
    eventually, unique,
};
use serde_json::{Value, json};

const PUBLIC: &str = "http://chat.example.org";

async fn stack(form: Form, providers: &[(&str, &Provider)], more: &[(&str, &str)]) -> Running {
    let mut settings = Settings::default().set("SEALPOST__GATEWAY__PUBLIC_URL", PUBLIC);
    for (name, provider) in providers {
        let key = |key: &str| format!("SEALPOST__OIDC__{}__{key}", name.to_uppercase());
        settings = settings.set(&key("ISSUER"), &provider.issuer).set(&key("CLIENT_ID"), CLIENT);
        settings = settings.set(&key("CLIENT_SECRET"), CLIENT_SECRET);
    }
    for (name, value) in more {
        settings = settings.set(name, value);
    }
    Stack::start(form, settings).await
}

/// A browser on its way: where it was sent, and the cookie that it keeps.
struct Away {
    url: String,
    cookie: String,
}

fn away(begun: &Reply) -> Away {
    assert_eq!(begun.status, 200, "{begun}");
    let cookie = begun.header("set-cookie");
    assert!(cookie.ends_with("; Max-Age=600; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    Away { url: begun.body["url"].as_str().unwrap().to_owned(), cookie }
}

async fn begin(api: &Api, provider: &str) -> Away {
    away(&api.post(&format!("/api/auth/oidc/{provider}"), &json!({})).await)
}

async fn finish(api: &Api, provider: &str, away: &Away, answer: &Value) -> Reply {
    let api = api.with_header("cookie", &away.cookie);
    api.post(&format!("/api/auth/oidc/{provider}/finish"), answer).await
}

/// Links `subject` with the account of `user`.
async fn link(user: &User, name: &str, provider: &Provider, subject: &str) -> Reply {
    let proof = json!({ "password": user.password });
    let away = away(&user.post(&format!("/api/auth/oidc/{name}/link"), proof).await);
    let answer = provider.let_in(&away.url, subject);
    finish(&user.api, name, &away, &answer).await
}

async fn a_linked_account_signs_in(form: Form) {
    let provider = Provider::start().await;
    let stack = stack(form, &[("corp", &provider)], &[("SEALPOST__OIDC__CORP__TITLE", "The Corp")]).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 1, "bob").await);
    let listed = ann.api.get("/api/auth/oidc").await.ok(200);
    assert_eq!(listed["providers"], json!([{ "name": "corp", "title": "The Corp" }]));
    let subject = unique("subject-");
    // Nobody is linked yet, and no account is made.
    let away = begin(&ann.api, "corp").await;
    assert!(away.url.contains("redirect_uri=http%3A%2F%2Fchat.example.org%2Foidc%2Fcorp"), "{}", away.url);
    let answer = provider.let_in(&away.url, &subject);
    finish(&ann.api, "corp", &away, &answer).await.is_problem(403, "unknown-identity");
    // Linking takes proof, and is the owner's.
    let wrong = json!({ "password": "not the password" });
    ann.post("/api/auth/oidc/corp/link", wrong).await.is_problem(401, "wrong-credentials");
    assert_eq!(link(&ann, "corp", &provider, &subject).await.ok(200), json!({ "status": "linked" }));
    assert_eq!(link(&ann, "corp", &provider, &subject).await.ok(200), json!({ "status": "linked" }));
    link(&bob, "corp", &provider, &subject).await.is_problem(409, "identity-taken");
    // Begun at one gateway and finished at another, with each kind of key.
    for (gateway, signature) in [(0, Signature::Es256), (1, Signature::Rs256), (0, Signature::EdDsa)] {
        let body = json!({ "device": { "name": "Browser", "kind": "browser" } });
        let begun = ann.at(&stack, gateway).api.post("/api/auth/oidc/corp", &body).await;
        let away = self::away(&begun);
        let answer = provider.let_in_with(&away.url, &subject, signature, &json!({ "aud": [CLIENT] }));
        let signed_in = finish(&ann.at(&stack, gateway + 1).api, "corp", &away, &answer).await.ok(200);
        assert_eq!(
            (&signed_in["status"], &signed_in["user"]["id"]),
            (&json!("signed_in"), &json!(ann.id)),
            "{signature:?}"
        );
    }
    let identities = ann.get("/api/auth/identities").await.ok(200);
    let [identity] = identities["identities"].as_array().unwrap().as_slice() else { panic!("{identities}") };
    assert_eq!((&identity["subject"], &identity["issuer"]), (&json!(subject), &json!(provider.issuer)));
    assert!(identity["last_used_at"].is_string());
    // A second factor here is asked for here.
    stack.execute(&format!("UPDATE users SET second_factor_at = 1 WHERE id = {}", stack.id(&ann.id))).await.unwrap();
    let away = begin(&ann.api, "corp").await;
    let answer = provider.let_in(&away.url, &subject);
    let asked = finish(&ann.api, "corp", &away, &answer).await.ok(200);
    assert_eq!(asked["status"], "second_factor_required", "{asked}");
    stack.execute(&format!("UPDATE users SET second_factor_at = NULL WHERE id = {}", stack.id(&ann.id))).await.unwrap();
    // Unlinked, by its owner.
    let path = format!("/api/auth/identities/{}/unlink", identity["id"].as_str().unwrap());
    bob.post(&path, json!({ "password": bob.password })).await.is_problem(404, "not-found");
    ann.post(&path, json!({ "password": ann.password })).await.ok(204);
    let away = begin(&ann.api, "corp").await;
    let answer = provider.let_in(&away.url, &subject);
    finish(&ann.api, "corp", &away, &answer).await.is_problem(403, "unknown-identity");
    let page = ann.api.get("/oidc/corp").await;
    assert!(page.status == 200 && page.content_type.starts_with("text/html"), "{page}");
    stack.settle().await;
}

#[tokio::test]
async fn a_linked_account_signs_in_embedded() {
    a_linked_account_signs_in(Form::Embedded).await;
}

#[tokio::test]
async fn a_linked_account_signs_in_cluster() {
    a_linked_account_signs_in(Form::Cluster).await;
}

async fn an_answer_is_good_once_in_the_browser_that_asked(form: Form) {
    let (provider, evil) = (Provider::start().await, Provider::start().await);
    let stack = stack(form, &[("corp", &provider), ("evil", &evil)], &[]).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let subject = unique("subject-");
    link(&ann, "corp", &provider, &subject).await.ok(200);
    let refused = |reply: &Reply| reply.is_problem(403, "provider-refused");
    // Without the cookie, with that of another browser, and with both.
    let (away, other) = (begin(&ann.api, "corp").await, begin(&ann.api, "corp").await);
    let answer = provider.let_in(&away.url, &subject);
    refused(&ann.api.post("/api/auth/oidc/corp/finish", &answer).await);
    refused(&finish(&ann.api, "corp", &other, &answer).await);
    let both = Away { url: String::new(), cookie: format!("{}; {}", away.cookie, other.cookie) };
    refused(&finish(&ann.api, "corp", &both, &answer).await);
    // Another state, another provider.
    let mut forged = answer.clone();
    forged["state"] = json!("x".repeat(43));
    refused(&finish(&ann.api, "corp", &away, &forged).await);
    refused(&finish(&ann.api, "evil", &away, &answer).await);
    // Thirty at once, at all gateways: one session.
    let apis = [ann.api.clone(), ann.at(&stack, 1).api];
    let replies =
        futures_util::future::join_all((0..30).map(|number| finish(&apis[number % 2], "corp", &away, &answer)));
    let replies = replies.await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    replies.iter().filter(|reply| reply.status != 200).for_each(refused);
    // A code that was used, with a new state.
    let away = begin(&ann.api, "corp").await;
    let mut reused = provider.let_in(&away.url, &subject);
    reused["code"] = answer["code"].clone();
    refused(&finish(&ann.api, "corp", &away, &reused).await);
    // A code that another browser got: PKCE does not fit.
    let (mine, theirs) = (begin(&ann.api, "corp").await, begin(&ann.api, "corp").await);
    let mut injected = provider.let_in(&mine.url, &subject);
    injected["code"] = provider.let_in(&theirs.url, &subject)["code"].clone();
    refused(&finish(&ann.api, "corp", &mine, &injected).await);
    // Providers mixed up: one that was asked hands over what it got of the other (RFC 9207 says who answers).
    let away = begin(&ann.api, "corp").await;
    let mut mixed = provider.let_in(&away.url, &subject);
    mixed["iss"] = json!(evil.issuer);
    refused(&finish(&ann.api, "corp", &away, &mixed).await);
    // The same subject at another provider is somebody else.
    let away = begin(&ann.api, "evil").await;
    let answer = evil.let_in(&away.url, &subject);
    finish(&ann.api, "evil", &away, &answer).await.is_problem(403, "unknown-identity");
    // A provider that lets nobody in.
    let away = begin(&ann.api, "corp").await;
    let state = provider.let_in(&away.url, &subject)["state"].clone();
    let denied = finish(&ann.api, "corp", &away, &json!({ "state": state, "error": "access_denied" })).await;
    refused(&denied);
    assert!(denied.text.contains("access_denied"), "{denied}");
    // A link whose session ended meanwhile.
    let other = ann.sign_in().await;
    let away = self::away(&other.post("/api/auth/oidc/corp/link", json!({})).await);
    let answer = provider.let_in(&away.url, &unique("subject-"));
    other.post("/api/auth/signout", Value::Null).await.ok(204);
    refused(&finish(&ann.api, "corp", &away, &answer).await);
    assert_eq!(ann.get("/api/auth/identities").await.ok(200)["identities"].as_array().unwrap().len(), 1);
    ann.api.post("/api/auth/oidc/nobody", &json!({})).await.is_problem(404, "not-found");
    stack.settle().await;
    let logs: String = stack.processes().map(sealpost_testing::Process::log_text).collect();
    assert!(!logs.contains(CLIENT_SECRET) && !logs.contains(answer["state"].as_str().unwrap()), "a secret is in a log");
}

#[tokio::test]
async fn an_answer_is_good_once_in_the_browser_that_asked_embedded() {
    an_answer_is_good_once_in_the_browser_that_asked(Form::Embedded).await;
}

#[tokio::test]
async fn an_answer_is_good_once_in_the_browser_that_asked_cluster() {
    an_answer_is_good_once_in_the_browser_that_asked(Form::Cluster).await;
}

#[tokio::test]
async fn a_token_counts_if_all_of_it_is_right() {
    let provider = Provider::start().await;
    let stack = stack(Form::Embedded, &[("corp", &provider)], &[]).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let subject = unique("subject-");
    link(&ann, "corp", &provider, &subject).await.ok(200);
    let good = Signature::Es256;
    for (what, signature, say) in [
        ("algorithm none", Signature::None, json!({})),
        ("HS256 with the public key", Signature::Hs256, json!({})),
        ("another key", Signature::Forged, json!({})),
        ("another issuer", good, json!({ "iss": "https://evil.example" })),
        ("no issuer", good, json!({ "iss": null })),
        ("another audience", good, json!({ "aud": "other" })),
        ("no audience", good, json!({ "aud": null })),
        ("two audiences and no party", good, json!({ "aud": [CLIENT, "other"] })),
        ("another party", good, json!({ "aud": [CLIENT, "other"], "azp": "other" })),
        ("another nonce", good, json!({ "nonce": "x" })),
        ("no nonce", good, json!({ "nonce": null })),
        ("expired", good, json!({ "exp": 1_700_000_000 })),
        ("no expiry", good, json!({ "exp": null })),
        ("expiry as text", good, json!({ "exp": "9999999999" })),
        ("made tomorrow", good, json!({ "iat": 9_999_999_999_u64 })),
        ("not yet good", good, json!({ "nbf": 9_999_999_999_u64 })),
        ("no subject", good, json!({ "sub": null })),
        ("an empty subject", good, json!({ "sub": "" })),
    ] {
        let away = begin(&ann.api, "corp").await;
        let answer = provider.let_in_with(&away.url, &subject, signature, &say);
        let reply = finish(&ann.api, "corp", &away, &answer).await;
        assert_eq!(reply.status, 403, "{what}: {reply}");
        reply.is_problem(403, "provider-refused");
    }
    let away = begin(&ann.api, "corp").await;
    let both = json!({ "aud": ["other", CLIENT], "azp": CLIENT });
    let answer = provider.let_in_with(&away.url, &subject, good, &both);
    finish(&ann.api, "corp", &away, &answer).await.ok(200);
}

#[tokio::test]
async fn accounts_are_made_only_where_they_may_and_no_address_links_one() {
    let (open, closed) = (Provider::start().await, Provider::start().await);
    let create = [("SEALPOST__OIDC__OPEN__CREATE_ACCOUNTS", "true")];
    let stack = stack(Form::Cluster, &[("open", &open), ("closed", &closed)], &create).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let address = format!("{}@example.org", ann.username);
    let claim = format!("UPDATE users SET email = '{address}', email_verified_at = 1 WHERE id = {}", stack.id(&ann.id));
    stack.execute(&claim).await.unwrap();
    // Somebody whom a provider calls by Ann's name and address, proven or not, is not Ann.
    for (number, verified) in [json!(true), json!(false), json!("true"), Value::Null].into_iter().enumerate() {
        let say =
            json!({ "email": address, "email_verified": verified, "preferred_username": ann.username, "name": "Ann" });
        let subject = unique("subject-");
        let away = begin(&ann.api, "closed").await;
        let answer = closed.let_in_with(&away.url, &subject, Signature::Es256, &say);
        finish(&ann.api, "closed", &away, &answer).await.is_problem(403, "unknown-identity");
        let away = begin(&ann.api, "open").await;
        let answer = open.let_in_with(&away.url, &subject, Signature::Es256, &say);
        let made = finish(&ann.at(&stack, number).api, "open", &away, &answer).await.ok(200);
        assert_ne!(made["user"]["id"], ann.id.as_str());
        assert!(made["user"]["username"].as_str().unwrap().starts_with(&ann.username[..8]), "{made}");
        let me = ann.api.request("GET", "/api/auth/me", made["access_token"].as_str(), &Value::Null).await.ok(200);
        assert_eq!((&me["email"], &me["email_verified"]), (&Value::Null, &json!(false)));
    }
    // A new person gets the address that the provider vouches for, still to be proven here; the same account next time.
    let (name, subject) = (unique("eve"), unique("subject-"));
    let say = json!({ "email": format!("{name}@Example.net"), "email_verified": true, "name": "Eve" });
    let sign_in = async || {
        let away = begin(&ann.api, "open").await;
        let answer = open.let_in_with(&away.url, &subject, Signature::Rs256, &say);
        finish(&ann.api, "open", &away, &answer).await.ok(200)
    };
    let (first, second) = tokio::join!(sign_in(), sign_in());
    assert_eq!(first["user"]["id"], second["user"]["id"], "one account, however many make it at once");
    assert_eq!((&first["user"]["username"], &first["user"]["display_name"]), (&json!(name), &json!("Eve")));
    let eve = User::of(ann.api.clone(), name.clone(), String::new(), &first);
    let me = eve.get("/api/auth/me").await.ok(200);
    assert_eq!((&me["email"], &me["email_verified"]), (&json!(format!("{name}@example.net")), &json!(false)));
    // Without a password: none signs in, and the last way in cannot go.
    for password in ["", "x"] {
        let body = json!({ "username": name, "password": password });
        eve.api.post("/api/auth/signin", &body).await.is_problem(401, "wrong-credentials");
    }
    eve.post("/api/auth/passkeys", json!({ "password": "" })).await.is_problem(401, "wrong-credentials");
    let identities = eve.get("/api/auth/identities").await.ok(200);
    let path = format!("/api/auth/identities/{}/unlink", identities["identities"][0]["id"].as_str().unwrap());
    eve.post(&path, json!({})).await.is_problem(409, "last-way-in");
    sign_in().await;
    stack.settle().await;
}

#[tokio::test]
async fn where_sign_up_is_closed_a_provider_makes_no_account() {
    let provider = Provider::start().await;
    let settings = [("SEALPOST__OIDC__CORP__CREATE_ACCOUNTS", "true"), ("SEALPOST__AUTH__SIGNUP", "invitation")];
    let stack = stack(Form::Embedded, &[("corp", &provider)], &settings).await;
    let api = Api::new(&stack.url(0));
    let away = begin(&api, "corp").await;
    let answer = provider.let_in(&away.url, "somebody");
    finish(&api, "corp", &away, &answer).await.is_problem(403, "unknown-identity");
}

#[tokio::test]
async fn a_provider_that_is_away_or_lies_harms_nobody_else() {
    let (provider, other) = (Provider::start().await, Provider::start().await);
    provider.set_away(true);
    let stack = stack(Form::Embedded, &[("corp", &provider), ("other", &other)], &[]).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let ask = async || ann.api.post("/api/auth/oidc/corp", &json!({})).await;
    let reply = ask().await;
    reply.is_problem(503, "provider-unavailable");
    assert!(reply.text.contains("`corp`"), "{reply}");
    // It is not asked again by everybody at once.
    let asked = provider.asked();
    futures_util::future::join_all((0..20).map(|_| ask())).await;
    assert!(provider.asked() <= asked + 1, "{} after {asked}", provider.asked());
    begin(&ann.api, "other").await;
    // What was published is used on while it is away.
    let subject = unique("subject-");
    link(&ann, "other", &other, &subject).await.ok(200);
    let away = begin(&ann.api, "other").await;
    let answer = other.let_in(&away.url, &subject);
    other.set_away(true);
    finish(&ann.api, "other", &away, &answer).await.is_problem(503, "provider-unavailable");
    begin(&ann.api, "other").await;
    other.set_away(false);
    let away = begin(&ann.api, "other").await;
    let answer = other.let_in(&away.url, &subject);
    finish(&ann.api, "other", &away, &answer).await.ok(200);
    // One that calls itself otherwise, and ones that send this server elsewhere.
    for lie in [
        json!({ "issuer": "http://127.0.0.1:1/other" }),
        json!({ "token_endpoint": "http://192.0.2.1/token" }),
        json!({ "jwks_uri": "file:///etc/passwd" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
    ] {
        let liar = Provider::start().await;
        liar.describe(lie.clone());
        let stack = self::stack(Form::Embedded, &[("liar", &liar)], &[]).await;
        let reply = Api::new(&stack.url(0)).post("/api/auth/oidc/liar", &json!({})).await;
        assert_eq!(reply.status, 503, "{lie}: {reply}");
    }
}

/// A provider inside a company: TLS by its own authority, which only the one trusts that names it.
#[tokio::test]
async fn a_provider_of_ones_own_authority_is_asked_by_tls() {
    let (certificate, folder) = (Certificate::new(), tempfile::tempdir().unwrap());
    let (corp, stranger) = (Provider::start_tls(&certificate).await, Provider::start_tls(&Certificate::new()).await);
    let authority = certificate.write(folder.path()).display().to_string();
    let more = [("SEALPOST__OIDC__CORP__AUTHORITY", authority.as_str())];
    let stack = stack(Form::Embedded, &[("corp", &corp), ("stranger", &stranger)], &more).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let subject = unique("subject-");
    link(&ann, "corp", &corp, &subject).await.ok(200);
    let away = begin(&ann.api, "corp").await;
    let answer = corp.let_in(&away.url, &subject);
    assert_eq!(finish(&ann.api, "corp", &away, &answer).await.ok(200)["user"]["id"], ann.id);
    let refused = ann.api.post("/api/auth/oidc/stranger", &json!({})).await;
    refused.is_problem(503, "provider-unavailable");
    assert!(stack.process("serve-1").log_text().contains("UnknownIssuer"), "and the log says why");
    // What is no authority is said at the start.
    let serve = stack.process("serve-1");
    assert!(serve.terminate().success());
    serve.start_with(&[("SEALPOST__OIDC__CORP__AUTHORITY", "/nowhere/authority.pem")]);
    assert!(!serve.wait_for_end().success());
    assert!(serve.log_text().contains("oidc.corp.authority: /nowhere/authority.pem cannot be read"));
}

#[tokio::test]
async fn a_key_that_a_provider_changed_is_asked_for_and_not_by_everybody() {
    let provider = Provider::start().await;
    let stack = stack(Form::Embedded, &[("corp", &provider)], &[]).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let subject = unique("subject-");
    link(&ann, "corp", &provider, &subject).await.ok(200);
    let sign_in = async || {
        let away = begin(&ann.api, "corp").await;
        let answer = provider.let_in(&away.url, &subject);
        finish(&ann.api, "corp", &away, &answer).await
    };
    sign_in().await.ok(200);
    provider.rotate();
    // Not sooner than some seconds after it was asked before.
    eventually("the new key", async || (sign_in().await.status == 200).then_some(())).await;
    // Twenty tokens of a key that is not known yet: twenty codes, and its documents are fetched once at most.
    provider.rotate();
    let before = provider.asked();
    let replies = futures_util::future::join_all((0..20).map(|_| sign_in())).await;
    assert!(provider.asked() <= before + 20 + 2, "{} after {before}", provider.asked());
    assert!(replies.iter().all(|reply| [200, 403].contains(&reply.status)));
    eventually("the newest key", async || (sign_in().await.status == 200).then_some(())).await;
}

/// The way back, as a browser takes it: the address that the provider sends it to, the page there, its script, and the request that
/// the script makes with what stands in the address.
async fn the_page_of_the_way_back_finishes_a_sign_in(form: Form) {
    let provider = Provider::start().await;
    let stack = stack(form, &[("corp", &provider)], &[]).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let subject = unique("subject-");
    link(&ann, "corp", &provider, &subject).await.ok(200);
    let body = json!({ "device": { "kind": "browser" } });
    let away = away(&ann.api.with_header("sealpost-session", "cookie").post("/api/auth/oidc/corp", &body).await);
    let asked = reqwest::Url::parse(&away.url).unwrap();
    let redirect_uri = asked.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    let mut back = reqwest::Url::parse(&redirect_uri).unwrap();
    let answer = provider.let_in(&away.url, &subject);
    for name in ["state", "code"] {
        back.query_pairs_mut().append_pair(name, answer[name].as_str().unwrap());
    }
    back.query_pairs_mut().append_pair("iss", &provider.issuer);
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let here = stack.url(1);
    let get = async |path: &str| {
        let answer = browser.get(format!("{here}{path}")).header("cookie", &away.cookie).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let headers = [header("content-type"), header("content-security-policy"), header("referrer-policy")];
        (headers, answer.text().await.unwrap())
    };
    let ([kind, policy, referrer], page) = get(&format!("{}?{}", back.path(), back.query().unwrap())).await;
    assert!(kind.starts_with("text/html") && policy.contains("script-src 'self';"), "{kind}, {policy}");
    assert_eq!(referrer, "no-referrer", "the code goes nowhere else");
    assert!(page.contains("<script src=\"/oidc.js\"></script>") && !page.contains(answer["code"].as_str().unwrap()));
    let ([kind, ..], script) = get("/oidc.js").await;
    assert!(kind.starts_with("text/javascript"), "{kind}");
    // What it sends is what the route takes.
    assert!(script.contains(r#"["state", "code", "error", "iss"]"#) && script.contains("/finish`"), "{script}");
    let fields: serde_json::Map<_, _> =
        back.query_pairs().map(|(name, value)| (name.into_owned(), json!(value))).collect();
    let finish = browser.post(format!("{here}/api/auth{}/finish", back.path())).header("cookie", &away.cookie);
    let finish = finish.header("sealpost-session", "cookie").header("origin", &here);
    let finish = finish.header("content-type", "application/json").body(Value::Object(fields).to_string());
    let finished = finish.send().await.unwrap();
    let cookies: Vec<_> = finished.headers().get_all("set-cookie").iter().map(|set| set.to_str().unwrap()).collect();
    let pair = |cookie: &&str| cookie.split(';').next().unwrap().to_owned();
    let session = cookies.iter().map(pair).filter(|pair| !pair.ends_with('=')).collect::<Vec<_>>().join("; ");
    assert!(session.contains("sealpost_access=") && session.contains("sealpost_refresh="), "{cookies:?}");
    let me = browser.get(format!("{here}/api/auth/me")).header("cookie", &session).send().await.unwrap();
    let me: Value = serde_json::from_str(&me.text().await.unwrap()).unwrap();
    assert_eq!(me["id"], ann.id, "{me}");
    let logs: String = stack.processes().map(sealpost_testing::Process::log_text).collect();
    assert!(!logs.contains(answer["code"].as_str().unwrap()), "a code is in a log");
}

#[tokio::test]
async fn the_page_of_the_way_back_finishes_a_sign_in_embedded() {
    the_page_of_the_way_back_finishes_a_sign_in(Form::Embedded).await;
}

#[tokio::test]
async fn the_page_of_the_way_back_finishes_a_sign_in_cluster() {
    the_page_of_the_way_back_finishes_a_sign_in(Form::Cluster).await;
}
