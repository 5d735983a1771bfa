//! A thread that feeds a sink, so that slow output never delays the tracing itself.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::record::{Level, Notice, Record};
use super::sink::{Sink, SinkError};

/// As many records may wait for a slow reader: some minutes of ticks, some MiB.
const QUEUE: usize = 1024;

/// The sending side of the thread.
pub struct OutputThread {
    queue: SyncSender<Record>,
    thread: JoinHandle<Result<(), SinkError>>,
    skipped: u64,
}

impl OutputThread {
    /// Starts the thread. It calls `on_end` once when the sink takes no more, before [`Self::finish`] or after it: the
    /// run should then end, and learns why from [`Self::finish`].
    pub fn spawn(sink: Box<dyn Sink>, on_end: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let (queue, records) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            let _told = TellsEnd(Some(on_end));
            feed(sink, &records)
        })?;
        Ok(Self { queue, thread, skipped: 0 })
    }

    /// Hands a record over without ever waiting. Where the reader is so slow that the queue is full, the record is left
    /// out, and a notice tells how many were as soon as there is room.
    pub fn send(&mut self, record: Record) {
        if self.skipped > 0 {
            let notice = Record::Notice(self.skipped_notice(&record));
            if self.queue.try_send(notice).is_err() {
                self.skipped += 1;
                return;
            }
            self.skipped = 0;
        }
        // A thread that ended told so by `on_end`; what follows has no reader.
        if let Err(TrySendError::Full(_)) = self.queue.try_send(record) {
            self.skipped += 1;
        }
    }

    /// Hands a record over, waiting for room: for records that do not come from a running process.
    pub fn send_waiting(&self, record: Record) {
        // A thread that ended told so by `on_end`; what follows has no reader.
        let _ = self.queue.send(record);
    }

    /// Hands over the last record, waiting for room, and waits until all is written.
    pub fn finish(mut self, last: Option<Record>) -> Result<(), SinkError> {
        if let Some(last) = last {
            if self.skipped > 0 {
                let notice = Record::Notice(self.skipped_notice(&last));
                // Fails only where the thread ended; joining it tells why.
                let _ = self.queue.send(notice);
                self.skipped = 0;
            }
            let _ = self.queue.send(last);
        }
        drop(self.queue);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn skipped_notice(&self, next: &Record) -> Notice {
        let (t, pid) = match next {
            Record::Header(header) => (header.t, header.pid),
            Record::Tick(tick) => (tick.t, tick.pid),
            Record::Site(site) => (site.t, site.pid),
            Record::Verdict(verdict) => (verdict.t, verdict.pid.unwrap_or_default()),
            Record::Gc(gc) => (gc.t, gc.pid),
            Record::Notice(notice) => (notice.t, notice.pid),
            Record::HeapWalk(walk) => (walk.t, walk.pid),
            // No trace has these.
            Record::HeapSnapshot(_)
            | Record::HeapConstructor(_)
            | Record::HeapGrowth(_)
            | Record::HeapObject(_) => (0.0, 0),
            Record::Summary(summary) => {
                (summary.t, summary.processes.first().map_or(0, |process| process.pid))
            }
        };
        let message = format!("the output is read too slowly: {} records were left out of it", self.skipped);
        Notice { t, pid, level: Level::Warning, code: "output_skipped".to_owned(), message }
    }
}

/// Tells the end of the thread, also where a panic is the end.
struct TellsEnd<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for TellsEnd<F> {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell();
        }
    }
}

fn feed(mut sink: Box<dyn Sink>, records: &Receiver<Record>) -> Result<(), SinkError> {
    let fed = records.iter().try_for_each(|record| sink.record(&record));
    // Also after a failure: the terminal must be given back.
    let finished = sink.finish();
    fed.and(finished)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::{OutputThread, QUEUE};
    use crate::output::fixture;
    use crate::output::record::Record;
    use crate::output::sink::{Sink, SinkError};

    /// Takes a record for each permit it is given.
    struct Slow(Receiver<()>, Sender<Record>);

    impl Sink for Slow {
        fn record(&mut self, record: &Record) -> Result<(), SinkError> {
            self.0.recv().map_err(|_| SinkError::Closed)?;
            self.1.send(record.clone()).map_err(|_| SinkError::Closed)
        }
    }

    #[test]
    fn a_slow_reader_loses_records_and_is_told() {
        let (permits, gate) = channel();
        let (taken, records) = channel();
        let mut output = OutputThread::spawn(Box::new(Slow(gate, taken)), || {}).unwrap();
        let sent = QUEUE as u64 + 100;
        for second in 0..sent {
            output.send(Record::Tick(fixture::tick(second as f64, 1, 0)));
        }
        for _ in 0..sent + 2 {
            permits.send(()).unwrap();
        }
        output.finish(Some(Record::Summary(fixture::summary()))).unwrap();
        let records: Vec<Record> = records.iter().collect();
        assert!(matches!(records.last(), Some(Record::Summary(_))));
        let ticks = records.iter().filter(|record| matches!(record, Record::Tick(_))).count() as u64;
        // The thread may begin late, and make room in the midst: then there is a notice for each part.
        let told = records.iter().filter_map(|record| match record {
            Record::Notice(notice) => notice.message.split(' ').find_map(|word| word.parse::<u64>().ok()),
            _ => None,
        });
        assert_eq!(told.sum::<u64>(), sent - ticks);
        assert!((QUEUE as u64..sent).contains(&ticks), "{ticks} ticks");
    }

    #[test]
    fn the_end_of_the_sink_is_told_at_once() {
        let (permits, gate) = channel();
        let (taken, _) = channel();
        let (ended, end) = channel();
        let mut output =
            OutputThread::spawn(Box::new(Slow(gate, taken)), move || ended.send(()).unwrap()).unwrap();
        drop(permits);
        output.send(Record::Tick(fixture::tick(0.0, 1, 0)));
        end.recv().unwrap();
        output.send(Record::Tick(fixture::tick(1.0, 1, 0)));
        assert!(matches!(output.finish(None), Err(SinkError::Closed)));
    }
}
