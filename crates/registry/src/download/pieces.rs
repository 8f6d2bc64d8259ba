//! The bytes of a blob from a position on, over as many answers as it takes: whoever sends wrong or too few is left for
//! the next, what broke off is taken up where it did.
//!
//! A range needs no `If-Range`: the digest names the content, and one that changed nevertheless is found out at the end.

use std::ops::ControlFlow;

use bytes::{Buf, Bytes};
use gantry_oci::{Descriptor, Reference};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use hyper::{Method, StatusCode};

use crate::endpoint::{Endpoint, authority};
use crate::http::{Access, Request, Response, is_worth_retrying};
use crate::retry_policy::Budget;
use crate::{Event, Fault, Registry};

/// A blob on its way in.
pub(crate) struct Pieces<'a> {
    registry: &'a Registry,
    reference: &'a Reference,
    blob: &'a Descriptor,
    access: Access,
    slot: Slot,
    /// Of the next byte to give out.
    position: u64,
    ranges: Ranges,
    budget: Budget<'a>,
    answer: Option<Answer>,
    /// Those who sent something of what was given out.
    mirrors: Vec<Endpoint>,
}

/// Whether the requests count among those that a registry gets at a time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Taken,
    /// Whoever wants the bytes has one already.
    NotTaken,
}

/// Whether a registry can be asked for the rest of a blob, or must send it from the start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ranges {
    Believed,
    Doubted,
}

/// The answer that is being read.
struct Answer {
    response: Response,
    /// Bytes at its beginning that were given out before.
    skip: u64,
    /// The position at which it began.
    start: u64,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(
        registry: &'a Registry,
        reference: &'a Reference,
        blob: &'a Descriptor,
        position: u64,
        slot: Slot,
    ) -> Result<Self, Fault> {
        Ok(Self {
            registry,
            reference,
            blob,
            access: registry.pulling(reference)?,
            slot,
            position,
            ranges: Ranges::Believed,
            budget: registry.budget(),
            answer: None,
            mirrors: Vec::new(),
        })
    }

    /// The mirrors that sent something of what was given out.
    pub(crate) fn mirrors(&self) -> &[Endpoint] {
        &self.mirrors
    }

    /// The next piece; `None` at the blob's end. Never gives out more bytes than were promised; whether they have the
    /// digest is for the reader to see.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let Some(mut answer) = self.answer.take() else {
                // An empty blob is asked for, too: it may be absent.
                if self.position > 0 && self.position == self.blob.size {
                    return Ok(None);
                }
                self.ask().await?;
                continue;
            };
            match self.read(&mut answer).await {
                Ok(Some(piece)) => {
                    self.answer = Some(answer);
                    return Ok(Some(piece));
                }
                Ok(None) => return Ok(None),
                Err(fault) => {
                    let (mirror, start) = (answer.response.mirror.clone(), answer.start);
                    // The connection and the slot are given back before any wait.
                    drop(answer);
                    self.recover(fault, mirror.as_ref(), start).await?;
                }
            }
        }
    }

    /// Sends the request for the rest. There may be no answer afterwards, but a reason to ask again.
    async fn ask(&mut self) -> Result<(), Fault> {
        let url = super::url(&self.access, self.reference, &self.blob.digest);
        let mut request = Request::new(Method::GET, url, &self.access);
        request.takes_slot = self.slot == Slot::Taken;
        if self.position > 0 && self.ranges == Ranges::Believed {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.position));
            request.headers.insert(RANGE, range.expect("digits are ASCII"));
        }
        let response = self.registry.send(request).await?;
        if response.status == StatusCode::RANGE_NOT_SATISFIABLE && self.ranges == Ranges::Believed {
            self.ranges = Ranges::Doubted;
            return Ok(());
        }
        let mirror = response.mirror.clone();
        let fault = match self.known(&response) {
            ControlFlow::Continue(skip) => {
                self.answer = Some(Answer { response, skip, start: self.position });
                return Ok(());
            }
            ControlFlow::Break(Some(fault)) => {
                drop(response);
                fault
            }
            ControlFlow::Break(None) => response.into_fault().await,
        };
        self.recover(fault, mirror.as_ref(), self.position).await
    }

    /// Checks status and headers: how many bytes of the answer are known already, or why it is of no use.
    fn known(&self, response: &Response) -> ControlFlow<Option<Fault>, u64> {
        let size = self.blob.size;
        match response.status {
            StatusCode::OK => {
                let length = response.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
                match length.filter(|length| *length != size) {
                    None => ControlFlow::Continue(self.position),
                    Some(length) => ControlFlow::Break(Some(Fault::Corrupt(format!(
                        "the registry offers {length} bytes instead of {size}"
                    )))),
                }
            }
            StatusCode::PARTIAL_CONTENT => {
                let expected = format!("bytes {}-{}/{size}", self.position, size.saturating_sub(1));
                match response.header(CONTENT_RANGE) {
                    Some(range) if range.eq_ignore_ascii_case(&expected) => ControlFlow::Continue(0),
                    range => ControlFlow::Break(Some(Fault::Protocol(format!(
                        "the registry sent range `{}` instead of `{expected}`",
                        range.unwrap_or_default()
                    )))),
                }
            }
            _ => ControlFlow::Break(None),
        }
    }

    /// The next bytes of an answer that are new; `None` if it is at its end, and the blob with it.
    async fn read(&mut self, answer: &mut Answer) -> Result<Option<Bytes>, Fault> {
        let size = self.blob.size;
        while let Some(mut chunk) = answer.response.chunk().await? {
            // A server without ranges sends all of it again.
            let skipped = usize::try_from(answer.skip).unwrap_or(usize::MAX).min(chunk.len());
            answer.skip -= skipped as u64;
            chunk.advance(skipped);
            if chunk.len() as u64 > size - self.position {
                return Err(Fault::Corrupt(format!("the registry sent more than the {size} bytes promised")));
            }
            if self.position == answer.start {
                self.mirrors.extend(answer.response.mirror.clone());
            }
            self.position += chunk.len() as u64;
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
        match self.position == size {
            true => Ok(None),
            false => Err(Fault::Broken {
                host: authority(&answer.response.url),
                cause: format!("{} of {size} bytes arrived", self.position),
            }),
        }
    }

    /// Gets ready for another request after an answer that began at `start` and was of no more use. An error if there is
    /// no reason for one.
    async fn recover(&mut self, fault: Fault, mirror: Option<&Endpoint>, start: u64) -> Result<(), Fault> {
        let may_pass = is_worth_retrying(&fault);
        // Of what is wrong, and not only broken off, nothing may have been given out.
        if (self.position == start || may_pass) && self.registry.distrust(mirror, &fault) {
            return Ok(());
        }
        if !may_pass {
            return Err(fault);
        }
        self.budget.progress(self.position - start);
        let Some(delay) = self.budget.next_delay(None) else { return Err(fault) };
        let host = self.reference.host().to_owned();
        self.registry.tell(|| Event::Waiting { host, reason: fault.to_string(), delay });
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
