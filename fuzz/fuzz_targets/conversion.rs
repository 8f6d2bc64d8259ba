//! Any bytes as a Dockerfile: its conversion, its check and its outline end, ask for a bounded number of images, and agree
//! on whether it can be built.

#![no_main]

use gantry_dockerfile::{
    Conversion, Error, ImageInfo, Images, NamedContext, Options, check, convert, outline,
};
use gantry_oci::Digest;
use libfuzzer_sys::fuzz_target;

/// How often a conversion may ask for more images: those of the stages, and those that triggers name.
const MAX_ROUNDS: usize = 8;

fn answered<T>(mut ask: impl FnMut(&Images) -> Result<Conversion<T>, Error>) -> Option<Result<Box<T>, Error>> {
    let mut images = Images::default();
    for _ in 0..MAX_ROUNDS {
        match ask(&images) {
            Err(error) => return Some(Err(error)),
            Ok(Conversion::Done(done)) => return Some(Ok(done)),
            Ok(Conversion::NeedsTime(wanted)) => images.insert_time(wanted.value, Some(1)),
            Ok(Conversion::NeedsImages(wanted)) => {
                assert!(!wanted.is_empty(), "it asks for something");
                for request in wanted {
                    // The name of an image says what it is like, so that triggers are tried, too.
                    let trigger = request.reference.familiar().contains("onbuild");
                    let triggers = if trigger { vec!["RUN x", "COPY --from=b /a /b"] } else { Vec::new() };
                    let config = serde_json::json!({
                        "os": "linux", "architecture": "amd64",
                        "config": { "Env": ["A=a"], "OnBuild": triggers, "WorkingDir": "/w" },
                        "rootfs": { "type": "layers", "diff_ids": [Digest::of("layer")] },
                        "history": [{ "created_by": "x" }],
                    });
                    let config = serde_json::from_value(config).expect("it is a config");
                    let info = ImageInfo { digest: Digest::of("image"), config };
                    images.insert(request.reference, request.platform, info);
                }
            }
        }
    }
    None
}

fuzz_target!(|text: &[u8]| {
    let platform = |text: &str| text.parse().expect("it is a platform");
    let mut options = Options::new(platform("linux/arm64"), platform("linux/amd64"));
    options.exclude = vec!["*.md".to_owned(), "!a.md".to_owned()];
    options.build_args.insert("GIVEN".to_owned(), "given".to_owned());
    let image = NamedContext::Image { reference: "a:1".parse().expect("it is a name"), written: "a:1".to_owned() };
    options.contexts.insert("ctx".to_owned(), image);
    let converted = answered(|images| convert(text, &options, images));
    let outlined = answered(|images| outline(text, &options, images));
    let (Some(converted), Some(outlined)) = (converted, outlined) else { return };
    assert_eq!(converted.as_ref().err(), outlined.as_ref().err());
    if let Ok(outlined) = outlined {
        outlined.to_json();
    }
    if let Ok(converted) = converted {
        let wire = converted.definition.to_pb();
        gantry_llb::Definition::from_pb(wire).expect("a conversion gives a graph");
        let layers = converted.config.history.iter().filter(|entry| !entry.empty_layer).count();
        assert!(layers <= converted.config.history.len());
    }
    let checked = answered(|images| {
        let mut report = check(text, &options, images);
        let wanted = std::mem::take(&mut report.wanted);
        let is_done = wanted.is_empty();
        Ok(if is_done { Conversion::Done(Box::new(report)) } else { Conversion::NeedsImages(wanted) })
    });
    if let Some(Ok(report)) = checked {
        report.to_json();
    }
});
