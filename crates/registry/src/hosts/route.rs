//! The endpoints of a repository, ready for requests.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::{PlainHttp, Plan, Planned, Rights};
use crate::Fault;
use crate::endpoint::{Endpoint, EndpointSpec, is_loopback};

/// Where a repository is found.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) mirrors: Vec<MirrorRoute>,
    pub(crate) upstream: Endpoint,
}

/// A mirror, and what it may be asked for.
#[derive(Debug)]
pub(crate) struct MirrorRoute {
    pub(crate) endpoint: Endpoint,
    pub(crate) rights: Rights,
}

impl Route {
    pub(crate) fn new(plan: &Plan) -> Result<Self, Fault> {
        let mirror =
            |planned: &Planned| Ok(MirrorRoute { endpoint: planned.endpoint()?, rights: planned.rights });
        let mirrors = plan.mirrors.iter().map(mirror).collect::<Result<_, Fault>>()?;
        Ok(Self { mirrors, upstream: plan.upstream.endpoint()? })
    }

    /// The mirrors that may be asked for something.
    pub(crate) fn mirrors_with(&self, allowed: fn(Rights) -> bool) -> Vec<&MirrorRoute> {
        self.mirrors.iter().filter(|mirror| allowed(mirror.rights)).collect()
    }

    /// Where what is pushed goes: mirrors only if they are said to take it.
    pub(crate) fn taker(&self) -> &Endpoint {
        let mirror = self.mirrors.iter().find(|mirror| mirror.rights.push);
        mirror.map_or(&self.upstream, |mirror| &mirror.endpoint)
    }
}

impl Planned {
    /// How the server is spoken to: as somebody says, else by TLS unless it is on this machine.
    pub(crate) fn http(&self) -> PlainHttp {
        let on_loopback = || {
            let url = Url::parse(&format!("https://{}/", self.server()));
            if url.is_ok_and(|url| is_loopback(&url)) { PlainHttp::Yes } else { PlainHttp::No }
        };
        self.settled.http.value.unwrap_or_else(on_loopback)
    }

    pub(crate) fn endpoint(&self) -> Result<Endpoint, Fault> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.settled.headers.value {
            // Checked where they were read.
            if let (Ok(name), Ok(mut value)) =
                (name.parse::<HeaderName>(), HeaderValue::from_str(value.expose()))
            {
                value.set_sensitive(true);
                headers.append(name, value);
            }
        }
        Endpoint::new(EndpointSpec {
            name: self.name.clone(),
            server: self.server().to_owned(),
            root: self.location.root.clone(),
            rename: self.rename.clone(),
            http: self.http(),
            trust: self.settled.trust(),
            headers,
            namespace: self.namespace.clone(),
        })
    }
}
