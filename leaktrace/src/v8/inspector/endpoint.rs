//! The little web server of an inspector: whether it is one, and where its websocket is.

use std::{
    io::{Read, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{connect::connect, error::InspectorError};

/// An answer longer than this is none of an inspector.
const MAX_ANSWER: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "Browser")]
    browser: String,
}

#[derive(Deserialize)]
struct Target {
    #[serde(rename = "type")]
    kind: String,
    id: String,
}

/// Whether what listens at this address, as process `pid` sees it, is an inspector of Node.
pub(super) fn is_inspector(pid: u32, address: SocketAddr) -> bool {
    let answer = get(pid, address, "/json/version");
    let version = answer.ok().and_then(|body| serde_json::from_slice::<Version>(&body).ok());
    version.is_some_and(|version| version.browser.starts_with("node.js/"))
}

/// Path of the websocket of the inspector at this address.
pub(super) fn websocket_path(pid: u32, address: SocketAddr) -> Result<String, InspectorError> {
    let body = get(pid, address, "/json/list")?;
    let targets: Vec<Target> = serde_json::from_slice(&body)
        .map_err(|error| InspectorError::Protocol(format!("its list of targets: {error}")))?;
    let target = targets.into_iter().find(|target| target.kind == "node").ok_or_else(|| {
        InspectorError::Protocol("it lists no target (--inspect-publish-uid without http?)".to_owned())
    })?;
    let is_id = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if target.id.is_empty() || target.id.len() > 128 || !target.id.chars().all(is_id) {
        return Err(InspectorError::Protocol("the id of its target".to_owned()));
    }
    Ok(format!("/{}", target.id))
}

fn get(pid: u32, address: SocketAddr, path: &str) -> Result<Vec<u8>, InspectorError> {
    let mut stream = connect(pid, address)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The host must be an address or localhost: the inspector refuses other names.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    read_answer(&mut stream, Instant::now() + PATIENCE)
}

/// Reads until the length that the answer names, or its end.
fn read_answer(stream: &mut TcpStream, deadline: Instant) -> Result<Vec<u8>, InspectorError> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(body) = complete_body(&bytes)? {
            return Ok(body);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(InspectorError::Timeout { what: "a web request".to_owned(), after: PATIENCE });
        }
        stream.set_read_timeout(Some(left))?;
        let count = match stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        if count == 0 || bytes.len() + count > MAX_ANSWER {
            return Err(InspectorError::Protocol("its answer to a web request".to_owned()));
        }
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// The body of the answer, once all of it is there. Node always names its length.
fn complete_body(bytes: &[u8]) -> Result<Option<Vec<u8>>, InspectorError> {
    let bad = |what: &str| InspectorError::Protocol(format!("{what} of its answer to a web request"));
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|_| bad("the head"))?;
    let httparse::Status::Complete(head) = parsed else { return Ok(None) };
    if response.code != Some(200) {
        return Err(bad("the status"));
    }
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length =
        length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    let length = length.filter(|length| *length <= MAX_ANSWER).ok_or_else(|| bad("the length"))?;
    Ok(bytes.get(head..head + length).map(<[u8]>::to_vec))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Answers one request with these bytes and closes.
    fn answering(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        });
        address
    }

    fn ours() -> u32 {
        std::process::id()
    }

    #[test]
    fn an_inspector_is_known_by_its_version() {
        let node = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n{\n \"Browser\": \"node.js/v20.20.2\"\n}";
        assert!(is_inspector(ours(), answering(node)));
        let others: [&'static [u8]; 7] = [
            b"",
            b"220 mail.example.org ESMTP\r\n",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{\"Browser\":\"Chrome/1\"}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"cut\":",
        ];
        for other in others {
            assert!(!is_inspector(ours(), answering(other)), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn the_path_is_taken_from_the_list_and_checked() {
        let good =
            b"HTTP/1.0 200 OK\r\nContent-Length: 38\r\n\r\n[{\"type\":\"node\",\"id\":\"0123-abcd-4567\"}]";
        assert!(
            websocket_path(ours(), answering(good)).is_err(),
            "one byte of it is missing from the length"
        );
        let good =
            b"HTTP/1.0 200 OK\r\nContent-Length: 39\r\n\r\n[{\"type\":\"node\",\"id\":\"0123-abcd-4567\"}]";
        assert_eq!(websocket_path(ours(), answering(good)).unwrap(), "/0123-abcd-4567");
        let bad: [&'static [u8]; 3] = [
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]",
            b"HTTP/1.0 200 OK\r\nContent-Length: 35\r\n\r\n[{\"type\":\"node\",\"id\":\"a\\r\\nHost: x\"}]",
            b"HTTP/1.0 200 OK\r\nContent-Length: 30\r\n\r\n[{\"type\":\"page\",\"id\":\"abcdef\"}]",
        ];
        for list in bad {
            assert!(websocket_path(ours(), answering(list)).is_err());
        }
    }
}
