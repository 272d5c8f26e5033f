//! Tokens, origins, sessions.

use sealpost_testing::{Connect, Form, Settings, Stack, User};
use serde_json::{Value, json};

pub async fn tokens_are_checked_everywhere(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let somebody = uuid::Uuid::now_v7();
    let routes = [
        ("GET", "/api/auth/me".to_owned()),
        ("POST", "/api/auth/signout".to_owned()),
        ("PATCH", "/api/auth/me".to_owned()),
        ("POST", "/api/auth/password".to_owned()),
        ("POST", "/api/auth/email".to_owned()),
        ("PUT", "/api/auth/me/avatar".to_owned()),
        ("DELETE", "/api/auth/me/avatar".to_owned()),
        ("GET", format!("/api/avatars/{somebody}")),
        ("GET", "/api/users?query=a".to_owned()),
        ("GET", format!("/api/users/{somebody}")),
        ("GET", "/api/conversations".to_owned()),
        ("POST", "/api/conversations".to_owned()),
        ("GET", format!("/api/conversations/{somebody}")),
        ("PATCH", format!("/api/conversations/{somebody}")),
        ("DELETE", format!("/api/conversations/{somebody}")),
        ("PUT", format!("/api/conversations/{somebody}/participants/{somebody}")),
        ("DELETE", format!("/api/conversations/{somebody}/participants/{somebody}")),
        ("GET", format!("/api/conversations/{somebody}/messages")),
        ("POST", format!("/api/conversations/{somebody}/messages")),
        ("GET", format!("/api/conversations/{somebody}/messages/{somebody}")),
        ("PUT", format!("/api/conversations/{somebody}/read")),
        ("GET", format!("/api/messages/{somebody}")),
        ("DELETE", format!("/api/messages/{somebody}")),
        ("PUT", format!("/api/messages/{somebody}")),
        ("GET", format!("/api/messages/{somebody}/edits")),
        ("GET", format!("/api/messages/{somebody}/reactions")),
        ("POST", format!("/api/messages/{somebody}/reactions")),
        ("DELETE", format!("/api/messages/{somebody}/reactions/:a:")),
        ("PUT", format!("/api/messages/{somebody}/pin")),
        ("DELETE", format!("/api/messages/{somebody}/pin")),
        ("GET", format!("/api/conversations/{somebody}/pins")),
        ("GET", format!("/api/conversations/{somebody}/threads")),
        ("GET", format!("/api/messages/{somebody}/thread")),
        ("PUT", format!("/api/messages/{somebody}/thread")),
        ("GET", "/api/mentions".to_owned()),
        ("GET", "/api/search?q=anchor".to_owned()),
        ("GET", "/api/drafts".to_owned()),
        ("GET", format!("/api/conversations/{somebody}/draft")),
        ("PUT", format!("/api/conversations/{somebody}/draft")),
        ("DELETE", format!("/api/conversations/{somebody}/draft")),
    ];
    let (head, rest) = ann.access_token.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    // {"alg":"none"} and {"alg":"HS256"}.
    let wrong = [
        "x".to_owned(),
        ann.refresh_token.clone(),
        format!("{head}.{body}."),
        format!("{head}.{body}.{}", signature.chars().rev().collect::<String>()),
        format!("eyJhbGciOiJub25lIn0.{body}."),
        format!("eyJhbGciOiJIUzI1NiJ9.{body}.{signature}"),
    ];
    for (method, path) in routes {
        ann.api.request(method, &path, None, &Value::Null).await.is_problem(401, "unauthenticated");
        ann.api.request(method, &path, Some(&wrong[3]), &Value::Null).await.is_problem(401, "unauthenticated");
    }
    for token in wrong {
        ann.api.request("GET", "/api/auth/me", Some(&token), &Value::Null).await.is_problem(401, "unauthenticated");
        let refused = ann.connect().header("authorization", &format!("Bearer {token}")).open().await.err().unwrap();
        assert_eq!((refused.status, &refused.body["type"]), (401, &json!("urn:sealpost:problem:unauthenticated")));
        let mut socket = Connect::to(&ann.api.base).open().await.unwrap();
        socket.send(&json!({ "type": "authenticate", "token": token })).await;
        let error = socket.wait_for_type("error").await;
        assert_eq!(error["problem"]["type"], "urn:sealpost:problem:unauthenticated", "{error}");
        assert_eq!(socket.wait_for_close().await, Some(4401));
    }
}

/// RELIABILITY.md 3.6, number 9. There are no tickets that could be used again: a handshake shows the session's own token.
pub async fn attack_9_a_token_in_the_address_is_refused(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    for name in ["token", "access_token", "authorization"] {
        let path = format!("/ws?{name}={}", ann.access_token);
        let refused = ann.connect().without_token().path(&path).open().await.err().unwrap();
        assert_eq!(refused.status, 422, "{refused:?}");
        let path = format!("/api/auth/me?{name}={}", ann.access_token);
        ann.api.get(&path).await.is_problem(401, "unauthenticated");
    }
    assert!(stack.processes().all(|process| !process.log_text().contains(&ann.access_token)), "a token is in a log");
}

/// RELIABILITY.md 3.6, number 9.
pub async fn attack_9_foreign_origins_are_refused(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let own = stack.url(0);
    let port = own.rsplit(':').next().unwrap().to_owned();
    let foreign = [
        "https://evil.example".to_owned(),
        "null".to_owned(),
        String::new(),
        format!("{own}.evil.example"),
        format!("{own}0"),
        format!("{own}@evil.example"),
        format!("http://evil.example?{own}"),
        format!("{own}/"),
        "http://127.0.0.1".to_owned(),
        format!("http://localhost:{port}"),
        format!("file://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}, https://evil.example"),
    ];
    for origin in foreign {
        let refused = ann.connect().header("origin", &origin).open().await.err();
        let refused = refused.unwrap_or_else(|| panic!("`{origin}` was let in"));
        assert_eq!(refused.status, 403, "{origin}: {refused:?}");
        assert_eq!(refused.body["type"], "urn:sealpost:problem:foreign-origin", "{origin}");
    }
    let mut socket = ann.connect().header("origin", &own).open().await.unwrap();
    socket.ready().await;
    // A browser that is signed in by cookie says its page: without one it is refused. Programs have no cookie and no page.
    let by_cookie = || Connect::to(&own).header("cookie", &format!("sealpost_access={}", ann.access_token));
    for origin in [None, Some("null"), Some("https://evil.example")] {
        let connect = origin.map_or_else(by_cookie, |origin| by_cookie().header("origin", origin));
        let refused = connect.open().await.err().unwrap_or_else(|| panic!("{origin:?} was let in"));
        assert_eq!(refused.status, 403, "{origin:?}: {refused:?}");
    }
    let mut socket = by_cookie().header("origin", &own).open().await.unwrap();
    socket.ready().await;
    let mut program = ann.connect().open().await.unwrap();
    program.ready().await;
    // The token of a session that ended opens nothing, however it is shown.
    ann.post("/api/auth/signout", Value::Null).await.ok(204);
    let protocols = format!("sealpost.v1, bearer.{}", ann.access_token);
    for connect in [ann.connect(), Connect::to(&own).header("sec-websocket-protocol", &protocols)] {
        assert_eq!(connect.open().await.err().unwrap().status, 401);
    }
}

/// RELIABILITY.md 3.6, number 6: an open socket whose access token runs out is closed with 4401, unless it shows a new one.
async fn attack_6_a_socket_ends_with_its_access_token(form: Form) {
    let settings = Settings::default()
        .set("SEALPOST__AUTH__ACCESS_TOKEN_SECONDS", 6)
        .set("SEALPOST__GATEWAY__HEARTBEAT_SECONDS", 1);
    let stack = Stack::start(form, settings).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 1, "bob").await);
    let dm = bob.dm(&ann).await;
    let (mut silent, mut renewed) = (ann.socket().await, ann.socket().await);
    let refreshed = ann.api.post("/api/auth/refresh", &json!({ "refresh_token": ann.refresh_token })).await.ok(200);
    // The old token counts for the old socket; the other one shows the new token again and again.
    let mut token = refreshed["access_token"].clone();
    let mut refresh = refreshed["refresh_token"].clone();
    let keep = async {
        for _ in 0..5 {
            renewed.send(&json!({ "type": "authenticate", "token": token })).await;
            renewed.ping().await;
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            let next = ann.api.post("/api/auth/refresh", &json!({ "refresh_token": refresh })).await.ok(200);
            (token, refresh) = (next["access_token"].clone(), next["refresh_token"].clone());
        }
        renewed
    };
    let ending = async {
        let error = silent.wait_for_type("error").await;
        (error, silent.wait_for_close().await)
    };
    let ((demand, closed), mut renewed) = tokio::join!(ending, keep);
    assert_eq!(demand["problem"]["type"], "urn:sealpost:problem:token-expired", "{demand}");
    assert_eq!(closed, Some(4401));
    // Clocks may be off by some seconds.
    let expired = async || Some(ann.get("/api/auth/me").await).filter(|reply| reply.status == 401);
    sealpost_testing::eventually("the end of the token", expired).await.is_problem(401, "token-expired");
    renewed.send(&json!({ "type": "authenticate", "token": token })).await;
    renewed.ping().await;
    assert_eq!(ann.connect().open().await.err().unwrap().status, 401);
    // What is said now reaches only the one that showed a new token.
    let bob = bob.sign_in().await;
    bob.say(&dm, "b-1", "after the end").await.ok(201);
    renewed.wait_for_type("message").await;
    assert!(silent.view.messages(&dm).is_empty());
    // An expired token prolongs nothing.
    renewed.send(&json!({ "type": "authenticate", "token": ann.access_token })).await;
    assert_eq!(renewed.wait_for_close().await, Some(4401));
    stack.settle().await;
}

#[tokio::test]
async fn attack_6_a_socket_ends_with_its_access_token_embedded() {
    attack_6_a_socket_ends_with_its_access_token(Form::Embedded).await;
}

#[tokio::test]
async fn attack_6_a_socket_ends_with_its_access_token_cluster() {
    attack_6_a_socket_ends_with_its_access_token(Form::Cluster).await;
}

pub async fn three_ways_to_authenticate_a_socket(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let bare = Connect::to(&ann.api.base);
    let by_header = ann.connect().open().await.unwrap();
    let protocols = format!("sealpost.v1, bearer.{}", ann.access_token);
    let by_protocol = bare.clone().header("sec-websocket-protocol", &protocols).open().await.unwrap();
    let mut by_frame = bare.open().await.unwrap();
    by_frame.send(&json!({ "type": "authenticate", "token": ann.access_token })).await;
    let mut sockets = [by_header, by_protocol, by_frame];
    for socket in &mut sockets {
        let ready = socket.ready().await;
        assert_eq!((&ready["user_id"], &ready["session_id"]), (&json!(ann.id), &json!(ann.session_id)));
        assert_eq!(ready["conversations"][0]["conversation_id"], dm);
        socket.ping().await;
    }
    bob.say(&dm, "b-1", "to all of them").await.ok(201);
    for socket in &mut sockets {
        socket.wait_for_type("message").await;
    }
}

pub async fn a_silent_connection_is_closed(stack: &Stack) {
    let mut silent = Connect::to(&stack.url(0)).open().await.unwrap();
    let mut chatty = Connect::to(&stack.url(0)).open().await.unwrap();
    chatty.send(&json!({ "type": "ping" })).await;
    for socket in [&mut silent, &mut chatty] {
        let error = socket.wait_for_type("error").await;
        assert_eq!(error["problem"]["type"], "urn:sealpost:problem:unauthenticated", "{error}");
        assert_eq!(socket.wait_for_close().await, Some(4401));
    }
}

pub async fn signing_out_closes_the_sockets_of_that_session_only(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let other = ann.sign_in().await;
    // At another gateway than the one that signs it out.
    let (mut ending, mut staying) = (ann.at(stack, 1).socket().await, other.at(stack, 1).socket().await);
    ann.post("/api/auth/signout", Value::Null).await.ok(204);
    assert_eq!(ending.wait_for_close().await, Some(4401));
    staying.ping().await;
    let refresh = json!({ "refresh_token": ann.refresh_token });
    ann.api.post("/api/auth/refresh", &refresh).await.is_problem(401, "refresh-refused");
    assert_eq!(ann.connect().open().await.err().unwrap().status, 401);
}

pub async fn refresh_tokens_are_good_for_one_successor(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let elsewhere = ann.at(stack, 1);
    let mut socket = ann.socket().await;
    let refresh =
        async |user: &User, token: &str| user.api.post("/api/auth/refresh", &json!({ "refresh_token": token })).await;
    let (here, there) = tokio::join!(refresh(&ann, &ann.refresh_token), refresh(&elsewhere, &ann.refresh_token));
    let (here, there) = (here.ok(200), there.ok(200));
    assert_eq!(here["refresh_token"], there["refresh_token"], "one chain");
    let second = here["refresh_token"].as_str().unwrap();
    let third = refresh(&elsewhere, second).await.ok(200);
    // The first one again, after its successor was used: a copy.
    refresh(&ann, &ann.refresh_token).await.is_problem(401, "refresh-refused");
    let third = third["refresh_token"].as_str().unwrap();
    refresh(&ann, third).await.is_problem(401, "refresh-refused");
    assert_eq!(socket.wait_for_close().await, Some(4401));
}
