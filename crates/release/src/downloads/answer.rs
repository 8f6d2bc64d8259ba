//! What the headers of an answer say of the file behind them.

use gantry_engine::Version;
use reqwest::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue,
    LAST_MODIFIED,
};

/// Which state of the file it is.
pub(super) fn version(headers: &HeaderMap) -> Version {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    Version {
        etag: text(ETAG).map(str::to_owned),
        modified: text(LAST_MODIFIED).and_then(|text| httpdate::parse_http_date(text).ok()),
    }
}

/// The plain `filename` of `Content-Disposition` (RFC 6266).
pub(super) fn file_name(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_DISPOSITION)?.to_str().ok()?;
    let field = text.split(';').map(str::trim).find_map(|field| {
        let (name, value) = field.split_once('=')?;
        name.trim().eq_ignore_ascii_case("filename").then_some(value.trim())
    })?;
    let name = field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field);
    Some(name.replace("\\\"", "\"")).filter(|name| !name.is_empty())
}

/// What tells this state of the file from all others, if a part of it can be asked for. A file without a length comes
/// decompressed, and where it broke off says nothing about where to go on.
pub(super) fn resumable(headers: &HeaderMap) -> Option<HeaderValue> {
    let accepts = headers.get(ACCEPT_RANGES)?.as_bytes() == b"bytes" && headers.contains_key(CONTENT_LENGTH);
    headers.get(ETAG).filter(|etag| accepts && !etag.as_bytes().starts_with(b"W/")).cloned()
}

/// Whether the answer is the part of the file that begins there.
pub(super) fn starts_at(headers: &HeaderMap, offset: u64) -> bool {
    let range = headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    start == Some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_the_same_goes_on() {
        let headers = |etag: &'static str, ranges: &'static str, length: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(ETAG, HeaderValue::from_static(etag));
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static(ranges));
            if length {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("9"));
            }
            headers
        };
        assert!(resumable(&headers("\"1\"", "bytes", true)).is_some());
        assert!(resumable(&headers("W/\"1\"", "bytes", true)).is_none());
        assert!(resumable(&headers("\"1\"", "none", true)).is_none());
        assert!(resumable(&headers("\"1\"", "bytes", false)).is_none());
        let part = HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_static("bytes 5-8/9"))]);
        assert!(starts_at(&part, 5) && !starts_at(&part, 4) && !starts_at(&HeaderMap::new(), 0));
    }

    #[test]
    fn names_of_dispositions() {
        for (text, expected) in [
            ("attachment; filename=\"a b.txt\"", Some("a b.txt")),
            ("attachment; FileName = x", Some("x")),
            ("attachment", None),
            ("attachment; filename=", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_DISPOSITION, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(file_name(&headers).as_deref(), expected, "{text}");
        }
    }
}
