//! Passkeys: alone, as second factor, and in the wrong hands.

use sealpost_testing::{Authenticator, Form, Reply, SHARED_ORIGIN, Settings, Stack, User};
use serde_json::{Value, json};

const BEGIN: &str = "/api/auth/signin/passkey";
const FINISH: &str = "/api/auth/signin/passkey/finish";
const BEGIN_SECOND: &str = "/api/auth/signin/passkey/second-factor";
const FINISH_SECOND: &str = "/api/auth/signin/passkey/second-factor/finish";

/// A new passkey of `user`, begun here and finished at another gateway, and the answer.
async fn add(stack: &Stack, user: &User, name: &str) -> (Authenticator, Value) {
    let begun = user.post("/api/auth/passkeys", json!({ "password": user.password })).await.ok(200);
    let (passkey, credential) = Authenticator::create(SHARED_ORIGIN, &begun["options"]);
    let body = json!({ "ceremony": begun["ceremony"], "credential": credential, "name": name });
    let added = user.at(stack, 1).post("/api/auth/passkeys/finish", body).await.ok(201);
    (passkey, added)
}

/// What a browser sends to finish a sign-in without a name.
async fn signed(user: &User, passkey: &mut Authenticator) -> Value {
    let begun = user.api.post(BEGIN, &Value::Null).await.ok(200);
    json!({ "ceremony": begun["ceremony"], "credential": passkey.get(&begun["options"]) })
}

async fn sign_in(user: &User, passkey: &mut Authenticator) -> Reply {
    let body = signed(user, passkey).await;
    user.api.post(FINISH, &body).await
}

async fn first_factor(user: &User) -> Value {
    let credentials = json!({ "username": user.username, "password": user.password });
    user.api.post("/api/auth/signin", &credentials).await.ok(200)
}

async fn second_factor(stack: &Stack, user: &User, asked: &Value, passkey: &mut Authenticator) -> Reply {
    let body = json!({ "challenge": asked["challenge"] });
    let begun = user.api.post(BEGIN_SECOND, &body).await.ok(200);
    let body = json!({ "challenge": asked["challenge"], "credential": passkey.get(&begun["options"]) });
    user.at(stack, 1).api.post(FINISH_SECOND, &body).await
}

pub async fn a_passkey_signs_in_without_a_name(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let (mut phone, added) = add(stack, &ann, " Ann's phone ").await;
    assert_eq!(added["recovery_codes"].as_array().unwrap().len(), 10, "{added}");
    let (mut laptop, other) = add(stack, &ann, "Laptop").await;
    assert_eq!(other["recovery_codes"], json!([]), "there are some already");
    for (passkey, gateway) in [(&mut phone, 1), (&mut laptop, 0)] {
        let body = signed(&ann, passkey).await;
        let device = json!({ "name": "Browser", "kind": "browser" });
        let body = json!({ "ceremony": body["ceremony"], "credential": body["credential"], "device": device });
        let signed_in = ann.at(stack, gateway).api.post(FINISH, &body).await.ok(200);
        assert_eq!((&signed_in["status"], &signed_in["user"]["id"]), (&json!("signed_in"), &json!(ann.id)));
    }
    let id = added["passkey"]["id"].as_str().unwrap();
    let renamed =
        ann.request("PATCH", &format!("/api/auth/passkeys/{id}"), json!({ "name": "Old phone" })).await.ok(200);
    assert!(renamed["last_used_at"].is_string(), "{renamed}");
    let listed = ann.get("/api/auth/passkeys").await.ok(200);
    let names: Vec<_> = listed["passkeys"].as_array().unwrap().iter().map(|passkey| &passkey["name"]).collect();
    assert_eq!(names, ["Old phone", "Laptop"]);
    let log = User::sign_up(stack, 0, "root").await.promoted(stack);
    let page = log.get(&format!("/api/admin/audit?user_id={}&action=signed_in", ann.id)).await.ok(200);
    assert_eq!(page["entries"][0]["details"], json!({ "method": "passkey" }));
    // Somebody else's are not found.
    log.request("PATCH", &format!("/api/auth/passkeys/{id}"), json!({ "name": "Mine" }))
        .await
        .is_problem(404, "not-found");
    let proof = json!({ "password": log.password });
    log.post(&format!("/api/auth/passkeys/{id}/remove"), proof).await.is_problem(404, "not-found");
    // Removed: it is nothing any more, and the other one still is.
    let path = format!("/api/auth/passkeys/{id}/remove");
    ann.post(&path, json!({ "password": "not the password" })).await.is_problem(401, "wrong-credentials");
    ann.post(&path, json!({ "password": ann.password })).await.ok(204);
    sign_in(&ann, &mut phone).await.is_problem(401, "passkey-refused");
    sign_in(&ann, &mut laptop).await.ok(200);
    stack.run(&["admin", "disable", &ann.username]);
    sign_in(&ann, &mut laptop).await.is_problem(401, "passkey-refused");
}

pub async fn a_passkey_is_a_second_factor_with_recovery_codes(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let (mut passkey, added) = add(stack, &ann, "Key").await;
    let (mut other, _) = add(stack, &bob, "Key").await;
    let codes: Vec<String> = serde_json::from_value(added["recovery_codes"].clone()).unwrap();
    let asked = first_factor(&ann).await;
    assert_eq!(asked["status"], "second_factor_required", "{asked}");
    assert_eq!(asked["methods"], json!(["passkey", "recovery_code"]));
    second_factor(stack, &ann, &asked, &mut other).await.is_problem(401, "passkey-refused");
    let signed_in = second_factor(stack, &ann, &asked, &mut passkey).await.ok(200);
    assert_eq!((&signed_in["status"], &signed_in["user"]["id"]), (&json!("signed_in"), &json!(ann.id)));
    let body = json!({ "challenge": asked["challenge"] });
    ann.api.post(BEGIN_SECOND, &body).await.is_problem(401, "wrong-code");
    // Without the passkey: a recovery code, which is good once.
    let use_code = async |code: &str| {
        let asked = first_factor(&ann).await;
        let body = json!({ "challenge": asked["challenge"], "code": code });
        ann.at(stack, 1).api.post("/api/auth/signin/second-factor", &body).await
    };
    use_code("123456").await.is_problem(401, "wrong-code");
    use_code(&codes[0]).await.ok(200);
    use_code(&codes[0]).await.is_problem(401, "wrong-code");
    // Renewed, the old ones are void.
    let path = "/api/auth/recovery-codes";
    ann.post(path, json!({ "password": "not the password" })).await.is_problem(401, "wrong-credentials");
    let renewed = ann.post(path, json!({ "password": ann.password })).await.ok(200);
    use_code(&codes[1]).await.is_problem(401, "wrong-code");
    use_code(renewed["recovery_codes"][9].as_str().unwrap()).await.ok(200);
    // With the last passkey the second factor goes, and the codes with it.
    let id = added["passkey"]["id"].as_str().unwrap();
    ann.post(&format!("/api/auth/passkeys/{id}/remove"), json!({ "password": ann.password })).await.ok(204);
    assert_eq!(first_factor(&ann).await["status"], "signed_in");
    ann.post(path, json!({ "password": ann.password })).await.is_problem(409, "second-factor-off");
    // Another person's goes on.
    assert_eq!(first_factor(&bob).await["status"], "second_factor_required");
    sign_in(&bob, &mut other).await.ok(200);
}

pub async fn what_was_begun_with_a_passkey_is_good_once(stack: &Stack) {
    let (ann, eve) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "eve").await);
    let (mut passkey, _) = add(stack, &ann, "Key").await;
    let (mut foreign, _) = add(stack, &eve, "Key").await;
    // Thirty at once, at all gateways.
    let body = signed(&ann, &mut passkey).await;
    let apis = [ann.api.clone(), ann.at(stack, 1).api];
    let replies = futures_util::future::join_all((0..30).map(|number| apis[number % 2].post(FINISH, &body))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    replies.iter().filter(|reply| reply.status != 200).for_each(|reply| reply.is_problem(401, "passkey-refused"));
    // An answer to another question.
    let (one, two) = (signed(&ann, &mut passkey).await, signed(&ann, &mut passkey).await);
    let crossed = json!({ "ceremony": two["ceremony"], "credential": one["credential"] });
    ann.api.post(FINISH, &crossed).await.is_problem(401, "passkey-refused");
    ann.api.post(FINISH, &two).await.is_problem(401, "passkey-refused");
    // What was begun for one thing is not good for another, nor is it for somebody else.
    let begun = ann.post("/api/auth/passkeys", json!({ "password": ann.password })).await.ok(200);
    let (_, credential) = Authenticator::create(SHARED_ORIGIN, &begun["options"]);
    let registration = json!({ "ceremony": begun["ceremony"], "credential": credential });
    eve.post("/api/auth/passkeys/finish", registration.clone()).await.is_problem(401, "passkey-refused");
    let begun_sign_in = signed(&ann, &mut passkey).await;
    let mixed = json!({ "ceremony": begun_sign_in["ceremony"], "credential": credential });
    ann.post("/api/auth/passkeys/finish", mixed).await.is_problem(401, "passkey-refused");
    ann.post("/api/auth/passkeys/finish", registration.clone()).await.ok(201);
    ann.post("/api/auth/passkeys/finish", registration).await.is_problem(401, "passkey-refused");
    // Another page, a device that does not check its owner, and a passkey that claims to be another's.
    for origin in
        ["http://localhost:8081", "https://localhost:8080", "http://evil.example", "http://localhost.evil.example:8080"]
    {
        let mut phished = passkey.copy();
        origin.clone_into(&mut phished.origin);
        sign_in(&ann, &mut phished).await.is_problem(401, "passkey-refused");
    }
    let mut unchecked = passkey.copy();
    unchecked.verifies = false;
    sign_in(&ann, &mut unchecked).await.is_problem(401, "passkey-refused");
    foreign.claim(&passkey);
    sign_in(&eve, &mut foreign).await.is_problem(401, "passkey-refused");
    passkey.counter += 10;
    sign_in(&ann, &mut passkey).await.ok(200);
}

pub async fn a_copied_passkey_is_refused_and_recorded(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let (mut passkey, added) = add(stack, &ann, "Key").await;
    let mut copy = passkey.copy();
    sign_in(&ann, &mut passkey).await.ok(200);
    sign_in(&ann, &mut passkey).await.ok(200);
    sign_in(&ann, &mut copy).await.is_problem(401, "passkey-refused");
    // Also between the two steps, where the question was asked before the owner's last use.
    let (asked, challenge) = (first_factor(&ann).await, |asked: &Value| json!({ "challenge": asked["challenge"] }));
    let begun = ann.api.post(BEGIN_SECOND, &challenge(&asked)).await.ok(200);
    copy.counter = passkey.counter;
    let answer = json!({ "challenge": asked["challenge"], "credential": copy.get(&begun["options"]) });
    sign_in(&ann, &mut passkey).await.ok(200);
    ann.api.post(FINISH_SECOND, &answer).await.is_problem(401, "passkey-refused");
    let root = User::sign_up(stack, 0, "root").await.promoted(stack);
    let page = root.get(&format!("/api/admin/audit?user_id={}&action=passkey_cloned", ann.id)).await.ok(200);
    let entries = page["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{page}");
    assert_eq!(entries[0]["details"], json!({ "passkey_id": added["passkey"]["id"] }));
    // A device that does not count at all is no copy.
    let bob = User::sign_up(stack, 0, "bob").await;
    let begun = bob.post("/api/auth/passkeys", json!({ "password": bob.password })).await.ok(200);
    let (mut synced, credential) = Authenticator::create_uncounted(SHARED_ORIGIN, &begun["options"]);
    let body = json!({ "ceremony": begun["ceremony"], "credential": credential });
    bob.post("/api/auth/passkeys/finish", body).await.ok(201);
    sign_in(&bob, &mut synced).await.ok(200);
    sign_in(&bob, &mut synced).await.ok(200);
}

/// RELIABILITY.md 3.6, number 20, for passkeys.
pub async fn attack_20_nobody_learns_who_has_passkeys(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let (passkey, _) = add(stack, &ann, "Key").await;
    // Beginning takes no name, and an answer names nobody.
    let begun = ann.api.post(BEGIN, &Value::Null).await.ok(200);
    let options = &begun["options"]["publicKey"];
    assert_eq!(options["allowCredentials"], json!([]), "{begun}");
    assert_eq!((&options["rpId"], &options["userVerification"]), (&json!("localhost"), &json!("required")));
    // A passkey of nobody, one of nobody that claims to be Ann's, and Ann's with another signature: one answer.
    let begun = ann.post("/api/auth/passkeys", json!({ "password": ann.password })).await.ok(200);
    let (mut nobodys, _) = Authenticator::create(SHARED_ORIGIN, &begun["options"]);
    let mut forged = passkey.copy();
    "http://evil.example".clone_into(&mut forged.origin);
    let unknown = sign_in(&ann, &mut nobodys).await;
    let known = sign_in(&ann, &mut forged).await;
    unknown.is_problem(401, "passkey-refused");
    assert_eq!((unknown.status, &unknown.text), (known.status, &known.text));
}

/// What decides who gets into an account takes the password, or a session that has just begun.
pub async fn an_old_session_alone_adds_no_passkey(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    // A new one is enough.
    ann.post("/api/auth/passkeys", json!({})).await.ok(200);
    let earlier = format!("UPDATE sessions SET created_at = created_at - 660000 WHERE user_id = {}", stack.id(&ann.id));
    assert_eq!(stack.execute(&earlier).await, Ok(1));
    for path in ["/api/auth/passkeys", "/api/auth/totp", "/api/auth/totp/disable", "/api/auth/recovery-codes"] {
        ann.post(path, json!({})).await.is_problem(403, "proof-needed");
    }
    let path = format!("/api/auth/passkeys/{}/remove", uuid::Uuid::now_v7());
    ann.post(&path, json!({})).await.is_problem(403, "proof-needed");
    ann.post("/api/auth/passkeys", json!({ "password": ann.password })).await.ok(200);
}

#[tokio::test]
async fn without_a_name_the_server_says_what_passkeys_need() {
    let stack = Stack::start(Form::Embedded, Settings::default()).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let refused = ann.post("/api/auth/passkeys", json!({ "password": ann.password })).await;
    refused.is_problem(409, "passkeys-off");
    assert!(refused.text.contains("gateway.public_url"), "{refused}");
    ann.api.post(BEGIN, &Value::Null).await.is_problem(409, "passkeys-off");
}
