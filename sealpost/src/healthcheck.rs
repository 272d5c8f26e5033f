//! `sealpost healthcheck`: for images without `curl`.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use url::Url;

use crate::config::{Loaded, Sources};

const LIMIT: Duration = Duration::from_secs(2);

pub(crate) fn run(url: Option<&str>, sources: &Sources) -> anyhow::Result<ExitCode> {
    let url = if let Some(url) = url {
        url.to_owned()
    } else {
        let listen = Loaded::load(sources)?.unchecked().gateway.listen;
        format!("http://{}/healthz", reachable(listen))
    };
    let status = ask(&url).with_context(|| format!("{url} does not answer"))?;
    if status == 200 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("sealpost: {url} answers with status {status}");
    Ok(ExitCode::FAILURE)
}

/// Where a server that listens on every address is found on this machine.
pub(crate) fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}

/// The status of a GET.
fn ask(url: &str) -> anyhow::Result<u16> {
    let url = Url::parse(url)?;
    if url.scheme() != "http" {
        bail!("only http:// is spoken here");
    }
    let host = url.host_str().context("the address names no host")?;
    let port = url.port_or_known_default().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = (bare, port).to_socket_addrs()?.next().context("the host has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n", url.path());
    stream.write_all(request.as_bytes())?;
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    let status = std::str::from_utf8(&start).ok().and_then(|start| start.strip_prefix("HTTP/1.1 "));
    status.and_then(|status| status.parse().ok()).context("the answer is not HTTP")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_status_of_the_answer_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        assert_eq!(ask(&url).unwrap(), 503);
        assert!(server.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
    }

    #[test]
    fn a_server_on_every_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:8080".parse().unwrap()).to_string(), "127.0.0.1:8080");
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(reachable("10.0.0.7:1".parse().unwrap()).to_string(), "10.0.0.7:1");
    }
}
