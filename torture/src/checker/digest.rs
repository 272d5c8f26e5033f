//! A history sorted by what it speaks of, in one pass.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use crate::history::{Answer, Body, Call, Entry, Mark, Number, OpId, Resources, Seen, Settled, What};

/// A message that was sent, with all that was said about it.
#[derive(Clone, Debug)]
pub struct Send {
    pub op: OpId,
    pub device: Number,
    pub user: Number,
    pub conversation: Number,
    pub name: String,
    pub text: String,
    pub first_at: u64,
    /// On which connection of the device it was sent first.
    pub connection: Number,
    pub attempts: u32,
    pub answers: Vec<Sent>,
    /// The server said that nothing was taken.
    pub failed: bool,
    pub problems: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub at: u64,
    pub id: Uuid,
    pub seq: u64,
    pub stored: bool,
}

impl Send {
    /// The first answer that said `stored`.
    pub fn stored(&self) -> Option<&Sent> {
        self.answers.iter().find(|sent| sent.stored)
    }
}

#[derive(Clone, Debug)]
pub struct Page {
    pub device: Number,
    pub user: Number,
    pub conversation: Number,
    pub after: Option<u64>,
    pub from: u64,
    pub to: u64,
    pub messages: Vec<Seen>,
    pub complete: bool,
}

/// An edit, a reaction or a deletion that was asked for.
#[derive(Clone, Debug)]
pub struct Alteration {
    pub user: Number,
    pub conversation: Number,
    pub message: Uuid,
    pub what: Altered,
    pub invoked: u64,
    /// When it was answered, and how.
    pub answer: Option<(u64, Answered)>,
    /// The server said that nothing was taken.
    pub failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Altered {
    Edit(String),
    React(String, bool),
    Delete,
}

#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub changed: bool,
    pub seq: Option<u64>,
    pub stored: bool,
}

/// Something that a user said of how far they have got.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub at: u64,
    pub user: Number,
    pub conversation: Number,
    pub seq: u64,
    pub read: bool,
    /// When it was confirmed as stored.
    pub confirmed: Option<u64>,
}

/// A watermark as somebody was shown it. `asked`: when the request for it began; missing for frames.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub at: u64,
    pub asked: Option<u64>,
    pub conversation: Number,
    pub mark: Mark,
}

/// Connections that never read, see [`What::SlowReaders`].
#[derive(Clone, Debug)]
pub struct SlowReaders {
    pub codes: Vec<Option<u16>>,
    pub grown_kib: u64,
    pub said: u32,
    pub took_ms: u64,
}

/// A change of membership that was answered, or not (`done` is missing).
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub conversation: Number,
    pub user: Number,
    pub added: bool,
    pub invoked: u64,
    pub done: Option<u64>,
}

/// What one device got on its WebSockets, in order.
#[derive(Clone, Debug)]
pub enum Arrival {
    Event { at: u64, connection: Number, event: Seen },
    Skipped { conversation: Number, from: u64, to: u64 },
    Rewound { conversation: Number, after: u64 },
}

#[derive(Clone, Debug, Default)]
pub struct Digest {
    pub users: HashMap<Number, Uuid>,
    pub device_user: BTreeMap<Number, Number>,
    pub sends: Vec<Send>,
    /// Index into `sends`.
    pub by_name: HashMap<(Number, String), usize>,
    /// Of each conversation, when the run began.
    pub members: HashMap<Number, HashSet<Number>>,
    pub pages: Vec<Page>,
    pub changes: Vec<Change>,
    pub arrivals: BTreeMap<Number, Vec<Arrival>>,
    /// Devices that were given the time to catch up at the end.
    pub caught_up: HashSet<Number>,
    pub finals: BTreeMap<Number, Vec<(Number, Number, Vec<Seen>)>>,
    /// Messages whose deletion was asked for: by id, and by the number that they had then.
    pub deletions: HashSet<Uuid>,
    pub deleted_numbers: HashSet<(Number, u64)>,
    pub alterations: Vec<Alteration>,
    pub claims: Vec<Claim>,
    pub shown: Vec<Shown>,
    /// Device, and when its session's end was confirmed.
    pub sign_outs: Vec<(Number, u64)>,
    pub opens: HashMap<Number, Vec<u64>>,
    /// From when on the log may have forgotten.
    pub forgets_from: Option<u64>,
    /// Spans in which the log may have forgotten what it had accepted.
    pub forgetful: Vec<(u64, u64)>,
    /// Spans with a fault, in order, not overlapping.
    pub faults: Vec<(u64, u64)>,
    pub settled: Option<Settled>,
    pub resources: Vec<Resources>,
    pub slow_readers: Vec<SlowReaders>,
    pub secrecy: Option<(u64, Vec<String>)>,
    pub died: Vec<(String, String)>,
    pub unknown: u64,
    pub end: u64,
}

/// After a log has forgotten something others may give the numbers away, until those who know better are connected again and have looked.
/// In microseconds.
const FORGETS_FOR: u64 = 15_000_000;

enum Open {
    Send(usize),
    Page(Page),
    Change(usize),
    SignOut(Number),
    Alteration(usize),
    Claim(usize),
    Receipts(u64, Number),
}

impl Digest {
    pub fn of(history: &[Entry]) -> Self {
        let mut this = Self::default();
        let mut open: HashMap<OpId, Open> = HashMap::new();
        let mut connections: HashMap<Number, Number> = HashMap::new();
        let mut faults: HashMap<(&str, &str), (u64, bool)> = HashMap::new();
        let mut spans = Vec::new();
        for Entry { at, what } in history {
            this.end = this.end.max(*at);
            match what {
                What::User { user, id } => _ = this.users.insert(*user, *id),
                What::Device { device, user } => _ = this.device_user.insert(*device, *user),
                What::Conversation { conversation, members, .. } => {
                    this.members.insert(*conversation, members.iter().copied().collect());
                }
                What::Closed { .. } => {}
                What::Invoke { op, device, call } => {
                    let connection = connections.get(device).copied().unwrap_or_default();
                    let opened = this.invoke(*at, *op, *device, connection, call);
                    open.insert(*op, opened);
                }
                What::Again { op } => {
                    if let Some(Open::Send(index)) = open.get(op) {
                        this.sends[*index].attempts += 1;
                    }
                }
                What::Ok { op, answer } => this.answered(*at, *op, answer, &mut open),
                What::Fail { op, reason } | What::Info { op, reason } => {
                    let unknown = matches!(what, What::Info { .. });
                    this.unknown += u64::from(unknown);
                    match open.get(op) {
                        Some(Open::Send(index)) => {
                            let send = &mut this.sends[*index];
                            send.failed |= !unknown;
                            send.problems.push(reason.clone());
                        }
                        Some(Open::Change(index)) if !unknown => this.changes[*index].invoked = u64::MAX,
                        Some(Open::Alteration(index)) => this.alterations[*index].failed |= !unknown,
                        _ => {}
                    }
                }
                What::Open { device, connection, .. } => {
                    connections.insert(*device, *connection);
                    this.opens.entry(*device).or_default().push(*at);
                }
                What::Received { device, connection, event } => {
                    let arrival = Arrival::Event { at: *at, connection: *connection, event: event.clone() };
                    this.arrivals.entry(*device).or_default().push(arrival);
                }
                What::Skipped { device, conversation, from, to, .. } => {
                    let arrival = Arrival::Skipped { conversation: *conversation, from: *from, to: *to };
                    this.arrivals.entry(*device).or_default().push(arrival);
                }
                What::Rewound { device, conversation, after, .. } => {
                    let arrival = Arrival::Rewound { conversation: *conversation, after: *after };
                    this.arrivals.entry(*device).or_default().push(arrival);
                }
                What::Marked { device, conversation, read, seq, .. } => {
                    this.claim(*at, *device, *conversation, *seq, *read);
                }
                What::Told { conversation, mark, .. } => {
                    this.shown.push(Shown { at: *at, asked: None, conversation: *conversation, mark: *mark });
                }
                What::FaultStart { fault, target, forgets } => {
                    faults.insert((fault, target), (*at, *forgets));
                    if *forgets && this.forgets_from.is_none() {
                        this.forgets_from = Some(*at);
                    }
                }
                What::FaultStop { fault, target } => {
                    if let Some((from, forgets)) = faults.remove(&(fault.as_str(), target.as_str())) {
                        spans.push((from, *at));
                        this.forgetful.extend(forgets.then_some((from, *at)));
                    }
                }
                What::Final { gateway, user, conversation, events } => {
                    this.finals.entry(*conversation).or_default().push((*gateway, *user, events.clone()));
                }
                What::CaughtUp { device } => _ = this.caught_up.insert(*device),
                What::Settled(settled) => this.settled = Some(settled.clone()),
                What::Resources(resources) => this.resources.push(resources.clone()),
                What::SlowReaders { codes, grown_kib, said, took_ms } => {
                    let (codes, grown_kib, said, took_ms) = (codes.clone(), *grown_kib, *said, *took_ms);
                    this.slow_readers.push(SlowReaders { codes, grown_kib, said, took_ms });
                }
                What::Secrecy { places, hits } => this.secrecy = Some((*places, hits.clone())),
                What::Died { process, status } => this.died.push((process.clone(), status.clone())),
            }
        }
        for (from, forgets) in faults.into_values() {
            spans.push((from, this.end));
            this.forgetful.extend(forgets.then_some((from, this.end)));
        }
        for (_, to) in &mut this.forgetful {
            *to += FORGETS_FOR;
        }
        this.forgetful.sort_unstable();
        this.faults = merged(spans);
        this
    }

    fn invoke(&mut self, at: u64, op: OpId, device: Number, connection: Number, call: &Call) -> Open {
        let user = self.device_user.get(&device).copied().unwrap_or(Number::MAX);
        match call {
            Call::Send { conversation, name, text } => {
                let index = self.sends.len();
                self.by_name.insert((user, name.clone()), index);
                self.sends.push(Send {
                    op,
                    device,
                    user,
                    conversation: *conversation,
                    name: name.clone(),
                    text: text.clone(),
                    first_at: at,
                    connection,
                    attempts: 1,
                    answers: Vec::new(),
                    failed: false,
                    problems: Vec::new(),
                });
                Open::Send(index)
            }
            Call::History { conversation, after } => Open::Page(Page {
                device,
                user,
                conversation: *conversation,
                after: *after,
                from: at,
                to: at,
                messages: Vec::new(),
                complete: false,
            }),
            Call::Delete { conversation, seq, message } => {
                self.deletions.insert(*message);
                self.deleted_numbers.insert((*conversation, *seq));
                self.alteration(at, user, *conversation, *message, Altered::Delete)
            }
            Call::Edit { conversation, message, text } => {
                self.alteration(at, user, *conversation, *message, Altered::Edit(text.clone()))
            }
            Call::React { conversation, message, emoji, added } => {
                self.alteration(at, user, *conversation, *message, Altered::React(emoji.clone(), *added))
            }
            Call::Read { conversation, seq } => {
                self.claim(at, device, *conversation, *seq, true);
                Open::Claim(self.claims.len() - 1)
            }
            Call::Receipts { conversation } => Open::Receipts(at, *conversation),
            Call::Add { conversation, user } | Call::Remove { conversation, user } => {
                let added = matches!(call, Call::Add { .. });
                self.changes.push(Change { conversation: *conversation, user: *user, added, invoked: at, done: None });
                Open::Change(self.changes.len() - 1)
            }
            Call::SignOut => Open::SignOut(device),
        }
    }

    fn answered(&mut self, at: u64, op: OpId, answer: &Answer, open: &mut HashMap<OpId, Open>) {
        match (open.get(&op), answer) {
            (Some(Open::Send(index)), Answer::Sent { message_id, seq, stored }) => {
                self.sends[*index].answers.push(Sent { at, id: *message_id, seq: *seq, stored: *stored });
            }
            (Some(Open::Page(page)), Answer::Page { messages, complete }) => {
                let page = Page { to: at, messages: messages.clone(), complete: *complete, ..page.clone() };
                self.pages.push(page);
            }
            (Some(Open::Change(index)), _) => self.changes[*index].done = Some(at),
            (Some(Open::SignOut(device)), _) => self.sign_outs.push((*device, at)),
            (Some(Open::Alteration(index)), Answer::Changed { changed, seq, stored }) => {
                let answer = Answered { changed: *changed, seq: *seq, stored: *stored };
                self.alterations[*index].answer = Some((at, answer));
            }
            // A deletion over REST: it does not say whether it is stored, and which number it has.
            (Some(Open::Alteration(index)), Answer::Done) => {
                self.alterations[*index].answer = Some((at, Answered { changed: true, seq: None, stored: false }));
            }
            (Some(Open::Claim(index)), _) => self.claims[*index].confirmed = Some(at),
            (Some(Open::Receipts(asked, conversation)), Answer::Receipts { marks }) => {
                let shown = |mark| Shown { at, asked: Some(*asked), conversation: *conversation, mark };
                self.shown.extend(marks.iter().copied().map(shown));
            }
            _ => {}
        }
    }

    fn alteration(&mut self, at: u64, user: Number, conversation: Number, message: Uuid, what: Altered) -> Open {
        let (invoked, answer, failed) = (at, None, false);
        self.alterations.push(Alteration { user, conversation, message, what, invoked, answer, failed });
        Open::Alteration(self.alterations.len() - 1)
    }

    fn claim(&mut self, at: u64, device: Number, conversation: Number, seq: u64, read: bool) {
        let user = self.device_user.get(&device).copied().unwrap_or(Number::MAX);
        self.claims.push(Claim { at, user, conversation, seq, read, confirmed: None });
    }

    /// Whether somebody asked for the deletion of this message.
    pub fn may_be_deleted(&self, conversation: Number, seq: u64, id: Uuid) -> bool {
        self.deletions.contains(&id) || self.deleted_numbers.contains(&(conversation, seq))
    }

    /// Whether the log may have forgotten what it accepted at `accepted`: nobody was told before it forgot that it is stored.
    pub fn forgot(&self, accepted: u64, stored: Option<u64>) -> bool {
        self.forgetful.iter().any(|(from, to)| accepted <= *to && stored.is_none_or(|stored| stored >= *from))
    }

    /// The conversation as it was read at the end, by seq, from the longest reading.
    pub fn order(&self, conversation: Number) -> &[Seen] {
        let readings = self.finals.get(&conversation).map_or(&[][..], Vec::as_slice);
        readings.iter().map(|(_, _, events)| events.as_slice()).max_by_key(|events| events.len()).unwrap_or(&[])
    }

    /// The event with this number at the end.
    pub fn at(&self, conversation: Number, seq: u64) -> Option<&Seen> {
        let index = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.order(conversation).get(index).filter(|event| event.seq == seq)
    }

    /// Whether the log may have forgotten this after it was shown: it was on its way when or before the log forgot, and nobody was ever told
    /// that it is stored under this number.
    pub fn may_be_forgotten(&self, seen: &Seen) -> bool {
        let Body::Message { id, sender, name, .. } = &seen.body else { return self.forgets_from.is_some() };
        let Some(send) = self.by_name.get(&(*sender, name.clone())).map(|index| &self.sends[*index]) else {
            return false;
        };
        // Sent again it may have got the same number, as another message.
        let stored = send.answers.iter().any(|sent| sent.stored && sent.seq == seen.seq && sent.id == *id);
        !stored && self.forgot(send.first_at, None)
    }

    /// The first moment at which so many microseconds without a fault have gone by since `at`.
    pub fn undisturbed(&self, at: u64, span: u64) -> u64 {
        let (mut now, mut left) = (at, span);
        let first = self.faults.partition_point(|(_, to)| *to <= at);
        for (from, to) in &self.faults[first..] {
            let calm = from.saturating_sub(now);
            if calm >= left {
                break;
            }
            left -= calm;
            now = *to;
        }
        now + left
    }
}

/// Spans in order, those that touch joined.
fn merged(mut spans: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    spans.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calm_time_is_counted_without_faults() {
        let digest = Digest { faults: merged(vec![(100, 200), (150, 300), (400, 500)]), ..Digest::default() };
        assert_eq!(digest.faults, [(100, 300), (400, 500)]);
        assert_eq!(digest.undisturbed(0, 50), 50);
        assert_eq!(digest.undisturbed(0, 150), 350);
        assert_eq!(digest.undisturbed(350, 100), 550);
        assert_eq!(digest.undisturbed(600, 100), 700);
    }
}
