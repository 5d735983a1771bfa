//! Shared parts of the end-to-end tests: victim programs, the leaktrace binary, and how their accounts compare.
//!
//! All waiting is on conditions with one generous deadline ([`DEADLINE`]), and everything that is started is ended by
//! the value that started it, by its own process id.

mod accounts;
mod build;
mod isolation;
mod js_victim;
mod leaktrace;
mod ledger;
mod lines;
mod mapping_ledger;
mod memory;
mod node;
mod processes;
mod service;
mod verdicts;
mod victim;

pub use accounts::{Totals, dumped_blocks, within_percent};
pub use build::{Build, Language, cache_directory, rust_victim, victim_source};
pub use isolation::{Namespaced, deleted_binary};
pub use js_victim::{js_node, js_victim, with_js_victim_in_namespaces};
pub use leaktrace::{Ended, Leaktrace, leaktrace_binary};
pub use ledger::Ledger;
pub use lines::Lines;
pub use mapping_ledger::{MappingLedger, MappingReport, dumped_ranges};
pub use memory::{altered_code, no_probes_in};
pub use node::{NODES, TracedGc, node, node_victim};
pub use processes::{children, is_alive, parent_chain_contains, wait_until};
pub use service::{Bench, Nginx, Postgres, PostgresSession, Redis, free_port, http_requests};
pub use verdicts::{Said, Watched};
pub use victim::{Victim, system_library};

/// How long anything may take on the slowest machine before a test gives up: a condition's deadline, not a sleep.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_mins(1);
