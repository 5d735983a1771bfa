//! Connections made in the network namespace of the target.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const PATIENCE: Duration = Duration::from_secs(5);

/// Connects to an address as process `pid` sees it.
///
/// A socket belongs for ever to the namespace in which it was made: so a thread of its own enters the target's, makes
/// the connection and ends. No other thread of ours is moved.
pub(super) fn connect(pid: u32, address: SocketAddr) -> io::Result<TcpStream> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    let address = reachable(address);
    if is_ours(&namespace)? {
        return TcpStream::connect_timeout(&address, PATIENCE);
    }
    let thread = thread::Builder::new().name("connect".to_owned()).spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        TcpStream::connect_timeout(&address, PATIENCE)
    })?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn is_ours(namespace: &File) -> io::Result<bool> {
    let (ours, theirs) = (std::fs::metadata("/proc/self/ns/net")?, namespace.metadata()?);
    Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()))
}

/// What listens on every address is reached by the loopback one.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn our_own_namespace_is_reached_without_moving() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = connect(std::process::id(), address).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
    }

    #[test]
    fn every_address_is_reached_by_loopback() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:9229"), "127.0.0.1:9229");
        assert_eq!(reach("[::]:9229"), "[::1]:9229");
        assert_eq!(reach("10.1.2.3:9229"), "10.1.2.3:9229");
    }
}
