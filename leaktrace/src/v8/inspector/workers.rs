//! The worker threads of a process, as the inspector of its main thread tells of them. Workers of workers stand beside
//! their parents (measured on Node 16, 20 and 26).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::{
    client::{Client, Event},
    error::InspectorError,
    message::{self, quote},
};
use std::time::Duration;

/// Workers that are looked at; a process with more has pools of them, and each look costs a collection of its heap.
const MAX_WORKERS: usize = 256;

/// A worker, from its first appearance on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Worker {
    /// Its isolate's number in the output: the one that Node gives the session, which it does not use again.
    pub(super) isolate: u32,
    pub(super) title: String,
}

/// The workers that run now, by session.
#[derive(Debug, Default)]
pub(super) struct Workers(pub(super) BTreeMap<String, Worker>);

/// What became known of workers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Turnover {
    /// Sessions of new ones.
    pub(super) came: Vec<String>,
    /// Isolates of those that ended.
    pub(super) went: Vec<u32>,
    /// Some found no room.
    pub(super) is_full: bool,
    /// The process wants to end, and waits for us to let go.
    pub(super) is_ending: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attached {
    session_id: String,
    worker_info: Info,
}

#[derive(Deserialize)]
struct Info {
    title: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detached {
    session_id: String,
}

/// Asks to be told of workers, and of the end of the process: without the latter it would wait for us at its end.
pub(super) async fn follow(client: &mut Client, patience: Duration) -> Result<(), InspectorError> {
    notify_of_end(client, patience).await?;
    let params = json!({ "waitForDebuggerOnStart": false });
    client.call(None, "NodeWorker.enable", params, patience).await.map(|_| ())
}

/// Asks to be told when the process wants to end.
pub(super) async fn notify_of_end(client: &mut Client, patience: Duration) -> Result<(), InspectorError> {
    let method = "NodeRuntime.notifyWhenWaitingForDisconnect";
    client.call(None, method, json!({ "enabled": true }), patience).await.map(|_| ())
}

/// Whether an event says that the process wants to end.
pub(super) fn is_ending(event: &Event) -> bool {
    event.session.is_none() && event.method == "NodeRuntime.waitingForDisconnect"
}

impl Workers {
    /// Takes over what events tell.
    pub(super) fn take(
        &mut self,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<Turnover, InspectorError> {
        let mut turnover = Turnover::default();
        for event in events {
            turnover.is_ending |= is_ending(&event);
            match (event.session.as_deref(), event.method.as_str()) {
                (None, "NodeWorker.attachedToWorker") => {
                    self.attached(message::read(&event.method, event.params.as_deref())?, &mut turnover)?;
                }
                (None, "NodeWorker.detachedFromWorker") => {
                    let detached: Detached = message::read(&event.method, event.params.as_deref())?;
                    turnover.came.retain(|session| *session != detached.session_id);
                    turnover.went.extend(self.0.remove(&detached.session_id).map(|worker| worker.isolate));
                }
                _ => {}
            }
        }
        Ok(turnover)
    }

    fn attached(&mut self, attached: Attached, turnover: &mut Turnover) -> Result<(), InspectorError> {
        if self.0.len() >= MAX_WORKERS {
            turnover.is_full = true;
            return Ok(());
        }
        let number: Result<u32, _> = attached.session_id.parse();
        let isolate = number
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| InspectorError::Protocol("the number of a worker's session".to_owned()))?;
        let worker = Worker { isolate, title: quote(&attached.worker_info.title) };
        self.0.insert(attached.session_id.clone(), worker);
        turnover.came.push(attached.session_id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn event(method: &str, params: &str) -> Event {
        let params = RawValue::from_string(params.to_owned()).unwrap();
        Event { session: None, method: format!("NodeWorker.{method}"), params: Some(params) }
    }

    fn attached(session: &str) -> Event {
        let params = format!(
            r#"{{"sessionId":"{session}","workerInfo":{{"workerId":"1","type":"worker","title":"[worker 1] one","url":""}}}}"#
        );
        event("attachedToWorker", &params)
    }

    #[test]
    fn workers_come_and_go() {
        let mut workers = Workers::default();
        let turnover = workers.take([attached("1"), attached("2")]).unwrap();
        assert_eq!((turnover.came.len(), workers.0["2"].isolate), (2, 2));
        let turnover = workers.take([event("detachedFromWorker", r#"{"sessionId":"1"}"#)]).unwrap();
        assert_eq!((turnover.came.len(), turnover.went), (0, vec![1]));
        // One that came and went between two looks never needs a session.
        let turnover =
            workers.take([attached("3"), event("detachedFromWorker", r#"{"sessionId":"3"}"#)]).unwrap();
        assert_eq!((turnover.came.len(), turnover.went), (0, vec![3]));
    }

    #[test]
    fn hostile_sessions_are_refused_and_too_many_told() {
        for bad in ["", "0", "-1", "x", "4294967296"] {
            assert!(Workers::default().take([attached(bad)]).is_err(), "{bad}");
        }
        let mut workers = Workers::default();
        let many = (1..=MAX_WORKERS + 1).map(|number| attached(&number.to_string()));
        let turnover = workers.take(many).unwrap();
        assert!(turnover.is_full && workers.0.len() == MAX_WORKERS);
    }
}
