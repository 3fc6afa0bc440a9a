//! Limits on concurrent work, so that work in progress always has enough descriptors and threads.

use modelpack_transfer::CHUNK;
use std::sync::Arc;

/// The maximum number of connections with large buffers. A slow connection keeps one buffer in
/// memory. With more connections each has a smaller buffer, which is slightly slower.
///
/// Measured: eight concurrent pushes used 14 MiB with a buffer of one [`CHUNK`], 23 MiB with two
/// and 48 MiB with four, in the same time.
const LARGE_BUFFERS: usize = 64;

/// The limits that follow from the number of descriptors of the process.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The maximum number of connections that are served. Each may need five descriptors: its
    /// socket, the blob that it reads or writes, and for an upload its directory, its journal, and
    /// briefly another file.
    pub(crate) connections: usize,
    /// The maximum number of requests that wait for a lock of the store, each on a thread and with
    /// up to four descriptors.
    pub(crate) storing: usize,
}

impl Limits {
    pub(crate) fn new(descriptors: usize) -> Self {
        let for_the_process_itself = 24;
        let storing = (descriptors / 32).clamp(1, 64);
        let connections = descriptors.saturating_sub(for_the_process_itself + 4 * storing) / 5;
        Self { connections: connections.clamp(1, 10_000), storing }
    }
}

/// Counts the open connections: each has a clone.
#[derive(Clone, Default)]
pub(crate) struct OpenConnections(Arc<()>);

impl OpenConnections {
    /// The buffer limit of a connection in each direction, in bytes.
    pub(crate) fn buffer(&self) -> usize {
        if Arc::strong_count(&self.0) <= LARGE_BUFFERS { CHUNK } else { CHUNK / 4 }
    }
}
