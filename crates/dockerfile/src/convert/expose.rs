//! EXPOSE: `[[address:]host port:]port[-port][/protocol]`, of which only port and protocol say something.

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
        let mut exposed = Vec::new();
        for text in ports {
            for port in self.lexer.words(text, &state.environment)? {
                let spec = Spec::parse(&port)?;
                self.check_port(&port, &spec, place);
                exposed.extend(spec.ports()?);
            }
        }
        state.note(format!("EXPOSE [{}]", exposed.join(" ")));
        if exposed.is_empty() {
            return Ok(());
        }
        let known = state.config.config.exposed_ports.get_or_insert_default();
        known.extend(exposed.into_iter().map(|port| (port, empty_object())));
        Ok(())
    }

    fn check_port(&mut self, text: &str, spec: &Spec<'_>, place: Place<'_>) {
        if spec.protocol != spec.protocol.to_ascii_lowercase() {
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

/// One argument, taken apart.
struct Spec<'a> {
    address: &'a str,
    host: &'a str,
    container: &'a str,
    protocol: &'a str,
}

impl<'a> Spec<'a> {
    fn parse(text: &'a str) -> Result<Self, Fault> {
        let (front, port) = text.rsplit_once(':').unwrap_or(("", text));
        let (address, host) = front.rsplit_once(':').unwrap_or(("", front));
        let (container, protocol) = port.split_once('/').unwrap_or((port, ""));
        if container.is_empty() {
            return Err(Fault::semantics(format!("invalid port: {text:?}: no port specified")));
        }
        let known = ["", "tcp", "udp", "sctp"].iter().any(|known| known.eq_ignore_ascii_case(protocol));
        if !known {
            return Err(Fault::semantics(format!("invalid port: {text:?}: invalid proto: {protocol}"))
                .hint("the protocols are tcp, udp and sctp"));
        }
        Ok(Self { address, host, container, protocol })
    }

    /// The ports as `port/protocol`.
    fn ports(&self) -> Result<Vec<String>, Fault> {
        let (first, last) = range(self.container).ok_or_else(|| {
            Fault::semantics(format!("invalid containerPort: {}", self.container))
                .hint("a port is a number from 0 to 65535, or a range of them like 8000-8010")
        })?;
        self.check_host(last > first, last - first)?;
        let protocol = match self.protocol {
            "" => "tcp".to_owned(),
            protocol => protocol.to_ascii_lowercase(),
        };
        Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
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
        Spec::parse(text)?.ports()
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
