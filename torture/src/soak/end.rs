//! What is compared in the end.

use std::collections::BTreeMap;

use sealpost_testing::{Stack, State, eventually};

use super::Room;
use super::client::Client;

/// The last number of each room.
pub async fn heads(rooms: &[Room]) -> BTreeMap<String, u64> {
    let mut heads = BTreeMap::new();
    for room in rooms {
        let shown = room.owner.get(&format!("/api/conversations/{}", room.id)).await.ok(200);
        heads.insert(room.id.clone(), shown["conversation"]["head_seq"].as_u64().unwrap());
    }
    heads
}

/// Messages in the histories, comparisons that were made, and what was not as it should be.
pub async fn compare(stack: &Stack, rooms: &[Room], clients: &[Client]) -> (usize, usize, Vec<String>) {
    let (mut messages, mut compared, mut wrong) = (0, 0, Vec::new());
    for room in rooms {
        let histories = [room.owner.at(stack, 0).state(&room.id).await, room.owner.at(stack, 1).state(&room.id).await];
        messages += histories[0].messages().count();
        for client in clients {
            let Some(state) = client.states.get(&room.id) else { continue };
            for (gateway, history) in histories.iter().enumerate() {
                compared += 1;
                let differences = state.differences(history);
                wrong.extend(
                    differences.into_iter().map(|what| format!("{} at gateway {gateway}: {what}", client.user.id)),
                );
            }
            acknowledged(client, &room.id, &histories[0], &mut wrong);
        }
        receipts(room, clients, &mut wrong).await;
    }
    (messages, compared, wrong)
}

/// What was acknowledged as stored is there, under the number of its ack, and there once: names are unique.
fn acknowledged(client: &Client, room: &str, history: &State, wrong: &mut Vec<String>) {
    let own = history.messages().filter(|(_, shown)| shown.sender_id == client.user.id);
    let found: BTreeMap<_, _> = own.map(|(id, shown)| (id.as_str(), shown.seq)).collect();
    let stored: BTreeMap<_, _> =
        client.stored.iter().filter(|(of, ..)| of == room).map(|(_, id, seq)| (id.as_str(), *seq)).collect();
    if found != stored {
        wrong.push(format!("{} in {room}: acknowledged are {stored:?}, there are {found:?}", client.user.id));
    }
}

/// Everybody's mark is the highest that they said, and nobody was told of a higher one.
async fn receipts(room: &Room, clients: &[Client], wrong: &mut Vec<String>) {
    let said = |client: &Client| client.read.get(&room.id).copied().unwrap_or(0);
    let expected: BTreeMap<_, _> = clients
        .iter()
        .filter(|client| client.states.contains_key(&room.id))
        .map(|client| (client.user.id.as_str(), said(client)))
        .collect();
    eventually("all marks to be stored", async || {
        let all = room.owner.get(&format!("/api/conversations/{}/receipts", room.id)).await.ok(200);
        let mut marks = all["receipts"].as_array()?.iter();
        let marks = marks
            .all(|one| expected.get(one["user_id"].as_str().unwrap_or_default()) == one["read_seq"].as_u64().as_ref());
        marks.then_some(())
    })
    .await;
    for client in clients {
        for ((of, user), told) in client.told.iter().filter(|((of, _), _)| *of == room.id) {
            if expected.get(user.as_str()).is_none_or(|said| told > said) {
                wrong.push(format!("{} was told that {user} had read {told} in {of}", client.user.id));
            }
        }
    }
}
