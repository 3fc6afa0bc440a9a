//! The JSON form of planned layers.

use crate::{PlannedFile, PlannedLayer};
use modelpack_spec::{Encoding, FilePath, LayerKind};
use serde::{Serialize, Serializer};

impl Serialize for PlannedLayer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Layer<'a> {
            path: &'a FilePath,
            kind: LayerKind,
            encoding: Encoding,
            media_type: String,
            size: Option<u64>,
            files: &'a [PlannedFile],
        }
        let Self { kind, encoding, path, files, .. } = self;
        let (media_type, size) = (self.layer_type().to_string(), self.size());
        Layer { path, kind: *kind, encoding: *encoding, media_type, size, files }.serialize(serializer)
    }
}

impl Serialize for PlannedFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct File<'a> {
            path: &'a FilePath,
            size: u64,
            executable: bool,
        }
        File { path: &self.path, size: self.size, executable: self.executable }.serialize(serializer)
    }
}
