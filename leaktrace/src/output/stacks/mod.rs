//! Call sites as stacks with their bytes, for other people's tools: folded stacks, flame graphs, pprof. Pure, but for
//! [`write()`].

#[cfg(feature = "flamegraph")]
mod flamegraph;
mod folded;
mod pprof;
mod profile_proto;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeMap, io::Write as _, path::Path, sync::Arc};

use super::{dump::create_private, record::SiteKind, sink::SinkError, stack};
use crate::{
    cli::{StackBytes, StackOptions},
    error::{ExitCode, Failure},
    symbol::Frame,
    verdict::Verdict,
};

/// All call sites of a trace at one moment.
#[derive(Clone, Debug, Default)]
pub struct Profile<'a> {
    /// The call sites, those with the most live bytes first.
    pub samples: Vec<StackSample<'a>>,
    /// Several processes are, or could be, among them: stacks begin with theirs.
    pub several: bool,
    /// The program of the target, as the target sees its path.
    pub exe: Option<&'a str>,
    /// Seconds since 1970 at the attach, where that is known.
    pub started_s: Option<i64>,
    /// Seconds since the attach.
    pub duration_s: f64,
    /// Where each process has code: start and end of executable mappings, ascending, by process id.
    pub code: BTreeMap<u32, &'a [(u64, u64)]>,
    /// GNU build ids of files of code, in hex, by their paths.
    pub build_ids: BTreeMap<&'a str, &'a str>,
}

/// One call site.
#[derive(Clone, Debug, Default)]
pub struct StackSample<'a> {
    /// Process id.
    pub pid: u32,
    /// Name of the process.
    pub comm: &'a str,
    /// What it hands out.
    pub kind: SiteKind,
    /// What stands for frames that are not known, outermost.
    pub missing: Option<Missing>,
    /// Innermost first, without the allocator's own.
    pub frames: Cow<'a, [Arc<Frame>]>,
    /// What it holds and what it handed out.
    pub values: Values,
    /// The verdict that stands on it.
    pub verdict: Option<Verdict>,
}

/// Figures of a call site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Live blocks.
    pub live_count: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Allocations since attach.
    pub allocs: u64,
    /// Their bytes.
    pub alloc_bytes: u64,
}

/// Why there are no frames, or no outer ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The stack was deeper than what is taken of it.
    OuterFrames,
    /// The stack could not be taken.
    Stack,
    /// It was allocated before the trace.
    BeforeAttach,
    /// All call sites beyond the limit.
    FurtherSites,
    /// All call sites of a process that ended long ago.
    EndedProcess,
}

impl Missing {
    const fn name(self) -> &'static str {
        match self {
            Self::OuterFrames => "[outer frames missing]",
            Self::Stack => "[no stack]",
            Self::BeforeAttach => "[before attach]",
            Self::FurtherSites => "[further call sites]",
            Self::EndedProcess => "[process that ended long ago]",
        }
    }
}

impl StackSample<'_> {
    /// The bytes that are asked for.
    fn bytes(&self, which: StackBytes) -> u64 {
        match which {
            StackBytes::Live => self.values.live_bytes,
            StackBytes::Allocated => self.values.alloc_bytes,
            StackBytes::Leaked => match self.verdict {
                Some(Verdict::Leak | Verdict::Suspect) => self.values.live_bytes,
                _ => 0,
            },
        }
    }

    /// What stands for the frames that are not known, if something does.
    fn missing(&self) -> Option<&'static str> {
        let missing = self.missing.or_else(|| self.frames.is_empty().then_some(Missing::Stack));
        missing.map(Missing::name)
    }

    /// The process as people know it.
    fn process(&self) -> String {
        format!("{} ({})", self.comm, self.pid)
    }

    /// Names from the outermost to the innermost, as they are: the process where there may be several, then what is not
    /// the heap, whose figures must not be taken for a part of it.
    fn names(&self, several: bool) -> Vec<Cow<'_, str>> {
        let process = several.then(|| Cow::Owned(self.process()));
        let kind = match self.kind {
            SiteKind::Heap | SiteKind::BeforeAttach => None,
            SiteKind::Mapping => Some("[mapped]"),
            SiteKind::Js => Some("[JavaScript, sampled]"),
        };
        let frames = self.frames.iter().rev().map(|frame| name(frame));
        process
            .into_iter()
            .chain(kind.into_iter().chain(self.missing()).map(Cow::Borrowed))
            .chain(frames)
            .collect()
    }
}

/// The frame's function, uncut and not escaped; `module+0x12`, or the address, where it is not known.
fn name(frame: &Frame) -> Cow<'_, str> {
    match &frame.function {
        Some(function) => Cow::Borrowed(function),
        // Programs in JavaScript have many of these.
        None => match stack::place(frame, true) {
            Some(place) => Cow::Owned(format!("{} ({place})", stack::name(frame))),
            None => Cow::Owned(stack::name(frame)),
        },
    }
}

/// The name as a part of a folded stack: semicolons separate, a line feed ends, and what stands behind the last space is
/// a number.
fn folded_name(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| match c {
            ';' => ':',
            c if c.is_control() || c.is_whitespace() => ' ',
            c => c,
        })
        .collect();
    let mut plain = plain.trim().to_owned();
    if plain.is_empty() {
        return "[no name]".to_owned();
    }
    // Two numbers at the end of a line are a comparison to the tools that read it.
    let number = plain
        .rfind(' ')
        .filter(|&space| plain.bytes().skip(space + 1).all(|byte| byte.is_ascii_digit() || byte == b'.'));
    // And a line that begins so is a comment; what follows a name is a space.
    if plain == "#" {
        plain.push('_');
    }
    for space in number.into_iter().chain(plain.starts_with("# ").then_some(1)) {
        plain.replace_range(space..=space, "_");
    }
    plain
}

/// Writes the files that are asked for, each readable by its owner only.
pub fn write(profile: &Profile<'_>, options: &StackOptions) -> Result<(), Failure> {
    if let Some(path) = &options.drawn.folded {
        write_file(path, &folded::render(profile, options.bytes))?;
    }
    #[cfg(feature = "flamegraph")]
    if let Some(path) = &options.drawn.flamegraph {
        let svg = flamegraph::render(profile, options.bytes).map_err(|error| failed_to_make(path, &error))?;
        write_file(path, &svg)?;
    }
    if let Some(path) = &options.pprof {
        let gzipped = pprof::render(profile).map_err(|error| failed_to_make(path, &error))?;
        write_file(path, &gzipped)?;
    }
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = create_private(path)?;
    file.write_all(bytes).map_err(|error| {
        // Regular files have no readers that could go away.
        let write = SinkError::Write { what: path.display().to_string(), source: error };
        write.into_failure().unwrap_or_else(|| Failure::new(ExitCode::OutputFailed, "could not write"))
    })
}

fn failed_to_make(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("could not make {}: {error}; please report this", path.display());
    Failure::new(ExitCode::Internal, message)
}
