//! Raw layers: each layer is one file.

use super::{
    Finished, Unpacking,
    destination::{Destination, conflict},
    name,
    staging::{StagedFile, Staging},
};
use modelpack_spec::{Descriptor, Digest, FilePath, Hasher, Layer};
use modelpack_store::{DigestCache, Settled, Stamp, Writeback};
use modelpack_transfer::{Body, Error, FileRange, Result, Verifier, blocking};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A layer that is a file.
#[derive(Clone, Copy)]
pub(super) struct RawFile<'a> {
    pub(super) layer: &'a Layer,
    pub(super) path: &'a FilePath,
}

impl RawFile<'_> {
    pub(super) fn finished(&self) -> Finished {
        Finished { path: self.path.clone(), executable: self.layer.is_executable(), size: self.layer.descriptor.size }
    }
}

/// What exists at the path of a file.
pub(super) enum Found {
    /// The file, with the right content.
    Equal,
    /// A file with other content, which is to be replaced.
    Other,
    Nothing,
}

impl Unpacking<'_> {
    /// Checks what exists at the path of the file.
    ///
    /// Fails with [`Error::Conflict`] if a file with other content exists and may not be replaced,
    /// or if something else exists.
    pub(super) async fn look_at(&self, file: RawFile<'_>) -> Result<Found> {
        let blob = &file.layer.descriptor;
        let (destination, cache, path) = (self.destination.clone(), self.options.digest_cache.clone(), file.path.clone());
        let located = destination.locate(file.path);
        let looked = blocking(move || {
            let Some(file) = destination.file(&path)? else { return Ok(None) };
            let metadata = file.metadata().map_err(Error::io("look at", destination.locate(&path)))?;
            let stamp = Stamp::of(&metadata);
            let known = cache.and_then(|cache| cache.lookup(&stamp));
            Ok::<_, Error>(Some((file, stamp.size(), known)))
        });
        let Some((found, size, known)) = looked.await? else { return Ok(Found::Nothing) };
        let is_same = size == blob.size
            && match known.filter(|known| known.algorithm() == blob.digest.algorithm()) {
                Some(known) => known == blob.digest,
                None => self.hash(found, blob, located.clone()).await? == blob.digest,
            };
        if is_same {
            self.options.progress.skipped(blob.size);
            return Ok(Found::Equal);
        }
        match self.options.force {
            true => Ok(Found::Other),
            false => Err(conflict(located, "it differs from the file in the artifact")),
        }
    }

    /// Hashes a file of the destination with the algorithm of `like`, which has the same size, and
    /// caches the digest.
    async fn hash(&self, file: File, like: &Descriptor, located: PathBuf) -> Result<Digest> {
        let (file, cache) = (Arc::new(file), self.options.digest_cache.clone());
        let of = file.clone();
        let prepared = blocking(move || Ok::<_, Error>(cache.and_then(|cache| Some((cache.prepare(&of)?, cache))))).await?;
        let body = Body::from_file(FileRange { file: file.clone(), path: located, offset: 0, len: like.size });
        let progress = self.options.progress.clone();
        let hashed = body.drain(Hasher::new(like.digest.algorithm()), move |hasher, piece| {
            hasher.update(piece);
            progress.hashed(piece.len() as u64);
            Ok(())
        });
        let (hasher, result) = hashed.await;
        result?;
        let digest = hasher.finish();
        blocking(move || {
            if let Some((settled, cache)) = prepared {
                remember(&cache, &file, &settled, &digest);
            }
            Ok(digest)
        })
        .await
    }

    /// Fetches the file into the staging directory, and moves it into place when it is complete and
    /// verified.
    pub(super) async fn write(&self, staging: &Arc<Staging>, file: RawFile<'_>) -> Result<Placed> {
        let (blob, executable) = (&file.layer.descriptor, file.layer.is_executable());
        let body = self.source.blob(blob, 0..blob.size).await?.counted(self.options.progress.clone());
        let of = staging.clone();
        let staged = blocking(move || of.create_file(executable)).await?;
        let located = self.destination.locate(file.path);
        let incoming = Incoming { staged, verifier: Verifier::named(name(file.layer), blob), writeback: Writeback::default() };
        let path = located.clone();
        let (incoming, result) = body.drain(incoming, move |incoming, piece| incoming.append(piece, &path)).await;
        result?;
        let (staging, path, force) = (staging.clone(), file.path.clone(), self.options.force);
        blocking(move || {
            let Incoming { staged, verifier, .. } = incoming;
            let digest = verifier.finish()?.into_parts().0;
            staging.sync(&staged, &path)?;
            let metadata = staged.file.metadata().map_err(Error::io("look at", located))?;
            staging.rename(&staged.name, &path, force)?;
            Ok(Placed { path, whole: Stamp::of(&metadata), digest })
        })
        .await
    }
}

/// A file with its final name, and the state that identified its content before the rename.
pub(super) struct Placed {
    path: FilePath,
    whole: Stamp,
    digest: Digest,
}

/// Caches the digests of written files. This call blocks. It is done for all files at the end,
/// because the cache waits until a file has been unchanged for a moment, and by then most have.
pub(super) fn remember_all(placed: &[Placed], destination: &Destination, cache: Option<&DigestCache>) {
    let Some(cache) = cache else { return };
    for Placed { path, whole, digest } in placed {
        let Ok(Some(file)) = destination.file(path) else { continue };
        if let Some(settled) = cache.prepare(&file).filter(|settled| settled.stamp().is_renamed(whole)) {
            remember(cache, &file, &settled, digest);
        }
    }
}

/// A file that is being written.
struct Incoming {
    staged: StagedFile,
    verifier: Verifier,
    writeback: Writeback,
}

impl Incoming {
    fn append(&mut self, piece: &[u8], located: &Path) -> Result<()> {
        self.verifier.update(piece)?;
        self.staged.file.write_all(piece).map_err(Error::io("write", located))?;
        self.writeback.advance(&self.staged.file, self.verifier.count());
        Ok(())
    }
}

fn remember(cache: &DigestCache, file: &File, settled: &Settled, digest: &Digest) {
    // If the digest is not cached, the file is hashed again later.
    let _ = cache.remember(file, settled, digest);
}
