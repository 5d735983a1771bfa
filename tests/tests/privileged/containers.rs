//! Targets whose files are not ours: in namespaces of their own, or deleted.

use anyhow::Result;
use leaktrace_tests::{Build, Language, Namespaced, deleted_binary};

use crate::Case;
use crate::exactness::compare;

pub(crate) const CASES: &[Case] = &[
    ("containers::other_namespaces_and_another_libc", other_namespaces),
    ("containers::deleted_binary", || deleted(Language::C)),
    ("containers::deleted_static_binary", || deleted(Language::Musl)),
];

fn other_namespaces() -> Result<()> {
    let namespaced = Namespaced::start(&Build::new("ledger.c", Language::C).path()?, &[])?;
    let host_pid = namespaced.host_pid;
    namespaced.with_victim(|victim| compare(victim, host_pid, 20_000, 4))
}

fn deleted(language: Language) -> Result<()> {
    let victim = deleted_binary(&Build::new("ledger.c", language).path()?, &[])?;
    let pid = victim.pid();
    compare(victim, pid, 20_000, 4)
}
