//! Unpacking an artifact into a directory.

use crate::{Modelpack, Notice, Place, Result};
use modelpack_pack::{Selection, UnpackOptions, Unpacked, unpack};
use modelpack_spec::Digest;
use std::path::Path;

impl Modelpack {
    /// Writes the files of an artifact into `directory`, directly from its place. Returns its
    /// digest and the list of written files.
    ///
    /// Only the layers that `selection` needs are moved. An existing file is left unchanged if it
    /// is equal; if it differs, that is an error unless `force` is set. If another process unpacks
    /// into the directory, this call waits for it, with a [`Notice`].
    pub async fn unpack(&self, from: &Place, directory: &Path, selection: &Selection, force: bool) -> Result<(Digest, Unpacked)> {
        let opened = self.open(from).await?;
        let options = UnpackOptions {
            selection: selection.clone(),
            force,
            concurrency: self.options.concurrency,
            progress: self.options.progress.clone(),
            digest_cache: self.writable_store().ok().map(|store| store.digest_cache().clone()),
        };
        let waits = || self.options.notices.give(&Notice::Waiting { path: directory.to_owned() });
        let unpacked = unpack(opened.source.as_ref(), &opened.manifest, directory, &options, waits).await;
        let unpacked = opened.place.blame(unpacked)?;
        Ok((opened.manifest.digest().clone(), unpacked))
    }
}
