//! A repository that is read from mirrors, and in the end from its registry.

use super::{RemoteRepository, registries::Pulls};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use modelpack_spec::{Descriptor, Digest, Manifest, Selector, Tag};
use modelpack_transfer::{Body, Error, Notice, Notices, Result, Source};
use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};
use tracing::debug;

/// A repository that is read. If a mirror fails, the next one is asked, and then the registry itself. Each is asked with its own login.
#[derive(Clone)]
pub struct MirroredRepository(Arc<Places>);

struct Places {
    mirrors: Vec<Mirror>,
    registry: RemoteRepository,
    /// The index of the place where the last manifest was found. Its blobs are there too.
    found: AtomicUsize,
    notices: Notices,
}

struct Mirror {
    repository: RemoteRepository,
    pulls: Pulls,
    has_failed: AtomicBool,
}

impl MirroredRepository {
    pub(super) fn new(mirrors: Vec<(RemoteRepository, Pulls)>, registry: RemoteRepository, notices: Notices) -> Self {
        let mirrors = mirrors.into_iter().map(|(repository, pulls)| Mirror { repository, pulls, has_failed: AtomicBool::new(false) });
        Self(Arc::new(Places { mirrors: mirrors.collect(), registry, found: AtomicUsize::new(0), notices }))
    }

    /// The repository where the last manifest was found: at a mirror, or at the registry.
    pub fn in_use(&self) -> &RemoteRepository {
        self.0.place(self.0.found.load(Relaxed))
    }

    fn is_mirror_in_use(&self) -> bool {
        self.0.found.load(Relaxed) < self.0.mirrors.len()
    }
}

impl Places {
    /// The mirror with this index, or the registry after all mirrors.
    fn place(&self, index: usize) -> &RemoteRepository {
        self.mirrors.get(index).map_or(&self.registry, |mirror| &mirror.repository)
    }

    /// The next place from `index` on that may be asked for what `is_wanted` allows, and has not failed.
    fn next(&self, index: usize, is_wanted: impl Fn(Pulls) -> bool) -> usize {
        let is_worth_asking = |mirror: &Mirror| is_wanted(mirror.pulls) && !mirror.has_failed.load(Relaxed);
        (index..self.mirrors.len()).find(|index| is_worth_asking(&self.mirrors[*index])).unwrap_or(self.mirrors.len())
    }

    /// After the place with this index has failed, tells why. Gives the error back if it was the registry.
    fn failed(&self, index: usize, error: Error) -> Result<()> {
        let Some(mirror) = self.mirrors.get(index) else { return Err(error) };
        let name = mirror.repository.to_string();
        if error.is_not_found() {
            // A mirror need not have everything.
            debug!(mirror = name, "not found there");
        } else {
            mirror.has_failed.store(true, Relaxed);
            self.notices.give(&Notice::MirrorFailed { mirror: name, why: error.to_string() });
        }
        Ok(())
    }

    /// The bytes `range` of a blob, and the place that has them: the one with this index, or one of those after it.
    async fn blob(&self, mut index: usize, blob: &Descriptor, range: Range<u64>) -> Result<(usize, Body)> {
        loop {
            match self.place(index).blob(blob, range.clone()).await {
                Ok(body) => return Ok((index, body)),
                Err(error) => self.failed(index, error)?,
            }
            index = self.next_for_blob(index + 1);
        }
    }

    /// A blob is named by its digest.
    fn next_for_blob(&self, index: usize) -> usize {
        self.next(index, |pulls| pulls != Pulls::ByTag)
    }
}

#[async_trait]
impl Source for MirroredRepository {
    async fn manifest(&self, at: &Selector) -> Result<Manifest> {
        let places = &self.0;
        let is_wanted = |pulls: Pulls| match pulls {
            Pulls::All => true,
            Pulls::ByDigest => at.digest().is_some(),
            Pulls::ByTag => at.digest().is_none(),
        };
        let mut index = places.next(0, is_wanted);
        loop {
            match places.place(index).manifest(at).await {
                Ok(manifest) => {
                    places.found.store(index, Relaxed);
                    return Ok(manifest);
                }
                Err(error) => places.failed(index, error)?,
            }
            index = places.next(index + 1, is_wanted);
        }
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body> {
        let found = self.0.next(self.0.found.load(Relaxed), |_| true);
        let (index, body) = self.0.blob(found, blob, range.clone()).await?;
        if index >= self.0.mirrors.len() {
            return Ok(body);
        }
        let (len, pieces) = (range.end - range.start, body.into_stream());
        let reading = (self.0.clone(), blob.clone(), range, index, pieces);
        let pieces = stream::try_unfold(reading, async |(places, blob, mut range, mut index, mut pieces)| {
            loop {
                match pieces.next().await {
                    None => return Ok(None),
                    Some(Ok(piece)) => {
                        range.start += piece.len() as u64;
                        return Ok(Some((piece, (places, blob, range, index, pieces))));
                    }
                    // The next place continues where this one broke off.
                    Some(Err(error)) => {
                        places.failed(index, error)?;
                        let (next, body) = places.blob(places.next_for_blob(index + 1), &blob, range.clone()).await?;
                        (index, pieces) = (next, body.into_stream());
                    }
                }
            }
        });
        Ok(Body::from_stream(pieces, Some(len)))
    }
    fn gives_ranges(&self) -> bool {
        self.in_use().gives_ranges()
    }

    async fn referrers(&self, subjects: &[Digest]) -> Result<Option<Vec<Descriptor>>> {
        // A mirror may have the artifact without its signatures, so the registry is asked, and the mirror only if that fails.
        match Source::referrers(&self.0.registry, subjects).await {
            Err(_) if self.is_mirror_in_use() => Source::referrers(self.in_use(), subjects).await,
            answer => answer,
        }
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        match Source::tags(&self.0.registry).await {
            Err(_) if self.is_mirror_in_use() => Source::tags(self.in_use()).await,
            answer => answer,
        }
    }
}

impl fmt::Display for MirroredRepository {
    /// The repository of the registry, as a reference names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.registry.fmt(f)
    }
}
