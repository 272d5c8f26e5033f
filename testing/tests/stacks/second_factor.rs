//! One-time codes and recovery codes.

use std::time::{SystemTime, UNIX_EPOCH};

use sealpost_testing::{Reply, Stack, User};
use serde_json::{Value, json};

/// An app on somebody's phone.
struct App(totp_rs::Totp);

impl App {
    fn new(secret: &str) -> Self {
        let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
        Self(totp_rs::Builder::new().with_secret(secret).with_account_name("x").build().unwrap())
    }

    /// `later`: codes after the present one; one is within what a server takes.
    fn code(&self, later: u64) -> String {
        #[expect(clippy::disallowed_methods, reason = "a phone has a clock of its own")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.0.generate(now + later * 30).to_string()
    }
}

async fn first_factor(user: &User) -> Value {
    let credentials = json!({ "username": user.username, "password": user.password });
    user.api.post("/api/auth/signin", &credentials).await.ok(200)
}

async fn second_factor(user: &User, challenge: &Value, code: &str) -> Reply {
    user.api.post("/api/auth/signin/second-factor", &json!({ "challenge": challenge, "code": code })).await
}

/// With codes switched on: the app, the code that did it, and recovery codes.
async fn switch_on(user: &User) -> (App, String, Vec<String>) {
    let begun = user.post("/api/auth/totp", json!({ "password": user.password })).await.ok(200);
    let app = App::new(begun["secret"].as_str().unwrap());
    assert!(begun["url"].as_str().unwrap().starts_with("otpauth://totp/"), "{begun}");
    // Not on before it is confirmed.
    assert_eq!(first_factor(user).await["status"], "signed_in");
    let code = app.code(0);
    user.post("/api/auth/totp/confirm", json!({ "code": "000000x" })).await.is_problem(401, "wrong-code");
    let confirmed = user.post("/api/auth/totp/confirm", json!({ "code": code })).await.ok(200);
    let codes: Vec<String> = serde_json::from_value(confirmed["recovery_codes"].clone()).unwrap();
    assert_eq!(codes.len(), 10);
    (app, code, codes)
}

pub async fn a_sign_in_with_codes_has_two_steps(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let there = ann.at(stack, 1);
    let (app, used, codes) = switch_on(&ann).await;
    let asked = first_factor(&ann).await;
    assert_eq!(asked["status"], "second_factor_required", "{asked}");
    assert!(asked.get("access_token").is_none() && asked.get("user").is_none(), "{asked}");
    // A code that was used is not good again, also not the one that switched it on.
    second_factor(&there, &asked["challenge"], &used).await.is_problem(401, "wrong-code");
    let code = app.code(1);
    let signed_in = second_factor(&there, &asked["challenge"], &code).await.ok(200);
    assert_eq!((&signed_in["status"], &signed_in["user"]["id"]), (&json!("signed_in"), &json!(ann.id)));
    // Neither the challenge nor the code is good twice.
    second_factor(&ann, &asked["challenge"], &codes[0]).await.is_problem(401, "wrong-code");
    let again = first_factor(&ann).await;
    second_factor(&ann, &again["challenge"], &code).await.is_problem(401, "wrong-code");
    // A recovery code, however it is typed, from two places at once: one session.
    let typed = codes[1].replace('-', " ").to_uppercase();
    let other = first_factor(&there).await;
    let (one, two) = tokio::join!(
        second_factor(&ann, &again["challenge"], &codes[1]),
        second_factor(&there, &other["challenge"], &typed)
    );
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401], "{one} {two}");
    // Off again: for the password, and no code is left.
    ann.post("/api/auth/totp/disable", json!({ "password": "not the password" }))
        .await
        .is_problem(401, "wrong-credentials");
    ann.post("/api/auth/totp", json!({ "password": ann.password })).await.is_problem(409, "second-factor-on");
    ann.post("/api/auth/totp/disable", json!({ "password": ann.password })).await.ok(204);
    assert_eq!(first_factor(&ann).await["status"], "signed_in");
}

pub async fn guessing_codes_is_slow_and_harms_nobody_else(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let (_, _, codes) = switch_on(&ann).await;
    let asked = first_factor(&ann).await;
    let mut paused = false;
    for number in 0..20 {
        let reply = second_factor(&ann, &asked["challenge"], &format!("{number:06}")).await;
        paused |= reply.status == 429;
        assert!([401, 429].contains(&reply.status), "{reply}");
    }
    assert!(paused);
    // Also a good one has to wait, at every gateway; and nobody else does.
    let there = ann.at(stack, 1);
    second_factor(&there, &asked["challenge"], &codes[0]).await.is_problem(429, "too-many-requests");
    assert_eq!(first_factor(&bob).await["status"], "signed_in");
    // Challenges are not made up, nor somebody else's.
    second_factor(&bob, &json!("made up"), &codes[0]).await.is_problem(401, "wrong-code");
    ann.get("/api/auth/me").await.ok(200);
}

pub async fn a_challenge_ends_with_the_password(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let (app, _, _) = switch_on(&ann).await;
    let asked = first_factor(&ann).await;
    let change = json!({ "password": ann.password, "new_password": "harbour quiet 99 lamp" });
    ann.post("/api/auth/password", change).await.ok(204);
    second_factor(&ann, &asked["challenge"], &app.code(1)).await.is_problem(401, "wrong-code");
}
