//! When something that failed is tried again, and after which pause.

use crate::failure::Failure;
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use std::time::{Duration, SystemTime};
use tracing::info;

/// How often something is tried without any progress.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause before something is tried again, whatever a server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Where a server asks for more than all pauses together, another attempt would come too early.
const ALL_PAUSES: Duration = LONGEST_PAUSE.saturating_mul(ATTEMPTS - 1);

/// Whether a failure may pass by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It will not, or not soon enough.
    Never,
    /// It may, and the pause is ours to choose.
    Soon,
    /// It may, and the server said when.
    After(Duration),
}

impl Retry {
    /// What a response says.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        if !matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504) {
            return Self::Never;
        }
        match retry_after(headers) {
            None => Self::Soon,
            Some(pause) if pause > ALL_PAUSES => Self::Never,
            Some(pause) => Self::After(pause.min(LONGEST_PAUSE)),
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
    // The server's clock, if it shows one, is the clock that its date is of.
    let now = date(DATE).unwrap_or_else(SystemTime::now);
    Some(date(RETRY_AFTER)?.duration_since(now).unwrap_or_default())
}

/// Counts attempts, and spaces them further and further apart.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// After a failed attempt, waits until it is time for the next one. Gives the failure back if there should be none.
    pub async fn wait(&mut self, failure: Failure) -> Result<(), Failure> {
        let Some(pause) = self.pause(failure.retry) else { return Err(failure) };
        info!(why = %failure.error, attempt = self.failures + 1, milliseconds = pause.as_millis() as u64, "trying again after a pause");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// How long to wait before the next attempt; `None` if there should be none.
    fn pause(&mut self, retry: Retry) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= ATTEMPTS {
            return None;
        }
        match retry {
            Retry::Never => None,
            Retry::Soon => Some((FIRST_PAUSE * 2u32.pow(self.failures - 1)).mul_f64(jitter())),
            Retry::After(pause) => Some(pause),
        }
    }

    /// Something was achieved, so the count begins anew.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }
}

/// Between a half and one, so that many clients that failed together do not come back together.
fn jitter() -> f64 {
    getrandom::u32().map_or(1.0, |random| 0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: &'static str) -> Retry {
        Retry::of(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::from_iter([(RETRY_AFTER, seconds.parse().unwrap())]))
    }

    #[test]
    fn only_failures_that_may_pass_are_retried() {
        for passing in [408, 429, 500, 502, 503, 504] {
            assert_eq!(Retry::of(StatusCode::from_u16(passing).unwrap(), &HeaderMap::new()), Retry::Soon, "{passing}");
        }
        for lasting in [400, 401, 403, 404, 405, 409, 413, 416, 501] {
            assert_eq!(Retry::of(StatusCode::from_u16(lasting).unwrap(), &HeaderMap::new()), Retry::Never, "{lasting}");
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
            Retry::of(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::from_iter(headers))
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
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.pause(Retry::Soon)).collect();
        assert_eq!(pauses.len() as u32, ATTEMPTS - 1);
        assert!(pauses.is_sorted(), "{pauses:?}");
        backoff.progressed();
        assert!(backoff.pause(Retry::Soon).is_some());
        assert_eq!(backoff.pause(Retry::Never), None);
    }
}
