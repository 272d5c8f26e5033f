//! The outermost layer: TLS, what browsers are told, and connections that only cost.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use sealpost_testing::{
    Connect, Form, Incoming, Process, Settings, Stack, User, eventually, free_port, program, within,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

const EVERYWHERE: [(&str, &str); 6] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

pub async fn browsers_are_told_what_they_may_do(stack: &Stack) {
    let http = reqwest::Client::new();
    for path in ["/healthz", "/api/auth/me", "/api/nothing", "/docs/", "/openapi.json"] {
        let answer = http.get(format!("{}{path}", stack.url(0))).send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap());
        for (name, value) in EVERYWHERE {
            assert_eq!(header(name), value, "{name} of {path}");
        }
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(policy.contains("script-src"), path == "/docs/", "{path}: {policy}");
        assert_eq!(header("strict-transport-security"), "", "without TLS nothing is said about it");
        assert_eq!(header("access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn only_pages_of_the_list_may_read_answers() {
    let settings = Settings::default()
        .set("SEALPOST__GATEWAY__ALLOWED_ORIGINS", "https://chat.example.org")
        .set("SEALPOST__GATEWAY__PUBLIC_URL", "https://api.example.org");
    let stack = Stack::start(Form::Embedded, settings).await;
    let http = reqwest::Client::new();
    let me = format!("{}/api/auth/me", stack.url(0));
    for (origin, allowed) in [
        ("https://chat.example.org", true),
        ("http://chat.example.org", false),
        ("https://chat.example.org.evil.example", false),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let preflight = http.request(reqwest::Method::OPTIONS, &me).header("origin", origin);
        let preflight = preflight.header("access-control-request-method", "PATCH");
        let preflight = preflight.header("access-control-request-headers", "authorization,content-type");
        for request in [preflight, http.get(&me).header("origin", origin)] {
            let answer = request.send().await.unwrap();
            let told = answer.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
            assert_eq!(told, allowed.then_some(origin), "{origin}");
            assert!(answer.headers().get_all("vary").iter().any(|vary| vary.to_str().unwrap().contains("origin")));
            assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
        }
    }
}

#[tokio::test]
async fn the_address_of_a_client_is_what_a_trusted_proxy_says() {
    for (trusted, seen) in [("", "127.0.0.1"), ("127.0.0.0/8", "192.0.2.7")] {
        let settings = Settings::default().set("SEALPOST__GATEWAY__TRUSTED_PROXIES", trusted);
        let stack = Stack::start(Form::Embedded, settings).await;
        let ann = User::sign_up(&stack, 0, "ann").await;
        let credentials = serde_json::json!({ "username": ann.username, "password": ann.password });
        let request = reqwest::Client::new().post(format!("{}/api/auth/signin", stack.url(0)));
        let request = request.header("x-forwarded-for", "6.6.6.6, 192.0.2.7").header("forwarded", "for=6.6.6.6");
        let request = request.header("content-type", "application/json").body(credentials.to_string());
        assert_eq!(request.send().await.unwrap().status(), 200);
        let sessions = ann.get("/api/auth/sessions").await.ok(200);
        let addresses: Vec<_> = sessions["sessions"].as_array().unwrap().iter().map(|one| &one["address"]).collect();
        assert!(addresses.iter().any(|&address| address == seen), "{sessions}");
        assert!(!sessions.to_string().contains("6.6.6.6"), "{sessions}");
    }
}

/// RELIABILITY.md 3.6, number 13: slow headers of requests and upgrades, and connections of one address that do nothing.
#[tokio::test]
async fn attack_13_slow_headers_and_idle_connections_are_bounded() {
    const MOST: usize = 30;
    let settings = Settings::default()
        .set("SEALPOST__GATEWAY__HEADER_TIMEOUT_SECONDS", 2)
        .set("SEALPOST__GATEWAY__MAX_CONNECTIONS_PER_ADDRESS", MOST);
    let stack = Stack::start(Form::Embedded, settings).await;
    let address: SocketAddr = stack.url(0).trim_start_matches("http://").parse().unwrap();
    // A neighbour at another address, who must not notice.
    let ann = User::sign_up(&stack, 0, "ann").await;
    let from = async |host: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{host}:0").parse().unwrap()).unwrap();
        socket.connect(address).await.unwrap()
    };
    let starts: [&[u8]; 3] =
        [b"", b"GET /api/auth/me HTTP/1.1\r\nhost: x\r\nx-a: 1\r\n", b"GET /ws HTTP/1.1\r\nupgrade: websocket\r\n"];
    let mut slow = Vec::new();
    for number in 0..2_000 {
        let mut stream = from("127.0.0.2").await;
        // Beyond the limit the other end may have gone already.
        let _ = stream.write_all(starts[number % starts.len()]).await;
        slow.push(stream);
    }
    assert!(stack.process("serve-1").log_text().contains("gateway.max_connections_per_address"));
    assert_eq!(ann.get("/api/auth/me").await.status, 200);
    // All of them end by themselves, however they go on.
    for stream in &mut slow {
        let mut rest = Vec::new();
        let _ = within("a slow connection's end", stream.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&rest));
    }
    // And then the address has its places back.
    let mut stream = from("127.0.0.2").await;
    assert_eq!(get(&mut stream, "/healthz").await, 200);
}

/// RELIABILITY.md 3.6, number 13: slow first frames, and 2,000 idle WebSockets of one user.
async fn attack_13_slow_first_frames_and_idle_sockets_of_one_user_are_bounded(form: Form) {
    const MOST: usize = 20;
    let settings = Settings::default()
        .set("SEALPOST__GATEWAY__AUTHENTICATE_SECONDS", 2)
        .set("SEALPOST__GATEWAY__MAX_CONNECTIONS_PER_USER", MOST)
        .set("SEALPOST__GATEWAY__MAX_CONNECTIONS_PER_ADDRESS", 10_000);
    let stack = Stack::start(form, settings).await;
    let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 0, "bob").await);
    let dm = ann.dm(&bob).await;
    let mut to_bob = bob.socket().await;

    // Upgraded, and then: nothing, half a head of a frame, a frame that never ends, and one that gets longer byte by byte.
    let starts: [&[u8]; 4] = [b"", b"\x81", b"\x81\xfe\x10\x00mask{\"type\"", b"\x01\x82mask{}"];
    let mut slow = Vec::new();
    for number in 0..400 {
        let mut socket = Connect::to(&stack.url(0)).open().await.unwrap();
        socket.tcp().write_all(starts[number % starts.len()]).await.unwrap();
        slow.push(socket);
    }
    to_bob.ping().await;
    // Each byte alone keeps nothing alive.
    let ends = slow.into_iter().map(async |mut socket| {
        let mut some = [0; 512];
        while socket.tcp().write_all(b"x").await.is_ok() && !matches!(socket.tcp().try_read(&mut some), Ok(0)) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    within("the end of those who do not say who they are", futures_util::future::join_all(ends)).await;

    // As many as a user may have stay; each further one hears why it is closed.
    let open = async || ann.connect().open().await.unwrap();
    let mut idle = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        for mut socket in futures_util::future::join_all((0..50).map(|_| open())).await {
            match socket.next().await {
                Incoming::Frame(frame) => {
                    assert_eq!(frame["type"], "ready");
                    idle.push(socket);
                }
                Incoming::Closed(code) => {
                    assert_eq!(code, Some(4409));
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((idle.len(), refused), (MOST, 2_000 - MOST));
    assert_eq!(ann.get("/api/auth/me").await.status, 200);
    to_bob.say(&dm, "b-1", "still here").await;
    idle[0].wait_for_type("message").await;
    // One goes, and another may come.
    drop(idle.pop());
    let room = async || matches!(open().await.next().await, Incoming::Frame(_)).then_some(());
    eventually("a place", room).await;
    if let Some(peak) = stack.processes().filter_map(Process::peak_memory_kib).max() {
        assert!(peak < 600 * 1024, "{peak} KiB");
    }
}

#[tokio::test]
async fn attack_13_slow_first_frames_and_idle_sockets_of_one_user_are_bounded_embedded() {
    attack_13_slow_first_frames_and_idle_sockets_of_one_user_are_bounded(Form::Embedded).await;
}

#[tokio::test]
async fn attack_13_slow_first_frames_and_idle_sockets_of_one_user_are_bounded_cluster() {
    attack_13_slow_first_frames_and_idle_sockets_of_one_user_are_bounded(Form::Cluster).await;
}

/// The status of a GET; the connection is of no use afterwards.
async fn get(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("an answer", stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(!path.starts_with("/api") || answer.contains("strict-transport-security: max-age="), "{answer}");
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer}")).parse().unwrap()
}

/// Puts a new certificate in place; a client that trusts this one and no other.
fn certificate(folder: &Path) -> TlsConnector {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("certificate.pem"), cert.pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // A resumed session would show no certificate.
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

/// The status of `/api/auth/me` over TLS, if there is a connection.
async fn over_tls(client: &TlsConnector, port: u16) -> Option<u16> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut stream = client.connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()?;
    Some(get(&mut stream, "/api/auth/me").await)
}

#[tokio::test]
async fn tls_is_served_and_a_new_certificate_is_taken_while_running() {
    let folder = tempfile::tempdir().unwrap();
    let first = certificate(folder.path());
    let port = free_port();
    let environment = [
        ("SEALPOST__GATEWAY__LISTEN", format!("127.0.0.1:{port}")),
        ("SEALPOST__GATEWAY__TLS_CERTIFICATE", "certificate.pem".to_owned()),
        ("SEALPOST__GATEWAY__TLS_KEY", "key.pem".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let server = Process::new("serve", &program(), &["serve"], &environment, folder.path());
    server.start();
    assert_eq!(eventually("TLS", async || over_tls(&first, port).await).await, 401);
    let healthy = || {
        let mut command = std::process::Command::new(program());
        command.arg("healthcheck").current_dir(folder.path()).envs(environment.iter().cloned());
        command.status().unwrap().success()
    };
    assert!(healthy());
    // Without TLS nothing is answered.
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = within("the end of a plain connection", plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));

    // What is of no use changes nothing.
    std::fs::write(folder.path().join("certificate.pem"), "no certificate").unwrap();
    eventually("the server to see it", async || server.log_text().contains("the old ones stay").then_some(())).await;
    assert_eq!(over_tls(&first, port).await, Some(401));
    let second = certificate(folder.path());
    assert_eq!(eventually("the new certificate", async || over_tls(&second, port).await).await, 401);
    assert_eq!(over_tls(&first, port).await, None, "the old certificate is gone");
    assert!(healthy());
    assert_eq!(server.terminate().code(), Some(0));
}
