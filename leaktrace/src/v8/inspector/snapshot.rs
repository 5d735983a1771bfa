//! Takes a heap snapshot, written as it comes: it may be larger than our memory, and is never held.

use std::{io::Write, time::Duration};

use serde::Deserialize;
use serde_json::json;

use super::{
    client::{Client, Event},
    closing,
    error::InspectorError,
    message,
    opening::Inspector,
    workers,
};

/// V8 says nothing while it collects the heap before a snapshot: minutes, for the largest.
const PATIENCE: Duration = Duration::from_mins(5);
const SHORT_PATIENCE: Duration = Duration::from_secs(10);

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// V8 walks its heap.
    Walking {
        /// Objects seen.
        done: u64,
        /// Objects in all, as V8 guesses.
        total: u64,
    },
    /// Bytes were written, so many so far.
    Written(u64),
}

/// How a snapshot ended.
#[derive(Debug)]
pub struct Taken {
    /// Bytes written, or why it failed.
    pub result: Result<u64, InspectorError>,
    /// Why the inspector that we opened stays open, if it does.
    pub left_open: Option<InspectorError>,
}

#[derive(Deserialize)]
struct Chunk {
    chunk: String,
}

#[derive(Deserialize)]
struct Report {
    done: f64,
    total: f64,
}

/// Takes a snapshot of the main isolate into `out`, until `interrupt` comes. The inspector is let go in any case.
pub async fn take_snapshot(
    inspector: &Inspector,
    out: &mut dyn Write,
    mut progress: impl FnMut(Progress),
    interrupt: impl Future<Output = ()>,
) -> Taken {
    let mut client = match inspector.connected(SHORT_PATIENCE).await {
        Ok(client) => client,
        Err(error) => return Taken { result: Err(error), left_open: None },
    };
    let result = tokio::select! {
        biased;
        () = interrupt => Err(InspectorError::Interrupted),
        result = write(&mut client, out, &mut progress) => result,
    };
    let left_open = closing::close(client, inspector).await.err();
    Taken { result, left_open }
}

async fn write(
    client: &mut Client,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, InspectorError> {
    workers::notify_of_end(client, SHORT_PATIENCE).await?;
    let mut written = 0;
    let params = json!({ "reportProgress": true });
    let see = |event: &Event| take(event, out, &mut written, progress);
    client.call_streaming("HeapProfiler.takeHeapSnapshot", params, PATIENCE, see).await?;
    out.flush().map_err(InspectorError::Output)?;
    if written == 0 {
        return Err(InspectorError::Protocol("a snapshot of no bytes".to_owned()));
    }
    Ok(written)
}

fn take(
    event: &Event,
    out: &mut dyn Write,
    written: &mut u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), InspectorError> {
    if workers::is_ending(event) {
        return Err(InspectorError::Gone);
    }
    match (event.session.as_deref(), event.method.as_str()) {
        (None, "HeapProfiler.addHeapSnapshotChunk") => {
            let Chunk { chunk } = message::read(&event.method, event.params.as_deref())?;
            out.write_all(chunk.as_bytes()).map_err(InspectorError::Output)?;
            *written += chunk.len() as u64;
            progress(Progress::Written(*written));
        }
        (None, "HeapProfiler.reportHeapSnapshotProgress") => {
            let Report { done, total } = message::read(&event.method, event.params.as_deref())?;
            progress(Progress::Walking { done: done as u64, total: total as u64 });
        }
        _ => {}
    }
    Ok(())
}
