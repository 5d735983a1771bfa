//! The client against a server that need not mean well.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

use super::{
    client::{Client, MAX_MESSAGE},
    connect::connect,
    error::InspectorError,
    opening::Inspector,
    sampler::{JsEvent, Sampler, SamplingOptions},
    snapshot::{Progress, take_snapshot},
};

/// What a server does with one message: what it sends, and whether it hangs up then.
struct Reply {
    messages: Vec<String>,
    hangs_up: bool,
}

impl Reply {
    fn of(messages: impl IntoIterator<Item = Value>) -> Self {
        Self { messages: messages.into_iter().map(|value| value.to_string()).collect(), hangs_up: false }
    }

    fn raw(text: impl Into<String>) -> Self {
        Self { messages: vec![text.into()], hangs_up: false }
    }

    fn hang_up() -> Self {
        Self { messages: Vec::new(), hangs_up: true }
    }

    fn result(request: &Value, result: &Value) -> Self {
        Self::of([json!({ "id": request["id"], "result": result })])
    }
}

/// A server for one connection, on a thread of its own.
struct Server {
    address: SocketAddr,
    /// Methods that were called, in order.
    called: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(reply: impl Fn(&Value) -> Reply + Send + 'static) -> Self {
        let called = Arc::new(Mutex::new(Vec::new()));
        let (told, address) = std::sync::mpsc::channel();
        let calls = Arc::clone(&called);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut socket) = accept_async(stream).await else { return };
                while let Some(Ok(Message::Text(text))) = socket.next().await {
                    let request: Value = serde_json::from_str(text.as_str()).unwrap();
                    calls.lock().unwrap().push(request["method"].as_str().unwrap_or_default().to_owned());
                    if !answer(&mut socket, reply(&request)).await {
                        return;
                    }
                }
            });
        });
        Self { address: address.recv().unwrap(), called }
    }

    fn inspector(&self) -> Inspector {
        let (pid, path) = (std::process::id(), "/0123".to_owned());
        Inspector { pid, address: self.address, path, opened_by_us: false }
    }

    fn called(&self) -> Vec<String> {
        self.called.lock().unwrap().clone()
    }
}

async fn answer(socket: &mut WebSocketStream<tokio::net::TcpStream>, reply: Reply) -> bool {
    for message in reply.messages {
        if socket.send(Message::text(message)).await.is_err() {
            return false;
        }
    }
    !reply.hangs_up
}

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

/// Calls one method of a server that behaves like this.
fn call(
    patience: Duration,
    reply: impl Fn(&Value) -> Reply + Send + 'static,
) -> Result<String, InspectorError> {
    let server = Server::start(reply);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = connect(std::process::id(), server.address)?;
        let mut client = Client::new(stream, server.address, "/0123", PATIENCE).await?;
        let answer = client.call(None, "Runtime.getHeapUsage", json!({}), patience).await?;
        Ok(answer.map_or_else(String::new, |raw| raw.get().to_owned()))
    })
}

#[test]
fn an_answer_is_found_among_events_and_answers_to_nobody() {
    let answer = call(PATIENCE, |request| {
        Reply::of([
            json!({ "method": "Runtime.consoleAPICalled", "params": {} }),
            json!({ "id": 999_999, "result": { "usedSize": 1 } }),
            json!({ "method": "NodeWorker.receivedMessageFromWorker",
                    "params": { "sessionId": "1", "message": json!({ "id": request["id"], "result": {} }).to_string() } }),
            json!({ "id": request["id"], "result": { "usedSize": 7 } }),
        ])
    });
    assert_eq!(answer.unwrap(), r#"{"usedSize":7}"#);
}

#[test]
fn hostile_answers_are_errors_of_their_own() {
    let refused = call(PATIENCE, |request| {
        Reply::of([json!({ "id": request["id"], "error": { "message": "no ".repeat(10_000) } })])
    });
    let Err(InspectorError::Remote { message, .. }) = refused else { panic!("{refused:?}") };
    assert!(message.len() <= 200);
    for text in ["nonsense", "{", r#"{"id":"7"}"#, "[1]", "\u{0}"] {
        let garbage = call(PATIENCE, move |_| Reply::raw(text));
        assert!(matches!(garbage, Err(InspectorError::Protocol(_))), "{text}: {garbage:?}");
    }
    let silent = call(SHORT, |_| Reply::of([]));
    assert!(matches!(silent, Err(InspectorError::Timeout { .. })), "{silent:?}");
    let cut = call(PATIENCE, |_| Reply::hang_up());
    assert!(matches!(cut, Err(InspectorError::Closed)), "{cut:?}");
    let flood = call(PATIENCE, |_| {
        let event = json!({ "method": "A.b" }).to_string();
        Reply { messages: vec![event; 70_000], hangs_up: false }
    });
    assert!(matches!(flood, Err(InspectorError::Protocol(_))), "{flood:?}");
}

#[test]
fn a_frame_that_is_too_large_is_refused_by_its_head() {
    let (told, address) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = accept_async(stream).await.unwrap().into_inner();
            let mut head = vec![0x81, 127];
            head.extend((MAX_MESSAGE as u64 * 4).to_be_bytes());
            stream.write_all(&head).await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.read(&mut [0; 4096]).await;
        });
    });
    let address: SocketAddr = address.recv().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let stream = connect(std::process::id(), address)?;
        let mut client = Client::new(stream, address, "/0123", PATIENCE).await?;
        client.call(None, "A.b", json!({}), PATIENCE).await
    });
    assert!(matches!(answer, Err(InspectorError::Protocol(_))), "{answer:?}");
}

/// A snapshot from a server that behaves like this: how it ended, and what was written.
fn snapshot(
    reply: impl Fn(&Value) -> Reply + Send + 'static,
) -> (Result<u64, InspectorError>, Vec<u8>, Vec<Progress>) {
    let server = Server::start(reply);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut out, mut seen) = (Vec::new(), Vec::new());
    let inspector = server.inspector();
    let taken = runtime.block_on(take_snapshot(
        &inspector,
        &mut out,
        |progress| seen.push(progress),
        std::future::pending(),
    ));
    (taken.result, out, seen)
}

fn chunk(text: &str) -> Value {
    json!({ "method": "HeapProfiler.addHeapSnapshotChunk", "params": { "chunk": text } })
}

#[test]
fn a_snapshot_is_written_as_it_comes() {
    let (result, out, seen) = snapshot(|request| match request["method"].as_str() {
        Some("HeapProfiler.takeHeapSnapshot") => Reply::of([
            json!({ "method": "HeapProfiler.reportHeapSnapshotProgress", "params": { "done": 5, "total": 9 } }),
            chunk("{\"a\":\"ä\n"),
            chunk("\"}"),
            json!({ "id": request["id"], "result": {} }),
        ]),
        _ => Reply::result(request, &json!({})),
    });
    assert_eq!(out, "{\"a\":\"ä\n\"}".as_bytes());
    assert_eq!(result.unwrap(), out.len() as u64);
    assert_eq!(seen.first(), Some(&Progress::Walking { done: 5, total: 9 }));
}

#[test]
fn a_snapshot_that_is_cut_is_no_snapshot() {
    let (result, ..) = snapshot(|request| match request["method"].as_str() {
        Some("HeapProfiler.takeHeapSnapshot") => Reply { hangs_up: true, ..Reply::of([chunk("{\"a\":")]) },
        _ => Reply::result(request, &json!({})),
    });
    assert!(matches!(result, Err(InspectorError::Closed)), "{result:?}");
    let (result, ..) = snapshot(|request| Reply::result(request, &json!({})));
    assert!(matches!(result, Err(InspectorError::Protocol(_))), "nothing is no snapshot: {result:?}");
    let (result, ..) = snapshot(|request| match request["method"].as_str() {
        Some("HeapProfiler.takeHeapSnapshot") => {
            Reply::of([json!({ "method": "NodeRuntime.waitingForDisconnect" })])
        }
        _ => Reply::result(request, &json!({})),
    });
    assert!(matches!(result, Err(InspectorError::Gone)), "{result:?}");
}

#[test]
fn a_full_disk_is_told_as_such() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let server = Server::start(|request| match request["method"].as_str() {
        Some("HeapProfiler.takeHeapSnapshot") => Reply::of([chunk("{}")]),
        _ => Reply::result(request, &json!({})),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let inspector = server.inspector();
    let taken = runtime.block_on(take_snapshot(&inspector, &mut Full, |_| {}, std::future::pending()));
    assert!(matches!(taken.result, Err(InspectorError::Output(_))), "{taken:?}");
}

fn profile(ordinals: &[u64]) -> Value {
    let samples: Vec<Value> =
        ordinals.iter().map(|ordinal| json!({ "size": 100, "nodeId": 2, "ordinal": ordinal })).collect();
    let frame = |name: &str, url: &str| json!({ "functionName": name, "scriptId": "1", "url": url, "lineNumber": 0, "columnNumber": 0 });
    json!({ "profile": {
        "head": { "id": 1, "selfSize": 0, "callFrame": frame("(root)", ""),
                  "children": [{ "id": 2, "selfSize": 100, "callFrame": frame("leak", "file:///no/such/app.js"), "children": [] }] },
        "samples": samples } })
}

#[test]
fn a_sampler_tells_of_main_and_worker_and_lets_go_at_the_end_of_the_process() {
    let looks = Arc::new(Mutex::new(0));
    let server = Server::start(move |request| {
        let id = &request["id"];
        match request["method"].as_str().unwrap() {
            "NodeWorker.enable" => Reply::of([
                json!({ "method": "NodeWorker.attachedToWorker", "params": { "sessionId": "1",
                        "workerInfo": { "workerId": "1", "type": "worker", "title": "[worker 1]", "url": "" } } }),
                json!({ "id": id, "result": {} }),
            ]),
            "NodeWorker.sendMessageToWorker" => {
                let inner: Value =
                    serde_json::from_str(request["params"]["message"].as_str().unwrap()).unwrap();
                let result = match inner["method"].as_str() {
                    Some("HeapProfiler.getSamplingProfile") => profile(&[1]),
                    _ => json!({}),
                };
                let message = json!({ "id": inner["id"], "result": result }).to_string();
                Reply::of([
                    json!({ "id": id, "result": {} }),
                    json!({ "method": "NodeWorker.receivedMessageFromWorker", "params": { "sessionId": "1", "message": message } }),
                ])
            }
            "HeapProfiler.getSamplingProfile" => {
                let mut looks = looks.lock().unwrap();
                *looks += 1;
                let answer =
                    json!({ "id": id, "result": if *looks == 1 { profile(&[1, 2]) } else { profile(&[2]) } });
                match *looks {
                    3 => Reply::of([
                        answer,
                        json!({ "method": "NodeRuntime.waitingForDisconnect", "params": {} }),
                    ]),
                    _ => Reply::of([answer]),
                }
            }
            _ => Reply::result(request, &json!({})),
        }
    });
    let (tell, told) = std::sync::mpsc::channel();
    let options = SamplingOptions { interval_bytes: 512, every: Duration::from_millis(10) };
    let mut sampler =
        Sampler::start(server.inspector(), options, move |event| tell.send(event).unwrap()).unwrap();
    // The channel ends with the sampler's thread, which ends because the process wants to.
    let events: Vec<JsEvent> = told.iter().collect();
    sampler.stop();
    let isolates = |wanted: u32| {
        let is_of =
            move |event: &&JsEvent| matches!(event, JsEvent::Samples { isolate, .. } if *isolate == wanted);
        events.iter().filter(is_of).count()
    };
    assert!(isolates(0) == 3 && isolates(1) >= 1, "{events:?}");
    let gone = |event: &JsEvent| matches!(event, JsEvent::Samples { isolate: 0, gone, .. } if *gone == [1]);
    assert!(events.iter().any(gone), "{events:?}");
    let stack = |event: &JsEvent| {
        matches!(event, JsEvent::Stack { frames, culprit: Some(0), .. }
            if frames.len() == 1 && frames[0].function == "leak" && frames[0].file == "/no/such/app.js")
    };
    assert_eq!(events.iter().filter(|event| stack(event)).count(), 2, "{events:?}");
    assert!(!server.called().contains(&"Runtime.evaluate".to_owned()), "it was not ours to close");
}

#[test]
fn a_sampler_that_cannot_begin_says_why() {
    let server = Server::start(|request| match request["method"].as_str() {
        Some("HeapProfiler.startSampling") => {
            Reply::of([json!({ "id": request["id"], "error": { "code": -32000, "message": "not now" } })])
        }
        _ => Reply::result(request, &json!({})),
    });
    let options = SamplingOptions { interval_bytes: 512, every: Duration::from_millis(10) };
    let error = Sampler::start(server.inspector(), options, |_| {}).unwrap_err();
    assert!(error.to_string().contains("not now"), "{error}");
}

#[test]
fn a_sampler_whose_connection_is_cut_says_so_and_ends() {
    let server = Server::start(|request| match request["method"].as_str() {
        Some("HeapProfiler.getSamplingProfile") => Reply::hang_up(),
        _ => Reply::result(request, &json!({})),
    });
    let (tell, told) = std::sync::mpsc::channel();
    let options = SamplingOptions { interval_bytes: 512, every: Duration::from_millis(10) };
    let _sampler =
        Sampler::start(server.inspector(), options, move |event| tell.send(event).unwrap()).unwrap();
    let events: Vec<JsEvent> = told.iter().collect();
    let says = |event: &JsEvent| matches!(event, JsEvent::Notice { code: "js_sites_ended", .. });
    assert_eq!(events.iter().filter(|event| says(event)).count(), 1, "{events:?}");
}
