//! Read-only globals that the loader sets; the verifier prunes the branches they rule out.

use aya_ebpf::Global;

/// The ABI that this object was built with; the loader compares it before it trusts anything else.
#[unsafe(no_mangle)]
pub static ABI_VERSION: Global<u32> = Global::new(leaktrace_common::ABI_VERSION);

/// Calls that ask for fewer bytes are not traced.
#[unsafe(no_mangle)]
pub static MIN_SIZE: Global<u64> = Global::new(0);

/// 1 where samples may be taken: [`crate::maps::CONTROL`] tells how. 0: everything is traced, for as long as it goes.
#[unsafe(no_mangle)]
pub static MAY_SAMPLE: Global<u32> = Global::new(0);

/// 1 where mappings are traced: then every allocation call is followed to its return, so that the mappings that an
/// allocator makes are known as its own.
#[unsafe(no_mangle)]
pub static MAPPINGS: Global<u32> = Global::new(0);

/// How many rings there are, a power of two, less one.
#[unsafe(no_mangle)]
pub static RING_MASK: Global<u32> = Global::new(0);

/// Where stacks may be copied (the kernel has what it takes, 5.17): with more bytes than these in the ring, no stack is
/// copied only because it cannot be followed to its end. Else 0.
#[unsafe(no_mangle)]
pub static COPY_ROOM: Global<u64> = Global::new(0);

/// The reader is woken when this many bytes wait in a ring; below that it looks by itself now and then.
#[unsafe(no_mangle)]
pub static WAKE_BYTES: Global<u64> = Global::new(1 << 18);

/// 1 where the loader runs in the initial pid namespace, so that the kernel's own ids are the ones it knows.
#[unsafe(no_mangle)]
pub static INITIAL_PID_NAMESPACE: Global<u32> = Global::new(1);

/// Device of the loader's pid namespace, for the other case.
#[unsafe(no_mangle)]
pub static PID_NAMESPACE_DEV: Global<u64> = Global::new(0);

/// Inode of the loader's pid namespace.
#[unsafe(no_mangle)]
pub static PID_NAMESPACE_INO: Global<u64> = Global::new(0);
