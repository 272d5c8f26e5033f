//! Reading requests of HTTP/1.1, for servers that tests start.

use std::collections::HashMap;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

pub struct Request {
    /// The first line.
    pub line: String,
    /// By name in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// `None`: the client went away, or it is no request.
pub async fn read_request(read: impl AsyncRead + Unpin) -> Option<Request> {
    let mut read = BufReader::new(read);
    let (mut line, mut headers) = (String::new(), HashMap::new());
    read.read_line(&mut line).await.ok()?;
    loop {
        let mut header = String::new();
        read.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    read.read_exact(&mut body).await.ok()?;
    Some(Request { line, headers, body })
}
