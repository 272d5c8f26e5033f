//! Owners who hand over, participants who leave and come back, and what those who come later see.

use futures_util::future::join_all;
use sealpost_testing::{Stack, User, View};
use serde_json::{Value, json};

pub async fn a_conversation_is_handed_over(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 0, "eve").await;
    let group = ann.group(&[&bob]).await;
    let path = format!("/api/conversations/{group}/transfer");
    let mut to_bob = bob.socket().await;
    ann.remove(&group, &ann).await.is_problem(409, "last-owner");
    bob.post(&path, json!({ "user_id": ann.id })).await.is_problem(403, "forbidden");
    ann.post(&path, json!({ "user_id": eve.id })).await.is_problem(404, "not-found");
    ann.post(&path, json!({ "user_id": ann.id })).await.is_problem(422, "invalid");
    assert_eq!(ann.post(&path, json!({ "user_id": bob.id })).await.ok(200)["role"], "admin");
    for (user, role) in [(&bob, "owner"), (&ann, "admin")] {
        let event = to_bob.wait_for_type("participant_added").await;
        assert_eq!((&event["user_id"], &event["role"]), (&json!(user.id), &json!(role)), "{event}");
    }
    ann.delete(&format!("/api/conversations/{group}")).await.is_problem(403, "forbidden");
    // Whoever handed over may step down further, and leave.
    ann.add(&group, &ann, "reader").await.ok(200);
    ann.say(&group, "m-1", "may I?").await.is_problem(403, "forbidden");
    ann.remove(&group, &ann).await.ok(204);
    bob.delete(&format!("/api/conversations/{group}")).await.ok(204);
}

/// Through two gateways at once, many times: one of them always stays.
pub async fn two_owners_cannot_both_go(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    for _ in 0..5 {
        let group = ann.group(&[&bob]).await;
        ann.add(&group, &bob, "owner").await.ok(200);
        let (first, second) = tokio::join!(ann.remove(&group, &ann), bob.remove(&group, &bob));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409], "{first} {second}");
    }
}

/// What the lanes go by and what the store says is the same in the end, however changes race.
pub async fn racing_changes_take_effect_in_one_order(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let path = format!("/api/conversations/{group}");
    let (here, there) = (ann.at(stack, 0), ann.at(stack, 1));
    for round in 0..5 {
        let changes = (0..10).map(|number| {
            let (owner, least) = (if number % 2 == 0 { &here } else { &there }, ["admin", "member"][number / 2 % 2]);
            owner.request("PATCH", &path, json!({ "rights": { "post": least } }))
        });
        assert!(join_all(changes).await.iter().all(|reply| reply.status == 200));
        let settings = ann.get(&path).await.ok(200)["conversation"]["settings"].clone();
        let expected = if settings["rights"]["post"] == "member" { 201 } else { 403 };
        for gateway in 0..2 {
            let reply = bob.at(stack, gateway).say(&group, &format!("b-{round}-{gateway}"), "may I?").await;
            assert_eq!(reply.status, expected, "{settings}: {reply}");
        }
    }
}

/// Removed and added again in no time: the open connection sees all that follows.
pub async fn who_comes_back_sees_what_follows(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let mut to_bob = bob.socket().await;
    for round in 0..10 {
        ann.remove(&group, &bob).await.ok(204);
        if round % 3 == 2 {
            // Not for him: a gap says that something was.
            ann.say(&group, &format!("without-{round}"), "while he is out").await.ok(201);
        }
        ann.add(&group, &bob, "member").await.ok(200);
        let sent = ann.say(&group, &format!("m-{round}"), "welcome back").await.ok(201);
        to_bob.wait_for_seq(&group, sent["seq"].as_u64().unwrap()).await;
    }
    assert!(to_bob.view.texts(&group).iter().all(|text| text == "welcome back"), "{:?}", to_bob.view.texts(&group));
    bob.say(&group, "b-1", "I am here").await.ok(201);
    let shown = bob.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"].clone();
    assert_eq!((&shown["role"], &shown["read_seq"]), (&json!("member"), &json!(0)), "everything is new to him");
}

/// Every way to read, for somebody who was added after it was said.
pub async fn attack_4_what_came_before_joining_stays_hidden(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob]).await;
    let path = format!("/api/conversations/{group}");
    let mut to_eve = eve.socket().await;
    let secret = ann.say(&group, "m-1", "before eve").await.ok(201);
    ann.say(&group, "m-0", "@all of you").await.ok(201);
    let set = json!({ "history": "since_joining" });
    assert_eq!(ann.request("PATCH", &path, set).await.ok(200)["settings"]["history"], "since_joining");

    ann.add(&group, &eve, "member").await.ok(200);
    // At once, while the event of joining may not be stored.
    let accepted = json!({ "client_message_id": "m-2", "text": "after", "ack": "accepted" });
    let after = ann.post(&format!("{path}/messages"), accepted).await.ok(201)["seq"].as_u64().unwrap();
    let texts = async |user: &User| {
        let texts: Vec<_> = user.history(&group).await.into_iter().filter_map(|message| message.text).collect();
        texts
    };
    assert_eq!(texts(&eve).await, ["after"]);
    to_eve.wait_for_seq(&group, after).await;
    assert_eq!(to_eve.view.events(&group)[0]["type"], "participant_added");
    let joined = to_eve.view.events(&group)[0]["seq"].as_u64().unwrap();
    stack.settle().await;
    assert_eq!(texts(&eve).await, ["after"]);
    assert_eq!(texts(&bob).await, ["before eve", "@all of you", "after"]);
    assert_eq!(eve.get("/api/mentions").await.ok(200)["messages"], json!([]));

    for query in [String::new(), format!("?before={after}"), "?before=4&limit=1".to_owned(), "?after=0".to_owned()] {
        let page = eve.get(&format!("{path}/messages{query}")).await.ok(200);
        let seqs: Vec<_> = page["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64()).collect();
        assert!(seqs.iter().all(|seq| *seq == Some(after)) && page["has_more"] == false, "{query}: {page}");
    }
    let id = secret["message_id"].as_str().unwrap();
    let nothing = uuid::Uuid::now_v7().to_string();
    for one in [format!("/api/messages/{id}"), format!("{path}/messages/{id}")] {
        let (hidden, missing) = (eve.get(&one).await, eve.get(&one.replace(id, &nothing)).await);
        hidden.is_problem(404, "not-found");
        assert_eq!(hidden.text, missing.text);
        bob.get(&one).await.ok(200);
    }
    eve.delete(&format!("/api/messages/{id}")).await.is_problem(404, "not-found");
    let shown = eve.get("/api/conversations").await.ok(200)["conversations"][0].clone();
    assert_eq!((&shown["unread_count"], &shown["last_message"]["text"]), (&json!(1), &json!("after")));
    assert_eq!(shown["mention_count"], 0);

    // What answers it, and the thread that it began, show nothing of it.
    let say = async |name: &str, to: &str| {
        let body = json!({ "client_message_id": name, "text": "an answer", to: id });
        bob.post(&format!("{path}/messages"), body).await.ok(201);
    };
    say("b-1", "reply_to").await;
    let newest = async |user: &User| user.get(&format!("{path}/messages?limit=1")).await.ok(200)["messages"][0].clone();
    assert_eq!(newest(&bob).await["reply_to"]["text"], "before eve");
    assert_eq!((newest(&eve).await["text"].clone(), newest(&eve).await.get("reply_to")), (json!("an answer"), None));
    say("b-2", "thread_id").await;
    let threads = async |user: &User| user.get(&format!("{path}/threads")).await.ok(200)["threads"].clone();
    assert_eq!((threads(&bob).await[0]["text"].clone(), threads(&eve).await), (json!("before eve"), json!([])));
    eve.get(&format!("/api/messages/{id}/thread")).await.is_problem(404, "not-found");
    let into = json!({ "client_message_id": "e-1", "text": "me too", "thread_id": id });
    eve.post(&format!("{path}/messages"), into).await.is_problem(404, "not-found");

    // Cursors: none, one from before, and one that an honest client would keep.
    for from in [0, 1, joined - 1] {
        let mut view = View::default();
        if from > 0 {
            view.start_at(&json!({ "conversations": [{ "conversation_id": group, "head_seq": from }] }));
        }
        let cursor = view.cursor();
        let mut resuming = eve.connect().view(view).path("/ws?resume=true").open().await.unwrap();
        resuming.ready_unseen().await;
        resuming.send(&json!({ "type": "resume", "cursor": cursor })).await;
        resuming.wait_for_type("resumed").await;
        let seen = resuming.view.events(&group);
        assert!(
            !seen.is_empty() && seen.iter().all(|event| event["seq"].as_u64() >= Some(joined)),
            "{cursor}: {seen:?}"
        );
    }

    // The setting is for those who come later; who left and comes back is one of them.
    ann.request("PATCH", &path, json!({ "history": "all" })).await.ok(200);
    assert_eq!(texts(&eve).await, ["after", "an answer", "an answer"]);
    ann.remove(&group, &eve).await.ok(204);
    ann.add(&group, &eve, "member").await.ok(200);
    assert_eq!(texts(&eve).await, ["before eve", "@all of you", "after", "an answer", "an answer"]);
    ann.request("PATCH", &path, json!({ "history": "since_joining" })).await.ok(200);
    ann.remove(&group, &eve).await.ok(204);
    ann.add(&group, &eve, "member").await.ok(200);
    assert_eq!(texts(&eve).await, Vec::<String>::new());
    assert_eq!(eve.get("/api/conversations").await.ok(200)["conversations"][0]["last_message"], Value::Null);
}

/// What is done later to messages from before, and what lists gather.
pub async fn attack_4_changes_and_pins_show_nothing_from_before_joining(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob]).await;
    let path = format!("/api/conversations/{group}");
    let secret = ann.say(&group, "m-1", "before eve").await.ok(201)["message_id"].as_str().unwrap().to_owned();
    let one = format!("/api/messages/{secret}");
    ann.request("PUT", &one, json!({ "text": "edited before eve" })).await.ok(200);
    ann.post(&format!("{one}/reactions"), json!({ "emoji": "👍" })).await.ok(201);
    ann.request("PUT", &format!("{one}/pin"), json!(null)).await.ok(200);
    let set = json!({ "history": "since_joining", "rights": { "pin": "member", "delete_others": "member", "edit_others": "member" } });
    ann.request("PATCH", &path, set).await.ok(200);
    ann.add(&group, &eve, "member").await.ok(200);
    stack.settle().await;

    let nothing = uuid::Uuid::now_v7().to_string();
    let asked = [
        ("GET", String::new(), json!(null)),
        ("PUT", String::new(), json!({ "text": "mine" })),
        ("DELETE", String::new(), json!(null)),
        ("GET", "/edits".to_owned(), json!(null)),
        ("GET", "/reactions".to_owned(), json!(null)),
        ("GET", "/receipts".to_owned(), json!(null)),
        ("GET", "/thread".to_owned(), json!(null)),
        ("PUT", "/thread".to_owned(), json!({ "following": true })),
        ("POST", "/reactions".to_owned(), json!({ "emoji": "👍" })),
        ("DELETE", "/reactions/:a:".to_owned(), json!(null)),
        ("PUT", "/pin".to_owned(), json!(null)),
        ("DELETE", "/pin".to_owned(), json!(null)),
    ];
    for (method, rest, body) in asked {
        let hidden = eve.request(method, &format!("{one}{rest}"), body.clone()).await;
        hidden.is_problem(404, "not-found");
        let missing = eve.request(method, &format!("/api/messages/{nothing}{rest}"), body).await;
        assert_eq!(hidden.text, missing.text, "{method} {rest}");
    }
    let mut to_eve = eve.socket().await;
    for mut frame in [
        json!({ "type": "message_edit", "text": "mine" }),
        json!({ "type": "message_delete" }),
        json!({ "type": "reaction", "emoji": "👍" }),
        json!({ "type": "message_pin" }),
        json!({ "type": "message", "client_message_id": "e-1", "text": "quote it", "reply_to": secret }),
        json!({ "type": "message", "client_message_id": "e-2", "text": "me too", "thread_id": secret }),
    ] {
        frame["conversation_id"] = json!(group);
        if frame["type"] != "message" {
            frame["message_id"] = json!(secret);
        }
        let refused = to_eve.refused(&frame).await;
        assert_eq!(refused["type"], "urn:sealpost:problem:not-found", "{frame}: {refused}");
    }
    // Pins are a list of messages, and what is hidden is in no list.
    assert_eq!(bob.get(&format!("{path}/pins")).await.ok(200)["messages"][0]["text"], "edited before eve");
    assert_eq!(eve.get(&format!("{path}/pins")).await.ok(200)["messages"], json!([]));
    let scheduled =
        json!({ "client_message_id": "e-3", "text": "later", "send_at": "2100-01-01T00:00:00Z", "reply_to": secret });
    assert!([404, 422].contains(&eve.post(&format!("{path}/scheduled"), scheduled).await.status));
    eve.request("PUT", &format!("{path}/draft"), json!({ "text": "x", "reply_to": secret }))
        .await
        .is_problem(422, "invalid");
    assert!(!eve.get("/api/export").await.text.contains("before eve"));
    let page = eve.get(&format!("{path}/messages")).await.ok(200);
    assert!(!page.to_string().contains("before eve"), "{page}");
    for cursor in ["after=0", "after=1&limit=1", "before=2", "before=9223372036854775807"] {
        let page = eve.get(&format!("{path}/messages?{cursor}")).await.ok(200);
        assert_eq!((&page["messages"], &page["has_more"]), (&json!([]), &json!(false)), "{cursor}");
    }
}
