//! A connection to an inspector: calls, answers, events, and no patience without end.

use std::{collections::VecDeque, net::TcpStream as StdStream, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, protocol::WebSocketConfig},
};

use super::{
    connect::connect,
    error::InspectorError,
    message::{self, Message, quote},
    opening::{Inspector, stays_open},
};
use futures_util::{SinkExt as _, StreamExt as _};

/// The largest message that is taken: a profile of a million samples.
pub(super) const MAX_MESSAGE: usize = 128 << 20;
/// Events that wait until somebody looks at them; more are an attack or a bug.
const MAX_EVENTS: usize = 65_536;

/// The session of a worker thread within the connection, or `None` for the main thread.
pub(super) type Session = Option<String>;

/// Something that the other side told by itself.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) session: Session,
    pub(super) method: String,
    pub(super) params: Option<Box<RawValue>>,
}

/// What came, after envelopes of workers were opened.
enum Incoming {
    Answer { session: Session, id: u64, message: Message },
    Event(Event),
}

/// A connection.
pub(super) struct Client {
    stream: WebSocketStream<TcpStream>,
    next: u64,
    events: VecDeque<Event>,
}

#[derive(Deserialize)]
struct FromWorker {
    #[serde(rename = "sessionId")]
    session: String,
    message: String,
}

#[derive(Serialize)]
struct ToWorker<'a> {
    #[serde(rename = "sessionId")]
    session: &'a str,
    message: &'a str,
}

impl Inspector {
    /// A connection to it.
    pub(super) async fn connected(&self, patience: Duration) -> Result<Client, InspectorError> {
        let connected = match connect(self.pid, self.address) {
            Ok(stream) => Client::new(stream, self.address, &self.path, patience).await,
            Err(error) => Err(error.into()),
        };
        match connected {
            Err(error) if self.opened_by_us => Err(stays_open(self.address, &error)),
            other => other,
        }
    }
}

impl Client {
    /// Makes the websocket on a connection to `address`.
    pub(super) async fn new(
        stream: StdStream,
        address: std::net::SocketAddr,
        path: &str,
        patience: Duration,
    ) -> Result<Self, InspectorError> {
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream)?;
        let config =
            WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let url = format!("ws://{address}{path}");
        let handshake = client_async_with_config(url, stream, Some(config));
        let connected = tokio::time::timeout(patience, handshake).await;
        let connected = connected.map_err(|_| timed_out("the handshake", patience))?;
        let (stream, _) = connected.map_err(of_websocket)?;
        Ok(Self { stream, next: 1, events: VecDeque::new() })
    }

    /// Calls a method and waits for what it returns; events that come meanwhile wait for [`Client::take_events`].
    pub(super) async fn call(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: impl Serialize,
        patience: Duration,
    ) -> Result<Option<Box<RawValue>>, InspectorError> {
        let id = self.send(session, method, params).await?;
        let deadline = Instant::now() + patience;
        loop {
            let incoming = self.incoming(deadline).await?.ok_or_else(|| timed_out(method, patience))?;
            match incoming {
                Incoming::Event(event) => self.keep(event)?,
                Incoming::Answer { session: from, id: of, message } => {
                    if of == id && from.as_deref() == session {
                        return answer(method, message);
                    }
                }
            }
        }
    }

    /// Calls a method and hands each event to `see` until the answer comes; `patience` is between two messages.
    pub(super) async fn call_streaming(
        &mut self,
        method: &str,
        params: impl Serialize,
        patience: Duration,
        mut see: impl FnMut(&Event) -> Result<(), InspectorError>,
    ) -> Result<(), InspectorError> {
        let id = self.send(None, method, params).await?;
        loop {
            let incoming = self.incoming(Instant::now() + patience).await?;
            match incoming.ok_or_else(|| timed_out(method, patience))? {
                Incoming::Event(event) => see(&event)?,
                Incoming::Answer { session: None, id: of, message } if of == id => {
                    return answer(method, message).map(|_| ());
                }
                Incoming::Answer { .. } => {}
            }
        }
    }

    /// Waits for events until `deadline`.
    pub(super) async fn listen_until(&mut self, deadline: Instant) -> Result<(), InspectorError> {
        while self.events.is_empty() {
            match self.incoming(deadline).await? {
                Some(Incoming::Event(event)) => self.keep(event)?,
                Some(Incoming::Answer { .. }) => {}
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// The events that came and were not taken yet.
    pub(super) fn take_events(&mut self) -> VecDeque<Event> {
        std::mem::take(&mut self.events)
    }

    /// Says good-bye and lets go, whether the other side answers or not.
    pub(super) async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(500), self.stream.close(None)).await;
    }

    fn keep(&mut self, event: Event) -> Result<(), InspectorError> {
        if self.events.len() >= MAX_EVENTS {
            return Err(InspectorError::Protocol("more events than were asked for".to_owned()));
        }
        self.events.push_back(event);
        Ok(())
    }

    async fn send(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: impl Serialize,
    ) -> Result<u64, InspectorError> {
        let id = self.number();
        let mut text = message::call(id, method, params)?;
        if let Some(session) = session {
            let outer = self.number();
            let params = ToWorker { session, message: &text };
            text = message::call(outer, "NodeWorker.sendMessageToWorker", params)?;
        }
        self.stream.send(tungstenite::Message::text(text)).await.map_err(of_websocket)?;
        Ok(id)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The next message; `None` once the deadline has passed.
    async fn incoming(&mut self, deadline: Instant) -> Result<Option<Incoming>, InspectorError> {
        loop {
            let Ok(next) = timeout_at(deadline, self.stream.next()).await else { return Ok(None) };
            let text = match next {
                Some(Ok(tungstenite::Message::Text(text))) => text,
                Some(Ok(tungstenite::Message::Close(_))) | None => return Err(InspectorError::Closed),
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(of_websocket(error)),
            };
            if let Some(incoming) = unpack(None, Message::read(text.as_str())?)? {
                return Ok(Some(incoming));
            }
        }
    }
}

/// Opens the envelope of a worker's message.
fn unpack(session: Session, message: Message) -> Result<Option<Incoming>, InspectorError> {
    if let Some(id) = message.id {
        return Ok(Some(Incoming::Answer { session, id, message }));
    }
    let Some(method) = message.method else { return Ok(None) };
    if session.is_none() && method == "NodeWorker.receivedMessageFromWorker" {
        let inner: FromWorker = message::read(&method, message.params.as_deref())?;
        return unpack(Some(inner.session), Message::read(&inner.message)?);
    }
    Ok(Some(Incoming::Event(Event { session, method, params: message.params })))
}

fn answer(method: &str, message: Message) -> Result<Option<Box<RawValue>>, InspectorError> {
    match message.error {
        Some(error) => {
            Err(InspectorError::Remote { method: method.to_owned(), message: quote(&error.message) })
        }
        None => Ok(message.result),
    }
}

pub(super) fn timed_out(what: &str, after: Duration) -> InspectorError {
    InspectorError::Timeout { what: what.to_owned(), after }
}

fn of_websocket(error: tungstenite::Error) -> InspectorError {
    use tungstenite::Error;
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => InspectorError::Closed,
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            InspectorError::Closed
        }
        Error::Io(error) if is_cut(&error) => InspectorError::Closed,
        Error::Io(error) => InspectorError::Io(error),
        other => InspectorError::Protocol(other.to_string()),
    }
}

fn is_cut(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | ConnectionAborted | UnexpectedEof)
}
