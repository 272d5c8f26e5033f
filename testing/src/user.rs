//! A signed-in person.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::api::{Api, Reply};
use crate::socket::{Connect, Socket};
use crate::stack::Stack;
use crate::state::State;

/// A name that nothing else has, on a stack that tests share.
pub fn unique(start: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{start}{}{}", &random[..8], NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A person with a session, talking to one gateway.
#[derive(Clone)]
pub struct User {
    pub id: String,
    pub username: String,
    pub password: String,
    pub session_id: String,
    pub access_token: String,
    pub refresh_token: String,
    pub api: Api,
}

/// A message as the history shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub seq: u64,
    pub message_id: String,
    pub client_message_id: String,
    pub sender_id: String,
    pub text: Option<String>,
}

impl User {
    /// Makes an account; `name` is the start of its user name.
    pub async fn sign_up(stack: &Stack, gateway: usize, name: &str) -> Self {
        let (username, password) = (unique(name), unique("pass word "));
        let api = Api::new(&stack.url(gateway));
        let body = api.post("/api/auth/signup", &json!({ "username": username, "password": password })).await.ok(201);
        Self::of(api, username, password, &body)
    }

    /// Another session of the same person.
    pub async fn sign_in(&self) -> Self {
        let credentials = json!({ "username": self.username, "password": self.password });
        let body = self.api.post("/api/auth/signin", &credentials).await.ok(200);
        Self::of(self.api.clone(), self.username.clone(), self.password.clone(), &body)
    }

    /// Lets them administer the server, as the operator does it.
    #[must_use]
    pub fn promoted(self, stack: &Stack) -> Self {
        stack.run(&["admin", "promote", &self.username]);
        self
    }

    pub fn of(api: Api, username: String, password: String, body: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("not signed in: {body}")).to_owned();
        Self {
            id: text(&body["user"]["id"]),
            username,
            password,
            session_id: text(&body["session_id"]),
            access_token: text(&body["access_token"]),
            refresh_token: text(&body["refresh_token"]),
            api,
        }
    }

    /// The same session at another gateway.
    #[must_use]
    pub fn at(&self, stack: &Stack, gateway: usize) -> Self {
        Self { api: Api::new(&stack.url(gateway)), ..self.clone() }
    }

    pub async fn request(&self, method: &str, path: &str, body: Value) -> Reply {
        self.api.request(method, path, Some(&self.access_token), &body).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.request("GET", path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.request("POST", path, body).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.request("DELETE", path, Value::Null).await
    }

    /// Id of the dm with somebody; made if it is not there.
    pub async fn dm(&self, other: &Self) -> String {
        let reply = self.post("/api/conversations", json!({ "kind": "dm", "participants": [other.id] })).await;
        assert!([200, 201].contains(&reply.status), "{reply}");
        reply.body["id"].as_str().unwrap().to_owned()
    }

    /// Id of a new group with these members; the caller owns it.
    pub async fn group(&self, others: &[&Self]) -> String {
        let ids: Vec<_> = others.iter().map(|user| &user.id).collect();
        let body = json!({ "kind": "group", "participants": ids, "title": "A group" });
        self.post("/api/conversations", body).await.ok(201)["id"].as_str().unwrap().to_owned()
    }

    /// Adds somebody, or changes their role.
    pub async fn add(&self, conversation: &str, user: &Self, role: &str) -> Reply {
        let path = format!("/api/conversations/{conversation}/participants/{}", user.id);
        self.request("PUT", &path, json!({ "role": role })).await
    }

    pub async fn remove(&self, conversation: &str, user: &Self) -> Reply {
        self.delete(&format!("/api/conversations/{conversation}/participants/{}", user.id)).await
    }

    /// Sends over REST.
    pub async fn say(&self, conversation: &str, client_message_id: &str, text: &str) -> Reply {
        let body = json!({ "client_message_id": client_message_id, "text": text });
        self.post(&format!("/api/conversations/{conversation}/messages"), body).await
    }

    /// The whole history, oldest first.
    pub async fn history(&self, conversation: &str) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        loop {
            let after = messages.last().map_or(0, |message| message.seq);
            let path = format!("/api/conversations/{conversation}/messages?after={after}&limit=200");
            let page = self.get(&path).await.ok(200);
            messages.extend(page["messages"].as_array().unwrap().iter().map(Message::of));
            if page["has_more"] != true {
                return messages;
            }
        }
    }

    /// Reads the history after this seq into a state, as the protocol says to do after a `gap`.
    pub async fn read_into(&self, conversation: &str, state: &mut State, mut after: u64) {
        loop {
            let path = format!("/api/conversations/{conversation}/messages?after={after}&limit=200");
            let page = self.get(&path).await.ok(200);
            for message in page["messages"].as_array().unwrap() {
                after = message["seq"].as_u64().unwrap();
                let mut reactions = Vec::new();
                if message["reactions"].as_array().is_some_and(|some| !some.is_empty()) {
                    let path = format!("/api/messages/{}/reactions?limit=200", message["id"].as_str().unwrap());
                    let page = self.get(&path).await.ok(200);
                    assert_eq!(page["has_more"], false, "more reactions than this reads: {path}");
                    reactions.clone_from(page["reactions"].as_array().unwrap());
                }
                state.page(message, &reactions);
            }
            if page["has_more"] != true {
                return;
            }
        }
    }

    /// The whole conversation, as the history shows it.
    pub async fn state(&self, conversation: &str) -> State {
        let mut state = State::default();
        self.read_into(conversation, &mut state, 0).await;
        state
    }

    /// How to open a WebSocket; change it, or call `open`.
    pub fn connect(&self) -> Connect {
        Connect::to(&self.api.base).header("authorization", &format!("Bearer {}", self.access_token))
    }

    /// A WebSocket that said `ready` and gets live events.
    pub async fn socket(&self) -> Socket {
        let mut socket = self.connect().open().await.unwrap_or_else(|refused| panic!("{refused:?}"));
        socket.ready().await;
        socket
    }
}

impl Message {
    pub(crate) fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let id = if value["message_id"].is_string() { text("message_id") } else { text("id") };
        Self {
            seq: value["seq"].as_u64().unwrap_or_else(|| panic!("a message without seq: {value}")),
            message_id: id,
            client_message_id: text("client_message_id"),
            sender_id: text("sender_id"),
            text: value["text"].as_str().map(str::to_owned),
        }
    }
}
