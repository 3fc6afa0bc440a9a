//! When a failed request is repeated, and after which pause.

use crate::{failure::Failure, options::RetryOptions};
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use modelpack_transfer::Connections;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::info;

/// Whether a failure may be temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is permanent, or lasts too long.
    Never,
    /// It may be temporary, and the client chooses the pause.
    Soon,
    /// It may be temporary, and the server asks for this pause.
    After(Duration),
}

impl Retry {
    /// What the status and the headers of a response say.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap, options: &RetryOptions) -> Self {
        if !matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504) {
            return Self::Never;
        }
        match retry_after(headers) {
            None => Self::Soon,
            // Another attempt would come too early.
            Some(pause) if pause > options.all_pauses() => Self::Never,
            Some(pause) => Self::After(pause.min(options.longest_pause)),
        }
    }
}

/// The pause that a response asks for: a number of seconds, or a date (RFC 9110, section 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |name| httpdate::parse_http_date(text(name)?).ok();
    if let Ok(seconds) = text(RETRY_AFTER)?.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // The date is by the server's clock, which the header `Date` shows.
    let now = date(DATE).unwrap_or_else(SystemTime::now);
    Some(date(RETRY_AFTER)?.duration_since(now).unwrap_or_default())
}

/// Counts attempts, and makes the pause before each one longer than the one before.
#[derive(Debug)]
pub struct Backoff {
    options: RetryOptions,
    failures: u32,
    /// There will be fewer of them after a failure.
    connections: Option<Arc<Connections>>,
}

impl Backoff {
    /// Nothing has failed yet.
    pub fn new(options: RetryOptions, connections: Option<Arc<Connections>>) -> Self {
        Self { options, failures: 0, connections }
    }

    /// After a failed attempt, waits until it is time for the next one. Gives the failure back if there should be none.
    pub async fn wait(&mut self, failure: Failure) -> Result<(), Failure> {
        let Some(pause) = self.pause(failure.retry) else { return Err(failure) };
        if let Some(connections) = &self.connections {
            connections.refused();
        }
        info!(why = %failure.error, attempt = self.failures + 1, milliseconds = pause.as_millis() as u64, "trying again after a pause");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// How long to wait before the next attempt; `None` if there should be no further attempt.
    fn pause(&mut self, retry: Retry) -> Option<Duration> {
        self.failures += 1;
        let RetryOptions { attempts, first_pause, longest_pause } = self.options;
        if self.failures >= attempts {
            return None;
        }
        match retry {
            Retry::Never => None,
            Retry::Soon => {
                let doubled = first_pause.saturating_mul(2u32.saturating_pow(self.failures - 1));
                Some(doubled.min(longest_pause).mul_f64(jitter()))
            }
            Retry::After(pause) => Some(pause),
        }
    }

    /// There was progress, so the count starts again.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }
}

/// A factor between 0.5 and 1, so that many clients that failed at the same time do not try again at the same time.
fn jitter() -> f64 {
    getrandom::u32().map_or(1.0, |random| 0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST_PAUSE: Duration = Duration::from_secs(60);

    fn of(status: StatusCode, headers: &HeaderMap) -> Retry {
        Retry::of(status, headers, &RetryOptions::default())
    }

    fn after(seconds: &'static str) -> Retry {
        of(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::from_iter([(RETRY_AFTER, seconds.parse().unwrap())]))
    }

    #[test]
    fn only_failures_that_may_pass_are_retried() {
        for passing in [408, 429, 500, 502, 503, 504] {
            assert_eq!(of(StatusCode::from_u16(passing).unwrap(), &HeaderMap::new()), Retry::Soon, "{passing}");
        }
        for lasting in [400, 401, 403, 404, 405, 409, 413, 416, 501] {
            assert_eq!(of(StatusCode::from_u16(lasting).unwrap(), &HeaderMap::new()), Retry::Never, "{lasting}");
        }
    }

    #[test]
    fn a_server_chooses_the_pause_within_reason() {
        assert_eq!(after("2"), Retry::After(Duration::from_secs(2)));
        assert_eq!(after("240"), Retry::After(LONGEST_PAUSE));
        assert_eq!(after("241"), Retry::Never);
        assert_eq!(after("18446744073709551615"), Retry::Never);
        assert_eq!(after("tomorrow"), Retry::Soon);
    }

    #[test]
    fn a_date_counts_from_the_clock_of_the_server() {
        let dated = |date: &'static str, until: &'static str| {
            let headers = [(DATE, date.parse().unwrap()), (RETRY_AFTER, until.parse().unwrap())];
            of(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::from_iter(headers))
        };
        let seven = "Wed, 21 Oct 2026 07:00:00 GMT";
        assert_eq!(dated(seven, "Wed, 21 Oct 2026 07:00:03 GMT"), Retry::After(Duration::from_secs(3)));
        assert_eq!(dated(seven, "Wednesday, 21-Oct-26 07:00:03 GMT"), Retry::After(Duration::from_secs(3)));
        assert_eq!(dated(seven, "Wed, 21 Oct 2026 06:59:59 GMT"), Retry::After(Duration::ZERO));
        assert_eq!(dated(seven, "Wed, 21 Oct 2026 07:02:00 GMT"), Retry::After(LONGEST_PAUSE));
        assert_eq!(dated(seven, "Wed, 21 Oct 2026 08:00:00 GMT"), Retry::Never);
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Retry::After(Duration::ZERO), "long ago by any clock");
        assert_eq!(after("Fri, 31 Dec 9999 23:59:59 GMT"), Retry::Never);
    }

    #[test]
    fn attempts_end_and_pauses_grow() {
        let mut backoff = Backoff::new(RetryOptions::default(), None);
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.pause(Retry::Soon)).collect();
        assert_eq!(pauses.len(), 4);
        assert!(pauses.is_sorted(), "{pauses:?}");
        backoff.progressed();
        assert!(backoff.pause(Retry::Soon).is_some());
        assert_eq!(backoff.pause(Retry::Never), None);
    }

    #[test]
    fn options_bound_attempts_and_pauses() {
        let second = Duration::from_secs(1);
        let options = RetryOptions::default().attempts(40).first_pause(second).longest_pause(3 * second);
        let mut backoff = Backoff::new(options, None);
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.pause(Retry::Soon)).collect();
        assert_eq!(pauses.len(), 39);
        assert!(pauses[0] <= second && pauses.iter().all(|pause| *pause <= 3 * second), "{pauses:?}");
        assert!(pauses.last().is_some_and(|pause| *pause >= 3 * second / 2), "{pauses:?}");
        assert_eq!(Backoff::new(RetryOptions::default().attempts(1), None).pause(Retry::Soon), None);

        let asked = |seconds: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, seconds.parse().unwrap())]);
            Retry::of(StatusCode::SERVICE_UNAVAILABLE, &headers, &RetryOptions::default().attempts(3).longest_pause(3 * second))
        };
        assert_eq!((asked("4"), asked("6"), asked("7")), (Retry::After(3 * second), Retry::After(3 * second), Retry::Never));
    }
}
