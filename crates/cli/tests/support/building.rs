//! Builds whose result is looked into.

use gantry_testkit::{FlatImage, FlatKind, Output};

use crate::world::World;

/// Runs `gantry build ARGUMENTS` to an archive, with `HOST` and `BASE` expanded.
pub(crate) fn build(world: &World, arguments: &[&str]) -> Output {
    let mut all = vec!["build".to_owned(), "--output=type=oci,dest=image.tar".to_owned()];
    all.extend(arguments.iter().map(|argument| world.expand(argument)));
    world.gantry.run(all)
}

/// The image of the last build.
pub(crate) fn result(world: &World) -> FlatImage {
    FlatImage::read(&world.gantry.directory().join("image.tar")).into_values().next().unwrap()
}

/// The image that this makes.
pub(crate) fn built(world: &World, arguments: &[&str]) -> FlatImage {
    let _ = build(world, arguments).success();
    result(world)
}

/// The text of a file.
pub(crate) fn text(image: &FlatImage, path: &str) -> String {
    let file = image.after(image.layers()).get(path).unwrap_or_else(|| panic!("there is no {path}"));
    match &file.kind {
        FlatKind::Regular { text: Some(text), .. } => text.clone(),
        other => panic!("{path} is {other:?}"),
    }
}
