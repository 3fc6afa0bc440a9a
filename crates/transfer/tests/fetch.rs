//! Fetching one blob by several connections.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use modelpack_spec::{Descriptor, Manifest, Selector};
use modelpack_transfer::{Body, Connections, Error, PartialDirectory, Progress, RangedUpload, Result, Source, Unverified, fetch};
use std::{
    fs,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tempfile::TempDir;

/// A registry in memory that counts what it is asked for.
struct Registry {
    content: Bytes,
    /// Whether it sends the bytes that were asked for, or finds out that it cannot.
    gives_ranges: AtomicBool,
    has_ranges: bool,
    asked: Mutex<Vec<Range<u64>>>,
    open: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
    /// Fails each answer for a range that begins here or later, after its first piece.
    breaks_from: u64,
    /// Whether nothing comes after the first piece of each answer.
    stalls: bool,
    /// Whether it has no blob.
    is_empty: bool,
}

impl Registry {
    fn new(len: usize) -> (Self, Descriptor) {
        let mut content = vec![7; len];
        // Every megabyte is another one.
        content.chunks_mut(1 << 20).zip(0u64..).for_each(|(chunk, at)| chunk[..8].copy_from_slice(&at.to_le_bytes()));
        let blob = Descriptor::of("x/x", &content);
        let registry = Self {
            content: content.into(),
            gives_ranges: AtomicBool::new(true),
            has_ranges: true,
            asked: Mutex::default(),
            open: Arc::default(),
            most_open: Arc::default(),
            breaks_from: u64::MAX,
            stalls: false,
            is_empty: false,
        };
        (registry, blob)
    }

    fn asked(&self) -> Vec<Range<u64>> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Source for Registry {
    async fn manifest(&self, _: &Selector) -> Result<Manifest> {
        unreachable!("only blobs are fetched")
    }

    fn gives_ranges(&self) -> bool {
        self.gives_ranges.load(Relaxed)
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body> {
        if range.is_empty() {
            return Ok(Body::from_bytes(Bytes::new()));
        }
        tokio::task::yield_now().await;
        self.asked.lock().unwrap().push(range.clone());
        if self.is_empty {
            return Err(Error::not_found("the blob"));
        }
        if !self.has_ranges && range != (0..blob.size) {
            self.gives_ranges.store(false, Relaxed);
        }
        let bytes = self.content.slice(range.start as usize..range.end as usize);
        let pieces: Vec<Bytes> = bytes.chunks(200_000).map(Bytes::copy_from_slice).collect();
        let (breaks, stalls) = (range.start >= self.breaks_from, self.stalls);
        let open = self.open.clone();
        self.most_open.fetch_max(open.fetch_add(1, Relaxed) + 1, Relaxed);
        struct Open(Arc<AtomicUsize>);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        let open = Open(open);
        let pieces = stream::iter(pieces.into_iter().enumerate()).then(move |(at, piece)| {
            let _open = &open;
            async move {
                // A network that is slower than this machine.
                tokio::time::sleep(Duration::from_millis(2)).await;
                if stalls && at == 1 {
                    std::future::pending().await
                }
                if breaks && at == 1 { Err(Error::not_found("the rest")) } else { Ok(piece) }
            }
        });
        Ok(Body::from_stream(pieces, Some(range.end - range.start)))
    }
}

struct Destination(TempDir);

impl Destination {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Fetches what is missing, and returns the blob if it is complete.
    async fn fetch(&self, registry: &Registry, blob: &Descriptor, limit: usize) -> Result<Vec<u8>> {
        let partial = PartialDirectory::open(self.0.path(), "").unwrap().begin(blob, "the blob").unwrap().expect("it has no other owner");
        let partial = Arc::new(partial);
        fetch(registry, blob, Arc::new(partial.clone()), &Connections::new(limit), &Arc::<Progress>::default()).await?;
        assert!(RangedUpload::missing(&partial).is_empty());
        let to = self.0.path().join("blob");
        partial.commit(|_, _| fs::rename(partial.path(), &to).map_err(Error::io("rename", &to)))?;
        Ok(fs::read(to).unwrap())
    }
}

fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[tokio::test]
async fn a_large_blob_is_fetched_by_several_connections_and_a_small_one_by_one() {
    let (registry, blob) = Registry::new(50 << 20);
    assert!(Destination::new().fetch(&registry, &blob, 16).await.unwrap() == registry.content);
    assert!(registry.most_open.load(Relaxed) >= 4, "{:?}", registry.asked());
    assert_eq!(registry.open.load(Relaxed), 0);
    let (registry, blob) = Registry::new(3 << 20);
    assert!(Destination::new().fetch(&registry, &blob, 1).await.unwrap() == registry.content);
    assert!(registry.asked().iter().eq(&[Range { start: 0, end: 3 << 20 }]));
}

#[tokio::test]
async fn no_more_connections_are_used_than_allowed() {
    for limit in [1, 2] {
        let (registry, blob) = Registry::new(50 << 20);
        assert!(Destination::new().fetch(&registry, &blob, limit).await.unwrap() == registry.content);
        assert_eq!(registry.most_open.load(Relaxed), limit);
    }
}

#[tokio::test]
async fn a_registry_without_ranges_is_asked_for_everything_once() {
    let (mut registry, blob) = Registry::new(50 << 20);
    registry.has_ranges = false;
    assert!(Destination::new().fetch(&registry, &blob, 16).await.unwrap() == registry.content);
    let asked = registry.asked();
    assert_eq!(asked.last(), Some(&(0..blob.size)), "{asked:?}");
    assert!(asked.len() <= 2, "one question shows it: {asked:?}");
}

#[tokio::test]
async fn after_a_failure_only_the_rest_is_fetched() {
    let (mut registry, blob) = Registry::new(50 << 20);
    registry.breaks_from = 20 << 20;
    let destination = Destination::new();
    let error = destination.fetch(&registry, &blob, 4).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let before = total(&registry.asked());
    registry.breaks_from = u64::MAX;
    registry.asked.lock().unwrap().clear();
    assert!(destination.fetch(&registry, &blob, 4).await.unwrap() == registry.content);
    let after = total(&registry.asked());
    assert!(after < blob.size - (8 << 20), "{after} bytes of {}, after {before}", blob.size);
}

#[tokio::test]
async fn a_blob_of_which_nothing_is_missing_is_not_asked_for() {
    let (registry, blob) = Registry::new(0);
    assert!(Destination::new().fetch(&registry, &blob, 4).await.unwrap().is_empty());
    let (registry, blob) = Registry::new(3 << 20);
    let destination = Destination::new();
    let place = PartialDirectory::open(destination.0.path(), "").unwrap();
    place.begin(&blob, "the blob").unwrap().unwrap().write_blocking(0, &registry.content).unwrap();
    assert!(destination.fetch(&registry, &blob, 4).await.unwrap() == registry.content);
    assert!(registry.asked().is_empty());
}

#[tokio::test]
async fn a_blob_that_is_not_there_is_an_error() {
    let (mut registry, blob) = Registry::new(50 << 20);
    registry.is_empty = true;
    let error = Destination::new().fetch(&registry, &blob, 4).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert_eq!(registry.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_on_when_a_fetch_is_dropped() {
    let (mut registry, blob) = Registry::new(50 << 20);
    registry.stalls = true;
    let destination = Destination::new();
    let all_stall = async {
        while registry.open.load(Relaxed) < 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = destination.fetch(&registry, &blob, 4) => unreachable!("it stalls"),
        () = all_stall => {}
    }
    while registry.open.load(Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
    // The partial blob has no owner any more.
    registry.stalls = false;
    let place = PartialDirectory::open(destination.0.path(), "").unwrap();
    drop(place.begin_or_wait(&blob, "the blob", &Arc::default()).await.unwrap());
    assert!(destination.fetch(&registry, &blob, 4).await.unwrap() == registry.content);
}

#[tokio::test]
async fn with_readers_only_what_they_wait_for_is_fetched_until_all_is_wanted() {
    let (registry, blob) = Registry::new(50 << 20);
    let destination = Destination::new();
    let partial =
        PartialDirectory::open(destination.0.path(), "").unwrap().begin(&blob, "the blob").unwrap().expect("it has no other owner");
    let partial = Arc::new(partial);
    partial.allow_readers();
    let (connections, progress) = (Connections::new(4), Arc::<Progress>::default());
    let fetching = fetch(&registry, &blob, Arc::new(partial.clone()), &connections, &progress);
    let reading = async {
        for start in [30 << 20, 0, 49 << 20] {
            partial.readable(start..start + 1000, Unverified::Visible).await;
        }
        let asked = registry.asked();
        assert!(asked.len() == 3 && total(&asked) <= 6 << 20, "{asked:?}");
        assert_eq!(asked[0].start, 30 << 20);
        partial.demand().want_all();
    };
    let (fetched, ()) = tokio::join!(fetching, reading);
    fetched.unwrap();
    assert!(RangedUpload::missing(&partial).is_empty());
    assert_eq!(total(&registry.asked()), blob.size, "nothing is fetched twice");
}
