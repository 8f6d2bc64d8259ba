//! How many requests one registry gets at a time.
//!
//! A slot is taken before the first try and given back when the answer's body is dropped: what is limited is
//! connections that move bytes, and a registry that asks us to wait is not asked by others meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use gantry_oci::BoxFuture;
use tokio::sync::Semaphore;

use super::{Request, Response, Service};
use crate::Fault;

/// Enough to fill a fast line with layers; public registries begin to answer 429 not far above.
const SLOTS_PER_REGISTRY: usize = 6;

/// Limits concurrent requests by registry.
pub(super) struct Limits<S> {
    inner: S,
    slots: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl<S> Limits<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, slots: Mutex::default() }
    }

    fn slots(&self, registry: &str) -> Arc<Semaphore> {
        let mut slots = self.slots.lock().expect("nothing panics while it holds the slots");
        Arc::clone(
            slots.entry(registry.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(SLOTS_PER_REGISTRY))),
        )
    }
}

impl<S: Service> Service for Limits<S> {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        Box::pin(async move {
            let slots = self.slots(request.access.endpoint.name());
            let permit = slots.acquire_owned().await.expect("the semaphore is never closed");
            let mut response = self.inner.call(request).await?;
            response.permit = Some(permit);
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, access, answer, get};
    use super::*;

    #[tokio::test]
    async fn a_slot_is_held_until_the_answer_is_dropped() {
        let script = Script::new((0..=SLOTS_PER_REGISTRY).map(|_| answer(200, &[], "")));
        let limits = Limits::new(script);
        let access = access();
        let mut answers = Vec::new();
        for _ in 0..SLOTS_PER_REGISTRY {
            answers.push(limits.call(get(&access)).await.unwrap());
        }
        let mut last = limits.call(get(&access));
        assert!(futures_util::poll!(&mut last).is_pending());
        answers.pop();
        assert!(futures_util::poll!(&mut last).is_ready());
    }
}
