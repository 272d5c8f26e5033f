//! Every operation by everybody who may ask for it.

use sealpost_schema::Clock;
use sealpost_testing::{Socket, Stack, User, eventually, message};
use serde_json::{Value, json};

const WHO: [&str; 6] = ["stranger", "removed", "reader", "member", "admin", "owner"];

/// Seeing takes being there.
const SEE: [u16; 6] = [404, 404, 200, 200, 200, 200];
const WRITE: [u16; 6] = [404, 404, 403, 201, 201, 201];
const CHANGE: [u16; 6] = [404, 404, 403, 200, 200, 200];
const MANAGE: [u16; 6] = [404, 404, 403, 403, 200, 200];
const OWN: [u16; 6] = [404, 404, 403, 403, 403, 200];
const NOBODY: [u16; 6] = [404, 404, 403, 403, 403, 403];

/// Operations in the order in which they are done, and the status of each by [`WHO`]. Frames that have no answer count as 200.
const TABLE: &[(&str, [u16; 6])] = &[
    ("see the conversation", SEE),
    ("read the history", SEE),
    ("read a message", SEE),
    ("read it in its conversation", SEE),
    ("read its edits", CHANGE),
    ("see who reacted", SEE),
    ("see who has read it", SEE),
    ("see who has read", SEE),
    ("see who is there", SEE),
    ("watch", SEE),
    ("list the pins", SEE),
    ("list the threads", SEE),
    ("read a thread", SEE),
    ("follow a thread", SEE),
    ("search", SEE),
    ("export", OWN),
    ("mark as read", [404, 404, 204, 204, 204, 204]),
    ("mark as delivered over the socket", SEE),
    ("mark as read over the socket", SEE),
    ("mute", SEE),
    ("keep a draft", SEE),
    ("keep a draft over the socket", SEE),
    ("type", CHANGE),
    ("send", WRITE),
    ("send over the socket", CHANGE),
    ("reply", WRITE),
    ("send into a thread", WRITE),
    ("mention everybody", WRITE),
    // Whether they may post counts when it is sent: `rights_count_when_a_scheduled_message_is_sent`.
    ("schedule", [404, 404, 201, 201, 201, 201]),
    ("edit one's own", CHANGE),
    ("edit one's own over the socket", CHANGE),
    ("edit another's", NOBODY),
    ("edit another's over the socket", NOBODY),
    ("react", WRITE),
    ("react over the socket", CHANGE),
    ("take a reaction away", CHANGE),
    ("pin", MANAGE),
    ("pin over the socket", MANAGE),
    ("unpin", MANAGE),
    ("delete one's own", [404, 404, 204, 204, 204, 204]),
    ("delete one's own over the socket", SEE),
    ("delete another's", [404, 404, 403, 403, 204, 204]),
    ("delete another's over the socket", MANAGE),
    ("rename", MANAGE),
    ("change a right", MANAGE),
    ("hide what was before joining", MANAGE),
    ("let messages disappear", MANAGE),
    ("keep for so long only", MANAGE),
    ("add somebody", MANAGE),
    ("change a role", MANAGE),
    ("remove somebody", [404, 404, 403, 403, 204, 204]),
    ("make an admin", OWN),
    ("make an owner", OWN),
    ("make a link", [404, 404, 403, 403, 201, 201]),
    ("list links", MANAGE),
    ("withdraw a link", [404, 404, 403, 403, 204, 204]),
    ("make a webhook", [404, 404, 403, 403, 201, 201]),
    ("read a webhook", MANAGE),
    ("change a webhook", MANAGE),
    ("replay to a webhook", MANAGE),
    ("remove a webhook", [404, 404, 403, 403, 204, 204]),
    ("hand over", OWN),
    ("step down", SEE),
    ("leave", [404, 404, 204, 204, 204, 204]),
    ("delete the conversation", [404, 404, 403, 403, 403, 204]),
];

/// A group of Ann's, in which Bob is whatever he is, Eve is a member, and Dan is not.
struct Scene<'a> {
    ann: &'a User,
    bob: &'a User,
    eve: &'a User,
    dan: &'a User,
    role: &'static str,
    group: String,
    /// Messages of Bob's from when he was a member; of Eve's if he never was.
    own: Vec<String>,
    /// Bob has reacted to it, if he ever could.
    reacted: String,
    socket: Socket,
    sent: u32,
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

impl Scene<'_> {
    fn path(&self, rest: &str) -> String {
        format!("/api/conversations/{}{rest}", self.group)
    }

    /// A new message of Ann's.
    async fn theirs(&mut self) -> String {
        self.sent += 1;
        let sent = self.ann.say(&self.group, &format!("a-{}", self.sent), "an anchor of ann's").await.ok(201);
        let id = text(&sent, "message_id").to_owned();
        // It has an answer before that where the store is late.
        eventually("it to be stored", async || {
            (self.ann.get(&format!("/api/messages/{id}")).await.status == 200).then_some(())
        })
        .await;
        id
    }

    async fn put_back(&self) {
        if WHO[2..].contains(&self.role) {
            self.ann.add(&self.group, self.bob, self.role).await.ok(200);
        }
    }

    /// Sends a frame: the status of its error, or 200.
    async fn frame(&mut self, mut frame: Value) -> u16 {
        if frame["type"] != "watch" {
            frame["conversation_id"] = json!(self.group);
        }
        let answered = frame.get("message_id").is_some() || frame["type"] == "message";
        if frame.get("message_id").is_some() {
            frame["client_operation_id"] = json!("o-1");
        }
        self.socket.send(&frame).await;
        if !answered {
            // An error comes before the answer to this.
            self.socket.send(&json!({ "type": "ping", "id": 7 })).await;
        }
        let answer = self.socket.wait_for("an answer", |frame| {
            ["error", "pong", "message_ack", "change_ack"].contains(&frame["type"].as_str().unwrap())
        });
        let answer = answer.await;
        if answer["type"] == "error" && !answered {
            self.socket.wait_for_type("pong").await;
        }
        answer["problem"]["status"].as_u64().map_or(200, |status| u16::try_from(status).unwrap())
    }

    async fn get(&self, path: String) -> u16 {
        self.bob.get(&path).await.status
    }

    async fn ask(&self, method: &str, path: String, body: Value) -> u16 {
        self.bob.request(method, &path, body).await.status
    }

    async fn seeing(&mut self, what: &str) -> u16 {
        let theirs = self.theirs().await;
        let one = format!("/api/messages/{theirs}");
        match what {
            "see the conversation" => self.get(self.path("")).await,
            "read the history" => self.get(self.path("/messages")).await,
            "read a message" => self.get(one).await,
            "read it in its conversation" => self.get(self.path(&format!("/messages/{theirs}"))).await,
            "read its edits" => self.get(format!("{one}/edits")).await,
            "see who reacted" => self.get(format!("{one}/reactions")).await,
            "see who has read it" => self.get(format!("{one}/receipts")).await,
            "see who has read" => self.get(self.path("/receipts")).await,
            "see who is there" => self.get(self.path("/presence")).await,
            "watch" => {
                let group = self.group.clone();
                self.frame(json!({ "type": "watch", "conversation_ids": [group] })).await
            }
            "list the pins" => self.get(self.path("/pins")).await,
            "list the threads" => self.get(self.path("/threads")).await,
            "read a thread" => self.get(format!("{one}/thread")).await,
            "follow a thread" => {
                let answer = json!({ "client_message_id": "a-t", "text": "an answer", "thread_id": theirs });
                self.ann.post(&self.path("/messages"), answer).await.ok(201);
                let path = format!("{one}/thread");
                let begun = async || (!self.ann.get(&path).await.body["replies"].as_array()?.is_empty()).then_some(());
                eventually("the thread", begun).await;
                self.ask("PUT", format!("{one}/thread"), json!({ "following": true })).await
            }
            "search" => self.get(format!("/api/search?q=anchor&conversation_id={}", self.group)).await,
            "export" => self.get(self.path("/export")).await,
            "mark as read" => self.ask("PUT", self.path("/read"), json!({ "seq": 1 })).await,
            "mark as delivered over the socket" => self.frame(json!({ "type": "message_delivered", "seq": 1 })).await,
            "mark as read over the socket" => self.frame(json!({ "type": "message_read", "seq": 1 })).await,
            "mute" => self.ask("PATCH", self.path("/state"), json!({ "archived": false })).await,
            "keep a draft" => self.ask("PUT", self.path("/draft"), json!({ "text": "not yet" })).await,
            "keep a draft over the socket" => self.frame(json!({ "type": "draft", "text": "not yet" })).await,
            _ => self.writing(what, theirs).await,
        }
    }

    async fn send(&self, name: &str, text: &str, link: Option<(&str, &str)>) -> u16 {
        let mut body = json!({ "client_message_id": name, "text": text });
        if let Some((field, id)) = link {
            body[field] = json!(id);
        }
        self.ask("POST", self.path("/messages"), body).await
    }

    async fn writing(&mut self, what: &str, theirs: String) -> u16 {
        let one = format!("/api/messages/{theirs}");
        let own = |index: usize| self.own[index].clone();
        match what {
            "type" => self.frame(json!({ "type": "typing_start" })).await,
            "send" => self.send("b-1", "bob's", None).await,
            "send over the socket" => {
                let frame = message(&self.group, "b-2", "bob's");
                self.frame(frame).await
            }
            "reply" => self.send("b-3", "an answer", Some(("reply_to", &theirs))).await,
            "send into a thread" => self.send("b-4", "an answer", Some(("thread_id", &theirs))).await,
            "mention everybody" => self.send("b-5", "@all look", None).await,
            "schedule" => {
                let at = Clock::skewed(3_600_000).now();
                let body = json!({ "client_message_id": "b-6", "text": "later", "send_at": at });
                self.ask("POST", self.path("/scheduled"), body).await
            }
            "edit one's own" => self.ask("PUT", format!("/api/messages/{}", own(0)), json!({ "text": "better" })).await,
            "edit one's own over the socket" => {
                let id = own(0);
                self.frame(json!({ "type": "message_edit", "message_id": id, "text": "best" })).await
            }
            "edit another's" => self.ask("PUT", one, json!({ "text": "bob's" })).await,
            "edit another's over the socket" => {
                self.frame(json!({ "type": "message_edit", "message_id": theirs, "text": "bob's" })).await
            }
            "react" => self.ask("POST", format!("{one}/reactions"), json!({ "emoji": "👍" })).await,
            "react over the socket" => {
                self.frame(json!({ "type": "reaction", "message_id": theirs, "emoji": "👍" })).await
            }
            "take a reaction away" => {
                self.ask("DELETE", format!("/api/messages/{}/reactions/:a:", self.reacted), Value::Null).await
            }
            "pin" => self.ask("PUT", format!("{one}/pin"), Value::Null).await,
            "pin over the socket" => self.frame(json!({ "type": "message_pin", "message_id": theirs })).await,
            "unpin" => {
                self.ann.request("PUT", &format!("{one}/pin"), Value::Null).await.ok(200);
                self.ask("DELETE", format!("{one}/pin"), Value::Null).await
            }
            "delete one's own" => self.ask("DELETE", format!("/api/messages/{}", own(1)), Value::Null).await,
            "delete one's own over the socket" => {
                let id = own(2);
                self.frame(json!({ "type": "message_delete", "message_id": id })).await
            }
            "delete another's" => self.ask("DELETE", one, Value::Null).await,
            "delete another's over the socket" => {
                self.frame(json!({ "type": "message_delete", "message_id": theirs })).await
            }
            _ => self.managing(what).await,
        }
    }

    /// What Bob changes, Ann changes back.
    async fn set(&self, changed: Value, back: Value) -> u16 {
        let status = self.ask("PATCH", self.path(""), changed).await;
        self.ann.request("PATCH", &self.path(""), back).await.ok(200);
        status
    }

    async fn managing(&mut self, what: &str) -> u16 {
        match what {
            "rename" => self.set(json!({ "title": "Bob's group" }), json!({ "title": "A group" })).await,
            "change a right" => {
                self.set(json!({ "rights": { "pin": "member" } }), json!({ "rights": { "pin": "admin" } })).await
            }
            "hide what was before joining" => {
                self.set(json!({ "history": "since_joining" }), json!({ "history": "all" })).await
            }
            "let messages disappear" => {
                let back = json!({ "disappear_after_seconds": null });
                self.set(json!({ "disappear_after_seconds": 3600 }), back).await
            }
            "keep for so long only" => {
                self.set(json!({ "retention_days": 30 }), json!({ "retention_days": null })).await
            }
            "add somebody" => self.bob.add(&self.group, self.dan, "member").await.status,
            "change a role" => {
                let status = self.bob.add(&self.group, self.eve, "reader").await.status;
                self.ann.add(&self.group, self.eve, "member").await.ok(200);
                status
            }
            "remove somebody" => self.bob.remove(&self.group, self.eve).await.status,
            "make an admin" => {
                self.ann.add(&self.group, self.eve, "member").await.ok(200);
                self.bob.add(&self.group, self.eve, "admin").await.status
            }
            "make an owner" => {
                self.ann.add(&self.group, self.eve, "member").await.ok(200);
                self.bob.add(&self.group, self.eve, "owner").await.status
            }
            "make a link" => self.ask("POST", self.path("/invites"), json!({ "role": "reader" })).await,
            "list links" => self.get(self.path("/invites")).await,
            "withdraw a link" => {
                let made = self.ann.post(&self.path("/invites"), json!({})).await.ok(201);
                self.ask("DELETE", self.path(&format!("/invites/{}", text(&made["invite"], "id"))), Value::Null).await
            }
            "make a webhook" => {
                let body = json!({ "url": "http://127.0.0.1:9/", "conversation_id": self.group });
                self.ask("POST", "/api/webhooks".to_owned(), body).await
            }
            "read a webhook" | "change a webhook" | "replay to a webhook" | "remove a webhook" => self.hook(what).await,
            _ => self.ending(what).await,
        }
    }

    async fn hook(&self, what: &str) -> u16 {
        let body =
            json!({ "url": "http://127.0.0.1:9/", "conversation_id": self.group, "kinds": ["participant_removed"] });
        let made = self.ann.post("/api/webhooks", body).await.ok(201);
        let path = format!("/api/webhooks/{}", text(&made["webhook"], "id"));
        let status = match what {
            "read a webhook" => self.get(path.clone()).await,
            "change a webhook" => self.ask("PATCH", path.clone(), json!({ "paused": true })).await,
            "replay to a webhook" => {
                let body = json!({ "conversation_id": self.group, "from_seq": 1 });
                self.ask("POST", format!("{path}/replay"), body).await
            }
            _ => self.ask("DELETE", path.clone(), Value::Null).await,
        };
        self.ann.delete(&path).await;
        status
    }

    async fn ending(&mut self, what: &str) -> u16 {
        let status = match what {
            "hand over" => self.ask("POST", self.path("/transfer"), json!({ "user_id": self.ann.id })).await,
            "step down" => self.bob.add(&self.group, self.bob, "reader").await.status,
            "leave" => self.bob.remove(&self.group, self.bob).await.status,
            "delete the conversation" => return self.ask("DELETE", self.path(""), Value::Null).await,
            _ => panic!("what is it to {what}?"),
        };
        self.put_back().await;
        status
    }
}

pub async fn each_operation_is_for_those_whom_the_table_names(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let (eve, dan) = (User::sign_up(stack, 0, "eve").await, User::sign_up(stack, 0, "dan").await);
    let mut wrong = Vec::new();
    for (column, role) in WHO.into_iter().enumerate() {
        let group = ann.group(&[&eve]).await;
        let author = if role == "stranger" { &eve } else { &bob };
        if role != "stranger" {
            ann.add(&group, &bob, "member").await.ok(200);
        }
        let mut own = Vec::new();
        for number in 0..3 {
            let sent = author.say(&group, &format!("own-{number}"), "from when I was a member").await.ok(201);
            own.push(text(&sent, "message_id").to_owned());
        }
        let reacted = text(&ann.say(&group, "a-0", "what do you think?").await.ok(201), "message_id").to_owned();
        stack.settle().await;
        if role != "stranger" {
            bob.post(&format!("/api/messages/{reacted}/reactions"), json!({ "emoji": ":a:" })).await.ok(201);
        }
        if role == "removed" {
            ann.remove(&group, &bob).await.ok(204);
        }
        let socket = bob.socket().await;
        let [ann, bob, eve, dan] = [&ann, &bob, &eve, &dan];
        let mut scene = Scene { ann, bob, eve, dan, role, group, own, reacted, socket, sent: 0 };
        scene.put_back().await;
        for (what, statuses) in TABLE {
            let status = scene.seeing(what).await;
            if status != statuses[column] {
                wrong.push(format!("{role}, {what}: {status} and not {}", statuses[column]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
