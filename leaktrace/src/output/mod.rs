//! What leaktrace prints: records as NDJSON, the live table, the summary.

pub mod doctor;
pub mod dump;
pub mod escape;
#[cfg(test)]
pub(crate) mod fixture;
pub mod heap_record;
pub mod heap_text;
pub mod leak;
mod memory_record;
pub mod ndjson;
pub mod plain;
mod plot;
mod rates;
pub mod record;
pub mod schema;
pub mod sink;
mod stack;
pub mod stacks;
mod summary;
pub mod table;
pub mod text;
pub mod thread;
pub mod v8_record;
pub mod verdict;
pub mod verdict_text;
pub mod walk_record;
pub mod walk_text;
