//! Use cases: what a command does, from the user's files to the tag in the registry.
//!
//! The way of the data: `context` reads what the user gave, `plan` converts it for each platform, `build` has an engine
//! solve the graphs and assembles images, `publish` uploads, verifies by reading back, and only then writes tags; `results`
//! repeats that for what was built before. `verify` proves that an image is what it says it is, wherever it is, and what a
//! build starts from and makes. Nothing here prints: events go to an [`Events`] of the caller's.

mod agents;
mod annotation;
mod assemble;
mod attestations;
mod build;
mod call;
mod context;
mod copy;
mod downloads;
mod error;
mod events;
mod findings;
mod gantry;
mod image;
mod layout_source;
mod login;
mod output;
mod part_file;
mod plan;
mod publish;
mod registries;
mod report;
mod request;
mod results;
mod vendor;
mod verify;
mod whole_file;

pub use annotation::{Annotation, AnnotationLevel};
pub use build::build;
pub use call::{Answer, Question, call};
pub use context::{ContextSource, NamedSource, is_address};
pub use copy::{Attached, CopyReport, CopyRequest, CopyState, PlatformForm, Platforms, Trust, copy};
pub use error::{Class, Error, Excerpt};
pub use events::{Event, Events};
pub use findings::{MAX_FINDINGS, more_findings};
pub use gantry::{Gantry, Settings};
pub use gantry_attest::options::{
    Mode as ProvenanceMode, OptionError as AttestationError, Options as AttestationOptions,
    Place as AttestationPlace, parse_bool,
};
pub use gantry_dockerfile::{
    CheckReport, EPOCHS, Error as DockerfileError, Outline, OutlineSecret, Requests, Rule as CheckRule,
    RunOptions, Targets, Ulimit,
};
pub use gantry_engine::{BaseLayers, Compression, Entitlement, Secret as StepSecret, SecretSource, Secrets};
pub use gantry_llb::pb::NetMode as NetworkMode;
// What settings and results of this crate's own are made of.
pub use gantry_registry::{
    Connection, CredentialSource, Explained, Explanation, HostPattern, HostRule, HostSettings, Identity,
    Kept, KeyPair, Location, MachineFiles, Mirror, Origin, PlainHttp, Proxies, Rights, Secret, SecretKind,
    canonical_host,
};
pub use gantry_store::{ImageResult, Publication as UnfinishedPublication, PublicationState};
pub use image::{
    CreateRequest, CreateSource, Created, Images, InspectForm, LayoutPlace, Place, PlaceError, annotate,
    blob, config, create, digest, inspect, list_tags, manifest, tag,
};
pub use login::{KnownLogin, LoggedIn, LoggedOut, known_user, login, logout, registry_of, still_logged_in};
pub use publish::{Expectation, Expected, TagPolicy, Terms};
pub use registries::{Registries, RegistrySettings};
pub use report::{BuildReport, LayerReport, PlatformReport};
pub use request::{
    BuildRequest, CacheUse, Dangling, Destination, Dockerfile, FileTimes, FilesForm, ImageForm, MediaTypes,
    Naming, OtherFiles, Output, OutputEpoch, PlatformSplit, StepOptions,
};
pub use results::{PublishRequest, forget, publish, results, unfinished};
pub use vendor::{
    Lock, LockError, VendorImage, VendorMode, VendorReport, VendorRequest, VendorResult, VendorState,
    parse_list, vendor,
};
pub use verify::{
    Check, CheckName, Depth, ImageReport, Outcome, ProgramCounts, Rules, Subject, VerifyMode, VerifyPolicy,
    VerifyReport, VerifyRequest, verify,
};
pub use whole_file::{check_writable, write_file};
