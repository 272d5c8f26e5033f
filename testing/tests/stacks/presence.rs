//! Who is there, and who types.

use sealpost_testing::{Socket, Stack, User};
use serde_json::{Value, json};

async fn watch(socket: &mut Socket, conversations: &[&str]) {
    socket.send(&json!({ "type": "watch", "conversation_ids": conversations })).await;
}

async fn say(socket: &mut Socket, kind: &str, conversation: &str) {
    socket.send(&json!({ "type": kind, "conversation_id": conversation })).await;
}

fn status_of(frame: &Value, user: &User) -> Value {
    let users = frame["users"].as_array().unwrap_or_else(|| panic!("nobody is named: {frame}"));
    users.iter().find(|one| one["user_id"] == user.id).map_or(Value::Null, |one| one["status"].clone())
}

/// Reads until the user is said to be so.
async fn wait_for_status(socket: &mut Socket, user: &User, status: &str) -> Value {
    socket.wait_for(status, |frame| frame["type"] == "presence_update" && status_of(frame, user) == status).await
}

pub async fn who_looks_sees_who_comes_and_goes(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let mut to_ann = ann.socket().await;
    watch(&mut to_ann, &[&dm]).await;
    let whole = to_ann.wait_for("who is there", |frame| frame["whole"] == true).await;
    assert_eq!(status_of(&whole, &bob), Value::Null);

    let to_bob = bob.socket().await;
    wait_for_status(&mut to_ann, &bob, "online").await;
    let shown = ann.get(&format!("/api/conversations/{dm}/presence")).await.ok(200);
    assert_eq!((&shown["online"], status_of(&shown, &bob)), (&json!(2), json!("online")), "{shown}");

    drop(to_bob);
    let left = wait_for_status(&mut to_ann, &bob, "offline").await;
    assert!(left["users"][0]["last_seen_at"].is_string(), "{left}");
    let shown = ann.get(&format!("/api/conversations/{dm}/presence")).await.ok(200);
    assert_eq!(status_of(&shown, &bob), "offline");
    let seen = shown["users"].as_array().unwrap().iter().find(|one| one["user_id"] == bob.id).unwrap();
    assert!(seen["last_seen_at"].is_string(), "{shown}");
    let eve = User::sign_up(stack, 1, "eve").await;
    eve.get(&format!("/api/conversations/{dm}/presence")).await.ok(404);
}

pub async fn the_strongest_word_of_all_devices_counts(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    let mut to_ann = ann.socket().await;
    watch(&mut to_ann, &[&dm]).await;
    to_ann.wait_for("who is there", |frame| frame["whole"] == true).await;
    let mut desk = bob.socket().await;
    wait_for_status(&mut to_ann, &bob, "online").await;
    let mut phone = bob.sign_in().await.at(stack, 0).socket().await;
    let update = async |socket: &mut Socket, status: &str| {
        socket.send(&json!({ "type": "presence_update", "status": status })).await;
    };
    update(&mut phone, "do_not_disturb").await;
    wait_for_status(&mut to_ann, &bob, "do_not_disturb").await;
    update(&mut phone, "offline").await;
    wait_for_status(&mut to_ann, &bob, "online").await;
    update(&mut desk, "away").await;
    wait_for_status(&mut to_ann, &bob, "away").await;
    // Looks as if nobody were there, and hears everything.
    update(&mut desk, "offline").await;
    wait_for_status(&mut to_ann, &bob, "offline").await;
    ann.say(&dm, "m-1", "Are you there?").await.ok(201);
    desk.wait_for_type("message").await;
    update(&mut desk, "asleep").await;
    assert_eq!(desk.wait_for_type("error").await["problem"]["type"], "urn:sealpost:problem:malformed");
}

pub async fn typing_is_told_to_those_who_look(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob]).await;
    ann.add(&group, &eve, "reader").await.ok(200);
    let (mut to_ann, mut to_bob, mut to_eve) = (ann.socket().await, bob.socket().await, eve.socket().await);
    watch(&mut to_ann, &[&group]).await;
    to_ann.wait_for("who is there", |frame| frame["whole"] == true).await;
    say(&mut to_bob, "typing_start", &group).await;
    let who = json!(bob.id);
    let typing = |kind: &'static str| {
        let who = who.clone();
        move |frame: &Value| frame["type"] == kind && frame["user_id"] == who
    };
    to_ann.wait_for("typing", typing("typing_start")).await;
    // Whoever comes to look learns it at once.
    let mut second = ann.sign_in().await.socket().await;
    watch(&mut second, &[&group]).await;
    second.wait_for("typing", typing("typing_start")).await;
    say(&mut to_bob, "typing_stop", &group).await;
    to_ann.wait_for("the end of it", typing("typing_stop")).await;
    // It ends by itself, too.
    say(&mut to_bob, "typing_start", &group).await;
    to_ann.wait_for("typing", typing("typing_start")).await;
    to_ann.wait_for("the end of it", typing("typing_stop")).await;

    // Who may not write does not type, and strangers learn nothing.
    say(&mut to_eve, "typing_start", &group).await;
    assert_eq!(to_eve.wait_for_type("error").await["problem"]["status"], 403);
    let mallory = User::sign_up(stack, 0, "mallory").await;
    let mut to_mallory = mallory.socket().await;
    say(&mut to_mallory, "typing_start", &group).await;
    assert_eq!(to_mallory.wait_for_type("error").await["problem"]["status"], 404);
    watch(&mut to_mallory, &[&group]).await;
    assert_eq!(to_mallory.wait_for_type("error").await["problem"]["status"], 404);
    let many: Vec<String> = (0..21).map(|_| group.clone()).collect();
    watch(&mut to_ann, &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(to_ann.wait_for_type("error").await["problem"]["status"], 422);
}

pub async fn a_removed_participant_is_seen_no_more_and_sees_nothing(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 0, "eve").await;
    let group = ann.group(&[&bob, &eve]).await;
    let dm = ann.dm(&bob).await;
    let (mut to_ann, mut to_bob, mut to_eve) = (ann.socket().await, bob.socket().await, eve.socket().await);
    for socket in [&mut to_ann, &mut to_bob] {
        watch(socket, &[&group]).await;
        wait_for_status(socket, &eve, "online").await;
    }
    ann.remove(&group, &bob).await.ok(204);
    let whole = |frame: &Value| frame["whole"] == true && frame["conversation_id"] == group;
    let after = to_ann.wait_for("who is there", whole).await;
    assert_eq!((status_of(&after, &bob), status_of(&after, &eve)), (Value::Null, json!("online")), "{after}");
    // What the others do now does not reach him: the next thing that he hears is from elsewhere.
    to_bob.wait_for_type("participant_removed").await;
    say(&mut to_eve, "typing_start", &group).await;
    to_ann.wait_for_type("typing_start").await;
    drop(to_eve);
    wait_for_status(&mut to_ann, &eve, "offline").await;
    ann.say(&dm, "m-1", "Sorry").await.ok(201);
    loop {
        let frame = to_bob.frame().await;
        if frame["client_message_id"] == "m-1" {
            break;
        }
        assert_ne!(frame["conversation_id"], group, "{frame}");
    }
    say(&mut to_bob, "typing_start", &group).await;
    assert_eq!(to_bob.wait_for_type("error").await["problem"]["status"], 404);
}
