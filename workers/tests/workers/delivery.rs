//! Keeps the promises of `sealpost_workers::delivery`.

use std::sync::Arc;

use crate::harness::{Log, Running, event, message, next_live};
use sealpost_bus::{EventLog, Live};
use sealpost_schema::{
    ControlNotice, ConversationId, ConversationKind, EventBody, EventRecord, NamedRole, Role, Seq, UserId,
    chat_subject, live_subject,
};
use sealpost_workers::delivery::{self, CONSUMER, DeliveryConfig};

fn start(log: &Log) -> Running {
    let (bus, live): (Arc<dyn EventLog>, Arc<dyn Live>) = (Arc::new(log.bus.clone()), log.live.clone());
    Running::new(|stop| delivery::run(bus, live, DeliveryConfig::default(), stop))
}

#[tokio::test]
async fn records_are_published_unchanged_and_in_order_on_their_conversations_subject() {
    let log = Log::new();
    let (conversation, other) = (ConversationId::new(), ConversationId::new());
    let mut live = log.subscribe(&live_subject(conversation)).await;
    let mut sent = Vec::new();
    for seq in 1..=50 {
        let record = EventRecord::new(seq, vec![message(conversation, seq).into()]).unwrap();
        sent.push(record.encode());
        log.append_raw(&chat_subject(conversation), record.encode()).await;
        log.append(&[message(other, seq)]).await;
    }
    let worker = start(&log);
    for payload in sent {
        assert_eq!(next_live(&mut live).await, payload);
    }
    log.drained(CONSUMER).await;
    worker.stop().await;
    assert!(log.dead_letters().await.is_empty());
}

#[tokio::test]
async fn those_who_join_are_announced_to_every_gateway() {
    let log = Log::new();
    let mut live = log.subscribe(ControlNotice::SUBJECT).await;
    let conversation_id = ConversationId::new();
    let (peer, late) = (UserId::new(), UserId::new());
    let created = event(
        conversation_id,
        1,
        EventBody::ConversationCreated {
            conversation_kind: ConversationKind::Group,
            participants: vec![NamedRole { user_id: peer, role: Role::Member }],
        },
    );
    let added = event(conversation_id, 2, EventBody::ParticipantAdded { user_id: late, role: Role::Member });
    let creator = created.sender_id;
    log.append(&[created, added, message(conversation_id, 3)]).await;
    let worker = start(&log);
    let mut joined = Vec::new();
    for _ in 0..3 {
        joined.push(serde_json::from_slice::<ControlNotice>(&next_live(&mut live).await).unwrap());
    }
    log.drained(CONSUMER).await;
    worker.stop().await;
    for (user_id, seq) in [(creator, 1), (peer, 1), (late, 2)] {
        let notice = ControlNotice::Joined { user_id, conversation_id, seq: Seq(seq) };
        assert!(joined.contains(&notice), "{notice:?} is not in {joined:?}");
    }
}

#[tokio::test]
async fn garbage_and_forged_subjects_go_to_the_dead_letters_and_nobody_hears_of_them() {
    let log = Log::new();
    let (conversation, foreign) = (ConversationId::new(), ConversationId::new());
    let mut live = log.subscribe("live.>").await;
    log.append_raw(&chat_subject(conversation), "garbage").await;
    let forged = EventRecord::new(0, vec![message(foreign, 1).into()]).unwrap();
    log.append_raw(&chat_subject(conversation), forged.encode()).await;
    let good = EventRecord::new(0, vec![message(conversation, 1).into()]).unwrap();
    log.append_raw(&chat_subject(conversation), good.encode()).await;
    let worker = start(&log);
    assert_eq!(next_live(&mut live).await, good.encode());
    log.drained(CONSUMER).await;
    worker.stop().await;
    let reasons: Vec<String> = log.dead_letters().await.into_iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].starts_with("not an event record"), "{}", reasons[0]);
    assert!(reasons[1].starts_with("forged subject"), "{}", reasons[1]);
}
