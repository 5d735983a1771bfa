//! What leaktrace prints: records as NDJSON, the live table, the summary.

pub mod record;
