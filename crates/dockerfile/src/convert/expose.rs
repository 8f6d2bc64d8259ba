//! EXPOSE: `[[address:]host port:]port[-port][/protocol]`, of which only port and protocol say something.

use super::Converter;
use super::settings::empty_object;
use super::state::State;
use crate::error::Fault;

impl Converter<'_> {
    pub(super) fn expose(&mut self, state: &mut State, ports: &[String]) -> Result<(), Fault> {
        let mut exposed = Vec::new();
        for text in ports {
            for port in self.lexer.words(text, &state.environment)? {
                exposed.extend(parse(&port)?);
            }
        }
        state.note(format!("EXPOSE [{}]", exposed.join(" ")));
        let known = state.config.config.exposed_ports.get_or_insert_default();
        known.extend(exposed.into_iter().map(|port| (port, empty_object())));
        Ok(())
    }
}

/// The ports of a text as `port/protocol`.
fn parse(text: &str) -> Result<Vec<String>, Fault> {
    let (front, port) = text.rsplit_once(':').map_or(("", text), |(front, port)| (front, port));
    let (port, protocol) = port.split_once('/').unwrap_or((port, ""));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        other => {
            return Err(Fault::semantics(format!("invalid port `{text}`: `{other}` is no protocol"))
                .hint("the protocols are tcp, udp and sctp"));
        }
    };
    let (first, last) = range(port).ok_or_else(|| {
        Fault::semantics(format!("invalid containerPort: {port}")).hint("a port is a number from 0 to 65535")
    })?;
    check_host(front, last > first, last - first)?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// An address and port of the host mean nothing here, but must not be nonsense.
fn check_host(front: &str, is_range: bool, length: u16) -> Result<(), Fault> {
    let (address, port) = front.rsplit_once(':').unwrap_or(("", front));
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if !bare.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(Fault::semantics(format!("invalid IP address: {address}")));
    }
    if port.is_empty() {
        return Ok(());
    }
    let (first, last) = range(port).ok_or_else(|| Fault::semantics(format!("invalid hostPort: {port}")))?;
    if is_range && last - first != length {
        return Err(Fault::semantics("the ranges of host and container ports have different lengths"));
    }
    Ok(())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        for (text, ports) in [
            ("80", &["80/tcp"][..]),
            ("80/", &["80/tcp"]),
            ("53/UDP", &["53/udp"]),
            ("1-3/sctp", &["1/sctp", "2/sctp", "3/sctp"]),
            ("8080:80", &["80/tcp"]),
            ("127.0.0.1:8080:80", &["80/tcp"]),
            ("[::1]:8080:80/udp", &["80/udp"]),
        ] {
            assert_eq!(parse(text).unwrap(), ports, "{text}");
        }
        for bad in ["", "x", "65536", "3-1", "80/icmp", "-1", "x:80", "nowhere:1:80", "1-2:3-9", "/tcp"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
