//! Editing, deleting, reacting and pinning.

use futures_util::future::join_all;
use sealpost_testing::{Socket, Stack, User};
use serde_json::{Value, json};

fn id_of(sent: &Value) -> String {
    sent["message_id"].as_str().unwrap_or_else(|| panic!("not sent: {sent}")).to_owned()
}

async fn edit(user: &User, message: &str, text: &str) -> sealpost_testing::Reply {
    user.request("PUT", &format!("/api/messages/{message}"), json!({ "text": text })).await
}

async fn react(user: &User, message: &str, emoji: &str) -> sealpost_testing::Reply {
    user.post(&format!("/api/messages/{message}/reactions"), json!({ "emoji": emoji })).await
}

async fn unreact(user: &User, message: &str, emoji: &str) -> sealpost_testing::Reply {
    let encoded = emoji.bytes().fold(String::new(), |all, byte| format!("{all}%{byte:02X}"));
    user.delete(&format!("/api/messages/{message}/reactions/{encoded}")).await
}

async fn pin(user: &User, message: &str) -> sealpost_testing::Reply {
    user.request("PUT", &format!("/api/messages/{message}/pin"), Value::Null).await
}

/// Sends a frame and waits for what answers it.
async fn change(socket: &mut Socket, mut frame: Value) -> Value {
    let name = uuid::Uuid::now_v7().to_string();
    frame["client_operation_id"] = json!(name);
    socket.send(&frame).await;
    socket.wait_for("an answer", |frame| frame["client_operation_id"] == name).await
}

pub async fn an_edit_is_seen_by_everybody_and_makes_one_event(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let (mut to_ann, mut to_bob) = (ann.socket().await, bob.socket().await);
    let sent = ann.say(&dm, "m-1", "first").await.ok(201);
    let (id, seq) = (id_of(&sent), sent["seq"].as_u64().unwrap());
    let done = edit(&ann, &id, "second").await.ok(200);
    assert_eq!((&done["changed"], &done["seq"]), (&json!(true), &json!(seq + 1)), "{done}");
    // At once, at the other gateway, in the history, alone and as the last message.
    let shown = bob.get(&format!("/api/messages/{id}")).await.ok(200);
    assert_eq!((&shown["text"], &shown["edited_seq"]), (&json!("second"), &done["seq"]), "{shown}");
    assert!(shown["edited_at"].as_str() > shown["created_at"].as_str(), "{shown}");
    assert_eq!(bob.history(&dm).await[0].text.as_deref(), Some("second"));
    let listed = bob.get(&format!("/api/conversations/{dm}")).await.ok(200);
    assert_eq!(listed["conversation"]["last_message"]["text"], "second", "{listed}");

    let event = to_bob.wait_for_type("message_edited").await;
    let expected = json!({
        "type": "message_edited", "conversation_id": dm, "seq": seq + 1, "event_id": event["event_id"], "sender_id": ann.id,
        "created_at": shown["edited_at"], "message_id": id, "message_seq": seq, "text": "second",
    });
    assert_eq!(event, expected);
    // The same again, over both ways, is no event.
    let again = edit(&ann.at(stack, 1), &id, "second").await.ok(200);
    assert_eq!((&again["changed"], &again["seq"]), (&json!(false), &json!(seq + 1)), "{again}");
    let frame = json!({ "type": "message_edit", "conversation_id": dm, "message_id": id, "text": "second" });
    assert_eq!(change(&mut to_ann, frame.clone()).await["changed"], false);
    let mut third = frame;
    third["text"] = json!("third");
    let ack = change(&mut to_ann, third).await;
    assert_eq!(
        (&ack["type"], &ack["seq"], &ack["changed"]),
        (&json!("change_ack"), &json!(seq + 2), &json!(true)),
        "{ack}"
    );

    let path = format!("/api/messages/{id}/edits");
    let edits = bob.get(&path).await.ok(200);
    let texts = |page: &Value| -> Vec<String> {
        page["edits"].as_array().unwrap().iter().map(|edit| edit["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (texts(&edits), &edits["has_more"]),
        (vec!["third".into(), "second".into(), "first".into()], &json!(false))
    );
    let page = bob.get(&format!("{path}?limit=2")).await.ok(200);
    assert_eq!((texts(&page).len(), &page["has_more"]), (2, &json!(true)));
    let rest = bob.get(&format!("{path}?limit=2&before={}", seq + 1)).await.ok(200);
    assert_eq!((texts(&rest), &rest["has_more"]), (vec!["first".to_owned()], &json!(false)));
    edit(&ann, &id, " ").await.is_problem(422, "empty-text");
    // Who comes later gets all of it in order.
    let view = bob.connect().resume().await.unwrap().view;
    let kinds: Vec<_> = view.events(&dm).iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["conversation_created", "message", "message_edited", "message_edited"]);
}

pub async fn a_deletion_takes_edits_and_reactions_along(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let mut to_bob = bob.socket().await;
    let id = id_of(&ann.say(&dm, "m-1", "secret one").await.ok(201));
    edit(&ann, &id, "secret two").await.ok(200);
    react(&bob, &id, "👍").await.ok(201);
    pin(&bob, &id).await.ok(200);
    let frame = json!({ "type": "message_delete", "conversation_id": dm, "message_id": id });
    let mut from_ann = ann.at(stack, 1).socket().await;
    let done = change(&mut from_ann, frame.clone()).await;
    assert_eq!((&done["changed"], &done["stored"]), (&json!(true), &json!(true)), "{done}");
    assert_eq!(change(&mut from_ann, frame).await["changed"], false);
    to_bob.wait_for_type("message_deleted").await;

    let shown = bob.get(&format!("/api/messages/{id}")).await.ok(200);
    assert_eq!((&shown["text"], &shown["deleted"]), (&json!(null), &json!(true)), "{shown}");
    for gone in ["edited_seq", "reactions", "pinned"] {
        assert!(shown.get(gone).is_none(), "{shown}");
    }
    assert_eq!(bob.get(&format!("/api/conversations/{dm}/pins")).await.ok(200)["messages"], json!([]));
    bob.get(&format!("/api/messages/{id}/edits")).await.is_problem(409, "message-deleted");
    assert_eq!(bob.get(&format!("/api/messages/{id}/reactions")).await.ok(200)["reactions"], json!([]));
    edit(&ann, &id, "back again").await.is_problem(409, "message-deleted");
    react(&bob, &id, "👍").await.is_problem(409, "message-deleted");
    pin(&bob, &id).await.is_problem(409, "message-deleted");
    // From the store, and from what the room keeps for those who were away for a moment.
    for gateway in [0, 1] {
        let view = bob.at(stack, gateway).connect().resume().await.unwrap().view;
        let told: Vec<_> = view.events(&dm).iter().map(|event| (&event["text"], &event["emoji"])).collect();
        assert!(told.iter().all(|(text, emoji)| text.is_null() && emoji.is_null()), "{told:?}");
        assert_eq!(view.events(&dm).len(), 6);
    }
}

pub async fn each_reaction_counts_once(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let mut to_bob = bob.socket().await;
    let sent = ann.say(&dm, "m-1", "look").await.ok(201);
    let (id, seq) = (id_of(&sent), sent["seq"].as_u64().unwrap());
    let added = react(&ann, &id, "❤️").await.ok(201);
    assert_eq!(added["seq"], seq + 1, "{added}");
    // Typed otherwise, at the other gateway: the same.
    let again = react(&ann.at(stack, 1), &id, "❤").await.ok(200);
    assert_eq!((&again["changed"], &again["seq"]), (&json!(false), &added["seq"]), "{again}");
    react(&bob, &id, "❤️").await.ok(201);
    let frame = json!({ "type": "reaction", "conversation_id": dm, "message_id": id, "emoji": ":party:" });
    assert_eq!(change(&mut to_bob, frame.clone()).await["seq"], seq + 3);
    let event = to_bob.view.events(&dm).last().unwrap().clone();
    assert_eq!(
        (&event["type"], &event["emoji"], &event["added"]),
        (&json!("reaction"), &json!(":party:"), &json!(true))
    );

    let of = async |user: &User| {
        user.get(&format!("/api/conversations/{dm}/messages")).await.ok(200)["messages"][0]["reactions"].clone()
    };
    let hearts = |mine| json!({ "emoji": "❤️", "count": 2, "mine": mine });
    let party = |mine| json!({ "emoji": ":party:", "count": 1, "mine": mine });
    assert_eq!(of(&ann).await, json!([hearts(true), party(false)]));
    assert_eq!(of(&bob).await, json!([hearts(true), party(true)]));
    let who = ann.get(&format!("/api/messages/{id}/reactions?limit=2")).await.ok(200);
    assert_eq!(who["reactions"][1], json!({ "user_id": bob.id, "emoji": "❤️", "seq": seq + 2 }), "{who}");
    assert_eq!(who["has_more"], true);

    let mut removal = frame;
    removal["remove"] = json!(true);
    assert_eq!(change(&mut to_bob, removal).await["changed"], true);
    assert_eq!(unreact(&bob, &id, ":party:").await.ok(200)["changed"], false);
    assert_eq!(unreact(&ann, &id, "❤").await.ok(200)["changed"], true);
    assert_eq!(of(&bob).await, json!([{ "emoji": "❤️", "count": 1, "mine": true }]));
    for bad in ["", "a", "👍👍", ":no good:", "<script>"] {
        react(&ann, &id, bad).await.is_problem(422, "invalid");
    }
    for number in 0..49 {
        react(&ann, &id, &format!(":e{number}:")).await.ok(201);
    }
    react(&ann, &id, ":one-too-many:").await.is_problem(409, "too-many-reactions");
    react(&bob, &id, ":e7:").await.ok(201);
}

pub async fn pins_are_listed_and_ended(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let mut to_bob = bob.socket().await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(id_of(&bob.say(&group, &format!("m-{number}"), &format!("{number}")).await.ok(201)));
    }
    pin(&bob, &ids[0]).await.is_problem(403, "forbidden");
    for id in [&ids[2], &ids[0]] {
        assert_eq!(pin(&ann, id).await.ok(200)["changed"], true);
    }
    assert_eq!(pin(&ann.at(stack, 1), &ids[0]).await.ok(200)["changed"], false);
    let pinned = async || -> Vec<Value> {
        let listed = bob.get(&format!("/api/conversations/{group}/pins")).await.ok(200);
        listed["messages"].as_array().unwrap().iter().map(|message| message["text"].clone()).collect()
    };
    assert_eq!(pinned().await, ["0", "2"]);
    let event = to_bob.wait_for_type("message_pinned").await;
    assert_eq!((&event["message_id"], &event["pinned"]), (&json!(ids[2]), &json!(true)), "{event}");
    let frame = json!({ "type": "message_pin", "conversation_id": group, "message_id": ids[2], "remove": true });
    let refused = change(&mut to_bob, frame.clone()).await;
    assert_eq!(refused["problem"]["type"], "urn:sealpost:problem:forbidden", "{refused}");
    assert_eq!(change(&mut ann.socket().await, frame).await["changed"], true);
    assert_eq!(pinned().await, ["0"]);
    ann.delete(&format!("/api/messages/{}", ids[0])).await.ok(204);
    assert_eq!(pinned().await, [Value::Null; 0]);
}

/// Read, edit, delete, react, pin, over REST and WebSocket, by somebody who never took part, and by somebody who was removed.
pub async fn attack_1_a_foreign_message_is_like_none(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob]).await;
    let theirs = id_of(&bob.say(&group, "b-1", "bob's own").await.ok(201));
    react(&bob, &theirs, "👍").await.ok(201);
    ann.remove(&group, &bob).await.ok(204);
    stack.settle().await;
    let head = ann.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"]["head_seq"].clone();
    let missing = uuid::Uuid::now_v7().to_string();
    for user in [&eve, &bob] {
        let one = |id: &str, rest: &str| format!("/api/messages/{id}{rest}");
        let asked = [
            ("GET", one(&theirs, ""), json!(null)),
            ("PUT", one(&theirs, ""), json!({ "text": "mine" })),
            ("DELETE", one(&theirs, ""), json!(null)),
            ("GET", one(&theirs, "/edits"), json!(null)),
            ("GET", one(&theirs, "/reactions"), json!(null)),
            ("POST", one(&theirs, "/reactions"), json!({ "emoji": "👍" })),
            ("DELETE", one(&theirs, "/reactions/:a:"), json!(null)),
            ("PUT", one(&theirs, "/pin"), json!(null)),
            ("DELETE", one(&theirs, "/pin"), json!(null)),
            ("GET", format!("/api/conversations/{group}/pins"), json!(null)),
            ("GET", format!("/api/conversations/{group}/threads"), json!(null)),
            ("GET", one(&theirs, "/thread"), json!(null)),
            ("PUT", one(&theirs, "/thread"), json!({ "following": true })),
            ("PUT", format!("/api/conversations/{group}/draft"), json!({ "text": "mine" })),
        ];
        for (method, path, body) in asked {
            let foreign = user.request(method, &path, body.clone()).await;
            foreign.is_problem(404, "not-found");
            let path = path.replace(&theirs, &missing).replace(&group, &missing);
            assert_eq!(user.request(method, &path, body).await.text, foreign.text);
        }
        let mut socket = user.socket().await;
        let frames = [
            json!({ "type": "message_edit", "text": "mine" }),
            json!({ "type": "message_delete" }),
            json!({ "type": "reaction", "emoji": "👍" }),
            json!({ "type": "reaction", "emoji": "👍", "remove": true }),
            json!({ "type": "message_pin" }),
            json!({ "type": "message_pin", "remove": true }),
        ];
        for mut frame in frames {
            let mut answers = Vec::new();
            for (conversation, message) in [(&group, &theirs), (&missing, &missing)] {
                frame["conversation_id"] = json!(conversation);
                frame["message_id"] = json!(message);
                answers.push(change(&mut socket, frame.clone()).await["problem"].clone());
            }
            assert_eq!(answers[0]["type"], "urn:sealpost:problem:not-found", "{answers:?}");
            assert_eq!(answers[0], answers[1]);
        }
    }
    stack.settle().await;
    let after = ann.get(&format!("/api/conversations/{group}")).await.ok(200);
    assert_eq!(after["conversation"]["head_seq"], head, "no event came of it");
}

pub async fn attack_2_rights_are_those_of_the_moment(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let own = id_of(&bob.say(&group, "b-1", "bob's own").await.ok(201));
    let anns = id_of(&ann.say(&group, "a-1", "ann's").await.ok(201));
    edit(&bob, &own, "bob's own, edited").await.ok(200);
    edit(&bob, &anns, "not ann's").await.is_problem(403, "forbidden");
    edit(&ann, &own, "ann owns the group, not the words").await.is_problem(403, "forbidden");
    bob.delete(&format!("/api/messages/{anns}")).await.is_problem(403, "forbidden");
    // Whose name stands in the body does not matter: it is not taken.
    let forged = json!({ "text": "forged", "sender_id": ann.id });
    bob.request("PUT", &format!("/api/messages/{anns}"), forged).await.is_problem(422, "invalid");

    ann.add(&group, &bob, "reader").await.ok(200);
    let mut socket = bob.socket().await;
    let frame = |kind: &str| json!({ "type": kind, "conversation_id": group, "message_id": own });
    let mut frames = [frame("message_edit"), frame("reaction")];
    frames[0]["text"] = json!("too late");
    frames[1]["emoji"] = json!("👍");
    for frame in frames {
        let refused = change(&mut socket, frame).await;
        assert_eq!(refused["problem"]["type"], "urn:sealpost:problem:forbidden", "{refused}");
    }
    edit(&bob, &own, "too late").await.is_problem(403, "forbidden");
    react(&bob, &anns, "👍").await.is_problem(403, "forbidden");
    assert_eq!(ann.get(&format!("/api/messages/{own}")).await.ok(200)["text"], "bob's own, edited");
}

/// The second half of case 2: somebody who is out, or may not post any more; and other people's names in the body, over both ways.
pub async fn attack_2_who_was_removed_or_silenced_changes_nothing(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let path = format!("/api/conversations/{group}");
    let own = id_of(&bob.say(&group, "b-1", "bob's own").await.ok(201));
    let anns = id_of(&ann.say(&group, "a-1", "ann's").await.ok(201));
    let mut socket = bob.socket().await;
    let edit_frame =
        |id: &str| json!({ "type": "message_edit", "conversation_id": group, "message_id": id, "text": "mine" });
    let delete_frame = json!({ "type": "message_delete", "conversation_id": group, "message_id": anns });
    for frame in [edit_frame(&anns), delete_frame.clone()] {
        let refused = change(&mut socket, frame).await;
        assert_eq!(refused["problem"]["type"], "urn:sealpost:problem:forbidden", "{refused}");
    }
    // Named as somebody else: the field is not known, whoever it names.
    for mut frame in [edit_frame(&own), delete_frame, sealpost_testing::message(&group, "b-2", "as ann")] {
        frame["sender_id"] = json!(ann.id);
        frame["client_operation_id"] = json!("o-1");
        let refused = socket.refused(&frame).await;
        assert_eq!(refused["type"], "urn:sealpost:problem:malformed", "{refused}");
    }
    let send = json!({ "client_message_id": "b-3", "text": "as ann", "sender_id": ann.id });
    bob.post(&format!("{path}/messages"), send).await.is_problem(422, "invalid");

    // Nobody but admins may post any more: neither may a member edit what they posted before.
    ann.request("PATCH", &path, json!({ "rights": { "post": "admin" } })).await.ok(200);
    edit(&bob, &own, "still mine").await.is_problem(403, "forbidden");
    let refused = change(&mut socket, edit_frame(&own)).await;
    assert_eq!(refused["problem"]["type"], "urn:sealpost:problem:forbidden", "{refused}");
    ann.request("PATCH", &path, json!({ "rights": { "post": "member" } })).await.ok(200);
    edit(&bob, &own, "bob's again").await.ok(200);

    // Who is out sees nothing there: 404 and not 403.
    ann.remove(&group, &bob).await.ok(204);
    let head = ann.get(&path).await.ok(200)["conversation"]["head_seq"].clone();
    edit(&bob, &own, "from outside").await.is_problem(404, "not-found");
    bob.delete(&format!("/api/messages/{own}")).await.is_problem(404, "not-found");
    let delete_frame = json!({ "type": "message_delete", "conversation_id": group, "message_id": own });
    for frame in [edit_frame(&own), delete_frame] {
        let refused = change(&mut socket, frame).await;
        assert_eq!(refused["problem"]["type"], "urn:sealpost:problem:not-found", "{refused}");
    }
    stack.settle().await;
    assert_eq!(ann.get(&format!("/api/messages/{own}")).await.ok(200)["text"], "bob's again");
    assert_eq!(ann.get(&path).await.ok(200)["conversation"]["head_seq"], head);
}

/// The lane decides at the moment of the number, so that not one too many gets through, however many come at once.
pub async fn bounds_hold_however_many_add_at_once(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let id = id_of(&ann.say(&dm, "m-0", "react to this").await.ok(201));
    let people = [ann.at(stack, 0), ann.at(stack, 1), bob.at(stack, 0), bob.at(stack, 1)];
    // Each emoji by two people: they share its place.
    let asks = (0..160).map(|number| {
        let (user, id) = (&people[number % 4], &id);
        async move { (number, react(user, id, &format!(":e{}:", number / 4)).await) }
    });
    let one_by_one = (160..240).map(|number| {
        let (user, id) = (&people[number % 4], &id);
        async move { (number, react(user, id, &format!(":e{number}:")).await) }
    });
    let (first, second) = tokio::join!(join_all(asks), join_all(one_by_one));
    for (number, reply) in first.iter().chain(&second) {
        match reply.status {
            200 | 201 => {}
            409 => reply.is_problem(409, "too-many-reactions"),
            _ => panic!("{number}: {reply}"),
        }
    }
    let shown = async || bob.get(&format!("/api/messages/{id}")).await.ok(200)["reactions"].clone();
    let emojis = shown().await;
    assert_eq!(emojis.as_array().unwrap().len(), 50, "{emojis}");
    // A place that becomes free is one place, at once and for anybody.
    let mine: Vec<_> =
        emojis.as_array().unwrap().iter().filter(|one| one["count"] == 1 && one["mine"] == true).collect();
    let free = mine.first().map(|one| one["emoji"].as_str().unwrap().to_owned());
    let free = free.unwrap_or_else(|| emojis[0]["emoji"].as_str().unwrap().to_owned());
    for user in [&ann, &bob] {
        unreact(user, &id, &free).await.ok(200);
    }
    let asks = (300..320).map(|number| {
        let (user, id) = (&people[number % 4], &id);
        async move { react(user, id, &format!(":e{number}:")).await }
    });
    let taken = join_all(asks).await.iter().filter(|reply| reply.status == 201).count();
    assert_eq!((taken, shown().await.as_array().unwrap().len()), (1, 50));

    let mut socket = ann.socket().await;
    let mut ids = vec![id];
    for number in 1..108 {
        ids.push(id_of(&socket.say(&dm, &format!("m-{number}"), "pin this").await));
    }
    let asks = ids.iter().enumerate().map(|(number, id)| pin(&people[number % 4], id));
    let replies = join_all(asks).await;
    for reply in &replies {
        match reply.status {
            200 => assert_eq!(reply.body["changed"], true, "{reply}"),
            _ => reply.is_problem(409, "too-many-pins"),
        }
    }
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 100);
    let pins = bob.get(&format!("/api/conversations/{dm}/pins")).await.ok(200);
    assert_eq!(pins["messages"].as_array().unwrap().len(), 100);
}
