//! Defects that must be found, and the clean history that must pass: changes of a history, and defects of a server.

use std::collections::HashMap;

use sealpost_torture::checker::{Invariant, Verdict, check};
use sealpost_torture::history::{Answer, Body, Call, Entry, Mark, Seen, What};

use crate::model::{Defect, GUEST, Model};

const SEEDS: std::ops::Range<u64> = 1..11;

fn finals(history: &mut [Entry]) -> impl Iterator<Item = &mut Vec<Seen>> {
    history.iter_mut().filter_map(|entry| match &mut entry.what {
        What::Final { conversation: 0, events, .. } => Some(events),
        _ => None,
    })
}

/// Of the first conversation: the place of a message that was acknowledged as stored.
fn stored_at(history: &[Entry]) -> usize {
    let mut acked = history.iter().filter_map(|entry| match &entry.what {
        What::Ok { answer: Answer::Sent { message_id, stored: true, .. }, .. } => Some(*message_id),
        _ => None,
    });
    let order = history.iter().find_map(|entry| match &entry.what {
        What::Final { conversation: 0, events, .. } => Some(events),
        _ => None,
    });
    let order = order.unwrap();
    acked
        .find_map(|acked| {
            order.iter().position(|seen| matches!(&seen.body, Body::Message { id, text: Some(_), .. } if *id == acked))
        })
        .unwrap()
}

/// The defect is found in every seed in which it did something.
fn found(what: &str, invariants: &[Invariant], run: impl Fn(u64) -> Vec<Entry>) {
    for seed in SEEDS {
        let verdict = check(&run(seed));
        let missed: Vec<_> = invariants.iter().filter(|&&invariant| !verdict.breaks(invariant)).collect();
        assert!(missed.is_empty(), "seed {seed}: {what} was not found by {missed:?}: {verdict:?}");
    }
}

#[test]
fn a_history_without_a_defect_passes() {
    for seed in 0..60 {
        let verdict: Verdict = check(&Model::run(seed, Defect::None));
        assert!(verdict.holds(), "seed {seed}: {:#?}", verdict.findings);
        for what in ["messages in the histories", "acks that said stored", "events received", "pages of history"] {
            assert!(verdict.checked[what] > 20, "seed {seed}: {what}: {:?}", verdict.checked);
        }
        for what in ["changes of messages confirmed", "changes of messages in the histories", "watermarks shown"] {
            assert!(verdict.checked[what] > 5, "seed {seed}: {what}: {:?}", verdict.checked);
        }
    }
}

#[test]
fn a_dropped_row_is_found() {
    found("a lost message", &[Invariant::I1, Invariant::I4], |seed| {
        let mut history = Model::run(seed, Defect::None);
        let lost = stored_at(&history);
        finals(&mut history).for_each(|events| drop(events.remove(lost)));
        history
    });
}

/// Also if the hole is closed, so that nothing shows but that it is missing.
#[test]
fn a_dropped_row_whose_number_is_kept_is_found() {
    found("a lost message", &[Invariant::I1], |seed| {
        let mut history = Model::run(seed, Defect::None);
        let lost = stored_at(&history);
        finals(&mut history).for_each(|events| events[lost].body = Body::Void);
        history
    });
}

#[test]
fn two_swapped_numbers_are_found() {
    found("a swap", &[Invariant::I1, Invariant::I4], |seed| {
        let mut history = Model::run(seed, Defect::None);
        let first = stored_at(&history);
        finals(&mut history).for_each(|events| {
            let other =
                (first + 1..events.len()).find(|&other| matches!(events[other].body, Body::Message { .. })).unwrap();
            let body = events[other].body.clone();
            events[other].body = std::mem::replace(&mut events[first].body, body);
        });
        history
    });
}

/// The order alone shows it, without what anybody saw live or was told about numbers.
#[test]
fn an_order_against_time_is_found() {
    found("an order against time", &[Invariant::I5], |seed| {
        let mut history = Model::run(seed, Defect::None);
        let began = (0..).zip(&history).filter_map(|(index, entry)| match &entry.what {
            What::Invoke { op, call: Call::Send { conversation: 0, .. }, .. } => Some((*op, index)),
            _ => None,
        });
        let began: HashMap<u64, usize> = began.collect();
        let (mut early, mut late) = (None, None);
        for (index, entry) in history.iter().enumerate() {
            let What::Ok { op, answer: Answer::Sent { .. } } = &entry.what else { continue };
            match (early, began.get(op)) {
                (None, Some(_)) => early = Some(index),
                (Some(early), Some(began)) if *began > early => late = Some(index),
                _ => {}
            }
        }
        let (early, late) = (early.unwrap(), late.unwrap());
        // The first answer comes later than the other message, and its number is put behind.
        swap_places(&mut history, early, late);
        history
    });
}

/// The guest's comings and goings, as the history has them.
fn moves(history: &mut [Entry]) -> impl Iterator<Item = &mut Body> {
    let finals = history.iter_mut().filter_map(|entry| match &mut entry.what {
        What::Final { conversation: 1, events, .. } => Some(events),
        _ => None,
    });
    finals.flatten().map(|seen| &mut seen.body).filter(|body| matches!(body, Body::Added { .. } | Body::Removed { .. }))
}

#[test]
fn changes_of_participants_in_another_order_are_found() {
    found("a removal behind the addition that followed it", &[Invariant::I5], |seed| {
        let mut history = Model::run(seed, Defect::None);
        for body in moves(&mut history) {
            *body = match *body {
                Body::Added { user } => Body::Removed { user },
                Body::Removed { user } => Body::Added { user },
                _ => continue,
            };
        }
        history
    });
}

#[test]
fn a_removal_that_was_confirmed_and_is_not_there_is_found() {
    found("a lost removal", &[Invariant::I1], |seed| {
        let mut history = Model::run(seed, Defect::None);
        moves(&mut history).filter(|body| matches!(body, Body::Removed { .. })).for_each(|body| *body = Body::Other);
        history
    });
}

/// Exchanges the places of two acknowledged messages wherever they are named.
fn swap_places(history: &mut [Entry], one: usize, other: usize) {
    let sent = |entry: &Entry| match &entry.what {
        What::Ok { answer: Answer::Sent { message_id, seq, .. }, .. } => (*message_id, *seq),
        _ => panic!("not an ack"),
    };
    let ((one, one_seq), (other, other_seq)) = (sent(&history[one]), sent(&history[other]));
    for entry in history.iter_mut() {
        if let What::Ok { answer: Answer::Sent { message_id, seq, .. }, .. } = &mut entry.what {
            if *message_id == one {
                *seq = other_seq;
            } else if *message_id == other {
                *seq = one_seq;
            }
        }
        let What::Final { events, .. } = &mut entry.what else { continue };
        let place =
            |id| events.iter().position(|seen| matches!(&seen.body, Body::Message { id: there, .. } if *there == id));
        if let (Some(a), Some(b)) = (place(one), place(other)) {
            let body = events[a].body.clone();
            events[a].body = std::mem::replace(&mut events[b].body, body);
        }
    }
}

#[test]
fn a_duplicate_is_found() {
    found("a duplicate", &[Invariant::I2], |seed| {
        let mut history = Model::run(seed, Defect::None);
        let first = stored_at(&history);
        finals(&mut history).for_each(|events| {
            let mut again = events[first].clone();
            again.seq = events.len() as u64 + 1;
            events.push(again);
        });
        history
    });
}

#[test]
fn an_event_twice_on_one_connection_is_found() {
    found("a double event", &[Invariant::I6], |seed| {
        let mut history = Model::run(seed, Defect::None);
        let index = history.iter().rposition(|entry| matches!(entry.what, What::Received { .. })).unwrap();
        let again = history[index].clone();
        history.insert(index + 1, again);
        history
    });
}

#[test]
fn a_silent_gap_on_one_connection_is_found() {
    found("a gap", &[Invariant::I6], |seed| {
        let mut history = Model::run(seed, Defect::None);
        let index = history.iter().rposition(
            |entry| matches!(&entry.what, What::Received { event, device: 1, .. } if event.conversation == 0),
        );
        history.remove(index.unwrap());
        history
    });
}

#[test]
fn an_event_that_leaks_to_somebody_removed_is_found() {
    found("a leak", &[Invariant::I9], |seed| Model::run(seed, Defect::LeaksToRemoved));
    found("one leaked event", &[Invariant::I9], |seed| {
        let mut history = Model::run(seed, Defect::None);
        let order = history.iter().find_map(|entry| match &entry.what {
            What::Final { conversation: 1, events, .. } => Some(events.clone()),
            _ => None,
        });
        let leaked = order.unwrap().windows(2).find_map(|pair| {
            let is_removal = matches!(pair[0].body, Body::Removed { .. });
            (is_removal && matches!(pair[1].body, Body::Message { .. })).then(|| pair[1].clone())
        });
        let event = leaked.unwrap_or_else(|| panic!("seed {seed} has nothing to leak"));
        let seen = history
            .iter()
            .position(|entry| matches!(&entry.what, What::Received { event: other, .. } if *other == event));
        let (index, at) = (seen.unwrap(), history[seen.unwrap()].at);
        history.insert(index + 1, Entry { at, what: What::Received { device: GUEST, connection: GUEST + 1, event } });
        history
    });
}

#[test]
fn an_ack_before_the_commit_is_found() {
    found("an early ack", &[Invariant::I1], |seed| Model::run(seed, Defect::AckBeforeCommit));
}

#[test]
fn a_server_that_does_not_know_repeats_is_found() {
    found("a repeat taken as new", &[Invariant::I2], |seed| Model::run(seed, Defect::NoDedupe));
}

/// The log may forget what it accepted, and this history says so; what was called stored is not excused.
#[test]
fn accepted_taken_as_stored_is_found_when_the_log_forgets() {
    found("accepted called stored", &[Invariant::I1], |seed| Model::run(seed, Defect::AcceptedIsStored));
}

#[test]
fn watermarks_that_fall_are_found() {
    found("a watermark that fell", &[Invariant::I8], |seed| Model::run(seed, Defect::ReceiptsFall));
}

/// What nobody said: the same history, with watermarks that are further than that.
#[test]
fn watermarks_ahead_of_their_users_are_found() {
    for (more_delivered, more_read) in [(1, 0), (1, 1)] {
        found("a watermark from nowhere", &[Invariant::I8], |seed| {
            let mut history = Model::run(seed, Defect::None);
            let marks = history.iter_mut().filter_map(|entry| match &mut entry.what {
                What::Ok { answer: Answer::Receipts { marks }, .. } => Some(marks),
                _ => None,
            });
            for mark in marks.flatten() {
                mark.delivered += more_delivered;
                mark.read = mark.read.map(|read| read + more_read);
            }
            history
        });
    }
}

#[test]
fn more_read_than_delivered_is_found() {
    let mut history = Model::run(1, Defect::None);
    let mark = Mark { user: 0, delivered: 0, read: Some(1) };
    let at = history.last().unwrap().at;
    history.push(Entry { at, what: What::Told { device: 1, connection: 2, conversation: 0, mark } });
    assert!(check(&history).breaks(Invariant::I8));
}

#[test]
fn a_confirmed_edit_that_is_nowhere_is_found() {
    found("a lost edit", &[Invariant::I1], |seed| Model::run(seed, Defect::LosesEdits));
}

#[test]
fn pages_with_texts_from_before_an_edit_are_found() {
    let broken = (1..40).filter(|seed| check(&Model::run(*seed, Defect::ShowsOldTexts)).breaks(Invariant::I7)).count();
    assert!(broken > 30, "found in {broken} of 39");
}

/// A change of which the server said that nothing was taken, one that nobody asked for, and one that was made twice.
#[test]
fn changes_from_nowhere_are_found() {
    let edited = |history: &[Entry]| {
        let events = history.iter().find_map(|entry| match &entry.what {
            What::Final { conversation: 0, events, .. } => Some(events),
            _ => None,
        });
        let edit = events.unwrap().iter().find(|seen| matches!(&seen.body, Body::Edited { text: Some(_), .. }));
        edit.unwrap().body.clone()
    };
    let append = |history: &mut [Entry], body: &Body| {
        for events in finals(history) {
            let seq = events.len() as u64 + 1;
            events.push(Seen { conversation: 0, seq, body: body.clone() });
        }
    };
    for seed in SEEDS {
        let mut history = Model::run(seed, Defect::None);
        let body = edited(&history);
        append(&mut history, &body);
        assert!(check(&history).breaks(Invariant::I2), "seed {seed}: an edit made twice");
        let mut history = Model::run(seed, Defect::None);
        let Body::Edited { message, sender, .. } = body else { panic!("no edit") };
        append(&mut history, &Body::Edited { message, sender, text: Some("nobody's".to_owned()) });
        assert!(check(&history).breaks(Invariant::I3), "seed {seed}: an edit that nobody asked for");
        let mut history = Model::run(seed, Defect::None);
        for entry in &mut history {
            if let What::Ok { op, answer: Answer::Changed { .. } } = entry.what {
                entry.what = What::Fail { op, reason: "forbidden".to_owned() };
            }
        }
        assert!(check(&history).breaks(Invariant::I3), "seed {seed}: an edit that was refused");
    }
}

#[test]
fn a_deletion_that_left_the_text_is_found() {
    found("a text that was deleted", &[Invariant::I1], |seed| {
        let mut history = Model::run(seed, Defect::None);
        for seen in finals(&mut history).flatten() {
            if let Body::Message { text, name, .. } = &mut seen.body
                && text.is_none()
            {
                *text = Some(format!("text of {name}"));
            }
        }
        history
    });
}

/// Only a log that forgot is a reason to take anything back.
#[test]
fn what_is_taken_back_without_a_reason_is_found() {
    let mut history = Model::run(2, Defect::None);
    let at = history.last().unwrap().at;
    history.push(Entry { at, what: What::Rewound { device: 0, connection: 1, conversation: 0, after: 3 } });
    assert!(check(&history).breaks(Invariant::I6));
}

#[test]
fn a_page_without_ones_own_message_is_found() {
    found("a stale page", &[Invariant::I7], |seed| {
        let mut history = Model::run(seed, Defect::None);
        for entry in &mut history {
            if let What::Ok { answer: Answer::Page { messages, .. }, .. } = &mut entry.what {
                messages.clear();
            }
        }
        history
    });
}

#[test]
fn changed_content_is_found() {
    found("another text", &[Invariant::I3], |seed| {
        let mut history = Model::run(seed, Defect::None);
        let index = stored_at(&history);
        finals(&mut history).for_each(|events| {
            if let Body::Message { text, .. } = &mut events[index].body {
                *text = Some("something else".to_owned());
            }
        });
        history
    });
}

#[test]
fn a_message_that_nobody_sent_is_found() {
    found("a foreign message", &[Invariant::I3], |seed| {
        let mut history = Model::run(seed, Defect::None);
        finals(&mut history).for_each(|events| {
            let seq = events.len() as u64 + 1;
            let (id, name) = (uuid::Uuid::from_u128(u128::MAX), "nobody's".to_owned());
            let body = Body::Message { id, sender: 1, name, text: Some("boo".to_owned()) };
            events.push(Seen { conversation: 0, seq, body });
        });
        history
    });
}
