//! What is known of a subject beside its series.

/// What is known of a subject beside its series. The default is what a bare file of numbers has: nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Circumstances {
    /// Growth younger than this many seconds is at most `suspect`: a cache that fills looks the same. 0 for a series
    /// that was recorded elsewhere, whose length is all that can be known.
    pub patience_s: f64,
    /// Growth of fewer bytes is at most `suspect`: the subject moves by as much without anybody's doing.
    pub noise_bytes: f64,
    /// Share of events that were lost, 0..1.
    pub loss_share: f64,
    /// Share of allocations that was seen, 0..1; 1 without sampling.
    pub sampled_share: f64,
    /// Standard error of the last value, in bytes, where it is estimated from samples; else 0.
    pub error_bytes: f64,
    /// By what growth may have to be multiplied, at least and at most, where the subject is slowed while it is looked at.
    pub pace: Option<(f64, f64)>,
    /// Memory grows of which the traced blocks explain less than half: never `bounded`.
    pub has_unexplained_growth: bool,
    /// Growth of the resident set ÷ growth of the process's live bytes, over the same time; where both are known.
    pub rss_agreement: Option<f64>,
    /// What the trace can account for of the growth of a resident set, 0..1 and above; `None` for any other subject.
    pub accounted_share: Option<f64>,
    /// Bytes that may still come before the nearest limit (cgroup, heap limit) is reached.
    pub headroom_bytes: Option<f64>,
    /// What happened to the blocks, where the subject is a call site.
    pub site: Option<SiteFacts>,
}

impl Default for Circumstances {
    fn default() -> Self {
        Self {
            patience_s: 0.0,
            noise_bytes: 0.0,
            loss_share: 0.0,
            sampled_share: 1.0,
            error_bytes: 0.0,
            pace: None,
            has_unexplained_growth: false,
            rss_agreement: None,
            accounted_share: None,
            headroom_bytes: None,
            site: None,
        }
    }
}

/// What happened to the blocks of a call site.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SiteFacts {
    /// Allocations since attach.
    pub allocs: u64,
    /// How many of their blocks were freed.
    pub frees: u64,
    /// Share of blocks that live longer than half the time the site was watched, by Kaplan–Meier's estimate with the
    /// living as right-censored: 1 where no old block ever dies. `None` until there are enough blocks of that age.
    pub survival: Option<f64>,
    /// Share of the blocks born in the first half of the watched time that still live; `None` without any.
    pub old_cohort_alive: Option<f64>,
    /// Age of the youngest and the oldest tenth of the live blocks (10th and 90th percentile), seconds.
    pub live_age_p10_p90_s: Option<(f64, f64)>,
}
