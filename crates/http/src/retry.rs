//! When a failed request is repeated, and after which pause.

use crate::{failure::Failure, options::RetryOptions};
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use modelpack_transfer::{Connections, Notice, Notices};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::info;

/// From which length on a wait is told to the user.
const NOTICEABLE: Duration = Duration::from_secs(2);

/// Whether a failure may be temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is permanent.
    Never,
    /// It may be temporary, and the client chooses the pause.
    Soon,
    /// It may be temporary, and the server asks for this pause.
    After(Duration),
}

impl Retry {
    /// What the status and the headers of a response say.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        match status.as_u16() {
            // What the server does not support or will not store stays so.
            501 | 505 | 507 | 508 | 510 | 511 => Self::Never,
            408 | 425 | 429 | 500..=599 => retry_after(headers).map_or(Self::Soon, Self::After),
            _ => Self::Never,
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

/// Decides whether a request is sent again, and makes the pauses between the attempts.
///
/// Everything is counted since the last progress. There is no further attempt after [`RetryOptions::attempts`] attempts, after nothing has
/// moved for `patience` in all of them together, or if the server asks for longer pauses than [`RetryOptions::server_pauses`].
#[derive(Debug)]
pub struct Backoff {
    options: RetryOptions,
    patience: Duration,
    notices: Notices,
    failures: u32,
    waited: Duration,
    asked_for: Duration,
    /// There will be fewer of them after a failure.
    connections: Option<Arc<Connections>>,
}

impl Backoff {
    /// Nothing has failed yet.
    pub(crate) fn new(options: RetryOptions, patience: Duration, notices: Notices, connections: Option<Arc<Connections>>) -> Self {
        Self { options, patience, notices, failures: 0, waited: Duration::ZERO, asked_for: Duration::ZERO, connections }
    }

    /// After a failed attempt, waits until it is time for the next one. Gives the failure back if there should be none.
    ///
    /// A notice tells the user about each wait of more than two seconds, before the pause or in the attempt that failed.
    pub async fn wait(&mut self, failure: Failure) -> Result<(), Failure> {
        let Some(pause) = self.pause(&failure) else { return Err(failure) };
        if let Some(connections) = &self.connections {
            connections.refused();
        }
        info!(why = %failure.error, attempt = self.failures + 1, milliseconds = pause.as_millis() as u64, "trying again after a pause");
        if let Some(notice) = self.notice(&failure, pause) {
            self.notices.give(&notice);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// How long to wait before the next attempt; `None` if there should be no further attempt.
    fn pause(&mut self, failure: &Failure) -> Option<Duration> {
        let RetryOptions { attempts, first_pause, longest_pause, server_pauses } = self.options;
        self.failures += 1;
        self.waited = self.waited.saturating_add(failure.waited);
        if self.failures >= attempts || self.waited >= self.patience {
            return None;
        }
        match failure.retry {
            Retry::Never => None,
            Retry::Soon => {
                let doubled = first_pause.saturating_mul(2u32.saturating_pow(self.failures - 1));
                Some(doubled.min(longest_pause).mul_f64(1.0 - random() / 2.0))
            }
            Retry::After(pause) => {
                self.asked_for = self.asked_for.saturating_add(pause);
                // Not before the time that the server names, and not at the same time as all other clients.
                (self.asked_for <= server_pauses).then(|| pause.mul_f64(1.0 + random() / 10.0))
            }
        }
    }

    /// What the user is told about a wait, if it is long enough.
    fn notice(&self, failure: &Failure, pause: Duration) -> Option<Notice> {
        let (attempt, attempts) = (self.failures + 1, self.options.attempts);
        let is_long = pause > NOTICEABLE || failure.waited > NOTICEABLE;
        is_long.then(|| Notice::Retrying { why: failure.error.to_string(), pause, attempt, attempts })
    }

    /// There was progress, so the count starts again.
    pub fn progressed(&mut self) {
        (self.failures, self.waited, self.asked_for) = (0, Duration::ZERO, Duration::ZERO);
    }
}

/// A number from 0 to 1, so that many clients that failed at the same time do not try again at the same time.
fn random() -> f64 {
    getrandom::u32().map_or(0.0, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_transfer::Error;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(value: &'static str) -> Retry {
        Retry::of(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]))
    }

    fn failure(retry: Retry, waited: Duration) -> Failure {
        Failure { error: Error::network("https://a.b/c", "why"), retry, waited }
    }

    fn backoff(options: RetryOptions) -> Backoff {
        Backoff::new(options, 120 * SECOND, Notices::default(), None)
    }

    #[test]
    fn only_failures_that_may_pass_are_retried() {
        for passing in [408, 425, 429, 500, 502, 503, 504, 520, 524, 530] {
            assert_eq!(Retry::of(StatusCode::from_u16(passing).unwrap(), &HeaderMap::new()), Retry::Soon, "{passing}");
        }
        for lasting in [400, 401, 403, 404, 405, 409, 413, 416, 501, 505, 507, 511] {
            assert_eq!(Retry::of(StatusCode::from_u16(lasting).unwrap(), &HeaderMap::new()), Retry::Never, "{lasting}");
        }
    }

    #[test]
    fn a_date_counts_from_the_clock_of_the_server() {
        let dated = |date: &'static str, until: &'static str| {
            let headers = [(DATE, date.parse().unwrap()), (RETRY_AFTER, until.parse().unwrap())];
            Retry::of(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::from_iter(headers))
        };
        let seven = "Wed, 21 Oct 2026 07:00:00 GMT";
        assert_eq!(dated(seven, "Wed, 21 Oct 2026 07:00:03 GMT"), Retry::After(3 * SECOND));
        assert_eq!(dated(seven, "Wednesday, 21-Oct-26 07:00:03 GMT"), Retry::After(3 * SECOND));
        assert_eq!(dated(seven, "Wed, 21 Oct 2026 06:59:59 GMT"), Retry::After(Duration::ZERO));
        assert_eq!(dated(seven, "Wed, 21 Oct 2026 07:02:00 GMT"), Retry::After(120 * SECOND));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Retry::After(Duration::ZERO), "long ago by any clock");
        assert_eq!((after("2"), after("tomorrow")), (Retry::After(2 * SECOND), Retry::Soon));
    }

    #[test]
    fn attempts_end_and_pauses_grow() {
        let mut backoff = backoff(RetryOptions::default());
        let soon = failure(Retry::Soon, Duration::ZERO);
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.pause(&soon)).collect();
        assert_eq!(pauses.len(), 4);
        assert!(pauses.is_sorted(), "{pauses:?}");
        backoff.progressed();
        assert!(backoff.pause(&soon).is_some());
        assert_eq!(backoff.pause(&failure(Retry::Never, Duration::ZERO)), None);
    }

    #[test]
    fn options_bound_attempts_and_pauses() {
        let options = RetryOptions::default().attempts(40).first_pause(SECOND).longest_pause(3 * SECOND);
        let mut many = backoff(options);
        let soon = failure(Retry::Soon, Duration::ZERO);
        let pauses: Vec<_> = std::iter::from_fn(|| many.pause(&soon)).collect();
        assert_eq!(pauses.len(), 39);
        assert!(pauses[0] <= SECOND && pauses.iter().all(|pause| *pause <= 3 * SECOND), "{pauses:?}");
        assert!(pauses.last().is_some_and(|pause| *pause >= 3 * SECOND / 2), "{pauses:?}");
        assert_eq!(backoff(RetryOptions::default().attempts(1)).pause(&soon), None);
    }

    #[test]
    fn a_server_chooses_the_pauses_within_a_bound_on_all_of_them() {
        let all = |options: RetryOptions, seconds: u64| {
            let mut backoff = backoff(options.attempts(10));
            let busy = failure(Retry::After(Duration::from_secs(seconds)), Duration::ZERO);
            std::iter::from_fn(move || backoff.pause(&busy)).collect::<Vec<_>>()
        };
        let pauses = all(RetryOptions::default(), 100);
        assert_eq!(pauses.len(), 2);
        assert!(pauses.iter().all(|pause| (100 * SECOND..=110 * SECOND).contains(pause)), "never too early: {pauses:?}");
        assert_eq!((all(RetryOptions::default(), 240).len(), all(RetryOptions::default(), 241).len()), (1, 0));
        assert_eq!(all(RetryOptions::default(), u64::MAX), []);
        assert_eq!(all(RetryOptions::default().server_pauses(3 * SECOND), 1).len(), 3);
        assert_eq!(all(RetryOptions::default(), 0), [Duration::ZERO; 9]);
    }

    #[test]
    fn no_attempt_follows_when_nothing_has_moved_for_too_long() {
        let attempts = |waited: Duration| {
            let mut backoff = backoff(RetryOptions::default());
            std::iter::from_fn(move || backoff.pause(&failure(Retry::Soon, waited))).count() + 1
        };
        assert_eq!((attempts(30 * SECOND), attempts(60 * SECOND), attempts(600 * SECOND)), (4, 2, 1));
        let mut backoff = backoff(RetryOptions::default());
        for _ in 0..9 {
            assert!(backoff.pause(&failure(Retry::Soon, 100 * SECOND)).is_some(), "progress ends the count");
            backoff.progressed();
        }
    }

    #[test]
    fn a_wait_is_told_if_somebody_could_notice_it() {
        let told = |retry, waited| {
            let mut backoff = backoff(RetryOptions::default());
            let failure = failure(retry, waited);
            let pause = backoff.pause(&failure).unwrap();
            backoff.notice(&failure, pause).map(|notice| notice.to_string())
        };
        assert_eq!(told(Retry::Soon, Duration::ZERO), None);
        assert_eq!(told(Retry::After(SECOND), Duration::ZERO), None);
        let stalled = "trying again (attempt 2 of 5): https://a.b/c: why";
        assert_eq!(told(Retry::Soon, 30 * SECOND).as_deref(), Some(stalled));
        let busy = told(Retry::After(3 * SECOND), Duration::ZERO).unwrap();
        assert_eq!(busy, "trying again in 3 s (attempt 2 of 5): https://a.b/c: why");
    }
}
