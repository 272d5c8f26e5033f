//! Any interleaving of what several people do, over two gateways, over both ways, ends in one state for every reader; and that is the state
//! which the event log makes.
//!
//! Cases come from a seed, which is printed. `SEALPOST_INTERLEAVINGS` is how many there are on each stack, `SEALPOST_INTERLEAVINGS_SEED` the
//! first one's seed. What the server makes of it depends on its timing, so a seed brings the same operations again and not the same race.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use futures_util::future::join_all;
use sealpost_schema::{Event, EventBody, ReactionHash, UserId};
use sealpost_testing::{Incoming, Shown, Socket, Stack, State, User, View, eventually, within};
use serde_json::{Value, json};

const CASES: u64 = 8;
const PEOPLE: usize = 3;
const OPERATIONS: usize = 22;
const EMOJIS: [&str; 3] = ["👍", "❤️", ":party:"];

fn number_from(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is `{value}`: write a number")))
}

pub async fn any_interleaving_ends_in_one_state_for_everybody(stack: &Stack) {
    let first = number_from("SEALPOST_INTERLEAVINGS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    for seed in (first..).take(usize::try_from(number_from("SEALPOST_INTERLEAVINGS").unwrap_or(CASES)).unwrap()) {
        eprintln!("SEALPOST_INTERLEAVINGS_SEED={seed}");
        case(stack, seed).await;
    }
}

/// What has been sent so far: the ids, for everybody to change.
type Sent = Arc<Mutex<Vec<String>>>;

struct Person {
    user: User,
    at: [User; 2],
    random: Rng,
    conversation: String,
    sent: Sent,
    /// Stays from the beginning to the end.
    steady: Socket,
    /// Goes without a word and comes back at any gateway.
    wanderer: Option<Socket>,
    /// What it had seen, while it is away.
    away: View,
    /// Sent over the wandering connection and not known to have been answered: sent again after it.
    unanswered: Vec<Value>,
    /// The highest marks that they have said: delivered and read.
    said: (u64, u64),
    names: u32,
}

async fn case(stack: &Stack, seed: u64) {
    let mut random = Rng::with_seed(seed);
    let mut users = Vec::new();
    for number in 0..PEOPLE {
        users.push(User::sign_up(stack, number % 2, "one").await);
    }
    let group = users[0].group(&[&users[1], &users[2]]).await;
    let rights = json!({ "rights": { "pin": "member", "edit_others": "member", "delete_others": "admin" } });
    users[0].request("PATCH", &format!("/api/conversations/{group}"), rights).await.ok(200);
    stack.settle().await;
    let sent = Sent::default();
    let mut people = Vec::new();
    for (number, user) in users.into_iter().enumerate() {
        let at = [user.at(stack, 0), user.at(stack, 1)];
        let steady = at[number % 2].connect().resume().await.unwrap();
        let wanderer = Some(at[(number + 1) % 2].connect().resume().await.unwrap());
        let (random, sent, conversation) = (random.fork(), Arc::clone(&sent), group.clone());
        let person = Person {
            user,
            at,
            random,
            conversation,
            sent,
            steady,
            wanderer,
            away: View::default(),
            unanswered: Vec::new(),
            said: (0, 0),
            names: 0,
        };
        people.push(person);
    }
    let mut people = join_all(people.into_iter().map(Person::live)).await;
    stack.settle().await;
    let head =
        people[0].user.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"]["head_seq"].clone();
    let head = head.as_u64().unwrap();

    let truth = people[0].at[0].state(&group).await;
    assert_is_of_log(&truth, &stack.logged(&group).await, seed);
    let same = |state: &State, who: &str| {
        let differences = state.differences(&truth);
        assert!(differences.is_empty(), "seed {seed}, {who}: {differences:#?}");
    };
    let said: Vec<_> = people.iter().map(|person| (person.user.id.clone(), person.marks())).collect();
    for person in &mut people {
        person.check(head, &said, same).await;
    }
}

impl Person {
    async fn live(mut self) -> Self {
        for _ in 0..OPERATIONS {
            self.act().await;
        }
        self.come_back().await;
        // What was said on a connection that was cut may be lost, and a client says it again.
        let (delivered, read) = self.said;
        for (kind, seq) in [("message_delivered", delivered), ("message_read", read)] {
            if seq > 0 {
                self.steady.send(&json!({ "type": kind, "conversation_id": self.conversation, "seq": seq })).await;
            }
        }
        self.steady.ping().await;
        self
    }

    /// What was read was delivered.
    fn marks(&self) -> (u64, u64) {
        (self.said.0.max(self.said.1), self.said.1)
    }

    fn some_message(&mut self) -> Option<String> {
        let sent = self.sent.lock().unwrap();
        (!sent.is_empty()).then(|| sent[self.random.usize(..sent.len())].clone())
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("n-{}", self.names)
    }

    async fn act(&mut self) {
        let Some(message) = self.some_message() else { return self.send().await };
        match self.random.u32(0..100) {
            0..18 => self.send().await,
            18..62 => {
                let change = self.change();
                match self.random.u32(0..3) {
                    0 => self.over_rest(&message, &change).await,
                    way => self.over_socket(&message, change, way == 1).await,
                }
            }
            62..67 => {
                let change = json!({ "type": "message_delete" });
                self.over_rest(&message, &change).await;
            }
            67..85 => self.mark().await,
            85..93 => {
                if let Some(socket) = self.wanderer.take() {
                    self.away = socket.view;
                }
            }
            _ => self.come_back().await,
        }
    }

    async fn send(&mut self) {
        let (name, gateway) = (self.name(), self.random.usize(..2));
        let sent = if self.random.bool() {
            self.at[gateway].say(&self.conversation, &name, "at first").await.ok(201)
        } else {
            self.steady.say(&self.conversation, &name, "at first").await
        };
        self.sent.lock().unwrap().push(sent["message_id"].as_str().unwrap().to_owned());
    }

    /// A change without the message that it is for.
    fn change(&mut self) -> Value {
        let emoji = EMOJIS[self.random.usize(..EMOJIS.len())];
        match self.random.u32(0..10) {
            0..4 => json!({ "type": "message_edit", "text": format!("text {}", self.random.u32(..1000)) }),
            4..6 => json!({ "type": "reaction", "emoji": emoji }),
            6..8 => json!({ "type": "reaction", "emoji": emoji, "remove": true }),
            8 => json!({ "type": "message_pin" }),
            _ => json!({ "type": "message_pin", "remove": true }),
        }
    }

    async fn over_rest(&mut self, message: &str, change: &Value) {
        let user = &self.at[self.random.usize(..2)];
        let path = format!("/api/messages/{message}");
        let emoji = change["emoji"].as_str().unwrap_or_default();
        let encoded = emoji.bytes().fold(String::new(), |all, byte| format!("{all}%{byte:02X}"));
        let remove = change["remove"] == true;
        let reply = match change["type"].as_str().unwrap() {
            "message_edit" => user.request("PUT", &path, json!({ "text": change["text"] })).await,
            "message_delete" => user.delete(&path).await,
            "reaction" if remove => user.delete(&format!("{path}/reactions/{encoded}")).await,
            "reaction" => user.post(&format!("{path}/reactions"), json!({ "emoji": emoji })).await,
            _ if remove => user.delete(&format!("{path}/pin")).await,
            _ => user.request("PUT", &format!("{path}/pin"), Value::Null).await,
        };
        // Others delete meanwhile, and not everybody may delete.
        assert!([200, 201, 204, 403, 409].contains(&reply.status), "{reply}");
    }

    /// `waits`: for the answer, on the connection that stays; else on the other one, without waiting.
    async fn over_socket(&mut self, message: &str, mut frame: Value, waits: bool) {
        let name = self.name();
        frame["conversation_id"] = json!(self.conversation);
        frame["message_id"] = json!(message);
        frame["client_operation_id"] = json!(name);
        if waits {
            self.steady.send(&frame).await;
            let answer = self.steady.wait_for("an answer", |answer| answer["client_operation_id"] == name).await;
            assert_is_answer(&answer);
        } else if let Some(wanderer) = &mut self.wanderer {
            wanderer.send(&frame).await;
            self.unanswered.push(frame);
        }
    }

    async fn mark(&mut self) {
        let seen = self.steady.view.seq(&self.conversation);
        let seq = self.random.u64(1..=seen);
        let (kind, said) = if self.random.bool() {
            ("message_read", &mut self.said.1)
        } else {
            ("message_delivered", &mut self.said.0)
        };
        *said = (*said).max(seq);
        let frame = json!({ "type": kind, "conversation_id": self.conversation, "seq": seq });
        if kind == "message_read" && self.random.bool() {
            let path = format!("/api/conversations/{}/read", self.conversation);
            self.at[self.random.usize(..2)].request("PUT", &path, json!({ "seq": seq })).await.ok(204);
        } else if let Some(wanderer) = &mut self.wanderer {
            wanderer.send(&frame).await;
        } else {
            self.steady.send(&frame).await;
        }
    }

    /// Another connection of the wanderer, from where the last one was. What was not answered is sent again.
    async fn come_back(&mut self) {
        let view = match self.wanderer.take() {
            Some(before) => before.view,
            None => std::mem::take(&mut self.away),
        };
        let mut socket = self.at[self.random.usize(..2)].connect().view(view).resume().await.unwrap();
        for frame in std::mem::take(&mut self.unanswered) {
            let name = frame["client_operation_id"].clone();
            socket.send(&frame).await;
            let answer = socket.wait_for("an answer", |answer| answer["client_operation_id"] == name).await;
            assert_is_answer(&answer);
        }
        self.wanderer = Some(socket);
    }

    /// Every way in which this person can read.
    async fn check(&mut self, head: u64, said: &[(String, (u64, u64))], same: impl Fn(&State, &str)) {
        let group = self.conversation.clone();
        let states = |socket: &Socket| State::of_events(socket.view.events(&group));
        self.steady.wait_for_seq(&group, head).await;
        same(&states(&self.steady), "a connection that stayed");
        let mut wanderer = self.wanderer.take().unwrap();
        wanderer.wait_for_seq(&group, head).await;
        same(&states(&wanderer), "a connection that came and went");
        let mut counts = BTreeSet::new();
        for user in &self.at {
            same(&user.state(&group).await, "the history");
            same(&states(&user.connect().resume().await.unwrap()), "a resume from the beginning");
            let shown = user.get(&format!("/api/conversations/{group}")).await.ok(200)["conversation"].clone();
            counts.insert(json!([shown["read_seq"], shown["unread_count"], shown["mention_count"]]).to_string());
            // They are written once a second.
            eventually(&format!("the marks {said:?}"), async || {
                let all = user.get(&format!("/api/conversations/{group}/receipts")).await.ok(200);
                let mark = |one: &Value| (one["delivered_seq"].as_u64().unwrap(), one["read_seq"].as_u64().unwrap());
                let all = all["receipts"].as_array().unwrap().iter();
                let marks: BTreeMap<_, _> =
                    all.map(|one| (one["user_id"].as_str().unwrap().to_owned(), mark(one))).collect();
                (marks == said.iter().cloned().collect()).then_some(())
            })
            .await;
        }
        assert_eq!(counts.len(), 1, "what is unread differs between the gateways: {counts:?}");
        let receipts = async {
            while said.iter().any(|(id, marks)| self.steady.view.receipt(&group, id) != *marks) {
                if let Incoming::Closed(code) = self.steady.next().await {
                    panic!("closed with {code:?}");
                }
            }
        };
        within(&format!("the receipts {said:?}"), receipts).await;
    }
}

/// A change that took place, or that came too late.
fn assert_is_answer(answer: &Value) {
    let kind = answer["problem"]["type"].as_str().unwrap_or_default();
    let known = ["urn:sealpost:problem:message-deleted", "urn:sealpost:problem:forbidden"];
    assert!(answer["type"] == "change_ack" || known.contains(&kind), "{answer}");
}

/// Of a message, as the log has it: seq, seq of its text, whether it is deleted and pinned, and who reacted, by emoji.
#[derive(Debug, Default, PartialEq)]
struct Logged {
    seq: u64,
    text_seq: u64,
    deleted: bool,
    pinned: bool,
    reactions: BTreeMap<ReactionHash, BTreeSet<UserId>>,
}

impl Logged {
    /// Without emojis, which the log has sealed: who shares one with whom.
    fn groups(&self) -> Vec<Vec<String>> {
        let groups = self.reactions.values().filter(|users| !users.is_empty());
        let mut groups: Vec<Vec<String>> =
            groups.map(|users| users.iter().map(ToString::to_string).collect()).collect();
        for group in &mut groups {
            group.sort();
        }
        groups.sort();
        groups
    }
}

fn fold(events: &[Event]) -> BTreeMap<String, Logged> {
    let mut messages: BTreeMap<String, Logged> = BTreeMap::new();
    for (event, expected) in events.iter().zip(1..) {
        assert_eq!(event.seq.0, expected, "the log has a hole");
        if matches!(event.body, EventBody::MessagePosted { .. }) {
            let logged = Logged { seq: event.seq.0, text_seq: event.seq.0, ..Logged::default() };
            assert!(messages.insert(event.id.to_string(), logged).is_none(), "a message twice: {event:?}");
            continue;
        }
        let Some(target) = event.body.target() else { continue };
        let message = messages.get_mut(&target.to_string()).unwrap_or_else(|| panic!("nothing to change: {event:?}"));
        assert!(!message.deleted, "a change got a number after the deletion: {event:?}");
        match &event.body {
            EventBody::MessageEdited { .. } => message.text_seq = event.seq.0,
            EventBody::MessagePinned { .. } => message.pinned = true,
            EventBody::MessageUnpinned { .. } => message.pinned = false,
            EventBody::MessageDeleted { .. } => {
                *message = Logged { seq: message.seq, text_seq: message.seq, deleted: true, ..Logged::default() };
            }
            EventBody::ReactionAdded { reaction, .. } => {
                message.reactions.entry(*reaction).or_default().insert(event.sender_id);
            }
            EventBody::ReactionRemoved { reaction, .. } => {
                message.reactions.entry(*reaction).or_default().remove(&event.sender_id);
            }
            other => panic!("{other:?}"),
        }
    }
    messages
}

fn assert_is_of_log(state: &State, events: &[Event], seed: u64) {
    let logged = fold(events);
    let shown: BTreeMap<&String, &Shown> = state.messages().collect();
    assert_eq!(shown.keys().copied().collect::<Vec<_>>(), logged.keys().collect::<Vec<_>>(), "seed {seed}");
    for (id, message) in &logged {
        let shown = shown[id];
        let mut groups: Vec<_> = shown.reactions.values().cloned().collect();
        groups.sort();
        let of_history = (shown.seq, shown.text_seq, shown.deleted, shown.pinned, groups);
        let of_log = (message.seq, message.text_seq, message.deleted, message.pinned, message.groups());
        assert_eq!(of_history, of_log, "seed {seed}, {id}: the history and the log");
    }
}
