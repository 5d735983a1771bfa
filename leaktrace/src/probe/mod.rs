//! WHERE we look: which function, which instruction, attach, detach. The only room that names aya's program types.

pub mod calibration;
pub mod code_map;
pub mod copies;
pub mod detach;
pub mod links;
pub mod multi;
pub mod object;
mod own_child;
pub mod placement;
pub mod plan;
pub mod prices;
pub mod programs;
pub mod rings;
pub mod run_times;
pub mod trial;
