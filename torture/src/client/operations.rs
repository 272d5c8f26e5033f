//! What clients do over REST: pages of history, changes of messages, watermarks, additions and removals, sign-outs, and repeats of messages.

use std::sync::Arc;
use std::time::Duration;

use sealpost_testing::{Api, Reply, User};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Shared, frames};
use crate::directory::{GUEST, uuid};
use crate::history::{Answer, Call, Number, OpId, What};

const PATIENCE: Duration = Duration::from_secs(12);

/// One device's REST, through a gateway of its choice.
#[derive(Clone)]
pub struct Rest {
    pub shared: Arc<Shared>,
    pub device: Number,
    pub session: User,
    pub gateway: usize,
}

impl Rest {
    async fn request(&self, method: &str, path: &str, body: &Value) -> Option<Reply> {
        let api = Api::new(&self.shared.gateway(self.gateway)).patience(PATIENCE);
        api.try_request(method, path, Some(&self.session.access_token), body).await
    }

    fn conversation(&self, conversation: Number) -> &str {
        &self.shared.directory.conversations[conversation as usize].id
    }

    /// Writes down how an operation ended that has no answer to speak of, or was refused.
    fn ended(&self, op: OpId, reply: Option<&Reply>) {
        let what = match reply {
            Some(reply) if (200..300).contains(&reply.status) => What::Ok { op, answer: Answer::Done },
            // Decided in the store; its event follows.
            Some(reply) if reason(reply) == "pending" => What::Ok { op, answer: Answer::Done },
            Some(reply) if (400..500).contains(&reply.status) => What::Fail { op, reason: reason(reply) },
            Some(reply) => What::Info { op, reason: reason(reply) },
            None => What::Info { op, reason: "no answer".to_owned() },
        };
        self.shared.recorder.note(what);
    }

    /// A page of history: the newest, or all after `after`, as far as one page goes.
    pub async fn history(self, conversation: Number, after: Option<u64>) {
        let op = self.shared.recorder.invoke(self.device, Call::History { conversation, after });
        let start = after.map_or(String::new(), |after| format!("&after={after}"));
        let path = format!("/api/conversations/{}/messages?limit=100{start}", self.conversation(conversation));
        let reply = self.request("GET", &path, &Value::Null).await;
        let page = reply.as_ref().filter(|reply| reply.status == 200);
        match page.and_then(|reply| frames::page(&self.shared.directory, conversation, &reply.body)) {
            Some((messages, complete)) => {
                self.shared.recorder.note(What::Ok { op, answer: Answer::Page { messages, complete } });
            }
            None => self.ended(op, reply.as_ref().filter(|reply| reply.status != 200)),
        }
    }

    pub async fn delete(self, conversation: Number, seq: u64, message: Uuid) {
        let op = self.shared.recorder.invoke(self.device, Call::Delete { conversation, seq, message });
        let reply = self.request("DELETE", &format!("/api/messages/{message}"), &Value::Null).await;
        self.changed(op, reply.as_ref());
    }

    pub async fn edit(self, conversation: Number, message: Uuid, text: String) {
        let body = json!({ "text": text });
        let op = self.shared.recorder.invoke(self.device, Call::Edit { conversation, message, text });
        let reply = self.request("PUT", &format!("/api/messages/{message}"), &body).await;
        self.changed(op, reply.as_ref());
    }

    pub async fn react(self, conversation: Number, message: Uuid, emoji: &str, added: bool) {
        let call = Call::React { conversation, message, emoji: emoji.to_owned(), added };
        let op = self.shared.recorder.invoke(self.device, call);
        let path = format!("/api/messages/{message}/reactions");
        let reply = if added {
            self.request("POST", &path, &json!({ "emoji": emoji })).await
        } else {
            self.request("DELETE", &format!("{path}/{emoji}"), &Value::Null).await
        };
        self.changed(op, reply.as_ref());
    }

    /// Everything up to there was read.
    pub async fn read(self, conversation: Number, seq: u64) {
        let op = self.shared.recorder.invoke(self.device, Call::Read { conversation, seq });
        let path = format!("/api/conversations/{}/read", self.conversation(conversation));
        let reply = self.request("PUT", &path, &json!({ "seq": seq })).await;
        self.ended(op, reply.as_ref());
    }

    pub async fn receipts(self, conversation: Number) {
        let op = self.shared.recorder.invoke(self.device, Call::Receipts { conversation });
        let path = format!("/api/conversations/{}/receipts", self.conversation(conversation));
        let reply = self.request("GET", &path, &Value::Null).await;
        let shown = reply.as_ref().filter(|reply| reply.status == 200);
        match shown.and_then(|reply| reply.body["receipts"].as_array()) {
            Some(shown) => {
                let marks = shown.iter().filter_map(|mark| frames::mark(&self.shared.directory, mark)).collect();
                self.shared.recorder.note(What::Ok { op, answer: Answer::Receipts { marks } });
            }
            None => self.ended(op, reply.as_ref().filter(|reply| reply.status != 200)),
        }
    }

    /// Writes down how a change of a message ended.
    fn changed(&self, op: OpId, reply: Option<&Reply>) {
        match reply.filter(|reply| (200..300).contains(&reply.status)).and_then(|reply| change(&reply.body)) {
            Some(answer) => self.shared.recorder.note(What::Ok { op, answer }),
            None => self.ended(op, reply),
        }
    }

    /// Brings the guest into the last conversation, or removes them. Whether it was answered for certain.
    pub async fn churn(self, add: bool) -> bool {
        let (conversation, user) = (self.shared.directory.last(), GUEST);
        let call = if add { Call::Add { conversation, user } } else { Call::Remove { conversation, user } };
        let op = self.shared.recorder.invoke(self.device, call);
        let id = &self.shared.directory.users[user as usize].id;
        let path = format!("/api/conversations/{}/participants/{id}", self.conversation(conversation));
        let (method, body) = if add { ("PUT", json!({ "role": "member" })) } else { ("DELETE", Value::Null) };
        let reply = self.request(method, &path, &body).await;
        self.ended(op, reply.as_ref());
        reply.is_some_and(|reply| reply.status < 300 || reason(&reply) == "pending" || reply.status == 404)
    }

    /// Whether the session has ended for certain.
    pub async fn sign_out(self) -> bool {
        let op = self.shared.recorder.invoke(self.device, Call::SignOut);
        let reply = self.request("POST", "/api/auth/signout", &Value::Null).await;
        self.ended(op, reply.as_ref());
        reply.is_some_and(|reply| reply.status < 300)
    }

    /// One more attempt of a message.
    pub async fn repeat(self, op: OpId, conversation: Number, name: String, text: String) {
        self.shared.recorder.note(What::Again { op });
        let path = format!("/api/conversations/{}/messages", self.conversation(conversation));
        let body = json!({ "client_message_id": name, "text": text, "retry": true });
        let Some(reply) = self.request("POST", &path, &body).await else { return };
        if let (200..300, Some(id), Some(seq)) =
            (reply.status, reply.body["message_id"].as_str(), reply.body["seq"].as_u64())
        {
            let stored = reply.body["stored"] == true;
            self.shared.recorder.note(What::Ok { op, answer: Answer::Sent { message_id: uuid(id), seq, stored } });
        } else if reason(&reply) == "client-message-id-reused" {
            self.shared.recorder.note(What::Info { op, reason: reason(&reply) });
        }
    }
}

/// The answer to a change of a message, in a reply or in a `change_ack`.
pub fn change(body: &Value) -> Option<Answer> {
    let (changed, stored) = (body["changed"].as_bool()?, body["stored"].as_bool()?);
    Some(Answer::Changed { changed, seq: body["seq"].as_u64(), stored })
}

fn reason(reply: &Reply) -> String {
    let kind = reply.body["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default();
    if kind.is_empty() { format!("status {}", reply.status) } else { kind.to_owned() }
}
