//! The promises of the store: content is whole or absent, locks exclude, the dead leave nothing.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use gantry_oci::{BlobSink, BlobSource, Descriptor, Digest};

use crate::{FileIdentity, LayerBlob, LayerId, Store, StoreError};

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("deep/root")).unwrap();
    (directory, store)
}

fn names(store: &Store, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(store.root().join(directory)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_blob_is_whole_or_absent() {
    let (_directory, store) = store();
    let digest = store.put_blob(b"content").unwrap();
    assert_eq!(store.read_blob(&digest).unwrap(), b"content");
    assert_eq!(fs::read(store.root().join("blobs/sha256").join(digest.hex())).unwrap(), b"content");

    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"half").unwrap();
    drop(writer);
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"other").unwrap();
    let error = writer.commit_expected(digest, 7).unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { size: 5, .. }), "{error}");
    assert_eq!(names(&store, "blobs/sha256"), [digest.hex()]);

    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"much longer and wrong").unwrap();
    writer.flush().unwrap();
    BlobSink::start_again(&mut writer).unwrap();
    writer.write_all(b"right").unwrap();
    writer.commit_expected(Digest::of("right"), 5).unwrap();
    assert_eq!(store.read_blob(&Digest::of("right")).unwrap(), b"right");

    let source = store.blob_source(&digest).unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut source.open(3).unwrap(), &mut rest).unwrap();
    assert_eq!((source.size(), rest.as_str()), (7, "tent"));
}

#[test]
fn a_dead_session_is_reclaimed_and_a_living_one_is_not() {
    let (directory, store) = store();
    let root = store.root().to_owned();
    let living = store.temp_dir().unwrap();
    fs::write(living.path().join("file"), "x").unwrap();
    // What a killed process leaves: a lease that nobody holds, and its files.
    fs::create_dir_all(root.join("tmp/dead/0/upper")).unwrap();
    fs::write(root.join("tmp/dead.lease"), "").unwrap();
    let second = Store::open(&directory.path().join("deep/root")).unwrap();
    assert!(!root.join("tmp/dead").exists() && !root.join("tmp/dead.lease").exists());
    assert!(living.path().join("file").exists());
    drop((living, store, second));
    assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0, "sessions end with nothing left");
}

#[test]
fn a_layer_that_no_result_names_goes_with_its_session() {
    let (directory, store) = store();
    let root = store.root().to_owned();
    let made = |store: &Store| {
        let (layer, files) = (LayerId::new_step(), store.temp_dir().unwrap());
        fs::write(files.path().join("file"), "x").unwrap();
        store.put_step_layer(&layer, &[]).unwrap();
        store.adopt_snapshot(files.path(), &layer).unwrap();
        layer
    };
    let record = |store: &Store, layer: &LayerId| {
        store.put_result(&[Digest::of(layer.to_string())], &format!("[\"{layer}\"]")).unwrap();
    };
    let kept = made(&store);
    record(&store, &kept);
    let stopped = made(&store);
    assert!(store.has_snapshot(&stopped), "it is there while its step may still record it");
    assert!(Store::open(&root).unwrap().has_snapshot(&stopped), "other processes leave it alone");
    drop(store);

    // What killed processes leave: one died before the result, one after it and before it could clean up.
    let store = Store::open(&root).unwrap();
    assert!(store.has_snapshot(&kept) && !store.has_snapshot(&stopped));
    let (lost, named) = (made(&store), made(&store));
    record(&store, &named);
    record(&store, &lost);
    let database = rusqlite::Connection::open(root.join("meta.db")).unwrap();
    let key = Digest::of(lost.to_string());
    database.execute("DELETE FROM results WHERE key = ?1", [key.as_bytes()]).unwrap();
    fs::create_dir(root.join("tmp/dead")).unwrap();
    for layer in [&lost, &named] {
        fs::write(root.join(format!("tmp/dead/layer-{layer}")), "").unwrap();
    }
    fs::write(root.join("tmp/dead.lease"), "").unwrap();
    drop(store);
    let store = Store::open(&directory.path().join("deep/root")).unwrap();
    assert!(!store.has_snapshot(&lost) && store.step_layer(&lost).unwrap().is_none());
    assert!(store.has_snapshot(&named) && store.step_layer(&named).unwrap().is_some());
    drop(store);
    assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_record_belongs_to_a_session_before_its_layer_is_there() {
    let (_directory, store) = store();
    let root = store.root().to_owned();
    let (layer, other) = (LayerId::new_step(), LayerId::new_step());
    store.put_step_layer(&layer, &[]).unwrap();
    store.put_step_layer(&other, &[]).unwrap();
    store.put_result(&[Digest::of("key")], &format!("{{\"outputs\":[[\"{other}\"]]}}")).unwrap();
    let notes = |layer: &LayerId| {
        let sessions = fs::read_dir(root.join("tmp")).unwrap().flatten();
        sessions.filter(|session| session.path().join(format!("layer-{layer}")).exists()).count()
    };
    assert_eq!((notes(&layer), notes(&other)), (1, 0), "a process that is killed now leaves a note of it");
    drop(store);
    let store = Store::open(&root).unwrap();
    assert_eq!(store.step_layer(&layer).unwrap(), None);
    assert!(store.step_layer(&other).unwrap().is_some(), "a result names it");
}

#[test]
fn locks_exclude_threads_and_leave_no_file() {
    let (_directory, store) = store();
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let lock = store.lock("name").unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
    assert_eq!(most.into_inner(), 1);
    assert!(names(&store, "locks").is_empty());
    let held = store.lock("name").unwrap();
    assert!(store.try_lock("name").unwrap().is_none());
    drop(held);
    assert!(store.try_lock("name").unwrap().is_some());
    let shared = [(); 2].map(|()| store.try_share_lock("name").unwrap().unwrap());
    assert!(store.try_lock("name").unwrap().is_none());
    let [first, last] = shared;
    drop(first);
    assert!(store.try_lock("name").unwrap().is_none(), "the other one still has it");
    drop(last);
    let alone = store.try_lock("name").unwrap();
    assert!(alone.is_some() && store.try_share_lock("name").unwrap().is_none());
    drop(alone);
}

#[test]
fn records_survive_and_are_replaced() {
    let (directory, store) = store();
    let (a, b) = (Digest::of("a"), Digest::of("b"));
    store.put_result(&[a, b], "first").unwrap();
    store.put_result(&[a], "second").unwrap();
    drop(store);
    let store = Store::open(&directory.path().join("deep/root")).unwrap();
    assert_eq!(store.result(&a).unwrap().as_deref(), Some("second"));
    assert_eq!(store.result(&b).unwrap().as_deref(), Some("first"));
    assert_eq!(store.result(&Digest::of("c")).unwrap(), None);
}

#[test]
fn a_young_result_of_another_boot_does_not_count() {
    let (_directory, store) = store();
    let key = Digest::of("key");
    store.put_result(&[key], "value").unwrap();
    store.database().execute("UPDATE results SET boot = 'another'", []).unwrap();
    assert_eq!(store.result(&key).unwrap(), None);
    store.database().execute("UPDATE results SET boot = NULL", []).unwrap();
    assert_eq!(store.result(&key).unwrap().as_deref(), Some("value"), "a settled one does");
}

#[test]
fn layers_and_their_blobs() {
    let (_directory, store) = store();
    let (one, two) = (Digest::of("1"), Digest::of("2"));
    let bottom = LayerId::image(&one, None);
    let top = LayerId::image(&two, Some(&bottom));
    assert_eq!(bottom.to_string(), one.hex());
    assert_eq!(
        top.to_string(),
        Digest::of(format!("{one} {two}")).hex(),
        "the chain id of the specification"
    );
    let step = LayerId::new_step();
    assert!(step.to_string().parse() == Ok(step.clone()) && top.to_string().parse() == Ok(top.clone()));
    for bad in ["", "..", "0123", "0123456789ABCDEF", "../../../etc/pass"] {
        assert_eq!(bad.parse::<LayerId>(), Err(()), "{bad}");
    }
    store.put_step_layer(&step, &[bottom.clone(), top.clone()]).unwrap();
    assert_eq!(store.step_layer(&step).unwrap().unwrap().below, [bottom.clone(), top]);
    assert_eq!(store.step_layer(&bottom).unwrap(), None);
    let blob = |origin: Option<&str>| LayerBlob {
        diff_id: one,
        descriptor: Descriptor::new("type", two, 5),
        origin: origin.map(str::to_owned),
    };
    store.put_layer_blob(&step, "gzip", &blob(None)).unwrap();
    assert_eq!(store.layer_blob(&step, "gzip").unwrap(), Some(blob(None)));
    assert_eq!(store.layer_blob(&step, "zstd").unwrap(), None);
    store.put_layer_blob(&bottom, "gzip", &blob(Some("r.io/a"))).unwrap();
    assert_eq!(store.layer_blob(&bottom, "zstd").unwrap(), Some(blob(Some("r.io/a"))), "kept as it came");
}

#[test]
fn file_hashes_are_for_one_state_of_a_file() {
    let (directory, store) = store();
    let path = directory.path().join("file");
    fs::write(&path, "x").unwrap();
    let identity = || FileIdentity::of(&fs::metadata(&path).unwrap());
    let hashes = store.file_hashes();
    hashes.put(identity(), Digest::of("x"));
    hashes.flush().unwrap();
    assert_eq!(hashes.get(&identity()).unwrap(), None, "a file that changed a moment ago may change unseen");
    // An old ctime cannot be made, so an identity of an older state stands in for it.
    let old = FileIdentity::for_test(1, 2, 3);
    hashes.put(old, Digest::of("old"));
    hashes.flush().unwrap();
    assert_eq!(hashes.get(&old).unwrap(), Some(Digest::of("old")));
    assert_eq!(hashes.get(&FileIdentity::for_test(1, 2, 4)).unwrap(), None);
}

#[test]
fn images_are_named_in_the_layout() {
    let (_directory, store) = store();
    let image = |text: &str| Descriptor::of("type", text.as_bytes());
    let name = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    store.name_image(&image("1"), &name(&["r.io/a:1", "r.io/a:2"])).unwrap();
    store.name_image(&image("2"), &name(&["r.io/a:1"])).unwrap();
    store.name_image(&image("2"), &[]).unwrap();
    store.name_image(&image("2"), &[]).unwrap();
    let text = fs::read(store.root().join("index.json")).unwrap();
    let index: gantry_oci::Index = serde_json::from_slice(&text).unwrap();
    let entries: Vec<_> = index
        .manifests
        .iter()
        .map(|entry| (entry.annotations.values().next().cloned(), entry.digest))
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        entries,
        [
            (some("r.io/a:2"), image("1").digest),
            (some("r.io/a:1"), image("2").digest),
            (None, image("2").digest)
        ]
    );
}

#[test]
fn a_store_of_a_later_format_is_left_alone() {
    let (directory, store) = store();
    store.database().pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let error = Store::open(&directory.path().join("deep/root")).unwrap_err();
    assert!(matches!(error, StoreError::Format { found: 99, .. }), "{error}");
}

#[test]
fn an_index_is_what_was_put_last_for_a_blob_that_was_seen() {
    let (_directory, store) = store();
    let [diff_id, blob, other] = ["diff id", "blob", "other"].map(Digest::of);
    assert_eq!(store.layer_index(&blob, &diff_id).unwrap(), None);
    for bytes in [&b"first"[..], b"second"] {
        store.put_layer_index(&blob, &diff_id, bytes).unwrap();
        assert_eq!(store.layer_index(&blob, &diff_id).unwrap().as_deref(), Some(bytes));
    }
    assert_eq!(store.layer_index(&other, &diff_id).unwrap(), None, "nobody has seen that blob");
    assert_eq!(names(&store, "indexes"), [diff_id.hex()]);
}

#[test]
fn a_listed_image_is_found_by_its_name_or_else_its_digest() {
    let (_directory, store) = store();
    let [named, unnamed] = [&b"named"[..], b"unnamed"].map(|bytes| Descriptor::of("application/json", bytes));
    store.name_image(&named, &["host/app:1".to_owned()]).unwrap();
    store.name_image(&unnamed, &[]).unwrap();
    let found = |name: &str| store.named_image(name).unwrap().map(|entry| entry.digest);
    assert_eq!(found("host/app:1"), Some(named.digest));
    assert_eq!(found(&unnamed.digest.to_string()), Some(unnamed.digest));
    assert_eq!(found("host/app:2"), None);
}
