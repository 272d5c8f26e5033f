//! `sealpost healthcheck`: for images without `curl`.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use url::Url;

use crate::config::{Loaded, Sources};

const LIMIT: Duration = Duration::from_secs(2);

pub(crate) fn run(url: Option<&str>, sources: &Sources) -> anyhow::Result<ExitCode> {
    let gateway = Loaded::load(sources)?.unchecked().gateway;
    let scheme = if gateway.has_tls() { "https" } else { "http" };
    let url = url.map_or_else(|| format!("{scheme}://{}/healthz", reachable(gateway.listen)), str::to_owned);
    let status = ask(&url, &gateway.tls_certificate).with_context(|| format!("{url} does not answer"))?;
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

/// The status of a GET. With TLS, the server has to show the certificate in `certificate`, whatever name is in it.
fn ask(url: &str, certificate: &Path) -> anyhow::Result<u16> {
    let url = Url::parse(url)?;
    if !["http", "https"].contains(&url.scheme()) {
        bail!("only http:// and https:// are spoken here");
    }
    let host = url.host_str().context("the address names no host")?;
    let port = url.port_or_known_default().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = (bare, port).to_socket_addrs()?.next().context("the host has no address")?;
    let stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n", url.path());
    if url.scheme() == "http" {
        return exchange(stream, &request);
    }
    let name = ServerName::try_from(bare.to_owned())?;
    exchange(StreamOwned::new(ClientConnection::new(Arc::new(tls(certificate)?), name)?, stream), &request)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> anyhow::Result<u16> {
    stream.write_all(request.as_bytes())?;
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    let status = std::str::from_utf8(&start).ok().and_then(|start| start.strip_prefix("HTTP/1.1 "));
    status.and_then(|status| status.parse().ok()).context("the answer is not HTTP")
}

fn tls(certificate: &Path) -> anyhow::Result<ClientConfig> {
    let path = certificate.display();
    let text = fs::read(certificate).with_context(|| format!("gateway.tls_certificate: {path} cannot be read"))?;
    let expected = CertificateDer::from_pem_slice(&text).with_context(|| format!("{path} has no certificate"))?;
    let provider = Arc::new(ring::default_provider());
    let verifier = OwnCertificate { expected, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// The server on this machine has the certificate of its configuration; its name is that of the outside, and so not asked.
#[derive(Debug)]
struct OwnCertificate {
    expected: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OwnCertificate {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *shown == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("the server shows another certificate than gateway.tls_certificate has".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
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
        assert_eq!(ask(&url, Path::new("")).unwrap(), 503);
        assert!(server.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
    }

    #[test]
    fn a_server_on_every_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:8080".parse().unwrap()).to_string(), "127.0.0.1:8080");
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(reachable("10.0.0.7:1".parse().unwrap()).to_string(), "10.0.0.7:1");
    }
}
