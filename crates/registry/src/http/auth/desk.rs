//! Where grants are made: asks the credential function, talks to token servers, keeps what they gave as long as it
//! is good.
//!
//! One grant per registry and set of scopes; whoever needs the same at the same time waits for the one that is being
//! made. The remembered challenge of a registry spares the refusal before each new repository.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::super::redact::Secrets;
use super::super::{Access, Body, Request, Response, Service};
use super::challenge::Challenge;
use super::credential::{Asked, Source, Wanted};
use super::grant::{Grant, Held, Holder, Origin};
use crate::endpoint::{Endpoint, is_local_literal};
use crate::error::Answer;
use crate::{Credential, Credentials, Event, Fault, Listener, Secret};

/// Tokens are a few kilobytes; those that list many groups are tens.
const LARGEST_TOKEN_ANSWER: usize = 128 * 1024;
/// A token's lifetime where the server does not say one (the token specification's default).
const DEFAULT_LIFETIME: u64 = 60;
/// No token is believed to live longer. Nobody pushes for a day, and sums of times must not overflow.
const LONGEST_LIFETIME: u64 = 24 * 60 * 60;
/// How we introduce ourselves to OAuth 2.0 servers.
const CLIENT_ID: &str = "gantry";

/// Makes and keeps grants. `tokens` sends requests to token servers.
pub(in super::super) struct Desk<T> {
    credentials: Source,
    tokens: T,
    secrets: Secrets,
    listener: Listener,
    slots: Mutex<HashMap<SlotKey, Slot>>,
    challenges: Mutex<HashMap<String, Refusal>>,
    /// What the registry accepted last, by registry and repository.
    accepted: Mutex<HashMap<(String, String), Credential>>,
}

/// Registry and scopes.
type SlotKey = (String, Vec<String>);
/// Locked while a grant is made: that makes it one flight.
type Slot = Arc<tokio::sync::Mutex<Kept>>;

#[derive(Debug, Default)]
struct Kept {
    grant: Option<Grant>,
    /// What the grant was made of.
    credential: Option<Credential>,
    generation: u64,
    /// Scopes that the registry asked for and that we would not have thought of.
    extra: Vec<String>,
}

/// A challenge and the address that it came from, which a relative realm is relative to.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) challenge: Challenge,
    pub(super) from: Url,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    /// An identity token.
    #[serde(default)]
    refresh_token: String,
    /// Seconds. Some servers write a fraction or a text; those get the default.
    expires_in: Option<serde_json::Value>,
}

impl<T: Service> Desk<T> {
    pub(in super::super) fn new(
        credentials: Arc<dyn Credentials>,
        tokens: T,
        secrets: Secrets,
        listener: Listener,
    ) -> Self {
        Self {
            credentials: Source::new(credentials),
            tokens,
            secrets,
            listener,
            slots: Mutex::default(),
            challenges: Mutex::default(),
            accepted: Mutex::default(),
        }
    }

    /// The secrets that were sent.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// What to show now, for a request that takes so long. Nothing, as long as the registry never asked.
    pub(super) async fn current(&self, access: &Access, duration: Duration) -> Result<Held, Fault> {
        let slot = self.slot(access);
        let mut kept = slot.lock().await;
        let good = kept.grant.as_ref().is_some_and(|grant| grant.is_good(Instant::now(), duration));
        if !good && let Some(refusal) = self.remembered(access) {
            self.make(access, &refusal, Wanted::Recent, &mut kept).await?;
        }
        Ok(self.held(access, &kept, Origin::Found))
    }

    /// What to show after a refusal of `held`. `None` if the registry does not say what it wants, and never did.
    pub(super) async fn renew(
        &self,
        access: &Access,
        held: &Held,
        refusal: Option<Refusal>,
    ) -> Result<Option<Held>, Fault> {
        let slot = self.slot(access);
        let mut kept = slot.lock().await;
        if kept.generation != held.generation {
            return Ok(Some(self.held(access, &kept, Origin::Found)));
        }
        if let Some(refusal) = refusal {
            if let Challenge::Bearer { scopes, .. } = &refusal.challenge {
                kept.extra = access.missing_scopes(scopes);
            }
            self.remember(access, refusal);
        }
        let Some(remembered) = self.remembered(access) else { return Ok(None) };
        // A password that was refused is asked for anew; a token server may still take the one that we know.
        let wanted = match (&remembered.challenge, kept.grant.is_some()) {
            (Challenge::Basic, true) => Wanted::Another,
            _ => Wanted::Recent,
        };
        self.make(access, &remembered, wanted, &mut kept).await?;
        if kept.grant.is_none() {
            return Err(no_credentials(access));
        }
        Ok(Some(self.held(access, &kept, Origin::Own)))
    }

    /// Whether the registry ever said how to authenticate.
    pub(super) fn knows(&self, access: &Access) -> bool {
        self.remembered(access).is_some()
    }

    /// The registry accepted a request that showed this.
    pub(super) fn accepted(&self, access: &Access, held: &Held) {
        if let Some(credential) = held.credential.as_ref().filter(|_| !held.accepted) {
            self.remember_accepted(access, credential);
        }
    }

    fn remember_accepted(&self, access: &Access, credential: &Credential) {
        let key = (access.endpoint.name().to_owned(), access.repository().to_owned());
        let mut accepted = self.accepted.lock().expect("nothing panics while it holds them");
        accepted.insert(key, credential.clone());
    }

    fn held(&self, access: &Access, kept: &Kept, origin: Origin) -> Held {
        let credential = kept.credential.clone();
        let accepted = credential.as_ref().is_some_and(|credential| self.was_accepted(access, credential));
        Held { grant: kept.grant.clone(), generation: kept.generation, origin, accepted, credential }
    }

    fn was_accepted(&self, access: &Access, credential: &Credential) -> bool {
        let key = (access.endpoint.name().to_owned(), access.repository().to_owned());
        let accepted = self.accepted.lock().expect("nothing panics while it holds them");
        *credential != Credential::Anonymous && accepted.get(&key) == Some(credential)
    }

    fn slot(&self, access: &Access) -> Slot {
        let key = (access.endpoint.name().to_owned(), access.scope_texts(&[]));
        Arc::clone(
            self.slots.lock().expect("nothing panics while it holds the slots").entry(key).or_default(),
        )
    }

    fn remembered(&self, access: &Access) -> Option<Refusal> {
        self.challenges
            .lock()
            .expect("nothing panics while it holds them")
            .get(access.endpoint.name())
            .cloned()
    }

    fn remember(&self, access: &Access, refusal: Refusal) {
        let name = access.endpoint.name().to_owned();
        self.challenges.lock().expect("nothing panics while it holds them").insert(name, refusal);
    }

    /// Replaces the grant by a new one. The old one is forgotten first: if making another fails, it must not be used
    /// again.
    async fn make(
        &self,
        access: &Access,
        refusal: &Refusal,
        wanted: Wanted,
        kept: &mut Kept,
    ) -> Result<(), Fault> {
        kept.generation += 1;
        kept.grant = None;
        let mut asked = self.credentials.ask(access, wanted).await?;
        let grant = match self.grant(access, refusal, &asked, &kept.extra).await {
            // The credentials may have changed since they were asked for.
            Err(Fault::Refused { .. } | Fault::RanOut { .. }) if !asked.is_new => {
                asked = self.credentials.ask(access, Wanted::Another).await?;
                self.grant(access, refusal, &asked, &kept.extra).await?
            }
            other => other?,
        };
        if let Some(grant) = &grant {
            self.secrets.learn_header(grant.header());
        }
        kept.grant = grant;
        kept.credential = Some(asked.credential);
        Ok(())
    }

    /// Makes of credentials what the challenge wants. `None` if there are none to show.
    async fn grant(
        &self,
        access: &Access,
        refusal: &Refusal,
        asked: &Asked,
        extra: &[String],
    ) -> Result<Option<Grant>, Fault> {
        let now = Instant::now();
        Ok(match (&refusal.challenge, &asked.credential) {
            (_, Credential::RegistryToken(token)) => {
                self.secrets.learn(token);
                Some(Grant::given(token, now))
            }
            (Challenge::Basic, Credential::Anonymous) => None,
            (Challenge::Basic, Credential::Password { user, password: secret })
            | (Challenge::Basic, Credential::IdentityToken { user, token: secret }) => {
                self.secrets.learn(secret);
                Some(Grant::password(user, secret, now))
            }
            (Challenge::Bearer { realm, service, .. }, credential) => {
                let realm = check_realm(&access.endpoint, &refusal.from, realm)?;
                let scopes = access.scope_texts(extra);
                let password = matches!(credential, Credential::Password { .. });
                let grants = match password && self.credentials.identity_token().is_some() {
                    true => Grants::TokenAndIdentity,
                    false => Grants::Token,
                };
                let ask = Ask { access, realm, service: service.as_deref(), scopes, grants };
                Some(self.token(&ask, credential).await?)
            }
        })
    }

    /// Gets a token. An identity token is exchanged as OAuth 2.0 says, or shown as a password to servers that know
    /// only that.
    async fn token(&self, ask: &Ask<'_>, credential: &Credential) -> Result<Grant, Fault> {
        let asked = Instant::now();
        let mut response = match credential {
            Credential::IdentityToken { user, token } => {
                self.secrets.learn(token);
                self.secrets.learn_header(Grant::password(user, token, asked).header());
                let response = self.tokens.call(ask.exchange(token)).await?;
                match response.status {
                    StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                        self.tokens.call(ask.get(Some((user, token)))).await?
                    }
                    _ => response,
                }
            }
            Credential::Password { user, password } => {
                self.secrets.learn(password);
                self.secrets.learn_header(Grant::password(user, password, asked).header());
                self.tokens.call(ask.get(Some((user, password)))).await?
            }
            Credential::Anonymous | Credential::RegistryToken(_) => self.tokens.call(ask.get(None)).await?,
        };
        let holder = if *credential == Credential::Anonymous { Holder::Anonymous } else { Holder::Known };
        self.secrets.clean(&mut response).await;
        let read = read_token(ask.access, holder, response).await;
        let Issued { token, lifetime, identity } = read.map_err(|fault| match fault {
            Fault::Refused { host, answer } if self.was_accepted(ask.access, credential) => {
                Fault::RanOut { host, answer }
            }
            other => other,
        })?;
        self.remember_accepted(ask.access, credential);
        self.secrets.learn(&token);
        if let (Some(identity), Some(kept)) = (identity, self.credentials.identity_token()) {
            self.secrets.learn(&identity);
            *kept.lock().expect("nothing panics while it holds the token") = Some(identity);
        }
        self.listener.tell(|| Event::Token {
            host: ask.access.endpoint.name().to_owned(),
            scopes: ask.scopes.join(" "),
            lifetime,
        });
        Ok(Grant::token(&token, holder, asked, lifetime))
    }
}

/// One question to a token server.
struct Ask<'a> {
    access: &'a Access,
    realm: Url,
    service: Option<&'a str>,
    scopes: Vec<String>,
    grants: Grants,
}

/// What a token server is to give for a password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grants {
    Token,
    /// Also one that can be shown in the password's place from then on.
    TokenAndIdentity,
}

/// What a token server gave.
struct Issued {
    token: Secret,
    lifetime: Duration,
    identity: Option<Secret>,
}

impl<'a> Ask<'a> {
    /// The token specification's form.
    fn get(&self, password: Option<(&str, &Secret)>) -> Request<'a> {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(self.service.map(|service| ("service", service)));
            query.extend_pairs(self.scopes.iter().map(|scope| ("scope", scope)));
            if self.grants == Grants::TokenAndIdentity {
                query.append_pair("offline_token", "true").append_pair("client_id", CLIENT_ID);
            }
        }
        let mut request = Request::new(Method::GET, url, self.access);
        request.whole = Some(LARGEST_TOKEN_ANSWER);
        if let Some((user, password)) = password
            && let Ok(mut value) =
                HeaderValue::from_str(Grant::password(user, password, Instant::now()).header().expose())
        {
            value.set_sensitive(true);
            request.headers.insert(AUTHORIZATION, value);
        }
        request
    }

    /// OAuth 2.0's form.
    fn exchange(&self, token: &Secret) -> Request<'a> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", CLIENT_ID);
        form.extend_pairs(self.service.map(|service| ("service", service)));
        form.append_pair("scope", &self.scopes.join(" ")).append_pair("refresh_token", token.expose());
        let mut request = Request::new(Method::POST, self.realm.clone(), self.access);
        request.whole = Some(LARGEST_TOKEN_ANSWER);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        request.body = Body::Bytes(form.finish().into());
        request
    }
}

async fn read_token(access: &Access, holder: Holder, mut response: Response) -> Result<Issued, Fault> {
    let host = || access.endpoint.name().to_owned();
    match response.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if holder == Holder::Anonymous => {
            return Err(no_credentials(access));
        }
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let body = response.peek().await;
            return Err(Fault::Refused { host: host(), answer: Answer::new(response.status, &body) });
        }
        _ => return Err(response.into_fault().await),
    }
    let nonsense = || Fault::Protocol(format!("the token server of `{}` answered without a token", host()));
    let bytes = response.bytes(LARGEST_TOKEN_ANSWER, "the token server's answer").await?;
    let answer: TokenAnswer = serde_json::from_slice(&bytes).map_err(|_| nonsense())?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() || HeaderValue::from_str(&token).is_err() {
        return Err(nonsense());
    }
    let lifetime = answer.expires_in.and_then(|value| value.as_u64()).unwrap_or(DEFAULT_LIFETIME);
    Ok(Issued {
        token: Secret::new(token),
        lifetime: Duration::from_secs(lifetime.min(LONGEST_LIFETIME)),
        identity: Some(answer.refresh_token).filter(|token| !token.is_empty()).map(Secret::new),
    })
}

fn no_credentials(access: &Access) -> Fault {
    Fault::NoCredentials {
        host: access.endpoint.name().to_owned(),
        repository: access.repository().to_owned(),
    }
}

/// Where credentials may be sent on a registry's word: by TLS if the registry itself uses it, and not to addresses
/// of this machine unless the registry is there.
fn check_realm(endpoint: &Endpoint, from: &Url, realm: &str) -> Result<Url, Fault> {
    let refuse = |reason: &str| {
        Fault::Protocol(format!("the registry `{}` names a token server that {reason}", endpoint.name()))
    };
    let url = from.join(realm).map_err(|_| refuse("has no valid address"))?;
    let secure = url.scheme() == "https" || url.scheme() == "http" && endpoint.is_http();
    if !secure {
        return Err(refuse("does not use https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("has a user name in its address"));
    }
    if is_local_literal(&url) && !endpoint.is_loopback() && url.host() != from.host() {
        return Err(refuse("is on this machine"));
    }
    Ok(url)
}
