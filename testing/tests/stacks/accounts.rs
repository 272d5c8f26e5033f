//! Signing up and in.

use sealpost_testing::{Form, Settings, Stack, User, unique};
use serde_json::{Value, json};

pub async fn signing_in_with_the_email_is_the_same(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let name = unique("eve");
    let password = unique("pass word ");
    let email = format!("{name}@Mail.Example.org");
    let body = json!({ "username": name, "password": password, "email": email });
    let eve = ann.api.post("/api/auth/signup", &body).await.ok(201);
    // As if she had followed the link in the mail.
    let id = stack.id(eve["user"]["id"].as_str().unwrap());
    let prove = format!("UPDATE users SET email = '{}', email_verified_at = 1 WHERE id = {id}", email.to_lowercase());
    assert_eq!(stack.execute(&prove).await, Ok(1));
    for typed in [email.clone(), format!("  {}  ", email.to_uppercase()), name.to_uppercase()] {
        let body = json!({ "username": typed, "password": password });
        let again = ann.api.post("/api/auth/signin", &body).await.ok(200);
        assert_eq!(again["user"]["id"], eve["user"]["id"]);
    }
    // It is nobody's business but hers.
    let seen = ann.get(&format!("/api/users/{name}")).await;
    assert_eq!(seen.status, 200, "{seen}");
    assert!(!seen.text.to_lowercase().contains("mail.example"), "{seen}");
    ann.get(&format!("/api/users/{email}")).await.is_problem(404, "not-found");
    let body = json!({ "username": unique("mal"), "password": unique("pass word "), "email": "no address" });
    ann.api.post("/api/auth/signup", &body).await.is_problem(422, "invalid");
}

/// RELIABILITY.md 3.6, number 20. The times are compared by the bench.
pub async fn attack_20_nothing_tells_whether_an_account_is_there(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let gone = User::sign_up(stack, 0, "gone").await;
    stack.run(&["admin", "disable", &gone.username]);
    let nobody = unique("nobody");
    let mut texts = Vec::new();
    for (name, password) in [
        (ann.username.as_str(), "not the password"),
        (&gone.username, "not the password"),
        (&gone.username, &gone.password),
        (&nobody, "not the password"),
        (&format!("{nobody}@example.org"), "not the password"),
        ("", "not the password"),
        ("x y\0", ""),
    ] {
        let reply = ann.api.post("/api/auth/signin", &json!({ "username": name, "password": password })).await;
        reply.is_problem(401, "wrong-credentials");
        texts.push(reply.text);
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
}

pub async fn people_are_found_by_the_beginning_of_their_names(stack: &Stack) {
    let start = unique("p");
    let mut names = Vec::new();
    for end in ["-a", "-b", "_c", "-d"] {
        let name = format!("{start}{end}");
        let body = json!({ "username": name, "password": unique("pass word "), "display_name": format!("Find Me {start}{end}") });
        sealpost_testing::Api::new(&stack.url(0)).post("/api/auth/signup", &body).await.ok(201);
        names.push(name);
    }
    let ann = User::sign_up(stack, 1, "ann").await;
    stack.run(&["admin", "disable", &names[3]]);
    let found = async |query: &str| {
        let page = ann.get(&format!("/api/users?{query}")).await.ok(200);
        let name = |user: &Value| user["username"].as_str().unwrap().to_owned();
        (page["users"].as_array().unwrap().iter().map(name).collect::<Vec<_>>(), page["next"].clone())
    };
    // Page by page, in any case, without those who are disabled.
    let (first, next) = found(&format!("query={}&limit=2", start.to_uppercase())).await;
    let (second, end) = found(&format!("query={start}&limit=2&after={}", next.as_str().unwrap())).await;
    let mut all = [first, second].concat();
    all.sort();
    let mut expected = names[..3].to_vec();
    expected.sort();
    assert_eq!((all, end), (expected, Value::Null));
    assert_eq!(found(&format!("query=find%20me%20{start}")).await.0.len(), 3, "by display name too");
    // Wildcards of the database stand for themselves.
    assert_eq!(found(&format!("query={start}_")).await.0, [names[2].clone()]);
    assert_eq!(found(&format!("query={start}%25")).await.0, Vec::<String>::new());
    let seen = ann.get(&format!("/api/users/{}", names[0].to_uppercase())).await.ok(200);
    assert_eq!(seen["username"], names[0]);
    ann.get(&format!("/api/users/{}", names[3])).await.is_problem(404, "not-found");
    ann.get("/api/users?limit=101").await.is_problem(422, "invalid");
}

#[tokio::test]
async fn closed_sign_up_takes_nobody() {
    let stack = Stack::start(Form::Embedded, Settings::default().set("SEALPOST__AUTH__SIGNUP", "closed")).await;
    let api = sealpost_testing::Api::new(&stack.url(0));
    for invitation in [Value::Null, json!("kQ9tJm2vXbR7cW1zLh4sPd8yNf6gTa3e")] {
        let body = json!({ "username": "eve", "password": "walrus lantern 47", "invitation": invitation });
        api.post("/api/auth/signup", &body).await.is_problem(403, "forbidden");
    }
    let printed = stack.run(&["admin", "create", "ann", "--user"]);
    let password = printed.lines().find_map(|line| line.strip_prefix("password: ")).unwrap();
    api.post("/api/auth/signin", &json!({ "username": "ann", "password": password })).await.ok(200);
}

pub async fn passwords_that_are_easy_to_guess_are_refused(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let name = unique("eve");
    let own = format!("my name is {name}");
    for weak in ["short", "password12345", "qwertyuiop[]asdf", "aaaaaaaaaaaaaaaa", &own, &"x".repeat(1025)] {
        let body = json!({ "username": name, "password": weak });
        ann.api.post("/api/auth/signup", &body).await.is_problem(422, "weak-password");
    }
    // No rules about kinds of characters, and none is cut off.
    let long = format!("{} ", unique("walrus lantern")).repeat(30);
    let body = json!({ "username": name, "password": long });
    ann.api.post("/api/auth/signup", &body).await.ok(201);
    let cut = json!({ "username": name, "password": long[..long.len() - 1] });
    ann.api.post("/api/auth/signin", &cut).await.is_problem(401, "wrong-credentials");
}

pub async fn anybody_can_check_a_token_with_the_public_keys(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let reply = ann.api.get("/.well-known/jwks.json").await;
    assert_eq!(reply.header("cache-control"), "public, max-age=300");
    let key = reply.ok(200)["keys"][0].clone();
    let (signed, signature) = ann.access_token.rsplit_once('.').unwrap();
    let decode = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
    };
    let header: Value = serde_json::from_slice(&decode(signed.split('.').next().unwrap())).unwrap();
    assert_eq!((&header["kid"], &header["alg"], &header["typ"]), (&key["kid"], &json!("EdDSA"), &json!("at+jwt")));
    let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, decode(key["x"].as_str().unwrap()));
    public.verify(signed.as_bytes(), &decode(signature)).expect("signed with the key that is published");
    assert_eq!(key.as_object().unwrap().len(), 6, "nothing but the public half: {key}");
}

/// RELIABILITY.md 3.6, number 21: memory and other routes during a flood, and an end for those who are too many.
#[tokio::test]
async fn attack_21_a_flood_of_sign_ins_takes_little_memory_and_keeps_nobody_out() {
    let settings = Settings::default().set("SEALPOST__AUTH__MAX_WAITING_HASHES", 100);
    let stack = Stack::start(Form::Embedded, settings).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let flood =
        futures_util::future::join_all(
            (0..200).map(|number| {
                let (api, name) =
                    (ann.api.clone(), if number % 2 == 0 { ann.username.clone() } else { unique("nobody") });
                async move {
                    api.post("/api/auth/signin", &json!({ "username": name, "password": "not the password" })).await
                }
            }),
        );
    let others = async {
        for _ in 0..50 {
            ann.get("/api/auth/me").await.ok(200);
        }
    };
    let (replies, ()) = tokio::join!(flood, others);
    for reply in &replies {
        if reply.status == 401 {
            reply.is_problem(401, "wrong-credentials");
        } else {
            reply.is_problem(503, "unavailable");
            assert!(!reply.header("retry-after").is_empty(), "{reply}");
        }
    }
    let refused = replies.iter().filter(|reply| reply.status == 503).count();
    assert!((1..200).contains(&refused), "{refused} of 200 were told to come again");
    if let Some(peak) = stack.process("serve-1").peak_memory_kib() {
        assert!(peak < 600 * 1024, "{peak} KiB");
    }
    ann.sign_in().await;
}

async fn sign_up_takes_an_invitation(form: Form) {
    let stack = Stack::start(form, Settings::default().set("SEALPOST__AUTH__SIGNUP", "invitation")).await;
    let printed = stack.run(&["admin", "create", "root", "--email", "root@example.org"]);
    let password = printed.lines().find_map(|line| line.strip_prefix("password: ")).unwrap().to_owned();
    let api = sealpost_testing::Api::new(&stack.url(0));
    let body = api.post("/api/auth/signin", &json!({ "username": "root", "password": password })).await.ok(200);
    let root = User::of(api.clone(), "root".to_owned(), password, &body);
    let made = root.post("/api/admin/invitations", json!({ "max_uses": 2, "hours": 1 })).await.ok(201);
    let sign_up = async |gateway: usize, code: Value| {
        let api = sealpost_testing::Api::new(&stack.url(gateway));
        let body = json!({ "username": unique("ann"), "password": unique("pass word "), "invitation": code });
        api.post("/api/auth/signup", &body).await
    };
    for bad in [Value::Null, json!(""), json!("x"), made["invitation"]["id"].clone()] {
        sign_up(0, bad).await.is_problem(403, "invitation-refused");
    }
    let all = futures_util::future::join_all((0..10).map(|number| sign_up(number, made["code"].clone()))).await;
    assert_eq!(all.iter().filter(|reply| reply.status == 201).count(), 2, "each use once");
    assert!(all.iter().all(|reply| [201, 403].contains(&reply.status)));
    let made = root.post("/api/admin/invitations", json!({})).await.ok(201);
    root.delete(&format!("/api/admin/invitations/{}", made["invitation"]["id"].as_str().unwrap())).await.ok(204);
    sign_up(1, made["code"].clone()).await.is_problem(403, "invitation-refused");
}

#[tokio::test]
async fn sign_up_takes_an_invitation_embedded() {
    sign_up_takes_an_invitation(Form::Embedded).await;
}

#[tokio::test]
async fn sign_up_takes_an_invitation_cluster() {
    sign_up_takes_an_invitation(Form::Cluster).await;
}

/// With stronger settings after a restart, those who sign in get a new hash, and the others can still sign in.
#[tokio::test]
async fn hashes_are_made_anew_when_the_settings_rise() {
    let stack = Stack::start(Form::Embedded, Settings::default()).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let hash_of = || {
        let file = std::fs::read(stack.folder().join("data/sealpost.db")).unwrap();
        String::from_utf8_lossy(&file).contains("m=20480,t=3")
    };
    assert!(stack.process("serve-1").terminate().success());
    assert!(!hash_of());
    let stronger = [("SEALPOST__AUTH__ARGON2_ITERATIONS", "3"), ("SEALPOST__AUTH__ARGON2_MEMORY_KIB", "20480")];
    stack.process("serve-1").start_with(&stronger);
    stack.ready().await;
    ann.sign_in().await;
    ann.sign_in().await;
    assert!(stack.process("serve-1").terminate().success());
    assert!(hash_of(), "signing in makes the hash anew");
    stack.process("serve-1").start();
    stack.ready().await;
    ann.sign_in().await;
}
