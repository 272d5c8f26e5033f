//! What needs a broker that goes away.

use std::time::Duration;

use sealpost_bus::jetstream::{JetStreamBus, JetStreamConfig};
use sealpost_bus::{AppendError, EventLog, Live, LiveItem};

use crate::backend::{Backend, NatsServer, append, consumer, limited, put, subject};

fn parts(backend: &mut Backend) -> (&mut NatsServer, &JetStreamBus) {
    match backend {
        Backend::JetStream { server, bus, .. } => (server, bus),
        Backend::Embedded { .. } => unreachable!(),
    }
}

async fn wait_until_up(bus: &JetStreamBus, up: bool) {
    bus.connection().wait_for(|connection| connection.up == up).await.unwrap();
}

async fn delete(server: &NatsServer, stream: &str) {
    let client = async_nats::connect(server.url()).await.unwrap();
    async_nats::jetstream::new(client).delete_stream(stream).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_makes_an_append_unknown_and_a_repeat_resolves_it_to_exactly_one() {
    limited(async {
        let mut backend = Backend::jetstream_with(|config| config.publish_timeout = Duration::from_millis(300)).await;
        let (server, bus) = parts(&mut backend);
        let first = put(bus, "chat.a", "1").await;
        server.pause();
        let plain = bus.append(append("chat.b", "plain", None)).await;
        let compared = bus.append(append("chat.a", "compared", Some(first.0))).await;
        server.signal("CONT");
        assert!(matches!(plain, Err(AppendError::Unknown(_))), "{plain:?}");
        assert!(matches!(compared, Err(AppendError::Unknown(_))), "{compared:?}");
        bus.append(append("chat.b", "plain", None)).await.unwrap();
        match bus.append(append("chat.a", "compared", Some(first.0))).await {
            Ok(_) | Err(AppendError::Conflict) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(bus.last(&subject("chat.a")).await.unwrap().unwrap().id, "compared");
        assert_eq!(bus.state().await.unwrap().records, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_the_handle_is_there_and_everything_is_unavailable_at_once() {
    limited(async {
        let mut server = NatsServer::start();
        server.kill();
        let bus = JetStreamBus::connect(JetStreamConfig::new(server.url())).await.unwrap();
        assert!(!bus.connection().borrow().up);
        assert!(matches!(bus.append(append("chat.a", "1", None)).await, Err(AppendError::Unavailable(_))));
        assert!(bus.last(&subject("chat.a")).await.is_err());
        assert!(bus.publish(subject("live.a"), "x".into()).await.is_err());
        assert!(bus.subscribe(subject("live.a")).await.is_err());
        server.start_again();
        bus.ready().await.unwrap();
        put(&bus, "chat.a", "1").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_streams_come_back_with_the_next_call() {
    limited(async {
        let mut backend = Backend::jetstream().await;
        let (server, bus) = parts(&mut backend);
        put(bus, "chat.a", "1").await;
        delete(server, "CHAT").await;
        put(bus, "chat.a", "2").await;
        delete(server, "CHAT").await;
        assert!(bus.last(&subject("chat.a")).await.unwrap().is_none());
        delete(server, "CHAT").await;
        let mut worker = bus.consumer(consumer("w")).await.unwrap();
        put(bus, "chat.a", "3").await;
        assert_eq!(worker.next_batch(5).await.unwrap()[0].record.id, "3");
        // And under a consumer that waits.
        delete(server, "CHAT").await;
        put(bus, "chat.a", "4").await;
        let batch = loop {
            if let Ok(batch) = worker.next_batch(5).await {
                break batch;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(batch[0].record.id, "4");
        delete(server, "DEAD").await;
        worker.dead_letter(&batch[0], "no").await.unwrap();
        assert_eq!(bus.count_dead().await, 1);
    })
    .await;
}

trait CountDead {
    async fn count_dead(&self) -> u64;
}

impl CountDead for JetStreamBus {
    async fn count_dead(&self) -> u64 {
        self.dead_letters().count().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_raises_the_epoch_tells_live_and_feeds_the_waiting_consumer_again() {
    limited(async {
        let mut backend = Backend::jetstream().await;
        let (server, bus) = parts(&mut backend);
        let epoch = bus.connection().borrow().epoch;
        let mut one = bus.subscribe(subject("live.a")).await.unwrap();
        let mut two = bus.subscribe(subject("live.b")).await.unwrap();
        let mut worker = bus.consumer(consumer("w")).await.unwrap();
        let waiting = tokio::spawn(async move {
            loop {
                if let Ok(batch) = worker.next_batch(5).await {
                    return batch[0].record.id.clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        server.kill();
        wait_until_up(bus, false).await;
        assert!(matches!(bus.append(append("chat.a", "1", None)).await, Err(AppendError::Unavailable(_))));
        server.start_again();
        wait_until_up(bus, true).await;
        assert!(bus.connection().borrow().epoch > epoch);
        assert!(matches!(one.recv().await, Some(LiveItem::Lost)));
        assert!(matches!(two.recv().await, Some(LiveItem::Lost)));
        bus.publish(subject("live.a"), "on".into()).await.unwrap();
        assert!(matches!(one.recv().await, Some(LiveItem::Message(_))));
        put(bus, "chat.a", "after").await;
        assert_eq!(waiting.await.unwrap(), "after");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_in_flight_at_a_kill_is_unknown_and_not_a_hang() {
    limited(async {
        let mut backend = Backend::jetstream_with(|config| config.publish_timeout = Duration::from_secs(100)).await;
        let (server, bus) = parts(&mut backend);
        server.pause();
        let sender = bus.clone();
        let appending = tokio::spawn(async move { sender.append(append("chat.a", "1", None)).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.kill();
        let outcome = appending.await.unwrap();
        assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_stream_that_differ_are_updated() {
    limited(async {
        let server = NatsServer::start();
        let mut config = JetStreamConfig::new(server.url());
        let one = JetStreamBus::connect(config.clone()).await.unwrap();
        one.ready().await.unwrap();
        config.max_bytes = 4096;
        let two = JetStreamBus::connect(config).await.unwrap();
        two.ready().await.unwrap();
        // The log is full at some time; it says so, and does not drop the oldest.
        let mut stored = 0;
        let error = loop {
            match two.append(append("chat.a", &format!("{stored}"), None)).await {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
            assert!(stored < 1000);
        };
        assert!(matches!(error, AppendError::Unavailable(_)), "{error:?}");
        assert_eq!(two.state().await.unwrap().records, stored);
    })
    .await;
}
