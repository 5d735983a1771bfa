//! Recordings: written while tracing, read by `leaktrace replay`.
