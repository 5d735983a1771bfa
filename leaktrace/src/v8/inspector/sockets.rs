//! The TCP sockets of the target's network namespace, and which of them are its own.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// A busy server has some hundred thousand sockets of 150 bytes each; more are not read.
const MAX_TABLE: u64 = 64 << 20;
/// `TCP_ESTABLISHED` and `TCP_LISTEN` of the kernel.
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    state: u8,
    inode: u64,
}

/// A port on which something listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    /// The target holds this socket.
    pub(super) is_own: bool,
}

/// Everything that listens in the network namespace of a process.
pub(super) fn listeners(pid: u32) -> io::Result<Vec<Listener>> {
    let own = own_sockets(pid)?;
    let listening = sockets(pid)?.into_iter().filter(|socket| socket.state == LISTEN);
    let listener = |socket: Socket| Listener { address: socket.local, is_own: own.contains(&socket.inode) };
    Ok(listening.map(listener).collect())
}

/// How many connections to this local port the process itself holds.
pub(super) fn own_connections(pid: u32, port: u16) -> io::Result<usize> {
    let own = own_sockets(pid)?;
    let is_one = |socket: &Socket| {
        socket.state == ESTABLISHED && socket.local.port() == port && own.contains(&socket.inode)
    };
    Ok(sockets(pid)?.iter().filter(|socket| is_one(socket)).count())
}

fn sockets(pid: u32) -> io::Result<Vec<Socket>> {
    let mut all = parse(&table(pid, "tcp")?);
    // Without IPv6 there is no such file.
    all.extend(table(pid, "tcp6").map(|text| parse(&text)).unwrap_or_default());
    Ok(all)
}

fn table(pid: u32, name: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(format!("/proc/{pid}/net/{name}"))?.take(MAX_TABLE).read_to_string(&mut text)?;
    Ok(text)
}

fn own_sockets(pid: u32) -> io::Result<HashSet<u64>> {
    let mut own = HashSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        // Files are closed while we look.
        let Ok(link) = entry.and_then(|entry| std::fs::read_link(entry.path())) else { continue };
        let inode: Option<u64> =
            link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        own.extend(inode);
    }
    Ok(own)
}

fn parse(text: &str) -> Vec<Socket> {
    text.lines().skip(1).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Socket { local: parse_address(local)?, state, inode })
}

/// The kernel prints an address as words of its own byte order.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words = |text: &str| {
        let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
        (0..text.len()).step_by(8).map(word).collect::<Option<Vec<[u8; 4]>>>()
    };
    let address: IpAddr = match words(address)?.as_slice() {
        [word] => Ipv4Addr::from(*word).into(),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            let address = Ipv6Addr::from(bytes);
            address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:240D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0
   1: 0100007F:240D 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0000000000000000 20 4 30 10 -1
   2: 00000000000000000000000001000000:240E 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0000000000000000 100 0 0 10 0
   3: broken
   4: 0100007F 0 0A";

    #[test]
    fn lines_are_sockets() {
        let sockets = parse(TABLE);
        let local: Vec<String> = sockets.iter().map(|socket| socket.local.to_string()).collect();
        assert_eq!(local, ["127.0.0.1:9229", "127.0.0.1:9229", "[::1]:9230"]);
        let states: Vec<_> = sockets.iter().map(|socket| (socket.state, socket.inode)).collect();
        assert_eq!(states, [(LISTEN, 12345), (ESTABLISHED, 12346), (LISTEN, 7)]);
    }

    #[test]
    fn our_own_listener_is_known_as_ours_and_its_connections_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pid = std::process::id();
        let found = listeners(pid).unwrap();
        assert!(found.contains(&Listener { address, is_own: true }), "{found:?}");
        assert_eq!(own_connections(pid, address.port()).unwrap(), 0);
        let _client = TcpStream::connect(address).unwrap();
        let _server = listener.accept().unwrap();
        assert_eq!(own_connections(pid, address.port()).unwrap(), 1);
    }
}
