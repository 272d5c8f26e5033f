//! What operators can do about dead letters.

use std::sync::Arc;

use crate::harness::{Log, Running, World, deletion, eventually, message, next_live, on_sqlite, quick};
use sealpost_bus::{EventLog, Live};
use sealpost_schema::{ConversationId, EventRecord, StoredNotice, chat_subject};
use sealpost_workers::dead_letters::{self, LetterError};
use sealpost_workers::delivery::{self, DeliveryConfig};
use sealpost_workers::persistence::{CONSUMER, PersistenceConfig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_is_replayed_when_its_cause_is_gone_and_then_removed() {
    on_sqlite(|world: World| async move {
        let conversation = ConversationId::new();
        let target = message(conversation, 1);
        world.log.append(&[deletion(2, &target)]).await;
        let worker = world.persistence_on(&world.log, PersistenceConfig { max_attempts: 1, ..quick() });
        eventually("there is a dead letter", async || !world.log.dead_letters().await.is_empty()).await;
        let letters = world.log.bus.dead_letters();
        let number = dead_letters::list(letters, 0, 10).await.unwrap()[0].number;

        let live: &dyn Live = &*world.log.live;
        let error = dead_letters::replay(letters, &world.db, Some(live), number).await.unwrap_err();
        assert!(error.to_string().contains("not in the store"), "{error}");
        assert_eq!(letters.count().await.unwrap(), 1, "a replay that fails keeps the letter");

        world.log.append(std::slice::from_ref(&target)).await;
        world.log.drained(CONSUMER).await;
        let mut notices = world.log.subscribe(StoredNotice::SUBJECT).await;
        dead_letters::replay(letters, &world.db, Some(live), number).await.unwrap();
        let notice: StoredNotice = serde_json::from_slice(&next_live(&mut notices).await).unwrap();
        assert_eq!(crate::harness::covered(&notice), 1);
        assert_eq!(letters.count().await.unwrap(), 0);
        assert!(world.row(&target).await.unwrap().is_deleted_message());
        let again = dead_letters::replay(letters, &world.db, Some(live), number).await.unwrap_err();
        assert!(matches!(again, LetterError::NotFound(_)));
        worker.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_is_shown_without_content_and_can_be_discarded() {
    let log = Log::new();
    let (own, foreign) = (ConversationId::new(), ConversationId::new());
    let record = EventRecord::new(0, vec![message(foreign, 7).into()]).unwrap();
    log.append_raw(&chat_subject(own), record.encode()).await;
    let (bus, live): (Arc<dyn EventLog>, Arc<dyn Live>) = (Arc::new(log.bus.clone()), log.live.clone());
    let worker = Running::new(|stop| delivery::run(bus, live, DeliveryConfig::default(), stop));
    eventually("there is a dead letter", async || !log.dead_letters().await.is_empty()).await;
    worker.stop().await;

    let letters = log.bus.dead_letters();
    let number = log.dead_letters().await[0].number;
    let details = dead_letters::show(letters, number).await.unwrap();
    assert!(details.unreadable.as_deref().is_some_and(|text| text.starts_with("forged subject")), "{details:?}");
    assert_eq!((details.events[0].seq.0, details.events[0].kind), (7, "message_posted"));
    assert!(!serde_json::to_string(&details).unwrap().contains("sealed"));

    on_sqlite(|world: World| async move {
        let error = dead_letters::replay(letters, &world.db, None, number).await.unwrap_err();
        assert!(matches!(error, LetterError::NoLive { .. }), "{error}");
    })
    .await;
    dead_letters::discard(letters, number).await.unwrap();
    assert!(matches!(dead_letters::discard(letters, number).await, Err(LetterError::NotFound(_))));
}
