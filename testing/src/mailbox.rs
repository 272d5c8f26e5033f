//! A mail server for tests: real SMTP over a real socket, which keeps what it is given.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::certificate::Certificate;
use crate::wait::eventually;

/// How a [`Mailbox`] is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    None,
    /// It takes no mail before `STARTTLS`.
    Starttls,
    /// From the first byte.
    Tls,
}

/// A mail as it came.
#[derive(Clone, Debug)]
pub struct Mail {
    pub from: String,
    pub to: String,
    /// Header and body.
    pub text: String,
}

/// Takes mail for everybody. Ends with the test.
pub struct Mailbox {
    pub port: u16,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    mails: Vec<Mail>,
    /// So many mails are put off before one is taken.
    put_off: usize,
}

impl Mailbox {
    /// Without TLS.
    pub async fn start() -> Self {
        Self::start_with(Encryption::None, &Certificate::new()).await
    }

    pub async fn start_with(encryption: Encryption, certificate: &Certificate) -> Self {
        let acceptor = certificate.acceptor();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that goes in the middle has its reasons.
                tokio::spawn(serve(stream, encryption, acceptor.clone(), Arc::clone(&shared)));
            }
        });
        Self { port, state, task }
    }

    /// The next `count` mails are answered with «try again later».
    pub fn put_off(&self, count: usize) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).put_off = count;
    }

    pub fn mails_to(&self, address: &str) -> Vec<Mail> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.mails.iter().filter(|mail| mail.to == address).cloned().collect()
    }

    /// Waits for mail number `number` (from 1) to this address.
    pub async fn mail(&self, address: &str, number: usize) -> Mail {
        let what = format!("mail {number} to {address}");
        eventually(&what, async || self.mails_to(address).get(number - 1).cloned()).await
    }

    /// The token in the link of that mail.
    pub async fn token(&self, address: &str, number: usize, purpose: &str) -> String {
        self.mail(address, number).await.token(purpose)
    }
}

impl Mail {
    /// The address of the link.
    #[track_caller]
    pub fn link(&self) -> String {
        let word = self.text.split_whitespace().find(|word| word.contains("/mail#"));
        word.unwrap_or_else(|| panic!("no link in {}", self.text)).to_owned()
    }

    #[track_caller]
    pub fn token(&self, purpose: &str) -> String {
        let link = self.link();
        let token = link.split_once(&format!("/mail#{purpose}="));
        token.unwrap_or_else(|| panic!("{link} is not for {purpose}")).1.to_owned()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, encrypted when it should be.
async fn serve(
    mut stream: TcpStream,
    encryption: Encryption,
    acceptor: TlsAcceptor,
    state: Arc<Mutex<State>>,
) -> Option<()> {
    const HELLO: &[u8] = b"220 mailbox.test ESMTP\r\n";
    if encryption == Encryption::Tls {
        let mut stream = acceptor.accept(stream).await.ok()?;
        stream.write_all(HELLO).await.ok()?;
        return converse(&mut stream, false, &state).await.map(|_| ());
    }
    stream.write_all(HELLO).await.ok()?;
    if converse(&mut stream, encryption == Encryption::Starttls, &state).await? {
        let mut stream = acceptor.accept(stream).await.ok()?;
        converse(&mut stream, false, &state).await?;
    }
    Some(())
}

/// RFC 5321, as far as a server has to go that takes everything. True: the client wants TLS now. If `wants_tls`, nothing goes without.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    wants_tls: bool,
    state: &Mutex<State>,
) -> Option<bool> {
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = BufReader::new(read).lines();
    let (mut from, mut to) = (String::new(), Vec::new());
    while let Some(line) = lines.next_line().await.ok()? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let address = || line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |pair| pair.0);
        let answer = match verb.as_str() {
            "EHLO" if wants_tls => "250-mailbox.test\r\n250 STARTTLS",
            "EHLO" => "250-mailbox.test\r\n250 8BITMIME",
            "STARTTLS" if wants_tls => {
                write.write_all(b"220 go on\r\n").await.ok()?;
                return Some(true);
            }
            "MAIL" if wants_tls => "530 use STARTTLS first",
            "HELO" | "NOOP" => "250 OK",
            "MAIL" => {
                (from, to) = (address().to_owned(), Vec::new());
                "250 OK"
            }
            "RCPT" => {
                to.push(address().to_owned());
                "250 OK"
            }
            "RSET" => {
                to.clear();
                "250 OK"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await.ok()?;
                let mut text = String::new();
                loop {
                    let line = lines.next_line().await.ok()??;
                    if line == "." {
                        break;
                    }
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push('\n');
                }
                if take(state, &from, &to, &text) { "250 OK" } else { "451 try again later" }
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await.ok()?;
                return Some(false);
            }
            _ => "500 unknown",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
    Some(false)
}

fn take(state: &Mutex<State>, from: &str, to: &[String], text: &str) -> bool {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if state.put_off > 0 {
        state.put_off -= 1;
        return false;
    }
    let quoted = text.to_ascii_lowercase().contains("content-transfer-encoding: quoted-printable");
    let (header, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let body = if quoted { unquoted(body) } else { body.to_owned() };
    let text = format!("{header}\n\n{body}");
    for to in to {
        state.mails.push(Mail { from: from.to_owned(), to: to.clone(), text: text.clone() });
    }
    true
}

/// RFC 2045, 6.7: `=` at the end of a line joins lines, `=3D` is a byte.
fn unquoted(text: &str) -> String {
    let joined = text.replace("=\n", "");
    let mut parts = joined.split('=');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or_else(|| panic!("not quoted-printable: ={part}")));
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}
