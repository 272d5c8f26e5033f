//! Tokens, origins, sessions.

use sealpost_testing::{Connect, Stack, User};
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

pub async fn a_token_in_the_address_is_refused(stack: &Stack) {
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

pub async fn foreign_origins_are_refused(stack: &Stack) {
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
