//! Tells each exchange to whoever listens: method, host, path, status, time. No query, no header, no body.

use std::time::Instant;

use gantry_oci::BoxFuture;

use super::{Request, Response, Service};
use crate::endpoint::authority;
use crate::{Event, Fault, Listener};

/// Tells exchanges.
pub(super) struct Log<S> {
    inner: S,
    listener: Listener,
}

impl<S> Log<S> {
    pub(super) fn new(inner: S, listener: Listener) -> Self {
        Self { inner, listener }
    }
}

impl<S: Service> Service for Log<S> {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        Box::pin(async move {
            let (method, url) = (request.method.clone(), request.url.clone());
            let start = Instant::now();
            let result = self.inner.call(request).await;
            self.listener.tell(|| Event::Exchange {
                method: method.to_string(),
                host: authority(&url),
                path: url.path().to_owned(),
                status: result.as_ref().ok().map(|response| response.status.as_u16()),
                elapsed: start.elapsed(),
            });
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::script::{Script, access, answer, get};
    use super::*;

    #[tokio::test]
    async fn an_exchange_is_told_without_its_query() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let log = Log::new(
            Script::new([answer(204, &[], "")]),
            Listener::new(move |event| sink.lock().unwrap().push(event)),
        );
        let access = access();
        let mut request = get(&access);
        request.url.set_query(Some("signature=hunter2"));
        log.call(request).await.unwrap();
        let told = format!("{:?}", told.lock().unwrap());
        assert!(
            told.contains("/v2/team/app/manifests/1") && told.contains("204") && !told.contains("hunter2"),
            "{told}"
        );
    }
}
