//! A client for OCI registries: resolves, pulls, pushes.
//!
//! It knows values and ports of `gantry-oci` and nothing of the store. HTTP concerns are small layers, each in a
//! file of its own under `http`, stacked in one place; above them stand the protocol's operations, one file each.
//! What it promises: everything read is verified against its digest and bounded in size; everything sent can be
//! sent again; a credential is asked for when it is needed and never shown.

mod client;
mod credentials;
mod download;
mod endpoint;
mod error;
mod events;
mod explain;
mod hosts;
mod http;
mod images;
mod login;
mod manifests;
mod referrers;
mod remote_blob;
mod retry_policy;
mod routing;
mod secret;
mod tags;
mod upload;

pub use client::{Registry, RegistryConfig};
pub use credentials::{
    Anonymous, Credential, CredentialError, CredentialSource, CredentialSources, CredentialStore,
    Credentials, Found, Kept, SecretKind,
};
pub use download::BlobHead;
pub use error::{Answer, Fault, RegistryError};
pub use events::{Event, Listener};
pub use explain::{Explained, Explanation, Identity};
pub use hosts::{
    Connection, HostPattern, HostRule, HostSettings, Hosts, KeyPair, Location, LocationError, MachineFiles,
    Mirror, Origin, PlainHttp, Proxies, ProxyError, Rights, canonical_host,
};
pub use http::machine_tls;
pub use manifests::{Precondition, Resolved};
pub use referrers::listed_referrer;
pub use remote_blob::RemoteBlob;
pub use retry_policy::RetryPolicy;
pub use secret::Secret;
pub use upload::Uploaded;
