//! Which inspectors are used, opened and closed, and which processes are left alone.

use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Leaktrace, js_node, js_victim, with_js_victim_in_namespaces};
use serde_json::Value;

use super::{ANY_PORT, ends_well, expect_refused, first_functions, is_open, listening_ports, pid_of};
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("javascript::inspector::open_one_stays_open", open_one),
    ("javascript::inspector::opened_one_is_closed_and_can_be_opened_again", opened_and_closed),
    ("javascript::inspector::user_handler_is_left_alone", user_handler),
    ("javascript::inspector::disabled_signal", disabled),
    ("javascript::inspector::port_taken", port_taken),
    ("javascript::inspector::other_namespaces", namespaces),
    ("javascript::inspector::no_node", no_node),
    ("javascript::inspector::target_ends_while_it_is_sampled", target_ends),
];

const SITES: &str = "--js-sites";

/// A call site of JavaScript with this function, in a tick.
fn shows(record: &Value, function: &str) -> bool {
    let mut sites = record["sites"].as_array().into_iter().flatten();
    record["type"] == "tick" && sites.any(|site| site["kind"] == "js" && site["function"] == function)
}

fn open_one() -> Result<()> {
    let victim = js_victim(&["--inspect=127.0.0.1:0"], &["closure"])?;
    let [port] = listening_ports(victim.pid())?[..] else { anyhow::bail!("no inspector") };
    let mut leaktrace = Leaktrace::attach(victim.pid(), &[SITES])?;
    leaktrace.wait_for("the call site", |record| shows(record, "leak_closure"))?;
    leaktrace.stop()?.expect_success()?;
    ensure!(is_open(port), "somebody else's inspector was closed");
    ends_well(victim)
}

fn opened_and_closed() -> Result<()> {
    let victim = js_victim(ANY_PORT, &["closure"])?;
    for _ in 0..2 {
        let mut leaktrace = Leaktrace::attach(victim.pid(), &[SITES])?;
        leaktrace.wait_for("the call site", |record| shows(record, "leak_closure"))?;
        ensure!(listening_ports(victim.pid())?.len() == 1, "the inspector is not open");
        let ended = leaktrace.stop()?;
        ended.expect_success()?;
        ensure!(ended.of_type("notice").all(|notice| notice["code"] != "inspector_open"), "it stays open");
        ensure!(listening_ports(victim.pid())?.is_empty(), "the inspector is still open");
    }
    ends_well(victim)
}

fn user_handler() -> Result<()> {
    let victim = js_victim(&[], &["user-handler"])?;
    expect_refused(&Leaktrace::run(&["--pid", &pid_of(&victim), SITES])?, "handles SIGUSR1 itself")?;
    // The next line would be `handler`.
    ends_well(victim)
}

fn disabled() -> Result<()> {
    // Node before 23.7 does not know the option. As an argument of the script it is no option, and believed all the same.
    let knows = Command::new(js_node()).args(["--disable-sigusr1", "--version"]).output()?.status.success();
    let (options, arguments): (&[&str], &[&str]) = if knows {
        (&["--disable-sigusr1"], &["closure"])
    } else {
        (&[], &["closure", "1000", "--disable-sigusr1"])
    };
    let victim = js_victim(options, arguments)?;
    expect_refused(&Leaktrace::run(&["--pid", &pid_of(&victim), SITES])?, "--disable-sigusr1")?;
    ends_well(victim)
}

fn port_taken() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let option = format!("--inspect-port={}", taken.local_addr()?.port());
    let victim = js_victim(&[&option], &["closure"])?;
    expect_refused(&Leaktrace::run(&["--pid", &pid_of(&victim), SITES])?, "is taken by another process")?;
    ensure!(listening_ports(victim.pid())?.is_empty(), "it was signalled all the same");
    ends_well(victim)
}

fn namespaces() -> Result<()> {
    with_js_victim_in_namespaces(&["closure"], |victim, host_pid| {
        let mut leaktrace = Leaktrace::attach(host_pid, &[SITES])?;
        leaktrace.wait_for("the call site", |record| shows(record, "leak_closure"))?;
        // The default port, in a network of its own.
        ensure!(listening_ports(host_pid)? == [9229], "the inspector is elsewhere");
        leaktrace.stop()?.expect_success()?;
        ensure!(listening_ports(host_pid)?.is_empty(), "the inspector is still open");
        ends_well(victim)
    })
}

fn no_node() -> Result<()> {
    let mut sleep = Command::new("sleep").arg("600").spawn()?;
    let refused = Leaktrace::run(&["--pid", &sleep.id().to_string(), SITES]);
    let is_alive = sleep.try_wait()?.is_none();
    sleep.kill()?;
    sleep.wait()?;
    expect_refused(&refused?, "does not contain Node's inspector")?;
    ensure!(is_alive, "SIGUSR1 was sent to a process without a handler");
    Ok(())
}

fn target_ends() -> Result<()> {
    let victim = js_victim(ANY_PORT, &["closure"])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &[SITES])?;
    leaktrace.wait_for("the call site", |record| shows(record, "leak_closure"))?;
    // Node waits at its end until every debugger has let go.
    ends_well(victim)?;
    let ended = leaktrace.finish()?;
    ended.expect_success()?;
    let summary = ended.summary()?;
    ensure!(summary["ended"] == "target_exited", "{summary}");
    let sites = summary["sites"].as_array().context("no sites")?;
    let site = sites.iter().find(|site| site["function"] == "leak_closure").context("the site is gone")?;
    ensure!(
        first_functions(&site["stack"])?.contains(&"leak_closure") && site["estimated"] == true,
        "{site}"
    );
    Ok(())
}
