//! Clients that do too much, or too little.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use sealpost_testing::{Api, Incoming, Socket, User};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{Fault, Plan, World};
use crate::client::Shared;
use crate::history::{Answer, Call, Number, What};
use crate::measure::usage;

/// Messages of [`LONG`] bytes: more than a queue (1 MiB) and the buffers of the sockets hold.
const LONG_MESSAGES: u32 = 160;
const LONG: usize = 15_000;
const AT_ONCE: usize = 16;
/// Sockets that never read.
const SLOW_READERS: usize = 48;

/// F12: sockets that read nothing, while more is said than their queues and all buffers on the way can hold. Each has to be closed with 4008,
/// and what the gateways hold for them shows in their memory.
pub async fn never_read(world: &World, plan: Plan) {
    let directory = &world.shared.directory;
    // The conversation with everybody, of those that nobody leaves.
    let everybody =
        directory.conversations.iter().position(|conversation| conversation.members.len() == directory.users.len());
    let conversation = Number::try_from(everybody.expect("a conversation with everybody")).unwrap();
    world.begin(Fault::F12, "gateways");
    let before = resident(world);
    let sessions = sessions(world).await;
    // All of them at once: who does not read does not answer the server's pings either, and is closed for that after a few seconds.
    let began = Instant::now();
    let sockets = futures_util::stream::iter(0..SLOW_READERS).map(|number| slow_socket(world, &sessions, number));
    let sockets: Vec<Socket> = sockets.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    let mut most = before;
    let speaker = Speaker::new(world, plan, sessions.first().cloned());
    let mut answers = futures_util::stream::iter(0..LONG_MESSAGES)
        .map(|number| speaker.say(conversation, number))
        .buffer_unordered(AT_ONCE);
    let mut said = 0;
    while let Some(taken) = answers.next().await {
        said += u32::from(taken);
        most = most.max(resident(world));
    }
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let codes = sockets.into_iter().map(end_of).collect::<JoinSet<_>>().join_all().await;
    let grown_kib = most.saturating_sub(before);
    world.shared.recorder.note(What::SlowReaders { codes, grown_kib, said, took_ms });
    world.end(Fault::F12, "gateways");
}

/// One of each user: those of the devices come and go.
async fn sessions(world: &World) -> Vec<User> {
    let mut sessions = Vec::new();
    for number in 0..world.shared.directory.users.len() {
        let user = Number::try_from(number).unwrap();
        sessions.extend(world.shared.directory.sign_in(user, &world.shared.stack.url(number)).await);
    }
    sessions
}

async fn slow_socket(world: &World, sessions: &[User], number: usize) -> Option<Socket> {
    let session = sessions.get(number % sessions.len().max(1))?;
    let connect = sealpost_testing::Connect::to(&world.shared.stack.url(number))
        .header("authorization", &format!("Bearer {}", session.access_token))
        .receive_buffer(4096);
    let opened = timeout(Duration::from_secs(5), async {
        let mut socket = connect.open().await.ok()?;
        matches!(socket.next().await, Incoming::Frame(frame) if frame["type"] == "ready").then_some(socket)
    });
    opened.await.ok().flatten()
}

/// Says long things, as one more device of the first user.
struct Speaker<'a> {
    world: &'a World,
    device: Number,
    pick: u64,
    session: Option<User>,
}

impl<'a> Speaker<'a> {
    fn new(world: &'a World, plan: Plan, session: Option<User>) -> Self {
        // A number that no other device has.
        let device = 1000 + Number::try_from(plan.pick % 1_000_000).unwrap();
        world.shared.recorder.note(What::Device { device, user: 0 });
        Self { world, device, pick: plan.pick, session }
    }

    /// Once: what becomes of it, the history says. Whether it was taken for certain.
    async fn say(&self, conversation: Number, number: u32) -> bool {
        let Shared { recorder, directory, stack, .. } = &*self.world.shared;
        let name = format!("long-{}-{number}", self.pick);
        let text = format!("{} {name} {}", self.world.shared.canary(), "x".repeat(LONG));
        let call = Call::Send { conversation, name: name.clone(), text: text.clone() };
        let op = recorder.invoke(self.device, call);
        let path = format!("/api/conversations/{}/messages", directory.conversations[conversation as usize].id);
        let body = json!({ "client_message_id": name, "text": text, "ack": "accepted" });
        let api = Api::new(&stack.url(number as usize)).patience(Duration::from_secs(10));
        let token = &self.session.as_ref().unwrap_or(&directory.users[0]).access_token;
        let reply = api.try_request("POST", &path, Some(token), &body).await;
        let sent = reply.as_ref().filter(|reply| (200..300).contains(&reply.status)).and_then(|reply| {
            let stored = reply.body["stored"] == true;
            let message_id = reply.body["message_id"].as_str()?.parse().ok()?;
            Some(Answer::Sent { message_id, seq: reply.body["seq"].as_u64()?, stored })
        });
        let taken = sent.is_some();
        recorder.note(match sent {
            Some(answer) => What::Ok { op, answer },
            None => What::Info { op, reason: "no answer".to_owned() },
        });
        taken
    }
}

/// How a connection was ended by the server: with which code, or none if it was just cut, or 0 if it was not ended at all.
async fn end_of(mut socket: Socket) -> Option<u16> {
    let read = async {
        loop {
            if let Incoming::Closed(code) = socket.next().await {
                return code;
            }
        }
    };
    timeout(Duration::from_secs(10), read).await.unwrap_or(Some(0))
}

/// Of all gateways, in KiB.
fn resident(world: &World) -> u64 {
    let stack = &world.shared.stack;
    let gateways = stack.processes_named("gateway").chain(stack.processes_named("serve"));
    gateways.filter_map(|process| Some(usage(process.id()?)?.resident_kib)).sum()
}

/// F14: what clients send, they send eight times at once, through all gateways.
pub async fn duplicates(world: &World, plan: Plan) {
    world.begin(Fault::F14, "clients");
    world.shared.duplicates.store(true, Ordering::Relaxed);
    sleep(Duration::from_millis(plan.for_ms)).await;
    world.shared.duplicates.store(false, Ordering::Relaxed);
    world.end(Fault::F14, "clients");
}

/// F19: connections that say nothing, and sign-ins with wrong passwords, which cost the server a hash each.
pub async fn flood(world: &World, plan: Plan) {
    world.begin(Fault::F19, "gateways");
    let mut idle = Vec::new();
    for number in 0..400 {
        let base = world.shared.stack.url(number);
        if let Ok(stream) = TcpStream::connect(base.trim_start_matches("http://")).await {
            idle.push(stream);
        }
    }
    let mut wrong = JoinSet::new();
    for number in 0..40 {
        let user = &world.shared.directory.users[number % world.shared.directory.users.len()];
        let body = json!({ "username": user.username, "password": "wrong horse battery" });
        let api = Api::new(&world.shared.stack.url(number)).patience(Duration::from_secs(10));
        wrong.spawn(
            async move { api.try_request("POST", "/api/auth/signin", None, &body).await.map(|reply| reply.status) },
        );
    }
    while let Some(status) = wrong.join_next().await {
        assert_ne!(status.unwrap(), Some(200), "signed in with a wrong password");
    }
    sleep(Duration::from_millis(plan.for_ms / 2)).await;
    drop(idle);
    world.end(Fault::F19, "gateways");
}
