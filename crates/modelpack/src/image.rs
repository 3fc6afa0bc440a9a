//! Copies a model as an OCI image, for runtimes that mount images.

use crate::{
    Copied, Modelpack, Place, Result,
    inspect::read_config_contents,
    open::{artifact_of, image_of},
};
use modelpack_pack::{ImagePrefix, image, image_annotations, is_foreign};
use serde::Serialize;

/// The result of a copy as an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImageCopy {
    /// The source and the destination of the copy. The digest is that of the index of the image.
    #[serde(flatten)]
    pub copied: Copied,
    /// The directory of the image that has the files, an absolute path.
    pub prefix: String,
    /// The number of layers.
    pub layers: usize,
    /// The platforms of the image, such as `linux/amd64`. All have the same layers.
    pub platforms: Vec<String>,
}

impl Modelpack {
    /// Copies an artifact like [`copy`](Self::copy), as an OCI image with its files below `prefix`.
    /// Kubernetes (containerd 2.1, CRI-O), Podman and KServe mount images.
    ///
    /// Each layer becomes an uncompressed archive of the same files, and nothing is stored on the
    /// way. If the destination is a registry, each layer is read twice: for its digest, and to be
    /// sent if the registry does not have it. The image is tagged `latest` if neither side has a tag.
    ///
    /// Fails if the file path of a layer is unknown, or cannot be a path in an image.
    ///
    /// ```no_run
    /// # use modelpack::ImagePrefix;
    /// # async fn run(modelpack: modelpack::Modelpack) -> Result<(), Box<dyn std::error::Error>> {
    /// let (from, to) = ("registry.example.com/team/tiny:v1", "docker://registry.example.com/team/tiny-image:v1");
    /// let copied = modelpack.to_image(&from.parse()?, &to.parse()?, &ImagePrefix::default()).await?;
    /// println!("{} for {}, with the files below {}", copied.copied.digest, copied.platforms.join(", "), copied.prefix);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn to_image(&self, from: &Place, to: &Place, prefix: &ImagePrefix) -> Result<ImageCopy> {
        let call = self.one_call();
        let opened = self.open(from).await?;
        let (manifest, mut artifact) = (image_of(&opened.manifest)?, artifact_of(&opened.manifest)?);
        let contents = opened.place.blame(read_config_contents(opened.source.as_ref(), &mut artifact).await)?.unwrap_or_default();
        let of_model = manifest.annotations.clone().into_iter().chain(contents.annotations);
        let annotations = image_annotations(&contents.config, &of_model.filter(|(key, _)| !is_foreign(key)).collect());
        let target = self.target(to, opened.repository(), opened.name_of_successor()).await?;
        let (source, at) = (&opened.source, &target.selector);
        let made = image(source, &artifact, &annotations, prefix, target.sink(), at, &call.copy_options()).await;
        let made = opened.place.blame(made)?;
        target.finish().await?;
        let copied = opened.copied_to(to, made.manifest.digest().clone(), call.progress.snapshot(), None).await;
        Ok(ImageCopy { copied, prefix: prefix.to_string(), layers: made.layers, platforms: made.platforms })
    }
}
