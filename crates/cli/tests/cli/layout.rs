//! Builds layout directories as other tools write them.

use modelpack::spec::Digest;
use modelpack_testkit::Cli;
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

pub(crate) const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A layout in the home of the program.
pub(crate) struct Layout {
    path: PathBuf,
    layers: Vec<Value>,
}

impl Layout {
    pub(crate) fn new(cli: &Cli, name: &str) -> Self {
        let path = cli.home().join(name);
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { path, layers: Vec::new() }
    }

    fn put(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.path.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    }

    /// Adds a layer without a file name.
    pub(crate) fn layer(self, media_type: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.layer_with(media_type, bytes, &json!({}))
    }

    /// Adds a layer with these fields in its descriptor.
    pub(crate) fn layer_with(mut self, media_type: &str, bytes: impl AsRef<[u8]>, fields: &Value) -> Self {
        let mut layer = self.put(media_type, bytes.as_ref());
        layer.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.layers.push(layer);
        self
    }

    /// Writes config, manifest and index. The tag of the artifact is `v1`.
    pub(crate) fn write(self, manifest_type: &str, config_type: &str, config: impl AsRef<[u8]>) {
        let config = self.put(config_type, config.as_ref());
        let manifest = json!({ "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": self.layers });
        let mut entry = self.put(manifest_type, manifest.to_string().as_bytes());
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
        let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry] });
        fs::write(self.path.join("index.json"), index.to_string()).unwrap();
    }
}
