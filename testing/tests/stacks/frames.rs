//! Attack case 11: WebSocket frames that no client sends. On stacks of their own, since memory is looked at.

use std::time::Duration;

use sealpost_testing::{Form, Incoming, Settings, Socket, Stack, User};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

on_stacks_of_their_own! {
    attack_11_a_frame_over_the_limit_by_one_byte_is_refused
    attack_11_what_breaks_the_websocket_ends_with_4400
    attack_11_fragments_without_end_end
    attack_11_compression_is_not_spoken
    attack_11_json_that_harms_parsers_is_an_error
}

const FINAL: u8 = 0x80;
/// The first bit for extensions: a message is compressed.
const COMPRESSED: u8 = 0x40;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// What a gateway may need more than before, whatever is sent to it.
const MEMORY_KIB: u64 = 64 * 1024;

struct Target {
    stack: sealpost_testing::Running,
    ann: User,
    bob: User,
    dm: String,
    before: u64,
}

impl Target {
    async fn start(form: Form) -> Self {
        let settings = Settings::default().set("SEALPOST__GATEWAY__HEARTBEAT_SECONDS", 1);
        let stack = Stack::start(form, settings).await;
        let (ann, bob) = (User::sign_up(&stack, 0, "ann").await, User::sign_up(&stack, 0, "bob").await);
        let dm = ann.dm(&bob).await;
        stack.settle().await;
        let before = memory(&stack);
        Self { stack, ann, bob, dm, before }
    }

    /// The server is as well as it was.
    async fn is_well(&self) {
        let (mut to_ann, mut to_bob) = (self.ann.socket().await, self.bob.socket().await);
        let ack = to_ann.say(&self.dm, &sealpost_testing::unique("m-"), "all is well").await;
        to_bob.wait_for_seq(&self.dm, ack["seq"].as_u64().unwrap()).await;
        let grown = memory(&self.stack).saturating_sub(self.before);
        assert!(grown < MEMORY_KIB, "the gateway has grown by {grown} KiB");
        assert!(!self.stack.processes().any(|process| process.log_text().contains("panicked")));
    }

    /// A connection after these bytes: how it ends.
    async fn ends(&self, bytes: &[u8]) -> Option<u16> {
        let mut socket = self.ann.socket().await;
        // The server may be faster with its close than this with its bytes.
        let _ = socket.tcp().write_all(bytes).await;
        socket.wait_for_close().await
    }
}

fn memory(stack: &Stack) -> u64 {
    let gateway = if stack.form == Form::Embedded { "serve-1" } else { "gateway-1" };
    stack.process(gateway).resident_kib()
}

/// A frame with a mask of zeros, which leaves bytes as they are.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, payload.len() as u64);
    bytes.extend(payload);
    bytes
}

fn head(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        126..0x1_0000 => {
            bytes.push(0x80 | 0x7E);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 0x7F);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes
}

/// `ping` with blanks up to this length: whole JSON, however long.
fn ping(length: usize) -> Message {
    let frame = r#"{"type":"ping","id":7}"#;
    Message::text(format!("{frame}{}", " ".repeat(length - frame.len())))
}

pub async fn attack_11_a_frame_over_the_limit_by_one_byte_is_refused(form: Form) {
    const LIMIT: usize = 64 * 1024;
    let target = Target::start(form).await;
    let mut socket = target.ann.socket().await;
    assert!(socket.try_send_raw(ping(LIMIT)).await);
    assert_eq!(socket.wait_for_type("pong").await["id"], 7);
    // Up to twice the limit it is an error and no end.
    for length in [LIMIT + 1, LIMIT * 2] {
        assert!(socket.try_send_raw(ping(length)).await);
        let error = socket.wait_for_type("error").await;
        assert_eq!(error["problem"]["type"], "urn:sealpost:problem:frame-too-large", "{error}");
    }
    socket.ping().await;
    assert!(socket.try_send_raw(ping(LIMIT * 2 + 1)).await);
    assert_eq!(socket.wait_for_close().await, Some(4400));
    // What it says of its length is enough: no room is made for it, and nothing more is read.
    for length in [64 << 20, u64::from(u32::MAX), u64::MAX >> 1] {
        assert_eq!(target.ends(&head(FINAL | TEXT, length)).await, Some(4400), "{length}");
    }
    let mut whole = head(FINAL | TEXT, 64 << 20);
    whole.resize(64 << 20, b'x');
    let code = target.ends(&whole).await;
    assert!(matches!(code, None | Some(4400)), "{code:?}");
    target.is_well().await;
}

pub async fn attack_11_what_breaks_the_websocket_ends_with_4400(form: Form) {
    let target = Target::start(form).await;
    let unmasked = [FINAL | TEXT, 2, b'{', b'}'];
    let cases = [
        ("bytes that are no UTF-8", frame(FINAL | TEXT, b"{\"type\":\"\xff\xfe\"}")),
        ("half a character", frame(FINAL | TEXT, b"\xe2\x82")),
        ("a surrogate", frame(FINAL | TEXT, b"\xed\xa0\x80")),
        ("no mask", unmasked.to_vec()),
        ("an opcode that means nothing", frame(FINAL | 3, b"x")),
        ("another one", frame(FINAL | 0xB, b"x")),
        ("a continuation of nothing", frame(FINAL | CONTINUATION, b"x")),
        ("two messages at once", [frame(TEXT, b"{"), frame(TEXT, b"{")].concat()),
        ("a ping in two parts", frame(PING, b"x")),
        ("a long ping", frame(FINAL | PING, &[b'x'; 126])),
        ("bits of extensions", frame(FINAL | 0x30 | TEXT, b"{}")),
    ];
    for (what, bytes) in cases {
        assert_eq!(target.ends(&bytes).await, Some(4400), "{what}");
    }
    // Closes are closes, however odd.
    for payload in [&[][..], &[3], &[0, 0], &[3, 0xE8, 0xff, 0xfe], &[0xff, 0xff]] {
        target.ends(&frame(FINAL | CLOSE, payload)).await;
    }
    target.is_well().await;
}

pub async fn attack_11_fragments_without_end_end(form: Form) {
    let target = Target::start(form).await;
    // A million parts of one byte: the message is over the limit long before they are all there.
    let mut parts = frame(TEXT, b"x");
    (0..1_000_000).for_each(|_| parts.extend(frame(CONTINUATION, b"x")));
    let code = target.ends(&parts).await;
    assert!(matches!(code, None | Some(4400)), "{code:?}");
    // One part too many, and no more: now the end can be read.
    let mut parts = frame(TEXT, b"x");
    (0..128 * 1024).for_each(|_| parts.extend(frame(CONTINUATION, b"x")));
    assert_eq!(target.ends(&parts).await, Some(4400));
    // A message in whole characters' halves is whole in the end.
    let mut socket = target.ann.socket().await;
    let text = r#"{"type":"ping","id":7,"x":"€"}"#.as_bytes();
    let bytes =
        text.iter().enumerate().flat_map(|(index, byte)| frame(if index == 0 { TEXT } else { CONTINUATION }, &[*byte]));
    let bytes: Vec<u8> = bytes.chain(frame(FINAL | CONTINUATION, b"")).collect();
    socket.tcp().write_all(&bytes).await.unwrap();
    assert_eq!(socket.wait_for_type("error").await["problem"]["type"], "urn:sealpost:problem:malformed");
    socket.ping().await;

    // Parts with nothing in them never come to a limit. Nothing is heard that way, and so the heartbeat ends it, also when they come
    // as fast as they can.
    for pause in [Duration::ZERO, Duration::from_millis(10)] {
        let mut endless = target.ann.socket().await;
        let empty = frame(CONTINUATION, b"").repeat(2_000);
        endless.tcp().write_all(&frame(TEXT, b"{")).await.unwrap();
        sealpost_testing::within("the end of an endless message", async {
            while endless.tcp().write_all(&empty).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        })
        .await;
        let code = endless.wait_for_close().await;
        assert!(matches!(code, None | Some(4000)), "{code:?}");
    }
    target.is_well().await;
}

/// Without the extension there is nothing that a small message could unfold to.
pub async fn attack_11_compression_is_not_spoken(form: Form) {
    let target = Target::start(form).await;
    let address = target.stack.url(0).trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame\r\n\r\n",
        target.ann.access_token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        answer.push(sealpost_testing::within("the handshake", stream.read_u8()).await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101") && !answer.contains("sec-websocket-extensions"), "{answer}");
    // Stored blocks of deflate that would go on and on.
    let bomb = frame(FINAL | COMPRESSED | TEXT, &[0xec, 0xc1, 0x01, 0x01].repeat(2_000));
    stream.write_all(&bomb).await.unwrap();
    let mut rest = Vec::new();
    let _ = sealpost_testing::within("the end", stream.read_to_end(&mut rest)).await;
    let close = [0x11, 0x30];
    assert!(rest.windows(2).any(|code| code == close), "no close with 4400: {rest:?}");
    assert_eq!(target.ends(&bomb).await, Some(4400));
    target.is_well().await;
}

pub async fn attack_11_json_that_harms_parsers_is_an_error(form: Form) {
    let target = Target::start(form).await;
    let dm = &target.dm;
    let deep = |levels: usize, open: &str, close: &str| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    let (list, object) = (deep(10_000, "[", "]"), deep(8_000, "{\"a\":", "}"));
    let nines = "9".repeat(50_000);
    let start = format!(r#"{{"type":"message","conversation_id":"{dm}","client_message_id":"m-1""#);
    let read = format!(r#"{{"type":"message_read","conversation_id":"{dm}","seq""#);
    let frames = [
        list.clone(),
        object.clone(),
        format!(r#"{{"type":{list}}}"#),
        format!(r#"{{"type":"ping","id":{object}}}"#),
        format!(r#"{start},"text":{list}}}"#),
        format!(r#"{start},"text":"x","reply_to":{object}}}"#),
        format!(r#"{{"type":"watch","conversation_ids":{list}}}"#),
        format!("{read}:{nines}}}"),
        format!("{read}:1e{nines}}}"),
        format!("{read}:-1}}"),
        format!("{read}:1.0000000000000000001}}"),
        format!("{read}:1e999}}"),
        r#"{"type":"ping","id":18446744073709551616}"#.to_owned(),
        r#"{"type":"ping","id":NaN}"#.to_owned(),
        format!(r#"{start},"text":"a","text":"b"}}"#),
        format!(r#"{start},"client_message_id":"m-2","text":"a"}}"#),
        format!(r#"{{"type":"ping",{}}}"#, &start[1..]),
        format!(r#"{start},"text":"a","type":"message"}}"#),
        format!(r#"{{"conversation_id":"{dm}","type":"message_read","seq":1,"seq":1}}"#),
        format!(r#"{start},"text":"\ud800"}}"#),
        format!(r#"{start},"text":"a"}}{{"#),
        format!("\u{feff}{start},\"text\":\"a\"}}"),
        format!(r#"{{"type":"resume","cursor":{{{}"x":1}}}}"#, r#""a":1,"#.repeat(5_000)),
    ];
    for text in &frames {
        assert!(text.len() <= 64 * 1024);
        let mut socket: Socket = target.ann.socket().await;
        assert!(socket.try_send_raw(Message::text(text.clone())).await);
        let answer = match socket.next().await {
            Incoming::Frame(answer) => answer,
            Incoming::Closed(code) => panic!("closed with {code:?} after {text:.100}"),
        };
        assert_eq!(answer["problem"]["type"], "urn:sealpost:problem:malformed", "{text:.100}: {answer}");
        assert!(answer.to_string().len() < 2_000, "the answer repeats what was sent: {answer:.300}");
        // It takes more than one.
        socket.ping().await;
    }
    let marks = target.bob.get(&format!("/api/conversations/{dm}")).await.ok(200);
    assert_eq!(marks["conversation"]["head_seq"], json!(1), "something was taken");
    assert_eq!(marks["conversation"]["last_message"], Value::Null);
    target.is_well().await;
}
