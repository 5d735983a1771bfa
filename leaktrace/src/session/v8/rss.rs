//! Where the resident set of a process with V8 goes, and which part of it grows.

use crate::{
    heap::{Series, Tracker},
    output::v8_record::V8Rss,
    session::{
        input::ProcessUsage,
        names::{Names, SiteNames},
        traced::samples,
    },
    v8::gc::Isolates,
    verdict::Evidence,
};

/// Growth below this says nothing: pages come and go.
const LEAST_GROWTH: f64 = (4 << 20) as f64;

/// The part that grows most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Growth {
    part: Part,
    /// Bytes it grew.
    bytes: f64,
    /// Bytes that all parts that grew did.
    of: f64,
}

/// A part of the resident set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    V8Used,
    V8Unused,
    External,
    NativeLive,
    AllocatorSlack,
    File,
    Other,
}

impl Part {
    const ALL: [Self; 7] = [
        Self::V8Used,
        Self::V8Unused,
        Self::External,
        Self::NativeLive,
        Self::AllocatorSlack,
        Self::File,
        Self::Other,
    ];

    fn of(self, parts: &V8Rss) -> u64 {
        match self {
            Self::V8Used => parts.v8_used_bytes,
            Self::V8Unused => parts.v8_unused_bytes.unwrap_or(0),
            Self::External => parts.external_bytes,
            Self::NativeLive => parts.native_live_bytes,
            Self::AllocatorSlack => parts.allocator_slack_bytes.unwrap_or(0),
            Self::File => parts.file_bytes,
            Self::Other => parts.other_bytes,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::V8Used => "the JavaScript heap",
            Self::V8Unused => "pages that V8 holds without using them",
            Self::External => "contents of Buffers and array buffers",
            Self::NativeLive => "live blocks of native code",
            Self::AllocatorSlack => "the allocator's pages beyond live blocks",
            Self::File => "pages of files",
            Self::Other => "memory that is neither V8's nor the allocator's",
        }
    }

    const fn cause(self) -> (&'static str, &'static str) {
        match self {
            Self::V8Used => (
                "the JavaScript heap grows, and with it the resident set",
                "see the verdict on the heap itself; heap snapshots tell which objects stay",
            ),
            Self::V8Unused => (
                "V8 holds more pages than its objects need",
                "nothing leaks in JavaScript: a smaller --max-semi-space-size or heap limit makes V8 give pages back",
            ),
            Self::External => (
                "Buffers or other array buffers are kept: their contents live outside the JavaScript heap",
                "look for what keeps the Buffer objects: their wrappers are small, so the heap hardly grows",
            ),
            Self::NativeLive => (
                "native code allocates and does not free: an addon, a library, or V8 itself",
                "look at the call sites with a verdict",
            ),
            Self::AllocatorSlack => (
                "the allocator keeps pages of which little is in use (fragmentation), while live blocks hardly grow",
                "try another allocator (LD_PRELOAD of jemalloc) or MALLOC_ARENA_MAX=2; JavaScript is not to blame",
            ),
            Self::File => {
                ("pages of files are mapped and read", "these can be given up by the kernel: no leak")
            }
            Self::Other => {
                ("memory is mapped directly, or compiled code grows", "trace with --mmap to see who maps it")
            }
        }
    }
}

impl Growth {
    pub(super) fn evidence(&self) -> Evidence {
        let share = self.bytes / self.of.max(1.0);
        let says = format!(
            "{} grew by {:.1} MiB, {:.0} % of what grew",
            self.part.name(),
            self.bytes / f64::from(1 << 20),
            share * 100.0
        );
        Evidence { name: format!("rss_{}", self.key()), value: share, says }
    }

    const fn key(&self) -> &'static str {
        match self.part {
            Part::V8Used => "v8_used",
            Part::V8Unused => "v8_unused",
            Part::External => "external",
            Part::NativeLive => "native_live",
            Part::AllocatorSlack => "allocator_slack",
            Part::File => "file",
            Part::Other => "other",
        }
    }

    pub(super) const fn cause(&self) -> &'static str {
        self.part.cause().0
    }

    pub(super) const fn advice(&self) -> &'static str {
        self.part.cause().1
    }
}

/// The parts over time.
#[derive(Debug, Default)]
pub(super) struct Parts {
    now: Option<V8Rss>,
    series: [Series; Part::ALL.len()],
}

impl Parts {
    pub(super) fn push(&mut self, t: f64, parts: V8Rss) {
        for (series, part) in self.series.iter_mut().zip(Part::ALL) {
            series.push(t, part.of(&parts));
        }
        self.now = Some(parts);
    }

    pub(super) const fn now(&self) -> Option<&V8Rss> {
        self.now.as_ref()
    }

    /// The part that grew most since the trace began, if one did.
    pub(super) fn what_grew(&self) -> Option<Growth> {
        let grown = self
            .series
            .iter()
            .zip(Part::ALL)
            .filter_map(|(series, part)| Some((part, samples(series).growth()?)));
        let grown: Vec<_> = grown.filter(|(_, bytes)| *bytes > 0.0).collect();
        let of = grown.iter().map(|(_, bytes)| bytes).sum();
        let (part, bytes) = grown.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        (bytes >= LEAST_GROWTH).then_some(Growth { part, bytes, of })
    }
}

/// Splits the resident set of a process. What is counted by address space need not be resident, so the rest is what
/// the parts leave, and never less than nothing.
pub(super) fn split(
    usage: &ProcessUsage,
    isolates: &Isolates,
    live_bytes: u64,
    external_bytes: u64,
) -> V8Rss {
    let used = isolates.used_bytes();
    let committed = isolates.committed_bytes().filter(|_| !isolates.is_empty());
    let unused = committed.map(|committed| committed.saturating_sub(used));
    let external = external_bytes.min(live_bytes);
    let native = live_bytes - external;
    let pages = usage.pages.unwrap_or_default();
    // Large blocks have mappings of their own, so that this is the least that it can be; what is missing is in the rest.
    let slack = usage.pages.map(|pages| pages.allocator_bytes.saturating_sub(live_bytes));
    let file = usage.split.file_bytes.saturating_add(usage.split.shmem_bytes);
    let explained =
        [used, unused.unwrap_or(0), external, native, slack.unwrap_or(0), pages.stack_bytes, file];
    let explained = explained.into_iter().fold(0, u64::saturating_add);
    V8Rss {
        v8_used_bytes: used,
        v8_unused_bytes: unused,
        external_bytes: external,
        native_live_bytes: native,
        allocator_slack_bytes: slack,
        stack_bytes: pages.stack_bytes,
        file_bytes: file,
        other_bytes: usage.rss_bytes.saturating_sub(explained),
    }
}

/// Live bytes of call sites by which V8's embedder allocates the contents of array buffers, as far as their names are
/// known.
pub(super) fn external_bytes(tracker: &Tracker, names: &Names) -> u64 {
    let sites = names.iter().filter(|(_, names)| holds_contents(names));
    let live = sites.filter_map(|(site, _)| tracker.site(site)).map(|site| site.live_bytes);
    live.fold(0, u64::saturating_add)
}

/// Functions of Node and V8 by which the contents of Buffers and array buffers are allocated.
fn holds_contents(names: &SiteNames) -> bool {
    const MARKS: [&str; 3] = ["ArrayBufferAllocator", "BackingStore", "node::Buffer::"];
    let functions = names.frames().take(8).filter_map(|frame| frame.function.as_deref());
    functions.into_iter().any(|function| MARKS.iter().any(|mark| function.contains(mark)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{output::record::RssSplit, target::pages::Pages};

    fn usage(rss: u64) -> ProcessUsage {
        let split = RssSplit { file_bytes: 10 << 20, ..RssSplit::default() };
        let pages = Pages { stack_bytes: 1 << 20, allocator_bytes: 20 << 20, ..Pages::default() };
        ProcessUsage { rss_bytes: rss, split, pages: Some(pages), ..ProcessUsage::default() }
    }

    #[test]
    fn the_parts_add_up_where_they_can() {
        let parts = split(&usage(100 << 20), &Isolates::default(), 8 << 20, 3 << 20);
        assert_eq!((parts.external_bytes, parts.native_live_bytes), (3 << 20, 5 << 20));
        assert_eq!(parts.allocator_slack_bytes, Some(12 << 20));
        let sum = parts.external_bytes + parts.native_live_bytes + (12 << 20) + (1 << 20) + (10 << 20);
        assert_eq!(parts.other_bytes, (100 << 20) - sum);
        // Live blocks that were never touched: more than is resident.
        assert_eq!(split(&usage(1 << 20), &Isolates::default(), 1 << 40, 0).other_bytes, 0);
    }

    #[test]
    fn the_part_that_grows_is_named() {
        let mut parts = Parts::default();
        assert_eq!(parts.what_grew(), None);
        for second in 0..40_u64 {
            let slack = Some((second << 20) + (5 << 20));
            let now = V8Rss { v8_used_bytes: 50 << 20, allocator_slack_bytes: slack, ..V8Rss::default() };
            parts.push(second as f64, now);
        }
        let growth = parts.what_grew().unwrap();
        assert_eq!(growth.part, Part::AllocatorSlack);
        assert_eq!(growth.evidence().name, "rss_allocator_slack");
    }
}
