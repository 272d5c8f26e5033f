//! Programs that take part.

use sealpost_testing::{Api, Connect, Reply, Socket, Stack, User, eventually, message, unique};
use serde_json::{Value, json};

/// A program with its token, at one gateway.
struct Program {
    id: String,
    token: String,
    token_id: String,
    api: Api,
}

impl Program {
    /// A service account of `owner` with one token.
    async fn new(stack: &Stack, gateway: usize, owner: &User, name: &str, token: Value) -> Self {
        let account = owner.post("/api/service-accounts", json!({ "username": unique(name) })).await.ok(201);
        let id = account["id"].as_str().unwrap().to_owned();
        let made = owner.post(&format!("/api/service-accounts/{id}/tokens"), token).await.ok(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let token_id = text(&made["details"]["id"]);
        Self { id, token: text(&made["token"]), token_id, api: Api::new(&stack.url(gateway)) }
    }

    async fn request(&self, method: &str, path: &str, body: Value) -> Reply {
        self.api.request(method, path, Some(&self.token), &body).await
    }

    async fn say(&self, conversation: &str, name: &str, text: &str) -> Reply {
        let body = json!({ "client_message_id": name, "text": text });
        self.request("POST", &format!("/api/conversations/{conversation}/messages"), body).await
    }

    fn connect(&self) -> Connect {
        Connect::to(&self.api.base).header("authorization", &format!("Bearer {}", self.token))
    }

    async fn socket(&self) -> Socket {
        let mut socket = self.connect().open().await.unwrap();
        let ready = socket.ready().await;
        assert_eq!((&ready["user_id"], &ready["session_id"]), (&json!(self.id), &json!(self.token_id)));
        socket
    }

    async fn join(&self, owner: &User, conversation: &str) {
        let path = format!("/api/conversations/{conversation}/participants/{}", self.id);
        owner.request("PUT", &path, json!({ "role": "member" })).await.ok(200);
    }
}

pub async fn two_applications_talk_with_each_other_and_with_people(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    let token = json!({ "name": "both", "scopes": ["read", "send"], "conversations": [group] });
    let build = Program::new(stack, 0, &ann, "build", token.clone()).await;
    let deploy = Program::new(stack, 1, &ann, "deploy", token).await;
    for program in [&build, &deploy] {
        program.join(&ann, &group).await;
    }
    let (mut to_ann, mut to_build, mut to_deploy) = (ann.socket().await, build.socket().await, deploy.socket().await);
    build.say(&group, "b-1", "built").await.ok(201);
    to_deploy.wait_for("what the other said", |frame| frame["text"] == "built").await;
    to_deploy.say(&group, "d-1", "deployed").await;
    to_build.wait_for("the answer", |frame| frame["text"] == "deployed").await;
    ann.say(&group, "a-1", "thank you").await.ok(201);
    for socket in [&mut to_ann, &mut to_build, &mut to_deploy] {
        socket.wait_for("what a person says", |frame| frame["text"] == "thank you").await;
    }
    let senders: Vec<_> = ann.history(&group).await.into_iter().map(|message| message.sender_id).collect();
    assert_eq!(senders, [build.id.clone(), deploy.id.clone(), ann.id.clone()]);
    let me = build.request("GET", "/api/auth/me", Value::Null).await.ok(200);
    assert_eq!(me["id"], build.id.as_str());
}

pub async fn an_api_token_may_no_more_than_it_says(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let (chosen, other) = (ann.group(&[]).await, ann.group(&[]).await);
    let of = |scopes: &[&str]| json!({ "name": "x", "scopes": scopes, "conversations": [chosen] });
    let reader = Program::new(stack, 0, &ann, "reader", of(&["read"])).await;
    let sender = Program::new(stack, 1, &ann, "sender", of(&["send"])).await;
    for program in [&reader, &sender] {
        program.join(&ann, &chosen).await;
        program.join(&ann, &other).await;
    }
    let messages = format!("/api/conversations/{chosen}/messages");
    sender.say(&chosen, "s-1", "hello").await.ok(201);
    sender.request("GET", &messages, Value::Null).await.is_problem(403, "forbidden");
    assert_eq!(sender.connect().open().await.err().unwrap().status, 403);
    reader.request("GET", &messages, Value::Null).await.ok(200);
    reader.say(&chosen, "r-1", "hello").await.is_problem(403, "forbidden");
    // It takes part in both, and the token is for one.
    let listed = reader.request("GET", "/api/conversations", Value::Null).await.ok(200);
    let ids: Vec<_> = listed["conversations"].as_array().unwrap().iter().map(|found| &found["id"]).collect();
    assert_eq!(ids, [&json!(chosen)]);
    let elsewhere = format!("/api/conversations/{other}/messages");
    reader.request("GET", &elsewhere, Value::Null).await.is_problem(404, "not-found");
    sender.say(&other, "s-2", "hello").await.is_problem(404, "not-found");
    let mut socket = reader.socket().await;
    let refused = socket.refused(&message(&chosen, "r-2", "hello")).await;
    assert_eq!(refused["type"], "urn:sealpost:problem:forbidden", "{refused}");
    ann.say(&other, "a-1", "not for the token").await.ok(201);
    let seq = ann.say(&chosen, "a-2", "for the token").await.ok(201)["seq"].as_u64().unwrap();
    socket.wait_for_seq(&chosen, seq).await;
    assert!(socket.view.events(&other).is_empty());
    for (method, path) in [
        ("GET", "/api/auth/sessions"),
        ("DELETE", "/api/auth/sessions"),
        ("POST", "/api/auth/signout"),
        ("GET", "/api/service-accounts"),
        ("GET", "/api/admin/users"),
        ("POST", "/api/conversations"),
    ] {
        reader.request(method, path, Value::Null).await.is_problem(403, "forbidden");
    }
}

pub async fn a_token_that_is_withdrawn_is_out_everywhere(stack: &Stack) {
    let ann = User::sign_up(stack, 0, "ann").await;
    let group = ann.group(&[]).await;
    let token = json!({ "name": "x", "scopes": ["read", "send"], "conversations": [group] });
    for way in ["withdrawn", "deleted", "disabled"] {
        let program = Program::new(stack, 1, &ann, "bot", token.clone()).await;
        program.join(&ann, &group).await;
        let mut socket = program.socket().await;
        let account = format!("/api/service-accounts/{}", program.id);
        match way {
            "withdrawn" => ann.delete(&format!("{account}/tokens/{}", program.token_id)).await.ok(204),
            "deleted" => ann.delete(&account).await.ok(204),
            _ => {
                let listed = ann.get("/api/service-accounts").await.ok(200);
                let accounts = listed["service_accounts"].as_array().unwrap();
                let name = accounts.iter().find(|account| account["id"] == program.id.as_str()).unwrap();
                stack.run(&["admin", "disable", name["username"].as_str().unwrap()]);
                Value::Null
            }
        };
        assert_eq!(socket.wait_for_close().await, Some(4401), "{way}");
        eventually("the end of a token", async || {
            let reply = program.say(&group, "b-1", "too late").await;
            (reply.status != 201).then(|| reply.is_problem(401, "unauthenticated"))
        })
        .await;
        assert_eq!(program.connect().open().await.err().unwrap().status, 401, "{way}");
    }
}

pub async fn owners_give_tokens_for_what_they_own(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    bob.post("/api/service-accounts", json!({ "username": unique("bot") })).await.is_problem(403, "forbidden");
    let own = bob.group(&[]).await;
    let account = bob.post("/api/service-accounts", json!({ "username": unique("bot") })).await.ok(201);
    let path = format!("/api/service-accounts/{}/tokens", account["id"].as_str().unwrap());
    let of = |conversations: Value| json!({ "name": "x", "scopes": ["read"], "conversations": conversations });
    bob.post(&path, of(json!([group]))).await.is_problem(403, "forbidden");
    bob.post(&path, of(Value::Null)).await.is_problem(403, "forbidden");
    bob.post(&path, of(json!([]))).await.is_problem(422, "invalid");
    bob.post(&path, json!({ "name": "x", "scopes": [] })).await.is_problem(422, "invalid");
    let made = bob.post(&path, of(json!([own]))).await.ok(201);
    let token = made["token"].as_str().unwrap().to_owned();
    // Others see nothing of it; an admin sees all, and may give everything.
    ann.get(&path).await.is_problem(404, "not-found");
    let root = User::sign_up(stack, 0, "root").await.promoted(stack);
    root.post(&path, of(Value::Null)).await.ok(201);
    let listed = bob.get(&path).await.ok(200);
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains(&token), "a token is shown once");
    // A token of another one with its id does not open anything.
    let forged = format!("{}_{}", &token[.."spt_".len() + 32], "A".repeat(43));
    ann.api.request("GET", "/api/auth/me", Some(&forged), &Value::Null).await.is_problem(401, "unauthenticated");
    ann.api.request("GET", "/api/auth/me", Some(&token), &Value::Null).await.ok(200);
    ann.api.request("GET", "/api/auth/me", Some(&forged), &Value::Null).await.is_problem(401, "unauthenticated");
}
