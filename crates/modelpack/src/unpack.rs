//! Unpacking an artifact into a directory.

use crate::{Modelpack, Notice, Place, Result};
use modelpack_pack::{LeftOut, Selection, unpack};
use modelpack_spec::{Descriptor, Digest, FilePath};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Options for unpacking an artifact.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct UnpackOptions {
    /// The selection of files that are written; all by default.
    pub selection: Selection,
    /// Whether existing files are replaced. Directories and links are never replaced.
    pub replace: bool,
}

impl UnpackOptions {
    /// Sets the selection of files that are written.
    pub fn selection(self, selection: Selection) -> Self {
        Self { selection, ..self }
    }

    /// Sets whether existing files are replaced.
    pub fn replace(self, replace: bool) -> Self {
        Self { replace, ..self }
    }
}

/// The result of unpacking. Each list is in the order of its paths or layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Unpacked {
    /// The digest of the artifact's manifest.
    pub digest: Digest,
    /// The destination directory.
    #[serde(serialize_with = "modelpack_spec::json::path")]
    pub directory: PathBuf,
    /// The size of the files that were written, in bytes.
    pub bytes: u64,
    /// Files that were written.
    pub written: Vec<FilePath>,
    /// Files that already existed with the right content.
    pub unchanged: Vec<FilePath>,
    /// Layers without a file name; they are not unpacked.
    pub unnamed: Vec<Descriptor>,
    /// Files that were not selected.
    pub left_out: LeftOut,
}

impl Modelpack {
    /// Writes the files of an artifact into `directory`, directly from its place.
    ///
    /// Only the layers that the selection needs are moved. An existing file is left unchanged if it
    /// is equal; if it differs, that is an error unless `options` allow the replacement. If another
    /// process unpacks into the directory, this call waits for it, with a [`Notice`].
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest, UnpackOptions};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # let (model, directory) = (scratch.path().join("model"), scratch.path().join("out"));
    /// # std::fs::create_dir(&model)?;
    /// # std::fs::write(model.join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// # modelpack.pack(&PackRequest::new(&model), &"tiny:v1".parse()?).await?;
    /// let unpacked = modelpack.unpack(&"tiny:v1".parse()?, &directory, &UnpackOptions::default()).await?;
    /// assert_eq!((unpacked.written, unpacked.bytes), (vec!["README.md".parse()?], 6));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn unpack(&self, from: &Place, directory: &Path, options: &UnpackOptions) -> Result<Unpacked> {
        let opened = self.open(from).await?;
        let options = modelpack_pack::UnpackOptions {
            selection: options.selection.clone(),
            force: options.replace,
            concurrency: self.options.concurrency,
            progress: self.progress.clone(),
            connections: self.connections.clone(),
            digest_cache: self.writable_store().ok().map(|store| store.digest_cache().clone()),
        };
        let waits = || self.options.notices.give(&Notice::Waiting { path: directory.to_owned() });
        let unpacked = unpack(opened.source.as_ref(), &opened.manifest, directory, &options, waits).await;
        let unpacked = opened.place.blame(unpacked)?;
        Ok(Unpacked {
            digest: opened.manifest.digest().clone(),
            directory: directory.to_owned(),
            bytes: unpacked.bytes,
            written: unpacked.written,
            unchanged: unpacked.unchanged,
            unnamed: unpacked.unnamed,
            left_out: unpacked.left_out,
        })
    }
}
