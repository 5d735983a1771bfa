//! The terminal: entered, drawn on from a thread of its own, and given back whatever happens.

use std::collections::VecDeque;
use std::io::{self, Stdout, Write, stdout};
use std::sync::Once;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crossterm::cursor::{Hide, Show};
use crossterm::event;
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::draw::draw;
use super::model::Model;
use super::view::handle;
use crate::cli::Sort;
use crate::output::plain::notice_line;
use crate::output::record::{Level, Record};
use crate::output::sink::{Sink, SinkError};
use crate::output::summary;

/// A key is answered, and a record shown, after at most this time.
const PACE: Duration = Duration::from_millis(50);

/// Records that wait for a slow terminal before the sink waits too.
const QUEUE: usize = 64;

/// What the user asks of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// End the trace, with a summary.
    End,
    /// Choose the top sites by this from now on.
    Sort(Sort),
}

/// How the view begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableOptions {
    /// The order of the sites.
    pub sort: Sort,
    /// Said beside the table where only old blocks are counted.
    pub older_than: Option<Duration>,
    /// Colours are wanted.
    pub colour: bool,
}

/// The live view as a sink. Standard output must be a terminal.
pub struct TableView {
    records: Option<SyncSender<Record>>,
    thread: Option<JoinHandle<Result<(), SinkError>>>,
}

impl TableView {
    /// Takes the terminal over; `on_request` is called from the view's thread and should return at once.
    pub fn open(
        options: TableOptions,
        on_request: impl Fn(Request) + Send + 'static,
    ) -> Result<Self, SinkError> {
        let screen = Screen::enter().map_err(terminal_error)?;
        let (records, queue) = sync_channel(QUEUE);
        let model = Model::new(options.sort, options.older_than, options.colour);
        let thread = std::thread::Builder::new()
            .name("table".to_owned())
            .spawn(move || run(screen, model, &queue, &on_request))
            .map_err(terminal_error)?;
        Ok(Self { records: Some(records), thread: Some(thread) })
    }

    fn join(&mut self) -> Result<(), SinkError> {
        self.records = None;
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Sink for TableView {
    fn record(&mut self, record: &Record) -> Result<(), SinkError> {
        let taken = self.records.as_ref().is_some_and(|records| records.send(record.clone()).is_ok());
        if taken { Ok(()) } else { self.join().and(Err(SinkError::Closed)) }
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.join()
    }
}

fn terminal_error(error: io::Error) -> SinkError {
    SinkError::from_io("the terminal", error)
}

/// Runs until all senders are gone, then gives the terminal back and prints what should stay in its scroll-back.
fn run(
    mut screen: Screen,
    mut model: Model,
    queue: &Receiver<Record>,
    on_request: &dyn Fn(Request),
) -> Result<(), SinkError> {
    let mut log = VecDeque::new();
    let shown = show(&mut screen, &mut model, queue, on_request, &mut log);
    drop(screen);
    for line in log {
        // What cannot be said on standard error cannot be said at all.
        let _ = writeln!(io::stderr(), "leaktrace: {line}");
    }
    shown.map_err(terminal_error)?;
    let Some(summary) = &model.summary else { return Ok(()) };
    let mut out = stdout().lock();
    let written = out.write_all(summary::render(summary).as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| SinkError::from_io("standard output", error))
}

fn show(
    screen: &mut Screen,
    model: &mut Model,
    queue: &Receiver<Record>,
    on_request: &dyn Fn(Request),
    log: &mut VecDeque<String>,
) -> io::Result<()> {
    // Without a terminal to read keys from (input redirected, no controlling terminal) the view still shows.
    let mut keys = true;
    let mut stale = true;
    loop {
        if stale {
            screen.terminal.draw(|frame| draw(frame, model))?;
        }
        stale = false;
        if keys {
            match event::poll(PACE) {
                Ok(true) => match event::read() {
                    Ok(event) => {
                        stale = true;
                        handle(model, &event).into_iter().for_each(on_request);
                    }
                    Err(_) => keys = false,
                },
                Ok(false) => {}
                Err(_) => keys = false,
            }
        } else {
            match queue.recv_timeout(PACE) {
                Ok(record) => {
                    stale = true;
                    take(model, &record, log);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        loop {
            match queue.try_recv() {
                Ok(record) => {
                    stale = true;
                    take(model, &record, log);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }
}

fn take(model: &mut Model, record: &Record, log: &mut VecDeque<String>) {
    const MAX_LOG: usize = 20;
    if let Record::Notice(notice) = record
        && notice.level != Level::Info
    {
        if log.len() == MAX_LOG {
            log.pop_front();
        }
        log.push_back(notice_line(notice));
    }
    model.apply(record);
}

/// The alternate screen in raw mode, given back when dropped, and before a panic is told.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let told = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                told(panic);
            }));
        });
        enable_raw_mode()?;
        let entered = execute!(stdout(), EnterAlternateScreen, Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match entered {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// The terminal as it was. Errors have no remedy here: there is nowhere else to tell them.
fn restore() {
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
}
