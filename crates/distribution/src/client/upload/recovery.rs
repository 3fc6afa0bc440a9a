//! What to do after a request of an upload has failed.

use http::StatusCode;
use modelpack_http::{Failure, Retry};
use modelpack_transfer::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The smallest part of a blob that is sent in one request, in bytes. Registries that limit the length of a request accept it (GHCR accepts
/// no longer chunks).
pub(super) const MIN_PART: u64 = 4 << 20;
/// The longest part that is sent after a registry has refused a whole blob because of its length. Usual limits are 100 MB and more.
const MAX_PART: u64 = 64 << 20;

/// What was learned about how a registry takes blobs. It counts for all further uploads.
#[derive(Debug, Default)]
pub(crate) struct UploadHabits {
    refuses_chunks: AtomicBool,
    takes_chunks: AtomicBool,
    /// The maximum length of a request in bytes; 0 if none is known.
    max_part: AtomicU64,
}

impl UploadHabits {
    pub(super) fn refuses_chunks(&self) -> bool {
        self.refuses_chunks.load(Relaxed)
    }

    /// The registry has taken a chunk.
    pub(super) fn note_chunk(&self) {
        self.takes_chunks.store(true, Relaxed);
    }

    /// The maximum length of a request in bytes, if one is known.
    pub(super) fn max_part(&self) -> Option<u64> {
        Some(self.max_part.load(Relaxed)).filter(|length| *length > 0)
    }
}

/// A request that failed.
pub(super) struct Failed {
    pub(super) failure: Failure,
    pub(super) request: Sending,
}

/// What a request was to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// All bytes of a blob, with its digest. The number of bytes.
    Blob(u64),
    /// The next bytes, with their position. The number of bytes.
    Chunk(u64),
    /// All bytes that follow, without their position.
    Stream,
    /// The digest, after all bytes.
    Digest,
}

/// The state of the upload when the request failed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// Whether the registry has taken a chunk of this session.
    pub(super) has_taken: bool,
    /// Whether the session was continued after a failure, or by another process.
    pub(super) is_resumed: bool,
    /// Whether all bytes were already sent a second time, because the registry did not accept a session that was continued.
    pub(super) has_restarted: bool,
    /// The minimum length of a chunk; 0 if there is none.
    pub(super) min_chunk: u64,
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Wait, ask the registry how many bytes it has, and send the rest.
    Ask,
    /// Wait, and begin a new session, because this one does not exist any more.
    Reopen,
    /// Begin a new session with all bytes, once.
    Restart,
    /// Begin a new session, and send the blob in one request from now on.
    WithoutChunks,
    /// Send no more bytes than this in one request.
    Shorten(u64),
    /// Nothing.
    GiveUp,
}

impl Failed {
    /// What to do next. Notes what the failure says about the registry.
    pub(super) fn remedy(&self, at: Standing, habits: &UploadHabits) -> Remedy {
        if self.failure.retry != Retry::Never {
            return Remedy::Ask;
        }
        let status = match &self.failure.error {
            Error::NotFound { .. } => 404,
            Error::Protocol { status, .. } => *status,
            // A file that cannot be read, or a missing permission.
            _ => return Remedy::GiveUp,
        };
        let status = StatusCode::from_u16(status).unwrap_or_default();
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            return self.shorten(at, habits);
        }
        if let Sending::Chunk(length) = self.request
            && !at.has_taken
            && !habits.takes_chunks.load(Relaxed)
        {
            // A registry may mean the length of the chunk and not its position (GHCR).
            if status == StatusCode::RANGE_NOT_SATISFIABLE && !at.is_resumed && length > MIN_PART.max(at.min_chunk) {
                habits.max_part.store(MIN_PART, Relaxed);
                return Remedy::Shorten(MIN_PART);
            }
            habits.refuses_chunks.store(true, Relaxed);
            return Remedy::WithoutChunks;
        }
        match status {
            StatusCode::NOT_FOUND if at.has_taken || at.is_resumed => Remedy::Reopen,
            StatusCode::RANGE_NOT_SATISFIABLE if at.has_taken && !at.is_resumed => Remedy::Ask,
            _ if at.is_resumed && !at.has_restarted => Remedy::Restart,
            _ => Remedy::GiveUp,
        }
    }

    /// After a request that was too long for the registry.
    fn shorten(&self, at: Standing, habits: &UploadHabits) -> Remedy {
        let shorter = match self.request {
            Sending::Blob(length) => (length / 2).min(MAX_PART),
            Sending::Chunk(length) => length / 2,
            Sending::Stream => MAX_PART,
            Sending::Digest => return Remedy::GiveUp,
        };
        let is_shortest = matches!(self.request, Sending::Blob(length) | Sending::Chunk(length) if length <= MIN_PART.max(at.min_chunk));
        if is_shortest || habits.refuses_chunks() {
            return Remedy::GiveUp;
        }
        let shorter = shorter.max(MIN_PART).max(at.min_chunk);
        habits.max_part.store(shorter, Relaxed);
        Remedy::Shorten(shorter)
    }
}

/// The longest part to send after a connection broke that had carried `carried` bytes, of which the registry has kept `kept`; `None` if it
/// keeps enough of them. Such a registry gets shorter parts, each on a connection of its own.
pub(super) fn part_after_loss(carried: u64, kept: u64) -> Option<u64> {
    (carried > 0 && kept < carried / 2).then(|| (carried / 2).max(MIN_PART))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(status: u16, request: Sending) -> Failed {
        let url = "https://registry.example.com/s".to_owned();
        let retry = if matches!(status, 429 | 500..=504) && status != 501 { Retry::Soon } else { Retry::Never };
        let error = match status {
            404 => Error::not_found("the blob"),
            403 => Error::Denied { what: "writing".to_owned(), why: String::new() },
            status => Error::Protocol { url, status, why: String::new(), source: None },
        };
        Failed { failure: Failure { error, retry, waited: std::time::Duration::ZERO }, request }
    }

    const CHUNK: Sending = Sending::Chunk(100 << 20);
    const BLOB: Sending = Sending::Blob(1 << 30);

    fn remedy(status: u16, request: Sending, at: Standing) -> Remedy {
        failed(status, request).remedy(at, &UploadHabits::default())
    }

    #[test]
    fn what_may_pass_is_asked_about_and_what_is_not_allowed_is_given_up() {
        for request in [BLOB, CHUNK, Sending::Stream, Sending::Digest] {
            for status in [429, 500, 503] {
                assert_eq!(remedy(status, request, Standing::default()), Remedy::Ask);
            }
            for is_resumed in [false, true] {
                assert_eq!(remedy(403, request, Standing { is_resumed, ..Standing::default() }), Remedy::GiveUp);
            }
        }
    }

    #[test]
    fn a_registry_that_refuses_the_first_chunk_gets_no_second_one() {
        for status in [400, 404, 405, 415, 501] {
            let habits = UploadHabits::default();
            assert_eq!(failed(status, CHUNK).remedy(Standing::default(), &habits), Remedy::WithoutChunks, "{status}");
            assert!(habits.refuses_chunks());
            assert_eq!(failed(413, BLOB).remedy(Standing::default(), &habits), Remedy::GiveUp, "neither can be shortened");
        }
        // It takes chunks, so it means this one.
        let habits = UploadHabits::default();
        habits.note_chunk();
        assert_eq!(failed(400, CHUNK).remedy(Standing::default(), &habits), Remedy::GiveUp);
        assert!(!habits.refuses_chunks());
    }

    #[test]
    fn a_request_that_is_too_long_is_shortened_down_to_4_mib() {
        let habits = UploadHabits::default();
        assert_eq!(failed(413, BLOB).remedy(Standing::default(), &habits), Remedy::Shorten(MAX_PART));
        let mut length = MAX_PART;
        while let Remedy::Shorten(shorter) = failed(413, Sending::Chunk(length)).remedy(Standing::default(), &habits) {
            assert!(shorter < length);
            length = shorter;
        }
        assert_eq!((length, habits.max_part()), (MIN_PART, Some(MIN_PART)));
        assert_eq!(remedy(416, CHUNK, Standing::default()), Remedy::Shorten(MIN_PART));
        assert_eq!(remedy(416, Sending::Chunk(MIN_PART), Standing::default()), Remedy::WithoutChunks);
        let at = Standing { min_chunk: 10 << 20, ..Standing::default() };
        assert_eq!(remedy(413, Sending::Chunk(16 << 20), at), Remedy::Shorten(10 << 20), "not below what the registry asks for");
        assert_eq!(remedy(413, Sending::Chunk(10 << 20), at), Remedy::GiveUp);
    }

    #[test]
    fn a_session_that_is_gone_is_opened_again_and_one_that_was_continued_is_restarted_once() {
        let (taken, resumed) = (Standing { has_taken: true, ..Standing::default() }, Standing { is_resumed: true, ..Standing::default() });
        for request in [CHUNK, Sending::Digest] {
            assert_eq!(remedy(404, request, taken), Remedy::Reopen);
            assert_eq!(remedy(416, request, taken), Remedy::Ask);
        }
        assert_eq!(remedy(404, Sending::Digest, resumed), Remedy::Reopen);
        for status in [400, 416] {
            assert_eq!(remedy(status, Sending::Digest, resumed), Remedy::Restart);
            assert_eq!(remedy(status, Sending::Digest, Standing { has_restarted: true, ..resumed }), Remedy::GiveUp);
            assert_eq!(remedy(status, BLOB, Standing::default()), Remedy::GiveUp, "the blob is wrong");
        }
        assert_eq!(remedy(404, BLOB, Standing::default()), Remedy::GiveUp);
        assert_eq!(remedy(400, Sending::Digest, taken), Remedy::GiveUp, "the digest is wrong");
    }

    #[test]
    fn parts_are_shortened_only_for_a_registry_that_loses_bytes() {
        const MIB: u64 = 1 << 20;
        assert_eq!(part_after_loss(100 * MIB, 99 * MIB), None);
        assert_eq!(part_after_loss(100 * MIB, 0), Some(50 * MIB));
        assert_eq!(part_after_loss(5 * MIB, 0), Some(MIN_PART));
        assert_eq!(part_after_loss(0, 0), None, "there was no connection");
    }
}
