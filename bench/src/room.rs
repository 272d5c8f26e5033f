//! One sender into a room with many members: how many frames are pushed in a second, and how long a message takes to reach
//! all of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::histogram::{Histogram, LatencyMs};
use crate::ledger::Order;
use crate::population::{self, Account, Population};
use crate::report::{float, per, print, table};
use crate::socket::{BUSY_BUFFER, Socket};
use crate::wire::{self, Frame, Writer};

const CONNECTS_AT_ONCE: usize = 16;
/// For what is still on its way at the end.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Args, Clone, Copy, Debug)]
pub struct RoomLoad {
    /// Connected members beside the sender
    #[arg(long, default_value_t = 1000)]
    pub members: usize,
    /// Messages under way to somebody at once, for the most that can be pushed
    #[arg(long, default_value_t = 32)]
    pub in_flight: usize,
    /// Messages in a second, for the time that one takes
    #[arg(long, default_value_t = 20)]
    pub rate: u32,
    /// Seconds of each of the two
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Length of each message's text
    #[arg(long, default_value_t = 200)]
    pub text_bytes: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct RoomReport {
    pub members: usize,
    /// With `in_flight` messages under way at once.
    pub pushed_per_second: f64,
    pub rate: u32,
    /// At `rate` messages a second: from sending to the last of the members.
    pub to_all: LatencyMs,
    /// Frames that did not come, came twice or out of order.
    pub faults: u64,
}

impl RoomReport {
    pub fn print(&self) {
        print(&format!("\nroom: {} members, one sender", self.members));
        let rate = format!("at {}/s, to all: p50 ms", self.rate);
        print(&table(&[
            vec!["pushed frames/s".to_owned(), rate, "p99 ms".to_owned(), "faults".to_owned()],
            vec![
                format!("{:.0}", self.pushed_per_second),
                format!("{:.2}", self.to_all.p50),
                format!("{:.2}", self.to_all.p99),
                self.faults.to_string(),
            ],
        ]));
    }
}

/// What all members have got of one run.
struct Board {
    members: u64,
    epoch: Instant,
    state: Mutex<State>,
    /// Rings when a message has reached all, or a connection ended.
    rings: Notify,
}

#[derive(Default)]
struct State {
    /// By index: when it was sent, how many have it, and when the last of them got it.
    messages: Vec<(Duration, u64, Duration)>,
    pushed: u64,
    complete: usize,
    faults: u64,
    broken: Option<String>,
}

impl Board {
    fn new(members: u64) -> Arc<Self> {
        Arc::new(Self { members, epoch: Instant::now(), state: Mutex::default(), rings: Notify::new() })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> usize {
        let mut state = self.state();
        state.messages.push((self.epoch.elapsed(), 0, Duration::ZERO));
        state.messages.len() - 1
    }

    fn arrived(&self, index: usize) {
        let mut state = self.state();
        state.pushed += 1;
        let Some(message) = state.messages.get_mut(index) else { return };
        message.1 += 1;
        if message.1 == self.members {
            message.2 = self.epoch.elapsed();
            state.complete += 1;
            drop(state);
            self.rings.notify_one();
        }
    }

    fn break_off(&self, why: String) {
        self.state().broken.get_or_insert(why);
        self.rings.notify_one();
    }

    /// Waits until at most `count` messages are under way.
    async fn until_under_way(&self, count: usize) -> anyhow::Result<()> {
        loop {
            let rung = self.rings.notified();
            {
                let state = self.state();
                if let Some(why) = &state.broken {
                    bail!("{why}");
                }
                if state.messages.len() - state.complete <= count {
                    return Ok(());
                }
            }
            rung.await;
        }
    }
}

pub async fn run(population: &mut Population, load: RoomLoad) -> anyhow::Result<RoomReport> {
    ensure!(load.members > 0 && load.in_flight > 0 && load.rate > 0, "members, messages and rate must be 1 or more");
    population.grow_to(load.members + 1).await?;
    let users = population.first(load.members + 1);
    let room = population.group(users).await?;
    let pushed_per_second;
    let mut faults = 0;
    {
        let (board, mut sender, members) = open(population, users, room, load).await?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(load.seconds) {
            board.until_under_way(load.in_flight - 1).await?;
            sender.send(&board).await?;
        }
        pushed_per_second = per(float(board.state().pushed), start.elapsed().as_secs_f64());
        faults += finish(&board, members).await?;
    }
    let (board, mut sender, members) = open(population, users, room, load).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / load.rate);
    for _ in 0..u64::from(load.rate) * load.seconds {
        ticks.tick().await;
        sender.send(&board).await?;
    }
    faults += finish(&board, members).await?;
    let mut to_all = Histogram::default();
    for (sent, _, last) in &board.state().messages {
        to_all.record(last.saturating_sub(*sent));
    }
    Ok(RoomReport { members: load.members, pushed_per_second, rate: load.rate, to_all: to_all.summary(), faults })
}

/// Waits for what is under way, and counts what went wrong.
async fn finish(board: &Board, mut members: JoinSet<u64>) -> anyhow::Result<u64> {
    let arrived = tokio::time::timeout(PATIENCE, board.until_under_way(0)).await;
    members.abort_all();
    while members.join_next().await.is_some() {}
    if let Ok(result) = arrived {
        result?;
    }
    let state = board.state();
    let missing: u64 = state.messages.iter().map(|message| board.members.saturating_sub(message.1)).sum();
    Ok(state.faults + missing)
}

/// The sender's connection; somebody else reads its acknowledgements.
struct Sender {
    sink: futures_util::stream::SplitSink<Socket, Message>,
    writer: Arc<Writer>,
}

impl Sender {
    async fn send(&mut self, board: &Board) -> anyhow::Result<()> {
        let text = self.writer.message(board.sent());
        self.sink.send(Message::text(text)).await.context("the sender's connection ended")
    }
}

async fn open(
    population: &Population,
    users: &[Account],
    room: Uuid,
    load: RoomLoad,
) -> anyhow::Result<(Arc<Board>, Sender, JoinSet<u64>)> {
    let sockets: Vec<_> = stream::iter(&users[1..])
        .map(|user| population.connect(user, BUSY_BUFFER))
        .buffered(CONNECTS_AT_ONCE)
        .try_collect()
        .await?;
    let board = Board::new(sockets.len() as u64);
    let writer = Arc::new(Writer::new(room, &population::mark(), load.text_bytes));
    let mut members = JoinSet::new();
    for (socket, ready) in sockets {
        let head = ready.conversations.iter().find(|head| head.conversation_id == room).map(|head| head.head_seq);
        members.spawn(listen(socket, Order::from_head(head), Arc::clone(&writer), Arc::clone(&board)));
    }
    let (sink, mut acknowledgements) = population.connect(&users[0], BUSY_BUFFER).await?.0.split();
    let heard = Arc::clone(&board);
    members.spawn(async move {
        while let Some(Ok(frame)) = acknowledgements.next().await {
            if let Message::Text(text) = frame
                && let Ok(Frame::Error { problem, .. }) = wire::parse(&text)
            {
                heard.break_off(problem);
            }
        }
        heard.break_off("the sender's connection ended".to_owned());
        0
    });
    Ok((board, Sender { sink, writer }, members))
}

async fn listen(mut socket: Socket, mut order: Order, writer: Arc<Writer>, board: Arc<Board>) -> u64 {
    let mut violations = 0;
    while let Some(Ok(frame)) = socket.next().await {
        let Message::Text(text) = frame else { continue };
        match wire::parse(&text) {
            Ok(Frame::Message { seq, client_message_id, .. }) => {
                order.event(seq);
                if let Some(index) = writer.index_of(client_message_id) {
                    board.arrived(index);
                }
            }
            Ok(Frame::Event { seq, .. }) => order.event(seq),
            _ => {}
        }
        if order.violations > violations {
            violations = order.violations;
            board.state().faults += 1;
        }
    }
    board.break_off("a member's connection ended".to_owned());
    order.violations
}
