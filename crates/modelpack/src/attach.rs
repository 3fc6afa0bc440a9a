//! Attaching files to an artifact.

use crate::{KeepHashStates, Modelpack, Place, Result};
use modelpack_pack::{PackOptions, attach, plan_file};
use modelpack_spec::{Digest, FilePath, LayerKind};
use modelpack_transfer::blocking;
use serde::Serialize;
use std::path::PathBuf;

/// A file that is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// The source file on the local disk.
    pub source: PathBuf,
    /// Its path in the artifact.
    pub path: FilePath,
    /// Its kind; `None` to derive it from the name or from the replaced layer.
    pub kind: Option<LayerKind>,
}

impl Attachment {
    /// Attaches the local file `source` with the path `path` in the artifact.
    pub fn new(source: impl Into<PathBuf>, path: FilePath) -> Self {
        Self { source: source.into(), path, kind: None }
    }

    /// Sets the kind; `None` derives it from the name or from the replaced layer.
    pub fn kind(self, kind: Option<LayerKind>) -> Self {
        Self { kind, ..self }
    }
}

/// Options for attaching files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachOptions {
    /// Whether existing files with other bytes are replaced; otherwise they are an error.
    pub replace: bool,
}

impl AttachOptions {
    /// Sets whether existing files with other bytes are replaced.
    pub fn replace(self, replace: bool) -> Self {
        Self { replace }
    }
}

/// The result of attaching files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Attached {
    /// The place of the new artifact.
    #[serde(rename = "reference")]
    pub to: Place,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Files that were not in the old artifact.
    pub added: Vec<FilePath>,
    /// Files that were in the old artifact with other bytes or of another kind.
    pub replaced: Vec<FilePath>,
    /// Files that were in the old artifact unchanged.
    pub unchanged: Vec<FilePath>,
    /// The number of bytes of blobs that were moved.
    pub moved: u64,
    /// The number of bytes of blobs that were already present.
    pub present: u64,
}

impl Modelpack {
    /// Adds `files` to the artifact at `from`, or replaces existing files if `options` allow it,
    /// and writes the result to `to`. Nothing else changes. For `to`, a bare reference means the
    /// store. Layers that the destination already has are not moved.
    ///
    /// ```
    /// # use modelpack::{AttachOptions, Attachment, Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # let (model, notes) = (scratch.path().join("model"), scratch.path().join("NOTES.md"));
    /// # std::fs::create_dir(&model)?;
    /// # std::fs::write(model.join("README.md"), "# Tiny")?;
    /// # std::fs::write(&notes, "Notes.")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// # modelpack.pack(&PackRequest::new(&model), &"tiny:v1".parse()?).await?;
    /// let files = [Attachment::new(&notes, "docs/NOTES.md".parse()?)];
    /// let attached = modelpack.attach(&"tiny:v1".parse()?, &files, &"tiny:v2".parse()?, &AttachOptions::default()).await?;
    /// assert_eq!(attached.added, ["docs/NOTES.md".parse()?]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn attach(&self, from: &Place, files: &[Attachment], to: &Place, options: &AttachOptions) -> Result<Attached> {
        let call = self.one_call();
        let files = files.to_vec();
        let plan = move || files.into_iter().map(|file| plan_file(&file.source, file.path, file.kind)).collect::<Result<Vec<_>, _>>();
        let files = blocking(plan).await?;
        let opened = self.open(from).await?;
        let to = to.clone().or_store();
        let target = self.target(&to, opened.repository(), opened.name_of_successor()).await?;
        let packing = call.pack_options();
        let attached =
            attach(opened.source.as_ref(), &opened.manifest, &files, options.replace, target.sink(), &target.selector, &packing).await;
        let attached = opened.place.blame(attached)?;
        target.finish().await?;
        let counted = call.progress.snapshot();
        Ok(Attached {
            to,
            digest: attached.manifest.digest().clone(),
            added: attached.added,
            replaced: attached.replaced,
            unchanged: attached.unchanged,
            moved: counted.moved,
            present: counted.present(),
        })
    }

    pub(crate) fn pack_options(&self) -> PackOptions {
        PackOptions {
            concurrency: self.options.concurrency,
            connections: self.connections.clone(),
            progress: self.progress.clone(),
            // Without a writable store, files are hashed each time.
            digest_cache: self.writable_store().ok().map(|store| store.digest_cache().clone()),
            hash_states: self.options.hash_states != KeepHashStates::Never,
        }
    }
}
