//! Churn over tikv-jemallocator (symbols with the prefix `_rjem_`), with a ledger.
include!("../../churn.rs");

static INNER: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
