//! A Rust program with one leak beside work that gives everything back: `remember_request` keeps each request in a
//! map that is never cleared.
//!
//! usage: rust_leak [BYTES_PER_SECOND]     -> ready PID, then until killed

use std::collections::HashMap;
use std::hint::black_box;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Bytes of one request.
const REQUEST: usize = 1000;

#[inline(never)]
fn remember_request(requests: &mut HashMap<u64, Vec<u8>>, id: u64) {
    let mut request = Vec::with_capacity(REQUEST);
    request.resize(REQUEST, b'r');
    requests.insert(id, request);
}

#[inline(never)]
fn answer(id: u64) -> String {
    let parts: Vec<String> = (0..20).map(|part| format!("part {part} of the answer to {id}")).collect();
    parts.join("\n")
}

fn main() {
    let rate = std::env::args().nth(1).and_then(|rate| rate.parse().ok()).unwrap_or(1e6);
    let mut requests = HashMap::new();
    println!("ready {}", std::process::id());
    let start = Instant::now();
    let mut id = 0;
    loop {
        // As many as are due: a slow machine gets the same growth, later.
        while ((id * REQUEST as u64) as f64) < rate * start.elapsed().as_secs_f64() {
            remember_request(&mut requests, id);
            black_box(answer(id));
            id += 1;
        }
        sleep(Duration::from_millis(5));
    }
}
