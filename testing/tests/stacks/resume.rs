//! Coming back: exactly what was missed, then what is live.

use sealpost_testing::{Connect, Form, Process, Settings, Stack, State, User, View, check_view};
use serde_json::json;

pub async fn a_resume_brings_exactly_what_was_missed(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 0, "eve").await;
    let rooms = [ann.dm(&bob).await, bob.group(&[&ann, &eve]).await, eve.group(&[&bob]).await];
    let mut socket = bob.socket().await;
    for (number, room) in rooms.iter().enumerate() {
        // Where the beginning of a conversation is still on its way, the ack can be faster than the event.
        let ack = socket.say(room, &format!("b-{number}"), "seen").await;
        socket.wait_for_seq(room, ack["seq"].as_u64().unwrap()).await;
    }
    let seen: Vec<u64> = rooms.iter().map(|room| socket.view.seq(room)).collect();
    let view = socket.view.clone();
    drop(socket);
    let missed = [(&ann, &rooms[0], 7), (&eve, &rooms[1], 40), (&eve, &rooms[2], 0)];
    for (user, room, count) in missed {
        for number in 0..count {
            user.say(room, &format!("m-{number}"), &format!("missed {number}")).await.ok(201);
        }
    }
    // Made while away: from its beginning.
    let new = ann.group(&[&bob]).await;

    // At the other gateway, with live messages on the way.
    let elsewhere = bob.at(stack, 0);
    let live = async {
        for number in 0..10 {
            ann.say(&rooms[0], &format!("live-{number}"), "live").await.ok(201);
        }
    };
    let (mut back, ()) = tokio::join!(async { elsewhere.connect().view(view).resume().await.unwrap() }, live);
    for ((room, before), count) in rooms.iter().zip(&seen).zip([17, 40, 0]) {
        back.wait_for_seq(room, before + count).await;
    }
    back.wait_for_seq(&new, 2).await;
    back.ping().await;
    for ((room, before), count) in rooms.iter().zip(&seen).zip([17, 40, 0]) {
        assert_eq!(back.view.seq(room), before + count);
    }
    assert_eq!(back.view.seq(&new), 2);
    for room in &rooms {
        let mut all = bob.connect().resume().await.unwrap();
        all.wait_for_seq(room, back.view.seq(room)).await;
        check_view(&back.view, &all.view, room);
    }
}

pub async fn a_cursor_in_the_first_frame_resumes(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    for number in 0..5 {
        ann.say(&dm, &format!("m-{number}"), &format!("{number}")).await.ok(201);
    }
    let mut socket = Connect::to(&bob.api.base).open().await.unwrap();
    socket.send(&json!({ "type": "authenticate", "token": bob.access_token, "cursor": { dm.clone(): 3 } })).await;
    let resumed = socket.wait_for_type("resumed").await;
    assert_eq!(resumed["events"], 3, "{resumed}");
    assert_eq!(socket.view.texts(&dm), ["2", "3", "4"]);
    ann.say(&dm, "last", "live").await.ok(201);
    socket.wait_for_seq(&dm, 7).await;
}

/// The shared stacks send 100 events per conversation.
pub async fn beyond_the_limit_a_gap_frame_says_what_is_left_out(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let (long, short) = (ann.group(&[&bob, &eve]).await, ann.group(&[&bob]).await);
    // So that `ready` names all that was before.
    stack.settle().await;
    let view = bob.socket().await.view;
    let (mut to_ann, mut to_eve) = (ann.socket().await, eve.socket().await);
    for number in 0..110 {
        to_ann.send(&sealpost_testing::message(&long, &format!("m-{number}"), "much")).await;
    }
    // Now bob's gateway has all of it, too.
    to_eve.wait_for_seq(&long, 112).await;
    let little = ann.say(&short, "m-1", "little").await.ok(201)["seq"].as_u64().unwrap();
    stack.settle().await;
    let mut back = bob.connect().view(view).path("/ws?resume=true").open().await.unwrap();
    assert_eq!(back.frame().await["type"], "ready");
    back.send(&json!({ "type": "resume", "cursor": back.view.cursor() })).await;
    let gap = back.wait_for_type("gap").await;
    assert_eq!((&gap["conversation_id"], &gap["from_seq"]), (&json!(long), &json!(3)), "{gap}");
    assert_eq!(gap["to_seq"], 112, "{gap}");
    // Where it stands comes with it, as the list of conversations says it.
    let snapshot = back.wait_for_type("snapshot").await;
    let shown = bob.get(&format!("/api/conversations/{long}")).await.ok(200)["conversation"].clone();
    for field in ["head_seq", "read_seq", "unread_count", "mention_count"] {
        assert_eq!(snapshot[field], shown[field], "{field}: {snapshot}");
    }
    let last = &snapshot["last_message"];
    assert_eq!((&last["message_id"], &last["text"]), (&shown["last_message"]["id"], &json!("much")), "{snapshot}");
    assert_eq!((&snapshot["conversation_id"], &snapshot["unread_count"]), (&json!(long), &json!(110)));
    back.wait_for_type("resumed").await;
    back.wait_for_seq(&short, little).await;
    assert_eq!(back.view.texts(&short), ["little"]);
    // What is left out is where the frame says.
    let page = bob.get(&format!("/api/conversations/{long}/messages?after=2&limit=200")).await.ok(200);
    assert_eq!(page["messages"].as_array().unwrap().len(), 110);
    ann.say(&long, "last", "live").await.ok(201);
    back.wait_for_seq(&long, 113).await;
}

/// While the store is behind: what it does not have yet is in no page, so a gap may not leave it out.
#[tokio::test]
async fn a_gap_ends_where_the_pages_end() {
    let settings = Settings::default().set("SEALPOST__GATEWAY__MAX_RESUME_EVENTS", 5);
    let stack = Stack::start(Form::Cluster, settings).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        let sent = ann.say(&group, &format!("m-{number}"), "stored").await.ok(201);
        ids.push(sent["message_id"].as_str().unwrap().to_owned());
    }
    stack.settle().await;
    let stored =
        ann.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"]["head_seq"].as_u64().unwrap();
    // Somebody is there, so that the other gateway knows of what is not stored.
    let (mut to_ann, mut there) = (ann.socket().await, bob.socket().await);
    stack.processes_named("persistence").for_each(Process::freeze);
    let changes = [
        json!({ "type": "message_edit", "text": "edited" }),
        json!({ "type": "message_delete" }),
        json!({ "type": "reaction", "emoji": "👍" }),
        json!({ "type": "message_pin" }),
    ];
    for (mut change, id) in changes.into_iter().zip(&ids) {
        (change["conversation_id"], change["message_id"]) = (json!(group), json!(id));
        to_ann.send(&change).await;
        assert_eq!(to_ann.wait_for_type("change_ack").await["stored"], false);
    }
    there.wait_for_seq(&group, stored + 4).await;
    let mut view = View::default();
    view.start_at(&json!({ "conversations": [{ "conversation_id": group, "head_seq": 1 }] }));
    let cursor = view.cursor();
    let mut back = bob.connect().view(view).path("/ws?resume=true").open().await.unwrap();
    back.ready_unseen().await;
    back.send(&json!({ "type": "resume", "cursor": cursor })).await;
    assert_eq!(back.wait_for_type("gap").await["to_seq"], stored);
    let mut state = State::default();
    bob.read_into(&group, &mut state, 0).await;
    back.wait_for_seq(&group, stored + 4).await;
    back.view.events(&group).iter().for_each(|event| state.event(event));
    stack.processes_named("persistence").for_each(Process::thaw);
    stack.settle().await;
    assert_eq!(state.differences(&bob.state(&group).await), Vec::<String>::new());
}

/// As after a broker that lost what it had accepted: the server says so, and does not skip what gets those numbers next.
pub async fn a_cursor_beyond_the_end_is_taken_back(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let head = ann.say(&dm, "m-1", "there").await.ok(201)["seq"].as_u64().unwrap();
    stack.settle().await;
    let mut back = bob.connect().path("/ws?resume=true").open().await.unwrap();
    assert_eq!(back.frame().await["type"], "ready");
    back.send(&json!({ "type": "resume", "cursor": { (&dm): head + 3 } })).await;
    let rewound = back.wait_for_type("rewound").await;
    assert_eq!((&rewound["conversation_id"], &rewound["after_seq"]), (&json!(dm), &json!(head)), "{rewound}");
    back.wait_for_type("resumed").await;
    ann.say(&dm, "m-2", "next").await.ok(201);
    back.wait_for_seq(&dm, head + 1).await;
    assert_eq!(back.view.texts(&dm), ["next"]);
}
