//! The terminal: entered, drawn on from a thread of its own, and given back whatever happens.
//!
//! Keys are read on another thread, which nobody waits for: reading from a terminal whose window was closed may never come
//! back, and must not keep the trace from ending.

use std::collections::VecDeque;
use std::io::{self, Stdout, Write, stdout};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Once};
use std::thread::{Builder, JoinHandle};
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

/// So long keys are waited for before the thread that reads them looks whether they are still wanted.
const PACE: Duration = Duration::from_millis(50);

/// Records and keys that wait for a slow terminal before the sink waits too.
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

/// What the view is told.
enum Told {
    Record(Box<Record>),
    Key(event::Event),
    /// Nothing follows.
    End,
}

/// The live view as a sink. Standard output must be a terminal.
pub struct TableView {
    told: SyncSender<Told>,
    thread: Option<JoinHandle<Result<(), SinkError>>>,
}

impl TableView {
    /// Takes the terminal over; `on_request` is called from the view's thread and should return at once.
    pub fn open(
        options: TableOptions,
        on_request: impl Fn(Request) + Send + 'static,
    ) -> Result<Self, SinkError> {
        let screen = Screen::enter().map_err(terminal_error)?;
        let (told, queue) = sync_channel(QUEUE);
        let model = Model::new(options.sort, options.older_than, options.colour);
        let shown = Arc::new(());
        let wanted = Arc::downgrade(&shown);
        let keys = told.clone();
        Builder::new()
            .name("keys".to_owned())
            .spawn(move || read_keys(&keys, || wanted.strong_count() > 0))
            .map_err(terminal_error)?;
        let thread = Builder::new()
            .name("table".to_owned())
            .spawn(move || {
                let ended = run(screen, model, &queue, &on_request);
                drop(shown);
                ended
            })
            .map_err(terminal_error)?;
        Ok(Self { told, thread: Some(thread) })
    }

    fn join(&mut self) -> Result<(), SinkError> {
        // A view that ended takes nothing more; joining it tells why.
        let _ = self.told.send(Told::End);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Sink for TableView {
    fn record(&mut self, record: &Record) -> Result<(), SinkError> {
        match self.told.send(Told::Record(Box::new(record.clone()))) {
            Ok(()) => Ok(()),
            Err(_) => self.join().and(Err(SinkError::Closed)),
        }
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.join()
    }
}

fn terminal_error(error: io::Error) -> SinkError {
    SinkError::from_io("the terminal", error)
}

/// Reads keys while they are wanted. Without a terminal to read from (input redirected, no controlling terminal) there are
/// none, and the view still shows.
fn read_keys(view: &SyncSender<Told>, are_wanted: impl Fn() -> bool) {
    while are_wanted() {
        let key = match event::poll(PACE) {
            Ok(true) => event::read(),
            Ok(false) => continue,
            Err(_) => return,
        };
        if key.map_or(true, |key| view.send(Told::Key(key)).is_err()) {
            return;
        }
    }
}

/// Runs until the end is told, then gives the terminal back and prints what should stay in its scroll-back.
fn run(
    mut screen: Screen,
    mut model: Model,
    queue: &Receiver<Told>,
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
    queue: &Receiver<Told>,
    on_request: &dyn Fn(Request),
    log: &mut VecDeque<String>,
) -> io::Result<()> {
    loop {
        screen.terminal.draw(|frame| draw(frame, model))?;
        let Ok(first) = queue.recv() else { return Ok(()) };
        // All that waits is shown by one picture.
        for told in std::iter::once(first).chain(queue.try_iter()) {
            match told {
                Told::Record(record) => take(model, &record, log),
                Told::Key(key) => handle(model, &key).into_iter().for_each(on_request),
                Told::End => return Ok(()),
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
