//! For how long readers wait for something that does not arrive.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// For how long those wait that come after somebody has waited in vain.
const A_MOMENT: Duration = Duration::from_millis(100);

/// How often it is looked, while somebody waits, whether something has arrived.
const LOOKS: u32 = 8;

/// What all who wait for the same thing share.
///
/// The kernel lets only the first of those who want the same bytes, or the same name, ask for them. If the answer is an error, it asks again
/// for the next one, and also for the first one if it had only read ahead. So if each question waited for the whole time, the last of many
/// readers would get its error very late.
#[derive(Debug)]
pub(crate) struct Patience {
    time: Duration,
    /// How much had arrived when somebody waited in vain.
    in_vain_at: Mutex<Option<u64>>,
}

impl Patience {
    /// Readers wait for so long while nothing arrives.
    pub(crate) fn new(time: Duration) -> Self {
        Self { time, in_vain_at: Mutex::default() }
    }

    /// For how long the first one waits.
    pub(crate) fn time(&self) -> Duration {
        self.time
    }

    /// Ends when nothing has arrived for the whole time, or for a moment if that was so for somebody else. `arrived` says how much has
    /// arrived so far.
    pub(crate) async fn ends(&self, arrived: impl Fn() -> u64) {
        let (mut before, mut since) = (arrived(), Instant::now());
        loop {
            let left = self.time_at(before).saturating_sub(since.elapsed());
            if left.is_zero() {
                *self.in_vain_at() = Some(before);
                return;
            }
            sleep(left.min(self.time / LOOKS)).await;
            let now = arrived();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
    }

    /// Lets the next one wait for the whole time again, because something is tried anew.
    pub(crate) fn renew(&self) {
        *self.in_vain_at() = None;
    }

    fn time_at(&self, arrived: u64) -> Duration {
        if *self.in_vain_at() == Some(arrived) { self.time.min(A_MOMENT) } else { self.time }
    }

    fn in_vain_at(&self) -> MutexGuard<'_, Option<u64>> {
        self.in_vain_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_somebody_has_waited_in_vain_the_next_wait_for_a_moment_until_something_arrives() {
        let time = A_MOMENT * 2;
        let patience = Patience::new(time);
        assert_eq!(patience.time_at(5), time);
        patience.ends(|| 5).await;
        assert_eq!([patience.time_at(5), patience.time_at(6)], [A_MOMENT, time]);
        patience.renew();
        assert_eq!(patience.time_at(5), time);
    }
}
