//! Churn over the system allocator, with a ledger.
include!("../../churn.rs");

static INNER: std::alloc::System = std::alloc::System;
