//! What the tests of several crates need: registries to talk to, images to put into them, hermetic runs of gantry.
//!
//! [`FakeRegistry`] lives in the test's own process, keeps a log of what it was asked and misbehaves on request.
//! [`DockerRegistry`] is the real thing, for the proof that the fake is honest. [`ImageBuilder`] makes small images
//! from lists of files, [`BaseImages`] finds the large ones, and both load into either registry.
//! [`TlsFront`] puts TLS with a good or a bad certificate in front of a registry, [`ForwardProxy`] is a proxy on the way there.
//! [`GitServer`], [`GitHttpServer`], [`SshServer`] and [`WebServer`] are where the contexts and sources of builds are.
//! [`GantryCommand`] runs the program with nothing of the developer's own environment.
//! A helper panics with a sentence when a test's surroundings are not what it needs: nothing is skipped silently.

mod base_images;
mod docker_registry;
mod fake_registry;
pub mod fault_matrix;
mod flatten;
mod forward_proxy;
mod gantry_command;
mod git_http;
mod git_server;
mod image_builder;
mod image_target;
mod layout_directory;
mod own_network;
mod program;
mod request_head;
mod server_process;
mod ssh_server;
mod tls_front;
mod web_server;

pub use base_images::BaseImages;
pub use docker_registry::DockerRegistry;
pub use fake_registry::{Access, Exchange, FakeRegistry, Fault, Quirk, Seen, chaos};
pub use flatten::{FlatFile, FlatImage, FlatKind, FlatTree};
pub use forward_proxy::{ForwardProxy, Tunnel};
pub use gantry_command::{GantryCommand, Output};
pub use git_http::GitHttpServer;
pub use git_server::GitServer;
pub use image_builder::{BuiltImage, Entry, ImageBuilder};
pub use image_target::ImageTarget;
pub use layout_directory::LayoutDirectory;
pub use own_network::in_own_network;
pub use program::{dynamic_program, program};
pub use ssh_server::{SshAgent, SshServer};
pub use tls_front::{Certificate, TestCa, TlsFront};
pub use web_server::{Page, WebRequest, WebServer};
