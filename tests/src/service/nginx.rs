//! An nginx of our own: a master and its workers.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Server, answers, find_program, free_port, http_requests};
use crate::children;

/// nginx in the foreground, with two workers, serving one small file.
#[derive(Debug)]
pub struct Nginx {
    server: Server,
    port: u16,
    _directory: TempDir,
}

impl Nginx {
    /// Starts it and waits until it answers.
    pub fn start() -> Result<Self> {
        let program = find_program(&["/usr/sbin/nginx", "/usr/bin/nginx"], "nginx")?;
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let home = directory.path();
        let root = rustix::process::geteuid().is_root();
        // Workers that drop to another user could not read a private temporary directory.
        let user = if root { "user root;" } else { "" };
        let configuration = format!(
            "{user} daemon off; worker_processes 2; pid {home}/pid; error_log {home}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path {home}/b; proxy_temp_path {home}/p;\n\
             fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n\
             server {{ listen 127.0.0.1:{port}; root {home}; }} }}\n",
            home = home.display()
        );
        fs::write(home.join("nginx.conf"), configuration)?;
        fs::write(home.join("index.html"), "hello\n")?;
        let mut command = Command::new(program);
        command
            .arg("-p")
            .arg(home)
            .arg("-c")
            .arg(home.join("nginx.conf"))
            .arg("-e")
            .arg(home.join("error.log"));
        let mut server = Server::spawn(&mut command, "nginx", Signal::TERM)?;
        let master = server.pid();
        server.wait_until("nginx answers", || answers(port) && children(master).len() == 2)?;
        Ok(Self { server, port, _directory: directory })
    }

    /// Process id of the master, which itself serves nothing.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Process ids of the workers.
    pub fn workers(&self) -> Vec<u32> {
        children(self.server.pid())
    }

    /// `requests` requests, each on a connection of its own, so that both workers get some.
    pub fn load(&self, requests: u32) -> Result<()> {
        http_requests(self.port, "/index.html", requests).context("nginx")
    }
}
