//! Who is there, as all gateways say it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use sealpost_schema::{Presence, PresenceNotice, UserId};
use uuid::Uuid;

#[derive(Default)]
pub struct Table {
    /// What the gateways say of each user who is there; mostly one gateway.
    users: HashMap<UserId, Vec<(Uuid, Presence)>>,
    gateways: HashMap<Uuid, Gateway>,
    /// Users who are seen otherwise than at the last tick.
    changed: HashSet<UserId>,
}

/// Another gateway.
struct Gateway {
    heard: Instant,
    number: u64,
}

impl Table {
    pub fn of(&self, user: UserId) -> Presence {
        let said = self.users.get(&user).into_iter().flatten();
        said.map(|(_, presence)| *presence).max().unwrap_or_default()
    }

    /// What one gateway says of a user.
    pub fn said_by(&self, gateway: Uuid, user: UserId) -> Presence {
        let said = self.users.get(&user).into_iter().flatten();
        said.filter(|(by, _)| *by == gateway).map(|(_, presence)| *presence).next().unwrap_or_default()
    }

    pub fn set(&mut self, gateway: Uuid, user: UserId, presence: Presence) {
        let before = self.of(user);
        let said = self.users.entry(user).or_default();
        said.retain(|(by, _)| *by != gateway);
        if presence != Presence::Offline {
            said.push((gateway, presence));
        }
        if said.is_empty() {
            self.users.remove(&user);
        }
        if self.of(user) != before {
            self.changed.insert(user);
        }
    }

    /// Takes a notice of another gateway in. False: one before it was lost.
    pub fn hear(&mut self, notice: &PresenceNotice, now: Instant) -> bool {
        if notice.gone {
            self.drop_gateway(notice.from);
            return true;
        }
        let known = self.gateways.insert(notice.from, Gateway { heard: now, number: notice.number });
        let follows = known.is_some_and(|gateway| gateway.number + 1 == notice.number);
        if notice.whole {
            self.forget(notice.from);
        }
        for (user, presence) in &notice.users {
            self.set(notice.from, *user, *presence);
        }
        follows || notice.whole
    }

    /// Gateways that were not heard for so long take their users with them.
    pub fn expire(&mut self, now: Instant, after: Duration) {
        let silent = self.gateways.iter().filter(|(_, gateway)| now.duration_since(gateway.heard) > after);
        for gateway in silent.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.drop_gateway(gateway);
        }
    }

    /// All that a gateway says, for telling it again.
    pub fn all_of(&self, gateway: Uuid) -> Vec<(UserId, Presence)> {
        let users = self.users.iter();
        let own = users.filter_map(|(user, said)| {
            said.iter().find(|(by, _)| *by == gateway).map(|(_, presence)| (*user, *presence))
        });
        own.collect()
    }

    pub fn take_changed(&mut self) -> HashSet<UserId> {
        std::mem::take(&mut self.changed)
    }

    fn drop_gateway(&mut self, gateway: Uuid) {
        self.gateways.remove(&gateway);
        self.forget(gateway);
    }

    fn forget(&mut self, gateway: Uuid) {
        for (user, _) in self.all_of(gateway) {
            self.set(gateway, user, Presence::Offline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(from: Uuid, number: u64, users: &[(UserId, Presence)]) -> PresenceNotice {
        PresenceNotice { from, number, whole: false, gone: false, users: users.to_vec() }
    }

    #[test]
    fn the_strongest_word_of_all_gateways_counts() {
        let (here, there, ann) = (Uuid::new_v4(), Uuid::new_v4(), UserId::new());
        let mut table = Table::default();
        table.set(here, ann, Presence::Away);
        assert_eq!(table.take_changed(), HashSet::from([ann]));
        table.hear(&notice(there, 1, &[(ann, Presence::Online)]), Instant::now());
        assert_eq!((table.of(ann), table.said_by(here, ann)), (Presence::Online, Presence::Away));
        table.set(here, ann, Presence::DoNotDisturb);
        assert_eq!(table.of(ann), Presence::DoNotDisturb);
        table.set(here, ann, Presence::Offline);
        assert_eq!(table.of(ann), Presence::Online);
        table.take_changed();
        // Nothing new is no change.
        table.set(there, ann, Presence::Online);
        assert!(table.take_changed().is_empty());
    }

    #[test]
    fn a_lost_notice_is_noticed_and_a_whole_one_mends_it() {
        let (there, ann, bob, now) = (Uuid::new_v4(), UserId::new(), UserId::new(), Instant::now());
        let mut table = Table::default();
        assert!(!table.hear(&notice(there, 7, &[(ann, Presence::Online)]), now), "what was before is not known");
        assert!(table.hear(&notice(there, 8, &[]), now));
        assert!(!table.hear(&notice(there, 10, &[]), now));
        let whole = PresenceNotice { whole: true, ..notice(there, 11, &[(bob, Presence::Online)]) };
        assert!(table.hear(&whole, now));
        assert_eq!((table.of(ann), table.of(bob)), (Presence::Offline, Presence::Online));
    }

    #[test]
    fn a_gateway_that_falls_silent_or_goes_takes_its_users_along() {
        let (there, ann, start) = (Uuid::new_v4(), UserId::new(), Instant::now());
        let second = Duration::from_secs(1);
        let mut table = Table::default();
        table.hear(&notice(there, 1, &[(ann, Presence::Online)]), start);
        table.expire(start + second, second);
        assert_eq!(table.of(ann), Presence::Online);
        table.take_changed();
        table.expire(start + second * 2, second);
        assert_eq!((table.of(ann), table.take_changed()), (Presence::Offline, HashSet::from([ann])));
        table.hear(&notice(there, 2, &[(ann, Presence::Online)]), start);
        table.hear(&PresenceNotice { gone: true, ..notice(there, 3, &[]) }, start);
        assert_eq!(table.of(ann), Presence::Offline);
        assert!(table.users.is_empty() && table.gateways.is_empty());
    }
}
