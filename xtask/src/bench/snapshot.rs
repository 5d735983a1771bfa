//! Reading large heap snapshots: time and peak memory beside `JSON.parse` in node and beside memlab.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::stats::median;
use super::table::{Table, number, ratio};
use crate::command::{Cmd, find_program};
use crate::workspace::{self, Profile};

/// Runs a command without its output, and prints how long it took and the most memory that it had.
const MEASURE: &str = "
import json, os, sys, time
null = os.open(os.devnull, os.O_RDWR)
start = time.monotonic()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
_, status, usage = os.wait4(pid, 0)
print(json.dumps({'seconds': time.monotonic() - start, 'bytes': usage.ru_maxrss * 1024,
                  'status': os.waitstatus_to_exitcode(status)}))
";
/// Reads and parses a snapshot as most tools in JavaScript do.
const PARSE: &str = "
const text = require('fs').readFileSync(process.argv[1], 'utf8');
if (!JSON.parse(text).nodes.length) process.exit(1);
";
/// Without it node gives up at 2 to 4 GB.
const MORE_MEMORY: &str = "--max-old-space-size=16000";

/// One run of a program.
#[derive(Clone, Copy, Debug)]
struct Sample {
    seconds: f64,
    bytes: f64,
}

/// What is compared.
struct Contender {
    name: &'static str,
    command: Vec<PathBuf>,
    /// The size of its largest file.
    file_bytes: f64,
    /// The leaktrace that does the same work.
    against: usize,
    samples: Vec<Sample>,
}

/// Makes two snapshots, the first of about so many MB, and prints how long each program takes on them.
pub(super) fn run(megabytes: u32, rounds: u32) -> Result<()> {
    for program in ["node", "npm", "python3"] {
        if find_program(program).is_none() {
            bail!("{program} is missing: cargo xtask test --install, and npm beside node");
        }
    }
    let leaktrace = workspace::build_leaktrace(Profile::Release)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let memlab = install_memlab(scratch.path())?;
    let pair = scratch.path().join("pair");
    fs::create_dir(&pair).context("cannot make a directory")?;
    let files = make(megabytes, &pair)?;
    let mut contenders = contenders(&leaktrace, &memlab, &pair, &files)?;
    for round in 1..=rounds {
        for contender in &mut contenders {
            eprintln!("snapshot, round {round} of {rounds}: {}", contender.name);
            contender.samples.push(measure(&contender.command)?);
        }
    }
    print!("{}", table(&contenders, rounds));
    Ok(())
}

fn install_memlab(scratch: &Path) -> Result<PathBuf> {
    eprintln!("installing memlab");
    // It drives a browser in its other half, which is not needed here.
    let install = Cmd::new("npm").args(["install", "--silent", "--no-audit", "--no-fund", "memlab"]);
    install.dir(scratch).env("PUPPETEER_SKIP_DOWNLOAD", "1").run()?;
    Ok(scratch.join("node_modules/.bin/memlab"))
}

fn make(megabytes: u32, directory: &Path) -> Result<[PathBuf; 2]> {
    eprintln!("making two snapshots of {megabytes} MB and more");
    let victim = workspace::root().join("tests/victims/heap_large.js");
    let node = Cmd::new("node").arg(MORE_MEMORY).arg(victim).arg(megabytes.to_string());
    node.arg(directory.join("s")).read()?;
    Ok([directory.join("s.1.heapsnapshot"), directory.join("s.2.heapsnapshot")])
}

fn contenders(leaktrace: &Path, memlab: &Path, pair: &Path, files: &[PathBuf; 2]) -> Result<Vec<Contender>> {
    let [first, second] = files;
    let file_bytes = fs::metadata(second).context("cannot look at a snapshot")?.len() as f64;
    let contender = |name, command: &[&Path], against| Contender {
        name,
        command: command.iter().map(|part| part.to_path_buf()).collect(),
        file_bytes,
        against,
        samples: Vec::new(),
    };
    let word = Path::new;
    let node = [word("node"), word(MORE_MEMORY)];
    Ok(vec![
        contender("leaktrace heap B", &[leaktrace, word("heap"), second], 0),
        contender("JSON.parse(B) in node", &[node[0], node[1], word("-e"), word(PARSE), second], 0),
        contender("leaktrace heap A B", &[leaktrace, word("heap"), first, second], 2),
        contender(
            "memlab analyze unbound-object",
            &[
                node[0],
                node[1],
                memlab,
                word("analyze"),
                word("unbound-object"),
                word("--snapshot-dir"),
                pair,
            ],
            2,
        ),
    ])
}

fn measure(command: &[PathBuf]) -> Result<Sample> {
    let printed = Cmd::new("python3").args(["-c", MEASURE]).args(command).read()?;
    let result: Value = serde_json::from_str(&printed).context("the measurement printed no JSON")?;
    let figure = |name: &str| result[name].as_f64().with_context(|| format!("no {name} in {result}"));
    if figure("status")? != 0.0 {
        bail!("a program failed: {result}");
    }
    Ok(Sample { seconds: figure("seconds")?, bytes: figure("bytes")? })
}

fn table(contenders: &[Contender], rounds: u32) -> Table {
    let file = contenders.first().map_or(0.0, |contender| contender.file_bytes);
    let mut table = Table::new(
        format!("heap snapshots, the larger one (B) of {:.0} MB: medians of {rounds} rounds", file / 1e6),
        &["", "seconds", "peak MB", "peak / B", "seconds / leaktrace's", "peak / leaktrace's"],
    );
    let middle =
        |contender: &Contender, value: fn(&Sample) -> f64| median(contender.samples.iter().map(value));
    for contender in contenders {
        let (seconds, bytes) = (middle(contender, |s| s.seconds), middle(contender, |s| s.bytes));
        let own = contenders.get(contender.against);
        table.row(vec![
            contender.name.to_owned(),
            number(seconds),
            number(bytes.map(|bytes| bytes / 1e6)),
            ratio(bytes, Some(contender.file_bytes)),
            ratio(seconds, own.and_then(|own| middle(own, |s| s.seconds))),
            ratio(bytes, own.and_then(|own| middle(own, |s| s.bytes))),
        ]);
    }
    table
}
