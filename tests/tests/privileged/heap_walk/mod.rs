//! The heap of a process, read from outside.

mod before;
mod figures;
mod scattered;
mod traced;
mod whole;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Language, Leaktrace, Victim};
use serde_json::Value;

use crate::Case;
pub(crate) use traced::WAITING;

pub(crate) const CASES: &[&[Case]] =
    &[figures::CASES, scattered::CASES, whole::CASES, traced::CASES, before::CASES];

/// With the C library in the directory that `LEAKTRACE_TEST_LIBC` names, if it is set.
fn victim(workers: u32) -> Result<Victim> {
    let Some(directory) = std::env::var_os("LEAKTRACE_TEST_LIBC") else {
        return Victim::start(program()?, &[&workers.to_string()]);
    };
    let mut command = Command::new(Path::new(&directory).join("ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(&directory).arg(program()?).arg(workers.to_string());
    Victim::spawn(&mut command)
}

fn program() -> Result<PathBuf> {
    Build::new("heap.c", Language::C).flags(&["-pthread"]).path()
}

fn tell(victim: &mut Victim, command: &str) -> Result<()> {
    victim.send(command)?;
    victim.expect("done").map(|_| ())
}

/// The heap by one walk.
fn walk(pid: u32) -> Result<Value> {
    let record = walk_record(pid)?;
    let mut heap = record["heap"].clone();
    ensure!(heap.is_object(), "no heap: {record}");
    for beside in ["walk_ms", "advice"] {
        heap[beside] = record[beside].clone();
    }
    Ok(heap)
}

/// One walk, as a record.
fn walk_record(pid: u32) -> Result<Value> {
    let ended = Leaktrace::run(&["heapwalk", "--pid", &pid.to_string()])?;
    ended.expect_success()?;
    let record = ended.records.first().context("no record")?;
    ensure!(record["type"] == "heap_walk" && ended.records.len() == 1, "{record}");
    Ok(record.clone())
}

fn figure(record: &Value, name: &str) -> Result<u64> {
    record
        .pointer(&format!("/{}", name.replace('.', "/")))
        .and_then(Value::as_u64)
        .with_context(|| format!("no {name}: {record}"))
}

fn coverage(record: &Value) -> Result<f64> {
    record["coverage"].as_f64().context("no coverage")
}

fn quit(victim: Victim) -> Result<()> {
    ensure!(victim.quit()?.success(), "the victim was harmed");
    Ok(())
}
