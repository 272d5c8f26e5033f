//! Programs that are told of events by requests to an address of theirs.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ring::hmac;
use sealpost_testing::{Answer, Received, Receiver, Stack, User, eventually, unique};
use serde_json::{Value, json};

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// A service account, which takes part in nothing.
async fn account(owner: &User) -> String {
    let made = owner.post("/api/service-accounts", json!({ "username": unique("bot") })).await.ok(201);
    text(&made["id"])
}

async fn add(owner: &User, group: &str, account: &str) {
    let path = format!("/api/conversations/{group}/participants/{account}");
    owner.request("PUT", &path, json!({ "role": "member" })).await.ok(200);
}

/// Id and secret of a new webhook.
async fn hook(owner: &User, body: Value) -> (String, String) {
    let made = owner.post("/api/webhooks", body).await.ok(201);
    assert_eq!(made["webhook"]["state"], "active");
    (text(&made["webhook"]["id"]), text(&made["secret"]))
}

/// How the webhook stands in one conversation.
async fn standing(owner: &User, hook: &str, group: &str) -> Option<Value> {
    let listed = owner.get(&format!("/api/webhooks/{hook}/deliveries")).await.ok(200);
    listed["conversations"].as_array().unwrap().iter().find(|one| one["conversation_id"] == group).cloned()
}

async fn say(user: &User, group: &str, count: usize) -> u64 {
    let mut last = 0;
    for _ in 0..count {
        let sent = user.say(group, &unique("m-"), "Nobody but participants reads this.").await.ok(201);
        last = sent["seq"].as_u64().unwrap();
    }
    last
}

/// Whether the request is signed with this secret, as docs/webhooks.md says.
fn is_signed(request: &Received, secret: &str) -> bool {
    let header = request.header("sealpost-signature");
    let time = header.split(',').find_map(|part| part.strip_prefix("t=")).unwrap();
    let signed = [time.as_bytes(), b".", &request.body].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &signed);
    let tag = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    header.split(',').filter_map(|part| part.strip_prefix("v1=")).any(|one| one == tag)
}

/// The example of the documentation, run by Python on a request that came.
fn example_takes(request: &Received, secret: &str, header: &str) -> bool {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/webhooks.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (_, rest) = docs.split_once("```python\n").expect("an example in Python");
    let (example, _) = rest.split_once("```").unwrap();
    let run = "\nimport sys\nprint(is_from_sealpost(sys.argv[1], sys.argv[2], sys.stdin.buffer.read()))\n";
    let mut python = Command::new("python3")
        .args(["-c", &format!("{example}{run}"), secret, header])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(&request.body).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim() == "True"
}

pub async fn events_arrive_signed_and_in_order(stack: &Stack) {
    let (receiver, ann) = (Receiver::start().await, User::sign_up(stack, 0, "ann").await);
    let groups = [ann.group(&[]).await, ann.group(&[]).await];
    say(&ann, &groups[0], 2).await;
    let bot = account(&ann).await;
    let (id, secret) = hook(&ann, json!({ "url": receiver.url, "service_account_id": bot })).await;
    for group in &groups {
        add(&ann, group, &bot).await;
    }
    let mut last = [0, 0];
    for _ in 0..15 {
        for (group, last) in groups.iter().zip(&mut last) {
            *last = say(&ann.at(stack, 1), group, 1).await;
        }
    }
    for (group, last) in groups.iter().zip(last) {
        receiver.took(group, last).await;
        let seqs = receiver.seqs(group);
        assert_eq!(seqs, (seqs[0]..=last).collect::<Vec<_>>(), "each once, in order");
        let taken = receiver.taken();
        let (_, first) = taken.iter().find(|(of, _)| of == group).unwrap();
        assert_eq!(first["kind"], "participant_added", "it begins with what added it");
    }
    assert_eq!(receiver.most_at_once(), 1);
    let received = receiver.received();
    for request in &received {
        assert!(is_signed(request, &secret), "{request:?}");
        assert_eq!(request.json["webhook_id"], id.as_str());
        assert_eq!(request.header("content-type"), "application/json");
        let whole = String::from_utf8_lossy(&request.body);
        assert!(!whole.contains("Nobody but") && !whole.contains("sealed"), "{whole}");
    }
    let (request, header) = (&received[0], received[0].header("sealpost-signature"));
    assert!(example_takes(request, &secret, header));
    assert!(!example_takes(request, "whs_another", header));
    let old = header.replacen("t=1", "t=0", 1);
    assert!(!example_takes(request, &secret, &old), "{old}");
    // The account reads what it was told of.
    let token = json!({ "name": "reader", "scopes": ["read"], "conversations": groups });
    let token = ann.post(&format!("/api/service-accounts/{bot}/tokens"), token).await.ok(201);
    let path = format!("/api/conversations/{}/messages?after={}", groups[0], last[0] - 1);
    let page = ann.api.request("GET", &path, token["token"].as_str(), &Value::Null).await.ok(200);
    let (_, told) = receiver.taken().into_iter().rfind(|(of, _)| *of == groups[0]).unwrap();
    assert_eq!(page["messages"][0]["id"], told["message_id"]);
    let standing = standing(&ann, &id, &groups[0]).await.unwrap();
    assert_eq!((&standing["next_seq"], &standing["head_seq"]), (&json!(last[0] + 1), &json!(last[0])));
}

pub async fn a_receiver_that_was_away_gets_everything(stack: &Stack) {
    let (receiver, ann) = (Receiver::start().await, User::sign_up(stack, 0, "ann").await);
    let group = ann.group(&[]).await;
    let body = json!({ "url": receiver.url, "conversation_id": group, "kinds": ["message_posted"] });
    let (id, _) = hook(&ann, body).await;
    receiver.answer(|_| Answer::Status(503));
    let last = say(&ann, &group, 5).await;
    receiver.came(3).await;
    let view = eventually("the view of failures", async || {
        let failing = ann.get(&format!("/api/webhooks/{id}/deliveries?failing=true")).await.ok(200);
        failing["conversations"].as_array().unwrap().first().filter(|one| one["last_status"] == 503).cloned()
    })
    .await;
    assert_eq!(view["last_error"], "it answered with status 503");
    assert!(view["attempts"].as_u64().unwrap() > 0 && view["next_attempt_at"].is_string(), "{view}");
    assert!(ann.get(&format!("/api/webhooks/{id}")).await.ok(200)["failing_since"].is_string());
    receiver.answer(|_| Answer::Status(200));
    receiver.took(&group, last).await;
    assert_eq!(receiver.seqs(&group), (last - 4..=last).collect::<Vec<_>>());
    eventually("no failures", async || {
        let view = standing(&ann, &id, &group).await.unwrap();
        (view["failing_since"].is_null() && view["attempts"] == 0 && view["delivered_at"].is_string()).then_some(())
    })
    .await;
}

pub async fn a_webhook_is_paused_replayed_and_tested(stack: &Stack) {
    let (receiver, ann) = (Receiver::start().await, User::sign_up(stack, 0, "ann").await);
    let group = ann.group(&[]).await;
    let before = say(&ann, &group, 3).await;
    let (id, secret) = hook(&ann, json!({ "url": receiver.url, "conversation_id": group })).await;
    let path = format!("/api/webhooks/{id}");
    let paused = ann.request("PATCH", &path, json!({ "paused": true })).await.ok(200);
    assert_eq!(paused["state"], "paused");
    let meanwhile = say(&ann, &group, 2).await;
    let tested = ann.post(&format!("{path}/test"), Value::Null).await.ok(200);
    assert_eq!((&tested["taken"], &tested["status"]), (&json!(true), &json!(204)));
    let received = receiver.received();
    assert_eq!(received.len(), 1, "a test and nothing else");
    assert_eq!((&received[0].json["type"], &received[0].json["delivery_id"]), (&json!("ping"), &tested["delivery_id"]));
    assert!(is_signed(&received[0], &secret));
    let running = ann.request("PATCH", &path, json!({ "paused": false })).await.ok(200);
    assert_eq!(running["state"], "active");
    receiver.took(&group, meanwhile).await;
    assert_eq!(receiver.seqs(&group), (before + 1..=meanwhile).collect::<Vec<_>>(), "from where it stood");
    let replay_path = format!("{path}/replay");
    let replay = |seq: u64| ann.post(&replay_path, json!({ "conversation_id": group, "from_seq": seq }));
    replay(0).await.is_problem(422, "seq-out-of-range");
    replay(meanwhile + 2).await.is_problem(422, "seq-out-of-range");
    replay(1).await.ok(200);
    receiver.took(&group, 1).await;
    eventually("all of it again", async || {
        let again: Vec<_> = receiver.seqs(&group).into_iter().skip(2).collect();
        (again == (1..=meanwhile).collect::<Vec<_>>()).then_some(())
    })
    .await;
    receiver.answer(|_| Answer::Status(500));
    let tested = ann.post(&format!("{path}/test"), Value::Null).await.ok(200);
    assert_eq!((&tested["taken"], &tested["error"]), (&json!(false), &json!("it answered with status 500")));
    // A new secret is good at once, and the old one for a day.
    let rotated = ann.post(&format!("{path}/secret"), Value::Null).await.ok(200);
    let newer = text(&rotated["secret"]);
    assert_ne!(newer, secret);
    ann.post(&format!("{path}/test"), Value::Null).await.ok(200);
    let last = receiver.received().pop().unwrap();
    assert!(is_signed(&last, &newer) && is_signed(&last, &secret) && !is_signed(&last, "whs_another"));
    let shown = ann.get(&path).await.ok(200).to_string();
    assert!(!shown.contains(&newer) && !shown.contains(&secret), "a secret is shown once");
    ann.delete(&path).await.ok(204);
    ann.get(&path).await.is_problem(404, "not-found");
}

pub async fn attack_25_webhooks_reach_no_closed_network(stack: &Stack) {
    let (receiver, inner) = (Receiver::start().await, Receiver::start_at("127.0.0.2").await);
    let ann = User::sign_up(stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    let port = inner.url.rsplit(':').next().unwrap().to_owned();
    let create = |url: String| ann.post("/api/webhooks", json!({ "url": url, "conversation_id": group }));
    for host in [
        "127.0.0.2",
        "2130706434",
        "0x7f.2",
        "0177.0.0.2",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.2]",
        "[64:ff9b::7f00:2]",
        "[2002:7f00:2::]",
        "[fd00::1]",
        "[fe80::1]",
    ] {
        create(format!("http://{host}:{port}/")).await.is_problem(422, "invalid");
    }
    for url in
        ["file:///etc/passwd", "gopher://example.org/", "ftp://example.org/", "http://a:b@example.org/", "//x", ""]
    {
        create(url.to_owned()).await.is_problem(422, "invalid");
    }
    // Redirections are answers like others, and are not followed.
    let (id, _) = hook(&ann, json!({ "url": receiver.url, "conversation_id": group })).await;
    let path = format!("/api/webhooks/{id}");
    ann.request("PATCH", &path, json!({ "url": inner.url })).await.is_problem(422, "invalid");
    let to = inner.url.clone();
    receiver.answer(move |_| Answer::Redirect(to.clone()));
    let tested = ann.post(&format!("{path}/test"), Value::Null).await.ok(200);
    assert_eq!((&tested["taken"], &tested["status"]), (&json!(false), &json!(302)));
    say(&ann, &group, 1).await;
    receiver.came(2).await;
    // An address that got into the store is checked all the same when it is connected to.
    let sql = format!("UPDATE webhooks SET url = '{}/' WHERE id = {}", inner.url, stack.id(&id));
    assert_eq!(stack.execute(&sql).await, Ok(1));
    let tested = ann.post(&format!("{path}/test"), Value::Null).await.ok(200);
    assert_eq!((&tested["taken"], &tested["status"]), (&json!(false), &Value::Null));
    assert_eq!(tested["error"], "the address leads into a network that webhooks may not reach");
    eventually("a delivery that was refused", async || {
        let view = standing(&ann, &id, &group).await.unwrap();
        (view["last_error"] == tested["error"]).then_some(())
    })
    .await;
    assert_eq!(inner.connections(), 0);
}

pub async fn a_removed_service_account_is_told_nothing_more(stack: &Stack) {
    let (receiver, ann) = (Receiver::start().await, User::sign_up(stack, 0, "ann").await);
    let (group, other) = (ann.group(&[]).await, ann.group(&[]).await);
    let bot = account(&ann).await;
    let (id, _) = hook(&ann, json!({ "url": receiver.url, "service_account_id": bot })).await;
    for id in [&group, &other] {
        add(&ann, id, &bot).await;
    }
    let last = say(&ann, &group, 2).await;
    receiver.took(&group, last).await;
    ann.delete(&format!("/api/conversations/{group}/participants/{bot}")).await.ok(204);
    say(&ann, &group, 3).await;
    // What comes later elsewhere has come: so would have what was written before.
    let later = say(&ann, &other, 1).await;
    receiver.took(&other, later).await;
    assert_eq!(receiver.seqs(&group).last(), Some(&last));
    assert!(standing(&ann, &id, &group).await.is_none(), "nor is it told how far the conversation has got");
    let replay = json!({ "conversation_id": group, "from_seq": 1 });
    ann.post(&format!("/api/webhooks/{id}/replay"), replay).await.is_problem(404, "not-found");
    // Whoever comes back is a newcomer.
    add(&ann, &group, &bot).await;
    let back = say(&ann, &group, 1).await;
    receiver.took(&group, back).await;
    assert_eq!(receiver.seqs(&group).into_iter().filter(|seq| *seq > last).collect::<Vec<_>>(), [back - 1, back]);
    ann.delete(&format!("/api/service-accounts/{bot}")).await.ok(204);
    ann.get(&format!("/api/webhooks/{id}")).await.is_problem(404, "not-found");
}

pub async fn webhooks_are_managed_by_those_who_may(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 0, "eve").await;
    let group = ann.group(&[&bob]).await;
    let url = "http://127.0.0.1:9/hooks";
    let of_group = json!({ "url": url, "conversation_id": group });
    eve.post("/api/webhooks", of_group.clone()).await.is_problem(404, "not-found");
    bob.post("/api/webhooks", of_group.clone()).await.is_problem(403, "forbidden");
    let bot = account(&ann).await;
    let of_bot = json!({ "url": url, "service_account_id": bot });
    bob.post("/api/webhooks", of_bot.clone()).await.is_problem(404, "not-found");
    for bad in [
        json!({ "url": url }),
        json!({ "url": url, "conversation_id": group, "service_account_id": bot }),
        json!({ "url": url, "conversation_id": group, "kinds": [] }),
        json!({ "url": url, "conversation_id": group, "kinds": ["message"] }),
    ] {
        ann.post("/api/webhooks", bad).await.is_problem(422, "invalid");
    }
    let (of_group_id, _) = hook(&ann, of_group.clone()).await;
    let (of_bot_id, _) = hook(&ann, of_bot.clone()).await;
    for (id, status, problem) in [(&of_group_id, 403, "forbidden"), (&of_bot_id, 404, "not-found")] {
        let path = format!("/api/webhooks/{id}");
        bob.get(&path).await.is_problem(status, problem);
        bob.delete(&path).await.is_problem(status, problem);
        bob.request("PATCH", &path, json!({ "paused": true })).await.is_problem(status, problem);
        bob.get(&format!("{path}/deliveries")).await.is_problem(status, problem);
        for (what, body) in [
            ("secret", Value::Null),
            ("test", Value::Null),
            ("replay", json!({ "conversation_id": group, "from_seq": 1 })),
        ] {
            bob.post(&format!("{path}/{what}"), body.clone()).await.is_problem(status, problem);
            eve.post(&format!("{path}/{what}"), body).await.is_problem(404, "not-found");
        }
    }
    let ids = |listed: &Value| -> Vec<String> {
        listed["webhooks"].as_array().unwrap().iter().map(|one| text(&one["id"])).collect()
    };
    assert_eq!(ids(&ann.get("/api/webhooks").await.ok(200)), [of_bot_id.clone(), of_group_id.clone()]);
    assert!(ids(&bob.get("/api/webhooks").await.ok(200)).is_empty());
    // With the right to change settings comes that to manage webhooks.
    ann.add(&group, &bob, "admin").await.ok(200);
    assert_eq!(ids(&bob.get("/api/webhooks").await.ok(200)), std::slice::from_ref(&of_group_id));
    bob.get(&format!("/api/webhooks/{of_group_id}")).await.ok(200);
    // Tokens of programs manage none.
    let token = json!({ "name": "x", "scopes": ["read", "send", "manage"], "conversations": [group] });
    let token = ann.post(&format!("/api/service-accounts/{bot}/tokens"), token).await;
    let token = if token.status == 201 { text(&token.body["token"]) } else { panic!("{token}") };
    ann.api.request("GET", "/api/webhooks", Some(&token), &Value::Null).await.is_problem(403, "forbidden");
    for _ in 1..10 {
        hook(&ann, of_bot.clone()).await;
    }
    ann.post("/api/webhooks", of_bot).await.is_problem(422, "invalid");
}
