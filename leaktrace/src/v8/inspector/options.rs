//! What the options that a Node was started with say of its inspector.

use std::net::IpAddr;

/// The port of the inspector where no option names one.
pub(super) const DEFAULT_PORT: u16 = 9229;

/// The options that matter here, of the command line and of `NODE_OPTIONS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeOptions {
    /// `--disable-sigusr1`.
    pub(super) disable_sigusr1: bool,
    /// The inspector was asked for at the start (`--inspect`, `--inspect-brk`, `--inspect-wait`).
    pub(super) inspects: bool,
    /// Ports that an option names, the last one last; 0 is any.
    ports: Vec<u16>,
    /// Where it is to listen, as the last option says.
    host: Option<String>,
}

impl NodeOptions {
    /// Reads the arguments of the process, its own name among them, and the value of `NODE_OPTIONS`.
    ///
    /// Arguments of the script look like those of Node; here they only ever make us look at one more port or refuse.
    pub(super) fn parse(arguments: &[String], node_options: Option<&str>) -> Self {
        let mut options = Self::default();
        let from_environment = node_options.unwrap_or_default().split_whitespace();
        let from_environment: Vec<String> =
            from_environment.map(|word| word.trim_matches('"').to_owned()).collect();
        // The command line comes last, so that it wins.
        for words in [from_environment.as_slice(), arguments.get(1..).unwrap_or_default()] {
            for (index, word) in words.iter().enumerate() {
                options.take(word, words.get(index + 1).map(String::as_str));
            }
        }
        options
    }

    fn take(&mut self, word: &str, next: Option<&str>) {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        match name.replace('_', "-").as_str() {
            "--disable-sigusr1" => self.disable_sigusr1 = true,
            "--inspect" | "--inspect-brk" | "--inspect-wait" => {
                self.inspects = true;
                self.place(value.unwrap_or_default());
            }
            "--inspect-port" | "--debug-port" => self.place(value.or(next).unwrap_or_default()),
            _ => {}
        }
    }

    /// `[host:]port`, or either of them.
    fn place(&mut self, value: &str) {
        let (host, port) = match value.rsplit_once(':') {
            // An IPv6 address without brackets has no port.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            _ if value.parse::<u16>().is_ok() => ("", value),
            _ => (value, ""),
        };
        if let Ok(port) = port.parse() {
            self.ports.push(port);
        }
        if !host.is_empty() {
            self.host = Some(host.trim_matches(['[', ']']).to_owned());
        }
    }

    /// The port that it opens when it is asked to; 0 is any.
    pub(super) fn port(&self) -> u16 {
        self.ports.last().copied().unwrap_or(DEFAULT_PORT)
    }

    /// Whether it listens, or is to listen, on this port by what is known.
    pub(super) fn names(&self, port: u16) -> bool {
        port == DEFAULT_PORT || self.ports.contains(&port)
    }

    /// The address that it opens on; `None` for a name that would have to be looked up in the target's own network.
    pub(super) fn host(&self) -> Option<IpAddr> {
        match self.host.as_deref() {
            None | Some("localhost") => Some(IpAddr::from([127, 0, 0, 1])),
            Some(host) => host.parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(line: &str, environment: Option<&str>) -> NodeOptions {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        NodeOptions::parse(&words, environment)
    }

    #[rstest]
    #[case("node app.js", None, 9229, false, false)]
    #[case("node --inspect app.js", None, 9229, true, false)]
    #[case("node --inspect=9300 app.js", None, 9300, true, false)]
    #[case("node --inspect=0.0.0.0:9301 app.js", None, 9301, true, false)]
    #[case("node --inspect-brk=[::1]:9302 app.js", None, 9302, true, false)]
    #[case("node --inspect=::1 app.js", None, 9229, true, false)]
    #[case("node --inspect_port=9303 app.js", None, 9303, false, false)]
    #[case("node --inspect-port 9304 app.js", None, 9304, false, false)]
    #[case("node --debug-port=localhost:9305 app.js", None, 9305, false, false)]
    #[case("node app.js", Some("--inspect=9306 --max-old-space-size=100"), 9306, true, false)]
    #[case("node --inspect=9308 app.js", Some("\"--inspect=9307\""), 9308, true, false)]
    #[case("node --disable-sigusr1 app.js", None, 9229, false, true)]
    #[case("node app.js", Some("--disable-sigusr1"), 9229, false, true)]
    #[case("node --inspect=99999 app.js", None, 9229, true, false)]
    #[case("node --inspect= app.js", None, 9229, true, false)]
    #[case("node", Some(""), 9229, false, false)]
    fn options_are_read_as_node_reads_them(
        #[case] line: &str,
        #[case] environment: Option<&str>,
        #[case] port: u16,
        #[case] inspects: bool,
        #[case] disabled: bool,
    ) {
        let options = parse(line, environment);
        assert_eq!((options.port(), options.inspects, options.disable_sigusr1), (port, inspects, disabled));
        assert!(options.names(port) && options.names(DEFAULT_PORT) && !options.names(1));
    }

    #[test]
    fn hosts_are_addresses_or_not_known() {
        let host = |line| parse(line, None).host().map(|host| host.to_string());
        assert_eq!(host("node app.js").as_deref(), Some("127.0.0.1"));
        assert_eq!(host("node --inspect=0.0.0.0:1 app.js").as_deref(), Some("0.0.0.0"));
        assert_eq!(host("node --inspect=[::1]:1 app.js").as_deref(), Some("::1"));
        assert_eq!(host("node --inspect=db.internal:1 app.js"), None);
    }
}
