//! Ctrl-C and its kin: the first asks the command to end and clean up, the second ends the process.

use crate::failure::{Ending, Failure};
use std::{fs, io, thread};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Whether `SIGHUP` is ignored. Where the system does not tell, it is taken to be, so that it does what it does without us.
fn ignores_hang_up() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_none_or(|mask| mask & 1 != 0)
}

/// The next of these signals; never, if they are not listened to.
async fn recv(signals: Option<&mut Signal>) -> Option<()> {
    match signals {
        Some(signals) => signals.recv().await,
        None => std::future::pending().await,
    }
}

/// Tells when the process was asked to end.
#[derive(Clone)]
pub struct Interrupt(watch::Receiver<Option<Ending>>);

impl Interrupt {
    /// From now on `SIGINT`, `SIGTERM` and `SIGHUP` are heard; but a `SIGHUP` that was ignored when the program started stays so, as
    /// `nohup` wants it. `SIGQUIT` ends the process as it always does, for whoever wants to see where it stands.
    ///
    /// A thread of its own listens, so that the second is heard whatever the others do.
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
            // The listening thread never ends.
            _ => std::future::pending().await,
        }
    }

    /// Does `work`, or drops it when a signal comes, which cancels it.
    pub async fn or<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            ending = self.received() => Err(Failure::new(ending, "interrupted; run the same command again to go on")),
            result = work => result,
        }
    }
}
