//! Values of `--output` and what they mean.

use std::path::PathBuf;

use gantry_oci::Reference;
use gantry_release::{
    BaseLayers, Compression, Dangling, FileTimes, MediaTypes, Naming, OtherFiles, OutputEpoch, PlatformSplit,
};

use super::*;

fn file(name: &str) -> Destination {
    Destination::File(PathBuf::from(name))
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn outputs() {
    let plain = FilesForm::default;
    for (spec, output) in [
        ("type=oci,dest=x.tar", Output::OciArchive(file("x.tar"), vec![])),
        ("TYPE=oci, Dest=x.tar", Output::OciArchive(file("x.tar"), vec![])),
        ("type=oci,dest=y,dest=x,tar=", Output::OciArchive(file("x"), vec![])),
        ("type=oci,dest=x,tar=False", Output::OciDirectory("x".into(), vec![])),
        ("type=docker,\"dest=a,b.tar\"", Output::DockerArchive(file("a,b.tar"), vec![])),
        ("type=docker,dest=-", Output::DockerArchive(Destination::Stdout, vec![])),
        ("type=docker", Output::DockerArchive(Destination::Docker(None), vec![])),
        ("type=docker,context=c", Output::DockerArchive(Destination::Docker(Some("c".to_owned())), vec![])),
        ("type=tar,dest=x", Output::Tar(file("x"), plain())),
        ("type=oci,dest=x,name=r.io/a:1", Output::OciArchive(file("x"), vec![name("r.io/a:1")])),
        ("out", Output::Local("out".into(), plain())),
        ("out=1", Output::Local("out=1".into(), plain())),
        ("-", Output::Tar(Destination::Stdout, plain())),
        ("type=cacheonly", Output::CacheOnly),
        ("type=image,store=false,name=a", Output::CacheOnly),
        ("type=image,name=r.io/a:1,push=true", Output::Push(vec![name("r.io/a:1")])),
        ("type=image,name=r.io/a:1,push=,unpack=true", Output::Push(vec![name("r.io/a:1")])),
        (
            "type=image,\"name=r.io/a:1,r.io/b\"",
            Output::Keep(vec![name("r.io/a:1"), name("r.io/b")], Naming::default()),
        ),
        (
            "type=image,name=r.io/a:1\\,r.io/b,name-canonical=true",
            Output::Keep(
                vec![name("r.io/a:1"), name("r.io/b")],
                Naming { canonical: true, ..Naming::default() },
            ),
        ),
        (
            "type=image,dangling-name-prefix=x,danging-name-empty-only=",
            Output::Keep(vec![], Naming { canonical: false, dangling: Dangling::IfUnnamed("x".to_owned()) }),
        ),
        (
            "type=image,name=r.io/a:1,dangling-name-prefix=x,name-canonical=true",
            Output::Keep(
                vec![name("r.io/a:1")],
                Naming { canonical: true, dangling: Dangling::Always("x".to_owned()) },
            ),
        ),
        (
            "type=image,push-by-digest=true,name-canonical=true,push=true,name=r.io:5000/a",
            Output::PushByDigest(vec![name("r.io:5000/a")]),
        ),
        ("type=registry,registry.insecure=false,unpack=false", Output::Push(vec![])),
    ] {
        let parsed = parse(spec, Pushed::AsSaid).unwrap();
        assert_eq!((parsed.output, parsed.annotations), (output, vec![]), "{spec}");
    }
    assert!(parse_all(&[String::new()], Pushed::AsSaid).unwrap().is_empty());
}

/// `--push` is `push=true` of every image, before anything is made of its other fields.
#[test]
fn outputs_that_are_pushed() {
    let digest = |names: Vec<Reference>| Output::PushByDigest(names);
    for (spec, output) in [
        ("type=image,push-by-digest=true,name=r.io/a", digest(vec![name("r.io/a")])),
        ("type=image,store=false,name=r.io/a:1", Output::Push(vec![name("r.io/a:1")])),
        ("type=image,push=false,name=r.io/a:1,name-canonical=", Output::Push(vec![name("r.io/a:1")])),
        ("type=registry,name=r.io/a:1", Output::Push(vec![name("r.io/a:1")])),
        ("type=oci,dest=x", Output::OciArchive(file("x"), vec![])),
        ("type=docker", Output::DockerArchive(Destination::Docker(None), vec![])),
        ("type=cacheonly", Output::CacheOnly),
    ] {
        assert_eq!(parse(spec, Pushed::All).unwrap().output, output, "{spec}");
    }
    let error = parse("type=image,dangling-name-prefix=x", Pushed::All).unwrap_err().to_string();
    assert!(error.contains("does not go with a push"), "{error}");
}

#[test]
fn files() {
    let form = |epoch, split, others, prefix: &str| FilesForm {
        epoch,
        split,
        others,
        attestation_prefix: prefix.to_owned(),
    };
    let of_build = OutputEpoch::OfBuild;
    for (fields, form) in [
        ("platform-split=1", form(of_build, PlatformSplit::Always, OtherFiles::Stay, "")),
        ("platform-split=f,mode=", form(of_build, PlatformSplit::Never, OtherFiles::Stay, "")),
        ("mode= Delete", form(of_build, PlatformSplit::Several, OtherFiles::Go, "")),
        (
            "source-date-epoch=-7,attestation-prefix=a.",
            form(OutputEpoch::Given(Some(-7)), PlatformSplit::Several, OtherFiles::Stay, "a."),
        ),
        ("source-date-epoch=", form(OutputEpoch::Given(None), PlatformSplit::Several, OtherFiles::Stay, "")),
    ] {
        let parsed = parse(&format!("type=local,dest=x,{fields}"), Pushed::AsSaid).unwrap();
        assert_eq!((parsed.output, parsed.form), (Output::Local("x".into(), form), None), "{fields}");
    }
}

#[test]
fn forms_of_images() {
    let usual = ImageForm::default();
    for (fields, form) in [
        ("", usual),
        ("name=a", usual),
        ("rewrite-timestamp=T", ImageForm { times: FileTimes::UntilEpoch, ..usual }),
        ("source-date-epoch=5", ImageForm { epoch: OutputEpoch::Given(Some(5)), ..usual }),
        ("compression=gzip", usual),
        ("compression-level=9", ImageForm { compression: Compression::Gzip(9), ..usual }),
        ("compression=zstd", ImageForm { compression: Compression::ZSTD, ..usual }),
        ("compression=zstd,compression-level=0", ImageForm { compression: Compression::ZSTD, ..usual }),
        ("compression=zstd,compression-level=19", ImageForm { compression: Compression::Zstd(19), ..usual }),
        (
            "compression=uncompressed,force-compression=",
            ImageForm { compression: Compression::None, base_layers: BaseLayers::Recompressed, ..usual },
        ),
        ("oci-mediatypes=false", ImageForm { media_types: MediaTypes::Docker, ..usual }),
    ] {
        let spec = format!("type=oci,dest=x,{fields}");
        let parsed = parse(spec.trim_end_matches(','), Pushed::AsSaid).unwrap();
        assert_eq!(parsed.form, Some(form), "{fields}");
    }
    assert_eq!(parse("type=image,oci-artifact=false", Pushed::AsSaid).unwrap().artifacts, Some(false));
}

#[test]
fn images_of_one_build_are_written_in_one_way() {
    let common = |specs: &[&str]| {
        let specs: Vec<_> = specs.iter().map(|spec| (*spec).to_owned()).collect();
        common_form(&parse_all(&specs, Pushed::AsSaid).unwrap())
    };
    let with = "type=image,rewrite-timestamp=true";
    assert_eq!(common(&[]).unwrap(), ImageForm::default());
    assert_eq!(common(&[with, "type=local,dest=y", "out"]).unwrap().times, FileTimes::UntilEpoch);
    assert!(common(&[with, "type=oci,dest=x"]).is_err());
}

#[test]
fn annotations_of_outputs() {
    let annotated =
        parse("type=oci,dest=x,annotation.a=b,annotation-index.c=d,e", Pushed::AsSaid).unwrap_err();
    assert!(annotated.to_string().contains("a field is key=value"), "{annotated}");
    let annotated =
        parse("type=oci,dest=x,annotation.A=b,\"annotation-index.c=d,e\"", Pushed::AsSaid).unwrap();
    let found: Vec<_> =
        annotated.annotations.iter().map(|one| format!("{}={}", one.key, one.value)).collect();
    // Keys of fields are in lower case, as buildx has them.
    assert_eq!(found, ["a=b", "c=d,e"]);
}

#[test]
fn refused() {
    let digest = gantry_oci::Digest::of("x");
    for (spec, message) in [
        ("type=zip", "not a type"),
        ("dest=x,name=a", "no type="),
        ("type=local", "needs dest="),
        ("type=local,dest=-", "needs dest="),
        ("type=oci,dest=x,push=true", "does not go with"),
        ("type=tar,dest=x,name=a", "does not go with"),
        ("type=tar,dest=x,mode=delete", "does not go with"),
        ("type=tar,dest=x,compression=zstd", "does not go with"),
        ("type=oci,dest=x,platform-split=true", "does not go with"),
        ("type=image,context=x", "does not go with"),
        ("type=local,dest=x,mode=mirror", "copy or delete"),
        ("type=tar,dest=x,colour=red", "not a field"),
        ("type=image,push=maybe", "true or false"),
        ("type=image,rewrite-timestamp=", "true or false"),
        ("type=image,rewrite-timestamp=1,unpack=1", "does not go with"),
        ("type=image,push-by-digest=true,name=r.io/a", "without push=true"),
        ("type=registry,push-by-digest=true,name=r.io/a:1", "has a tag"),
        ("type=oci,dest=x,push-by-digest=true", "do not go with"),
        ("type=local,dest=x,annotation.a=b", "do not go with files"),
        ("type=image,annotation-config.a=b", "not a type of annotation"),
        ("type=image,name=UPPER", "not an image reference"),
        ("type=tar,dest=x,rewrite-timestamp=true", "does not go with"),
        ("type=image,compression=estargz", "not offered"),
        ("type=image,compression=xz", "not a compression"),
        ("type=image,compression-level=x", "is a number"),
        ("type=image,compression-level=10", "from 0 to 9"),
        ("type=image,compression=zstd,compression-level=23", "from 0 to 22"),
        ("type=image,prefer-nondist-layers=true", "not offered"),
        ("type=image,registry.insecure=", "--plain-http"),
        ("type=image,source-date-epoch=x", "seconds since 1970"),
        ("type=image,source-date-epoch=253402300800", "seconds since 1970"),
        (&format!("type=registry,name=r.io/a:1@{digest}"), "has a digest"),
        (&format!("type=registry,name=r.io/a@{digest}"), "has a digest"),
    ] {
        let error = parse(spec, Pushed::AsSaid).unwrap_err().to_string();
        assert!(error.contains(message), "{spec}: {error}");
    }
}
