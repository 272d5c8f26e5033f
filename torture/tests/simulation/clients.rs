//! What people do in a simulated world: send until it is stored, through any gateway; read; and bring a guest in and out.

use std::sync::Arc;
use std::time::Duration;

use sealpost_lane::{Draft, LaneError, Lanes, Progress, Rule, Waiter};
use sealpost_schema::{ClientMessageId, ConversationId, EventBody, EventId, Role, Seq, Timestamp, UserId};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::process::Life;
use super::world::{GUEST, World, seen};
use sealpost_torture::history::{Answer, Body, Call, Number, OpId, What};

/// A message whose outcome is not known after so long is sent again.
const PATIENCE: Duration = Duration::from_secs(4);

/// One gateway as a client finds it.
#[derive(Clone)]
pub struct Gateway {
    pub lanes: Lanes,
    pub life: Arc<Life>,
}

struct Sending {
    op: OpId,
    conversation: Number,
    user: Number,
    name: String,
    text: String,
}

enum Attempt {
    /// It is stored, or will never be: no more attempts.
    Done,
    Again,
}

/// Sends `count` messages one after the other, and reads now and then.
pub async fn sender(world: Arc<World>, user: Number, count: usize) {
    for number in 0..count {
        sleep(world.chance.millis(150)).await;
        if world.chance.permille(150) {
            read(&world, user).await;
        }
        let conversation = world.conversation_of(user);
        let name = format!("u{user}-{number}");
        let text = format!("text of {name}");
        let op = world.invoke(user, Call::Send { conversation, name: name.clone(), text: text.clone() });
        let sending = Arc::new(Sending { op, conversation, user, name, text });
        if world.broker.nature.copies && world.chance.permille(100) {
            // The same through several gateways at once; the loop below finds out what became of it.
            for _ in 0..3 {
                let (world, sending) = (Arc::clone(&world), Arc::clone(&sending));
                world.note(What::Again { op });
                tokio::spawn(async move { attempt(&world, &sending, false, false).await });
            }
        }
        let mut first = true;
        while let Attempt::Again = attempt(&world, &sending, first, !first).await {
            first = false;
            world.note(What::Again { op });
            sleep(world.chance.millis(400)).await;
        }
    }
}

/// `certain`: this is the only attempt so far, so that a refusal is one of the whole.
async fn attempt(world: &World, sending: &Sending, certain: bool, retry: bool) -> Attempt {
    let gateway = world.gateway();
    let (sender, mut progress) = mpsc::channel(8);
    let waiter: Waiter = Box::new(move |progress| {
        // A client that has gone does not want to know.
        let _ = sender.try_send(progress);
    });
    let draft = Draft {
        id: EventId(world.id()),
        sender_id: UserId(world.users[sending.user as usize]),
        created_at: world.clock.now(),
        body: EventBody::MessagePosted {
            client_message_id: ClientMessageId::try_from(sending.name.clone()).unwrap(),
            sealed: sending.text.clone(),
            links: None,
            expires_at: None,
        },
        rule: Rule::Post,
        retry,
    };
    let conversation = ConversationId(world.conversations[sending.conversation as usize]);
    let submitted = tokio::select! {
        biased;
        () = gateway.life.until_ended() => return Attempt::Again,
        submitted = gateway.lanes.submit(conversation, draft, waiter) => submitted,
    };
    if let Err(error) = submitted {
        return refused(world, sending, &error, certain);
    }
    let mut place = None;
    loop {
        let next = tokio::select! {
            biased;
            () = gateway.life.until_ended() => return Attempt::Again,
            next = timeout(PATIENCE, progress.recv()) => next,
        };
        let (id, seq, stored) = match next {
            Ok(Some(Progress::Accepted { appended, stored })) => {
                let (id, seq) = (appended.event.id.0, appended.event.seq.0);
                place = Some((id, seq));
                (id, seq, stored)
            }
            Ok(Some(Progress::Stored)) => match place {
                Some((id, seq)) => (id, seq, true),
                None => panic!("stored before it was accepted"),
            },
            Ok(Some(Progress::Voided { original_id, original_seq })) if original_seq.0 > 0 => {
                (original_id.0, original_seq.0, true)
            }
            Ok(Some(Progress::Overdue)) => continue,
            Ok(Some(Progress::Failed(error))) => return refused(world, sending, &error, certain),
            Ok(Some(Progress::Voided { .. }) | None) | Err(_) => return Attempt::Again,
        };
        world.note(What::Ok { op: sending.op, answer: Answer::Sent { message_id: id, seq, stored } });
        if stored {
            return Attempt::Done;
        }
    }
}

fn refused(world: &World, sending: &Sending, error: &LaneError, certain: bool) -> Attempt {
    let reason = error.to_string();
    match error {
        LaneError::OutcomeUnknown | LaneError::Corrupt(_) => Attempt::Again,
        LaneError::Unavailable(_) if !certain => Attempt::Again,
        LaneError::Unavailable(_) => {
            world.note(What::Fail { op: sending.op, reason });
            Attempt::Done
        }
        LaneError::NotFound
        | LaneError::Forbidden
        | LaneError::Deleted
        | LaneError::Changed
        | LaneError::Refused(_) => {
            let op = sending.op;
            world.note(if certain { What::Fail { op, reason } } else { What::Info { op, reason } });
            Attempt::Done
        }
    }
}

/// A page from somewhere in the history to its end.
async fn read(world: &World, user: Number) {
    let conversation = world.conversation_of(user);
    if user == GUEST {
        // Readers know no rights: the handlers before them do.
        return;
    }
    let after = world.chance.below(30) as u64;
    let op = world.invoke(user, Call::History { conversation, after: Some(after) });
    let gateway = world.gateway();
    let id = ConversationId(world.conversations[conversation as usize]);
    let reader = gateway.lanes.reader();
    let page = tokio::select! {
        biased;
        () = gateway.life.until_ended() => None,
        page = reader.after(id, Seq(after), 10_000) => page.ok(),
    };
    match page {
        Some(events) => {
            let messages = events.iter().map(|event| seen(world, conversation, event));
            let messages = messages.filter(|seen| matches!(seen.body, Body::Message { .. })).collect();
            world.note(What::Ok { op, answer: Answer::Page { messages, complete: true } });
        }
        None => world.note(What::Info { op, reason: "no answer".to_owned() }),
    }
}

/// Brings the guest in and out of the last conversation, as a gateway does: decided in the store with a row in the outbox, then appended.
pub async fn owner(world: Arc<World>, times: usize) {
    let conversation = Number::try_from(world.conversations.len() - 1).unwrap();
    for turn in 0..times {
        sleep(world.chance.millis(1500)).await;
        let add = turn % 2 == 1;
        let call =
            if add { Call::Add { conversation, user: GUEST } } else { Call::Remove { conversation, user: GUEST } };
        let op = world.invoke(0, call);
        let guest = UserId(world.users[GUEST as usize]);
        let body = if add {
            EventBody::ParticipantAdded { user_id: guest, role: Role::Member }
        } else {
            EventBody::ParticipantRemoved { user_id: guest }
        };
        let (id, now) = (world.id(), world.clock.now());
        decide(&world, id, conversation, &body, add, now);
        let gateway = world.gateway();
        let draft = Draft {
            id: EventId(id),
            sender_id: UserId(world.users[0]),
            created_at: now,
            body,
            rule: Rule::Control,
            retry: false,
        };
        let place = ConversationId(world.conversations[conversation as usize]);
        tokio::select! {
            biased;
            () = gateway.life.until_ended() => {}
            // Whatever comes of it: the outbox has it.
            _ = gateway.lanes.append_decided(place, draft) => {}
        }
        world.note(What::Ok { op, answer: Answer::Done });
    }
}

fn decide(world: &World, id: Uuid, conversation: Number, body: &EventBody, add: bool, now: Timestamp) {
    let (place, guest) = (world.conversations[conversation as usize], world.users[GUEST as usize]);
    let direct = world.direct.lock().unwrap();
    let change = if add {
        "INSERT INTO participants (conversation_id, user_id, role, added_at, read_seq) VALUES (?1, ?2, 'member', 1, 0)"
    } else {
        "DELETE FROM participants WHERE conversation_id = ?1 AND user_id = ?2"
    };
    direct.execute(change, (place.as_bytes(), guest.as_bytes())).unwrap();
    let row = "INSERT INTO outbox (id, conversation_id, sender_id, body, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    let body = serde_json::to_string(body).unwrap();
    direct.execute(row, (id.as_bytes(), place.as_bytes(), world.users[0].as_bytes(), body, now.millis())).unwrap();
}
