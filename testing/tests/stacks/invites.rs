//! Links that let people join.

use futures_util::future::join_all;
use sealpost_testing::{Api, Reply, Stack, User};
use serde_json::json;

async fn invite(user: &User, group: &str, body: serde_json::Value) -> (String, String) {
    let made = user.post(&format!("/api/conversations/{group}/invites"), body).await.ok(201);
    (made["token"].as_str().unwrap().to_owned(), made["invite"]["id"].as_str().unwrap().to_owned())
}

async fn join(user: &User, token: &str) -> Reply {
    user.post("/api/invites/join", json!({ "token": token })).await
}

pub async fn a_link_lets_people_join_as_often_as_it_says(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let (eve, dan) = (User::sign_up(stack, 0, "eve").await, User::sign_up(stack, 1, "dan").await);
    let group = ann.group(&[]).await;
    let mut to_bob = bob.socket().await;
    let (token, id) = invite(&ann, &group, json!({ "max_uses": 2, "role": "reader" })).await;
    let joined = join(&bob, &token).await.ok(201);
    assert_eq!((&joined["id"], &joined["role"]), (&json!(group), &json!("reader")));
    let event = to_bob.wait_for_type("participant_added").await;
    assert_eq!((&event["user_id"], &event["sender_id"]), (&json!(bob.id), &json!(bob.id)));
    // Once in, the link costs nothing.
    join(&bob, &token).await.ok(200);
    let list = async || ann.get(&format!("/api/conversations/{group}/invites")).await.ok(200)["invites"].clone();
    let shown = list().await;
    assert_eq!((&shown[0]["id"], &shown[0]["uses"], &shown[0]["role"]), (&json!(id), &json!(1), &json!("reader")));
    assert!(!shown.to_string().contains(&token), "the token is shown once");
    join(&eve, &token).await.ok(201);
    join(&dan, &token).await.is_problem(403, "invitation-refused");
    assert_eq!(list().await, json!([]));

    let (token, id) = invite(&ann, &group, json!({})).await;
    ann.delete(&format!("/api/conversations/{group}/invites/{id}")).await.ok(204);
    ann.delete(&format!("/api/conversations/{group}/invites/{id}")).await.is_problem(404, "not-found");
    join(&dan, &token).await.is_problem(403, "invitation-refused");
    let wrong = ann.post(&format!("/api/conversations/{group}/invites"), json!({ "max_uses": 0 })).await;
    wrong.is_problem(422, "invalid");
    let dm = ann.dm(&bob).await;
    ann.post(&format!("/api/conversations/{dm}/invites"), json!({})).await.is_problem(422, "invalid");
}

/// A link gives nothing that the one who made it could not give now.
pub async fn a_link_is_as_good_as_the_one_who_made_it(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let (eve, dan) = (User::sign_up(stack, 0, "eve").await, User::sign_up(stack, 1, "dan").await);
    let group = ann.group(&[&bob]).await;
    let path = format!("/api/conversations/{group}/invites");
    bob.post(&path, json!({})).await.is_problem(403, "forbidden");
    bob.get(&path).await.is_problem(403, "forbidden");
    eve.post(&path, json!({})).await.is_problem(404, "not-found");
    ann.add(&group, &bob, "admin").await.ok(200);
    bob.post(&path, json!({ "role": "admin" })).await.is_problem(403, "forbidden");
    let (token, _) = invite(&bob, &group, json!({ "max_uses": 5 })).await;
    join(&eve, &token).await.ok(201);
    ann.add(&group, &bob, "member").await.ok(200);
    join(&dan, &token).await.is_problem(403, "invitation-refused");
    ann.add(&group, &bob, "owner").await.ok(200);
    let (strong, _) = invite(&bob, &group, json!({ "role": "admin" })).await;
    ann.add(&group, &bob, "admin").await.ok(200);
    join(&dan, &strong).await.is_problem(403, "invitation-refused");
    ann.remove(&group, &bob).await.ok(204);
    join(&dan, &token).await.is_problem(403, "invitation-refused");
    ann.add(&group, &bob, "admin").await.ok(200);
    join(&dan, &token).await.ok(201);
    ann.delete(&format!("/api/conversations/{group}")).await.ok(204);
    join(&bob, &token).await.is_problem(403, "invitation-refused");
}

/// What is wrong with a link is not said: one answer, to the letter.
pub async fn attack_20_a_bad_link_tells_nothing(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[]).await;
    let (used, _) = invite(&ann, &group, json!({})).await;
    join(&User::sign_up(stack, 0, "dan").await, &used).await.ok(201);
    let (revoked, id) = invite(&ann, &group, json!({})).await;
    ann.delete(&format!("/api/conversations/{group}/invites/{id}")).await.ok(204);
    let unknown = join(&bob, "kQ9tJm2vXbR7cW1zLh4sPd8yNf6gTa3e").await;
    unknown.is_problem(403, "invitation-refused");
    for token in [&*used, &*revoked, "", "' OR 1=1 --", &"x".repeat(10_000)] {
        assert_eq!(join(&bob, token).await.text, unknown.text, "{token:.40}");
    }
    Api::new(&stack.url(0))
        .post("/api/invites/join", &json!({ "token": used }))
        .await
        .is_problem(401, "unauthenticated");
}

/// Twenty people, two gateways, one use.
pub async fn attack_22_the_last_use_of_a_link_is_used_once(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    let mut people = Vec::new();
    for number in 0..20 {
        people.push(User::sign_up(stack, number % 2, "guest").await);
    }
    let (token, _) = invite(&ann, &group, json!({ "max_uses": 3 })).await;
    let replies = join_all(people.iter().map(|user| join(user, &token))).await;
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!((count(201), count(403)), (3, 17), "{:?}", replies.iter().map(|reply| reply.status).collect::<Vec<_>>());
    let participants = ann.get(&format!("/api/conversations/{group}")).await.ok(200)["participants"].clone();
    assert_eq!(participants.as_array().unwrap().len(), 4);
}
