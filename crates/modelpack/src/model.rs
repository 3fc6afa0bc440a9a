//! A model that is packed or not packed yet.

use crate::{Modelpack, PackRequest, Place, Result, open::image_of, pack::Prepared};
use modelpack_pack::{pack, preview};
use modelpack_spec::{Descriptor, Manifest, Selector, Tag};
use modelpack_transfer::{Begin, Error as StoreError, Sink, Source};
use std::fmt;

/// A model: an artifact, or files that could become one.
#[derive(Clone, Debug)]
pub enum Model {
    /// An artifact.
    Place(Place),
    /// Files, and the request to pack them.
    Files(Box<PackRequest>),
}

/// The name of the artifact or of the files, as given.
impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Files(request) => request.source.fmt(f),
        }
    }
}

/// Manifest and config of a model, stored or not.
pub(crate) struct Subject {
    pub(crate) manifest: Manifest,
    /// The config's bytes, if its media type is JSON. The config of a foreign artifact can have any
    /// content and size.
    pub(crate) config: Option<Vec<u8>>,
    /// The files, if they are not packed yet.
    pub(crate) files: Option<Prepared>,
}

/// The digests in the manifest of files that are not packed yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digests {
    /// Arbitrary digests: no file is read for them.
    StandIns,
    /// The digests that packing would give.
    Computed,
}

impl Modelpack {
    /// Manifest and config of `model`. For an artifact, no layers are read. For files, the headers
    /// are read, and also all bytes if digests are requested and not in the cache.
    pub(crate) async fn subject(&self, model: &Model, digests: Digests) -> Result<Subject> {
        match model {
            Model::Place(place) => {
                let opened = self.open(place).await?;
                let descriptor = &image_of(&opened.manifest)?.config;
                let config = opened.place.blame(readable_config(opened.source.as_ref(), descriptor).await)?;
                Ok(Subject { config, files: None, manifest: opened.manifest })
            }
            Model::Files(request) => {
                let prepared = self.prepare(request).await?;
                let layers = prepared.layers(request)?;
                let built = preview(&layers, &prepared.description)?;
                let manifest = match digests {
                    Digests::StandIns => built.manifest,
                    Digests::Computed => {
                        let at = Selector::Tag(Tag::latest());
                        prepared.blame(pack(&layers, &prepared.description, &Held, &at, &self.pack_options()).await)?
                    }
                };
                Ok(Subject { manifest, config: Some(built.config_bytes), files: Some(prepared) })
            }
        }
    }
}

async fn readable_config(source: &dyn Source, config: &Descriptor) -> Result<Option<Vec<u8>>> {
    if config.media_type.ends_with("json") { Ok(Some(modelpack_transfer::read_config(source, config).await?)) } else { Ok(None) }
}

/// A sink that reports that it has every blob. Files packed to it are hashed, but nothing is
/// written.
struct Held;

#[async_trait::async_trait]
impl Sink for Held {
    fn wants_digest(&self) -> bool {
        true
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin, StoreError> {
        blob.expect("a sink that wants digests gets them");
        Ok(Begin::Exists)
    }

    async fn put_manifest(&self, _: &Selector, _: &Manifest) -> Result<(), StoreError> {
        Ok(())
    }
}
