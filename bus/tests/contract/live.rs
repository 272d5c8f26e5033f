//! Live fan-out.

use sealpost_bus::{Live, LiveItem, LiveSubscription, Subject};

use crate::backend::{Backend, LIVE_QUEUE, subject};

async fn publish(live: &dyn Live, on: &str, text: &str) {
    live.publish(subject(on), text.as_bytes().to_vec().into()).await.unwrap();
}

async fn text(subscription: &mut LiveSubscription) -> String {
    match subscription.recv().await.unwrap() {
        LiveItem::Message(message) => String::from_utf8(message.payload.to_vec()).unwrap(),
        LiveItem::Lost => "LOST".into(),
    }
}

pub async fn a_message_reaches_those_who_subscribed(backend: Backend) {
    let live = backend.live();
    let mut one = live.subscribe(subject("live.a")).await.unwrap();
    let mut two = live.subscribe(subject("live.a")).await.unwrap();
    let mut other = live.subscribe(subject("live.b")).await.unwrap();
    publish(live, "live.a", "hello").await;
    publish(live, "live.b", "you").await;
    live.flush().await.unwrap();
    assert_eq!((text(&mut one).await, text(&mut two).await), ("hello".into(), "hello".into()));
    assert_eq!(text(&mut other).await, "you");
}

pub async fn wildcards_match_as_they_should(backend: Backend) {
    let live = backend.live();
    let mut all = live.subscribe(Subject::pattern("live.>").unwrap()).await.unwrap();
    let mut middle = live.subscribe(Subject::pattern("live.*.b").unwrap()).await.unwrap();
    publish(live, "live.a", "1").await;
    publish(live, "live.a.b", "2").await;
    publish(live, "live.a.c", "3").await;
    publish(live, "live.x.b", "4").await;
    for wanted in ["1", "2", "3", "4"] {
        assert_eq!(text(&mut all).await, wanted);
    }
    assert_eq!(text(&mut middle).await, "2");
    assert_eq!(text(&mut middle).await, "4");
}

pub async fn an_overflow_leaves_one_notice_and_then_goes_on(backend: Backend) {
    let live = backend.live();
    let mut slow = live.subscribe(subject("live.a")).await.unwrap();
    let mut watch = live.subscribe(subject("live.end")).await.unwrap();
    // Nobody reads while a round is published, so it does not fit; but what carries messages into the queue may be late, and then
    // find the reader at work. So: until something was lost.
    let (mut sent, mut seen) = (0, 0);
    'rounds: loop {
        for _ in 0..LIVE_QUEUE * 3 {
            publish(live, "live.a", &sent.to_string()).await;
            sent += 1;
        }
        publish(live, "live.end", "end").await;
        assert_eq!(text(&mut watch).await, "end");
        while seen < sent {
            let item = text(&mut slow).await;
            if item == "LOST" {
                break 'rounds;
            }
            assert_eq!(item, seen.to_string());
            seen += 1;
        }
    }
    assert!(seen < sent, "something was lost");
    publish(live, "live.a", "on").await;
    // Messages that were still on their way come first.
    while text(&mut slow).await != "on" {}
}

pub async fn a_dropped_subscription_gets_nothing_more(backend: Backend) {
    let live = backend.live();
    drop(live.subscribe(subject("live.a")).await.unwrap());
    let mut other = live.subscribe(subject("live.a")).await.unwrap();
    publish(live, "live.a", "1").await;
    assert_eq!(text(&mut other).await, "1");
}

pub async fn messages_of_one_publisher_keep_their_order(backend: Backend) {
    let live = backend.live();
    let mut subscription = live.subscribe(subject("live.a")).await.unwrap();
    for n in 0..500 {
        publish(live, "live.a", &n.to_string()).await;
        assert_eq!(text(&mut subscription).await, n.to_string());
    }
}
