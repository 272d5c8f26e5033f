//! Administering a server.

use sealpost_testing::{Form, Settings, Stack, User, eventually, unique};
use serde_json::{Value, json};

/// RELIABILITY.md 3.6, number 5, for a user who is disabled.
pub async fn attack_5_a_disabled_user_is_out_everywhere(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await.promoted(stack);
    let bob = User::sign_up(stack, 1, "bob").await;
    let dm = ann.dm(&bob).await;
    let mut sockets = [bob.at(stack, 0).socket().await, bob.at(stack, 1).socket().await];
    let path = format!("/api/admin/users/{}", bob.id);
    assert_eq!(ann.get(&path).await.ok(200)["disabled_at"], Value::Null);
    let disabled = ann.post(&format!("{path}/disable"), Value::Null).await.ok(200);
    assert!(disabled["disabled_at"].is_string(), "{disabled}");
    ann.say(&dm, "a-1", "not for bob").await.ok(201);
    for socket in &mut sockets {
        assert_eq!(socket.wait_for_close().await, Some(4401));
        assert!(socket.view.messages(&dm).is_empty());
    }
    for gateway in [0, 1] {
        let bob = bob.at(stack, gateway);
        eventually("the end of all sessions", async || (bob.get("/api/auth/me").await.status == 401).then_some(()))
            .await;
        assert_eq!(bob.connect().open().await.err().unwrap().status, 401);
        let refresh = json!({ "refresh_token": bob.refresh_token });
        bob.api.post("/api/auth/refresh", &refresh).await.is_problem(401, "refresh-refused");
        let credentials = json!({ "username": bob.username, "password": bob.password });
        bob.api.post("/api/auth/signin", &credentials).await.is_problem(401, "wrong-credentials");
    }
    ann.get(&format!("/api/users/{}", bob.username)).await.is_problem(404, "not-found");
    ann.post(&format!("{path}/enable"), Value::Null).await.ok(200);
    bob.get("/api/auth/me").await.is_problem(401, "unauthenticated");
    bob.sign_in().await.get("/api/auth/me").await.ok(200);

    let listed = ann.get(&format!("{path}/sessions")).await.ok(200);
    let [session] = listed["sessions"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    let one = format!("{path}/sessions/{}", session["id"].as_str().unwrap());
    ann.delete(&one).await.ok(204);
    ann.delete(&one).await.is_problem(404, "not-found");
    assert_eq!(ann.delete(&format!("{path}/sessions")).await.ok(200)["ended"], 0);
    for action in ["disable", "role"] {
        let own = format!("/api/admin/users/{}/{action}", ann.id);
        let (method, body) = if action == "role" { ("PUT", json!({ "role": "user" })) } else { ("POST", Value::Null) };
        ann.request(method, &own, body).await.is_problem(422, "invalid");
    }
}

pub async fn the_operator_acts_next_to_a_running_server(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let mut socket = ann.at(stack, 1).socket().await;
    stack.run(&["admin", "disable", &ann.username]);
    assert_eq!(socket.wait_for_close().await, Some(4401));
    stack.run(&["admin", "enable", &ann.username]);
    let ann = ann.sign_in().await;
    let mut socket = ann.socket().await;
    let printed = stack.run(&["admin", "reset-password", &ann.username]);
    assert_eq!(socket.wait_for_close().await, Some(4401));
    let password = printed.lines().find_map(|line| line.strip_prefix("password: ")).unwrap().to_owned();
    let old = json!({ "username": ann.username, "password": ann.password });
    ann.api.post("/api/auth/signin", &old).await.is_problem(401, "wrong-credentials");
    let ann = User { password, ..ann }.sign_in().await;
    ann.get("/api/admin/users").await.is_problem(403, "forbidden");
    stack.run(&["admin", "promote", &ann.username]);
    ann.get("/api/admin/users").await.ok(200);
    stack.run(&["admin", "demote", &ann.username]);
    ann.get("/api/admin/users").await.is_problem(403, "forbidden");
    let name = unique("new");
    assert!(stack.run(&["admin", "create", &name, "--user"]).contains("password: "));
}

pub async fn only_admins_administer(stack: &Stack) {
    let (ann, eve) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "eve").await);
    let document = ann.api.get("/openapi.json").await.ok(200);
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.contains("/admin/")) {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{id}", &ann.id).replace("{session_id}", &ann.session_id);
            let body = json!({ "role": "admin" });
            let body = if ["put", "post"].contains(&method.as_str()) { body } else { Value::Null };
            let reply = eve.request(&method.to_uppercase(), &path, body).await;
            reply.is_problem(403, "forbidden");
            asked += 1;
        }
    }
    assert!(asked > 10, "{asked}");
    // Not by a field of something else either.
    let body = json!({ "username": unique("mal"), "password": unique("pass word "), "role": "admin" });
    eve.api.post("/api/auth/signup", &body).await.is_problem(422, "invalid");
}

pub async fn invitations_are_made_listed_and_withdrawn(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await.promoted(stack);
    let made = ann.post("/api/admin/invitations", json!({ "max_uses": 3 })).await.ok(201);
    let id = made["invitation"]["id"].as_str().unwrap();
    let listed = ann.get("/api/admin/invitations").await.ok(200);
    let found = listed["invitations"].as_array().unwrap().iter().find(|invitation| invitation["id"] == id);
    assert_eq!(found.unwrap()["max_uses"], 3);
    assert!(!listed.to_string().contains(made["code"].as_str().unwrap()), "the code is shown once");
    ann.delete(&format!("/api/admin/invitations/{id}")).await.ok(204);
    ann.delete(&format!("/api/admin/invitations/{id}")).await.is_problem(404, "not-found");
    for bad in [json!({ "max_uses": 0 }), json!({ "hours": 0 }), json!({ "hours": 9000 }), json!({ "max_uses": -1 })] {
        ann.post("/api/admin/invitations", bad).await.is_problem(422, "invalid");
    }
}

pub async fn the_audit_log_says_who_did_what_and_holds_no_secret(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await.promoted(stack);
    let bob = User::sign_up(stack, 1, "bob").await;
    // Into the wrong field.
    let typed = json!({ "username": bob.password, "password": "not the password" });
    ann.api.post("/api/auth/signin", &typed).await.is_problem(401, "wrong-credentials");
    let wrong = json!({ "username": bob.username, "password": "not the password" });
    ann.api.post("/api/auth/signin", &wrong).await.is_problem(401, "wrong-credentials");
    let other = bob.sign_in().await;
    bob.delete(&format!("/api/auth/sessions/{}", other.session_id)).await.ok(204);
    ann.post(&format!("/api/admin/users/{}/disable", bob.id), Value::Null).await.ok(200);

    let about_bob = format!("user_id={}", bob.id);
    let page = ann.get(&format!("/api/admin/audit?{about_bob}")).await.ok(200);
    let entries = page["entries"].as_array().unwrap();
    let actions: Vec<_> = entries.iter().rev().map(|entry| entry["action"].as_str().unwrap()).collect();
    let expected = ["signed_up", "sign_in_failed", "signed_in", "sessions_ended", "user_disabled", "sessions_ended"];
    assert_eq!(actions, expected, "{page}");
    assert_eq!((&entries[1]["actor_id"], &entries[2]["actor_id"]), (&json!(ann.id), &json!(bob.id)));
    assert_eq!((&entries[4]["actor_id"], &entries[4]["address"]), (&Value::Null, &json!("127.0.0.1")));
    assert_eq!(entries[2]["details"], json!({ "count": 1, "reason": "ended_by_user" }));

    // Pages join, and filters filter.
    let first = ann.get(&format!("/api/admin/audit?{about_bob}&limit=4")).await.ok(200);
    let next = first["next"].as_str().unwrap();
    let second = ann.get(&format!("/api/admin/audit?{about_bob}&limit=4&before={next}")).await.ok(200);
    let joined: Vec<_> = [&first, &second].iter().flat_map(|page| page["entries"].as_array().unwrap()).collect();
    assert!(joined.into_iter().eq(entries) && second["next"] == Value::Null);
    let failed = ann.get(&format!("/api/admin/audit?{about_bob}&action=sign_in_failed")).await.ok(200);
    assert_eq!(failed["entries"].as_array().unwrap().len(), 1);
    let at = entries[4]["at"].as_str().unwrap();
    let since = ann.get(&format!("/api/admin/audit?{about_bob}&since={at}&until={at}")).await.ok(200);
    assert_eq!(since["entries"], json!([]));
    ann.get("/api/admin/audit?action=a%20b").await.is_problem(422, "invalid");

    let export = ann.get("/api/admin/audit/export").await;
    assert_eq!((export.status, export.content_type.as_str()), (200, "application/x-ndjson"));
    let lines: Vec<Value> = export.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mine: Vec<_> = lines.iter().filter(|line| line["user_id"] == bob.id.as_str()).collect();
    assert!(mine.into_iter().eq(entries.iter().rev()), "oldest first, and the same");
    for secret in [&bob.password, &bob.access_token, &bob.refresh_token] {
        assert!(!export.text.contains(secret.as_str()), "a secret is in the audit log");
    }
}

/// Not even by who writes to the database: rows leave by their age, and none is rewritten.
pub async fn what_was_recorded_cannot_be_changed(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let own = format!("FROM audit WHERE user_id = {}", stack.id(&ann.id));
    let as_it_was = format!("SELECT count(*) {own} AND action = 'signed_up' AND address = '127.0.0.1'");
    assert_eq!(stack.count(&as_it_was).await, 1);
    for change in ["action = 'signed_in'", "address = NULL", "details = '{}'", "at = 0", "id = id"] {
        let refused = stack.execute(&format!("UPDATE audit SET {change} WHERE action = 'signed_up'")).await;
        assert!(refused.as_ref().is_err_and(|error| error.contains("append-only")), "{change}: {refused:?}");
    }
    assert_eq!(stack.count(&as_it_was).await, 1);
}

/// Key ids of all rows that tell of signing keys, newest first.
async fn recorded_keys(root: &User) -> Vec<Value> {
    recorded(root, "signing_keys_changed").await
}

async fn recorded(root: &User, action: &str) -> Vec<Value> {
    let page = root.get(&format!("/api/admin/audit?action={action}")).await.ok(200);
    page["entries"].as_array().unwrap().iter().map(|entry| entry["details"]["key_ids"].clone()).collect()
}

/// A new key in front, and later the old one taken out: nobody is signed out by the first, and both are in the audit log.
#[tokio::test]
async fn a_change_of_signing_keys_is_recorded() {
    let stack = Stack::start(Form::Embedded, Settings::default()).await;
    let root = User::sign_up(&stack, 0, "root").await.promoted(&stack);
    let key_ids = async || {
        let keys = root.api.get("/.well-known/jwks.json").await.ok(200);
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect::<Vec<_>>()
    };
    let first = key_ids().await;
    eventually("the first row", async || (recorded_keys(&root).await == [json!(first)]).then_some(())).await;
    let serve = stack.process("serve-1");
    let restart = async || {
        assert!(serve.terminate().success());
        serve.start();
        stack.ready().await;
    };
    restart().await;
    assert_eq!(recorded_keys(&root).await.len(), 1, "a start with the same keys adds nothing");
    let file = stack.folder().join("data/keys.env");
    let with_keys = |keys: &str| {
        let text = std::fs::read_to_string(&file).unwrap();
        let line = text.lines().find(|line| line.starts_with("SIGNING_KEY=")).unwrap();
        std::fs::write(&file, text.replace(line, &format!("SIGNING_KEY={keys}"))).unwrap();
    };
    let (old, made) = (stack.signing_key(), stack.run(&["keys", "generate"]));
    let new = made.lines().find_map(|line| line.strip_prefix("SIGNING_KEY=")).unwrap();
    with_keys(&format!("{new},{old}"));
    restart().await;
    let both = key_ids().await;
    assert_eq!((both.len(), &both[1]), (2, &first[0]));
    eventually("the row", async || (recorded_keys(&root).await == [json!(both), json!(first)]).then_some(())).await;
    let later = root.sign_in().await;
    with_keys(new);
    restart().await;
    root.get("/api/auth/me").await.is_problem(401, "unauthenticated");
    let rows = [json!([both[0]]), json!(both), json!(first)];
    eventually("the second row", async || (recorded_keys(&later).await == rows).then_some(())).await;
    let page = later.get("/api/admin/audit?action=signing_keys_changed").await.ok(200);
    let entry = &page["entries"][0];
    assert_eq!((&entry["actor_id"], &entry["user_id"]), (&Value::Null, &Value::Null));
}

/// A new key in front, and the old one, which opens what there is, behind it.
#[tokio::test]
async fn a_change_of_master_keys_is_recorded() {
    let stack = Stack::start(Form::Embedded, Settings::default()).await;
    let root = User::sign_up(&stack, 0, "root").await.promoted(&stack);
    let rows = async || recorded(&root, "master_keys_changed").await;
    let first = eventually("the first row", async || rows().await.pop()).await;
    let file = stack.folder().join("data/keys.env");
    let text = std::fs::read_to_string(&file).unwrap();
    let key_of = |text: &str| text.lines().find_map(|line| line.strip_prefix("FERNET_KEYS=")).unwrap().to_owned();
    let (old, new) = (key_of(&text), key_of(&stack.run(&["keys", "generate"])));
    std::fs::write(&file, text.replace(&old, &format!("{new},{old}"))).unwrap();
    let serve = stack.process("serve-1");
    assert!(serve.terminate().success());
    serve.start();
    stack.ready().await;
    let row = eventually("the second row", async || rows().await.into_iter().next().filter(|row| *row != first)).await;
    let ids = row.as_array().unwrap();
    assert_eq!((ids.len(), &ids[1]), (2, &first[0]));
    for id in ids {
        let id = id.as_str().unwrap();
        assert!(id.len() == 16 && !old.contains(id) && !new.contains(id), "{id}");
    }
}
