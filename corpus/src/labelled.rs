//! A series and the truth about it.

/// The eight classes of DESIGN: the seven patterns, with `periodic` told apart by its troughs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Sustained growth, steady or accelerating.
    Linear,
    /// Four or more jumps with flat treads, never back down.
    Staircase,
    /// Four or more cycles whose low points rise.
    PeriodicRising,
    /// Four or more cycles back to the same floor.
    PeriodicFlat,
    /// One abrupt large jump that stays.
    Spike,
    /// Growth that saturates.
    Warmup,
    /// No net growth.
    Steady,
    /// Less and less.
    Shrinking,
}

impl Class {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 8] = [
        Self::Linear,
        Self::Staircase,
        Self::PeriodicRising,
        Self::PeriodicFlat,
        Self::Spike,
        Self::Warmup,
        Self::Steady,
        Self::Shrinking,
    ];

    /// The truth that goes with it.
    pub const fn truth(self) -> Truth {
        match self {
            Self::Linear | Self::Staircase | Self::PeriodicRising => Truth::Leak,
            Self::Spike => Truth::Suspect,
            Self::PeriodicFlat | Self::Warmup | Self::Steady | Self::Shrinking => Truth::Bounded,
        }
    }

    /// Its name in tables and label files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Staircase => "staircase",
            Self::PeriodicRising => "periodic_rising",
            Self::PeriodicFlat => "periodic_flat",
            Self::Spike => "spike",
            Self::Warmup => "warmup",
            Self::Steady => "steady",
            Self::Shrinking => "shrinking",
        }
    }

    /// The class of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// What the verdict has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    /// It grows without bound.
    Leak,
    /// It may be one: a jump that stays.
    Suspect,
    /// It is none.
    Bounded,
}

/// A series and the truth about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// How it was made ("linear/late", "recorded/cache"), for tables of errors.
    pub name: String,
    /// What it is.
    pub class: Class,
    /// True growth in the long run, bytes a second; `None` where there is no one rate: accelerating growth, warm-up,
    /// jumps, walks, bending decline, and anything recorded whose rate was not measured otherwise.
    pub rate: Option<f64>,
    /// Standard deviation of the noise that was put on top, bytes; 0 without noise.
    pub noise_sd: f64,
    /// Whether `insufficient_data` is an honest answer: fewer than 30 points.
    pub may_be_insufficient: bool,
    /// How easy it was meant to be, 0 (at the edge of what can be told) to 1.
    pub ease: f64,
    /// Seconds and bytes; times strictly ascend.
    pub points: Vec<(f64, u64)>,
}

impl Labelled {
    /// What the verdict has to be.
    pub const fn truth(&self) -> Truth {
        self.class.truth()
    }

    /// Seconds from the first point to the last.
    pub fn span_s(&self) -> f64 {
        match (self.points.first(), self.points.last()) {
            (Some(first), Some(last)) => last.0 - first.0,
            _ => 0.0,
        }
    }

    /// True growth over the window in bytes, where there is a rate.
    pub fn growth_over_window(&self) -> Option<f64> {
        self.rate.map(|rate| rate * self.span_s())
    }
}
