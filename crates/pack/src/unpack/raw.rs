//! Raw layers: each layer is one file.

use super::{
    Finished, Unpacking,
    destination::{Destination, conflict},
    name,
    staging::{RESUMABLE, Staging},
};
use modelpack_spec::{Descriptor, Digest, FilePath, Layer};
use modelpack_store::{DigestCache, Remembered, Settled, Stamp};
use modelpack_transfer::{Attempt, Body, Error, FileRange, Hashing, Result, Verifier, blocking, fetch, read_bytes, retried_if_damaged};
use std::{
    fs::{File, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
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
            Ok::<_, Error>(Some((file, stamp.size(), known.map(|known| known.digest))))
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
        let progress = self.options.progress.blob(like);
        let hashing = Hashing::new(Verifier::unknown(like.digest.algorithm()));
        let hashed = body.drain(hashing, move |hashing, piece| {
            hashing.update(&piece);
            progress.hashed(piece.len() as u64);
            Ok(())
        });
        let (hashing, result) = hashed.await;
        result?;
        let known = Remembered::from(&hashing.finish().finish()?);
        blocking(move || {
            if let Some((settled, cache)) = prepared {
                remember(&cache, &file, &settled, &known);
            }
            Ok(known.digest)
        })
        .await
    }

    /// Fetches the file, and moves it into place when it is complete and verified.
    pub(super) async fn write(&self, staging: &Arc<Staging>, file: RawFile<'_>) -> Result<Placed> {
        if file.layer.descriptor.size < RESUMABLE {
            return self.write_small(staging, file).await;
        }
        retried_if_damaged(|| self.write_partial(staging, file)).await
    }

    async fn write_partial(&self, staging: &Arc<Staging>, file: RawFile<'_>) -> Attempt<Placed> {
        let new = |error| (error, false);
        let (blob, executable) = (&file.layer.descriptor, file.layer.is_executable());
        let partial = staging.partials().begin_or_wait(blob, &name(file.layer), &self.options.progress).await.map_err(new)?;
        let (is_resumed, partial) = (partial.resumed() > 0, Arc::new(partial));
        let part = self.options.progress.part(file.path.as_str(), blob.size);
        fetch(self.source, blob, Arc::new(partial.clone()), &self.options.connections, &part).await.map_err(new)?;
        let (staging, path, force) = (staging.clone(), file.path.clone(), self.options.force);
        let place = move || {
            let located = staging.destination().locate(&path);
            let mut whole = None;
            let verified = partial.commit(|file, _| {
                let metadata = file.metadata().map_err(Error::io("look at", &located))?;
                if executable {
                    let mode = metadata.permissions().mode() & 0o777;
                    let mode = Permissions::from_mode(mode | (mode & 0o444) >> 2);
                    file.set_permissions(mode).map_err(Error::io("set the mode of", &located))?;
                }
                whole = Some(Stamp::of(&file.metadata().map_err(Error::io("look at", &located))?));
                staging.destination().place(partial.directory(), partial.name(), &path, force)
            });
            let known = (&verified?).into();
            Ok(Placed { path, whole: whole.expect("it was placed"), known })
        };
        blocking(place).await.map_err(|error| (error, is_resumed))
    }

    /// Fetches a small file into the staging directory, and moves it into place.
    async fn write_small(&self, staging: &Arc<Staging>, file: RawFile<'_>) -> Result<Placed> {
        let (blob, executable) = (&file.layer.descriptor, file.layer.is_executable());
        let bytes = read_bytes(self.source, blob, RESUMABLE as usize, &name(file.layer)).await?;
        self.options.progress.moved(blob.size);
        let (staging, path, force, digest) = (staging.clone(), file.path.clone(), self.options.force, blob.digest.clone());
        blocking(move || {
            let located = staging.destination().locate(&path);
            let mut staged = staging.create_file(executable)?;
            staged.file.write_all(&bytes).map_err(Error::io("write", &located))?;
            staging.sync(&staged, &path)?;
            let metadata = staged.file.metadata().map_err(Error::io("look at", located))?;
            staging.rename(&staged.name, &path, force)?;
            Ok(Placed { path, whole: Stamp::of(&metadata), known: digest.into() })
        })
        .await
    }
}

/// A file with its final name, and the state that identified its content before the rename.
pub(super) struct Placed {
    path: FilePath,
    whole: Stamp,
    known: Remembered,
}

/// Caches the digests of written files. This call blocks. It is done for all files at the end,
/// because the cache waits until a file has been unchanged for a moment, and by then most have.
pub(super) fn remember_all(placed: &[Placed], destination: &Destination, cache: Option<&DigestCache>) {
    let Some(cache) = cache else { return };
    for Placed { path, whole, known } in placed {
        let Ok(Some(file)) = destination.file(path) else { continue };
        if let Some(settled) = cache.prepare(&file).filter(|settled| settled.stamp().is_renamed(whole)) {
            remember(cache, &file, &settled, known);
        }
    }
}

fn remember(cache: &DigestCache, file: &File, settled: &Settled, known: &Remembered) {
    // If the digest is not cached, the file is hashed again later.
    let _ = cache.remember(file, settled, known);
}
