//! Taking data along.

use sealpost_testing::{Stack, User};
use serde_json::{Value, json};

async fn lines(user: &User, path: &str) -> Vec<Value> {
    let reply = user.get(path).await;
    assert_eq!(reply.status, 200, "{reply}");
    let lines: Vec<Value> = reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap(), &json!({ "type": "end", "lines": lines.len() }));
    lines
}

fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

pub async fn an_owner_exports_a_conversation(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    let id = |sent: Value| sent["message_id"].as_str().unwrap().to_owned();
    let one = id(ann.say(&group, "m-1", "first words").await.ok(201));
    ann.request("PUT", &format!("/api/messages/{one}"), json!({ "text": "better words" })).await.ok(200);
    let gone = id(bob.say(&group, "b-1", "never mind").await.ok(201));
    bob.delete(&format!("/api/messages/{gone}")).await.ok(204);
    stack.settle().await;

    let path = format!("/api/conversations/{group}/export");
    bob.get(&path).await.is_problem(403, "forbidden");
    let all = lines(&ann, &path).await;
    assert_eq!((&all[0]["type"], &all[0]["conversation"]["title"]), (&json!("conversation"), &json!("A group")));
    let names: Vec<_> = of_type(&all, "participant").iter().map(|line| line["username"].clone()).collect();
    assert!(names.len() == 2 && names.contains(&json!(bob.username)), "{names:?}");
    // Every event once and in order, as it came live: here without what was deleted.
    let events: Vec<_> = all.iter().filter(|line| line["seq"].is_u64()).collect();
    let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    let head = all[0]["conversation"]["head_seq"].as_u64().unwrap();
    assert_eq!(seqs, (1..=head).collect::<Vec<_>>());
    assert_eq!(of_type(&all, "message")[0]["text"], "first words");
    assert_eq!(of_type(&all, "message_edited")[0]["text"], "better words");
    assert!(!all.iter().any(|line| line.to_string().contains("never mind")));
    let eve = User::sign_up(stack, 0, "eve").await;
    eve.get(&path).await.is_problem(404, "not-found");
    ann.add(&group, &bob, "owner").await.ok(200);
    lines(&bob, &path).await;
}

/// Attack case 4 names it: an owner who joined later exports what they may see.
pub async fn attack_4_an_export_begins_where_its_owner_joined(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[]).await;
    ann.say(&group, "m-1", "before bob").await.ok(201);
    ann.request("PATCH", &format!("/api/conversations/{group}"), json!({ "history": "since_joining" })).await.ok(200);
    ann.add(&group, &bob, "owner").await.ok(200);
    ann.say(&group, "m-2", "with bob").await.ok(201);
    stack.settle().await;
    let all = lines(&bob, &format!("/api/conversations/{group}/export")).await;
    assert_eq!(all.iter().filter(|line| line["seq"].is_u64()).count(), 2, "joining, and what was said then");
    assert!(!all.iter().any(|line| line.to_string().contains("before bob")));
}

pub async fn a_user_exports_their_own_data(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let dm = ann.dm(&bob).await;
    ann.say(&dm, "m-1", "mine").await.ok(201);
    bob.say(&dm, "b-1", "not mine").await.ok(201);
    ann.request("PUT", &format!("/api/conversations/{dm}/draft"), json!({ "text": "half a thought" })).await.ok(200);
    ann.request("PUT", &format!("/api/blocks/{}", User::sign_up(stack, 0, "eve").await.id), json!(null)).await;
    stack.settle().await;
    let all = lines(&ann, "/api/export").await;
    assert_eq!(all[0]["account"]["username"], json!(ann.username));
    assert_eq!(of_type(&all, "message").iter().map(|line| line["text"].clone()).collect::<Vec<_>>(), [json!("mine")]);
    assert_eq!(of_type(&all, "draft")[0]["draft"]["text"], "half a thought");
    assert_eq!((of_type(&all, "session").len(), of_type(&all, "block").len()), (1, 1));
    assert_eq!(of_type(&all, "conversation")[0]["conversation"]["id"], json!(dm));
    assert!(of_type(&all, "audit").iter().any(|line| line["entry"]["action"] == "signed_up"));
    // What others said shows only as the last message of a list, which is the user's to see.
    assert!(!of_type(&all, "message").iter().any(|line| line["text"] == "not mine"));
}
