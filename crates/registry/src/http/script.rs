//! For tests of layers: a service that answers from a script and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use gantry_oci::BoxFuture;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use super::{Access, Patience, Request, Response, Scope, Service};
use crate::Fault;
use crate::endpoint::Endpoint;

/// What was asked: the request in words, and its `Authorization`.
pub(super) type Asked = (String, Option<String>);

#[derive(Default)]
pub(super) struct Script {
    answers: Mutex<VecDeque<Result<Response, Fault>>>,
    asked: Mutex<Vec<Asked>>,
}

impl Script {
    pub(super) fn new(answers: impl IntoIterator<Item = Result<Response, Fault>>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), asked: Mutex::default() }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Service for Script {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        let authorization =
            request.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        self.asked.lock().unwrap().push((format!("{request:?}"), authorization));
        let answer = self.answers.lock().unwrap().pop_front().expect("the script goes on");
        Box::pin(async {
            answer.map(|mut answer| {
                answer.url = request.url;
                answer
            })
        })
    }
}

pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Result<Response, Fault> {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
        .collect();
    let url = "http://unset.test/".parse().unwrap();
    let mut response = Response::new(
        StatusCode::from_u16(status).unwrap(),
        headers,
        url,
        Box::pin(futures_util::stream::empty()),
    );
    response.replace_body(Bytes::copy_from_slice(body.as_bytes()));
    Ok(response)
}

pub(super) fn access() -> Access {
    Access {
        endpoint: Endpoint::https("r.test"),
        route: None,
        patience: Patience::Policy,
        scopes: vec![Scope::pull("team/app")],
    }
}

pub(super) fn get(access: &Access) -> Request<'_> {
    Request::new(Method::GET, access.endpoint.url("team/app/manifests/1"), access)
}
