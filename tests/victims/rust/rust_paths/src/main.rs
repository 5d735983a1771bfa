//! Leaks from very many call paths through what Rust programs are made of: trait objects, closures, panics that pass and
//! are caught on the way, and the collections of the standard library. It keeps a list of its paths, as `paths.h` does,
//! and speaks the same protocol.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::io::BufRead as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

const INNER: i32 = 3;
const OUTER: i32 = 5;

/// A noted allocation: return addresses from the allocator outwards.
#[repr(C)]
struct Entry {
    bytes: usize,
    count: usize,
    frames: [usize; 127],
}

thread_local! {
    static NOTING: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// The system's allocator, which notes the path to each block while it is told to.
struct Noting;

#[global_allocator]
static ALLOCATOR: Noting = Noting;

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Noting {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if NOTING.replace(false) {
            let mut entry = Entry { bytes: layout.size(), count: 0, frames: [0; 127] };
            // SAFETY: `note` is given what it expects.
            unsafe { _Unwind_Backtrace(note, &raw mut entry) };
            NOTED.with_borrow_mut(|noted| {
                // What it keeps must not be allocated here.
                assert!(noted.len() < noted.capacity(), "more is noted than there is room for");
                noted.push(entry);
            });
            NOTING.set(true);
        }
        // SAFETY: as the caller promises.
        black_box(unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        assert!(!NOTING.get(), "nothing that was noted is given back");
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

unsafe extern "C" {
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut c_void, *mut Entry) -> c_int,
        argument: *mut Entry,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

extern "C" fn note(context: *mut c_void, entry: *mut Entry) -> c_int {
    const GO_ON: c_int = 0;
    const END: c_int = 5;
    // SAFETY: both come from `_Unwind_Backtrace`, which was given an entry.
    let (ip, entry) = unsafe { (_Unwind_GetIP(context), &mut *entry) };
    match entry.frames.get_mut(entry.count) {
        Some(frame) if ip != 0 => *frame = ip,
        _ => return END,
    }
    entry.count += 1;
    GO_ON
}

/// Leaks in one of several ways; only what it leaks itself is noted.
#[inline(never)]
fn leak(path: usize) {
    NOTING.set(true);
    match path % 5 {
        0 => _ = black_box(Box::leak(vec![0_u8; 16 + path % 48].into_boxed_slice())),
        1 => std::mem::forget(black_box("x".repeat(20 + path % 48))),
        2 => std::mem::forget(black_box(HashMap::<_, _, std::hash::RandomState>::from_iter([(path, path)]))),
        3 => std::mem::forget(black_box(BTreeMap::from([(path, path)]))),
        _ => std::mem::forget(black_box(Rc::<[usize]>::from([path; 5]))),
    }
    NOTING.set(false);
}

trait Step: Sync {
    fn go(&self, job: Job, path: usize, level: i32);
}

#[derive(Clone, Copy)]
struct Job {
    depth: i32,
}

/// A frame of several sizes.
struct Plain<const WORDS: usize>;

impl<const WORDS: usize> Step for Plain<WORDS> {
    fn go(&self, job: Job, path: usize, level: i32) {
        let mut pad = [0; WORDS];
        black_box(&mut pad)[0] = path;
        descend(job, path, level - 1);
        black_box(&pad);
    }
}

/// Catches the panic that is meant for its level.
struct Catching;

impl Step for Catching {
    fn go(&self, job: Job, path: usize, level: i32) {
        let name = black_box(format!("level {level}"));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| descend(job, path, level - 1)))
            && panic.downcast_ref::<i32>() != Some(&level)
        {
            resume_unwind(panic);
        }
        black_box(name);
    }
}

/// Calls by a boxed closure.
struct Calling;

impl Step for Calling {
    fn go(&self, job: Job, path: usize, level: i32) {
        let call: Box<dyn Fn() -> usize> = Box::new(move || {
            descend(job, path, level - 1);
            path
        });
        black_box(black_box(call)());
    }
}

fn descend(job: Job, path: usize, level: i32) {
    static STEPS: [&dyn Step; 4] = [&Plain::<2>, &Catching, &Calling, &Plain::<33>];
    if level == 0 {
        leak(path);
        if path.is_multiple_of(3) {
            resume_unwind(Box::new(job.depth - path as i32 % 4));
        }
        return;
    }
    let outer = job.depth - level;
    let digit = match level {
        _ if outer < OUTER => path >> (2 * (INNER + outer)) & 3,
        _ if level <= INNER => path >> (2 * (level - 1)) & 3,
        _ => level as usize % 3,
    };
    black_box(&STEPS)[digit].go(job, path, level);
    black_box(());
}

fn go(job: Job, paths: std::ops::Range<usize>, pause: Duration) -> Vec<Entry> {
    NOTED.set(Vec::with_capacity(paths.len()));
    for path in paths {
        // No function of that level may have caught it.
        let _ = catch_unwind(|| descend(job, path, job.depth));
        std::thread::sleep(pause);
    }
    NOTED.take()
}

fn main() {
    let depth = std::env::args().nth(1).and_then(|depth| depth.parse().ok()).unwrap_or(12);
    println!("ready {}", std::process::id());
    let mut entries: Vec<Entry> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("no text");
        let mut words = line.split(' ');
        match words.next() {
            Some("go") => {
                let mut numbers = words.map(|word| word.parse().expect("no number"));
                let paths = numbers.next().unwrap_or(100);
                let threads = numbers.next().unwrap_or(1);
                let pause = Duration::from_micros(numbers.next().unwrap_or(0) as u64);
                let share = move |at: usize| paths * at / threads..paths * (at + 1) / threads;
                let work = move |at: usize| std::thread::spawn(move || go(Job { depth }, share(at), pause));
                let threads: Vec<_> = (0..threads).map(work).collect();
                entries = threads.into_iter().flat_map(|thread| thread.join().expect("panicked")).collect();
                println!("done {}", entries.iter().map(|entry| entry.bytes).sum::<usize>());
            }
            Some("report") => {
                for entry in &entries {
                    let frames = entry.frames.iter().take(entry.count).map(|frame| format!("{frame:x}"));
                    println!("path {} {}", entry.bytes, frames.collect::<Vec<_>>().join(" "));
                }
                println!("end");
            }
            _ => return,
        }
    }
}
