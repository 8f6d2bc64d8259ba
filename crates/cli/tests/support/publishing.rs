//! Builds to be published, and `gantry publish`.

#![allow(dead_code, reason = "no file of tests needs all of it")]

use std::fs;
use std::path::Path;

use gantry_oci::Digest;
use gantry_testkit::Output;
use serde_json::Value;

use crate::world::World;

pub(crate) const BOTH: &str = "--platform=linux/amd64,linux/arm64";

/// A file on nothing, for two platforms.
pub(crate) fn world() -> World {
    let world =
        World::bare("FROM scratch\nARG TARGETARCH\nCOPY app.txt /\nCOPY Dockerfile /only-$TARGETARCH\n");
    world.gantry.write("app.txt", "1\n");
    world
}

pub(crate) fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Builds this content of the file, and returns the digest.
#[track_caller]
pub(crate) fn build(world: &World, content: &str, arguments: &[&str]) -> Digest {
    world.gantry.write("app.txt", content);
    built(world, &[&["--progress=plain", BOTH, "--metadata-file=meta.json"], arguments].concat());
    world.assert_nothing_left();
    digest(world, "meta.json")
}

/// Runs `gantry build`; what was said.
#[track_caller]
pub(crate) fn built(world: &World, arguments: &[&str]) -> String {
    world.build(arguments).success().stderr
}

pub(crate) fn digest(world: &World, file: &str) -> Digest {
    json(world.gantry.directory().join(file))["containerimage.digest"].as_str().unwrap().parse().unwrap()
}

/// Runs `gantry publish`.
pub(crate) fn publish(world: &World, arguments: &[&str]) -> Output {
    world.gantry.run(publishing(world, arguments))
}

/// Publishes; what was said.
#[track_caller]
pub(crate) fn published(world: &World, arguments: &[&str]) -> String {
    publish(world, arguments).success().stderr
}

/// Fails to publish with this code; what was said.
#[track_caller]
pub(crate) fn refused(world: &World, arguments: &[&str], code: i32) -> String {
    publish(world, arguments).code(code).stderr
}

pub(crate) fn publishing(world: &World, arguments: &[&str]) -> Vec<String> {
    let arguments = arguments.iter().map(|argument| world.expand(argument));
    ["publish".to_owned(), "--progress=plain".to_owned()].into_iter().chain(arguments).collect()
}
