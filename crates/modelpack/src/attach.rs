//! Attaching files to an artifact.

use crate::{Modelpack, Place, Result};
use modelpack_pack::{Attached, PackOptions, attach, plan_file};
use modelpack_spec::{FilePath, LayerKind};
use modelpack_transfer::blocking;
use std::path::PathBuf;

/// A file that is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The source file on the local disk.
    pub source: PathBuf,
    /// Its path in the artifact.
    pub path: FilePath,
    /// Its kind; `None` to derive it from the name or from the replaced layer.
    pub kind: Option<LayerKind>,
}

impl Modelpack {
    /// Adds `files` to the artifact at `from`, or replaces existing files if `replace` is set, and
    /// writes the result to `to`. Nothing else changes. For `to`, a bare reference means the store.
    /// Layers that the destination already has are not moved.
    pub async fn attach(&self, from: &Place, files: &[Attachment], replace: bool, to: &Place) -> Result<(Place, Attached)> {
        let files = files.to_vec();
        let plan = move || files.into_iter().map(|file| plan_file(&file.source, file.path, file.kind)).collect::<Result<Vec<_>, _>>();
        let files = blocking(plan).await?;
        let opened = self.open(from).await?;
        let to = to.clone().or_store();
        let target = self.target(&to, opened.repository(), opened.name_of_successor()).await?;
        let options = self.pack_options();
        let attached = attach(opened.source.as_ref(), &opened.manifest, &files, replace, target.sink(), &target.selector, &options).await;
        let attached = opened.place.blame(attached)?;
        target.finish().await?;
        Ok((to, attached))
    }

    pub(crate) fn pack_options(&self) -> PackOptions {
        PackOptions {
            concurrency: self.options.concurrency,
            progress: self.options.progress.clone(),
            // Without a writable store, files are hashed each time.
            digest_cache: self.writable_store().ok().map(|store| store.digest_cache().clone()),
        }
    }
}
