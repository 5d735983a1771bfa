//! Records of the ring buffer, and the per-thread state between a call's entry and its return.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most return addresses one stack keeps; deeper stacks are cut at their outer end and marked.
pub const MAX_FRAMES: usize = 127;

/// What a record says. The numbers are part of the ABI and of recordings: they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A block was allocated: [`AllocationRecord`].
    Allocation = 1,
    /// A block is about to be freed: [`FreeRecord`].
    Free = 2,
    /// A reallocation began; its old block is in flight until the end record of the same thread: [`FreeRecord`].
    ReallocBegin = 3,
    /// A reallocation returned: [`AllocationRecord`]. With `address` 0 nothing was allocated: the old block was
    /// freed if `size` is 0, and lives on otherwise.
    ReallocEnd = 4,
    /// A reallocation never returned (longjmp, thread death): [`FreeRecord`] with the old address.
    ReallocAbandoned = 5,
    /// The return addresses behind a stack hash, sent before the first record that names the hash: [`StackRecord`].
    Stack = 6,
    /// The process replaced its image: [`LifecycleRecord`].
    Exec = 7,
    /// The process made a child process or thread: [`LifecycleRecord`].
    Fork = 8,
    /// A thread of the process ended: [`LifecycleRecord`]; `tid == pid` is the main thread.
    Exit = 9,
    /// The dynamic linker changed the process's list of loaded objects: [`LifecycleRecord`].
    ObjectsChanged = 10,
    /// `mmap` returned a mapping, of a file or of memory: [`MappingRecord`].
    Map = 11,
    /// `munmap` is about to release a range, which is in flight until the end record of the same thread:
    /// [`RangeRecord`].
    UnmapBegin = 12,
    /// `munmap` returned: [`RangeRecord`]. With `length` 0 it failed, and the range lives on.
    UnmapEnd = 13,
    /// `mremap` is about to resize, move or duplicate a range: [`RangeRecord`].
    RemapBegin = 14,
    /// `mremap` returned: [`MappingRecord`]. With `address` 0 it failed, and the old range lives on.
    RemapEnd = 15,
    /// `mprotect` changed what may be done with a range: [`MappingRecord`] without a stack.
    Protect = 16,
    /// The return addresses behind a stack hash of mappings, which are told apart from those of blocks:
    /// [`StackRecord`].
    MappingStack = 17,
    /// A step of a V8 collection began; the function tells which: [`GcRecord`].
    GcStep = 18,
    /// A V8 function returned a number of bytes: [`GcRecord`].
    GcMeasured = 19,
    /// A piece of a thread's stack, to be unwound by the loader; it never goes further: [`StackCopy`].
    StackCopy = 20,
}

impl Kind {
    /// The kind behind its number, if there is one.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Allocation,
            2 => Self::Free,
            3 => Self::ReallocBegin,
            4 => Self::ReallocEnd,
            5 => Self::ReallocAbandoned,
            6 => Self::Stack,
            7 => Self::Exec,
            8 => Self::Fork,
            9 => Self::Exit,
            10 => Self::ObjectsChanged,
            11 => Self::Map,
            12 => Self::UnmapBegin,
            13 => Self::UnmapEnd,
            14 => Self::RemapBegin,
            15 => Self::RemapEnd,
            16 => Self::Protect,
            17 => Self::MappingStack,
            18 => Self::GcStep,
            19 => Self::GcMeasured,
            20 => Self::StackCopy,
            _ => return None,
        })
    }
}

/// The first 16 bytes of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// A [`Kind`].
    pub kind: u8,
    /// Which allocation function was called, as the loader numbers them; 0 where none was.
    pub function: u8,
    /// Index of the process, as the loader numbers them (its children get numbers of their own).
    pub process: u16,
    /// Thread id, in the initial pid namespace.
    pub tid: u32,
    /// `bpf_ktime_get_ns`: nanoseconds of the monotonic clock.
    pub time_ns: u64,
}

/// [`Kind::Allocation`] and [`Kind::ReallocEnd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AllocationRecord {
    /// What, who and when.
    pub header: Header,
    /// Address of the block.
    pub address: u64,
    /// Requested size in bytes, and the level at which the block was taken: see [`crate::sampling::tagged`].
    pub size: u64,
    /// Hash of the stack, or [`crate::NO_STACK`].
    pub stack: u64,
}

/// [`Kind::Free`], [`Kind::ReallocBegin`] and [`Kind::ReallocAbandoned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FreeRecord {
    /// What, who and when.
    pub header: Header,
    /// Address of the block.
    pub address: u64,
}

/// [`Kind::Map`], [`Kind::RemapEnd`] and [`Kind::Protect`]. Lengths, protections and flags are those that the
/// function was given, as the C library names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MappingRecord {
    /// What, who and when.
    pub header: Header,
    /// Where the range begins.
    pub address: u64,
    /// Its length in bytes, not rounded to pages.
    pub length: u64,
    /// Hash of the stack, or [`crate::NO_STACK`].
    pub stack: u64,
    /// What may be done with the range (`PROT_…`); 0 for mremap, which keeps what was.
    pub protection: u32,
    /// Flags of mmap (`MAP_…`) or mremap (`MREMAP_…`).
    pub flags: u32,
}

/// [`Kind::UnmapBegin`], [`Kind::UnmapEnd`] and [`Kind::RemapBegin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RangeRecord {
    /// What, who and when.
    pub header: Header,
    /// Where the range begins.
    pub address: u64,
    /// Its length in bytes, not rounded to pages.
    pub length: u64,
}

/// [`Kind::GcStep`] and [`Kind::GcMeasured`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GcRecord {
    /// What, who and when.
    pub header: Header,
    /// The object that the function belongs to, by address: V8's `Heap`, one an isolate, or its tracer.
    pub object: u64,
    /// The second argument of a step; of a size the bytes.
    pub value: u64,
    /// The third argument of a step; of a size where its caller goes on.
    pub detail: u64,
}

/// [`Kind::Exec`], [`Kind::Fork`], [`Kind::Exit`] and [`Kind::ObjectsChanged`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LifecycleRecord {
    /// What, who and when.
    pub header: Header,
    /// Thread-group id, in the loader's pid namespace; 0 where it is not known.
    pub pid: u32,
    /// Thread id, in the loader's pid namespace; 0 where it is not known.
    pub tid: u32,
}

/// [`Kind::Stack`] and [`Kind::MappingStack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackRecord {
    /// What, who and when.
    pub header: Header,
    /// Hash of the stack, as later allocation records name it.
    pub hash: u64,
    /// How many of `frames` are filled, innermost (the allocation function's direct caller) first.
    pub depth: u32,
    /// 1 if the walk stopped because `frames` was full.
    pub truncated: u32,
    /// Return addresses.
    pub frames: [u64; MAX_FRAMES],
}

/// [`Kind::StackCopy`]: what stands before the copied bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackCopy {
    /// What, who and when.
    pub header: Header,
    /// Hash of the stack, as later allocation records name it.
    pub hash: u64,
    /// Return address of the call: an address in its direct caller.
    pub caller: u64,
    /// Stack pointer of the caller, from which on the stack was copied.
    pub sp: u64,
    /// Frame pointer register.
    pub fp: u64,
    /// Bytes that were copied; more may follow that are none of them.
    pub length: u32,
    /// The kind of stack it is: [`Kind::Stack`] or [`Kind::MappingStack`].
    pub kind: u8,
    /// Why it was copied: a [`crate::Reason`].
    pub reason: u8,
    /// How many return addresses the hash covers, the caller among them. More of the stack may be in the copy; but where
    /// the hash may come again, it may come with another rest.
    pub followed: u16,
}

/// What a thread's outermost allocation call asked for, kept from its entry to its return (value of the CALLS map).
///
/// The slot stays in the map while its thread lives (taking it out and in again costs more than the call's own
/// work), so `active` says whether a call is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CallSlot {
    /// Stack pointer at entry: where the return address of the call stands.
    pub sp: u64,
    /// The return address found there at entry.
    pub return_address: u64,
    /// Requested size in bytes; `u64::MAX` where a product overflowed.
    pub size: u64,
    /// The old block of a reallocation, or the result pointer's address of posix_memalign.
    pub pointer: u64,
    /// Stack pointer at the entry of an `operator new` under way.
    pub new_sp: u64,
    /// The size that it asked for.
    pub new_size: u64,
    /// The return address found at its entry; read only where mappings are traced.
    pub new_return_address: u64,
    /// The block last reported for this thread: the same one coming out of `operator new` is not counted again.
    pub last_block: u64,
    /// Address, stack pointer and return address of the thread's last free, to know a free within a free.
    pub last_free: u64,
    /// See `last_free`.
    pub last_free_sp: u64,
    /// Function number of the last free.
    pub last_free_function: u32,
    /// 1 while a call is under way.
    pub active: u32,
    /// Cookie of the call under way.
    pub cookie: u64,
    /// Bytes that the thread will allocate before the next sample; 0 before the first. See [`crate::sampling`].
    pub until_sample: u64,
    /// Not 0 where the block of the call under way is to be told, as it is large enough, and a sample where samples are taken:
    /// the level at which it was taken, and 1.
    pub wanted: u32,
    /// 1 where the call under way moves a block that was told.
    pub moves: u32,
    /// The same of the `operator new` under way.
    pub new_wanted: u32,
    /// The level for which `until_sample` was drawn.
    pub sample_level: u32,
}

/// What a thread's mapping call asked for, kept from its entry to its return (value of the MAPPING_CALLS map).
///
/// Not a part of [`CallSlot`]: a signal handler may allocate while `munmap` is under way, and that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MappingSlot {
    /// Stack pointer at entry; 0 while no call is under way.
    pub sp: u64,
    /// The return address found there at entry.
    pub return_address: u64,
    /// First argument: where the range begins.
    pub address: u64,
    /// Length of the range: the second argument, or the third of mremap.
    pub length: u64,
    /// Protection that mmap or mprotect was given.
    pub protection: u32,
    /// Flags that mmap or mremap was given.
    pub flags: u32,
    /// 1 if the call is an allocator's own business, within a call that counts by itself.
    pub is_inner: u32,
    /// Keeps the size a multiple of 8 without padding.
    pub zero: u32,
}

/// What a thread asks V8 for, kept from the call's entry to its return (value of the MEASURES map).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MeasureSlot {
    /// Stack pointer at entry: where the return address stands.
    pub sp: u64,
    /// The return address found there at entry.
    pub return_address: u64,
    /// The object that is asked.
    pub object: u64,
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<AllocationRecord>() == 40);
    assert!(size_of::<FreeRecord>() == 24);
    assert!(size_of::<LifecycleRecord>() == 24);
    assert!(size_of::<StackRecord>() == 32 + 8 * MAX_FRAMES);
    assert!(size_of::<CallSlot>() == 120);
    assert!(size_of::<MappingRecord>() == 48);
    assert!(size_of::<RangeRecord>() == 32);
    assert!(size_of::<MappingSlot>() == 48);
    assert!(size_of::<GcRecord>() == 40);
    assert!(size_of::<MeasureSlot>() == 24);
    assert!(size_of::<StackCopy>() == 56);
    assert!(offset_of!(AllocationRecord, address) == 16);
    assert!(offset_of!(FreeRecord, address) == 16);
    assert!(offset_of!(StackRecord, frames) == 32);
};
