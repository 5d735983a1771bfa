//! WHAT happened: ring buffer -> decoded, ordered events and loss counters.
