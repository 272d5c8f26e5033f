//! Readers that cannot keep up.

use sealpost_testing::{Form, Settings, Stack, User, message};
use serde_json::json;

on_stacks_of_their_own! {
    attack_12_ten_thousand_events_for_who_never_reads
}

/// More than what fits into the connection's queue and all the buffers on the way.
const MESSAGES: u64 = 700;
const PORTION: u64 = 20;

pub async fn a_slow_reader_is_closed_and_comes_back_to_everything(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let eve = User::sign_up(stack, 1, "eve").await;
    let group = ann.group(&[&bob, &eve]).await;
    let mut slow = bob.connect().receive_buffer(4096).open().await.unwrap();
    slow.ready().await;
    let (mut to_ann, mut to_eve) = (ann.socket().await, eve.socket().await);
    let filler = "x".repeat(16_000);
    // Others are not kept waiting. In portions that fit into anybody's queue: only who does not read at all is slow.
    let head = MESSAGES + 2;
    for number in 0..MESSAGES {
        let mut frame = message(&group, &format!("m-{number}"), &filler);
        frame["ack"] = json!("accepted");
        to_ann.send(&frame).await;
        if (number + 1) % PORTION == 0 {
            tokio::join!(to_ann.wait_for_seq(&group, number + 3), to_eve.wait_for_seq(&group, number + 3));
        }
    }
    assert_eq!(slow.wait_for_close().await, Some(4008));
    assert!(slow.view.seq(&group) < head, "it was not slow at all");

    let mut back = bob.connect().view(slow.view).resume().await.unwrap();
    // In steps, because a resume sends no more than the configured number of events.
    while back.view.seq(&group) < head {
        back = bob.connect().view(back.view).resume().await.unwrap();
    }
    let seen = back.view.messages(&group);
    let history = bob.history(&group).await;
    assert_eq!(history.len() as u64, MESSAGES);
    let known: std::collections::HashSet<_> = seen.iter().map(|message| message.seq).collect();
    assert!(history.iter().filter(|message| known.contains(&message.seq)).eq(&seen), "seen otherwise than it is");
    ann.say(&group, "last", "live again").await.ok(201);
    back.wait_for("live events", |frame| frame["client_message_id"] == "last").await;
}

/// `ready` says where a conversation stands, and what comes after that is sent, however much comes while the connection starts.
pub async fn who_connects_amid_messages_misses_nothing(stack: &Stack) {
    let (ann, bob) = (User::sign_up(stack, 0, "ann").await, User::sign_up(stack, 1, "bob").await);
    let group = ann.group(&[&bob]).await;
    stack.settle().await;
    let mut to_ann = ann.socket().await;
    let last = 2 + 600;
    let talk = async {
        for number in 0..600 {
            let mut frame = message(&group, &format!("m-{number}"), "on and on");
            frame["ack"] = json!("accepted");
            to_ann.send(&frame).await;
            if number % 4 == 3 {
                to_ann.wait_for_seq(&group, number + 3).await;
            }
        }
    };
    // The view of each fails at the first seq that does not follow the one before, beginning with what `ready` named.
    let connect = async {
        let mut sockets = Vec::new();
        for _ in 0..20 {
            let mut socket = bob.socket().await;
            let first = socket.view.seq(&group) + 1;
            socket.wait_for_seq(&group, first.min(last)).await;
            sockets.push(socket);
        }
        sockets
    };
    let ((), sockets) = tokio::join!(talk, connect);
    for mut socket in sockets {
        socket.wait_for_seq(&group, last).await;
    }
}

/// The last one to leave takes the room along; who comes at that moment gets a new one.
pub async fn who_connects_while_the_last_one_leaves_is_let_in(stack: &Stack) {
    const TIMES: usize = 40;
    let ann = User::sign_up(stack, 0, "ann").await;
    let users: Vec<User> = futures_util::future::join_all(
        (0..8).map(|number| async move { User::sign_up(stack, 0, &format!("u{number}")).await }),
    )
    .await;
    let all: Vec<&User> = users.iter().collect();
    for _ in 0..10 {
        ann.group(&all).await;
    }
    stack.settle().await;
    let come_and_go = users.iter().map(|user| async move {
        for _ in 0..TIMES {
            let mut socket = user.connect().open().await.unwrap();
            assert_eq!(socket.ready().await["conversations"].as_array().unwrap().len(), 10);
        }
    });
    futures_util::future::join_all(come_and_go).await;
}

/// Alone on its stack, since memory is looked at. Texts are long, so that what waits for somebody would be seen.
pub async fn attack_12_ten_thousand_events_for_who_never_reads(form: Form) {
    const EVENTS: u64 = 10_000;
    const PORTION: u64 = 50;
    const TEXT_BYTES: usize = 6_000;
    // Below what the events take that come while three connections do not read, 162 MB; for a gateway alone below what they take once. The
    // embedded form has the caches of the log, the store and the index in the same process, which grow by some 60 MB meanwhile.
    let most_kib = if form == Form::Embedded { 120 * 1024 } else { 40 * 1024 };
    let stack = Stack::start(form, Settings::default()).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 0, "bob").await);
    let eve = User::sign_up(&stack, 0, "eve").await;
    let group = ann.group(&[&bob, &eve]).await;
    let (mut to_ann, mut to_eve) = (ann.socket().await, eve.socket().await);
    let filler = "x".repeat(TEXT_BYTES);
    let gateway = stack.process(if form == Form::Embedded { "serve-1" } else { "gateway-1" });
    let mut sent = 0;
    // What the server needs for the work itself is there after the first thousand.
    let mut before = 0;
    let (mut slow, mut closed) = (Vec::new(), Vec::new());
    while sent < EVENTS {
        if sent == 1_000 {
            before = gateway.resident_kib();
            for _ in 0..3 {
                let mut socket = bob.connect().receive_buffer(4096).open().await.unwrap();
                socket.ready().await;
                slow.push(socket);
            }
        }
        for number in sent..sent + PORTION {
            // Acknowledged when it is stored: so the sender is no faster than the store, and little waits for it.
            to_ann.send(&message(&group, &format!("m-{number}"), &filler)).await;
        }
        sent += PORTION;
        // Everybody else has everything, all the time.
        tokio::join!(to_ann.wait_for_seq(&group, sent + 2), to_eve.wait_for_seq(&group, sent + 2));
        // Who reads nothing at all hears of no close, and is cut off after a while; so from here on they read.
        if slow_consumers(&stack).await >= slow.len() && !slow.is_empty() {
            closed.extend(slow.drain(..).map(|mut socket: sealpost_testing::Socket| {
                tokio::spawn(async move { (socket.wait_for_close().await, socket) })
            }));
        }
    }
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < most_kib, "the gateway has grown by {grown} KiB");
    assert_eq!(closed.len(), 3, "10,000 events were not enough");
    for closed in closed {
        let (code, socket) = closed.await.unwrap();
        assert_eq!(code, Some(4008));
        assert!(socket.view.seq(&group) < EVENTS, "it was not slow at all");
    }
    assert_eq!(to_eve.view.messages(&group).len() as u64, EVENTS);
    // And it was the reading alone: who reads again is in again.
    let mut back = bob.socket().await;
    let last = ann.say(&group, "last", "live again").await.ok(201)["seq"].as_u64().unwrap();
    back.wait_for_seq(&group, last).await;
    stack.settle().await;
}

/// How many connections the first gateway has closed since they were too slow.
async fn slow_consumers(stack: &Stack) -> usize {
    let metrics = sealpost_testing::Api::new(&stack.url(0)).get("/metrics").await.text;
    let line = metrics.lines().find_map(|line| line.strip_prefix("sealpost_websocket_slow_consumers_total "));
    line.map_or(0, |count| count.trim().parse().unwrap())
}
