//! One blob's upload, through whatever happens to it.
//!
//! A request that fails on the way leaves something in the registry, and only the registry knows how much: so it is
//! asked, and the upload goes on from there. Where its answer turns out to be wrong, or the session is gone, the blob
//! starts again; where requests are too large for it, they become smaller. What was taken up or sent in parts is checked
//! by its size afterwards, since some registries keep the last part alone and call it the whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};

use gantry_oci::WrongCopy;

use super::Target;
use super::habits::{Form, Part, is_whole_only};
use super::session::Session;
use crate::http::{Access, Body, Meter, Request, Response, is_worth_retrying, may_pass};
use crate::manifests::check_claim;
use crate::retry_policy::Budget;
use crate::{Event, Fault};

/// A token has to last for the transfer of a body that is larger than this; smaller ones are over at once.
const LARGE: u64 = 8 * 1024 * 1024;
/// Connections lost at the same place before the place is believed to be a limit.
const LOSSES_THAT_TELL: u32 = 2;

/// An upload.
pub(super) struct Transfer<'a> {
    target: &'a Target<'a>,
    access: &'a Access,
    budget: Budget<'a>,
    form: Form,
    offsets: Offsets,
    sessions: Sessions,
    /// How far it ever came.
    furthest: u64,
    /// Connections lost since it came further.
    losses: u32,
}

/// Whether the registry's word about how far an upload came is believed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offsets {
    Believed,
    Doubted,
}

/// Whether the registry lost a session that it had just opened: once is bad luck with its replicas.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sessions {
    Kept,
    Lost,
}

/// What a request did.
enum Step {
    /// The session goes on.
    On(Session),
    Closed,
}

/// A request that failed.
struct Failure {
    fault: Fault,
    remedy: Remedy,
    /// Its body's length.
    length: u64,
    /// Whether everything was sent, and the blob may be there though the answer was not.
    may_be_stored: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// There are new credentials.
    GoOn,
    /// The fault may pass; the registry may have said when.
    Wait(Option<Duration>),
    /// The session is gone.
    OpenAgain,
    /// What was sent is not the blob.
    StartAgain,
    /// The registry rejected a part that it had asked for itself.
    Doubt,
    /// The request was too large.
    Shrink,
    /// The closing request must not have a body.
    ChunksOnly,
    /// Chunks are not taken.
    NoChunks,
    None,
}

/// How an upload goes on after a failure.
enum Next {
    Session(Option<Session>),
    Done,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(target: &'a Target<'a>, access: &'a Access) -> Self {
        let whole_only = is_whole_only(access.endpoint.name());
        Self {
            target,
            access,
            budget: target.registry.budget(),
            form: target.registry.habits().form(access.endpoint.name()),
            offsets: if whole_only { Offsets::Doubted } else { Offsets::Believed },
            sessions: Sessions::Kept,
            furthest: 0,
            losses: 0,
        }
    }

    /// Uploads the blob, into a session that is open already if there is one.
    pub(super) async fn run(mut self, mut session: Option<Session>) -> Result<(), Fault> {
        let mut form = self.form;
        loop {
            let current = match session.take() {
                Some(session) => session,
                None => self.target.open(self.access).await?,
            };
            session = match self.send(&current).await {
                Ok(Step::On(next)) => {
                    self.came(next.offset);
                    Some(next)
                }
                Ok(Step::Closed) if current.offset == 0 || self.is_complete().await? => break,
                Ok(Step::Closed) => self.after_a_wrong_size()?,
                Err(failure) => match self.recover(current, failure).await? {
                    Next::Done => break,
                    Next::Session(next) => next,
                },
            };
            if self.form != form {
                // What was learnt of another form says nothing about this one.
                (form, self.furthest, self.losses) = (self.form, 0, 0);
            }
        }
        if self.form.is_chunked() {
            self.target.registry.habits().learn(self.access.endpoint.name(), self.form);
        }
        Ok(())
    }

    /// Sends the next part.
    async fn send(&self, session: &Session) -> Result<Step, Failure> {
        let (digest, size) = (self.target.source.digest(), self.target.source.size());
        let part = self.form.part(session.offset, size, session.least_chunk);
        let span = part.span();
        let length = span.end - span.start;
        let meter = Arc::new(Meter::default());
        let request = self.request(session, &part, &meter);
        let start = Instant::now();
        let result = self.target.registry.send(request).await;
        let may_be_stored = matches!(part, Part::Rest(_)) && (length == 0 || meter.is_full());
        let fail = |fault, remedy| Failure { fault, remedy, length, may_be_stored };
        let response = result.map_err(|fault| {
            let remedy = match &fault {
                Fault::Source(error) if WrongCopy::is(error) => Remedy::StartAgain,
                fault if is_worth_retrying(fault) => Remedy::Wait(None),
                _ => Remedy::None,
            };
            fail(fault, remedy)
        })?;
        if !response.status.is_success() {
            let remedy = self.remedy(&response, &part);
            return Err(fail(response.into_fault().await, remedy));
        }
        self.target.registry.habits().measured(self.access.endpoint.name(), length, start.elapsed());
        let went = match part {
            Part::Chunk(_) => session.went_on(self.access, &response, span.end).map(Step::On),
            Part::Rest(_) => check_claim(&response, &digest).map(|()| Step::Closed),
        };
        went.map_err(|fault| fail(fault, Remedy::None))
    }

    fn request(&self, session: &Session, part: &Part, meter: &Arc<Meter>) -> Request<'a> {
        let source = self.target.source;
        let span = part.span();
        let mut url = session.url.clone();
        let method = match part {
            Part::Chunk(_) => Method::PATCH,
            Part::Rest(_) => {
                url.query_pairs_mut().append_pair("digest", &source.digest().to_string());
                Method::PUT
            }
        };
        let mut request = Request::new(method, url, self.access);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if span.is_empty() {
            return request;
        }
        // The whole blob needs no range, and some registries take one for a sign of chunks.
        if span.start > 0 || matches!(part, Part::Chunk(_)) && span.end < source.size() {
            let range = format!("{}-{}", span.start, span.end - 1);
            request.headers.insert(CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are ASCII"));
        }
        let length = span.end - span.start;
        if length > LARGE {
            request.duration = self.target.registry.habits().duration(self.access.endpoint.name(), length);
        }
        request.body = Body::Blob { source, span, meter: Arc::clone(meter) };
        request
    }

    /// What an answer that is no success asks for.
    fn remedy(&self, response: &Response, part: &Part) -> Remedy {
        let resumed = part.span().start > 0;
        match response.status {
            _ if response.renewed => Remedy::GoOn,
            StatusCode::PAYLOAD_TOO_LARGE => Remedy::Shrink,
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED | StatusCode::LENGTH_REQUIRED => {
                match part {
                    Part::Rest(span) if !span.is_empty() => Remedy::ChunksOnly,
                    Part::Rest(_) => Remedy::None,
                    Part::Chunk(_) => Remedy::NoChunks,
                }
            }
            StatusCode::BAD_REQUEST | StatusCode::RANGE_NOT_SATISFIABLE if resumed => Remedy::Doubt,
            StatusCode::NOT_FOUND if resumed => Remedy::Doubt,
            StatusCode::NOT_FOUND if self.sessions == Sessions::Kept => Remedy::OpenAgain,
            StatusCode::BAD_REQUEST | StatusCode::RANGE_NOT_SATISFIABLE if matches!(part, Part::Chunk(_)) => {
                Remedy::NoChunks
            }
            status if may_pass(status) => Remedy::Wait(response.retry_after()),
            _ => Remedy::None,
        }
    }

    /// Does what a failure asks for, and finds out where to go on.
    async fn recover(&mut self, current: Session, failure: Failure) -> Result<Next, Fault> {
        let Failure { fault, remedy, length, may_be_stored } = failure;
        if !self.apply(remedy, length) {
            self.target.abandon(self.access, current).await;
            return Err(fault);
        }
        let retry_after = if let Remedy::Wait(retry_after) = remedy { retry_after } else { None };
        let Some(delay) = self.budget.next_delay(retry_after) else { return Err(fault) };
        if matches!(remedy, Remedy::Wait(_)) {
            self.pause(&fault, delay).await;
        }
        if may_be_stored && self.is_complete().await? {
            return Ok(Next::Done);
        }
        let keeps = matches!(remedy, Remedy::GoOn | Remedy::Wait(_) | Remedy::Shrink)
            && self.offsets == Offsets::Believed;
        let next = if keeps { self.target.status(self.access, &current).await? } else { None };
        match &next {
            Some(next) if next.offset > self.furthest => self.came(next.offset),
            _ if matches!(fault, Fault::Broken { .. } | Fault::Stalled { .. }) => self.lost(length),
            _ => {}
        }
        if next.is_none() {
            self.target.abandon(self.access, current).await;
        }
        Ok(Next::Session(next))
    }

    /// Changes the ways of this upload as a remedy wants it. False if there is no remedy.
    fn apply(&mut self, remedy: Remedy, length: u64) -> bool {
        match remedy {
            Remedy::GoOn | Remedy::Wait(_) | Remedy::StartAgain => return true,
            Remedy::None => return false,
            Remedy::OpenAgain => self.sessions = Sessions::Lost,
            Remedy::Doubt if self.offsets == Offsets::Believed => self.offsets = Offsets::Doubted,
            Remedy::Doubt => self.form = Form::Whole,
            Remedy::Shrink => return self.shrink(length),
            Remedy::ChunksOnly => {
                if matches!(self.form, Form::ChunksOnly(_)) || is_whole_only(self.access.endpoint.name()) {
                    return false;
                }
                let chunk = if let Form::Chunks(chunk) = self.form { chunk } else { u64::MAX };
                self.form = Form::ChunksOnly(chunk);
            }
            Remedy::NoChunks => {
                let was_chunked = self.form.is_chunked();
                self.form = Form::Whole;
                return was_chunked;
            }
        }
        true
    }

    fn shrink(&mut self, length: u64) -> bool {
        if is_whole_only(self.access.endpoint.name()) {
            return false;
        }
        let smaller = self.form.smaller(length);
        self.form = smaller.unwrap_or(self.form);
        smaller.is_some()
    }

    /// The upload came so far.
    fn came(&mut self, offset: u64) {
        if offset > self.furthest {
            self.budget.progress(offset - self.furthest);
            (self.furthest, self.losses) = (offset, 0);
        }
    }

    /// A connection was lost with a body of this length on it, and nothing of it arrived.
    fn lost(&mut self, length: u64) {
        self.losses += 1;
        if self.losses.is_multiple_of(LOSSES_THAT_TELL) && length > 0 {
            self.shrink(length);
        }
    }

    /// Whether the registry has the whole blob.
    async fn is_complete(&self) -> Result<bool, Fault> {
        Ok(self.target.stored_size(self.access).await? == Some(self.target.source.size()))
    }

    /// An upload in parts left something else than the blob: it starts again, in one piece.
    fn after_a_wrong_size(&mut self) -> Result<Option<Session>, Fault> {
        let wrong = || {
            Err(Fault::Corrupt(format!(
                "the registry did not store the {} bytes that it was sent in parts",
                self.target.source.size()
            )))
        };
        if self.offsets == Offsets::Doubted && !self.form.is_chunked()
            || self.budget.next_delay(None).is_none()
        {
            return wrong();
        }
        (self.offsets, self.form) = (Offsets::Doubted, Form::Whole);
        Ok(None)
    }

    async fn pause(&self, fault: &Fault, delay: Duration) {
        let (host, reason) = (self.target.repository.host().to_owned(), fault.to_string());
        self.target.registry.tell(|| Event::Waiting { host, reason, delay });
        tokio::time::sleep(delay).await;
    }
}
