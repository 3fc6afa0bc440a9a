//! How many connections a transfer uses at the same time: as many as make it faster, and fewer if the server refuses some.

mod control;

pub use control::Control;

use std::{
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::Notify, time::timeout};

/// How many connections are used at most, if nothing else is said.
pub const DEFAULT_CONNECTIONS: usize = 16;

/// For how long throughput is measured at the least. In less time, too few pieces arrive.
const INTERVAL: Duration = Duration::from_millis(250);

/// For how long it is measured at the least whether this machine is busy.
const GLANCE: Duration = Duration::from_millis(20);

/// The connections of one or several transfers. Each is used by whoever has a [`Permit`] for it, and [`Control`] decides how many permits there
/// are. There is no thread: intervals end when bytes move or a permit is asked for.
#[derive(Debug)]
pub struct Connections {
    state: Mutex<State>,
    /// Told when a permit is free, and nobody waits for a first one.
    free: Notify,
    /// Told when a permit is free, and somebody waits for a first one.
    free_first: Notify,
}

#[derive(Debug)]
struct State {
    control: Control,
    used: usize,
    /// How many tasks wait for their first connection.
    waiting_first: usize,
    /// Whether this machine had much to do with the bytes that arrived.
    is_busy: bool,
    processors: usize,
    /// What was counted since the interval began.
    since: Instant,
    moved: u64,
    processed: Duration,
    most_used: usize,
}

/// The right to use one connection, until it is dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped allows nothing"]
pub struct Permit(Arc<Connections>);

impl Connections {
    /// At most `limit` connections, and at least one.
    pub fn new(limit: usize) -> Arc<Self> {
        Self::on(std::thread::available_parallelism().map_or(1, NonZero::get), limit)
    }

    /// At most `limit` connections, on a machine with this many processors.
    fn on(processors: usize, limit: usize) -> Arc<Self> {
        let control = Control::new(limit);
        let state = State {
            control,
            used: 0,
            waiting_first: 0,
            is_busy: true,
            processors,
            since: Instant::now(),
            moved: 0,
            processed: Duration::ZERO,
            most_used: 0,
        };
        Arc::new(Self { state: Mutex::new(state), free: Notify::new(), free_first: Notify::new() })
    }

    /// At most [`DEFAULT_CONNECTIONS`].
    pub fn default_limit() -> Arc<Self> {
        Self::new(DEFAULT_CONNECTIONS)
    }

    /// Waits until a connection may be used by somebody who uses none.
    pub async fn acquire_first(self: &Arc<Self>) -> Permit {
        let mut waiting = None;
        loop {
            if let Some(permit) = self.try_acquire(true, Instant::now()) {
                return permit;
            }
            waiting.get_or_insert_with(|| WaitingFirst::new(self));
            // If a permit has become free since, this does not wait.
            self.free_first.notified().await;
        }
    }

    /// Waits until one more connection may be used by somebody who uses some. Those who use none come first. At first, there are no
    /// more than processors while this machine is busy with what arrives over the present ones.
    pub async fn acquire_another(self: &Arc<Self>) -> Permit {
        loop {
            if let Some(permit) = self.try_acquire(false, Instant::now()) {
                return permit;
            }
            // If nothing arrives any more, nothing else shows that this machine is not busy.
            let _ = timeout(GLANCE, self.free.notified()).await;
        }
    }

    fn try_acquire(self: &Arc<Self>, is_first: bool, now: Instant) -> Option<Permit> {
        let mut state = self.lock();
        if state.used == 0 {
            state.begin_interval(now);
            // It is not known yet.
            state.is_busy = true;
        }
        state.end_interval(now);
        if state.used >= state.control.wanted() || !is_first && !state.has_another() {
            return None;
        }
        state.used += 1;
        state.most_used = state.most_used.max(state.used);
        self.wake(&state);
        drop(state);
        Some(Permit(self.clone()))
    }

    /// How many connections are wanted at the moment. More may be in use for a while after the number became smaller.
    pub fn wanted(&self) -> usize {
        self.lock().control.wanted()
    }

    /// Counts bytes that were received or sent over any of the connections.
    pub fn moved(&self, bytes: u64) {
        self.moved_at(bytes, Instant::now());
    }

    fn moved_at(&self, bytes: u64, now: Instant) {
        let mut state = self.lock();
        state.moved += bytes;
        state.end_interval(now);
        self.wake(&state);
    }

    /// Counts time in which bytes that had arrived over one connection were processed, and no further ones were received over it. Bytes of
    /// several connections may be processed at the same time.
    pub fn processed(&self, time: Duration) {
        self.lock().processed += time;
    }

    /// Says that the server wants fewer connections or requests: it answered 429 or 503, did not answer in time, or did not accept a
    /// connection.
    pub fn refused(&self) {
        let state = &mut *self.lock();
        state.control.refused(state.used);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes one task that waits, if there is a permit for it. That one wakes the next.
    fn wake(&self, state: &State) {
        if state.used >= state.control.wanted() {
            return;
        }
        if state.waiting_first > 0 {
            self.free_first.notify_one();
        } else if state.has_another() {
            self.free.notify_one();
        }
    }
}

/// A task that waits for its first connection.
struct WaitingFirst(Arc<Connections>);

impl WaitingFirst {
    fn new(connections: &Arc<Connections>) -> Self {
        connections.lock().waiting_first += 1;
        Self(connections.clone())
    }
}

impl Drop for WaitingFirst {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting_first -= 1;
        // It may have been woken, and somebody else gets the permit instead.
        self.0.wake(&state);
    }
}

impl State {
    /// Whether somebody who uses a connection may use another one. Each processor can be busy with one. More have to be worth it, which is
    /// shown as soon as their number has grown.
    fn has_another(&self) -> bool {
        self.waiting_first == 0 && (self.used < self.processors || !self.is_busy || self.control.has_grown())
    }

    fn begin_interval(&mut self, now: Instant) {
        (self.since, self.moved, self.processed, self.most_used) = (now, 0, Duration::ZERO, self.used);
    }

    fn end_interval(&mut self, now: Instant) {
        let took = now.saturating_duration_since(self.since);
        // So many processors had something to do for the connections at the same time.
        let processed = self.processed / self.most_used.clamp(1, self.processors) as u32;
        if took >= GLANCE {
            self.is_busy = Control::is_busy(processed, took);
        }
        if took >= INTERVAL {
            self.control.sample(self.moved, took, self.most_used, processed);
            self.begin_interval(now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.used -= 1;
        self.0.wake(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    /// Permits until one would have to wait.
    fn all_permits(connections: &Arc<Connections>) -> Vec<Permit> {
        std::iter::from_fn(|| connections.acquire_first().now_or_never()).collect()
    }

    #[test]
    fn no_more_connections_are_used_than_wanted() {
        let connections = Connections::new(3);
        let mut permits = all_permits(&connections);
        assert_eq!(permits.len(), 3);
        permits.pop();
        assert_eq!(all_permits(&connections).len(), 1);
        assert_eq!(all_permits(&Connections::new(0)).len(), 1);
    }

    #[test]
    fn after_a_refusal_some_must_be_free_before_one_is_used_again() {
        let connections = Connections::new(16);
        let mut permits = all_permits(&connections);
        assert_eq!(permits.len(), 4);
        connections.refused();
        connections.refused();
        assert_eq!(connections.wanted(), 2);
        permits.truncate(2);
        assert!(connections.acquire_first().now_or_never().is_none());
        permits.pop();
        assert!(connections.acquire_first().now_or_never().is_some());
    }

    #[test]
    fn more_are_used_when_bytes_have_moved_for_a_while() {
        let connections = Connections::on(2, 16);
        let permits = all_permits(&connections);
        let start = Instant::now();
        for interval in 1..=4 {
            // Both processors are busy at first, and one of them is idle at the end.
            connections.processed(INTERVAL * if interval < 4 { 2 } else { 1 });
            assert_eq!(connections.wanted(), 4);
            connections.moved_at(100 << 20, start + interval * INTERVAL + Duration::from_secs(1));
        }
        assert_eq!(connections.wanted(), 8);
        let more = all_permits(&connections);
        assert_eq!(permits.len() + more.len(), 8);
        drop(more);
        connections.lock().is_busy = true;
        assert!(connections.try_acquire(false, start).is_some(), "more are worth it, also for one blob");
    }

    #[tokio::test]
    async fn nobody_gets_a_second_connection_while_somebody_waits_for_the_first_one() {
        let connections = Connections::new(2);
        let permits = all_permits(&connections);
        let first = tokio::spawn({
            let connections = connections.clone();
            async move { connections.acquire_first().await }
        });
        tokio::task::yield_now().await;
        drop(permits);
        connections.lock().is_busy = false;
        assert!(connections.acquire_another().now_or_never().is_none(), "two are free, and one is for the task that waits");
        let _first = first.await.unwrap();
        connections.lock().is_busy = false;
        assert!(connections.acquire_another().now_or_never().is_some(), "nobody waits any more");
    }

    #[tokio::test]
    async fn a_busy_machine_uses_no_more_connections_for_one_blob_than_it_has_processors() {
        let connections = Connections::on(2, 16);
        let _permits = [connections.acquire_first().now_or_never().unwrap(), connections.acquire_another().now_or_never().unwrap()];
        let start = connections.lock().since;
        assert!(connections.acquire_another().now_or_never().is_none(), "it is not known whether it is busy");
        connections.processed(2 * GLANCE);
        connections.moved_at(1 << 20, start + GLANCE);
        assert!(connections.try_acquire(false, start + GLANCE).is_none(), "it was busy all the time");
        connections.moved_at(1 << 20, start + 4 * GLANCE);
        assert!(connections.try_acquire(false, start + 4 * GLANCE).is_some(), "the network is slower");
    }

    #[tokio::test]
    async fn tasks_that_wait_get_each_permit_that_is_free() {
        let connections = Connections::new(16);
        let permits = all_permits(&connections);
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let connections = connections.clone();
                tokio::spawn(async move {
                    let permit = connections.acquire_first().await;
                    tokio::task::yield_now().await;
                    drop(permit);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        // A task that no longer waits must not keep a permit from the others.
        tasks[0].abort();
        drop(permits);
        for task in tasks.into_iter().skip(1) {
            task.await.unwrap();
        }
        assert_eq!(all_permits(&connections).len(), 4);
    }
}
