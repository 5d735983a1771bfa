//! Why V8 collects, in its own words.

/// `GarbageCollectionReason` as it is in all versions from 9.4 to 14.6, by number.
const SAME_IN_ALL: [&str; 26] = [
    "unknown",
    "allocation failure",
    "allocation limit",
    "context disposal",
    "counters extension",
    "debugger",
    "deserialize",
    "external memory pressure",
    "finalize incremental marking via stack guard",
    "finalize incremental marking via task",
    "full hash-table",
    "heap profiler",
    "task",
    "last resort",
    "low memory notification",
    "make heap iterable",
    "memory pressure",
    "memory reducer",
    "runtime",
    "sampling profiler",
    "snapshot creator",
    "testing",
    "external finalize",
    "global allocation limit",
    "measure memory",
    "background allocation failure",
];

/// The reason with this number in this version of V8, in the words of `--trace-gc`; the number itself where that is not
/// known.
pub fn reason_name(number: u32, version: Option<&str>) -> String {
    let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    let added = match (number, major) {
        (26, Some(11)) => Some("finalize MinorMC"),
        (26, Some(12..=14)) => Some("finalize concurrent MinorMS"),
        (27, Some(11..=14)) => Some("CppHeap allocation failure"),
        (28, Some(14)) => Some("frozen"),
        (29, Some(14)) => Some("idle context disposal"),
        (30, Some(14)) => Some("finalize MinorMS for major GC"),
        _ => None,
    };
    let same = SAME_IN_ALL.get(number as usize).copied();
    same.or(added).map_or_else(|| number.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::reason_name;

    #[test]
    fn numbers_that_a_version_does_not_have_stay_numbers() {
        assert_eq!(reason_name(21, None), "testing");
        assert_eq!(reason_name(26, Some("9.4.146.26-node.26")), "26");
        assert_eq!(reason_name(26, Some("11.3.244.8-node.38")), "finalize MinorMC");
        assert_eq!(reason_name(29, Some("14.6.202.34-node.34")), "idle context disposal");
        assert_eq!(reason_name(29, None), "29");
        assert_eq!(reason_name(u32::MAX, Some("x")), "4294967295");
    }
}
