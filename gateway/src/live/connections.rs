//! All connections of this process, by user and by session.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use sealpost_schema::{CloseCode, SessionId, Timestamp, UserId};

use super::Connection;

#[derive(Default)]
struct Maps {
    total: usize,
    users: HashMap<UserId, Vec<Arc<Connection>>>,
}

/// The registry. Bounded in all and per user.
pub struct Connections {
    maps: Mutex<Maps>,
    max: usize,
    max_per_user: usize,
}

impl Connections {
    pub fn new(max: usize, max_per_user: usize) -> Self {
        Self { maps: Mutex::default(), max, max_per_user }
    }

    /// False: there are too many.
    pub fn add(&self, connection: &Arc<Connection>) -> bool {
        let mut maps = self.lock();
        if maps.total >= self.max {
            return false;
        }
        let of_user = maps.users.entry(connection.user_id).or_default();
        if of_user.len() >= self.max_per_user {
            return false;
        }
        of_user.push(Arc::clone(connection));
        maps.total += 1;
        metrics::gauge!("sealpost_websocket_connections").set(f64::from(u32::try_from(maps.total).unwrap_or(u32::MAX)));
        true
    }

    pub fn remove(&self, connection: &Arc<Connection>) {
        let mut maps = self.lock();
        let Some(of_user) = maps.users.get_mut(&connection.user_id) else { return };
        let before = of_user.len();
        of_user.retain(|other| !Arc::ptr_eq(other, connection));
        let removed = before - of_user.len();
        if of_user.is_empty() {
            maps.users.remove(&connection.user_id);
        }
        maps.total -= removed;
        metrics::gauge!("sealpost_websocket_connections").set(f64::from(u32::try_from(maps.total).unwrap_or(u32::MAX)));
    }

    pub fn of_user(&self, user: UserId) -> Vec<Arc<Connection>> {
        self.lock().users.get(&user).cloned().unwrap_or_default()
    }

    pub fn all(&self) -> Vec<Arc<Connection>> {
        self.lock().users.values().flatten().cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.lock().total
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes the connections of sessions that ended. Sessions end rarely, so this looks at all.
    pub fn close_sessions(&self, sessions: &HashSet<SessionId>) {
        if sessions.is_empty() {
            return;
        }
        for connection in self.lock().users.values().flatten() {
            if !sessions.contains(&connection.session_id) {
                continue;
            }
            connection.close(CloseCode::Unauthenticated);
        }
    }

    /// Closes the connections of API tokens that changed after they were opened.
    pub fn close_tokens(&self, changed: &HashMap<SessionId, Timestamp>) {
        if changed.is_empty() {
            return;
        }
        for connection in self.lock().users.values().flatten() {
            let Some(grant) = &connection.grant else { continue };
            if changed.get(&grant.token_id).is_some_and(|at| *at > grant.changed_at) {
                connection.close(CloseCode::Unauthenticated);
            }
        }
    }

    pub fn close_all(&self, code: CloseCode) {
        for connection in self.lock().users.values().flatten() {
            connection.close(code);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
