//! One pair of users: a sender that keeps a window of messages without acknowledgement, and a receiver.
//!
//! One task owns both connections and all that is counted, so nothing is shared or locked. It reads all that is there,
//! sends all that the window allows, and flushes once.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{Sink as _, Stream as _};
use tokio::time::Sleep;
use tokio_tungstenite::tungstenite::Message;

use crate::histogram::Histogram;
use crate::ledger::{Arrival, Ledger, Order};
use crate::socket::Socket;
use crate::wire::{self, Frame, Writer};

/// When all pairs do what, as time since `epoch`.
#[derive(Clone)]
pub struct Plan {
    pub epoch: Instant,
    /// What arrives in it is measured; sending starts before and ends with it.
    pub window: Range<Duration>,
    /// Until then the pairs wait for what is still on its way.
    pub patience: Duration,
    pub in_flight: u64,
}

/// What one pair counted, or all of them together.
#[derive(Default)]
pub struct Tally {
    /// Arrived at the receiver, and acknowledged as stored, within the window.
    pub delivered: u64,
    pub stored: u64,
    pub delivery: Histogram,
    pub acknowledgement: Histogram,
    /// Over the whole run.
    pub sent: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub missing: u64,
    pub unacknowledged: u64,
    pub duplicates: u64,
    pub order_violations: u64,
}

impl Tally {
    pub fn merge(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.stored += other.stored;
        self.delivery.merge(&other.delivery);
        self.acknowledgement.merge(&other.acknowledgement);
        self.sent += other.sent;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.missing += other.missing;
        self.unacknowledged += other.unacknowledged;
        self.duplicates += other.duplicates;
        self.order_violations += other.order_violations;
    }

    fn error(&mut self, what: impl Into<String>) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| what.into());
    }
}

/// A connection, and the order of this conversation's events on it.
pub struct End {
    pub socket: Socket,
    pub order: Order,
}

/// A future that ends with what was counted.
pub struct Pair {
    sender: End,
    receiver: End,
    account: Account,
    timer: Pin<Box<Sleep>>,
    /// Something was sent that the kernel has not taken yet.
    unflushed: bool,
    /// A connection ended: what is on its way will not come.
    broken: bool,
}

/// What the pair knows about its messages.
struct Account {
    plan: Plan,
    conversation_id: String,
    writer: Writer,
    ledger: Ledger,
    in_flight: u64,
    tally: Tally,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Sender,
    Receiver,
}

impl Pair {
    pub fn new(sender: End, receiver: End, conversation_id: String, writer: Writer, plan: Plan) -> Self {
        let timer = Box::pin(tokio::time::sleep_until((plan.epoch + plan.window.end).into()));
        let ledger = Ledger::with_capacity(1 << 12);
        let account = Account { plan, conversation_id, writer, ledger, in_flight: 0, tally: Tally::default() };
        Self { sender, receiver, account, timer, unflushed: false, broken: false }
    }

    /// Sends what the window allows, in one write if it fits.
    fn fill_window(&mut self, cx: &mut Context<'_>) {
        let Self { sender, account, unflushed, broken, .. } = self;
        let mut socket = Pin::new(&mut sender.socket);
        while account.may_send() && socket.as_mut().poll_ready(cx).is_ready() {
            let text = account.next_message();
            if let Err(error) = socket.as_mut().start_send(Message::text(text)) {
                account.tally.error(error.to_string());
                *broken = true;
                break;
            }
            *unflushed = true;
        }
        if *unflushed && let Poll::Ready(flushed) = socket.poll_flush(cx) {
            *unflushed = false;
            if let Err(error) = flushed {
                account.tally.error(error.to_string());
                *broken = true;
            }
        }
    }

    /// Whether the run is over for this pair.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.broken {
            return true;
        }
        let plan = &self.account.plan;
        let (sending, patience) = (plan.epoch + plan.window.end, plan.epoch + plan.patience);
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.timer.deadline() >= patience.into() {
                return true;
            }
            self.timer.as_mut().reset(patience.into());
        }
        Instant::now() >= sending && self.account.ledger.unacknowledged() == 0 && self.account.ledger.missing() == 0
    }

    fn result(&mut self) -> Tally {
        let account = &mut self.account;
        let mut tally = std::mem::take(&mut account.tally);
        tally.sent = account.ledger.sent_count();
        tally.missing = account.ledger.missing();
        tally.unacknowledged = account.ledger.unacknowledged();
        tally.order_violations = self.sender.order.violations + self.receiver.order.violations;
        tally
    }
}

impl Future for Pair {
    type Output = Tally;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Tally> {
        let this = self.get_mut();
        this.broken |= !this.account.read(&mut this.receiver, Role::Receiver, cx);
        this.broken |= !this.account.read(&mut this.sender, Role::Sender, cx);
        this.fill_window(cx);
        if this.is_over(cx) { Poll::Ready(this.result()) } else { Poll::Pending }
    }
}

impl Account {
    fn now(&self) -> Duration {
        self.plan.epoch.elapsed()
    }

    fn may_send(&self) -> bool {
        self.in_flight < self.plan.in_flight && self.now() < self.plan.window.end
    }

    fn next_message(&mut self) -> String {
        let text = self.writer.message(self.ledger.next());
        self.ledger.sent(self.now());
        self.in_flight += 1;
        text
    }

    /// Reads all frames that are there. False if the connection ended.
    fn read(&mut self, end: &mut End, role: Role, cx: &mut Context<'_>) -> bool {
        while let Poll::Ready(next) = Pin::new(&mut end.socket).poll_next(cx) {
            match next {
                Some(Ok(Message::Text(text))) => self.frame(&text, role, &mut end.order),
                Some(Ok(Message::Close(frame))) => {
                    let why = frame.map_or_else(String::new, |frame| format!(" ({} {})", frame.code, frame.reason));
                    self.tally.error(format!("the server closed a connection{why}"));
                    return false;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    self.tally.error(error.to_string());
                    return false;
                }
                None => {
                    self.tally.error("a connection ended");
                    return false;
                }
            }
        }
        true
    }

    fn frame(&mut self, text: &str, role: Role, order: &mut Order) {
        match wire::parse(text) {
            Ok(Frame::Message { conversation_id, seq, client_message_id })
                if conversation_id == self.conversation_id =>
            {
                order.event(seq);
                if role == Role::Receiver {
                    self.delivered(client_message_id);
                }
            }
            Ok(Frame::Event { conversation_id, seq }) if conversation_id == self.conversation_id => order.event(seq),
            Ok(Frame::Acknowledged { client_message_id, stored: true }) => self.acknowledged(client_message_id),
            Ok(Frame::Acknowledged { stored: false, .. }) => {
                self.tally.error("a message was accepted, but was not stored within the server's limit");
            }
            Ok(Frame::Gap { conversation_id, to_seq }) if conversation_id == self.conversation_id => {
                order.skipped_to(to_seq);
                self.tally.error("the server left out events (`gap`)");
            }
            Ok(Frame::Error { client_message_id, problem }) => self.refused(client_message_id, problem),
            Ok(_) => {}
            Err(error) => self.tally.error(format!("{error} in the frame `{text}`")),
        }
    }

    fn delivered(&mut self, client_message_id: &str) {
        let Some(index) = self.writer.index_of(client_message_id) else { return };
        let now = self.now();
        match self.ledger.delivered(index, now) {
            Arrival::First(latency) if self.plan.window.contains(&now) => {
                self.tally.delivered += 1;
                self.tally.delivery.record(latency);
            }
            Arrival::First(_) => {}
            Arrival::Again => self.tally.duplicates += 1,
            Arrival::Unknown => self.tally.error(format!("a message came that nobody sent: {client_message_id}")),
        }
    }

    fn acknowledged(&mut self, client_message_id: &str) {
        let Some(index) = self.writer.index_of(client_message_id) else { return };
        let now = self.now();
        if let Arrival::First(latency) = self.ledger.acknowledged(index, now) {
            self.in_flight = self.in_flight.saturating_sub(1);
            if self.plan.window.contains(&now) {
                self.tally.stored += 1;
                self.tally.acknowledgement.record(latency);
            }
        }
    }

    fn refused(&mut self, client_message_id: Option<&str>, problem: String) {
        self.tally.error(problem);
        let index = client_message_id.and_then(|id| self.writer.index_of(id));
        if index.is_some_and(|index| matches!(self.ledger.refused(index), Arrival::First(_))) {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }
}
