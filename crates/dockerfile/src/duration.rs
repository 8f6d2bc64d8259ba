//! Durations as Go writes and reads them: `1h2m3.5s`.
//!
//! HEALTHCHECK takes them, and the history of the image prints them.

use crate::error::Fault;

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;

/// Reads a duration into nanoseconds.
pub(crate) fn parse(text: &str) -> Result<i64, Fault> {
    let invalid =
        || Fault::syntax(format!("`{text}` is not a duration")).hint("write it like 1m30s or 500ms");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let factor = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => MICROSECOND,
            "ms" => MILLISECOND,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            "" => return Err(Fault::syntax(format!("duration `{text}` has no unit")).hint("add s, m or h")),
            unit => {
                return Err(Fault::syntax(format!("duration `{text}` has the unknown unit `{unit}`"))
                    .hint("the units are ns, us, ms, s, m and h"));
            }
        };
        total += number * factor as f64;
        rest = after;
    }
    if total >= i64::MAX as f64 {
        return Err(invalid());
    }
    Ok(sign * total as i64)
}

/// Writes nanoseconds as Go does.
pub(crate) fn format(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let value = nanoseconds.unsigned_abs();
    let fraction = |value: u64, unit: i64, name: &str| {
        let (whole, part) = (value / unit as u64, value % unit as u64);
        let width = unit.ilog10() as usize;
        match part {
            0 => format!("{whole}{name}"),
            part => format!("{whole}.{}{name}", format!("{part:0width$}").trim_end_matches('0')),
        }
    };
    let text = match value {
        0 => return "0s".to_owned(),
        1..1_000 => format!("{value}ns"),
        1_000..1_000_000 => fraction(value, MICROSECOND, "µs"),
        1_000_000..1_000_000_000 => fraction(value, MILLISECOND, "ms"),
        _ => {
            let (minutes, rest) = (value / (60 * SECOND as u64), value % (60 * SECOND as u64));
            let seconds = fraction(rest, SECOND, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (text, nanoseconds, written) in [
            ("0", 0, "0s"),
            ("5s", 5 * SECOND, "5s"),
            ("1m", 60 * SECOND, "1m0s"),
            ("1h", 3600 * SECOND, "1h0m0s"),
            ("1h2m3.5s", 3_723_500_000_000, "1h2m3.5s"),
            ("90s", 90 * SECOND, "1m30s"),
            ("1500ms", 1_500_000_000, "1.5s"),
            ("1.5ms", 1_500_000, "1.5ms"),
            ("2us", 2_000, "2µs"),
            ("7ns", 7, "7ns"),
            ("-1s", -SECOND, "-1s"),
        ] {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
            assert_eq!(format(nanoseconds), written, "{text}");
        }
        for bad in ["", "1", "1x", "s", "1s2", "..s", "-", "9999999999999h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
