//! EXPOSE: `[[address:]host port:]port[-port][/protocol]`, of which only port and protocol say something.
//!
//! One word can mean all ports there are. So a stage keeps them as bits, and names them when its config is written.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::Value;

use super::settings::empty_object;
use super::state::State;
use super::{Converter, Place};
use crate::error::Fault;
use crate::lint::Rule;

impl Converter<'_> {
    pub(super) fn expose(
        &mut self,
        state: &mut State,
        ports: &[String],
        place: Place<'_>,
    ) -> Result<(), Fault> {
        let mut exposed = String::new();
        for text in ports {
            for port in self.lexer.words(text, &state.environment)? {
                let spec = Spec::parse(&port)?;
                self.check_port(&port, &spec, place);
                let (ports, protocol) = (spec.ports()?, spec.protocol);
                list(&mut exposed, ports.clone(), protocol);
                self.spend(state.exposed.add(ports, protocol))?;
            }
        }
        state.note(format!("EXPOSE [{}]", exposed.trim_end()));
        Ok(())
    }

    fn check_port(&mut self, text: &str, spec: &Spec<'_>, place: Place<'_>) {
        if spec.written_protocol.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let message = format!("Defined protocol '{text}' in EXPOSE instruction should be lowercase");
            self.warn(Rule::ExposeProtoCasing, message, place);
        }
        if !spec.address.is_empty() || !spec.host.is_empty() {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{text}'"
            );
            self.warn(Rule::ExposeInvalidFormat, message, place);
        }
    }
}

/// What speaks at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "" | "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Adds ports to a list of `port/protocol`, a blank behind each.
fn list(text: &mut String, ports: RangeInclusive<u16>, protocol: Protocol) {
    for port in ports {
        write!(text, "{port}/{protocol} ").expect("a string takes every text");
    }
}

const BITS: usize = u64::BITS as usize;
/// What has a bit for each of the ports 0 to 65535.
const WORDS: usize = (1 << 16) / BITS;

/// Ports, a bit for each. Stages share the bits until one of them adds a port.
#[derive(Debug, Clone, Default)]
pub(super) struct Ports(BTreeMap<Protocol, Arc<Bits>>);

/// The ports of one protocol.
#[derive(Debug, Clone)]
struct Bits([u64; WORDS]);

impl Default for Bits {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl Bits {
    fn has(&self, port: u16) -> bool {
        let port = usize::from(port);
        self.0[port / BITS] >> (port % BITS) & 1 == 1
    }
}

impl Ports {
    /// Adds ports. Returns how many bytes that took: none if the bits are there already, and not another stage's, too.
    fn add(&mut self, ports: RangeInclusive<u16>, protocol: Protocol) -> usize {
        let is_new = !self.0.contains_key(&protocol);
        let bits = self.0.entry(protocol).or_default();
        if ports.clone().all(|port| bits.has(port)) {
            return 0;
        }
        let copied = is_new || Arc::strong_count(bits) > 1;
        let bits = Arc::make_mut(bits);
        for port in ports.map(usize::from) {
            bits.0[port / BITS] |= 1 << (port % BITS);
        }
        if copied { size_of::<Bits>() } else { 0 }
    }

    /// Names them, as a config does.
    pub(super) fn write(&self, config: &mut Option<BTreeMap<String, Value>>) {
        for (protocol, bits) in &self.0 {
            let set = (0..=u16::MAX).filter(|port| bits.has(*port));
            let named = set.map(|port| (format!("{port}/{protocol}"), empty_object()));
            config.get_or_insert_default().extend(named);
        }
    }
}

/// One argument, taken apart.
struct Spec<'a> {
    address: &'a str,
    host: &'a str,
    container: &'a str,
    written_protocol: &'a str,
    protocol: Protocol,
}

impl<'a> Spec<'a> {
    fn parse(text: &'a str) -> Result<Self, Fault> {
        let (front, port) = text.rsplit_once(':').unwrap_or(("", text));
        let (address, host) = front.rsplit_once(':').unwrap_or(("", front));
        let (container, written_protocol) = port.split_once('/').unwrap_or((port, ""));
        if container.is_empty() {
            return Err(Fault::semantics(format!("invalid port: {text:?}: no port specified")));
        }
        let protocol = Protocol::parse(written_protocol).ok_or_else(|| {
            Fault::semantics(format!("invalid port: {text:?}: invalid proto: {written_protocol}"))
                .hint("the protocols are tcp, udp and sctp")
        })?;
        Ok(Self { address, host, container, written_protocol, protocol })
    }

    /// The container's ports.
    fn ports(&self) -> Result<RangeInclusive<u16>, Fault> {
        let (first, last) = range(self.container).ok_or_else(|| {
            Fault::semantics(format!("invalid containerPort: {}", self.container))
                .hint("a port is a number from 0 to 65535, or a range of them like 8000-8010")
        })?;
        self.check_host(last > first, last - first)?;
        Ok(first..=last)
    }

    /// An address and port of the host mean nothing here, but must not be nonsense.
    fn check_host(&self, is_range: bool, length: u16) -> Result<(), Fault> {
        let address = self.address;
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        if !bare.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
            return Err(Fault::semantics(format!("invalid IP address: {address}")));
        }
        if self.host.is_empty() {
            return Ok(());
        }
        let (first, last) =
            range(self.host).ok_or_else(|| Fault::semantics(format!("invalid hostPort: {}", self.host)))?;
        if is_range && last - first != length {
            return Err(Fault::semantics(format!(
                "invalid ranges specified for container and host Ports: {} and {}",
                self.container, self.host
            )));
        }
        Ok(())
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Result<Vec<String>, Fault> {
        let spec = Spec::parse(text)?;
        let mut listed = String::new();
        list(&mut listed, spec.ports()?, spec.protocol);
        Ok(listed.split_terminator(' ').map(str::to_owned).collect())
    }

    #[test]
    fn ports_are_named_once() {
        let mut ports = Ports::default();
        for (range, protocol) in
            [(0..=3, Protocol::Udp), (2..=4, Protocol::Udp), (65535..=65535, Protocol::Tcp)]
        {
            ports.add(range, protocol);
        }
        let mut config = Some([("9/x".to_owned(), empty_object())].into());
        ports.write(&mut config);
        let named: Vec<String> = config.unwrap_or_default().into_keys().collect();
        assert_eq!(named, ["0/udp", "1/udp", "2/udp", "3/udp", "4/udp", "65535/tcp", "9/x"]);
        assert_eq!(ports.add(0..=4, Protocol::Udp), 0, "they are there");
        let mut none = None;
        Ports::default().write(&mut none);
        assert_eq!(none, None);
    }

    #[test]
    fn stages_share_ports_until_they_add_one() {
        let mut parent = Ports::default();
        assert_eq!(parent.add(1..=1, Protocol::Tcp), size_of::<Bits>());
        let mut child = parent.clone();
        assert!(Arc::ptr_eq(&parent.0[&Protocol::Tcp], &child.0[&Protocol::Tcp]));
        assert_eq!(
            [1..=1, 2..=2, 3..=3].map(|ports| child.add(ports, Protocol::Tcp)),
            [0, size_of::<Bits>(), 0]
        );
        assert!(!parent.0[&Protocol::Tcp].has(2) && child.0[&Protocol::Tcp].has(2));
    }

    #[test]
    fn what_is_exposed() {
        for (text, expected) in [
            ("80", &["80/tcp"][..]),
            ("80/", &["80/tcp"]),
            ("53/UDP", &["53/udp"]),
            ("1-3/sctp", &["1/sctp", "2/sctp", "3/sctp"]),
            ("80-80", &["80/tcp"]),
            ("8080:80", &["80/tcp"]),
            ("9000-9010:80", &["80/tcp"]),
            ("127.0.0.1:8080:80", &["80/tcp"]),
            ("[::1]:8080:80/udp", &["80/udp"]),
            ("[2001:db8::7]::81", &["81/tcp"]),
            ("2001:db8::7::81", &["81/tcp"]),
            ("::1:80:81", &["81/tcp"]),
            ("::::81", &["81/tcp"]),
            ("127.0.0.1:90-91:70-71/tcp", &["70/tcp", "71/tcp"]),
        ] {
            assert_eq!(ports(text).unwrap(), expected, "{text}");
        }
        for bad in [
            "",
            "x",
            "65536",
            "3-1",
            "80/icmp",
            "-1",
            "x:80",
            "nowhere:1:80",
            "1-2:3-9",
            "/tcp",
            "127.0.0.1:1-2:/tcp",
            "127.0.0.1:1-2:",
            "localhost:1-2:1-2/tcp",
            "[::1:80:80",
        ] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }
}
