//! WHERE we look: which function, which instruction, attach, detach. The only room that names aya program types.

pub mod placement;
