//! The attach cookie: all that a BPF program needs to know about the function it was attached to.
//!
//! One program serves every function of its shape; what differs (which argument is the size, which process this
//! is) travels in the 64-bit cookie of the attachment, so that no map look-up is needed to learn it.

/// A register that carries an integer argument in the System V calling convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Argument {
    /// `rdi`.
    First = 0,
    /// `rsi`.
    Second = 1,
    /// `rdx`.
    Third = 2,
    /// `rcx`.
    Fourth = 3,
    /// The function has no such argument.
    None = 7,
}

impl Argument {
    const fn from_bits(bits: u64) -> Self {
        match bits & 7 {
            0 => Self::First,
            1 => Self::Second,
            2 => Self::Third,
            3 => Self::Fourth,
            _ => Self::None,
        }
    }
}

/// How a function hands out or takes back a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// Returns the block, or null.
    Allocate = 0,
    /// Takes a block (`pointer`), returns a block or null.
    Reallocate = 1,
    /// Stores the block through `pointer`, returns 0 or an error number.
    StoreResult = 2,
    /// Takes a block (`pointer`) for good.
    Free = 3,
    /// Returns the block or throws: `operator new`. Never gets a return probe.
    New = 4,
    /// `mmap`: returns the mapping, or -1.
    Map = 5,
    /// `munmap`: takes `pointer` and `size`.
    Unmap = 6,
    /// `mremap`: takes `pointer`, old and new size; returns the mapping, or -1.
    Remap = 7,
    /// The dynamic linker's announcement that its list of objects changed.
    ObjectsChanged = 8,
    /// `mprotect`: takes `pointer`, `size` and the new protection; returns 0, or -1.
    Protect = 9,
    /// A step of a V8 collection: what it was called with tells all.
    CollectStep = 10,
    /// A V8 function that returns a number of bytes of the heap in `pointer`.
    Measure = 11,
}

impl Role {
    /// Does it hand out, take back or change whole pages, rather than blocks?
    pub const fn is_mapping(self) -> bool {
        matches!(self, Self::Map | Self::Unmap | Self::Remap | Self::Protect)
    }

    /// Is it about V8's heap?
    pub const fn is_v8(self) -> bool {
        matches!(self, Self::CollectStep | Self::Measure)
    }

    const fn from_bits(bits: u64) -> Self {
        match bits & 15 {
            1 => Self::Reallocate,
            2 => Self::StoreResult,
            3 => Self::Free,
            4 => Self::New,
            5 => Self::Map,
            6 => Self::Unmap,
            7 => Self::Remap,
            8 => Self::ObjectsChanged,
            9 => Self::Protect,
            10 => Self::CollectStep,
            11 => Self::Measure,
            _ => Self::Allocate,
        }
    }
}

/// What an attachment tells its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cookie {
    /// Number of the function's name, as the loader numbers them.
    pub function: u8,
    /// What the function does.
    pub role: Role,
    /// The argument that holds the size in bytes.
    pub size: Argument,
    /// The argument that the size is to be multiplied by (calloc, reallocarray).
    pub count: Argument,
    /// The argument that holds a pointer: the block to free, or where the result is stored.
    pub pointer: Argument,
    /// Index of the process.
    pub process: u16,
    /// It never calls another function that is probed: where its block is not wanted its return need not be seen.
    pub is_leaf: bool,
}

impl Cookie {
    /// The cookie as the kernel carries it.
    pub const fn to_bits(self) -> u64 {
        (self.function as u64)
            | ((self.role as u64) << 8)
            | ((self.size as u64) << 12)
            | ((self.count as u64) << 15)
            | ((self.pointer as u64) << 18)
            | ((self.is_leaf as u64) << 21)
            | ((self.process as u64) << 24)
    }

    /// The cookie behind its bits; bits that mean nothing read as the first or the absent choice.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            function: bits as u8,
            role: Role::from_bits(bits >> 8),
            size: Argument::from_bits(bits >> 12),
            count: Argument::from_bits(bits >> 15),
            pointer: Argument::from_bits(bits >> 18),
            is_leaf: bits >> 21 & 1 == 1,
            process: (bits >> 24) as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Argument, Cookie, Role};

    #[test]
    fn cookies_survive_the_kernel() {
        let roles = [Role::Allocate, Role::Reallocate, Role::StoreResult, Role::Free, Role::New, Role::Map];
        let roles = roles.into_iter().chain([
            Role::Unmap,
            Role::Remap,
            Role::ObjectsChanged,
            Role::Protect,
            Role::CollectStep,
            Role::Measure,
        ]);
        let arguments =
            [Argument::First, Argument::Second, Argument::Third, Argument::Fourth, Argument::None];
        for role in roles {
            for (index, size) in arguments.into_iter().enumerate() {
                let count = arguments[(index + 1) % arguments.len()];
                let pointer = arguments[(index + 2) % arguments.len()];
                for (function, process) in [(0, 0), (1, u16::MAX), (u8::MAX, 1)] {
                    let is_leaf = process == 1;
                    let cookie = Cookie { function, role, size, count, pointer, process, is_leaf };
                    assert_eq!(Cookie::from_bits(cookie.to_bits()), cookie);
                }
            }
        }
    }
}
