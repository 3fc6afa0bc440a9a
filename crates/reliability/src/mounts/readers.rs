//! Threads that read a mounted model, and compare what they get.

use super::originals::{Original, difference};
use crate::{rounds::Tally, scene::Violation};
use modelpack_testkit::Random;
use std::{
    fs::File,
    io::{self, ErrorKind},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How long any call may take. A mount gives up when nothing has come for 30 s.
pub(super) const READ_AT_MOST: Duration = Duration::from_secs(60);

/// The error of a read that gets nothing.
const EIO: i32 = 5;

/// How much is read at once.
const PIECE: usize = 1 << 20;

/// Between what a reader does. Without it, the readers of several rounds would use all processors for
/// what is in the page cache.
const PAUSE: Duration = Duration::from_millis(2);

/// The readers of a mount.
pub(super) struct Readers {
    shared: Arc<Shared>,
    /// What each of them does at the moment.
    doing: Vec<Arc<Mutex<String>>>,
    ended: Receiver<(usize, Result<Tally, Violation>)>,
}

struct Shared {
    directory: PathBuf,
    original: Arc<Original>,
    /// Whether bytes that are not verified may be seen.
    eventual: bool,
    stop: AtomicBool,
    /// Whether the serving process is killed soon, or was.
    dies: AtomicBool,
}

impl Readers {
    pub(super) fn start(directory: &Path, original: &Arc<Original>, eventual: bool, count: usize, random: &mut Random) -> Self {
        let (directory, original) = (directory.to_owned(), original.clone());
        let shared = Arc::new(Shared { directory, original, eventual, stop: AtomicBool::default(), dies: AtomicBool::default() });
        let (sender, ended) = channel();
        let start = |number| {
            let doing = Arc::<Mutex<String>>::default();
            let reader = Reader {
                shared: shared.clone(),
                random: Random::new(random.number(), 0),
                doing: doing.clone(),
                tally: Tally::default(),
                buffer: vec![0; PIECE],
            };
            let sender: Sender<_> = sender.clone();
            // Not scoped: a reader that hangs must not keep the run from saying so.
            thread::spawn(move || drop(sender.send((number, reader.run()))));
            doing
        };
        let doing = (0..count).map(start).collect();
        Self { shared, doing, ended }
    }

    /// From now on, errors about a serving process that is gone are right.
    pub(super) fn expect_death(&self) {
        self.shared.dies.store(true, SeqCst);
    }

    /// Lets them end, and waits for all of them.
    pub(super) fn stop(self) -> Result<Tally, Violation> {
        self.shared.stop.store(true, SeqCst);
        let deadline = Instant::now() + READ_AT_MOST;
        let mut is_there = vec![true; self.doing.len()];
        let mut tally = Tally::default();
        while is_there.contains(&true) {
            let ended = self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let (number, counted) = ended.map_err(|error| {
                let what = if error == RecvTimeoutError::Timeout { "readers hang" } else { "readers have panicked" };
                let doing = self.doing.iter().zip(&is_there).filter(|(_, is_there)| **is_there);
                let doing: Vec<_> = doing.map(|(doing, _)| doing.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect();
                format!("{what}: {}", doing.join(", "))
            })?;
            is_there[number] = false;
            tally.merge(counted?);
        }
        Ok(tally)
    }
}

struct Reader {
    shared: Arc<Shared>,
    random: Random,
    doing: Arc<Mutex<String>>,
    tally: Tally,
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads until it is told to stop.
    fn run(mut self) -> Result<Tally, Violation> {
        while !self.stops() {
            match self.random.below(8) {
                0 => self.list()?,
                1 => self.absent()?,
                2 | 3 => self.whole()?,
                _ => self.parts()?,
            }
            thread::sleep(PAUSE);
        }
        Ok(self.tally)
    }

    fn stops(&self) -> bool {
        self.shared.stop.load(SeqCst)
    }

    /// Lists all directories.
    fn list(&mut self) -> Result<(), Violation> {
        let directory = self.shared.directory.clone();
        match self.call("lists the files".to_owned(), || Original::list(&directory))? {
            Some(found) => self.shared.original.check_list(&found),
            None => Ok(()),
        }
    }

    /// Looks for a file that does not exist.
    fn absent(&mut self) -> Result<(), Violation> {
        let path = self.shared.directory.join(self.random.one_of(&["absent.json", "code/absent.py"]));
        let look = || match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            found => found.map(|_| true),
        };
        match self.call("looks for an absent file".to_owned(), look)? {
            Some(true) => Err(format!("{} exists", path.display())),
            _ => Ok(()),
        }
    }

    /// Reads a file from its beginning to its end.
    fn whole(&mut self) -> Result<(), Violation> {
        let Some((path, file, size)) = self.open()? else { return Ok(()) };
        if self.read_all(&path, &file, 0..size)? {
            self.tally.count("files read from the beginning to the end");
        }
        Ok(())
    }

    /// Reads some parts of a file.
    fn parts(&mut self) -> Result<(), Violation> {
        let Some((path, file, size)) = self.open()? else { return Ok(()) };
        for _ in 0..1 + self.random.below(8) {
            let start = self.below(size);
            let end = (start + 1 + self.below(2 * PIECE)).min(size);
            if !self.read_all(&path, &file, start..end)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads a range in pieces. Returns whether all of it was read.
    fn read_all(&mut self, path: &Path, file: &File, range: Range<usize>) -> Result<bool, Violation> {
        let mut at = range.start;
        while at < range.end {
            match self.read(path, file, at, PIECE.min(range.end - at))? {
                Some(len) if !self.stops() => at += len,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random.below(end as u64)).expect("it is smaller than the end")
    }

    /// Opens a file, more often the large ones.
    fn open(&mut self) -> Result<Option<(PathBuf, File, usize)>, Violation> {
        let shared = self.shared.clone();
        let files: Vec<_> = shared.original.files.iter().collect();
        let [one, other] = [self.below(files.len()), self.below(files.len())];
        let (path, bytes) = if files[one].1.len() > files[other].1.len() { files[one] } else { files[other] };
        let at = shared.directory.join(path);
        let file = self.call(format!("opens {}", path.display()), || File::open(at))?;
        Ok(file.map(|file| (path.clone(), file, bytes.len())))
    }

    /// Reads once, and compares what came. Returns how many bytes came; none only at the end.
    fn read(&mut self, path: &Path, file: &File, at: usize, len: usize) -> Result<Option<usize>, Violation> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.call(format!("reads {len} bytes at {at} of {}", path.display()), || file.read_at(&mut buffer[..len], at as u64));
        self.buffer = buffer;
        let Some(n) = read? else { return Ok(None) };
        let original = &self.shared.original;
        let right = &original.files[path][at..at + len];
        self.tally.count("reads");
        if n == 0 {
            return Err(format!("{} ends at {at}", path.display()));
        }
        if n < len {
            self.tally.count("reads that got less");
        }
        if self.buffer[..n] != right[..n] {
            if !self.shared.eventual || original.is_always_verified(path) {
                let wrong = difference(&self.buffer[..n], &right[..n]);
                return Err(format!("WRONG BYTES of {} in a read of {len} bytes at {at}: {wrong}", path.display()));
            }
            self.tally.count("reads of wrong bytes with `eventual`");
        }
        Ok(Some(n))
    }

    /// Makes a call of the system, which must end in time, and may fail if it says so rightly.
    fn call<T>(&mut self, what: String, call: impl FnOnce() -> io::Result<T>) -> Result<Option<T>, Violation> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&what);
        let start = Instant::now();
        let result = call();
        let took = start.elapsed();
        self.tally.most("ms for a call", usize::try_from(took.as_millis()).unwrap_or(usize::MAX));
        if took > READ_AT_MOST {
            return Err(format!("a reader that {what} was answered after {} s", took.as_secs()));
        }
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(EIO) => {
                self.tally.count("calls with EIO");
                Ok(None)
            }
            Err(error) if self.shared.dies.load(SeqCst) && is_death(error.kind()) => {
                self.tally.count("calls with an error about a dead process");
                Ok(None)
            }
            Err(error) => Err(format!("a reader that {what} got an error of another kind: {error}")),
        }
    }
}

/// Whether the error says that nobody serves the mount any more.
fn is_death(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotConnected | ErrorKind::ConnectionAborted)
}
