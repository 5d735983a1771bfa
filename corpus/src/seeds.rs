//! Which seeds are for what. Whoever fits anything keeps to [`FITTING`]; the others are for judging only.

/// Seeds that weights, thresholds and confidence may be fitted on.
pub const FITTING: [u64; 4] = [1, 2, 3, 4];

/// The seed of the published tables.
pub const JUDGING: u64 = 20_261_123;

/// Seeds nobody has ever looked at closely; every threshold has to hold on them as well.
pub const UNSEEN: [u64; 2] = [7_340_033, 998_244_353];
