//! What goes wrong under a mount for some time.

use super::DISK;
use crate::scene::{Registry, Violation};
use modelpack_testkit::{Failure, Fault, FaultProxy, Random, RandomFaults, Signal, TinyDisk};
use std::{thread, time::Duration};

/// What is under the mounts of a round.
pub(super) struct Place {
    /// That of the cache. It is unmounted before the directories under it are removed.
    pub(super) disk: Option<TinyDisk>,
    pub(super) proxy: FaultProxy,
    pub(super) registry: Registry,
}

/// Something that goes wrong, and for how many milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    kind: Kind,
    millis: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Any request may have any fault.
    Random { seed: u64, one_in: u64 },
    /// All answers are 503, with `Retry-After`.
    Busy,
    /// All connections are cut, so many times.
    Cuts(u32),
    /// After so many bytes, none comes any more.
    Still(u64),
    /// One byte of each of the next bodies of blobs is wrong.
    Lies { at: u64, times: usize },
    /// No answer comes.
    Silence,
    /// All tokens expire, so many times.
    Expiry(u32),
    /// The registry is killed, and back after this time.
    Gone,
    /// The disk of the cache has room for so many bytes only.
    Full(u64),
}

impl Trouble {
    pub(super) fn draw(has_disk: bool, random: &mut Random) -> Self {
        let kind = match random.below(if has_disk { 13 } else { 10 }) {
            0 | 1 => Kind::Random { seed: random.number(), one_in: random.one_of(&[2, 3, 6]) },
            2 => Kind::Busy,
            3 => Kind::Cuts(1 + u32::try_from(random.below(5)).expect("the number is small")),
            4 => Kind::Still(random.below(8 << 20)),
            5 | 6 => Kind::Lies { at: random.below(1 << 20), times: random.one_of(&[1, 3, 20]) },
            7 => Kind::Silence,
            8 => Kind::Expiry(1 + u32::try_from(random.below(3)).expect("the number is small")),
            9 => Kind::Gone,
            _ => {
                let bits = random.below(24);
                Kind::Full(random.below(1 << bits))
            }
        };
        let longest = matches!(kind, Kind::Gone) && random.once_in(2);
        Self { kind, millis: if longest { 5000 } else { 200 + random.below(1500) } }
    }

    /// Nothing arrives for longer than readers may have to wait.
    pub(super) fn longer_than(time: Duration, random: &mut Random) -> Self {
        Self { kind: Kind::Still(random.below(8 << 20)), millis: u64::try_from(time.as_millis()).expect("the time is short") + 5000 }
    }

    /// As it is counted.
    pub(super) fn counted(self) -> &'static str {
        match self.kind {
            Kind::Random { .. } => "times random faults",
            Kind::Busy => "times 503",
            Kind::Cuts(_) => "times connections cut",
            Kind::Still(_) => "times no more bytes",
            Kind::Lies { .. } => "times wrong bytes",
            Kind::Silence => "times no answers",
            Kind::Expiry(_) => "times tokens expired",
            Kind::Gone => "times no registry",
            Kind::Full(_) => "times a full disk",
        }
    }
}

impl Place {
    /// Lets it go wrong, and right again.
    pub(super) fn have(&mut self, trouble: Trouble) -> Result<(), Violation> {
        let Self { disk, proxy, registry } = self;
        let time = Duration::from_millis(trouble.millis);
        let wait = || thread::sleep(time);
        let fault = |path: &str, failure: Failure| Fault::on("GET", path, failure);
        match trouble.kind {
            Kind::Random { seed, one_in } => {
                proxy.set_random_faults(Some(RandomFaults::new(seed, one_in).stalls(true)));
                wait();
                proxy.set_random_faults(None);
            }
            Kind::Busy => {
                let headers = vec![("Retry-After", "1".to_owned())];
                let body = r#"{"errors":[{"code":"UNAVAILABLE","message":"an injected fault"}]}"#.to_owned();
                proxy.set_faults(vec![fault("", Failure::Status { code: 503, headers, body })]);
                wait();
            }
            Kind::Cuts(times) => {
                for _ in 0..times {
                    proxy.cut();
                    thread::sleep(time / times);
                }
            }
            Kind::Still(bytes) => {
                proxy.hold_after(Some(bytes));
                wait();
                proxy.hold_after(None);
            }
            Kind::Lies { at, times } => {
                proxy.set_faults(vec![fault("/blobs/", Failure::FlipByte(at)).times(times)]);
                wait();
            }
            Kind::Silence => {
                proxy.set_faults(vec![fault("", Failure::Stall)]);
                wait();
            }
            Kind::Expiry(times) => {
                for _ in 0..times {
                    proxy.set_faults(vec![fault("/blobs/", Failure::ExpireTokens).times(1)]);
                    thread::sleep(time / times);
                }
            }
            Kind::Gone => {
                registry.stop(Signal::KILL)?;
                wait();
                registry.restart();
            }
            Kind::Full(room) => {
                if let Some(disk) = disk {
                    disk.leave_room(room);
                    wait();
                    disk.leave_room(DISK);
                }
            }
        }
        proxy.set_faults(Vec::new());
        Ok(())
    }
}
