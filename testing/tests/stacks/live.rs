//! Readers that cannot keep up.

use sealpost_testing::{Stack, User, message};
use serde_json::json;

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
