//! What is found in the servers themselves, and histories on disk.

use sealpost_torture::checker::{Invariant, check};
use sealpost_torture::history::{Answer, Body, Call, Entry, Resources, Seen, Settled, Usage, What, read};

use crate::model::{Defect, Model};

fn with(what: What) -> Vec<Entry> {
    let mut history = Model::run(7, Defect::None);
    let at = history.last().unwrap().at;
    history.push(Entry { at, what });
    history
}

#[test]
fn what_is_left_to_do_is_found() {
    let clean = Settled { after_ms: Some(5), ..Settled::default() };
    assert!(check(&with(What::Settled(clean.clone()))).holds());
    let unfinished = Settled { after_ms: None, ..clean.clone() };
    assert!(check(&with(What::Settled(unfinished))).breaks(Invariant::I11));
    let dead = Settled { dead_letters: 1, ..clean };
    assert!(check(&with(What::Settled(dead))).breaks(Invariant::I11));
    let died = What::Died { process: "persistence-1".to_owned(), status: "exit code 101".to_owned() };
    assert!(check(&with(died)).breaks(Invariant::I11));
}

#[test]
fn plaintext_is_found() {
    assert!(check(&with(What::Secrecy { places: 3, hits: Vec::new() })).holds());
    let hits = vec!["the broker's files".to_owned()];
    assert!(check(&with(What::Secrecy { places: 3, hits })).breaks(Invariant::I10));
}

#[test]
fn growth_is_found() {
    let before = Usage { resident_kib: 100_000, handles: 50, threads: 4, tasks: 60, subscriptions: 9 };
    let resources = |after| What::Resources(Resources { process: "gateway-1".to_owned(), before, after });
    assert!(check(&with(resources(before))).holds());
    for after in [
        Usage { resident_kib: 900_000, ..before },
        Usage { handles: 500, ..before },
        Usage { threads: 40, ..before },
        Usage { tasks: 600, ..before },
        Usage { subscriptions: 90, ..before },
    ] {
        assert!(check(&with(resources(after))).breaks(Invariant::I12), "{after:?}");
    }
}

#[test]
fn a_slow_reader_that_is_not_closed_as_one_is_found() {
    let found = |codes: &[Option<u16>], grown_kib, said, took_ms| {
        check(&with(What::SlowReaders { codes: codes.to_vec(), grown_kib, said, took_ms })).breaks(Invariant::I12)
    };
    assert!(!found(&[Some(4008), None, Some(1001)], 3000, 160, 900));
    for codes in [&[Some(4008), Some(0)][..], &[Some(4008), Some(1011)], &[None, None]] {
        assert!(found(codes, 0, 160, 900), "{codes:?}");
    }
    // Hardly anything was said, or so slowly that the pings came first.
    assert!(!found(&[Some(0), Some(4000)], 0, 20, 900));
    assert!(!found(&[Some(4000), None], 0, 160, 6000));
    assert!(found(&[Some(4008); 3], 3073, 160, 900));
}

/// A session that ended, and a gateway that did not hear of it.
#[test]
fn an_ended_session_that_goes_on_is_found() {
    let history = |late: u64| {
        let mut entries = vec![
            What::User { user: 0, id: uuid::Uuid::from_u128(1) },
            What::Device { device: 0, user: 0 },
            What::Device { device: 1, user: 0 },
            What::Open { device: 1, connection: 2, gateway: 0 },
            What::Invoke { op: 1, device: 1, call: Call::SignOut },
            What::Ok { op: 1, answer: Answer::Done },
        ]
        .into_iter()
        .map(|what| Entry { at: 10, what })
        .collect::<Vec<_>>();
        let name = "late".to_owned();
        let send = Call::Send { conversation: 0, name: name.clone(), text: "x".to_owned() };
        entries.push(Entry { at: 10 + late, what: What::Invoke { op: 2, device: 0, call: send } });
        let body = Body::Message { id: uuid::Uuid::from_u128(9), sender: 0, name, text: Some("x".to_owned()) };
        let event = Seen { conversation: 0, seq: 1, body };
        entries.push(Entry { at: 20 + late, what: What::Received { device: 1, connection: 2, event: event.clone() } });
        entries.push(Entry {
            at: 30 + late,
            what: What::Final { gateway: 0, user: 0, conversation: 0, events: vec![event] },
        });
        entries
    };
    assert!(check(&history(500_000)).holds());
    assert!(check(&history(2_000_000)).breaks(Invariant::I9));
}

#[test]
fn a_history_is_read_as_it_was_written() {
    let history = Model::run(3, Defect::None);
    let text: String = history.iter().map(|entry| serde_json::to_string(entry).unwrap() + "\n").collect();
    assert_eq!(read(&text).unwrap(), history);
}
