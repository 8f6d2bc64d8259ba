//! Docker's own registry: what works with the fake works there.

use gantry_oci::{BlobSource, BytesSource, ImagePort, media_type};
use gantry_registry::Uploaded;
use gantry_testkit::{BuiltImage, DockerRegistry, Entry, ImageBuilder};

use super::{client, platform};

#[tokio::test]
async fn docker_registry_takes_what_we_push_and_gives_it_back() {
    let registry = DockerRegistry::start();
    let images = ["linux/amd64", "linux/arm64"].map(|one| {
        ImageBuilder::new(one)
            .layer(&[Entry::dir("etc"), Entry::file("etc/platform", one).mode(0o600)])
            .build()
    });
    let base = BuiltImage::push_index(&images, &registry, "library/base", "1");
    let client = client();
    let reference = registry.reference("library/base:1");
    let resolved = ImagePort::resolve(&client, &reference, &platform("linux/arm64")).await.unwrap();
    assert_eq!((resolved.reference.digest(), resolved.manifest.0), (Some(&base), images[1].digest()));

    let target = registry.reference("team/app:1");
    let large = BytesSource::new((0..2_000_000u32).flat_map(|number| number.to_le_bytes()).collect());
    assert_eq!(
        client.push_blob(&target, &large, Some("library/base")).await.unwrap(),
        Uploaded::Sent(large.size())
    );
    assert_eq!(client.push_blob(&target, &large, None).await.unwrap(), Uploaded::Existed);
    for blob in &images[1].blobs {
        let source = BytesSource::new(blob.clone());
        assert_eq!(
            client.push_blob(&target, &source, Some("library/base")).await.unwrap(),
            Uploaded::Mounted
        );
    }
    let digest =
        client.push_manifest_by_digest(&target, media_type::MANIFEST, &images[1].bytes).await.unwrap();
    assert_eq!(client.head(&target).await.unwrap(), None);
    client.push_tag(&target, media_type::MANIFEST, &images[1].bytes).await.unwrap();
    assert_eq!(client.head(&target).await.unwrap().map(|found| found.digest), Some(digest));
    assert_eq!(client.resolve(&target).await.unwrap().bytes, images[1].bytes);
    let mut layer = Vec::new();
    client.fetch_blob(&target, &images[1].manifest.layers[0], &mut layer).await.unwrap();
    assert_eq!(layer, images[1].blobs[0]);
}
