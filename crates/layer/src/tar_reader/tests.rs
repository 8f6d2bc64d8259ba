//! The fields of headers, in all their forms.

use super::*;

#[test]
fn numbers_in_all_their_forms() {
    for (field, value) in [
        (&b"0000755\0"[..], Some(0o755)),
        (b"   755 \0", Some(0o755)),
        (b"\0\0\0\0\0\0\0\0", Some(0)),
        (b"0000789\0", None),
        (b"-000001\0", None),
        (b"777777777777777777777777777777", None),
        (&[0x80, 0, 0, 1, 0, 0, 0, 0], Some(1 << 32)),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some(-1)),
        (&[0xff; 12], Some(-1)),
        (&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None),
    ] {
        assert_eq!(number(field, "field").ok(), value, "{field:x?}");
    }
}

#[test]
fn times_keep_nanoseconds() {
    for (text, expected) in [
        ("1", Some((1, 0))),
        ("1.5", Some((1, 500_000_000))),
        ("1.1234567899", Some((1, 123_456_789))),
        ("-1.25", Some((-2, 750_000_000))),
        ("-0.5", Some((-1, 500_000_000))),
        ("", None),
        ("1.x", None),
        ("99999999999999999999", None),
    ] {
        let found = time(text.as_bytes()).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn records_that_lie_about_their_length_are_damage() {
    for bad in
        ["", "5 a=b", "99 a=b\n", "0 a=b\n", "2 a=b\n", "x a=b\n", "18446744073709551616 a=b\n", " a=b\n"]
    {
        assert_eq!(split_record(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(split_record(b"6 a=b\nrest"), Some((&b"a=b"[..], &b"rest"[..])));
}
