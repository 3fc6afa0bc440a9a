//! Faults that are drawn at random for each request.

use super::{Failure, http::Head};
use crate::Random;
use std::time::Duration;

/// Draws a fault for each request, or none. A seed and the order of the requests determine all of them.
///
/// The faults fit the request: responses of blobs lose bytes, uploads break off, sessions move, tokens expire. An answer or a body that
/// never comes is drawn only if [`stalls`](Self::stalls) says so, because a client waits long for it.
#[derive(Clone, Debug)]
pub struct RandomFaults {
    seed: u64,
    /// How many requests have been asked about.
    requests: u64,
    one_in: u64,
    left: usize,
    size: u64,
    stalls: bool,
}

impl RandomFaults {
    /// Befalls one in so many requests.
    pub fn new(seed: u64, one_in: u64) -> Self {
        Self { seed, requests: 0, one_in, left: usize::MAX, size: 1 << 20, stalls: false }
    }

    /// Befalls at most so many requests.
    pub fn at_most(self, left: usize) -> Self {
        Self { left, ..self }
    }

    /// Breaks bodies within so many bytes, and more often near their beginning: by default within 1 MiB.
    pub fn within(self, size: u64) -> Self {
        Self { size, ..self }
    }

    /// Whether there are answers and bodies that never come. The answer to a request with a body always comes, because a client waits for it
    /// much longer than for the next byte.
    pub fn stalls(self, stalls: bool) -> Self {
        Self { stalls, ..self }
    }

    /// The fault of the next request.
    pub(super) fn next(&mut self, request: &Head) -> Option<Failure> {
        let mut random = Random::new(self.seed, self.requests);
        self.requests += 1;
        if self.left == 0 || !random.once_in(self.one_in) {
            return None;
        }
        let (path, ranged) = (request.path(), request.get("range").is_some());
        let mut draws = EVERYWHERE.to_vec();
        match (request.method(), path.contains("/blobs/"), path.contains("/blobs/uploads/")) {
            ("GET", true, false) => draws.extend([&READS[..], &BLOBS].concat()),
            ("GET", ..) => draws.extend(READS),
            ("PUT" | "PATCH", _, true) => draws.extend([&WRITES[..], &SESSIONS, &[Draw::FlipRequestByte]].concat()),
            ("PUT", ..) => draws.extend(WRITES),
            ("POST", ..) => draws.extend(SESSIONS),
            _ => {}
        }
        if self.stalls {
            draws.extend(match request.method() {
                "GET" => &STALLS[..],
                "HEAD" | "POST" => &[Draw::NoAnswer],
                _ => &[],
            });
        }
        let draw = random.one_of(&draws);
        let failure = self.failure(draw, ranged, &mut random)?;
        self.left -= 1;
        Some(failure)
    }

    fn failure(&self, draw: Draw, ranged: bool, random: &mut Random) -> Option<Failure> {
        let bits = random.below(u64::from(self.size.max(2).ilog2()) + 1);
        let at = random.below(1 << bits);
        let count = 1 + random.below(4096);
        Some(match draw {
            Draw::Busy => status(random.one_of(&[429, 500, 502, 503, 504]), random.one_of(&[None, None, Some("0"), Some("1")])),
            Draw::Refused => status(random.one_of(&[400, 403, 404]), None),
            Draw::Expired => Failure::ExpireTokens,
            Draw::Cut => Failure::CutAfter(at),
            Draw::Reset => Failure::ResetAfter(at),
            Draw::Flip => Failure::FlipByte(at),
            Draw::Short => Failure::ShortBody(at),
            Draw::WrongLength => Failure::ContentLength(at),
            Draw::Pause => Failure::PauseAfter(at, Duration::from_millis(1 + random.below(300))),
            Draw::Stall => Failure::StallAfter(at),
            Draw::NoAnswer => Failure::Stall,
            Draw::Redirect => Failure::Redirect,
            Draw::IgnoreRange if ranged => Failure::IgnoreRange,
            Draw::WrongRange if ranged => Failure::ContentRange(format!("bytes {at}-{}/{}", at + count, at + 2 * count)),
            Draw::Repeat => Failure::Repeat { at, count },
            Draw::Omit => Failure::Omit { at, count },
            Draw::CutRequest => Failure::CutRequestAfter(at),
            Draw::LoseAnswer => Failure::LoseAnswer,
            Draw::FlipRequestByte => Failure::FlipRequestByte(at),
            Draw::MoveSession => Failure::MoveSession,
            // It does not fit this request.
            Draw::IgnoreRange | Draw::WrongRange => return None,
        })
    }
}

#[derive(Clone, Copy)]
enum Draw {
    Busy,
    Refused,
    Expired,
    Cut,
    Reset,
    Flip,
    Short,
    WrongLength,
    Pause,
    Stall,
    NoAnswer,
    Redirect,
    IgnoreRange,
    WrongRange,
    Repeat,
    Omit,
    CutRequest,
    LoseAnswer,
    FlipRequestByte,
    MoveSession,
}

const EVERYWHERE: [Draw; 7] = [Draw::Busy, Draw::Busy, Draw::Busy, Draw::Busy, Draw::Expired, Draw::Expired, Draw::Refused];
const READS: [Draw; 5] = [Draw::Cut, Draw::Reset, Draw::Flip, Draw::WrongLength, Draw::Pause];
const BLOBS: [Draw; 8] =
    [Draw::Cut, Draw::Reset, Draw::Short, Draw::Redirect, Draw::IgnoreRange, Draw::WrongRange, Draw::Repeat, Draw::Omit];
const WRITES: [Draw; 3] = [Draw::CutRequest, Draw::CutRequest, Draw::LoseAnswer];
const SESSIONS: [Draw; 2] = [Draw::MoveSession, Draw::LoseAnswer];
const STALLS: [Draw; 4] = [Draw::Stall, Draw::Stall, Draw::Stall, Draw::NoAnswer];

fn status(code: u16, retry_after: Option<&str>) -> Failure {
    let headers = retry_after.map(|pause| ("Retry-After", pause.to_owned())).into_iter().collect();
    Failure::Status { code, headers, body: r#"{"errors":[{"code":"UNKNOWN","message":"an injected fault"}]}"#.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_the_order_of_requests_determine_the_faults() {
        let blob = Head::new("GET /v2/m/blobs/sha256:12 HTTP/1.1".to_owned());
        let drawn = |seed| {
            let mut faults = RandomFaults::new(seed, 2).within(100).at_most(100);
            let drawn: Vec<_> = (0..1000).map(|_| format!("{:?}", faults.next(&blob))).collect();
            assert_eq!(drawn.iter().filter(|failure| *failure != "None").count(), 100);
            drawn
        };
        assert_eq!(drawn(1), drawn(1));
        assert!(drawn(1) != drawn(2));
        assert!(!drawn(1).iter().any(|failure| failure.contains("IgnoreRange")));
    }

    #[test]
    fn only_requests_without_a_body_stall_and_only_if_they_may() {
        let stalls = |method: &str, stalls| {
            let mut faults = RandomFaults::new(1, 1).stalls(stalls);
            let request = Head::new(format!("{method} /v2/m/blobs/sha256:12 HTTP/1.1"));
            let drawn: Vec<_> = (0..1000).filter_map(|_| faults.next(&request)).collect();
            let of_answer = drawn.iter().any(|failure| matches!(failure, Failure::Stall));
            (of_answer, drawn.iter().any(|failure| matches!(failure, Failure::StallAfter(_))))
        };
        assert_eq!(["GET", "HEAD", "POST", "PUT", "PATCH"].map(|method| stalls(method, false)), [(false, false); 5]);
        let stalled = ["GET", "HEAD", "POST", "PUT", "PATCH"].map(|method| stalls(method, true));
        assert_eq!(stalled, [(true, true), (true, false), (true, false), (false, false), (false, false)]);
    }
}
