//! How real registries differ from the specification: each a way to serve, not a passing fault.

/// One registry's peculiarity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    /// Uploads in chunks are refused with 405 (Google's registries).
    NoPatch,
    /// An upload whose closing `PUT` has a body is refused with 405; the bytes must come by `PATCH` (once Artifactory).
    PatchOnly,
    /// `Range` names the end of the session's first request whatever came later (ECR).
    StuckRange,
    /// A chunk is answered with 201 instead of 202 (ECR).
    CreatedOnPatch,
    /// An upload's status cannot be asked: 404 (ECR).
    NoStatus,
    /// Of an upload in several requests the last one alone is kept, and stored unchecked under the digest that the
    /// client claims (reported of GHCR, and of small registries).
    LastChunkWins,
    /// A request's body may have so many bytes; a longer one is answered with 413 before it is read (nginx).
    BodyLimit(u64),
    /// The same, but after so many bytes the connection is reset (proxies that stream, ACR).
    BodyLimitReset(u64),
    /// Sessions announce `OCI-Chunk-Min-Length`, and smaller chunks are refused with 416.
    MinimumChunk(u64),
    /// Mounts are answered with this status: 202 opens a session, others are errors.
    Mount(u16),
    /// `HEAD` and `GET` of a manifest that is absent: 403 for the first, 404 for the second (Artifactory).
    ForbiddenHead,
    /// No answer has `Docker-Content-Digest`.
    NoContentDigest,
    /// A tag that exists cannot be written again, not even with the same digest: 400 `TAG_INVALID`.
    ImmutableTags,
    /// `Range` of a download is ignored: the whole blob comes with 200.
    NoRanges,
    /// A token allows the first scope that was asked for and nothing else.
    FirstScopeOnly,
    /// A token's lifetime is not said.
    NoLifetime,
    /// With `offline_token=true` there is an identity token with the token, `identity-of-USER`, which is good for tokens
    /// from then on.
    IdentityTokens,
    /// A refusal does not say how to authenticate, except that of `/v2/`.
    ShyRefusal,
    /// Credentials that are wrong or have run out are answered with 403 and the words of ECR, missing ones with 401.
    ExpiryIsForbidden,
    /// An index is taken whatever of its entries is there (registries that do not validate, GHCR).
    SparseIndexes,
    /// More requests than so many at a time are answered with 429.
    Busy(usize),
}
