//! Durations as Go writes and reads them: `1h2m3.5s`.
//!
//! HEALTHCHECK takes them, and the history of the image prints them.

use crate::error::Fault;

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;

/// One more than the longest duration that there is, and the shortest one but for its sign.
const LIMIT: u64 = 1 << 63;

/// Reads a duration into nanoseconds. What is smaller than that is cut off.
pub(crate) fn parse(text: &str) -> Result<i64, Fault> {
    let invalid =
        || Fault::syntax(format!("`{text}` is not a duration")).hint("write it like 1m30s or 500ms");
    let too_long = || Fault::syntax(format!("duration `{text}` is longer than 292 years"));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let unit = match unit {
            "" => return Err(Fault::syntax(format!("duration `{text}` has no unit")).hint("add s, m or h")),
            unit => nanoseconds(unit).ok_or_else(|| {
                Fault::syntax(format!("duration `{text}` has the unknown unit `{unit}`"))
                    .hint("the units are ns, us, ms, s, m and h")
            })?,
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long())? };
        let whole = whole.checked_mul(unit.unsigned_abs()).filter(|part| *part <= LIMIT);
        let part = whole.ok_or_else(too_long)? + part_of(fraction, unit);
        total = total.checked_add(part).filter(|total| *total <= LIMIT).ok_or_else(too_long)?;
        rest = after;
    }
    match (negative, i64::try_from(total)) {
        (false, total) => total.map_err(|_| too_long()),
        (true, total) => Ok(total.map_or(i64::MIN, |total| -total)),
    }
}

fn nanoseconds(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        _ => return None,
    })
}

/// The nanoseconds of the digits behind the point, as many of them as a number holds.
fn part_of(digits: &str, unit: i64) -> u64 {
    let (mut value, mut scale) = (0_u64, 1_f64);
    for digit in digits.bytes() {
        if value > (LIMIT - 1) / 10 {
            break;
        }
        value = value * 10 + u64::from(digit - b'0');
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
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
            (".5s1.s", SECOND + SECOND / 2, "1.5s"),
            ("30s.5099999999999µs", 30 * SECOND + 509, "30.000000509s"),
            ("9223372036854775807ns", i64::MAX, "2562047h47m16.854775807s"),
            ("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
            assert_eq!(format(nanoseconds), written, "{text}");
        }
        for bad in [
            "",
            "1",
            "1x",
            "s",
            "1s2",
            "..s",
            "-",
            "9999999999999h",
            "1.2.3s",
            "9223372036854775808ns",
            "99999999999999999999ns",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
