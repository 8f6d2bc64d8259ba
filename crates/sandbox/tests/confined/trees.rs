//! Trees that are mounted for a closure of this process.

use std::fs;

use gantry_sandbox::{Overlay, Tree, with_trees};

use crate::fixture::Fixture;

#[test]
fn root_an_overlay_is_seen_by_its_thread_only() {
    let fixture = Fixture::new();
    let overlay = fixture.overlay();
    let mounts = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let before = mounts();
    for round in 0..3 {
        let merged = with_trees(&[Tree::Overlay(overlay.clone())], |paths| {
            let merged = &paths[0];
            assert_eq!(fs::read_dir(merged.join("bin")).unwrap().count(), 22);
            fs::write(merged.join("etc").join(round.to_string()), "").unwrap();
            merged.join("bin")
        });
        assert!(!merged.unwrap().exists(), "the path means nothing outside");
    }
    assert_eq!(mounts(), before);
    assert_eq!(fixture.written(), ["etc", "etc/0", "etc/1", "etc/2"]);
}

#[test]
fn root_several_trees_at_once() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("top")).unwrap();
    fs::write(fixture.path("top/file"), "contents").unwrap();
    let layers = vec![fixture.path("base"), fixture.path("top")];
    let target = Overlay { lower: layers.clone(), ..fixture.overlay() };
    let trees =
        [Tree::Layers(layers), Tree::Overlay(target), Tree::Layers(vec![]), Tree::Directory("/".into())];
    let contents = with_trees(&trees, |paths| {
        fs::copy(paths[0].join("file"), paths[1].join("copy")).unwrap();
        assert!(fs::write(paths[0].join("x"), "").is_err(), "layers are read-only");
        assert_eq!(fs::read_dir(&paths[2]).unwrap().count(), 0);
        assert!(paths[3].join("proc/self").exists());
        fs::read_to_string(paths[1].join("copy")).unwrap()
    });
    assert_eq!(contents.unwrap(), "contents");
    assert_eq!(fixture.written(), ["copy"]);
}

#[test]
fn root_a_panic_is_the_callers() {
    let fixture = Fixture::new();
    let tree = Tree::Overlay(fixture.overlay());
    let result = std::panic::catch_unwind(|| with_trees(&[tree], |_| panic!("inside")));
    assert_eq!(*result.unwrap_err().downcast::<&str>().unwrap(), "inside");
}
