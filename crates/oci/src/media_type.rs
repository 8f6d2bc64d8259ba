//! Media types of manifests, configs and layers, OCI's and Docker's.

/// OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, uncompressed.
pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, gzip.
const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, uncompressed.
const DOCKER_LAYER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, zstd.
const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// What the types of all layers begin with.
const OCI_LAYERS: &str = "application/vnd.oci.image.layer.";
const DOCKER_LAYERS: &str = "application/vnd.docker.image.rootfs.";
/// What those of layers begin with that may not be distributed; the compression follows.
const FOREIGN_LAYERS: [&str; 2] = [
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// All manifest and index types we read, in order of preference: the value of an `Accept` header.
pub const MANIFESTS: [&str; 4] = [INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// Whether this is the type of an index or manifest list.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_INDEX)
}

/// Whether this is the type of an image manifest.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}

/// Whether this is the type of an image's layer, foreign ones included.
pub fn is_layer(media_type: &str) -> bool {
    [OCI_LAYERS, DOCKER_LAYERS].iter().any(|start| media_type.starts_with(start))
}

/// Whether this is the type of a layer that may not be distributed, so that registries need not have it.
pub fn is_foreign_layer(media_type: &str) -> bool {
    FOREIGN_LAYERS.iter().any(|start| media_type.starts_with(start))
}

/// The OCI type for a Docker layer type; every other type is returned as it is.
///
/// The bytes are the same in both worlds, so a manifest of ours can name a base layer that came as Docker's.
pub fn oci_layer(media_type: &str) -> &str {
    match media_type {
        DOCKER_LAYER_GZIP => LAYER_GZIP,
        DOCKER_LAYER_TAR => LAYER_TAR,
        DOCKER_LAYER_ZSTD => LAYER_ZSTD,
        other => other,
    }
}

/// The Docker type for an OCI layer type; every other type is returned as it is.
pub fn docker_layer(media_type: &str) -> &str {
    match media_type {
        LAYER_GZIP => DOCKER_LAYER_GZIP,
        LAYER_TAR => DOCKER_LAYER_TAR,
        LAYER_ZSTD => DOCKER_LAYER_ZSTD,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_both_worlds() {
        for (oci, docker) in
            [(LAYER_TAR, DOCKER_LAYER_TAR), (LAYER_GZIP, DOCKER_LAYER_GZIP), (LAYER_ZSTD, DOCKER_LAYER_ZSTD)]
        {
            assert_eq!((oci_layer(docker), docker_layer(oci)), (oci, docker));
        }
        assert_eq!(docker_layer("text/plain"), "text/plain");
    }

    #[test]
    fn layers_and_foreign_layers() {
        for (media_type, layer, foreign) in [
            (LAYER_TAR, true, false),
            (LAYER_ZSTD, true, false),
            (DOCKER_LAYER_GZIP, true, false),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", true, true),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true, true),
            ("application/vnd.in-toto+json", false, false),
            (CONFIG, false, false),
        ] {
            assert_eq!(
                (is_layer(media_type), is_foreign_layer(media_type)),
                (layer, foreign),
                "{media_type}"
            );
        }
    }
}
