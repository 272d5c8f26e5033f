//! Messages for later.

use std::time::Duration;

use sealpost_schema::Clock;
use sealpost_testing::{Form, Process, Reply, Settings, Stack, User, eventually, unique};
use serde_json::{Value, json};

/// So many milliseconds from now, as the API writes moments.
fn in_millis(millis: i64) -> String {
    Clock::skewed(millis).now().to_string()
}

async fn schedule(user: &User, conversation: &str, name: &str, text: &str, at: &str) -> Reply {
    let body = json!({ "client_message_id": name, "text": text, "send_at": at });
    user.post(&format!("/api/conversations/{conversation}/scheduled"), body).await
}

async fn listed(user: &User) -> Vec<Value> {
    user.get("/api/scheduled").await.ok(200)["scheduled"].as_array().unwrap().clone()
}

pub async fn a_message_is_sent_at_its_time(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let first = ann.say(&group, "m-0", "first").await.ok(201);
    let (mut to_bob, mut other_device) = (bob.socket().await, ann.sign_in().await.at(stack, 1).socket().await);
    let at = in_millis(1500);
    let body = json!({
        "client_message_id": "m-1", "text": format!("for later, @{}", bob.username), "send_at": at, "reply_to": first["message_id"],
    });
    let made = ann.post(&format!("/api/conversations/{group}/scheduled"), body.clone()).await.ok(201);
    assert_eq!((&made["state"], &made["reply_to"]), (&json!("waiting"), &first["message_id"]), "{made}");
    // A repeat is the same one; nobody but ann has it.
    assert_eq!(ann.post(&format!("/api/conversations/{group}/scheduled"), body).await.ok(200)["id"], made["id"]);
    assert_eq!(listed(&bob).await, Vec::<Value>::new());
    let heard = other_device.wait_for_type("scheduled_message").await;
    assert_eq!((&heard["message_id"], &heard["state"]), (&made["id"], &json!("waiting")), "{heard}");
    let sent = to_bob.wait_for("the message", |frame| frame["client_message_id"] == "m-1").await;
    assert_eq!((&sent["message_id"], &sent["text"]), (&made["id"], &made["text"]), "{sent}");
    assert_eq!((&sent["reply_to"], &sent["mentions"]), (&first["message_id"], &json!([bob.id])), "{sent}");
    assert!(sent["created_at"].as_str() >= made["send_at"].as_str(), "{sent}");
    other_device.wait_for("the end of waiting", |frame| frame["state"] == "sent").await;
    eventually("the row to go", async || listed(&ann).await.is_empty().then_some(())).await;
    let path = format!("/api/scheduled/{}", made["id"].as_str().unwrap());
    ann.request("PATCH", &path, json!({ "text": "too late" })).await.is_problem(409, "already-sent");
    ann.delete(&path).await.is_problem(409, "already-sent");
    schedule(&ann, &group, "m-1", "again", &in_millis(60_000)).await.is_problem(409, "client-message-id-reused");
    assert_eq!(ann.history(&group).await.len(), 2);
}

pub async fn what_waits_is_listed_changed_and_cancelled(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let (group, other) = (ann.group(&[&bob]).await, ann.group(&[]).await);
    let far = in_millis(3_600_000);
    for at in [in_millis(-1000), "2001-01-01T00:00:00Z".to_owned(), in_millis(400 * 24 * 3_600_000)] {
        schedule(&ann, &group, "m-1", "when?", &at).await.is_problem(422, "invalid");
    }
    schedule(&ann, &group, "m-1", " ", &far).await.is_problem(422, "empty-text");
    schedule(&eve, &group, "m-1", "not hers", &far).await.is_problem(404, "not-found");
    let one = schedule(&ann, &group, "m-1", "one", &far).await.ok(201);
    schedule(&ann, &group, "m-1", "another text", &far).await.is_problem(409, "client-message-id-reused");
    let two = schedule(&ann, &other, "m-1", "two", &in_millis(60_000)).await.ok(201);
    let texts = |list: Vec<Value>| list.iter().map(|one| one["text"].clone()).collect::<Vec<_>>();
    assert_eq!(texts(listed(&ann).await), ["two", "one"], "those first that are to be sent first");
    let of_group = ann.get(&format!("/api/conversations/{group}/scheduled")).await.ok(200)["scheduled"].clone();
    assert_eq!(of_group, json!([one]));
    eve.get(&format!("/api/conversations/{group}/scheduled")).await.is_problem(404, "not-found");
    let path = |one: &Value| format!("/api/scheduled/{}", one["id"].as_str().unwrap());
    // From the other gateway, and by nobody else.
    let elsewhere = ann.at(stack, 1);
    let calling = format!("one, @{}", bob.username);
    let changed = elsewhere.request("PATCH", &path(&one), json!({ "text": calling })).await.ok(200);
    assert_eq!((&changed["text"], &changed["send_at"]), (&json!(calling), &one["send_at"]), "{changed}");
    elsewhere.request("PATCH", &path(&one), json!({ "send_at": in_millis(-1) })).await.is_problem(422, "invalid");
    for user in [&bob, &eve] {
        user.request("PATCH", &path(&one), json!({ "text": "x" })).await.is_problem(404, "not-found");
        user.delete(&path(&one)).await.is_problem(404, "not-found");
    }
    elsewhere.delete(&path(&two)).await.ok(204);
    elsewhere.delete(&path(&two)).await.is_problem(404, "not-found");
    let mut to_bob = bob.socket().await;
    ann.request("PATCH", &path(&one), json!({ "send_at": in_millis(300) })).await.ok(200);
    let sent = to_bob.wait_for_type("message").await;
    assert_eq!((&sent["text"], &sent["mentions"]), (&json!(calling), &json!([bob.id])), "{sent}");
    assert_eq!(ann.history(&other).await, []);
}

pub async fn rights_count_when_a_scheduled_message_is_sent(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let (group, other) = (ann.group(&[&bob]).await, ann.group(&[&bob]).await);
    let at = in_millis(1000);
    let refused = schedule(&bob, &group, "m-1", "from outside", &at).await.ok(201);
    schedule(&bob, &other, "m-1", "as a reader", &at).await.ok(201);
    schedule(&ann, &group, "m-1", "in time", &at).await.ok(201);
    ann.remove(&group, &bob).await.ok(204);
    ann.add(&other, &bob, "reader").await.ok(200);
    let failed = eventually("both to be refused", async || {
        let list = listed(&bob).await;
        list.iter().all(|one| one["state"] == "failed").then_some(list)
    })
    .await;
    let why: Vec<_> = failed.iter().map(|one| (one["text"].clone(), one["failure"].clone())).collect();
    let reason = |text: &str, why: &str| (json!(text), json!(why));
    assert!(why.contains(&reason("from outside", "not_a_participant")), "{why:?}");
    assert!(why.contains(&reason("as a reader", "forbidden")), "{why:?}");
    eventually("ann's to be sent", async || listed(&ann).await.is_empty().then_some(())).await;
    // It can be tried again.
    let path = format!("/api/scheduled/{}", refused["id"].as_str().unwrap());
    bob.request("PATCH", &path, json!({})).await.is_problem(422, "invalid");
    ann.add(&group, &bob, "member").await.ok(200);
    bob.request("PATCH", &path, json!({ "send_at": in_millis(300) })).await.ok(200);
    eventually("it to be sent", async || (listed(&bob).await.len() == 1).then_some(())).await;
    let texts: Vec<_> = ann.history(&group).await.into_iter().filter_map(|message| message.text).collect();
    assert_eq!(texts, ["in time", "from outside"]);
}

/// Whoever is first wins: a cancelled message is not sent, and one that was sent was not cancelled.
pub async fn cancelling_races_with_sending(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    let mut made = Vec::new();
    for number in 0..30 {
        let at = in_millis(700 + number * 20);
        let (name, text) = (format!("m-{number}"), format!("{number}"));
        made.push(schedule(&ann, &group, &name, &text, &at).await.ok(201)["id"].as_str().unwrap().to_owned());
    }
    let mut cancelled = Vec::new();
    for (number, id) in made.iter().enumerate() {
        let at = ann.at(stack, number % 2);
        let reply = at.delete(&format!("/api/scheduled/{id}")).await;
        match reply.status {
            204 => cancelled.push(id.clone()),
            _ => reply.is_problem(409, "already-sent"),
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    eventually("the rest to be sent", async || listed(&ann).await.is_empty().then_some(())).await;
    stack.settle().await;
    let sent: Vec<_> = ann.history(&group).await.into_iter().map(|message| message.message_id).collect();
    for id in &made {
        assert_ne!(sent.contains(id), cancelled.contains(id), "{id}: sent {sent:?}, cancelled {cancelled:?}");
    }
}

/// Killed again and again while messages come due: each is sent once.
async fn a_killed_worker_sends_everything_once(form: Form) {
    // The others take over what a killed one had begun.
    let settings = Settings::default().set("SEALPOST__WORKERS__TIMERS__LEASE_MS", 1000);
    let stack = Stack::start(form, settings).await;
    let ann = User::sign_up(&stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    for number in 0..60 {
        let at = in_millis(2000 + number * 50);
        schedule(&ann, &group, &format!("m-{number}"), &format!("{number}"), &at).await.ok(201);
    }
    let victims: Vec<&Process> = match form {
        Form::Embedded => stack.processes().collect(),
        Form::Cluster => stack.processes_named("timers").collect(),
    };
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for round in 0..8 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        victims[round % victims.len()].kill_and_start();
    }
    // All of them at once, past the time of the last one: late ones are sent as soon as one is back.
    for victim in &victims {
        victim.kill();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for victim in &victims {
        victim.start();
    }
    stack.ready().await;
    let ann = User { access_token: ann.sign_in().await.access_token, ..ann };
    eventually("all to be sent", async || listed(&ann).await.is_empty().then_some(())).await;
    stack.settle().await;
    let mut texts: Vec<_> =
        ann.history(&group).await.into_iter().map(|message| message.text.unwrap().parse::<u32>().unwrap()).collect();
    texts.sort_unstable();
    assert_eq!(texts, (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_killed_worker_sends_everything_once_embedded() {
    a_killed_worker_sends_everything_once(Form::Embedded).await;
}

#[tokio::test]
async fn a_killed_worker_sends_everything_once_cluster() {
    a_killed_worker_sends_everything_once(Form::Cluster).await;
}

pub async fn only_so_many_wait(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    let far = in_millis(3_600_000);
    for _ in 0..100 {
        schedule(&ann, &group, &unique("m-"), "later", &far).await.ok(201);
    }
    schedule(&ann, &group, "one-more", "later", &far).await.is_problem(409, "too-many-scheduled");
}
