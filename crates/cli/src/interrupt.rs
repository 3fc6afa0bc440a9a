//! Ctrl-C and similar signals: the first asks the command to end and clean up, the second ends the
//! process.

use crate::failure::{Ending, Failure};
use std::{fs, io, thread};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Whether `SIGHUP` is ignored. If this is unknown, it counts as ignored, so that its effect is not
/// changed.
fn ignores_hang_up() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_none_or(|mask| mask & 1 != 0)
}

/// The next of these signals; never, if they are not handled.
async fn recv(signals: Option<&mut Signal>) -> Option<()> {
    match signals {
        Some(signals) => signals.recv().await,
        None => std::future::pending().await,
    }
}

/// Reports when the process was asked to end.
#[derive(Clone)]
pub struct Interrupt(watch::Receiver<Option<Ending>>);

impl Interrupt {
    /// Handles `SIGINT`, `SIGTERM` and `SIGHUP` from now on. A `SIGHUP` that was ignored when the
    /// program started stays ignored, as `nohup` requires. `SIGQUIT` still ends the process, which
    /// is useful for debugging.
    ///
    /// A separate thread waits for the signals, so the second signal has an effect even if other
    /// threads are busy.
    pub fn listen() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let (sender, receiver) = watch::channel(None);
        let entered = runtime.enter();
        let (mut interrupts, mut terminations) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut hang_ups = if ignores_hang_up() { None } else { Some(signal(SignalKind::hangup())?) };
        drop(entered);
        let listen = async move {
            let mut is_first = true;
            loop {
                let ending = tokio::select! {
                    _ = interrupts.recv() => Ending::Interrupted,
                    _ = terminations.recv() => Ending::Terminated,
                    Some(_) = recv(hang_ups.as_mut()) => Ending::HungUp,
                };
                if !is_first {
                    std::process::exit(ending.exit_code().into());
                }
                is_first = false;
                sender.send_replace(Some(ending));
            }
        };
        thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(listen))?;
        Ok(Self(receiver))
    }

    /// Waits for the first signal.
    pub async fn received(&self) -> Ending {
        let mut receiver = self.0.clone();
        match receiver.wait_for(Option::is_some).await.map(|ending| *ending) {
            Ok(Some(ending)) => ending,
            // The signal thread never ends.
            _ => std::future::pending().await,
        }
    }

    /// Runs `work`, or cancels it when a signal arrives.
    pub async fn or<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            ending = self.received() => Err(Failure::new(ending, "interrupted; run the same command again to continue")),
            result = work => result,
        }
    }
}
