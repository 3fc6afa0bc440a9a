//! Progress of a transfer on stderr: on a terminal a line for everything with a bar, and a line for each
//! file that takes a while; elsewhere occasional lines.

mod lines;
mod pace;
mod rate;

use crate::{output::Output, text::printable};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use modelpack::Progress;
use pace::Pace;
use rustix::termios::tcgetwinsize;
use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The interval for drawing on a terminal.
const FRAME: Duration = Duration::from_millis(125);
/// The interval for looking at the progress without a terminal.
const LOOK: Duration = Duration::from_secs(1);
/// The interval for lines without a terminal. Short transfers end before the first line.
const INTERVAL: Duration = Duration::from_secs(5);
/// The interval for lines after the first minute, so that the log of a long transfer stays short.
const LONG_INTERVAL: Duration = Duration::from_secs(30);

/// Shows a transfer's progress until it is dropped. A separate thread draws, so that busy tasks do
/// not delay it.
pub struct Meter {
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
    screen: Screen,
}

impl Meter {
    /// `doing` names the activity, such as `pushing`.
    pub fn start(doing: &'static str, progress: Arc<Progress>, output: &Output) -> Self {
        let screen = output.screen.clone();
        if output.json || output.quiet {
            return Self { drawing: None, screen };
        }
        let (stop, stopped) = channel::<()>();
        let pace = Pace::new(doing, Instant::now());
        let bar = bar_on(ProgressDrawTarget::stderr());
        // It is hidden unless stderr is a terminal that can move its cursor.
        let draw: Box<dyn FnOnce() + Send> = if bar.is_hidden() {
            Box::new(move || print_lines(pace, &progress, &stopped))
        } else {
            screen.show(Some(bar.clone()));
            Box::new(move || draw_frames(pace, &progress, &stopped, &bar))
        };
        // If the thread cannot be started, the transfer works without progress output.
        let drawing = thread::Builder::new().name("progress".into()).spawn(draw).ok().map(|thread| (stop, thread));
        Self { drawing, screen }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.drawing.take() {
            drop(stop);
            // The thread only draws, so a panic in it does not affect the transfer.
            let _ = thread.join();
            self.screen.show(None);
        }
    }
}

/// What of the progress stands on the terminal. Other lines are printed through it, so that they do
/// not mix with it. Clones show the same.
#[derive(Clone, Default)]
pub struct Screen(Arc<Mutex<Option<ProgressBar>>>);

impl Screen {
    /// Calls `print`, which prints whole lines to stderr. The progress is drawn again below them.
    pub fn above(&self, print: impl FnOnce()) {
        match &*self.bar() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn show(&self, bar: Option<ProgressBar>) {
        *self.bar() = bar;
    }

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bar that consists of its message alone, which is several lines.
fn bar_on(target: ProgressDrawTarget) -> ProgressBar {
    ProgressBar::with_draw_target(None, target).with_style(ProgressStyle::with_template("{msg}").expect("the template is valid"))
}

fn draw_frames(mut pace: Pace, progress: &Progress, stopped: &Receiver<()>, bar: &ProgressBar) {
    while stopped.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
        let view = pace.observe(progress.snapshot(), Instant::now());
        let (columns, rows) = terminal_size();
        bar.set_message(lines::frame(&view, columns, rows).join("\n"));
    }
    bar.finish_and_clear();
}

/// The columns and rows of the terminal on stderr. Some terminals do not tell.
fn terminal_size() -> (usize, usize) {
    let size = tcgetwinsize(io::stderr()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}

fn print_lines(mut pace: Pace, progress: &Progress, stopped: &Receiver<()>) {
    let start = Instant::now();
    let mut next = start + INTERVAL;
    while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let now = Instant::now();
        let view = pace.observe(progress.snapshot(), now);
        if now >= next {
            // An error is ignored: progress output is optional.
            let _ = io::stderr().write_all(format!("{}\n", printable(&lines::line(&view))).as_bytes());
            next = now + if now - start < Duration::from_secs(60) { INTERVAL } else { LONG_INTERVAL };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::InMemoryTerm;

    #[test]
    fn lines_of_others_stand_above_the_progress_and_nothing_remains_of_it() {
        let terminal = InMemoryTerm::new(10, 40);
        let bar = bar_on(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
        let screen = Screen::default();
        let say = |text: &str| screen.above(|| indicatif::TermLike::write_line(&terminal, text).unwrap());
        say("before");
        screen.show(Some(bar.clone()));
        say("first");
        bar.set_message("everything\n  a file\n  another file");
        assert_eq!(terminal.contents(), "before\nfirst\neverything\n  a file\n  another file");
        say("second");
        assert_eq!(terminal.contents(), "before\nfirst\nsecond\neverything\n  a file\n  another file");
        bar.set_message("everything");
        assert_eq!(terminal.contents(), "before\nfirst\nsecond\neverything");
        bar.finish_and_clear();
        screen.show(None);
        say("third");
        assert_eq!(terminal.contents(), "before\nfirst\nsecond\nthird");
    }
}
