//! Addresses -> functions and lines.
