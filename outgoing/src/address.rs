//! Which addresses may be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 networks that are not for everybody (RFC 6890 and its registry), with those for documentation, multicast and broadcast.
const CLOSED_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::BROADCAST, 32),
];

/// Of IPv6 only this is for everybody; loopback, link-local, unique local and multicast addresses lie outside.
const OPEN_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What lies inside and is closed all the same: protocol assignments with Teredo, documentation, 6to4.
const CLOSED_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// What may be connected to: addresses that are for everybody, and networks that the operator allows.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    allowed: Vec<IpNet>,
}

impl Networks {
    pub fn allowing(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether this address may be connected to.
    pub fn permit(&self, address: IpAddr) -> bool {
        // `::ffff:127.0.0.1` is another way to write `127.0.0.1`.
        let address = address.to_canonical();
        self.allowed.iter().any(|network| network.contains(&address)) || is_open(address)
    }
}

fn is_open(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_open_v4(address),
        IpAddr::V6(address) => is_open_v6(address),
    }
}

fn is_open_v4(address: Ipv4Addr) -> bool {
    !CLOSED_V4
        .iter()
        .any(|(network, length)| Ipv4Net::new(*network, *length).is_ok_and(|network| network.contains(&address)))
}

fn is_open_v6(address: Ipv6Addr) -> bool {
    // A network without IPv4 reaches it through these addresses: what counts is the one inside.
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return is_open_v4(Ipv4Addr::new(a, b, c, d));
    }
    let is_in = |(network, length): &(Ipv6Addr, u8)| {
        Ipv6Net::new(*network, *length).is_ok_and(|network| network.contains(&address))
    };
    is_in(&OPEN_V6) && !CLOSED_V6.iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: [&str; 47] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.254",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        // IPv4 in IPv6: mapped, compatible, translated (RFC 6052, RFC 8215), 6to4, Teredo, ISATAP in a unique local network.
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::10.1.2.3",
        "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::1",
        "2002:a00:1::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "fd00::5efe:10.0.0.1",
        "fc00::1",
        "fd12:3456:789a::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "2001:db8::1",
        "2001:2::1",
        "3fff::1",
    ];

    const OPEN: [&str; 12] = [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "2606:4700:4700::1111",
        "2a00:1450:4001:800::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ];

    fn addresses<'a>(texts: &'a [&'a str]) -> impl Iterator<Item = IpAddr> + 'a {
        texts.iter().map(|text| text.parse().unwrap_or_else(|_| panic!("{text}")))
    }

    #[test]
    fn attack_25_addresses_that_are_not_for_everybody_are_closed() {
        let networks = Networks::default();
        for address in addresses(&CLOSED) {
            assert!(!networks.permit(address), "{address}");
        }
        for address in addresses(&OPEN) {
            assert!(networks.permit(address), "{address}");
        }
    }

    #[test]
    fn networks_that_the_operator_allows_are_open_and_nothing_beside_them() {
        let networks = Networks::allowing(vec!["127.0.0.1/32".parse().unwrap(), "fd00:1::/64".parse().unwrap()]);
        for address in addresses(&["127.0.0.1", "::ffff:127.0.0.1", "fd00:1::9", "8.8.8.8"]) {
            assert!(networks.permit(address), "{address}");
        }
        // Neither its neighbours nor what would have to be translated by somebody else.
        for address in addresses(&["127.0.0.2", "::ffff:127.0.0.2", "fd00:2::9", "64:ff9b::7f00:1", "::1"]) {
            assert!(!networks.permit(address), "{address}");
        }
    }
}
