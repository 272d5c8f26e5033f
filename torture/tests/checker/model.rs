//! A chat server in a few lines, with clients, written for one purpose: it can be built with a defect. Time is a counter, chance has a
//! seed, and what its clients see is written down as in a real run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sealpost_torture::history::{Answer, Body, Call, Entry, Mark, OpId, Seen, What};
use uuid::Uuid;

pub const OWNER: u32 = 0;
pub const GUEST: u32 = 3;
pub const USERS: u32 = 4;
/// The guest comes and goes in the second one.
pub const CONVERSATIONS: u32 = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Defect {
    #[default]
    None,
    /// Says `stored` before it is, and forgets it in a crash.
    AckBeforeCommit,
    /// Takes a repeat for a new message.
    NoDedupe,
    /// Says `stored` when the log has it, which loses its tail.
    AcceptedIsStored,
    /// Goes on sending to those who were removed.
    LeaksToRemoved,
    /// Takes any watermark, also one below the last.
    ReceiptsFall,
    /// Confirms edits and forgets them.
    LosesEdits,
    /// Shows what messages said first.
    ShowsOldTexts,
}

pub struct Model {
    defect: Defect,
    random: fastrand::Rng,
    now: u64,
    next_op: OpId,
    next_id: u128,
    pub history: Vec<Entry>,
    logs: Vec<Vec<Seen>>,
    /// Committed up to here, per conversation.
    committed: Vec<usize>,
    members: Vec<BTreeSet<u32>>,
    known: HashMap<(u32, String), (Uuid, u64)>,
    /// What each device has, by conversation; a device has its user's number.
    cursors: Vec<BTreeMap<u32, u64>>,
    /// Watermarks, by user and conversation: delivered and read.
    marks: BTreeMap<(u32, u32), (u64, u64)>,
    /// Sent, and not yet acknowledged as stored: these are sent again.
    outbox: Vec<(OpId, u32, u32, String)>,
}

impl Model {
    /// A whole run.
    pub fn run(seed: u64, defect: Defect) -> Vec<Entry> {
        let mut model = Self::new(seed, defect);
        for step in 0..400 {
            if step % 100 == 99 {
                // Something is always lost when it can be.
                model.commit();
                (0..5).for_each(|_| model.send());
                model.crash();
            }
            match model.random.u32(0..100) {
                0..=64 => model.send(),
                65..=67 => model.edit(),
                68..=69 => model.react(),
                70..=74 => {
                    model.mark();
                    model.receipts();
                }
                75..=84 => model.page(),
                85..=88 => model.toggle_guest(),
                89..=92 => model.resend(),
                93..=95 => model.delete(),
                _ => model.commit(),
            }
        }
        model.finish()
    }

    fn new(seed: u64, defect: Defect) -> Self {
        let all: BTreeSet<u32> = (0..USERS).collect();
        let mut model = Self {
            defect,
            random: fastrand::Rng::with_seed(seed),
            now: 0,
            next_op: 0,
            next_id: 1,
            history: Vec::new(),
            logs: vec![Vec::new(); CONVERSATIONS as usize],
            committed: vec![0; CONVERSATIONS as usize],
            members: vec![all; CONVERSATIONS as usize],
            known: HashMap::new(),
            cursors: vec![BTreeMap::new(); USERS as usize],
            marks: BTreeMap::new(),
            outbox: Vec::new(),
        };
        for user in 0..USERS {
            let id = model.id();
            model.note(What::User { user, id });
            model.note(What::Device { device: user, user });
            model.note(What::Open { device: user, connection: user + 1, gateway: user % 2 });
        }
        for conversation in 0..CONVERSATIONS {
            let id = model.id();
            model.note(What::Conversation { conversation, id, members: (0..USERS).collect() });
            model.append(conversation, Body::Other);
        }
        model.commit();
        model
    }

    fn note(&mut self, what: What) {
        self.now += 1 + self.random.u64(0..2000);
        self.history.push(Entry { at: self.now, what });
    }

    fn id(&mut self) -> Uuid {
        self.next_id += 1;
        Uuid::from_u128(self.next_id)
    }

    fn op(&mut self, device: u32, call: Call) -> OpId {
        self.next_op += 1;
        self.note(What::Invoke { op: self.next_op, device, call });
        self.next_op
    }

    fn append(&mut self, conversation: u32, body: Body) -> u64 {
        let seq = self.logs[conversation as usize].len() as u64 + 1;
        let event = Seen { conversation, seq, body };
        self.logs[conversation as usize].push(event.clone());
        for device in 0..USERS {
            self.deliver(device, &event);
        }
        seq
    }

    fn deliver(&mut self, device: u32, event: &Seen) {
        let member = self.members[event.conversation as usize].contains(&device);
        let own_end = matches!(event.body, Body::Removed { user } if user == device);
        let leaks = self.defect == Defect::LeaksToRemoved && device == GUEST;
        if member || own_end || leaks {
            self.cursors[device as usize].insert(event.conversation, event.seq);
            self.note(What::Received { device, connection: device + 1, event: event.clone() });
        }
    }

    fn send(&mut self) {
        let (user, conversation) = (self.random.u32(0..USERS), self.random.u32(0..CONVERSATIONS));
        if !self.members[conversation as usize].contains(&user) {
            return;
        }
        let name = format!("m-{}", self.next_op + 1);
        let text = format!("text of {name}");
        let op = self.op(user, Call::Send { conversation, name: name.clone(), text });
        self.take(op, user, conversation, name);
    }

    /// The server gets it; its answer may be lost on the way.
    fn take(&mut self, op: OpId, user: u32, conversation: u32, name: String) {
        let known = self.known.get(&(user, name.clone())).copied().filter(|_| self.defect != Defect::NoDedupe);
        if known.is_none() && !self.members[conversation as usize].contains(&user) {
            return self.note(What::Info { op, reason: "not-found".to_owned() });
        }
        let (id, seq) = known.unwrap_or_else(|| {
            let id = self.id();
            let text = Some(format!("text of {name}"));
            let seq = self.append(conversation, Body::Message { id, sender: user, name: name.clone(), text });
            self.known.insert((user, name.clone()), (id, seq));
            (id, seq)
        });
        if self.random.u32(0..10) == 0 {
            return self.outbox.push((op, user, conversation, name));
        }
        let early = matches!(self.defect, Defect::AckBeforeCommit | Defect::AcceptedIsStored);
        let stored = early || seq as usize <= self.committed[conversation as usize];
        self.note(What::Ok { op, answer: Answer::Sent { message_id: id, seq, stored } });
        if !stored {
            self.outbox.push((op, user, conversation, name));
        }
    }

    fn resend(&mut self) {
        for (op, user, conversation, name) in std::mem::take(&mut self.outbox) {
            self.note(What::Again { op });
            self.take(op, user, conversation, name);
        }
    }

    fn commit(&mut self) {
        for (log, committed) in self.logs.iter().zip(&mut self.committed) {
            *committed = log.len();
        }
    }

    /// The log comes back without what was not committed. Who had seen more starts again from there, as after a new sign-in.
    fn crash(&mut self) {
        if !matches!(self.defect, Defect::AckBeforeCommit | Defect::AcceptedIsStored) {
            // A server that keeps what it accepted appends it again: nothing changes.
            self.note(What::FaultStart { fault: "F1".to_owned(), target: "server".to_owned(), forgets: false });
            return self.note(What::FaultStop { fault: "F1".to_owned(), target: "server".to_owned() });
        }
        let forgets = self.defect == Defect::AcceptedIsStored;
        self.note(What::FaultStart { fault: "F5".to_owned(), target: "server".to_owned(), forgets });
        for (log, committed) in self.logs.iter_mut().zip(&self.committed) {
            log.truncate(*committed);
        }
        let logs = &self.logs;
        self.known.retain(|_, (id, _)| {
            logs.iter().flatten().any(|seen| matches!(&seen.body, Body::Message { id: there, .. } if there == id))
        });
        for cursors in &mut self.cursors {
            for (conversation, cursor) in cursors.iter_mut() {
                *cursor = (*cursor).min(self.committed[*conversation as usize] as u64);
            }
        }
        self.note(What::FaultStop { fault: "F5".to_owned(), target: "server".to_owned() });
    }

    fn page(&mut self) {
        let (user, conversation) = (self.random.u32(0..USERS), self.random.u32(0..CONVERSATIONS));
        if !self.members[conversation as usize].contains(&user) {
            return;
        }
        let after = self.random.bool().then(|| self.random.u64(0..50));
        let op = self.op(user, Call::History { conversation, after });
        let log = self.logs[conversation as usize].iter();
        let messages = log.filter(|seen| matches!(seen.body, Body::Message { .. }));
        let messages: Vec<_> = messages.map(|seen| self.as_shown(seen)).collect();
        let (messages, complete) = match after {
            None => (messages[messages.len().saturating_sub(20)..].to_vec(), messages.len() <= 20),
            Some(after) => {
                let rest: Vec<_> = messages.into_iter().filter(|seen| seen.seq > after).collect();
                let complete = rest.len() <= 20;
                (rest.into_iter().take(20).collect(), complete)
            }
        };
        self.note(What::Ok { op, answer: Answer::Page { messages, complete } });
    }

    fn toggle_guest(&mut self) {
        let (conversation, user) = (1, GUEST);
        let away = self.members[1].remove(&GUEST);
        let call = if away { Call::Remove { conversation, user } } else { Call::Add { conversation, user } };
        let op = self.op(OWNER, call);
        let body = if away { Body::Removed { user } } else { Body::Added { user } };
        if !away {
            self.members[1].insert(GUEST);
        }
        self.append(conversation, body);
        self.commit();
        self.note(What::Ok { op, answer: Answer::Done });
    }

    /// With its newest text.
    fn as_shown(&self, seen: &Seen) -> Seen {
        let mut shown = seen.clone();
        if let Body::Message { id, text: Some(text), .. } = &mut shown.body
            && self.defect != Defect::ShowsOldTexts
        {
            let edits = self.logs[seen.conversation as usize].iter().rev();
            let mut edits = edits.filter_map(|seen| match &seen.body {
                Body::Edited { message, text: Some(text), .. } if message == id => Some(text),
                _ => None,
            });
            if let Some(edit) = edits.next() {
                text.clone_from(edit);
            }
        }
        shown
    }

    /// The last committed message of the first conversation that has a text: its sender, seq and id.
    fn target(&self) -> Option<(u32, u64, Uuid)> {
        let committed = self.committed[0];
        self.logs[0][..committed].iter().rev().find_map(|seen| match &seen.body {
            Body::Message { id, sender, text: Some(_), .. } => Some((*sender, seen.seq, *id)),
            _ => None,
        })
    }

    fn edit(&mut self) {
        let Some((sender, _, message)) = self.target() else { return };
        let text = format!("edit {}", self.next_op + 1);
        let op = self.op(sender, Call::Edit { conversation: 0, message, text: text.clone() });
        let lost = self.defect == Defect::LosesEdits;
        let seq = if lost { 1 } else { self.append(0, Body::Edited { message, sender, text: Some(text) }) };
        self.commit();
        self.note(What::Ok { op, answer: Answer::Changed { changed: true, seq: Some(seq), stored: true } });
    }

    fn react(&mut self) {
        let Some((_, _, message)) = self.target() else { return };
        let (sender, emoji, added) = (self.random.u32(0..USERS), "👍".to_owned(), self.random.bool());
        let op = self.op(sender, Call::React { conversation: 0, message, emoji: emoji.clone(), added });
        let seq = self.append(0, Body::Reacted { message, sender, emoji: Some(emoji), added });
        self.commit();
        self.note(What::Ok { op, answer: Answer::Changed { changed: true, seq: Some(seq), stored: true } });
    }

    /// Any seq that the user has: also one below what they said before.
    fn mark(&mut self) {
        let (user, conversation, read) = (self.random.u32(0..USERS), 0, self.random.bool());
        let Some(&cursor) = self.cursors[user as usize].get(&conversation) else { return };
        let seq = self.random.u64(1..=cursor);
        let op = read.then(|| self.op(user, Call::Read { conversation, seq }));
        if op.is_none() {
            self.note(What::Marked { device: user, connection: user + 1, conversation, read, seq });
        }
        let falls = self.defect == Defect::ReceiptsFall;
        let (delivered, known) = self.marks.entry((user, conversation)).or_default();
        *delivered = if falls { seq } else { seq.max(*delivered) };
        *known = match (read, falls) {
            (true, true) => seq,
            (true, false) => seq.max(*known),
            (false, _) => *known.min(delivered),
        };
        if let Some(op) = op {
            self.note(What::Ok { op, answer: Answer::Done });
        }
    }

    fn receipts(&mut self) {
        let (device, conversation) = (self.random.u32(0..USERS), 0);
        let op = self.op(device, Call::Receipts { conversation });
        let marks = (0..USERS).map(|user| {
            let (delivered, read) = self.marks.get(&(user, conversation)).copied().unwrap_or_default();
            Mark { user, delivered, read: Some(read) }
        });
        let marks = marks.collect();
        self.note(What::Ok { op, answer: Answer::Receipts { marks } });
    }

    fn delete(&mut self) {
        let conversation = 0;
        let Some((sender, seq, id)) = self.target() else { return };
        let op = self.op(sender, Call::Delete { conversation, seq, message: id });
        for seen in &mut self.logs[0] {
            match &mut seen.body {
                Body::Message { id: own, text, .. } if *own == id => *text = None,
                Body::Edited { message, text, .. } if *message == id => *text = None,
                Body::Reacted { message, emoji, .. } if *message == id => *emoji = None,
                _ => {}
            }
        }
        let seq = self.append(conversation, Body::Deleted { message_seq: seq });
        self.commit();
        self.note(What::Ok { op, answer: Answer::Changed { changed: true, seq: Some(seq), stored: true } });
    }

    fn finish(mut self) -> Vec<Entry> {
        self.commit();
        for _ in 0..5 {
            self.resend();
            self.commit();
        }
        if !self.members[1].contains(&GUEST) {
            self.toggle_guest();
        }
        for conversation in 0..CONVERSATIONS {
            for gateway in 0..2 {
                let events = self.logs[conversation as usize].clone();
                self.note(What::Final { gateway, user: gateway, conversation, events });
            }
        }
        for device in 0..USERS {
            self.note(What::CaughtUp { device });
        }
        self.history
    }
}
