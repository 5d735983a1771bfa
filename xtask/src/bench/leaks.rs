//! What names a leak in a server under load, how soon, and at what rate: with everything traced, and with a twentieth of a CPU.

mod leaky;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::table::{Table, number, ratio};
use super::tracer::{Programs, Tracer, Variant};
use leaky::Leaky;

/// A load runs for so long before the trace begins.
const WARM_UP: Duration = Duration::from_secs(3);

type Start = fn() -> Result<Leaky>;

/// A call site that was called a leak.
#[derive(Debug, PartialEq)]
struct Named {
    function: String,
    /// Seconds since attach, when it was first called so.
    t: f64,
    bytes_per_s: f64,
}

/// Traces both servers, each in both ways, for so long each.
pub(super) fn run(programs: &Programs, time: Duration) -> Result<()> {
    let mut table = Table::new(
        format!("leaks: a server under load that leaks about 1 MB/s, looked at for {} s", time.as_secs()),
        &["server", "traced", "leaked kB/s", "told kB/s", "told/leaked", "called a leak after s", "where"],
    );
    let servers: [(&str, Start); 2] = [("redis", leaky::redis), ("node", leaky::node)];
    for (name, start) in servers {
        for (traced, variant) in [("everything", Variant::Leaktrace), ("5%", Variant::Budget)] {
            eprintln!("leaks, {name}: {variant:?}");
            let (leaked, named) = look(programs, &start()?, variant, time)?;
            let told = named.as_ref().map(|named| named.bytes_per_s);
            table.row(vec![
                name.to_owned(),
                traced.to_owned(),
                number(Some(leaked / 1e3)),
                number(told.map(|told| told / 1e3)),
                ratio(told, Some(leaked)),
                number(named.as_ref().map(|named| named.t)),
                named.map_or_else(|| "-".to_owned(), |named| named.function),
            ]);
        }
    }
    print!("{table}");
    Ok(())
}

/// Bytes a second that were leaked while a server was traced, and the call site that is called a leak of most.
fn look(
    programs: &Programs,
    server: &Leaky,
    variant: Variant,
    time: Duration,
) -> Result<(f64, Option<Named>)> {
    thread::sleep(WARM_UP);
    let tracer = Tracer::attach(variant, programs.root, &programs.leaktrace, server.pid())?;
    let tracer = tracer.context("nothing to look with")?;
    let (kept, since) = (server.kept_bytes()?, Instant::now());
    thread::sleep(time);
    let leaked = (server.kept_bytes()? - kept) as f64 / since.elapsed().as_secs_f64();
    Ok((leaked, largest_leak(&tracer.end()?)))
}

/// Of the call sites that are called leaks at the end, the one that grows fastest.
fn largest_leak(printed: &str) -> Option<Named> {
    let records = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut leaks = BTreeMap::new();
    for record in records.filter(|record| record["type"] == "verdict" && record["subject"]["kind"] == "site")
    {
        let site = record["subject"]["id"].as_u64()?;
        if record["verdict"] != "leak" {
            leaks.remove(&site);
            continue;
        }
        let first = leaks.get(&site).map_or(record["t"].as_f64()?, |named: &Named| named.t);
        leaks.insert(site, named(&record, first));
    }
    leaks.into_values().max_by(|one, other| one.bytes_per_s.total_cmp(&other.bytes_per_s))
}

fn named(verdict: &Value, t: f64) -> Named {
    let culprit = &verdict["culprit"];
    let function = culprit["function"].as_str().map_or_else(|| culprit["address"].to_string(), str::to_owned);
    Named { function, t, bytes_per_s: verdict["growth_bytes_per_s"].as_f64().unwrap_or(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_is_still_called_a_leak_is_named() {
        let verdict = |t: f64, id: u32, verdict: &str, rate: f64| {
            format!(
                "{{\"type\":\"verdict\",\"t\":{t},\"subject\":{{\"kind\":\"site\",\"id\":{id}}},\"verdict\":\"{verdict}\",\
                 \"growth_bytes_per_s\":{rate},\"culprit\":{{\"function\":\"f{id}\"}}}}\n"
            )
        };
        let printed = [
            verdict(1.0, 1, "leak", 900.0),
            verdict(2.0, 2, "suspect", 50.0),
            verdict(3.0, 2, "leak", 60.0),
            verdict(4.0, 1, "steady", 0.0),
            verdict(5.0, 2, "leak", 70.0),
            verdict(6.0, 3, "leak", 10.0),
        ];
        let named = Named { function: "f2".to_owned(), t: 3.0, bytes_per_s: 70.0 };
        assert_eq!(largest_leak(&printed.concat()), Some(named));
        assert_eq!(largest_leak(""), None);
    }
}
