//! The loop: hears what is stored, finds what is due, takes it, and lets it be delivered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::prelude::Uuid;
use sea_orm::{DatabaseConnection, DbErr};
use sealpost_bus::{Live, LiveItem, LiveSubscription, Subject};
use sealpost_outgoing::{Client, WebhookKeys};
use sealpost_schema::entities::webhook::reason;
use sealpost_schema::{Clock, StoredNotice, WebhookNotice};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::WebhookWorkerConfig;
use super::deliver::{self, Done};
use super::due::{self, Due, PAGE, Which};
use super::outcome::{self, Leased};
use super::pings;
use crate::retry::Backoff;

/// What is told within this time is looked at together.
const GATHER: Duration = Duration::from_millis(20);
/// Conversations of which notices told; beyond it everything is looked at.
const MAX_TOLD: usize = 1000;

/// What the worker is made of.
pub struct Parts {
    pub db: DatabaseConnection,
    pub live: Arc<dyn Live>,
    pub client: Client,
    pub keys: WebhookKeys,
    pub config: WebhookWorkerConfig,
    pub clock: Clock,
}

/// What deliveries share.
pub(super) struct Shared {
    pub db: DatabaseConnection,
    pub client: Client,
    pub keys: WebhookKeys,
    pub config: WebhookWorkerConfig,
    pub clock: Clock,
}

/// Runs until `stop`: then it finishes the requests under way and returns.
pub async fn run(parts: Parts, stop: CancellationToken) {
    let Parts { db, live, client, keys, config, clock } = parts;
    let mut notices = Notices { live, stored: None, changed: None };
    let mut backoff = Backoff::new(Duration::from_millis(config.retry_max_ms));
    let (interval, sweep) = (Duration::from_millis(config.interval_ms), Duration::from_millis(config.sweep_ms));
    let mut worker = Worker {
        shared: Arc::new(Shared { db, client, keys, config, clock }),
        stop: stop.clone(),
        running: JoinSet::new(),
        busy: HashMap::new(),
        told: HashSet::new(),
        everything: true,
        prepared: false,
        has_webhooks: false,
    };
    let (mut tick, mut next_sweep) = (Instant::now(), Instant::now());
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(done) = worker.running.join_next() => {
                worker.finished(done);
                tick = tick.min(Instant::now() + GATHER);
            }
            heard = notices.next() => if worker.hear(heard) {
                tick = tick.min(Instant::now() + GATHER);
            },
            () = tokio::time::sleep_until(tick) => {
                notices.subscribe().await;
                if Instant::now() >= next_sweep {
                    worker.look();
                    next_sweep = Instant::now() + sweep;
                }
                tick = Instant::now() + interval;
                match worker.step().await {
                    Ok(()) => backoff.reset(),
                    Err(error) => {
                        tracing::warn!(%error, "webhooks cannot be looked at now; trying again");
                        if !backoff.wait(&stop).await {
                            break;
                        }
                    }
                }
            }
        }
    }
    // Each has a time-out, and takes no other batch after the stop.
    while worker.running.join_next().await.is_some() {}
}

/// What may be heard.
enum Heard {
    Stored(Vec<Uuid>),
    /// A webhook changed, or something was lost.
    Look,
}

struct Notices {
    live: Arc<dyn Live>,
    stored: Option<LiveSubscription>,
    changed: Option<LiveSubscription>,
}

impl Notices {
    /// Without notices the sweep finds everything, only later.
    async fn subscribe(&mut self) {
        if self.stored.is_none() {
            self.stored = subscribe(&*self.live, StoredNotice::SUBJECT).await;
        }
        if self.changed.is_none() {
            self.changed = subscribe(&*self.live, WebhookNotice::SUBJECT).await;
        }
    }

    /// Cancel-safe.
    async fn next(&mut self) -> Heard {
        let (item, is_stored) = tokio::select! {
            item = receive(&mut self.stored) => (item, true),
            item = receive(&mut self.changed) => (item, false),
        };
        match item {
            Some(LiveItem::Message(message)) if is_stored => {
                let notice = serde_json::from_slice::<StoredNotice>(&message.payload).unwrap_or_default();
                let stored = notice.stored.into_iter().map(|range| range.conversation_id.0);
                Heard::Stored(stored.chain(notice.voided.into_iter().map(|void| void.conversation_id.0)).collect())
            }
            Some(_) => Heard::Look,
            None => {
                if is_stored {
                    self.stored = None;
                } else {
                    self.changed = None;
                }
                Heard::Look
            }
        }
    }
}

async fn receive(subscription: &mut Option<LiveSubscription>) -> Option<LiveItem> {
    match subscription {
        Some(subscription) => subscription.recv().await,
        None => std::future::pending().await,
    }
}

async fn subscribe(live: &dyn Live, subject: &str) -> Option<LiveSubscription> {
    let subscribed = live.subscribe(Subject::pattern(subject).ok()?).await;
    subscribed.inspect_err(|error| tracing::warn!(%error, subject, "notices cannot be heard yet")).ok()
}

struct Worker {
    shared: Arc<Shared>,
    stop: CancellationToken,
    running: JoinSet<Done>,
    /// Requests under way of each webhook. Bounded as those are.
    busy: HashMap<Uuid, usize>,
    told: HashSet<Uuid>,
    /// The next look is at everything.
    everything: bool,
    /// What comes before a look at everything was done. That may take several looks, if more is due than can be taken.
    prepared: bool,
    /// As the last look at everything found it: without any, notices need no look.
    has_webhooks: bool,
}

impl Worker {
    /// Whether there is something to look at.
    fn hear(&mut self, heard: Heard) -> bool {
        match heard {
            Heard::Look => self.look(),
            Heard::Stored(_) if !self.has_webhooks => return false,
            Heard::Stored(ids) => self.tell(ids),
        }
        true
    }

    fn look(&mut self) {
        (self.everything, self.prepared) = (true, false);
    }

    fn tell(&mut self, conversations: Vec<Uuid>) {
        self.told.extend(conversations);
        if self.told.len() > MAX_TOLD {
            self.told.clear();
            self.look();
        }
    }

    fn finished(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(done) => {
                if let Some(busy) = self.busy.get_mut(&done.webhook) {
                    *busy -= 1;
                    if *busy == 0 {
                        self.busy.remove(&done.webhook);
                    }
                }
                self.everything |= done.is_back;
                // Something may have been stored after the last look and before the lease was given back.
                if !done.conversation.is_nil() {
                    self.tell(vec![done.conversation]);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a delivery ended by itself; its lease will end, and it will be made again");
                // Of which webhook is not known: as long as some run, too few are started.
                if self.running.is_empty() {
                    self.busy.clear();
                }
            }
        }
    }

    async fn step(&mut self) -> Result<(), DbErr> {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now();
        if self.everything && !self.prepared {
            self.prepare().await?;
            self.prepared = true;
        }
        for (test, webhook) in pings::take(&shared.db, now, now.plus(shared.config.lease())).await? {
            let shared = Arc::clone(&shared);
            *self.busy.entry(webhook.id).or_default() += 1;
            self.running.spawn(async move { pings::run(&shared, test, &webhook).await });
        }
        if !self.has_webhooks {
            self.everything = false;
            self.told.clear();
            return Ok(());
        }
        if self.everything {
            if self.start(Which::All).await? {
                (self.everything, self.told) = (false, HashSet::new());
            }
            return Ok(());
        }
        if !self.told.is_empty() {
            let told: Vec<Uuid> = self.told.iter().copied().collect();
            due::begin(&shared.db, Some(told.clone())).await?;
            if self.start(Which::Told(told)).await? {
                self.told.clear();
            }
        }
        self.start(Which::Retries).await.map(|_| ())
    }

    /// What comes before a look at everything.
    async fn prepare(&mut self) -> Result<(), DbErr> {
        let (db, now) = (&self.shared.db, self.shared.clock.now());
        pings::forget(db, now).await?;
        self.has_webhooks = due::any(db).await?;
        if !self.has_webhooks {
            return Ok(());
        }
        let orphans = due::orphans(db).await?;
        if !orphans.is_empty() {
            outcome::disable(db, orphans, reason::NOT_ALLOWED, now).await?;
        }
        due::begin(db, None).await?;
        if let Some(waiting) = due::waiting(db).await? {
            let age = waiting.oldest.map_or(0, |oldest| now.millis().saturating_sub(oldest).max(0));
            #[expect(clippy::cast_precision_loss, reason = "counts and milliseconds are far below 2^52")]
            {
                metrics::gauge!("sealpost_webhook_waiting_conversations").set(waiting.conversations as f64);
                metrics::gauge!("sealpost_webhook_lag_seconds").set(age as f64 / 1000.0);
            }
        }
        Ok(())
    }

    /// Takes what is due and lets it go. `false`: there may be more than could be taken now.
    async fn start(&mut self, which: Which) -> Result<bool, DbErr> {
        let shared = Arc::clone(&self.shared);
        let room = shared.config.concurrency.saturating_sub(self.running.len());
        if room == 0 {
            return Ok(false);
        }
        let now = shared.clock.now();
        let until = now.plus(shared.config.lease());
        let found = due::find(&shared.db, which, now).await?;
        let full = found.len() as u64 == PAGE;
        let (wanted, left_over) = self.choose(found, room);
        let away: Vec<Uuid> = wanted.iter().filter(|due| due.away > 0).map(|due| due.webhook_id).collect();
        let mine: HashSet<Uuid> = due::take_away(&shared.db, away, now, until).await?.into_iter().collect();
        let wanted: Vec<Due> =
            wanted.into_iter().filter(|due| due.away == 0 || mine.contains(&due.webhook_id)).collect();
        let lease = Uuid::now_v7();
        for (webhook, conversation) in due::lease(&shared.db, &wanted, lease, now, until).await? {
            let leased = Leased { webhook, conversation, lease, is_probe: mine.contains(&webhook) };
            let (shared, stop) = (Arc::clone(&shared), self.stop.clone());
            *self.busy.entry(webhook).or_default() += 1;
            self.running.spawn(async move { deliver::run(&shared, leased, &stop).await });
        }
        Ok(!full && !left_over)
    }

    /// As many as there is room for, in all and for each webhook; one, where the receiver was away. And whether some were left over that could
    /// go as soon as others have gone.
    fn choose(&self, found: Vec<Due>, room: usize) -> (Vec<Due>, bool) {
        let mut chosen: HashMap<Uuid, usize> = HashMap::new();
        let (mut wanted, mut left_over) = (Vec::new(), false);
        for due in found {
            let busy = self.busy.get(&due.webhook_id).copied().unwrap_or(0);
            let chosen = chosen.entry(due.webhook_id).or_default();
            let most = if due.away > 0 { 1 } else { self.shared.config.concurrency_per_webhook };
            if wanted.len() < room && busy + *chosen < most {
                *chosen += 1;
                wanted.push(due);
            } else {
                left_over |= due.away == 0;
            }
        }
        (wanted, left_over)
    }
}
