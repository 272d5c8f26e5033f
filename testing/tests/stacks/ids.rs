//! Ids, cursors and fields that somebody made up.

use sealpost_schema::Clock;
use sealpost_testing::{Stack, User, message};
use serde_json::json;

/// Another id of the same moment: the last digit is the next one.
fn neighbour(id: &str) -> String {
    let (start, last) = id.split_at(id.len() - 1);
    let next = (u8::from_str_radix(last, 16).unwrap() + 1) % 16;
    format!("{start}{next:x}")
}

/// RELIABILITY.md 3.6, number 23, as far as ids go: knowing one, or one like it, opens nothing; and an id is an id, however it is written.
pub async fn attack_23_a_guessed_or_odd_id_leads_nowhere(stack: &Stack) {
    let (ann, eve) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "eve").await);
    let group = ann.group(&[]).await;
    let sent = ann.say(&group, "m-1", "for ann alone").await.ok(201);
    let message_id = sent["message_id"].as_str().unwrap().to_owned();
    let later = json!({ "client_message_id": "m-2", "text": "later", "send_at": Clock::skewed(3_600_000).now() });
    let scheduled = ann.post(&format!("/api/conversations/{group}/scheduled"), later).await.ok(201)["id"].clone();
    let invite =
        ann.post(&format!("/api/conversations/{group}/invites"), json!({})).await.ok(201)["invite"]["id"].clone();
    let hook = json!({ "url": "http://127.0.0.1:9/", "conversation_id": group });
    let hook = ann.post("/api/webhooks", hook).await.ok(201)["webhook"]["id"].clone();
    let bot = json!({ "username": sealpost_testing::unique("bot"), "display_name": "Bot" });
    let bot = ann.post("/api/service-accounts", bot).await;
    assert_eq!(bot.status, 201, "{bot}");
    let bot = bot.body["id"]
        .as_str()
        .or(bot.body["service_account"]["id"].as_str())
        .unwrap_or_else(|| panic!("{bot}"))
        .to_owned();
    let (scheduled, invite, hook) =
        [scheduled, invite, hook].map(|id| id.as_str().unwrap_or_else(|| panic!("no id: {id}")).to_owned()).into();
    let of_ann = [
        ("GET", format!("/api/conversations/{group}"), json!(null)),
        ("GET", format!("/api/messages/{message_id}"), json!(null)),
        ("PATCH", format!("/api/scheduled/{scheduled}"), json!({ "text": "mine" })),
        ("DELETE", format!("/api/scheduled/{scheduled}"), json!(null)),
        ("DELETE", format!("/api/conversations/{group}/invites/{invite}"), json!(null)),
        ("GET", format!("/api/webhooks/{hook}"), json!(null)),
        ("DELETE", format!("/api/webhooks/{hook}"), json!(null)),
        ("GET", format!("/api/service-accounts/{bot}/tokens"), json!(null)),
        ("DELETE", format!("/api/service-accounts/{bot}"), json!(null)),
        ("DELETE", format!("/api/auth/sessions/{}", ann.session_id), json!(null)),
    ];
    for (method, path, body) in &of_ann {
        let foreign = eve.request(method, path, body.clone()).await;
        foreign.is_problem(404, "not-found");
        let (start, end) = path.rsplit_once('/').unwrap();
        let guessed =
            if end.len() == 36 { format!("{start}/{}", neighbour(end)) } else { path.replace(&bot, &neighbour(&bot)) };
        assert_eq!(eve.request(method, &guessed, body.clone()).await.text, foreign.text, "{guessed}");
        // Nor does the owner reach what is only near by.
        ann.request(method, &guessed, body.clone()).await.is_problem(404, "not-found");
    }
    assert_eq!(ann.get(&format!("/api/messages/{message_id}")).await.ok(200)["text"], "for ann alone");

    // However odd it is: never an error of the server, never somebody else's.
    let long = "a".repeat(4_000);
    for odd in [
        "..",
        "..%2f..%2fapi%2fauth%2fme",
        "%2e%2e%2f",
        "%00",
        "0198a1b2%00",
        "%0d%0aset-cookie:x=1",
        "%e2%80%aegnp.exe",
        "%ff%fe",
        "*",
        "%3e",
        "-1",
        "0",
        "null",
        "{}",
        &long,
        &format!("{message_id}%20"),
        &format!("{message_id}/.."),
        &format!("{message_id};jsessionid=1"),
    ] {
        for path in ["messages", "conversations", "users", "avatars", "scheduled", "webhooks", "channels"] {
            for rest in ["", "/messages", "/join", "/edits"] {
                let reply = eve.get(&format!("/api/{path}/{odd}{rest}")).await;
                assert!((400..500).contains(&reply.status) || odd.contains(".."), "{reply}");
                assert!(!reply.text.contains("for ann alone") && reply.status < 500, "{reply}");
                assert!(reply.header("set-cookie").is_empty(), "{reply}");
            }
        }
    }
    // One id in other letters is the same one, and nothing more.
    for written in [
        message_id.to_uppercase(),
        message_id.replace('-', ""),
        format!("urn:uuid:{message_id}"),
        format!("%7B{message_id}%7D"),
    ] {
        eve.get(&format!("/api/messages/{written}")).await.is_problem(404, "not-found");
    }
}

/// Case 28: ids become subjects of the bus and keys of the store; whatever is no id becomes neither.
pub async fn attack_28_ids_are_no_subjects_and_no_sql(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let first = ann.say(&dm, "m-1", "one").await.ok(201)["message_id"].clone();
    let (mut to_ann, mut to_bob) = (ann.socket().await, bob.socket().await);
    let hostile = [
        "chat.*",
        "chat.>",
        ">",
        "*",
        "live.stored",
        "$JS.API.STREAM.DELETE.CHAT",
        "a b",
        "\r\nPUB x 0\r\n",
        "' OR 1=1 --",
        "",
    ];
    for id in hostile {
        let mut frames = vec![
            message(id, "m-2", "to all"),
            json!({ "type": "message_read", "conversation_id": id, "seq": 1 }),
            json!({ "type": "message_edit", "conversation_id": dm, "message_id": id, "text": "x" }),
            json!({ "type": "reaction", "conversation_id": id, "message_id": first, "emoji": "👍" }),
            json!({ "type": "typing_start", "conversation_id": id }),
            json!({ "type": "watch", "conversation_ids": [id] }),
            json!({ "type": "message", "conversation_id": dm, "client_message_id": "m-3", "text": "x", "reply_to": id }),
        ];
        // Names are text and not ids; they hold no blanks and no control characters all the same.
        if id != "chat.*"
            && id != ">"
            && id != "*"
            && !id.starts_with("chat")
            && !id.starts_with("live")
            && !id.starts_with('$')
        {
            frames.push(message(&dm, id, "named so"));
        }
        for frame in frames {
            let refused = to_ann.refused(&frame).await;
            assert_eq!(refused["type"], "urn:sealpost:problem:malformed", "{frame}: {refused}");
            // Ten bad frames end a connection.
            to_ann = ann.socket().await;
        }
        ann.post("/api/conversations", json!({ "kind": "dm", "participants": [id] })).await.is_problem(422, "invalid");
    }
    let mut resuming = ann.connect().path("/ws?resume=true").open().await.unwrap();
    resuming.ready().await;
    let refused = resuming.refused(&json!({ "type": "resume", "cursor": { "chat.>": 1 } })).await;
    assert_eq!(refused["type"], "urn:sealpost:problem:malformed", "{refused}");
    // Pages: a place is a number.
    for query in [
        "before=1%20OR%201=1",
        "after=%27",
        "before=1;DROP%20TABLE%20events",
        "limit=1e3",
        "limit=200;",
        "before=",
        "sort=created_at",
        "order=desc",
        "after=0&after=1",
        "before=9999999999999999999999",
        "cursor=AAAA",
    ] {
        ann.get(&format!("/api/conversations/{dm}/messages?{query}")).await.is_problem(422, "invalid");
    }
    let last = ann.say(&dm, "m-9", "still one order").await.ok(201)["seq"].as_u64().unwrap();
    to_bob.wait_for_seq(&dm, last).await;
    assert_eq!(ann.history(&dm).await.len(), 2);
}

/// Case 28, mass assignment: what a request may not set is refused by name, and nothing of the request takes effect.
pub async fn attack_28_fields_that_nobody_may_set_are_refused(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[]).await;
    ann.add(&group, &bob, "member").await.ok(200);
    let id = bob.say(&group, "b-1", "bob's").await.ok(201)["message_id"].as_str().unwrap().to_owned();
    let path = format!("/api/conversations/{group}");
    let before = bob.get("/api/auth/me").await.ok(200);
    let fields = [
        ("role", json!("owner")),
        ("tenant_id", json!(1)),
        ("created_at", json!("2001-01-01T00:00:00Z")),
        ("id", json!(uuid::Uuid::nil())),
        ("seq", json!(1)),
        ("sender_id", json!(ann.id)),
        ("is_admin", json!(true)),
    ];
    let bodies = [
        (&bob, "POST", format!("{path}/messages"), json!({ "client_message_id": "b-2", "text": "x" })),
        (&bob, "PUT", format!("/api/messages/{id}"), json!({ "text": "x" })),
        (&bob, "POST", format!("/api/messages/{id}/reactions"), json!({ "emoji": "👍" })),
        (&bob, "PUT", format!("{path}/draft"), json!({ "text": "x" })),
        (&bob, "PATCH", "/api/auth/me".to_owned(), json!({ "display_name": "x" })),
        (&bob, "PATCH", format!("{path}/state"), json!({ "archived": true })),
        (&bob, "POST", "/api/conversations".to_owned(), json!({ "kind": "group", "participants": [] })),
        (&ann, "PATCH", path.clone(), json!({ "title": "x" })),
    ];
    for (user, method, path, body) in &bodies {
        for (field, value) in &fields {
            let mut body = body.clone();
            body[field] = value.clone();
            user.request(method, path, body).await.is_problem(422, "invalid");
        }
    }
    for (field, value) in &fields {
        let credentials =
            json!({ "username": sealpost_testing::unique("eve"), "password": "long enough, really", *field: value });
        ann.api.post("/api/auth/signup", &credentials).await.is_problem(422, "invalid");
    }
    stack.settle().await;
    assert_eq!(bob.get("/api/auth/me").await.ok(200), before);
    assert_eq!(bob.get(&path).await.ok(200)["conversation"]["role"], "member");
    assert_eq!(bob.history(&group).await.len(), 1);
    assert_eq!(bob.get("/api/conversations").await.ok(200)["conversations"].as_array().unwrap().len(), 1);
}

/// Case 28: what clients write begins no line of a log.
pub async fn attack_28_logs_cannot_be_forged(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let mark = sealpost_testing::unique("FORGED");
    let line = format!("x\r\n{mark} ERROR all is lost\u{1b}[2J");
    let encoded = line.bytes().fold(String::new(), |all, byte| format!("{all}%{byte:02X}"));
    for path in [format!("/api/{encoded}"), format!("/api/users?query={encoded}"), format!("/ws/public/{encoded}")] {
        assert!(ann.get(&path).await.status < 500);
    }
    let wrong = json!({ "username": line, "password": line });
    assert!(ann.api.post("/api/auth/signin", &wrong).await.status < 500);
    assert!(ann.api.post("/api/auth/signup", &wrong).await.status < 500);
    let mut socket = ann.socket().await;
    for frame in [json!({ "type": line }), message(&line, &line, &line), json!({ "type": "message", line.clone(): 1 })]
    {
        socket.refused(&frame).await;
    }
    let group = ann.group(&[]).await;
    ann.request("PATCH", &format!("/api/conversations/{group}"), json!({ "title": line })).await;
    ann.say(&group, "m-1", &line).await.ok(201);
    stack.settle().await;
    for process in stack.processes() {
        let log = process.log_text();
        let forged = log.lines().find(|line| line.starts_with(&mark) || line.contains("\u{1b}[2J"));
        assert_eq!(forged, None, "in the log of {}", process.name());
    }
}
