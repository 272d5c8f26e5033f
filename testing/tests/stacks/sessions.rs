//! Sessions as devices, and their end.

use sealpost_testing::{Api, Connect, Form, Settings, Stack, User, eventually, unique};
use serde_json::{Value, json};

/// Waits until this gateway refuses the session's access token. The promise is a second.
async fn until_refused(user: &User) {
    eventually("the end of a session at another gateway", async || {
        let reply = user.get("/api/auth/me").await;
        (reply.status != 200).then(|| reply.is_problem(401, "unauthenticated"))
    })
    .await;
}

/// RELIABILITY.md 3.6, number 5, for each way to end a session that a user has.
pub async fn attack_5_an_ended_session_hears_and_does_nothing_more(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = bob.dm(&ann).await;
    for (number, way) in ["sign-out", "end one", "end the others", "new password"].into_iter().enumerate() {
        let ending = ann.sign_in().await;
        let mut sockets = [ending.at(stack, 0).socket().await, ending.at(stack, 1).socket().await];
        match way {
            "sign-out" => ending.post("/api/auth/signout", Value::Null).await.ok(204),
            "end one" => ann.delete(&format!("/api/auth/sessions/{}", ending.session_id)).await.ok(204),
            "end the others" => ann.delete("/api/auth/sessions").await.ok(200),
            _ => {
                let change = json!({ "password": ann.password, "new_password": unique("harbour quiet ") });
                ann.post("/api/auth/password", change).await.ok(204)
            }
        };
        // At the gateway that ended it, at once.
        ending.get("/api/auth/me").await.is_problem(401, "unauthenticated");
        ending.say(&dm, "forged", "from beyond").await.is_problem(401, "unauthenticated");
        bob.say(&dm, &format!("b-{number}"), "not for it").await.ok(201);
        for socket in &mut sockets {
            assert_eq!(socket.wait_for_close().await, Some(4401), "{way}");
            let heard = socket.view.messages(&dm);
            assert!(heard.iter().all(|message| message.client_message_id != format!("b-{number}")), "{way}: {heard:?}");
        }
        until_refused(&ending.at(stack, 1)).await;
        for gateway in [0, 1] {
            let refused = ending.at(stack, gateway).connect().open().await.err().unwrap();
            assert_eq!(refused.status, 401, "{way}: {refused:?}");
        }
        let refresh = json!({ "refresh_token": ending.refresh_token });
        ann.api.post("/api/auth/refresh", &refresh).await.is_problem(401, "refresh-refused");
    }
    ann.get("/api/auth/me").await.ok(200);
}

pub async fn my_sessions_are_listed_and_ended(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let device = json!({ "name": " Ann's laptop ", "kind": "browser" });
    let credentials = json!({ "username": ann.username, "password": ann.password, "device": device });
    let laptop = ann.api.post("/api/auth/signin", &credentials).await.ok(200);
    assert_eq!(laptop["status"], "signed_in");
    let list = ann.get("/api/auth/sessions").await.ok(200);
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{list}");
    let of = |id: &Value| sessions.iter().find(|session| session["id"] == *id).unwrap_or_else(|| panic!("{list}"));
    let (first, second) = (of(&json!(ann.session_id)), of(&laptop["session_id"]));
    assert_eq!((&first["current"], &second["current"]), (&json!(true), &json!(false)));
    assert_eq!((&second["name"], &second["kind"]), (&json!("Ann's laptop"), &json!("browser")));
    assert_eq!((&first["name"], &first["kind"]), (&Value::Null, &json!("device")));
    assert_eq!(second["address"], "127.0.0.1");
    assert!(second["idle_until"].as_str() < second["expires_at"].as_str(), "{second}");

    assert_eq!(ann.delete("/api/auth/sessions").await.ok(200)["ended"], 1);
    assert_eq!(ann.delete("/api/auth/sessions").await.ok(200)["ended"], 0);
    let list = ann.get("/api/auth/sessions").await.ok(200);
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
    for bad in ["", "two\nlines", &"x".repeat(81)] {
        let credentials = json!({ "username": ann.username, "password": ann.password, "device": { "name": bad } });
        ann.api.post("/api/auth/signin", &credentials).await.is_problem(422, "invalid");
    }
}

/// Times as the defaults have them; the store's are moved instead of the clock.
pub async fn sessions_end_when_they_are_idle_and_when_they_are_old(stack: &Stack) {
    const HOUR: i64 = 3_600_000;
    let ann = User::sign_up(stack, 0, "ann").await;
    let sign_in = async |kind: &str| {
        let device = json!({ "kind": kind });
        let credentials = json!({ "username": ann.username, "password": ann.password, "device": device });
        ann.api.with_header("user-agent", "Checker/1.0").post("/api/auth/signin", &credentials).await.ok(200)
    };
    let (browser, device, old) = (sign_in("browser").await, sign_in("device").await, sign_in("device").await);
    let listed = async || ann.get("/api/auth/sessions").await.ok(200)["sessions"].as_array().unwrap().clone();
    let of = |sessions: &[Value], wanted: &Value| {
        sessions.iter().find(|session| session["id"] == wanted["session_id"]).cloned().unwrap_or_default()
    };
    let sessions = listed().await;
    let millis = |value: &Value| serde_json::from_value::<sealpost_schema::Timestamp>(value.clone()).unwrap().millis();
    for (signed_in, idle_hours) in [(&browser, 24), (&device, 24 * 30)] {
        let session = of(&sessions, signed_in);
        assert_eq!(millis(&session["idle_until"]) - millis(&session["last_seen_at"]), idle_hours * HOUR, "{session}");
        assert_eq!(millis(&session["expires_at"]) - millis(&session["created_at"]), 30 * 24 * HOUR, "{session}");
        assert_eq!(session["user_agent"], "Checker/1.0");
    }
    // A day and an hour in which nobody used the first two, and the last day of the third, however much it is used.
    let set = async |what: &str, session: &Value| {
        let id = stack.id(session["session_id"].as_str().unwrap());
        assert_eq!(stack.execute(&format!("UPDATE sessions SET {what} WHERE id = {id}")).await, Ok(1));
    };
    for session in [&browser, &device] {
        set(&format!("last_seen_at = last_seen_at - {}", 25 * HOUR), session).await;
    }
    set("expires_at = created_at + 1", &old).await;
    let refresh = async |session: &Value| {
        ann.at(stack, 1).api.post("/api/auth/refresh", &json!({ "refresh_token": session["refresh_token"] })).await
    };
    refresh(&browser).await.is_problem(401, "refresh-refused");
    refresh(&old).await.is_problem(401, "refresh-refused");
    let renewed = refresh(&device).await.ok(200);
    let sessions = listed().await;
    assert_eq!((of(&sessions, &browser), of(&sessions, &old)), (Value::Null, Value::Null), "{sessions:?}");
    // Using it counts from now.
    let session = of(&sessions, &device);
    assert!(millis(&session["last_seen_at"]) >= millis(&session["created_at"]), "{session}");
    set(&format!("last_seen_at = last_seen_at - {}", 31 * 24 * HOUR), &device).await;
    refresh(&renewed).await.is_problem(401, "refresh-refused");
    ann.get("/api/auth/me").await.ok(200);
}

pub async fn the_sessions_of_others_are_not_found(stack: &Stack) {
    let (ann, eve) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "eve").await);
    let foreign = eve.delete(&format!("/api/auth/sessions/{}", ann.session_id)).await;
    foreign.is_problem(404, "not-found");
    let unknown = eve.delete(&format!("/api/auth/sessions/{}", uuid::Uuid::now_v7())).await;
    assert_eq!(foreign.text, unknown.text);
    ann.get("/api/auth/me").await.ok(200);
    eve.delete("/api/auth/sessions/x").await.is_problem(404, "not-found");
}

pub async fn a_token_of_another_session_does_not_prolong_a_socket(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let other = ann.sign_in().await;
    let mut socket = ann.socket().await;
    let refreshed = ann.api.post("/api/auth/refresh", &json!({ "refresh_token": ann.refresh_token })).await.ok(200);
    socket.send(&json!({ "type": "authenticate", "token": refreshed["access_token"] })).await;
    socket.ping().await;
    socket.send(&json!({ "type": "authenticate", "token": other.access_token })).await;
    assert_eq!(socket.wait_for_close().await, Some(4401));
}

/// RELIABILITY.md 3.6, number 7.
pub async fn attack_7_forty_refreshes_leave_one_live_chain(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let apis = [Api::new(&stack.url(0)), Api::new(&stack.url(1))];
    let body = json!({ "refresh_token": ann.refresh_token });
    let replies =
        futures_util::future::join_all((0..40).map(|number| apis[number % 2].post("/api/auth/refresh", &body)));
    let tokens: Vec<_> = replies.await.into_iter().map(|reply| reply.ok(200)["refresh_token"].clone()).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]), "more than one chain");
    let next = apis[1].post("/api/auth/refresh", &json!({ "refresh_token": tokens[0] })).await.ok(200);
    assert_eq!(ann.get("/api/auth/sessions").await.ok(200)["sessions"].as_array().unwrap().len(), 1);
    // The first one again, although its successor is used: both ends of the chain are dead.
    apis[0].post("/api/auth/refresh", &body).await.is_problem(401, "refresh-refused");
    let last = json!({ "refresh_token": next["refresh_token"] });
    apis[0].post("/api/auth/refresh", &last).await.is_problem(401, "refresh-refused");
    until_refused(&ann.at(stack, 1)).await;
    let opened =
        Connect::to(&stack.url(1)).header("authorization", &format!("Bearer {}", ann.access_token)).open().await;
    assert_eq!(opened.err().unwrap().status, 401);
}

/// RELIABILITY.md 3.6, number 7: an old token after the grace, when only whoever copied it can show it.
async fn attack_7_an_old_token_after_the_grace_ends_its_family_and_is_recorded(form: Form) {
    let stack = Stack::start(form, Settings::default().set("SEALPOST__AUTH__REFRESH_GRACE_SECONDS", 1)).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let (other, root) = (ann.sign_in().await, User::sign_up(&stack, 1, "root").await.promoted(&stack));
    let mut sockets = [ann.socket().await, ann.at(&stack, 1).socket().await];
    let refresh = async |gateway: usize, token: &Value| {
        let api = Api::new(&stack.url(gateway));
        api.post("/api/auth/refresh", &json!({ "refresh_token": token })).await
    };
    let first = json!(ann.refresh_token);
    let next = refresh(0, &first).await.ok(200);
    // Within the grace the answer was lost: the same again.
    let refused = eventually("the end of the grace", async || {
        let reply = refresh(1, &first).await;
        if reply.status == 200 {
            assert_eq!(reply.body["refresh_token"], next["refresh_token"]);
            return None;
        }
        Some(reply)
    });
    refused.await.is_problem(401, "refresh-refused");
    refresh(0, &next["refresh_token"]).await.is_problem(401, "refresh-refused");
    for socket in &mut sockets {
        assert_eq!(socket.wait_for_close().await, Some(4401));
    }
    for gateway in [0, 1] {
        until_refused(&ann.at(&stack, gateway)).await;
        let token = next["access_token"].as_str();
        let reply = ann.at(&stack, gateway).api.request("GET", "/api/auth/me", token, &Value::Null).await;
        reply.is_problem(401, "unauthenticated");
    }
    let page = root.get(&format!("/api/admin/audit?user_id={}&action=refresh_reused", ann.id)).await.ok(200);
    assert_eq!(page["entries"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(page["entries"][0]["session_id"], ann.session_id);
    assert_eq!(page["entries"][0]["address"], "127.0.0.1");
    other.get("/api/auth/me").await.ok(200);
}

#[tokio::test]
async fn attack_7_an_old_token_after_the_grace_ends_its_family_and_is_recorded_embedded() {
    attack_7_an_old_token_after_the_grace_ends_its_family_and_is_recorded(Form::Embedded).await;
}

#[tokio::test]
async fn attack_7_an_old_token_after_the_grace_ends_its_family_and_is_recorded_cluster() {
    attack_7_an_old_token_after_the_grace_ends_its_family_and_is_recorded(Form::Cluster).await;
}

async fn beyond_the_limit_the_session_seen_longest_ago_gives_way(form: Form) {
    let stack = Stack::start(form, Settings::default().set("SEALPOST__AUTH__MAX_SESSIONS_PER_USER", 3)).await;
    let (ann, root) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 1, "root").await);
    let (second, third) = (ann.sign_in().await, ann.at(&stack, 1).sign_in().await);
    // The first one is used once more, so the second one is the one seen longest ago.
    let seen = |user: &User, at: i64| {
        format!("UPDATE sessions SET last_seen_at = last_seen_at - {at} WHERE id = {}", stack.id(&user.session_id))
    };
    for (user, ago) in [(&ann, 1000), (&second, 3000), (&third, 2000)] {
        assert_eq!(stack.execute(&seen(user, ago)).await, Ok(1));
    }
    let mut socket = second.at(&stack, 1).socket().await;
    let fourth = ann.sign_in().await;
    assert_eq!(socket.wait_for_close().await, Some(4401));
    second.get("/api/auth/me").await.is_problem(401, "unauthenticated");
    for user in [&ann, &third, &fourth] {
        user.get("/api/auth/me").await.ok(200);
    }
    assert_eq!(ann.get("/api/auth/sessions").await.ok(200)["sessions"].as_array().unwrap().len(), 3);
    let root = root.promoted(&stack);
    let page = root.get(&format!("/api/admin/audit?user_id={}&action=sessions_ended", ann.id)).await.ok(200);
    assert_eq!(page["entries"][0]["details"], json!({ "count": 1, "reason": "too_many" }));
    // However many sign in at once, and at which gateways: no more than there may be, and nobody else pays for it.
    let apis = [ann.clone(), ann.at(&stack, 1)];
    futures_util::future::join_all((0..8).map(|number| apis[number % 2].sign_in())).await;
    let live = format!("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND user_id = {}", stack.id(&ann.id));
    let count = stack.count(&live).await;
    assert!((1..=3).contains(&count), "{count}");
    root.get("/api/auth/me").await.ok(200);
    stack.settle().await;
}

#[tokio::test]
async fn beyond_the_limit_the_session_seen_longest_ago_gives_way_embedded() {
    beyond_the_limit_the_session_seen_longest_ago_gives_way(Form::Embedded).await;
}

#[tokio::test]
async fn beyond_the_limit_the_session_seen_longest_ago_gives_way_cluster() {
    beyond_the_limit_the_session_seen_longest_ago_gives_way(Form::Cluster).await;
}

#[tokio::test]
async fn a_lowered_limit_of_sessions_counts_from_the_next_sign_in() {
    let stack = Stack::start(Form::Embedded, Settings::default()).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let mut last = ann.clone();
    for _ in 0..5 {
        last = ann.sign_in().await;
    }
    // All seen at different times, the first one longest ago.
    stack.execute("UPDATE sessions SET last_seen_at = created_at - 60000").await.unwrap();
    let serve = stack.process("serve-1");
    assert!(serve.terminate().success());
    serve.start_with(&[("SEALPOST__AUTH__MAX_SESSIONS_PER_USER", "2")]);
    stack.ready().await;
    let live = format!("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND user_id = {}", stack.id(&ann.id));
    assert_eq!(stack.count(&live).await, 6, "nobody is signed out by the restart");
    let new = ann.sign_in().await;
    assert_eq!(stack.count(&live).await, 2);
    for user in [&last, &new] {
        user.get("/api/auth/me").await.ok(200);
    }
    ann.get("/api/auth/me").await.is_problem(401, "unauthenticated");
}

/// Requests cost no write: what was used is written for all together, now and then, and at the end.
async fn use_is_written_for_all_together(form: Form) {
    let stack = Stack::start(form, Settings::default().set("SEALPOST__AUTH__LAST_SEEN_SECONDS", 600)).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 0, "bob").await);
    let root = User::sign_up(&stack, 0, "root").await.promoted(&stack);
    let made = root.post("/api/service-accounts", json!({ "username": unique("bot") })).await.ok(201);
    let tokens = format!("/api/service-accounts/{}/tokens", made["id"].as_str().unwrap());
    let token = root.post(&tokens, json!({ "name": "one", "scopes": ["read"] })).await.ok(201);
    let secret = token["token"].as_str().unwrap().to_owned();
    let long_ago = "UPDATE sessions SET last_seen_at = last_seen_at - 60000, created_at = created_at - 60000";
    stack.execute(long_ago).await.unwrap();
    let noted = async |user: &User| {
        let own = format!("FROM sessions WHERE id = {} AND last_seen_at > created_at", stack.id(&user.session_id));
        stack.count(&format!("SELECT count(*) {own}")).await
    };
    let used = async || stack.count("SELECT count(*) FROM api_tokens WHERE last_used_at IS NOT NULL").await;
    for _ in 0..50 {
        ann.get("/api/auth/me").await.ok(200);
        ann.api.request("GET", "/api/conversations", Some(&secret), &Value::Null).await.ok(200);
    }
    assert_eq!((noted(&ann).await, used().await), (0, 0), "nothing is written for a request");
    for gateway in stack.processes_named(if form == Form::Embedded { "serve" } else { "gateway" }) {
        assert!(gateway.terminate().success());
    }
    assert_eq!(
        (noted(&ann).await, noted(&bob).await, used().await),
        (1, 0, 1),
        "written at the end, for those who were there"
    );
}

#[tokio::test]
async fn use_is_written_for_all_together_embedded() {
    use_is_written_for_all_together(Form::Embedded).await;
}

#[tokio::test]
async fn use_is_written_for_all_together_cluster() {
    use_is_written_for_all_together(Form::Cluster).await;
}
