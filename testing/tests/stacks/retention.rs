//! How long conversations keep what is said.

use sealpost_testing::{Reply, Stack, User, eventually};
use serde_json::{Value, json};

async fn set(user: &User, conversation: &str, days: impl Into<Value>) -> Reply {
    let body = json!({ "retention_days": days.into() });
    user.request("PATCH", &format!("/api/conversations/{conversation}"), body).await
}

/// Makes everything that was said in a conversation so many days older.
async fn age(stack: &Stack, conversation: &str, days: i64) {
    stack.settle().await;
    let (id, millis) = (stack.id(conversation), days * 86_400_000);
    for (table, column) in [("events", "conversation_id"), ("conversations", "id")] {
        let sql = format!("UPDATE {table} SET created_at = created_at - {millis} WHERE {column} = {id}");
        assert!(stack.execute(&sql).await.unwrap() > 0);
    }
}

pub async fn what_is_too_old_goes_and_the_numbers_stay(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let (group, other) = (ann.group(&[&bob]).await, ann.group(&[&bob]).await);
    for id in [&group, &other] {
        let sent = ann.say(id, "m-1", &format!("old news for @{}", bob.username)).await.ok(201);
        let path = format!("/api/messages/{}", sent["message_id"].as_str().unwrap());
        ann.request("PUT", &path, json!({ "text": "old news, edited" })).await.ok(200);
        bob.post(&format!("{path}/reactions"), json!({ "emoji": "👍" })).await.ok(201);
        ann.request("PUT", &format!("{path}/pin"), Value::Null).await.ok(200);
        age(stack, id, 3).await;
        ann.say(id, "m-2", "new").await.ok(201);
    }
    let mut to_bob = bob.socket().await;
    let settings = set(&ann, &group, 2).await.ok(200)["settings"].clone();
    assert_eq!(settings["lifetimes"], json!({ "disappear_after_seconds": null, "retention_days": 2 }));
    assert_eq!(to_bob.wait_for_type("settings_changed").await["lifetimes"], settings["lifetimes"]);
    let texts = async |user: &User, id: &str| -> Vec<_> {
        user.history(id).await.into_iter().map(|message| message.text).collect()
    };
    eventually("the old one to go", async || {
        (texts(&bob, &group).await == [None, Some("new".to_owned())]).then_some(())
    })
    .await;
    let page = bob.get(&format!("/api/conversations/{group}/messages?after=0")).await.ok(200)["messages"][0].clone();
    assert_eq!((&page["deleted"], page.get("reactions"), page.get("pinned")), (&json!(true), None, None), "{page}");
    assert_eq!(bob.get(&format!("/api/conversations/{group}/pins")).await.ok(200)["messages"], json!([]));
    let shown = bob.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"].clone();
    assert_eq!(
        (&shown["title"], &shown["mention_count"], &shown["unread_count"]),
        (&json!("A group"), &json!(0), &json!(1))
    );
    let left =
        format!("SELECT count(*) FROM events WHERE conversation_id = {} AND sealed IS NOT NULL", stack.id(&group));
    assert_eq!(stack.count(&left).await, 1);
    // Whoever comes back gets every number.
    let mut again = bob.connect().resume().await.unwrap();
    again.ping().await;
    assert_eq!(again.view.texts(&group), ["new"]);
    assert_eq!(texts(&ann, &other).await[0].as_deref(), Some("old news, edited"), "nothing of the other one");
}

pub async fn who_may_say_how_long_is_kept(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let (group, dm) = (ann.group(&[&bob]).await, ann.dm(&bob).await);
    set(&bob, &group, 30).await.is_problem(403, "forbidden");
    set(&eve, &group, 30).await.is_problem(404, "not-found");
    // The server keeps nothing for longer than 3650 days.
    for bad in [json!(0), json!(3651), json!(36_501), json!(-1), json!("a year")] {
        set(&ann, &group, bad).await.is_problem(422, "invalid");
    }
    let settings = set(&ann, &group, 3650).await.ok(200)["settings"].clone();
    assert_eq!(
        (&settings["lifetimes"]["retention_days"], &settings["server_retention_days"]),
        (&json!(3650), &json!(3650))
    );
    let settings = set(&ann, &group, Value::Null).await.ok(200)["settings"].clone();
    assert_eq!(settings["lifetimes"]["retention_days"], Value::Null);
    // Of a dm neither can take the other's history away.
    set(&ann, &dm, 30).await.is_problem(422, "invalid");
}
