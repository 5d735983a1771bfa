//! A postgres of our own: a postmaster and one backend a connection.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Server, output_of};
use crate::DEADLINE;

const PACKAGE: &str = "postgresql";

/// postgres on a unix socket in a temporary directory, run by the user `postgres` (it refuses root).
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    programs: PathBuf,
    directory: TempDir,
}

/// A psql session: one backend that lives as long as this.
#[derive(Debug)]
pub struct Session {
    client: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Process id of the backend.
    pub backend: u32,
}

/// A pgbench on one connection, which goes on until this is dropped.
#[derive(Debug)]
pub struct Bench {
    client: Child,
    /// Process id of the backend that serves it.
    pub backend: u32,
}

impl Postgres {
    /// Makes a database cluster and starts it.
    pub fn start() -> Result<Self> {
        let programs = newest_programs()?;
        let directory = tempfile::tempdir()?;
        let home = directory.path();
        let owner = user_id("postgres")?;
        fs::set_permissions(home, fs::Permissions::from_mode(0o700))?;
        chown(home, Some(owner), None)?;
        let data = home.join("data");
        let mut init = as_postgres(&programs.join("initdb"), home);
        output_of(init.arg("--no-sync").args(["--auth", "trust", "-D"]).arg(&data), PACKAGE)?;
        // setpriv and not runuser: it replaces itself by postgres, so that the process we started is the postmaster.
        let mut command = as_postgres(&programs.join("postgres"), home);
        command.arg("-D").arg(&data).arg("-k").arg(home).args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        command.args(["-c", "shared_buffers=16MB", "-c", "autovacuum=off"]).stderr(Stdio::null());
        // SIGINT is postgres's fast shutdown: sessions are ended, not waited for.
        let server = Server::spawn(&mut command, PACKAGE, Signal::INT)?;
        let mut postgres = Self { server, programs, directory };
        let mut probe = postgres.client("pg_isready");
        postgres
            .server
            .wait_until("postgres answers", || probe.output().is_ok_and(|o| o.status.success()))?;
        Ok(postgres)
    }

    /// Process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Opens a session, and so a backend.
    pub fn session(&self) -> Result<Session> {
        let mut command = self.client("psql");
        command.args(["-X", "-q", "-A", "-t", "postgres"]);
        let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = client.stdin.take().context("no stdin")?;
        let output = BufReader::new(client.stdout.take().context("no stdout")?);
        let mut session = Session { client, input, output, backend: 0 };
        session.backend = session.query("select pg_backend_pid();")?.parse()?;
        Ok(session)
    }

    /// `transactions` of pgbench's on each of two connections (initialises its tables first).
    pub fn load(&self, transactions: u32) -> Result<()> {
        output_of(self.client("pgbench").args(["-i", "-q", "postgres"]), PACKAGE)?;
        let count = transactions.to_string();
        output_of(self.client("pgbench").args(["-n", "-c", "2", "-t", &count, "postgres"]), PACKAGE)
            .map(|_| ())
    }

    /// Starts a pgbench, of at most so many transactions a second, and waits for its backend (initialises its tables
    /// first).
    pub fn bench(&self, per_second: Option<u32>) -> Result<Bench> {
        output_of(self.client("pgbench").args(["-i", "-q", "postgres"]), PACKAGE)?;
        let mut command = self.client("pgbench");
        // As long as it takes: it is ended by its process id.
        command.args(["-n", "-c", "1", "-T", "86400"]);
        if let Some(rate) = per_second {
            command.args(["-R", &rate.to_string()]);
        }
        command.arg("postgres").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut bench = Bench { client: command.spawn()?, backend: 0 };
        let mut session = self.session()?;
        let deadline = Instant::now() + DEADLINE;
        while bench.backend == 0 {
            if let Some(status) = bench.client.try_wait()? {
                bail!("pgbench ended ({status})");
            }
            ensure!(Instant::now() < deadline, "pgbench got no backend");
            let pid =
                "select coalesce(max(pid), 0) from pg_stat_activity where application_name = 'pgbench';";
            bench.backend = session.query(pid)?.parse()?;
        }
        Ok(bench)
    }

    fn client(&self, program: &str) -> Command {
        let mut command = as_postgres(&self.programs.join(program), self.directory.path());
        command.arg("-h").arg(self.directory.path());
        command
    }
}

impl Session {
    /// Runs a statement that gives one line.
    pub fn query(&mut self, statement: &str) -> Result<String> {
        writeln!(self.input, "{statement}")?;
        self.input.flush()?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("psql ended at: {statement}");
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

fn as_postgres(program: &Path, home: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    // Not our directory: the user postgres may not be able to enter it.
    command.current_dir(home);
    command
}

fn newest_programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").with_context(|| format!("install {PACKAGE}"))?;
    let newest = versions.flatten().max_by_key(|entry| {
        entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()).unwrap_or_default()
    });
    Ok(newest.with_context(|| format!("install {PACKAGE}"))?.path().join("bin"))
}

fn user_id(name: &str) -> Result<u32> {
    let users = fs::read_to_string("/etc/passwd")?;
    let entry = users.lines().find(|line| line.split(':').next() == Some(name));
    let id = entry.and_then(|line| line.split(':').nth(2)).and_then(|id| id.parse().ok());
    id.with_context(|| format!("no user {name}: install {PACKAGE}"))
}
