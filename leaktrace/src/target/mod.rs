//! WHO we trace: process facts, mappings, ELF files, which allocator, which runtime.
