//! How many requests one registry gets at a time: as many as it takes.
//!
//! A slot is taken before the first try and given back when the answer's body is dropped: what is limited is
//! connections that move bytes, and a registry that asks us to wait is not asked by others meanwhile. The number
//! halves when the registry says that it is too much, and grows by one with every round of successes, as TCP does it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use gantry_oci::BoxFuture;
use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Request, Response, Service};
use crate::Fault;

/// Enough to fill a fast line with layers; public registries begin to answer 429 not far above.
const MOST_SLOTS: usize = 6;
/// However busy a registry is, one request at a time must be allowed to find out whether it still is.
const FEWEST_SLOTS: usize = 1;
/// By how much the number shrinks at a refusal.
const SHRINK: usize = 2;

/// Limits concurrent requests by registry.
pub(super) struct Limits<S> {
    inner: S,
    lanes: Lanes,
}

impl<S> Limits<S> {
    pub(super) fn new(inner: S, lanes: Lanes) -> Self {
        Self { inner, lanes }
    }
}

impl<S: Service> Service for Limits<S> {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        if !request.takes_slot {
            return self.inner.call(request);
        }
        Box::pin(async move {
            let lane = self.lanes.of(request.access.endpoint.name());
            let slot = lane.enter().await;
            let mut response = self.inner.call(request).await?;
            response.slot = Some(slot);
            Ok(response)
        })
    }
}

/// Watches each try's answer for what it says about the registry's load.
pub(super) struct Load<S> {
    inner: S,
    lanes: Lanes,
}

impl<S> Load<S> {
    pub(super) fn new(inner: S, lanes: Lanes) -> Self {
        Self { inner, lanes }
    }
}

impl<S: Service> Service for Load<S> {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        Box::pin(async move {
            let lane = self.lanes.of(request.access.endpoint.name());
            let round = lane.round();
            let result = self.inner.call(request).await;
            match &result {
                Ok(response) if response.status == StatusCode::TOO_MANY_REQUESTS => lane.narrow(round),
                Ok(response) if response.status.is_success() => lane.widen(),
                _ => {}
            }
            result
        })
    }
}

/// The lanes of all registries.
#[derive(Clone, Default)]
pub(super) struct Lanes(Arc<Mutex<HashMap<String, Arc<Lane>>>>);

impl Lanes {
    fn of(&self, registry: &str) -> Arc<Lane> {
        let mut lanes = self.0.lock().expect("nothing panics while it holds the lanes");
        match lanes.get(registry) {
            Some(lane) => Arc::clone(lane),
            None => Arc::clone(lanes.entry(registry.to_owned()).or_default()),
        }
    }
}

struct Lane {
    slots: Arc<Semaphore>,
    width: Mutex<Width>,
}

struct Width {
    limit: usize,
    /// Slots that are to go as soon as they are given back.
    debt: usize,
    /// Since the limit changed.
    successes: usize,
    /// Grows when the limit shrinks: several refusals of one round count once.
    round: u64,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MOST_SLOTS)),
            width: Mutex::new(Width { limit: MOST_SLOTS, debt: 0, successes: 0, round: 0 }),
        }
    }
}

impl Lane {
    async fn enter(self: Arc<Self>) -> Slot {
        let permit = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
        Slot { permit: Some(permit), lane: self }
    }

    fn width(&self) -> std::sync::MutexGuard<'_, Width> {
        self.width.lock().expect("nothing panics while it holds the width")
    }

    fn round(&self) -> u64 {
        self.width().round
    }

    fn narrow(&self, round: u64) {
        let mut width = self.width();
        if width.round != round {
            return;
        }
        let limit = (width.limit / SHRINK).max(FEWEST_SLOTS);
        let surplus = width.limit - limit;
        width.debt += surplus - self.slots.forget_permits(surplus);
        (width.limit, width.successes) = (limit, 0);
        width.round += 1;
    }

    fn widen(&self) {
        let mut width = self.width();
        width.successes += 1;
        if width.successes < width.limit || width.limit == MOST_SLOTS {
            return;
        }
        (width.limit, width.successes) = (width.limit + 1, 0);
        match width.debt {
            0 => self.slots.add_permits(1),
            _ => width.debt -= 1,
        }
    }
}

/// The right to one request; given back when dropped.
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    lane: Arc<Lane>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut width = self.lane.width();
        if width.debt > 0
            && let Some(permit) = self.permit.take()
        {
            width.debt -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, access, answer, get};
    use super::*;

    /// How many requests get through before one has to wait.
    async fn free_slots(limits: &Limits<Script>) -> usize {
        let access = access();
        let mut answers = Vec::new();
        loop {
            let mut call = limits.call(get(&access));
            match futures_util::poll!(&mut call) {
                std::task::Poll::Ready(answer) => answers.push(answer.unwrap()),
                std::task::Poll::Pending => return answers.len(),
            }
        }
    }

    #[tokio::test]
    async fn a_slot_is_held_until_the_answer_is_dropped() {
        let script = Script::new((0..=MOST_SLOTS).map(|_| answer(200, &[], "")));
        let limits = Limits::new(script, Lanes::default());
        let access = access();
        let mut answers = Vec::new();
        for _ in 0..MOST_SLOTS {
            answers.push(limits.call(get(&access)).await.unwrap());
        }
        let mut last = limits.call(get(&access));
        assert!(futures_util::poll!(&mut last).is_pending());
        answers.pop();
        assert!(futures_util::poll!(&mut last).is_ready());
    }

    #[tokio::test]
    async fn refusals_halve_and_rounds_of_successes_add_one() {
        let lanes = Lanes::default();
        let script = Script::new((0..100).map(|_| answer(200, &[], "")));
        let limits = Limits::new(script, lanes.clone());
        let lane = lanes.of("r.test");
        assert_eq!(free_slots(&limits).await, 6);
        let round = lane.round();
        for _ in 0..3 {
            lane.narrow(round);
        }
        assert_eq!(free_slots(&limits).await, 3, "three refusals of one round are one");
        let held = Arc::clone(&lane).enter().await;
        for _ in 0..3 {
            lane.narrow(lane.round());
        }
        assert_eq!(free_slots(&limits).await, 0, "the only slot is held");
        drop(held);
        assert_eq!(free_slots(&limits).await, 1);
        lane.widen();
        assert_eq!(free_slots(&limits).await, 2);
        lane.widen();
        assert_eq!(free_slots(&limits).await, 2);
        lane.widen();
        assert_eq!(free_slots(&limits).await, 3);
        for _ in 0..100 {
            lane.widen();
        }
        assert_eq!(free_slots(&limits).await, 6);
    }

    #[tokio::test]
    async fn answers_are_watched() {
        let lanes = Lanes::default();
        let load = Load::new(Script::new([answer(429, &[], ""), answer(200, &[], "")]), lanes.clone());
        let access = access();
        load.call(get(&access)).await.unwrap();
        assert_eq!(lanes.of("r.test").width().limit, 3);
        load.call(get(&access)).await.unwrap();
        assert_eq!(lanes.of("r.test").width().successes, 1);
    }
}
