//! How much is done at once, so that descriptors and threads are always left for what is under way.

use modelpack_transfer::CHUNK;
use std::sync::Arc;

/// How many connections have large buffers. A connection that does not keep up holds one in memory, so with more connections each has
/// a smaller one, which costs a little time.
///
/// Measured: eight pushes at once took 14 MiB with a [`CHUNK`], 23 with twice and 48 with four times as much, and the same time.
const LARGE_BUFFERS: usize = 64;

/// How much the descriptors of the process allow.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// How many connections are served. Each may need three descriptors: its socket, the blob that it reads or writes, and for a
    /// moment a file beside it.
    pub(crate) connections: usize,
    /// How many requests may wait for a lock of the store, each on a thread and with up to four descriptors.
    pub(crate) storing: usize,
}

impl Limits {
    pub(crate) fn new(descriptors: usize) -> Self {
        let for_the_process_itself = 24;
        let storing = (descriptors / 32).clamp(1, 64);
        let connections = descriptors.saturating_sub(for_the_process_itself + 4 * storing) / 3;
        Self { connections: connections.clamp(1, 10_000), storing }
    }
}

/// Counts the connections that are open: each has a clone.
#[derive(Clone, Default)]
pub(crate) struct OpenConnections(Arc<()>);

impl OpenConnections {
    /// The most that is buffered of a connection in each direction, in bytes.
    pub(crate) fn buffer(&self) -> usize {
        if Arc::strong_count(&self.0) <= LARGE_BUFFERS { CHUNK } else { CHUNK / 4 }
    }
}
