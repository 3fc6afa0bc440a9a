//! What two artifacts, or directories, differ in.

mod compare;

pub use compare::{Aspect, Change, Diff, DiffSide, DiffSize, LayerChange, ValueChange};

use crate::{
    Model, Modelpack, Result, StoreError,
    inspect::read_what_it_says,
    open::{artifact_of, image_of},
    pack::prepare_layers,
};
use async_trait::async_trait;
use compare::{Side, compare};
use modelpack_pack::pack;
use modelpack_spec::{Artifact, Config, Descriptor, Manifest, Selector, Tag};
use modelpack_transfer::{Begin, Sink, blocking};

impl Modelpack {
    /// Compares two artifacts, or what directories would be packed to. Of artifacts manifest and config are read and no layer; the files of
    /// directories are hashed, if the digest cache does not know them.
    ///
    /// ```
    /// # use modelpack::{Aspect, Model, Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # let model = scratch.path().join("model");
    /// # std::fs::create_dir(&model)?;
    /// # std::fs::write(model.join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// modelpack.pack(&PackRequest::new(&model), &"tiny:v1".parse()?).await?;
    /// std::fs::write(model.join("README.md"), "# Larger")?;
    /// let (a, b) = (Model::Place("tiny:v1".parse()?), Model::Directory(Box::new(PackRequest::new(&model))));
    /// let diff = modelpack.diff(&a, &b).await?;
    /// assert!(!diff.equal);
    /// assert_eq!((&diff.layers[0].aspects[..], diff.to_fetch.bytes), (&[Aspect::Content][..], 8));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn diff(&self, a: &Model, b: &Model) -> Result<Diff> {
        let (a, b) = (self.side(a).await?, self.side(b).await?);
        Ok(compare(a, b))
    }

    async fn side(&self, side: &Model) -> Result<Side> {
        let (manifest, config) = match side {
            Model::Place(place) => {
                let opened = self.open(place).await?;
                let config = match opened.manifest.image().map(Artifact::read) {
                    Some(Ok(mut artifact)) => {
                        opened.place.blame(read_what_it_says(opened.source.as_ref(), &mut artifact).await)?.unwrap_or_default().config
                    }
                    _ => Config::default(),
                };
                (opened.manifest, config)
            }
            Model::Directory(request) => {
                let request = request.clone();
                let (layers, description) = blocking(move || prepare_layers(&request)).await?;
                let at = Selector::Tag(Tag::latest());
                let manifest = pack(&layers, &description, &Held, &at, &self.pack_options()).await?;
                (manifest, Config { descriptor: description.descriptor, config: description.config, ..Config::default() })
            }
        };
        let (image, artifact) = (image_of(&manifest)?, artifact_of(&manifest)?);
        Ok(Side::new(side.to_string(), manifest.digest().clone(), artifact, &config, image.annotations.clone()))
    }
}

/// A sink that says it holds every blob: what is packed to it is hashed, and goes nowhere.
struct Held;

#[async_trait]
impl Sink for Held {
    fn wants_digest(&self) -> bool {
        true
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin, StoreError> {
        blob.expect("a sink that wants digests is told them");
        Ok(Begin::Exists)
    }

    async fn put_manifest(&self, _: &Selector, _: &Manifest) -> Result<(), StoreError> {
        Ok(())
    }
}
