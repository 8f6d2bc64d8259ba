//! The fault matrix: every way in which registries fail or differ that a client must survive, as a table.
//!
//! Each row leaves a [`FakeRegistry`] with which a correct client, one that has [`USER`] and [`PASSWORD`], succeeds.
//! [`fatal_rows`] are those where it must fail, with the class of the error. [`images`] are made for the rows: their
//! large layer is longer than what the rows break off after.

use std::time::Duration;

use gantry_oci::ImageErrorKind;

use crate::{Access, BuiltImage, Entry, FakeRegistry, Fault, ImageBuilder, Quirk, Seen};

/// Who may push to a registry of the matrix.
pub const USER: &str = "matrix";
/// And with which password.
pub const PASSWORD: &str = "matrix-password";
/// The size of the largest layer of [`images`], and a little less than that of its blob.
pub const LARGE: usize = 1_000_000;

const HOUR: Duration = Duration::from_secs(3600);
/// Bodies above this are blobs that are worth interrupting.
const WORTH_INTERRUPTING: u64 = 500_000;

/// What a row concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Writing to the registry.
    Push,
    /// Reading from it.
    Pull,
    /// Either.
    Both,
}

impl On {
    /// Whether the row is for a registry that is written to.
    pub fn pushes(self) -> bool {
        self != Self::Pull
    }

    /// Whether the row is for a registry that is read from.
    pub fn pulls(self) -> bool {
        self != Self::Push
    }
}

/// A fault or a quirk.
#[derive(Debug, Clone, Copy)]
pub struct FaultRow {
    /// The row's name.
    pub name: &'static str,
    /// What it concerns.
    pub on: On,
    /// Makes a registry have it.
    pub install: fn(&FakeRegistry),
}

/// A fault that cannot be survived.
#[derive(Debug, Clone, Copy)]
pub struct FatalRow {
    /// The row's name.
    pub name: &'static str,
    /// What it concerns.
    pub on: On,
    /// Makes a registry have it.
    pub install: fn(&FakeRegistry),
    /// How the client must sort it.
    pub kind: ImageErrorKind,
}

/// Two images with several blobs each, one of them large: what to push and pull with the rows.
pub fn images() -> [BuiltImage; 2] {
    ["linux/amd64", "linux/arm64"].map(|platform| {
        ImageBuilder::new(platform)
            .layer(&[Entry::dir("etc"), Entry::file("etc/platform", platform)])
            .layer(&[Entry::file("usr/large", noise(LARGE))])
            .layer(&[Entry::file("usr/small", platform)])
            .build()
    })
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(length)
    .collect()
}

/// Every fault and quirk that a client survives.
pub fn rows() -> Vec<FaultRow> {
    let table: [(&[Named], On); 3] = [(&PUSH, On::Push), (&PULL, On::Pull), (&BOTH, On::Both)];
    table
        .into_iter()
        .flat_map(|(rows, on)| rows.iter().map(move |&(name, install)| FaultRow { name, on, install }))
        .collect()
}

/// Every fault that must end in an error of a certain class.
pub fn fatal_rows() -> Vec<FatalRow> {
    use ImageErrorKind::{Corrupt, Denied, Unavailable};
    let row = |name, on, install: fn(&FakeRegistry), kind| FatalRow { name, on, install, kind };
    vec![
        row("password is wrong, tokens", On::Both, |r| r.set_access(Access::bearer(USER, "x", HOUR)), Denied),
        row("password is wrong, Basic", On::Both, |r| r.set_access(Access::basic(USER, "x")), Denied),
        row(
            "every upload is denied",
            On::Push,
            |r| always(r, is_put, Fault::error(403, "DENIED", "no")),
            Denied,
        ),
        row(
            "every read is denied",
            On::Pull,
            |r| always(r, is_get, Fault::error(403, "DENIED", "no")),
            Denied,
        ),
        row(
            "every token is refused",
            On::Both,
            |r| {
                r.set_access(Access::bearer(USER, PASSWORD, HOUR));
                always(r, not_token, Fault::Refuse { challenge: true, after: None });
            },
            Denied,
        ),
        row("always 503", On::Both, |r| always(r, any, Fault::status(503)), Unavailable),
        row(
            "a billion seconds of Retry-After",
            On::Both,
            |r| {
                always(r, any, Fault::status_with(429, "retry-after", "1000000000"));
            },
            Unavailable,
        ),
        row(
            "endless error pages",
            On::Both,
            |r| {
                always(r, any, Fault::Endless { status: 400, headers: vec![], piece: b"x".repeat(1000) });
            },
            Unavailable,
        ),
        row(
            "endless manifests",
            On::Pull,
            |r| {
                always(
                    r,
                    is_manifest,
                    Fault::Endless { status: 200, headers: vec![], piece: b" ".repeat(1000) },
                );
            },
            Unavailable,
        ),
        row(
            "redirects in a circle",
            On::Pull,
            |r| {
                always(r, is_get, Fault::status_with(307, "location", "?again"));
            },
            Unavailable,
        ),
        row(
            "blobs are not what their digest says",
            On::Pull,
            |r| {
                always(r, is_get_blob, Fault::Body(b"something else".to_vec()));
            },
            Corrupt,
        ),
        row(
            "manifests are stored under another digest",
            On::Push,
            |r| {
                always(r, is_put_manifest, Fault::Headers(vec![("docker-content-digest".into(), lie())]));
            },
            Corrupt,
        ),
    ]
}

type Named = (&'static str, fn(&FakeRegistry));

const PUSH: [Named; 50] = [
    // Tokens and credentials, §1.2 of the notes: one row for each request of a push.
    ("401 with challenge on POST", |r| once(r, is_post, refuse(true))),
    ("401 with challenge on closing PUT, body read", |r| once(r, is_put_blob, refuse(true))),
    ("401 with challenge on closing PUT, body unread", |r| once(r, is_large, refuse_after(0))),
    ("401 with challenge in mid-body", |r| once(r, is_large, refuse_after(300_000))),
    ("401 with challenge on PUT of a manifest", |r| once(r, is_put_manifest, refuse(true))),
    ("401 without challenge on POST", |r| once(r, is_post, refuse(false))),
    ("401 without challenge on closing PUT, body read", |r| once(r, is_put_blob, refuse(false))),
    ("401 without challenge on closing PUT, body unread", |r| {
        once(r, is_large, Fault::Refuse { challenge: false, after: Some(0) });
    }),
    ("401 without challenge in mid-body", |r| {
        once(r, is_large, Fault::Refuse { challenge: false, after: Some(300_000) });
    }),
    ("401 without challenge on PUT of a manifest", |r| once(r, is_put_manifest, refuse(false))),
    ("token revoked before POST", |r| once(r, is_post, Fault::Revoke)),
    ("token revoked before closing PUT", |r| once(r, is_large, Fault::Revoke)),
    ("token revoked before PUT of a manifest", |r| once(r, is_put_manifest, Fault::Revoke)),
    ("403 that says expired on POST", |r| once(r, is_post, expired())),
    ("403 that says expired on closing PUT, body unread", |r| once(r, is_large, expired())),
    ("403 that says expired on PUT of a manifest", |r| once(r, is_put_manifest, expired())),
    ("403 that says expired, Basic", |r| {
        once(r, is_put_blob, expired());
        r.set_access(Access::basic(USER, PASSWORD));
    }),
    ("only the first scope of a token counts", |r| {
        tokens(r);
        r.set_quirks(&[Quirk::FirstScopeOnly]);
    }),
    // Lost connections and passing errors.
    ("503 on POST", |r| once(r, is_post, Fault::status(503))),
    ("503 on closing PUT, body unread", |r| once(r, is_large, Fault::status(503))),
    ("503 in mid-body", |r| once(r, is_large, Fault::MidAnswer { after: 300_000, status: 503 })),
    ("503 on PUT of a manifest", |r| once(r, is_put_manifest, Fault::status(503))),
    ("429 on closing PUT", |r| once(r, is_large, Fault::status_with(429, "retry-after", "0"))),
    ("500 after the whole body", |r| once(r, is_large, Fault::LateAnswer { status: 500, headers: vec![] })),
    ("reset in mid-body", |r| once(r, is_large, Fault::Reset { after: 300_000 })),
    ("reset at the body's start", |r| once(r, is_large, Fault::Reset { after: 0 })),
    ("closed in mid-body, twice", |r| {
        faults(r, is_large, vec![Fault::Drop { after: 300_000 }, Fault::Drop { after: 200_000 }]);
    }),
    ("the answer to POST is lost", |r| once(r, is_post, Fault::LoseAnswer)),
    ("the answer to a complete upload is lost", |r| once(r, is_large, Fault::LoseAnswer)),
    ("the answer to PUT of a manifest is lost", |r| once(r, is_put_manifest, Fault::LoseAnswer)),
    ("404 for a new session's first PUT", |r| once(r, is_large, unknown_session())),
    ("404 for the session after a lost connection", |r| {
        faults(r, is_large, vec![Fault::Drop { after: 300_000 }, unknown_session()]);
    }),
    // Registries' own ways, §1.4.
    ("no PATCH, reset in mid-body", |r| quirky(r, &[Quirk::NoPatch], Fault::Reset { after: 300_000 })),
    ("PATCH only", |r| quirks(r, &[Quirk::PatchOnly])),
    ("Range is stuck, closed twice", |r| {
        r.set_quirks(&[Quirk::StuckRange]);
        faults(r, is_large, vec![Fault::Drop { after: 300_000 }, Fault::Drop { after: 200_000 }]);
    }),
    ("Range is stuck, chunks", |r| quirks(r, &[Quirk::StuckRange, Quirk::BodyLimit(400_000)])),
    ("201 to chunks", |r| quirks(r, &[Quirk::CreatedOnPatch, Quirk::BodyLimit(400_000)])),
    ("status is 404, closed in mid-body", |r| quirky(r, &[Quirk::NoStatus], Fault::Drop { after: 300_000 })),
    ("status is 404, chunks", |r| quirks(r, &[Quirk::NoStatus, Quirk::BodyLimit(400_000)])),
    ("the last chunk wins, closed in mid-body", |r| {
        quirky(r, &[Quirk::LastChunkWins], Fault::Drop { after: 300_000 });
    }),
    ("413 before the body", |r| quirks(r, &[Quirk::BodyLimit(400_000)])),
    ("reset after so many bytes of a body", |r| quirks(r, &[Quirk::BodyLimitReset(400_000)])),
    ("413 and chunks of a minimum", |r| {
        quirks(r, &[Quirk::BodyLimit(600_000), Quirk::MinimumChunk(300_000)]);
    }),
    ("413, and a chunk is lost", |r| {
        quirks(r, &[Quirk::BodyLimit(400_000)]);
        once(r, is_patch, Fault::Reset { after: 50_000 });
    }),
    ("mounts become uploads", |r| quirks(r, &[Quirk::Mount(202)])),
    ("mounts are 400", |r| quirks(r, &[Quirk::Mount(400)])),
    ("mounts are 401", |r| quirks(r, &[Quirk::Mount(401)])),
    ("mounts are 403", |r| quirks(r, &[Quirk::Mount(403)])),
    ("mounts are 404", |r| quirks(r, &[Quirk::Mount(404)])),
    ("HEAD of an absent manifest is 403", |r| quirks(r, &[Quirk::ForbiddenHead])),
];

const PULL: [Named; 15] = [
    ("401 with challenge on GET of a manifest", |r| once(r, is_get_manifest, refuse(true))),
    ("401 with challenge on GET of a blob", |r| once(r, is_get_blob, refuse(true))),
    ("401 without challenge on GET of a manifest", |r| once(r, is_get_manifest, refuse(false))),
    ("401 without challenge on GET of a blob", |r| once(r, is_get_blob, refuse(false))),
    ("token revoked before GET of a blob", |r| once(r, is_get_blob, Fault::Revoke)),
    ("403 that says expired on GET of a blob", |r| once(r, is_get_blob, expired())),
    ("503 on GET of a blob", |r| once(r, is_get_blob, Fault::status(503))),
    ("429 on GET of a blob", |r| once(r, is_get_blob, Fault::status_with(429, "retry-after", "0"))),
    ("blob truncated", |r| every_large_get(r, Fault::Truncate { after: 300_000 })),
    ("blob truncated by a reset", |r| every_large_get(r, Fault::TruncateReset { after: 300_000 })),
    ("blob truncated after no byte", |r| once(r, is_get_blob, Fault::Truncate { after: 0 })),
    ("manifest truncated", |r| once(r, is_get_manifest, Fault::Truncate { after: 10 })),
    ("reset before the answer", |r| once(r, is_get_blob, Fault::Reset { after: 0 })),
    ("Range is ignored, blob truncated", |r| {
        r.set_quirks(&[Quirk::NoRanges]);
        every_large_get(r, Fault::Truncate { after: 300_000 });
    }),
    ("410 000 bytes at a time", |r| {
        faults(r, is_get_blob, vec![Fault::Truncate { after: 410_000 }; 6]);
    }),
];

const BOTH: [Named; 27] = [
    ("no fault at all", |_| ()),
    ("Basic", |r| r.set_access(Access::basic(USER, PASSWORD))),
    ("tokens", tokens),
    ("tokens that live one second", |r| r.set_access(Access::bearer(USER, PASSWORD, Duration::from_secs(1)))),
    ("tokens that live half a second", |r| {
        r.set_access(Access::bearer(USER, PASSWORD, Duration::from_millis(500)));
    }),
    ("tokens without a lifetime", |r| {
        tokens(r);
        r.set_quirks(&[Quirk::NoLifetime]);
    }),
    ("401 without challenge except on /v2/", |r| {
        tokens(r);
        r.set_quirks(&[Quirk::ShyRefusal]);
    }),
    ("wrong tokens are 403", |r| {
        tokens(r);
        r.set_quirks(&[Quirk::ExpiryIsForbidden]);
        let mut seen = 0;
        r.on_request(move |request| {
            seen += usize::from(not_token(request));
            (seen == 4).then_some(Fault::Revoke)
        });
    }),
    ("503 from the token server", |r| {
        tokens(r);
        once(r, |seen| seen.path == "/token", Fault::status(503));
    }),
    ("the token server's answer is lost", |r| {
        tokens(r);
        once(r, |seen| seen.path == "/token", Fault::LoseAnswer);
    }),
    ("408 to the first of each", |r| first_of_each(r, Fault::status(408))),
    ("425 to the first of each", |r| first_of_each(r, Fault::status(425))),
    ("429 without Retry-After to the first of each", |r| first_of_each(r, Fault::status(429))),
    ("429 with seconds to the first of each", |r| {
        first_of_each(r, Fault::status_with(429, "retry-after", "0"));
    }),
    ("429 with a date to the first of each", |r| {
        first_of_each(r, Fault::status_with(429, "retry-after", "Fri, 06 Nov 2020 10:00:00 GMT"));
    }),
    ("429 in plain text", |r| {
        let body = b"toomanyrequests: slow down\n".to_vec();
        first_of_each(r, Fault::Answer { status: 429, headers: vec![], body });
    }),
    ("499 to the first of each", |r| first_of_each(r, Fault::status(499))),
    ("500 to the first of each", |r| first_of_each(r, Fault::status(500))),
    ("502 to the first of each", |r| first_of_each(r, Fault::status(502))),
    ("503 to the first of each", |r| first_of_each(r, Fault::status(503))),
    ("504 to the first of each", |r| first_of_each(r, Fault::status(504))),
    ("522 to the first of each", |r| first_of_each(r, Fault::status(522))),
    ("401 with challenge to the first of each", |r| first_of_each(r, refuse(true))),
    ("reset of the first of each", |r| first_of_each(r, Fault::Reset { after: 0 })),
    ("the answer to the first of each is lost", |r| first_of_each(r, Fault::LoseAnswer)),
    ("429 to more than two at a time", |r| r.set_quirks(&[Quirk::Busy(2)])),
    ("no Docker-Content-Digest", |r| r.set_quirks(&[Quirk::NoContentDigest])),
];

fn tokens(registry: &FakeRegistry) {
    registry.set_access(Access::bearer(USER, PASSWORD, HOUR));
}

fn quirks(registry: &FakeRegistry, quirks: &[Quirk]) {
    registry.set_quirks(quirks);
}

/// Quirks, and one fault of the first large upload.
fn quirky(registry: &FakeRegistry, quirks: &[Quirk], fault: Fault) {
    registry.set_quirks(quirks);
    once(registry, is_large, fault);
}

type Which = fn(&Seen<'_>) -> bool;

fn always(registry: &FakeRegistry, which: Which, fault: Fault) {
    registry.on_request(move |seen| which(seen).then(|| fault.clone()));
}

/// Spoils the first request of a kind. Rows of refusals want somebody who may be refused: tokens are needed.
fn once(registry: &FakeRegistry, which: Which, fault: Fault) {
    faults(registry, which, vec![fault]);
}

/// Spoils the first requests of a kind, one after the other.
fn faults(registry: &FakeRegistry, which: Which, faults: Vec<Fault>) {
    tokens(registry);
    let mut faults = faults.into_iter();
    registry.on_request(move |seen| if which(seen) { faults.next() } else { None });
}

/// Spoils the first request of each kind but those to the token server.
fn first_of_each(registry: &FakeRegistry, fault: Fault) {
    tokens(registry);
    let kinds: [Which; 7] =
        [is_get_manifest, is_get_blob, is_head, is_post, is_put_blob, is_patch, is_put_manifest];
    let mut left = kinds.to_vec();
    registry.on_request(move |seen| {
        let kind = left.iter().position(|kind| kind(seen))?;
        left.remove(kind);
        Some(fault.clone())
    });
}

/// Spoils each blob's first download.
fn every_large_get(registry: &FakeRegistry, fault: Fault) {
    tokens(registry);
    let mut seen_paths = Vec::new();
    registry.on_request(move |seen| {
        let new = is_get_blob(seen) && !seen_paths.iter().any(|path| path == seen.path);
        new.then(|| {
            seen_paths.push(seen.path.to_owned());
            fault.clone()
        })
    });
}

fn refuse(challenge: bool) -> Fault {
    Fault::Refuse { challenge, after: None }
}

fn refuse_after(after: u64) -> Fault {
    Fault::Refuse { challenge: true, after: Some(after) }
}

fn expired() -> Fault {
    Fault::error(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
}

fn unknown_session() -> Fault {
    Fault::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

fn lie() -> String {
    gantry_oci::Digest::of("something else").to_string()
}

fn any(_: &Seen<'_>) -> bool {
    true
}

fn not_token(seen: &Seen<'_>) -> bool {
    seen.path != "/token"
}

fn is_manifest(seen: &Seen<'_>) -> bool {
    seen.path.contains("/manifests/")
}

fn is_blob(seen: &Seen<'_>) -> bool {
    seen.path.contains("/blobs/sha256:")
}

fn is_upload(seen: &Seen<'_>) -> bool {
    seen.path.contains("/blobs/uploads/")
}

fn is_head(seen: &Seen<'_>) -> bool {
    seen.method == "HEAD"
}

fn is_get(seen: &Seen<'_>) -> bool {
    seen.method == "GET" && not_token(seen)
}

fn is_get_manifest(seen: &Seen<'_>) -> bool {
    is_get(seen) && is_manifest(seen)
}

fn is_get_blob(seen: &Seen<'_>) -> bool {
    is_get(seen) && is_blob(seen)
}

fn is_post(seen: &Seen<'_>) -> bool {
    seen.method == "POST" && is_upload(seen)
}

fn is_patch(seen: &Seen<'_>) -> bool {
    seen.method == "PATCH"
}

fn is_put(seen: &Seen<'_>) -> bool {
    seen.method == "PUT"
}

fn is_put_blob(seen: &Seen<'_>) -> bool {
    is_put(seen) && is_upload(seen)
}

fn is_put_manifest(seen: &Seen<'_>) -> bool {
    is_put(seen) && is_manifest(seen)
}

/// The closing request of a large blob, with its body.
fn is_large(seen: &Seen<'_>) -> bool {
    is_put_blob(seen) && seen.length() > WORTH_INTERRUPTING
}
