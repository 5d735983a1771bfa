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
    /// Requested size in bytes.
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

/// [`Kind::Stack`].
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
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<AllocationRecord>() == 40);
    assert!(size_of::<FreeRecord>() == 24);
    assert!(size_of::<LifecycleRecord>() == 24);
    assert!(size_of::<StackRecord>() == 32 + 8 * MAX_FRAMES);
    assert!(size_of::<CallSlot>() == 88);
    assert!(offset_of!(AllocationRecord, address) == 16);
    assert!(offset_of!(FreeRecord, address) == 16);
    assert!(offset_of!(StackRecord, frames) == 32);
};
