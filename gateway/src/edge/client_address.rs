//! The address of a client, through proxies that are trusted to name it.
//!
//! Each proxy appends the address that it was reached from. So the list is read from its end: entries of trusted proxies are
//! passed over, and the first other one is the client. What stands before it was written by the client itself and may be a lie.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::Response;
use ipnet::IpNet;
use serde::Deserialize;

/// Entries of a list that are looked at: no chain of real proxies is longer.
const MAX_HOPS: usize = 16;

/// The header in which the trusted proxies name their clients. Only this one is read: a proxy passes the others on as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyHeader {
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// Networks whose word about a client's address is taken. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Arc<[IpNet]>,
    header: ProxyHeader,
}

/// Where a request comes from; handlers take it with [`Caller`](crate::caller::Caller). IPv4 in IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// The other end of the TCP connection; every request of a running gateway has it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl TrustedProxies {
    /// `networks`: such as `10.0.0.0/8`, `::1`, `192.0.2.7`.
    ///
    /// # Errors
    /// The entries that are no networks.
    pub fn parse(networks: &[String], header: ProxyHeader) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let mut parsed = Vec::new();
        for text in networks {
            let text = text.trim();
            match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) => parsed.push(network),
                Err(_) => wrong.push(text.to_owned()),
            }
        }
        if wrong.is_empty() { Ok(Self { networks: parsed.into(), header }) } else { Err(wrong) }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Who a request on a connection from `peer` comes from.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut client = peer.to_canonical();
        if !self.contains(client) {
            return ClientAddress(client);
        }
        let entries = match self.header {
            ProxyHeader::XForwardedFor => list(headers, &HeaderName::from_static("x-forwarded-for")),
            ProxyHeader::Forwarded => list(headers, &header::FORWARDED),
        };
        for entry in entries.iter().rev().take(MAX_HOPS) {
            let named = match self.header {
                ProxyHeader::XForwardedFor => address(entry),
                ProxyHeader::Forwarded => for_parameter(entry),
            };
            // An entry that names nobody (`unknown`, a made-up name): the proxy that wrote it is the nearest that is known.
            let Some(named) = named else { break };
            client = named;
            if !self.contains(client) {
                break;
            }
        }
        ClientAddress(client)
    }
}

/// The entries of all headers of this name, in order. Commas inside quotes do not separate.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let mut entries = Vec::new();
    for value in headers.get_all(name) {
        // What is no text ends the known part: the empty entry names nobody.
        let Ok(text) = value.to_str() else {
            entries.push("");
            continue;
        };
        let mut quoted = false;
        entries.extend(text.split(|character| {
            quoted ^= character == '"';
            character == ',' && !quoted
        }));
    }
    entries
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let address = text.parse::<IpAddr>().ok().or_else(bracketed);
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

/// The address in `for=192.0.2.1;proto=https`.
fn for_parameter(entry: &str) -> Option<IpAddr> {
    entry.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"')).and_then(address)
    })
}

/// Notes on each request who it comes from.
pub async fn note_client_address(State(proxies): State<TrustedProxies>, mut request: Request, next: Next) -> Response {
    if let Some(&Peer(peer)) = request.extensions().get::<Peer>() {
        let client = proxies.client(peer.ip(), request.headers());
        request.extensions_mut().insert(client);
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], header: ProxyHeader, peer: &str, values: &[&str]) -> String {
        let networks: Vec<String> = trusted.iter().map(|&network| network.to_owned()).collect();
        let proxies = TrustedProxies::parse(&networks, header).unwrap();
        let name = match header {
            ProxyHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            ProxyHeader::Forwarded => header::FORWARDED,
        };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, value.parse().unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).0.to_string()
    }

    #[test]
    fn a_header_counts_only_behind_a_trusted_proxy() {
        let through = |peer, values: &[&str]| client(&["10.0.0.0/8", "::1"], ProxyHeader::XForwardedFor, peer, values);
        assert_eq!(through("192.0.2.1", &["1.2.3.4"]), "192.0.2.1");
        assert_eq!(through("10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(through("::1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(through("::ffff:10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(through("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client(&[], ProxyHeader::XForwardedFor, "10.0.0.1", &["1.2.3.4"]), "10.0.0.1");
    }

    #[test]
    fn what_the_client_wrote_itself_is_passed_over() {
        let through = |values: &[&str]| client(&["10.0.0.0/8"], ProxyHeader::XForwardedFor, "10.0.0.1", values);
        assert_eq!(through(&["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(through(&["6.6.6.6", "1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(through(&["6.6.6.6, 10.9.9.9, 1.2.3.4:80, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(through(&["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(through(&["6.6.6.6, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(through(&["6.6.6.6, "]), "10.0.0.1");
        assert_eq!(through(&["6.6.6.6, \"1.2.3.4, 5.5.5.5\""]), "10.0.0.1");
        // Longer than any chain of proxies: nobody's word beyond that.
        assert_eq!(through(&[&format!("6.6.6.6{}", ", 10.0.0.2".repeat(500))]), "10.0.0.2");
    }

    #[test]
    fn only_the_header_of_the_proxy_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
        headers.insert(header::FORWARDED, "for=1.2.3.4".parse().unwrap());
        let proxies = TrustedProxies::parse(&["10.0.0.1".to_owned()], ProxyHeader::Forwarded).unwrap();
        assert_eq!(proxies.client("10.0.0.1".parse().unwrap(), &headers).0.to_string(), "1.2.3.4");
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_has_it() {
        let through = |value| client(&["10.0.0.0/8"], ProxyHeader::Forwarded, "10.0.0.1", &[value]);
        assert_eq!(through("for=192.0.2.43"), "192.0.2.43");
        assert_eq!(through("proto=https; For=\"[2001:db8:cafe::17]:4711\";by=10.0.0.1"), "2001:db8:cafe::17");
        assert_eq!(through("for=6.6.6.6, for=192.0.2.43:80, for=10.0.0.2"), "192.0.2.43");
        for nobody in ["for=unknown", "for=_hidden", "by=1.2.3.4", "", "for="] {
            assert_eq!(through(nobody), "10.0.0.1", "{nobody}");
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        let networks = ["10.0.0.0/8", "proxy.example", "1.2.3.4/33"].map(str::to_owned);
        let wrong = TrustedProxies::parse(&networks, ProxyHeader::XForwardedFor).unwrap_err();
        assert_eq!(wrong, ["proxy.example", "1.2.3.4/33"]);
    }
}
