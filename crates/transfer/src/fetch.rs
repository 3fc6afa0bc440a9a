//! Fetching one blob by several connections at once.

use crate::{
    Body, Connections, Demand, Error, Permit, Progress, RangedUpload, Result, Source,
    blocking::task,
    plan::{Fetch, Order, Plan},
};
use futures_util::{
    StreamExt,
    stream::{FuturesUnordered, poll_fn},
};
use modelpack_spec::{Descriptor, HashStates};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Poll, ready},
    time::Instant,
};
use tokio::sync::Notify;

/// So many connections are used at the same time beside those of the budget, for bytes that readers wait for.
const MOST_HURRIED: usize = 4;

/// Writes the bytes of a blob that `upload` lacks.
///
/// Ranges of a large blob are fetched by several of the `connections` at once, if the source can read ranges and more connections make it
/// faster. Each range is written in a task of its own, so that a runtime with several threads uses several processors. After a failure no
/// further range is begun, those that were begun are finished, and the first error is returned.
///
/// What readers [wait for](RangedUpload::wanted) is fetched first. It does not wait for a connection of the budget. If there can be readers,
/// other bytes are fetched only while all are wanted, and this call waits until they are.
pub async fn fetch(
    source: &dyn Source,
    blob: &Descriptor,
    upload: Arc<dyn RangedUpload>,
    connections: &Arc<Connections>,
    progress: &Arc<Progress>,
) -> Result<()> {
    let missing = upload.missing();
    progress.resumed(blob.size - missing.total());
    if blob.size >= HashStates::LEAST_SIZE
        && let Some(list) = source.hash_states(blob).await
    {
        upload.verify_by(list);
    }
    let here = source.blob(blob, 0..0).await?;
    if here.file().is_some() {
        // It is on this machine, where nothing is gained by several readers of one file.
        for range in missing.iter() {
            let body = source.blob(blob, range.clone()).await?;
            upload.write_at(range.start, body.counted(progress.clone())).await?;
        }
        return Ok(());
    }
    let by_ranges = AtomicBool::new(source.gives_ranges());
    let order = if source.gives_ranges() { Order::Any } else { Order::Sequential };
    // Each range has whole chunks, which are verified while they arrive.
    let mut plan = Plan::new(missing, order).aligned(HashStates::chunk_len(blob.size));
    let readers = upload.clone();
    let demand = readers.wanted();
    let fetching = Fetching { source, blob, upload, connections, progress, by_ranges, answered: Notify::new() };
    let (mut running, mut failed) = (FuturesUnordered::new(), None);
    // Only the first answer shows whether the source gives ranges, so there is one connection until then.
    let (mut is_answered, mut has_next, mut hurried) = (false, true, 0);
    while !running.is_empty() || failed.is_none() && !plan.is_finished() {
        let is_first = running.is_empty();
        let may_begin = failed.is_none() && (is_answered || is_first);
        let wants_all = demand.is_none_or(Demand::wants_all);
        tokio::select! {
            biased;
            Some(Ended { fetch, permit, fetched }) = running.next(), if !running.is_empty() => {
                has_next = true;
                hurried -= usize::from(permit.is_none());
                if let Err(error) = fetched {
                    failed = failed.or(Some(error));
                } else if !source.gives_ranges() && fetching.by_ranges.swap(false, Relaxed) {
                    plan.without_ranges(&fetch);
                }
                plan.done(fetch);
            }
            () = fetching.answered.notified(), if !is_answered && !running.is_empty() => is_answered = true,
            wanted = demanded(demand), if may_begin && hurried < MOST_HURRIED => {
                if let Some(fetch) = wanted.and_then(|wanted| plan.demand(wanted)) {
                    (hurried, has_next) = (hurried + 1, true);
                    running.push(fetching.run(fetch, None));
                }
            }
            permit = acquire(connections, is_first), if may_begin && has_next && wants_all => match plan.next(connections.wanted()) {
                Some(fetch) => running.push(fetching.run(fetch, Some(permit))),
                None => has_next = false,
            },
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn acquire(connections: &Arc<Connections>, is_first: bool) -> Permit {
    if is_first { connections.acquire_first().await } else { connections.acquire_another().await }
}

/// What [`Demand::next`] returns. Waits for ever if there can be no readers.
async fn demanded(demand: Option<&Demand>) -> Option<Range<u64>> {
    match demand {
        Some(demand) => demand.next().await,
        None => std::future::pending().await,
    }
}

/// The result of writing a blob. With an error, it says whether a part of the blob was there before.
pub type Attempt<T> = Result<T, (Error, bool)>;

/// Writes a blob by `attempt`. If its digest is wrong and a part of it was there before, that part may have been damaged. It is gone then, so
/// all of the blob is written, once.
pub async fn retried_if_damaged<T, F: Future<Output = Attempt<T>>>(attempt: impl Fn() -> F) -> Result<T> {
    match attempt().await {
        Err((Error::WrongDigest { .. }, true)) => attempt().await,
        written => written,
    }
    .map_err(|(error, _)| error)
}

struct Fetching<'a> {
    source: &'a dyn Source,
    blob: &'a Descriptor,
    upload: Arc<dyn RangedUpload>,
    connections: &'a Arc<Connections>,
    progress: &'a Arc<Progress>,
    /// Whether ranges are fetched. If the source sends all of the blob whatever is asked for, the bytes are fetched in order.
    by_ranges: AtomicBool,
    /// Told when the source has begun to answer.
    answered: Notify,
}

/// A fetch that has ended.
struct Ended {
    fetch: Fetch,
    /// What it used of the budget. A fetch that somebody waits for uses nothing.
    permit: Option<Permit>,
    fetched: Result<()>,
}

impl Fetching<'_> {
    async fn run(&self, fetch: Fetch, permit: Option<Permit>) -> Ended {
        let fetched = self.write(&fetch).await;
        Ended { fetch, permit, fetched }
    }

    async fn write(&self, fetch: &Fetch) -> Result<()> {
        let range = fetch.rest();
        let body = self.source.blob(self.blob, range.clone()).await?;
        self.answered.notify_one();
        if self.by_ranges.load(Relaxed) && !self.source.gives_ranges() {
            return Ok(());
        }
        let body = self.limited(body, fetch.clone()).counted(self.progress.clone());
        let (upload, start) = (self.upload.clone(), range.start);
        // In a task of its own, so that ranges are written and hashed by as many threads as the runtime has.
        task(async move { upload.write_at(start, body).await }).await?;
        let rest = fetch.rest();
        if rest.start == range.start && !rest.is_empty() {
            // It would be asked without end.
            return Err(Error::WrongSize { what: format!("blob {}", self.blob.digest), expected: self.blob.size, found: range.start });
        }
        Ok(())
    }

    /// The bytes of a body until the end of `fetch`.
    fn limited(&self, body: Body, fetch: Fetch) -> Body {
        let connections = self.connections.clone();
        let (mut body, mut arrived) = (body.into_stream(), None::<Instant>);
        let pieces = poll_fn(move |cx| {
            // The next piece is wanted when the last one is written.
            if let Some(arrived) = arrived.take() {
                connections.processed(arrived.elapsed());
            }
            let Some(piece) = ready!(body.poll_next_unpin(cx)) else { return Poll::Ready(None) };
            arrived = Some(Instant::now());
            let Ok(mut piece) = piece else { return Poll::Ready(Some(piece)) };
            let (came, wanted) = (piece.len(), fetch.advance(piece.len()));
            // The plan may have taken back the rest.
            if wanted == 0 && came > 0 {
                return Poll::Ready(None);
            }
            piece.truncate(wanted);
            connections.moved(wanted as u64);
            Poll::Ready(Some(Ok(piece)))
        });
        Body::from_stream(pieces, None)
    }
}
