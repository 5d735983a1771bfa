//! What the tests need beside Rust, why, and how it is installed.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{Cmd, find_program};
use crate::privilege::Root;

/// How one sees that a package is there.
#[derive(Clone, Copy, Debug)]
enum Sign {
    /// A program on PATH.
    Program(&'static str),
    /// A file.
    File(&'static str),
}

/// A Debian package that tests need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    /// Its name in Debian and Ubuntu.
    pub(crate) name: &'static str,
    /// What it is needed for.
    pub(crate) reason: &'static str,
    sign: Sign,
}

const fn program(name: &'static str, sign: &'static str, reason: &'static str) -> Package {
    Package { name, reason, sign: Sign::Program(sign) }
}

const fn file(name: &'static str, sign: &'static str, reason: &'static str) -> Package {
    Package { name, reason, sign: Sign::File(sign) }
}

/// Everything that tests, demo and benches need.
const PACKAGES: &[Package] = &[
    program("gcc", "cc", "compiles the victims in C"),
    program("g++", "c++", "compiles the victims that throw"),
    file("libc6-dev", "/usr/include/stdlib.h", "headers for the victims"),
    file("gcc-multilib", "/usr/lib32/crt1.o", "compiles the 32-bit victim that must be refused"),
    program("musl-tools", "musl-gcc", "compiles the static victims"),
    file("libjemalloc2", "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "jemalloc preloaded"),
    file("libjemalloc-dev", "/usr/lib/x86_64-linux-gnu/libjemalloc.a", "jemalloc linked into the victim"),
    file("libtcmalloc-minimal4", "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4", "tcmalloc preloaded"),
    file("libmimalloc2.0", "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0", "mimalloc preloaded"),
    file("libc6-dbg", "/usr/lib/debug/.build-id", "debug files that are found by build-id"),
    program("redis-server", "redis-server", "a real server on jemalloc"),
    program("redis-tools", "redis-benchmark", "load for redis"),
    program("nginx-light", "nginx", "a real server whose work is done in children"),
    file("postgresql", "/usr/lib/postgresql", "a real server with one child a client"),
    program("nodejs", "node", "a Node HTTP server, and heap snapshots"),
    program("npm", "npm", "fetches Node of other versions"),
    program("binutils", "strip", "strips a Node"),
    program("xz-utils", "xz", "packs symbols as other distributions do"),
    program("python3", "python3", "a runtime with a heap of its own"),
    program("golang-go", "go", "a runtime with a heap of its own, and the reader of profiles"),
    program("bpftrace", "bpftrace", "another tracer on the same target, and bcc's shape in the benches"),
    program("jq", "jq", "reads the output as the README's own lines do"),
    program("tmux", "tmux", "a terminal for the table"),
    program("iproute2", "ip", "loopback for a target in a network of its own"),
    program("bsdutils", "script", "a terminal whose window is closed"),
    program("util-linux", "unshare", "a target in namespaces of its own"),
];

impl Package {
    fn is_present(&self) -> bool {
        match self.sign {
            Sign::Program(name) => {
                find_program(name).is_some() || Path::new("/usr/sbin").join(name).is_file()
            }
            Sign::File(path) => Path::new(path).exists(),
        }
    }
}

/// What is not installed.
pub(crate) fn missing() -> Vec<&'static Package> {
    PACKAGES.iter().filter(|package| !package.is_present()).collect()
}

/// Installs what is missing.
pub(crate) fn install_missing() -> Result<()> {
    let names: Vec<_> = missing().iter().map(|package| package.name).collect();
    if names.is_empty() {
        return Ok(());
    }
    if find_program("apt-get").is_none() {
        bail!("only apt is known here: install by hand what {} stand for", names.join(" "));
    }
    apt_install(&names)
}

/// Installs Debian packages as root.
///
/// Debian starts a service as soon as it is installed. Tests start their own, so `policy-rc.d` says no meanwhile.
pub(crate) fn apt_install(names: &[&str]) -> Result<()> {
    const SCRIPT: &str = "set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\\nexit 101\\n' > $policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -q -o Acquire::Retries=3 update
apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install --no-install-recommends \"$@\"";
    let root = Root::find();
    if !root.unattended() {
        bail!("installing needs root: run `sudo apt-get install {}`", names.join(" "));
    }
    println!("installing {}", names.join(" "));
    let install = root.command("sh").args(["-c", SCRIPT, "sh"]).args(names);
    let (install, what) = (install, format!("cannot install {}", names.join(" ")));
    Cmd::run(install).context(what)
}
