//! WHERE we look: which function, which instruction, attach, detach. The only room that names aya's program types.

pub mod code_map;
pub mod copies;
pub mod links;
pub mod multi;
pub mod object;
pub mod placement;
pub mod plan;
pub mod programs;
pub mod trial;
