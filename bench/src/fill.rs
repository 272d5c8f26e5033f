//! Filling conversations with messages, as fast as that goes.

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::population::{self, Account, Population};
use crate::socket::BUSY_BUFFER;
use crate::wire::{self, Frame, Writer};

/// What the server allows without acknowledgement, by default.
const IN_FLIGHT: usize = 64;
const AT_ONCE: usize = 32;

/// Each of these users says so much in their conversation, and all of it is stored.
pub async fn fill(
    population: &Population,
    speakers: impl IntoIterator<Item = (&Account, Uuid)>,
    messages: usize,
    text_bytes: usize,
) -> anyhow::Result<()> {
    stream::iter(speakers)
        .map(|(user, conversation)| speak(population, user, conversation, messages, text_bytes))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn speak(
    population: &Population,
    user: &Account,
    conversation: Uuid,
    messages: usize,
    text_bytes: usize,
) -> anyhow::Result<()> {
    let (mut socket, _) = population.connect(user, BUSY_BUFFER).await?;
    let writer = Writer::new(conversation, &population::mark(), text_bytes);
    let (mut sent, mut stored) = (0, 0);
    while stored < messages {
        while sent < messages && sent - stored < IN_FLIGHT {
            socket.feed(Message::text(writer.message(sent))).await?;
            sent += 1;
        }
        socket.flush().await?;
        let frame = socket.next().await.context("a connection ended")??;
        let Message::Text(text) = frame else { continue };
        match wire::parse(&text)? {
            Frame::Acknowledged { stored: true, .. } => stored += 1,
            Frame::Error { problem, .. } => bail!("{problem}"),
            _ => {}
        }
    }
    Ok(())
}
