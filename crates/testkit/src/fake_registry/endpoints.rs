//! The endpoints of the distribution specification and of the token server, as the fake registry serves them.

use std::collections::HashMap;

use gantry_oci::{Digest, Document};
use hyper::header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HOST, LOCATION, RANGE, WWW_AUTHENTICATE};

use super::Quirk;
use super::access::{Issue, Verdict};
use super::reply::{Answer, Dropped, Reply};
use super::server::{Call, State};
use super::upload;

/// Serves one request as the specification says, and as the registry's quirks do.
pub(super) async fn serve(state: &State, call: &mut Call) -> Result<Answer, Dropped> {
    if call.path == "/token" {
        return token(state, call).await;
    }
    let route = Route::of(&call.path);
    if let Some(refusal) = refuse(state, call, route.as_ref()) {
        return Ok(refusal);
    }
    match (route, call.method.as_str()) {
        (Some(Route::Base), _) => Ok(Reply::new(200).body(Vec::new())),
        (Some(Route::Manifest { repository, reference }), "GET" | "HEAD") => {
            Ok(get_manifest(state, call, &repository, &reference))
        }
        (Some(Route::Manifest { repository, reference }), "PUT") => {
            put_manifest(state, call, &repository, &reference).await
        }
        (Some(Route::Blob { repository, digest }), "GET" | "HEAD") => {
            Ok(get_blob(state, call, &repository, &digest))
        }
        (Some(Route::Uploads { repository }), "POST") => Ok(start_upload(state, call, &repository)),
        (Some(Route::Upload { repository, id }), _) => session(state, call, &repository, id).await,
        (Some(Route::Tags { repository }), "GET") => Ok(match state.content().tags(&repository) {
            Some(tags) => Reply::new(200).json(&serde_json::json!({"name": repository, "tags": tags})),
            None => Reply::new(404).error("NAME_UNKNOWN", "repository name not known to registry"),
        }),
        (None, _) => Ok(Reply::new(404).error("UNSUPPORTED", "no such endpoint")),
        (Some(_), _) => Ok(Reply::new(405).error("UNSUPPORTED", "the operation is unsupported")),
    }
}

/// The endpoints of the specification.
enum Route {
    Base,
    Manifest { repository: String, reference: String },
    Blob { repository: String, digest: String },
    Uploads { repository: String },
    Upload { repository: String, id: u64 },
    Tags { repository: String },
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v2/")?;
        if rest.is_empty() {
            return Some(Self::Base);
        }
        if let Some((repository, id)) = rest.rsplit_once("/blobs/uploads/") {
            let repository = repository.to_owned();
            return match id {
                "" => Some(Self::Uploads { repository }),
                id => Some(Self::Upload { repository, id: id.parse().ok()? }),
            };
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Some(Self::Tags { repository: repository.to_owned() });
        }
        if let Some((repository, reference)) = rest.rsplit_once("/manifests/") {
            return Some(Self::Manifest {
                repository: repository.to_owned(),
                reference: reference.to_owned(),
            });
        }
        let (repository, digest) = rest.rsplit_once("/blobs/")?;
        Some(Self::Blob { repository: repository.to_owned(), digest: digest.to_owned() })
    }

    fn repository(&self) -> Option<&str> {
        match self {
            Self::Base => None,
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Uploads { repository }
            | Self::Upload { repository, .. }
            | Self::Tags { repository } => Some(repository),
        }
    }
}

/// What the registry's own refusal of a request says that it wants.
pub(super) fn challenge(state: &State, call: &Call) -> String {
    let needs = needs(call, Route::of(&call.path).as_ref());
    state.doorkeeper().challenge(&needs, call.header(HOST).unwrap_or_default())
}

fn refuse(state: &State, call: &Call, route: Option<&Route>) -> Option<Answer> {
    let needs = needs(call, route);
    let verdict = state.doorkeeper().judge(call.header(AUTHORIZATION), &needs);
    let shy = state.has(Quirk::ShyRefusal) && !matches!(route, Some(Route::Base));
    let error = match verdict {
        Verdict::Pass => return None,
        Verdict::Wrong if state.has(Quirk::ExpiryIsForbidden) => {
            return Some(Reply::new(403).error("DENIED", "Your authorization token has expired."));
        }
        Verdict::Insufficient => ",error=\"insufficient_scope\"",
        Verdict::Missing | Verdict::Wrong => "",
    };
    let reply = match shy {
        true => Reply::new(401),
        false => Reply::new(401).header(WWW_AUTHENTICATE, challenge(state, call) + error),
    };
    Some(reply.error("UNAUTHORIZED", "authentication required"))
}

/// The repositories and actions that a request needs.
fn needs(call: &Call, route: Option<&Route>) -> Vec<(String, &'static str)> {
    let writes = !matches!(call.method.as_str(), "GET" | "HEAD");
    let mut needs = Vec::new();
    if let Some(repository) = route.and_then(Route::repository) {
        needs.push((repository.to_owned(), if writes { "push" } else { "pull" }));
    }
    if let Some(from) = call.query("from") {
        needs.push((from.to_owned(), "pull"));
    }
    needs
}

async fn token(state: &State, call: &mut Call) -> Result<Answer, Dropped> {
    let form: HashMap<String, String> = match call.method.as_str() {
        "POST" => url::form_urlencoded::parse(&call.all().await?).into_owned().collect(),
        _ => HashMap::new(),
    };
    let scopes = match form.get("scope") {
        Some(scopes) => scopes.split(' ').map(str::to_owned).collect(),
        None => {
            call.query.iter().filter(|(name, _)| name == "scope").map(|(_, scope)| scope.clone()).collect()
        }
    };
    let identities = state.has(Quirk::IdentityTokens);
    let offers = identities && call.query("offline_token") == Some("true");
    let identity = form.get("refresh_token").map(String::as_str);
    let identity = state.doorkeeper().password_for(identity, identities);
    let scopes: Vec<String> = scopes;
    let most = if state.has(Quirk::FirstScopeOnly) { 1 } else { scopes.len() };
    let scopes = scopes.into_iter().take(most).collect();
    let issue = state.doorkeeper().issue(call.header(AUTHORIZATION), identity.as_deref(), scopes);
    Ok(match issue {
        Issue::Token { token, .. } if state.has(Quirk::NoLifetime) => {
            Reply::new(200).json(&serde_json::json!({"token": token}))
        }
        Issue::Token { token, lifetime } => {
            let mut answer = serde_json::json!({
                "token": token, "access_token": token, "expires_in": lifetime.as_secs()
            });
            if let Some(identity) = state.doorkeeper().identity().filter(|_| offers) {
                answer["refresh_token"] = identity.into();
            }
            Reply::new(200).json(&answer)
        }
        Issue::Refused => Reply::new(401).error("UNAUTHORIZED", "incorrect username or password"),
    })
}

fn get_manifest(state: &State, call: &Call, repository: &str, reference: &str) -> Answer {
    match state.content().manifest(repository, reference) {
        Some((digest, media_type, bytes)) => {
            Reply::new(200).header(CONTENT_TYPE, media_type).digest(&digest).body(bytes)
        }
        None if call.method == "HEAD" && state.has(Quirk::ForbiddenHead) => {
            Reply::new(403).error("DENIED", "access to the resource is denied")
        }
        None => Reply::new(404).error("MANIFEST_UNKNOWN", "manifest unknown"),
    }
}

async fn put_manifest(
    state: &State,
    call: &mut Call,
    repository: &str,
    reference: &str,
) -> Result<Answer, Dropped> {
    let media_type = call.header(CONTENT_TYPE).unwrap_or_default().to_owned();
    let bytes = call.all().await?;
    let document = match Document::parse(&bytes, Some(&media_type)) {
        Ok(document) => document,
        Err(error) => return Ok(Reply::new(400).error("MANIFEST_INVALID", &error.to_string())),
    };
    let unchecked = matches!(document, Document::Index(_)) && state.has(Quirk::SparseIndexes);
    if let Some(missing) = state.content().missing(repository, &document).filter(|_| !unchecked) {
        return Ok(
            Reply::new(404).error("MANIFEST_BLOB_UNKNOWN", &format!("{missing} is not in the repository"))
        );
    }
    let tag = match reference.parse::<Digest>() {
        Ok(digest) if digest != Digest::of(&bytes) => {
            return Ok(
                Reply::new(400).error("DIGEST_INVALID", "provided digest did not match uploaded content")
            );
        }
        Ok(_) => None,
        Err(_) => Some(reference),
    };
    if let Some(tag) = tag
        && state.has(Quirk::ImmutableTags)
        && state.content().manifest(repository, tag).is_some()
    {
        let message = format!("the image tag '{tag}' already exists and cannot be overwritten");
        return Ok(Reply::new(400).error("TAG_INVALID", &message));
    }
    let digest = state.content().put_manifest(repository, tag, &media_type, bytes.into());
    Ok(Reply::new(201)
        .header(LOCATION, format!("/v2/{repository}/manifests/{digest}"))
        .digest(&digest)
        .body(Vec::new()))
}

fn get_blob(state: &State, call: &Call, repository: &str, digest: &str) -> Answer {
    let blob = digest.parse().ok().and_then(|digest| state.content().blob(repository, &digest));
    let Some(bytes) = blob else { return Reply::new(404).error("BLOB_UNKNOWN", "blob unknown to registry") };
    let start: Option<usize> = match state.has(Quirk::NoRanges) {
        true => None,
        false => {
            call.header(RANGE).and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
        }
    };
    let reply = |status| Reply::new(status).header("docker-content-digest", digest);
    match start {
        None => reply(200).header("accept-ranges", "bytes").body(bytes),
        Some(start) if start < bytes.len() => reply(206)
            .header(CONTENT_RANGE, format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
            .body(bytes.slice(start..)),
        Some(_) => reply(416).body(Vec::new()),
    }
}

fn start_upload(state: &State, call: &Call, repository: &str) -> Answer {
    let answer = state.quirk(|quirk| match quirk {
        Quirk::Mount(status) => Some(*status),
        _ => None,
    });
    if let (Some(digest), Some(from)) = (digest_in(call, "mount"), call.query("from")) {
        match answer {
            None => {
                if state.content().mount(from, repository, &digest) {
                    return stored(repository, &digest);
                }
            }
            Some(202) => {}
            Some(status) => return Reply::new(status).error("DENIED", "cannot mount"),
        }
    }
    let id = state.uploads().start();
    let reply = Reply::new(202).header(LOCATION, upload::location(repository, id, 0)).header(RANGE, "0-0");
    let reply = match least_chunk(state) {
        Some(least) => reply.header("oci-chunk-min-length", least.to_string()),
        None => reply,
    };
    reply.body(Vec::new())
}

fn stored(repository: &str, digest: &Digest) -> Answer {
    Reply::new(201)
        .header(LOCATION, format!("/v2/{repository}/blobs/{digest}"))
        .digest(digest)
        .body(Vec::new())
}

fn least_chunk(state: &State) -> Option<u64> {
    state.quirk(|quirk| match quirk {
        Quirk::MinimumChunk(least) => Some(*least),
        _ => None,
    })
}

/// Everything that is done to an upload session: status, chunks, the end, giving up.
async fn session(state: &State, call: &mut Call, repository: &str, id: u64) -> Result<Answer, Dropped> {
    let unknown = || Reply::new(404).error("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    let Some(len) = state.uploads().len(id) else { return Ok(unknown()) };
    let unsupported = || Reply::new(405).error("UNSUPPORTED", "the operation is unsupported");
    let length = call.header(hyper::header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    match call.method.as_str() {
        "GET" if state.has(Quirk::NoStatus) => return Ok(unknown()),
        "GET" => return Ok(progress(state, 204, repository, id)),
        "DELETE" => {
            state.uploads().finish(id, false);
            return Ok(Reply::new(204).body(Vec::new()));
        }
        "PATCH" if state.has(Quirk::NoPatch) => return Ok(unsupported()),
        "PATCH" if least_chunk(state).is_some_and(|least| length.unwrap_or(least) < least) => {
            return Ok(progress(state, 416, repository, id));
        }
        "PUT" if state.has(Quirk::PatchOnly) && length != Some(0) => return Ok(unsupported()),
        "PATCH" | "PUT" => {}
        _ => return Ok(unsupported()),
    }
    let start = call.header(CONTENT_RANGE).and_then(|range| range.split_once('-')?.0.parse::<u64>().ok());
    if start.is_some_and(|start| start != len) {
        return Ok(progress(state, 416, repository, id));
    }
    if !upload::is_current(&call.query, len) {
        return Ok(
            Reply::new(400).error("BLOB_UPLOAD_INVALID", "the address does not carry the session's state")
        );
    }
    if length != Some(0) {
        state.uploads().request(id);
    }
    while let Some(chunk) = call.chunk().await? {
        state.uploads().append(id, &chunk);
    }
    if call.method == "PATCH" {
        let status = if state.has(Quirk::CreatedOnPatch) { 201 } else { 202 };
        return Ok(progress(state, status, repository, id));
    }
    Ok(finish(state, call, repository, id))
}

/// An answer that says how far a session came.
fn progress(state: &State, status: u16, repository: &str, id: u64) -> Answer {
    let uploads = state.uploads();
    let len = uploads.len(id).unwrap_or_default();
    let told = if state.has(Quirk::StuckRange) { uploads.first_request(id) } else { len };
    Reply::new(status)
        .header(LOCATION, upload::location(repository, id, len))
        .header(RANGE, format!("0-{}", told.saturating_sub(1)))
        .body(Vec::new())
}

fn finish(state: &State, call: &Call, repository: &str, id: u64) -> Answer {
    let last_only = state.has(Quirk::LastChunkWins);
    let bytes = state.uploads().finish(id, last_only);
    let digest = Digest::of(&bytes);
    let claimed = digest_in(call, "digest");
    match claimed {
        Some(claimed) if last_only => {
            state.content().put_blob_as(repository, claimed, bytes);
            stored(repository, &claimed)
        }
        Some(claimed) if claimed == digest => {
            state.content().put_blob(repository, bytes);
            stored(repository, &digest)
        }
        _ => Reply::new(400).error("DIGEST_INVALID", "provided digest did not match uploaded content"),
    }
}

/// The digest that a request names.
fn digest_in(call: &Call, name: &str) -> Option<Digest> {
    call.query(name)?.parse().ok()
}
