//! One feed for each channel that is being read without an account in this process.
//!
//! A feed is one more connection in the channel's room: it gets the frames that everybody gets, opened and written once, makes the public
//! frame of each once, and hands it to all its readers. So readers cost the room nothing, however many they are. A feed goes with its last
//! reader.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use axum::extract::ws::Utf8Bytes;
use sealpost_schema::entities::user;
use sealpost_schema::{CloseCode, ConversationId, PublicServerFrame, ServerFrame, SessionId, UserId};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::edge::Places;
use crate::live::{Connection, follow_from_now};
use crate::state::App;

/// Frames that wait for the slowest reader of a feed; who is further behind is closed.
const FRAMES: usize = 256;
/// Display names kept by one feed.
const MAX_NAMES: usize = 1000;

/// All feeds of this process, and the places for readers.
pub struct PublicFeeds {
    pub places: Places,
    feeds: Mutex<HashMap<ConversationId, Weak<Feed>>>,
}

/// Held by its readers.
pub struct Feed {
    frames: broadcast::WeakSender<Utf8Bytes>,
    ended: Arc<OnceLock<CloseCode>>,
    _stop: DropGuard,
}

impl Feed {
    /// `None`: it has ended.
    pub fn read(&self) -> Option<broadcast::Receiver<Utf8Bytes>> {
        self.frames.upgrade().map(|frames| frames.subscribe())
    }

    /// Why it ended.
    pub fn end(&self) -> CloseCode {
        self.ended.get().copied().unwrap_or(CloseCode::TryAgainLater)
    }
}

impl PublicFeeds {
    pub fn new(readers: usize, readers_per_address: usize) -> Self {
        Self { places: Places::new(readers, readers_per_address), feeds: Mutex::default() }
    }

    /// The feed of a channel, which the caller has found to be open.
    pub async fn open(&self, app: &App, id: ConversationId) -> Result<Arc<Feed>, CloseCode> {
        let running = self.lock().get(&id).and_then(Weak::upgrade);
        if let Some(feed) = running.filter(|feed| feed.frames.upgrade().is_some()) {
            return Ok(feed);
        }
        let (frames, queue) = mpsc::channel(app.config.send_queue_frames);
        // Nobody: no event is about this user, and no notice is for it.
        let (user, session) = (UserId(Uuid::nil()), SessionId(Uuid::nil()));
        let connection = Arc::new(Connection::new(user, session, None, frames, app.config.send_queue_bytes, 1));
        follow_from_now(app, &connection, id).await?;
        let (sender, _) = broadcast::channel(FRAMES);
        let stop = CancellationToken::new();
        let ended = Arc::new(OnceLock::new());
        let feed =
            Arc::new(Feed { frames: sender.downgrade(), ended: Arc::clone(&ended), _stop: stop.clone().drop_guard() });
        {
            let mut feeds = self.lock();
            feeds.retain(|_, feed| feed.strong_count() > 0);
            feeds.insert(id, Arc::downgrade(&feed));
        }
        let app = app.clone();
        app.tasks.clone().spawn(async move {
            let mut task = Task { app, connection, queue, sender, names: HashMap::new() };
            let code = task.run(stop).await;
            // Before the sender goes, which the readers notice.
            let _ = ended.set(code);
            task.app.hub.leave(&task.connection);
        });
        Ok(feed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ConversationId, Weak<Feed>>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Task {
    app: App,
    connection: Arc<Connection>,
    queue: mpsc::Receiver<Utf8Bytes>,
    sender: broadcast::Sender<Utf8Bytes>,
    names: HashMap<UserId, String>,
}

enum Step {
    Frame(PublicServerFrame),
    Nothing,
    End,
}

impl Task {
    async fn run(&mut self, stop: CancellationToken) -> CloseCode {
        loop {
            if let Some(code) = self.connection.closing() {
                return code;
            }
            tokio::select! {
                () = stop.cancelled() => return CloseCode::GoingAway,
                () = self.app.stop.cancelled() => return CloseCode::GoingAway,
                () = self.connection.wake.notified() => {}
                frame = self.queue.recv() => {
                    let Some(frame) = frame else { return CloseCode::TryAgainLater };
                    self.connection.written(frame.len());
                    match self.step(&frame).await {
                        Step::Frame(frame) => {
                            // Without readers there is nobody to tell.
                            let _ = self.sender.send(Utf8Bytes::from(serde_json::to_string(&frame).unwrap_or_default()));
                        }
                        Step::Nothing => {}
                        Step::End => return CloseCode::NotOpen,
                    }
                }
            }
        }
    }

    async fn step(&mut self, frame: &str) -> Step {
        match serde_json::from_str(frame) {
            Ok(ServerFrame::Message {
                conversation_id,
                seq,
                message_id,
                sender_id,
                created_at,
                text,
                expires_at,
                ..
            }) => Step::Frame(PublicServerFrame::ChannelMessage {
                channel_id: conversation_id,
                seq,
                message_id,
                sender_name: self.name_of(sender_id).await,
                created_at,
                text,
                expires_at,
            }),
            Ok(ServerFrame::MessageDeleted { conversation_id, seq, message_id, .. }) => {
                Step::Frame(PublicServerFrame::ChannelMessageDeleted { channel_id: conversation_id, seq, message_id })
            }
            Ok(ServerFrame::SettingsChanged { public: Some(public), .. }) if !public.open_reading => Step::End,
            Ok(ServerFrame::ConversationDeleted { .. }) => Step::End,
            _ => Step::Nothing,
        }
    }

    /// Asked once for each sender; if the store is away the message goes out without a name.
    async fn name_of(&mut self, sender: UserId) -> Option<String> {
        if let Some(name) = self.names.get(&sender) {
            return Some(name.clone());
        }
        let row =
            <user::Entity as sea_orm::EntityTrait>::find_by_id(sender.0).one(&self.app.db).await.ok().flatten()?;
        if self.names.len() >= MAX_NAMES {
            self.names.clear();
        }
        self.names.insert(sender, row.display_name.clone());
        Some(row.display_name)
    }
}
