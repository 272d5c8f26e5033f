//! How many connections are open, in all and from each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections. Cheap to clone.
#[derive(Clone)]
pub struct Places {
    counts: Arc<Mutex<Counts>>,
    most: usize,
    most_of_one: usize,
}

#[derive(Default)]
struct Counts {
    all: usize,
    /// Only those that have a connection.
    of: HashMap<IpAddr, usize>,
}

/// The place of one connection, given back when dropped.
pub struct Place {
    counts: Arc<Mutex<Counts>>,
    address: Option<IpAddr>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    All,
    Address,
}

impl Places {
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self { counts: Arc::default(), most, most_of_one }
    }

    /// `limited`: whether the bound of one address holds for this one. A trusted proxy brings everybody's connections.
    pub fn take(&self, address: IpAddr, limited: bool) -> Result<Place, Full> {
        let address = limited.then(|| network_of(address));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= self.most {
            return Err(Full::All);
        }
        if let Some(address) = address {
            let count = counts.of.entry(address).or_default();
            if *count >= self.most_of_one {
                return Err(Full::Address);
            }
            *count += 1;
        }
        counts.all += 1;
        Ok(Place { counts: Arc::clone(&self.counts), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        let Some(address) = self.address else { return };
        if let Some(count) = counts.of.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.of.remove(&address);
            }
        }
    }
}

/// One customer has a whole /64 of IPv6, so that counts as one address.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_gets_places_back() {
        let places = Places::new(10, 2);
        let first = places.take(ip("192.0.2.1"), true).unwrap();
        let _second = places.take(ip("::ffff:192.0.2.1"), true).unwrap();
        assert_eq!(places.take(ip("192.0.2.1"), true).err(), Some(Full::Address));
        assert!(places.take(ip("192.0.2.2"), true).is_ok());
        drop(first);
        assert!(places.take(ip("192.0.2.1"), true).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let places = Places::new(10, 1);
        let _first = places.take(ip("2001:db8:1:2::1"), true).unwrap();
        assert_eq!(places.take(ip("2001:db8:1:2:ffff::9"), true).err(), Some(Full::Address));
        assert!(places.take(ip("2001:db8:1:3::1"), true).is_ok());
    }

    #[test]
    fn a_proxy_is_bounded_by_the_whole_only() {
        let places = Places::new(3, 1);
        let taken: Vec<_> = (0..3).map(|_| places.take(ip("10.0.0.1"), false).unwrap()).collect();
        assert_eq!(places.take(ip("10.0.0.1"), false).err(), Some(Full::All));
        drop(taken);
        assert!(places.counts.lock().unwrap().of.is_empty());
        assert_eq!(places.counts.lock().unwrap().all, 0);
    }
}
