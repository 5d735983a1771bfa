//! The `leaktrace` command: parse, run, exit code.

fn main() {}
