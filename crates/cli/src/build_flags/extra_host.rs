//! `--add-host NAME=ADDRESS`, or with a colon.

use std::net::IpAddr;

use gantry_release::Error;

use crate::failure::usage;

/// Stands for the machine that builds.
const GATEWAY: &str = "host-gateway";
/// Steps share the machine's network, so to them it is the loopback address.
const GATEWAY_ADDRESS: &str = "127.0.0.1";

/// Parses one value: name and address.
pub(super) fn parse(text: &str) -> Result<(String, String), Error> {
    let wrong = || usage(format!("--add-host `{text}` is not NAME=ADDRESS"));
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(wrong)?;
    if name.is_empty() {
        return Err(wrong());
    }
    if address == GATEWAY {
        return Ok((name.to_owned(), GATEWAY_ADDRESS.to_owned()));
    }
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let parsed: IpAddr = address.parse().map_err(|_| wrong())?;
    Ok((name.to_owned(), parsed.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, name, address) in [
            ("a=1.2.3.4", "a", "1.2.3.4"),
            ("a:1.2.3.4", "a", "1.2.3.4"),
            ("a=::1", "a", "::1"),
            ("a:[::1]", "a", "::1"),
            ("a:::1", "a", "::1"),
            ("a=host-gateway", "a", "127.0.0.1"),
        ] {
            assert_eq!(parse(text).unwrap(), (name.to_owned(), address.to_owned()), "{text}");
        }
        for text in ["a", "=1.2.3.4", "a=", "a=b", "a:1.2.3"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
