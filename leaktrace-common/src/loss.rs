//! Counters for everything that the BPF programs could not deliver, one a cause.

/// Index into the LOSSES map. The names (see [`Loss::name`]) are the fields of `losses` in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Loss {
    /// No room in the ring buffer for an allocation: the block is not in the live map.
    RingFullAllocation = 0,
    /// No room in the ring buffer for a free: the block stays in the live map until its address is used again.
    RingFullFree = 1,
    /// No room in the ring buffer for the begin or end of a reallocation.
    RingFullRealloc = 2,
    /// No room in the ring buffer for a stack: the allocation is kept, and the stack sent again with a later one.
    RingFullStack = 3,
    /// No room in the ring buffer for a fork, exec, exit or dlopen.
    RingFullLifecycle = 4,
    /// The set of known stacks is full: the allocation is kept without its stack.
    StacksFull = 5,
    /// A page of the stack could not be read: the allocation is kept, and the stack sent again with a later one.
    StackUnreadable = 6,
    /// No room for another thread's call slot: the call is not seen.
    CallsFull = 7,
    /// A call never returned to its caller (longjmp, exception, thread death): nothing is known of its result.
    AbandonedCall = 8,
    /// A call returned whose entry was not seen (under way when tracing began, or its entry was lost).
    MissedEntry = 9,
    /// The result of posix_memalign could not be read from the target's memory.
    UnreadableResult = 10,
    /// No room in the ring buffer for what mmap, munmap, mremap or mprotect did.
    RingFullMapping = 11,
    /// No room in the ring buffer for a step of a V8 collection.
    RingFullGc = 12,
    /// No room to remember that a thread asks V8 for a size: the size is not seen.
    MeasuresFull = 13,
    /// No room to remember that a block was sampled: the sample is left out.
    SampledFull = 14,
}

impl Loss {
    /// How many causes there are.
    pub const COUNT: usize = 15;

    /// All causes, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::RingFullAllocation,
        Self::RingFullFree,
        Self::RingFullRealloc,
        Self::RingFullStack,
        Self::RingFullLifecycle,
        Self::StacksFull,
        Self::StackUnreadable,
        Self::CallsFull,
        Self::AbandonedCall,
        Self::MissedEntry,
        Self::UnreadableResult,
        Self::RingFullMapping,
        Self::RingFullGc,
        Self::MeasuresFull,
        Self::SampledFull,
    ];

    /// The name of the counter in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFullAllocation => "ring_full_allocations",
            Self::RingFullFree => "ring_full_frees",
            Self::RingFullRealloc => "ring_full_reallocs",
            Self::RingFullStack => "ring_full_stacks",
            Self::RingFullLifecycle => "ring_full_lifecycle",
            Self::StacksFull => "stacks_full",
            Self::StackUnreadable => "stacks_unreadable",
            Self::CallsFull => "calls_full",
            Self::AbandonedCall => "abandoned_calls",
            Self::MissedEntry => "missed_entries",
            Self::UnreadableResult => "unreadable_results",
            Self::RingFullMapping => "ring_full_mappings",
            Self::RingFullGc => "ring_full_gc",
            Self::MeasuresFull => "gc_measures_full",
            Self::SampledFull => "samples_full",
        }
    }
}
