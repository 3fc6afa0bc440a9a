//! What the kernel asks for, and the answers.

use crate::{
    ReadError,
    archives::UnpackedFile,
    blobs::Blob,
    buffers::Buffers,
    patience::Patience,
    tree::{Node, Number, Tree},
};
use fuser::{
    BackingId, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, Request,
};
use modelpack_transfer::{FileRange, Progress, Source, blocking};
use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tokio::{runtime::Handle, sync::watch};

/// Nothing of a model changes while it is mounted.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How many requests the kernel may have under way that no process waits for, such as those of its read-ahead.
const MOST_IN_BACKGROUND: u16 = 64;

/// A reader that goes on where it was gets so many bytes ahead of it at first, and at most.
const LEAST_AHEAD: u64 = 4 << 20;
const MOST_AHEAD: u64 = 64 << 20;

/// A read that begins so little before or after the last one continues it. The kernel reads ahead by several requests at once.
const NEARBY: u64 = 16 << 20;

/// A file of a mounted model.
pub(crate) enum File {
    /// A raw layer.
    Layer { blob: Arc<Blob>, source: Arc<dyn Source>, executable: bool },
    /// A file of an archive.
    Unpacked(UnpackedFile),
}

impl File {
    fn size(&self) -> u64 {
        match self {
            Self::Layer { blob, .. } => blob.size(),
            Self::Unpacked(file) => file.size,
        }
    }

    fn is_executable(&self) -> bool {
        match self {
            Self::Layer { executable, .. } => *executable,
            Self::Unpacked(file) => file.executable,
        }
    }
}

/// The files that are known, and whether others are still being unpacked.
pub(crate) struct Files {
    pub(crate) tree: RwLock<Tree<Arc<File>>>,
    pub(crate) unpacking: watch::Sender<Unpacking>,
    /// Grows while something arrives or is unpacked.
    pub(crate) progress: Arc<Progress>,
    pub(crate) patience: Patience,
}

/// What of the archives is not there yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unpacking {
    /// How many archives.
    pub(crate) waiting: usize,
    /// Whether one of them cannot be had.
    pub(crate) has_failed: bool,
}

impl Files {
    pub(crate) fn tree(&self) -> RwLockReadGuard<'_, Tree<Arc<File>>> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all files are known.
    fn are_complete(&self) -> bool {
        let unpacking = self.unpacking.borrow();
        unpacking.waiting == 0 && !unpacking.has_failed
    }

    /// Waits until all files are known. Fails if they will not be, or if nothing moves for a while.
    async fn completed(&self) -> Result<(), Errno> {
        let mut unpacking = self.unpacking.subscribe();
        loop {
            let now = unpacking.borrow_and_update().clone();
            if now.has_failed {
                return Err(Errno::EIO);
            }
            if now.waiting == 0 {
                return Ok(());
            }
            tokio::select! {
                _ = unpacking.changed() => {}
                () = self.patience.ends(|| self.progress.snapshot().moved) => {
                    let seconds = self.patience.time().as_secs();
                    tracing::error!("the files of an archive are not known, and nothing has arrived for {seconds} s");
                    return Err(Errno::EIO);
                }
            }
        }
    }
}

/// The file system of one mounted model.
pub(crate) struct ModelFilesystem {
    pub(crate) files: Arc<Files>,
    pub(crate) runtime: Handle,
    pub(crate) owner: (u32, u32),
    pub(crate) opens: Mutex<Opens>,
    buffers: Arc<Buffers>,
}

/// The open files.
#[derive(Default)]
pub(crate) struct Opens {
    handles: HashMap<u64, Arc<Open>>,
    last_handle: u64,
    /// How the kernel reads each file that is open, and how often it is open. The kernel allows one way at a time for each file.
    ways: HashMap<Number, (Way, usize)>,
    /// Whether the kernel can read files of the cache itself.
    passthrough: bool,
}

#[derive(Clone)]
enum Way {
    /// It asks this process, and keeps what it got in its page cache.
    Asks,
    /// It reads the file itself.
    Reads(Arc<BackingId>),
}

/// A file that a process has open.
struct Open {
    number: Number,
    bytes: Bytes,
    /// Where the next read is expected, and up to where bytes were asked for.
    position: Mutex<(u64, u64)>,
    ahead: AtomicU64,
}

enum Bytes {
    Here(FileRange),
    Arriving(Arc<File>),
}

impl ModelFilesystem {
    pub(crate) fn new(files: Arc<Files>, runtime: Handle, owner: (u32, u32)) -> Self {
        Self { files, runtime, owner, opens: Mutex::default(), buffers: Arc::new(Buffers::new()) }
    }

    fn opens(&self) -> MutexGuard<'_, Opens> {
        self.opens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, number: &Number) -> Option<Arc<Open>> {
        self.opens().handles.get(number).cloned()
    }
}

/// The attributes of a node.
fn attributes(tree: &Tree<Arc<File>>, number: Number, (uid, gid): (u32, u32)) -> Option<FileAttr> {
    let (kind, perm, size, nlink) = match tree.get(number)? {
        Node::Directory(_) => (FileType::Directory, 0o555, 4096, 2),
        Node::File(file) => (FileType::RegularFile, if file.is_executable() { 0o555 } else { 0o444 }, file.size(), 1),
    };
    let time = SystemTime::UNIX_EPOCH;
    Some(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm,
        nlink,
        uid,
        gid,
        rdev: 0,
        blksize: 1 << 20,
        flags: 0,
    })
}

/// A child of a directory with its attributes; `None` if it has no such child.
fn child(tree: &Tree<Arc<File>>, parent: Number, name: &OsStr, owner: (u32, u32)) -> Option<FileAttr> {
    let number = *tree.directory(parent)?.children.get(name.to_str()?)?;
    attributes(tree, number, owner)
}

fn list(tree: &Tree<Arc<File>>, number: Number, offset: u64, mut reply: ReplyDirectory) {
    let Some(directory) = tree.directory(number) else { return reply.error(Errno::ENOTDIR) };
    let dots = [(".", number), ("..", directory.parent)];
    let children = directory.children.iter().map(|(name, number)| (name.as_str(), *number));
    let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
    for (at, (name, number)) in dots.into_iter().chain(children).enumerate().skip(skipped) {
        let kind = if tree.directory(number).is_some() { FileType::Directory } else { FileType::RegularFile };
        if reply.add(INodeNo(number), at as u64 + 1, kind, name) {
            break;
        }
    }
    reply.ok();
}

impl Open {
    /// The bytes that will probably be read after `range` and that nobody has asked for yet.
    fn following(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        let (expected, asked) = *position;
        let continues = range.start + NEARBY >= expected && range.start <= expected + NEARBY;
        let ahead = if continues { self.ahead.load(Relaxed) } else { LEAST_AHEAD };
        let asked = if continues { asked.max(range.end) } else { range.end };
        position.0 = if continues { expected.max(range.end) } else { range.end };
        position.1 = asked;
        let is_close = continues && range.end + ahead / 2 >= asked;
        is_close.then(|| {
            self.ahead.store((ahead * 2).min(MOST_AHEAD), Relaxed);
            position.1 = range.end + ahead;
            asked..range.end + ahead
        })
    }
}

/// Answers with bytes of a file; blocks if they are not in memory.
fn answer(buffers: &Buffers, file: &FileRange, range: Range<u64>, reply: ReplyData) {
    let mut buffer = buffers.take(usize::try_from(range.end - range.start).unwrap_or_default());
    match buffer.fill(file, range) {
        Ok(()) => reply.data(buffer.bytes()),
        Err(error) => {
            tracing::error!("{error}");
            reply.error(Errno::EIO);
        }
    }
}

impl Filesystem for ModelFilesystem {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What the kernel does not offer is slower, and nothing else.
        let _ = config.set_max_background(MOST_IN_BACKGROUND);
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_READ | InitFlags::FUSE_PARALLEL_DIROPS | InitFlags::FUSE_MAX_PAGES);
        let can_pass = config.capabilities().contains(InitFlags::FUSE_PASSTHROUGH);
        let passes = can_pass && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok() && config.set_max_stack_depth(2).is_ok();
        self.opens().passthrough = passes;
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (parent, owner) = (parent.0, self.owner);
        if let Some(found) = child(&self.files.tree(), parent, name, owner) {
            return reply.entry(&FOR_EVER, &found, Generation(0));
        }
        if self.files.are_complete() {
            return reply.error(Errno::ENOENT);
        }
        let (files, name) = (self.files.clone(), name.to_owned());
        self.runtime.spawn(async move {
            let completed = files.completed().await;
            match (child(&files.tree(), parent, &name, owner), completed) {
                (Some(found), _) => reply.entry(&FOR_EVER, &found, Generation(0)),
                // An engine takes a file that is not there for an answer, so this is said only if it is true.
                (None, Err(error)) => reply.error(error),
                (None, Ok(())) => reply.error(Errno::ENOENT),
            }
        });
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.files.tree(), number.0, self.owner) {
            Some(found) => reply.attr(&FOR_EVER, &found),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let keep = if self.files.are_complete() { FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() };
        reply.opened(FileHandle(0), keep);
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectory) {
        if self.files.are_complete() {
            return list(&self.files.tree(), number.0, offset, reply);
        }
        let files = self.files.clone();
        self.runtime.spawn(async move {
            match files.completed().await {
                Ok(()) => list(&files.tree(), number.0, offset, reply),
                Err(error) => reply.error(error),
            }
        });
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        let number = number.0;
        let Some(file) = self.files.tree().file(number).cloned() else { return reply.error(Errno::EISDIR) };
        let here = match &*file {
            File::Layer { blob, .. } => blob.whole().map(|whole| whole.file),
            File::Unpacked(unpacked) => match unpacked.open() {
                Ok(file) => Some(file),
                Err(error) => {
                    tracing::error!("{}: {error}", unpacked.path);
                    return reply.error(Errno::EIO);
                }
            },
        };
        let mut opens = self.opens();
        let passes = opens.passthrough;
        let way = match (opens.ways.get(&number), &here) {
            (Some((way, _)), _) => way.clone(),
            (None, Some(file)) if passes && file.is_whole() => match reply.open_backing(&*file.file) {
                Ok(id) => Way::Reads(Arc::new(id)),
                Err(error) => {
                    // Without the privilege, or on a file system that cannot be read like this.
                    tracing::debug!("the kernel does not read {} itself: {error}", file.path.display());
                    Way::Asks
                }
            },
            (None, _) => Way::Asks,
        };
        opens.ways.entry(number).or_insert_with(|| (way.clone(), 0)).1 += 1;
        opens.last_handle += 1;
        let handle = opens.last_handle;
        let bytes = here.map_or_else(|| Bytes::Arriving(file.clone()), Bytes::Here);
        let open = Open { number, bytes, position: Mutex::new((0, 0)), ahead: AtomicU64::new(LEAST_AHEAD) };
        opens.handles.insert(handle, Arc::new(open));
        drop(opens);
        match way {
            Way::Asks => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
            Way::Reads(id) => reply.opened_passthrough(FileHandle(handle), FopenFlags::empty(), &id),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(open) = self.open(&handle.0) else { return reply.error(Errno::EBADF) };
        let range_in = |len: u64| offset.min(len)..offset.saturating_add(size.into()).min(len);
        let file = match &open.bytes {
            Bytes::Here(here) => return answer(&self.buffers, here, range_in(here.len), reply),
            Bytes::Arriving(file) => file.clone(),
        };
        let File::Layer { blob, .. } = &*file else { return reply.error(Errno::EIO) };
        let range = range_in(blob.size());
        if let Some(following) = open.following(&range) {
            blob.will_read(following.start..following.end.min(blob.size()));
        }
        if let Some(here) = blob.readable_now(range.clone()) {
            return answer(&self.buffers, &here, range, reply);
        }
        let buffers = self.buffers.clone();
        self.runtime.spawn(async move {
            let File::Layer { blob, source, .. } = &*file else { return reply.error(Errno::EIO) };
            let here = match blob.readable(source, range.clone()).await {
                Ok(here) => here,
                Err(error) => {
                    if let ReadError::Stalled { .. } = error {
                        tracing::error!("{error}");
                    }
                    return reply.error(Errno::EIO);
                }
            };
            let mut buffer = buffers.take_in_turn(usize::try_from(range.end - range.start).unwrap_or_default()).await;
            // What has just arrived is in memory.
            if buffer.fill_from_memory(&here, range.start) {
                return reply.data(buffer.bytes());
            }
            drop(buffer);
            blocking(move || answer(&buffers, &here, range, reply)).await;
        });
    }

    fn release(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, _: Option<LockOwner>, _: bool, reply: ReplyEmpty) {
        let mut opens = self.opens();
        if let Some(open) = opens.handles.remove(&handle.0)
            && let Some((_, count)) = opens.ways.get_mut(&open.number)
        {
            *count -= 1;
            if *count == 0 {
                opens.ways.remove(&open.number);
            }
        }
        drop(opens);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        const BLOCK: u32 = 4096;
        let tree = self.files.tree();
        let bytes = tree.files().fold(0, |sum: u64, (_, file)| sum.saturating_add(file.size()));
        reply.statfs(bytes.div_ceil(BLOCK.into()), 0, 0, tree.len() as u64, 0, BLOCK, 255, BLOCK);
    }
}
