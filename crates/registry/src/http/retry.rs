//! Tries again what may be tried again: requests without a body that only the server can place.

use std::time::{Duration, SystemTime};

use gantry_oci::BoxFuture;
use hyper::StatusCode;

use super::{Patience, Request, Response, Service};
use crate::endpoint::authority;
use crate::retry_policy::Budget;
use crate::{Event, Fault, Listener, RetryPolicy};

/// Repeats requests that failed for a reason that may pass.
pub(super) struct Retry<S> {
    inner: S,
    policy: RetryPolicy,
    listener: Listener,
}

impl<S> Retry<S> {
    pub(super) fn new(inner: S, policy: RetryPolicy, listener: Listener) -> Self {
        Self { inner, policy, listener }
    }
}

impl<S: Service> Service for Retry<S> {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        Box::pin(async move {
            if !request.is_repeatable() || request.access.patience == Patience::OneTry {
                return self.inner.call(request).await;
            }
            let mut budget = self.policy.budget();
            loop {
                let result = self.call_once(request.clone()).await;
                let Some(delay) = delay(&result, &mut budget) else { return result };
                self.listener.tell(|| Event::Waiting {
                    host: authority(&request.url),
                    reason: match &result {
                        Ok(response) => response.status.to_string(),
                        Err(fault) => fault.to_string(),
                    },
                    delay,
                });
                // The answer, and its connection, are given back before the wait.
                drop(result);
                tokio::time::sleep(delay).await;
            }
        })
    }
}

impl<S: Service> Retry<S> {
    async fn call_once(&self, request: Request<'_>) -> Result<Response, Fault> {
        let whole = request.whole;
        let mut response = self.inner.call(request).await?;
        if let Some(limit) = whole {
            response.buffer(limit).await?;
        }
        Ok(response)
    }
}

fn delay(result: &Result<Response, Fault>, budget: &mut Budget<'_>) -> Option<Duration> {
    match result {
        Ok(response) if may_pass(response.status) => budget.next_delay(response.retry_after()),
        Err(Fault::Unreachable { .. }) => budget.next_delay_unreachable(),
        Err(fault) if is_worth_retrying(fault) => budget.next_delay(None),
        _ => None,
    }
}

/// Whether a fault may pass with time.
pub(crate) fn is_worth_retrying(fault: &Fault) -> bool {
    match fault {
        Fault::Unreachable { .. } | Fault::Broken { .. } | Fault::Stalled { .. } => true,
        Fault::Answer(answer) => StatusCode::from_u16(answer.status).is_ok_and(may_pass),
        _ => false,
    }
}

/// Busy or broken at the moment; the last are those of the proxies in front.
pub(crate) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 499 | 500 | 502 | 503 | 504 | 520..=524)
}

/// `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3).
pub(super) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    match value.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gantry_oci::BytesSource;

    use super::super::Body;
    use super::super::script::{Script, access, answer, get};
    use super::*;

    fn broken() -> Result<Response, Fault> {
        Err(Fault::Broken { host: "r.test".to_owned(), cause: "reset".to_owned() })
    }

    fn unreachable() -> Result<Response, Fault> {
        Err(Fault::Unreachable { host: "r.test".to_owned(), cause: "refused".to_owned() })
    }

    fn retry(answers: Vec<Result<Response, Fault>>) -> Retry<Script> {
        let policy = RetryPolicy { first_delay: Duration::ZERO, ..RetryPolicy::default() };
        Retry::new(Script::new(answers), policy, Listener::silent())
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_nothing_else() {
        for (answers, outcome, tries) in [
            (vec![answer(503, &[], ""), broken(), answer(200, &[], "")], "200", 3),
            (vec![answer(404, &[], "")], "404", 1),
            (vec![answer(401, &[], "")], "401", 1),
            ((0..8).map(|_| answer(500, &[], "")).collect(), "500", 8),
            ((0..3).map(|_| unreachable()).collect(), "cannot reach", 3),
            (vec![Err(Fault::Tls("no".to_owned()))], "no", 1),
        ] {
            let retry = retry(answers);
            let access = access();
            let text = match retry.call(get(&access)).await {
                Ok(response) => response.status.to_string(),
                Err(fault) => fault.to_string(),
            };
            assert!(text.starts_with(outcome), "{text} instead of {outcome}");
            assert_eq!(retry.inner.asked().len(), tries, "{outcome}");
        }
    }

    #[test]
    fn retry_after_is_waited_for() {
        let policy = RetryPolicy::default();
        let asked = answer(429, &[("retry-after", "40")], "");
        assert!(delay(&asked, &mut policy.budget()).unwrap() >= Duration::from_secs(40));
        let asked = answer(200, &[("retry-after", "40")], "");
        assert_eq!(delay(&asked, &mut policy.budget()), None);
    }

    #[tokio::test]
    async fn a_blob_is_not_sent_again_blindly() {
        let retry = retry(vec![broken()]);
        let (access, source) = (access(), BytesSource::new(vec![1]));
        let mut request = get(&access);
        request.body = Body::Blob { source: &source, span: 0..1, meter: Arc::default() };
        assert!(retry.call(request).await.is_err());
    }

    #[test]
    fn both_forms_of_retry_after() {
        let now = httpdate::parse_http_date("Fri, 06 Nov 2026 10:00:00 GMT").unwrap();
        for (value, seconds) in [
            ("7", Some(7)),
            ("Fri, 06 Nov 2026 10:01:00 GMT", Some(60)),
            ("Fri, 06 Nov 2026 09:00:00 GMT", Some(0)),
            ("soon", None),
        ] {
            assert_eq!(parse_retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
