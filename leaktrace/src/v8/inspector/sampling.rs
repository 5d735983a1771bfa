//! Samples the JavaScript heap of a process, one isolate a time, until it is told to stop.
//!
//! V8 notes the stack of about one allocation in so many bytes, and knows which of these objects still live. Before it
//! tells, it collects the whole heap: so a look stops the isolate for as long as a full collection takes, and looks
//! keep a distance that is many times that.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tokio::{sync::oneshot, time::Instant};

use crate::target::usage::Usage;

use super::{
    client::{Client, Session},
    closing,
    error::InspectorError,
    opening::Inspector,
    profile::Profile,
    sampler::{JsEvent, SamplingOptions, Tell},
    sites::{JsFrame, Observer},
    source_map::SourceMaps,
    workers::{self, Workers},
};

/// How long the main thread may take to answer: a collection of a large heap takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Workers that wait for something (`Atomics.wait`) do not answer at all.
const WORKER_PATIENCE: Duration = Duration::from_secs(2);
const WORKER_REST: Duration = Duration::from_mins(1);
/// A look is followed by a pause of so many times what it took: at most 5 % of the main thread's time.
const PAUSE_FACTOR: u32 = 20;
/// The isolate of the main thread.
const MAIN: u32 = 0;
/// What is known of an isolate.
#[derive(Default)]
struct Isolate {
    observer: Observer,
    /// It did not answer, and is not asked before this time.
    rests_until: Option<Instant>,
    was_told_silent: bool,
}

/// A connection that samples.
pub(super) struct Sampling {
    inspector: Inspector,
    options: SamplingOptions,
    client: Client,
    workers: Workers,
    /// By session; the main thread has none.
    isolates: BTreeMap<Session, Isolate>,
    maps: SourceMaps,
    tell: Tell,
    was_told_full: bool,
    /// What this round of looks cost the process.
    cost: Duration,
}

/// Why sampling is over.
enum End {
    /// The process wants to end, or has.
    TargetEnds,
    Failed(InspectorError),
}

impl Sampling {
    /// Connects and begins.
    pub(super) async fn begin(
        inspector: Inspector,
        options: SamplingOptions,
        tell: Tell,
    ) -> Result<Self, InspectorError> {
        let client = inspector.connected(HANDSHAKE).await?;
        let mut sampling = Self {
            maps: SourceMaps::new(inspector.pid),
            inspector,
            options,
            client,
            workers: Workers::default(),
            isolates: BTreeMap::new(),
            tell,
            was_told_full: false,
            cost: Duration::ZERO,
        };
        let begun = async {
            workers::follow(&mut sampling.client, PATIENCE).await?;
            sampling.start(None, PATIENCE).await
        };
        match begun.await {
            Ok(()) => Ok(sampling),
            Err(error) => {
                // As it was before.
                let _ = closing::close(sampling.client, &sampling.inspector).await;
                Err(error)
            }
        }
    }

    async fn start(&mut self, session: Session, patience: Duration) -> Result<(), InspectorError> {
        let params = json!({ "samplingInterval": self.options.interval_bytes });
        self.client.call(session.as_deref(), "HeapProfiler.startSampling", params, patience).await?;
        self.isolates.insert(session, Isolate::default());
        Ok(())
    }

    /// Samples until it is stopped or cannot go on; then lets go of the inspector.
    pub(super) async fn until(mut self, stopped: oneshot::Receiver<()>) {
        let end = tokio::select! {
            biased;
            _ = stopped => None,
            end = self.go_on() => Some(end),
        };
        match end {
            // Being connected would keep it from ending.
            Some(End::TargetEnds) => return self.client.close().await,
            Some(End::Failed(error)) => {
                let message = format!("JavaScript call sites are not sampled any more: {error}");
                (self.tell)(JsEvent::Notice { code: "js_sites_ended", message });
            }
            None => {}
        }
        self.stop_sampling().await;
        if let Err(error) = closing::close(self.client, &self.inspector).await {
            let message = format!(
                "the inspector that was opened at {} stays open: {error}; process._debugEnd() in the process closes it",
                self.inspector.address
            );
            (self.tell)(JsEvent::Notice { code: "inspector_open", message });
        }
    }

    async fn stop_sampling(&mut self) {
        for session in self.isolates.keys() {
            let patience = if session.is_none() { PATIENCE } else { WORKER_PATIENCE };
            let stopped =
                self.client.call(session.as_deref(), "HeapProfiler.stopSampling", json!({}), patience);
            if matches!(stopped.await, Err(InspectorError::Closed)) {
                return;
            }
        }
    }

    async fn go_on(&mut self) -> End {
        let mut next = Instant::now();
        loop {
            match self.turn(&mut next).await {
                Ok(false) => {}
                Ok(true) => return End::TargetEnds,
                Err(InspectorError::Closed) if !is_alive(self.inspector.pid) => return End::TargetEnds,
                Err(error) => return End::Failed(error),
            }
        }
    }

    /// Waits for the next look, or for what the process tells before it. Gives whether the process wants to end.
    async fn turn(&mut self, next: &mut Instant) -> Result<bool, InspectorError> {
        self.client.listen_until(*next).await?;
        let turnover = self.workers.take(self.client.take_events())?;
        for isolate in turnover.went {
            (self.tell)(JsEvent::IsolateEnded { isolate });
        }
        self.isolates
            .retain(|session, _| session.as_ref().is_none_or(|session| self.workers.0.contains_key(session)));
        if turnover.is_ending {
            return Ok(true);
        }
        if turnover.is_full && !std::mem::replace(&mut self.was_told_full, true) {
            let message =
                "the process has more worker threads than are sampled: further ones are not".to_owned();
            (self.tell)(JsEvent::Notice { code: "js_workers_full", message });
        }
        for session in turnover.came {
            self.meet(session).await?;
        }
        if Instant::now() >= *next {
            self.cost = Duration::ZERO;
            let begin = Instant::now();
            self.look_at_all().await?;
            *next = (begin + self.options.every).max(Instant::now() + self.cost * PAUSE_FACTOR);
        }
        Ok(false)
    }

    async fn meet(&mut self, session: String) -> Result<(), InspectorError> {
        match self.start(Some(session.clone()), WORKER_PATIENCE).await {
            Err(InspectorError::Timeout { .. } | InspectorError::Remote { .. }) => {
                let title =
                    self.workers.0.get(&session).map(|worker| worker.title.clone()).unwrap_or_default();
                let message = format!("a worker thread does not answer and is not sampled: {title}");
                (self.tell)(JsEvent::Notice { code: "js_worker_silent", message });
                Ok(())
            }
            other => other,
        }
    }

    async fn look_at_all(&mut self) -> Result<(), InspectorError> {
        let sessions: Vec<Session> = self.isolates.keys().cloned().collect();
        for session in sessions {
            let rests = self.isolates.get(&session).and_then(|isolate| isolate.rests_until);
            if rests.is_some_and(|until| Instant::now() < until) {
                continue;
            }
            match self.look(session.as_deref()).await {
                Err(InspectorError::Timeout { what, after }) => {
                    self.is_silent(session.as_deref(), &what, after);
                }
                // A worker that is just ending.
                Err(InspectorError::Remote { .. }) if session.is_some() => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn is_silent(&mut self, session: Option<&str>, what: &str, after: Duration) {
        let Some(isolate) = self.isolates.get_mut(&session.map(str::to_owned)) else { return };
        isolate.rests_until = Some(Instant::now() + WORKER_REST);
        if std::mem::replace(&mut isolate.was_told_silent, true) {
            return;
        }
        let thread = session.and_then(|session| self.workers.0.get(session));
        let thread = thread.map_or("the main thread", |worker| worker.title.as_str());
        let message = format!(
            "{thread} did not answer {what} within {} s: its JavaScript call sites are old until it does",
            after.as_secs()
        );
        (self.tell)(JsEvent::Notice { code: "js_sites_silent", message });
    }

    async fn look(&mut self, session: Option<&str>) -> Result<(), InspectorError> {
        let patience = if session.is_none() { PATIENCE } else { WORKER_PATIENCE };
        let method = "HeapProfiler.getSamplingProfile";
        let before = (Instant::now(), cpu_time(self.inspector.pid));
        let answer = self.client.call(session, method, json!({}), patience).await;
        self.cost += cost_since(self.inspector.pid, before);
        let answer = answer?;
        let text = answer.as_deref().map_or("{}", |raw| raw.get());
        let profile =
            Profile::read(text).map_err(|error| InspectorError::Protocol(format!("a profile: {error}")))?;
        let number = match session {
            None => MAIN,
            Some(session) => match self.workers.0.get(session) {
                Some(worker) => worker.isolate,
                None => return Ok(()),
            },
        };
        let Some(isolate) = self.isolates.get_mut(&session.map(str::to_owned)) else { return Ok(()) };
        isolate.was_told_silent = false;
        let change = isolate.observer.observe(&profile);
        for (stack, frames) in change.stacks {
            let culprit = frames.iter().position(|frame| is_own(&frame.url));
            let frames = frames.iter().map(|frame| self.maps.resolve(JsFrame::of(frame))).collect();
            (self.tell)(JsEvent::Stack { isolate: number, stack, frames, culprit });
        }
        (self.tell)(JsEvent::Samples { isolate: number, born: change.born, gone: change.gone });
        Ok(())
    }
}

/// CPU time of the process so far.
fn cpu_time(pid: u32) -> Option<Duration> {
    let ticks = Usage::read(pid).ok()?.cpu_ticks;
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64))
}

/// What an answer cost a process at most: it waited no longer, and did not use more. On a busy machine most of the time
/// until an answer comes is spent waiting for a CPU.
fn cost_since(pid: u32, (begin, cpu): (Instant, Option<Duration>)) -> Duration {
    let used = cpu_time(pid).zip(cpu).map(|(after, before)| after.saturating_sub(before));
    // The kernel counts in ticks of 10 ms.
    let used = used.map_or(Duration::MAX, |used| used + Duration::from_millis(5));
    begin.elapsed().min(used)
}

/// Whether a script is the program's own: neither Node's, nor V8's marks such as `(V8 API)`, which have no script.
fn is_own(url: &str) -> bool {
    !url.is_empty() && !url.starts_with("node:") && !url.starts_with("internal/")
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X', 'x'])))
}
