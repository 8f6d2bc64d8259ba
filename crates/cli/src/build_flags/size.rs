//! `--shm-size SIZE`: bytes, or a number with a unit: `64m`, `1g`, `1.5gib`.

use gantry_release::Error;

use crate::failure::usage;

/// Parses a size. Units are powers of 1024, as in all of Docker's sizes of memory.
pub(super) fn parse(text: &str) -> Result<u64, Error> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let unit = unit.trim();
    let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(unit);
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit);
    let bytes =
        power.zip(number.parse::<f64>().ok()).map(|(power, number)| number * 1024_f64.powi(power as i32));
    match bytes {
        // What a float cannot tell apart, no memory has.
        Some(bytes) if bytes < 2_f64.powi(53) => Ok(bytes as u64),
        _ => Err(usage(format!("`{text}` is not a size")).hint("write it like 67108864, 64m or 1g")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0", 0), ("42", 42), ("64m", 64 << 20), ("1.5G", 3 << 29), ("2kb", 2048), ("1 GiB", 1 << 30)]
        {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "m", "-1", "1x", "1e3", "999999p"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
