//! Planning: which files of a directory make an artifact, what they are to the model, and in which order they stand.
//!
//! A plan depends on names, contents and the owner's `x` bits alone: not on where the directory is, in which order the disk
//! lists it, or when its files were written.

mod left_out;
mod level;
mod link;
#[cfg(test)]
mod tests;

use crate::{
    Error, Modelfile, Result, classify,
    modelfile::{ModelfileProblem, Pattern},
};
use level::{Level, State, Wanted};
use link::Bounds;
use modelpack_spec::{FilePath, LayerKind, PathSet};
use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    io::Errno,
};
use std::{
    fs::{self, DirEntry, FileType, Metadata},
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    rc::Rc,
};

/// The files that make an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The directory they are in, absolute and with every link followed.
    pub directory: PathBuf,
    /// The files: weight configs, weights, code, data sets, docs, each sorted by the bytes of their paths. Never empty.
    pub files: Vec<PlannedFile>,
}

/// A file that becomes a layer, or part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path in the artifact.
    pub path: FilePath,
    /// The file to open: absolute, with every link followed.
    pub source: PathBuf,
    /// What it is to the model.
    pub kind: LayerKind,
    /// Whether the kind was told from the name ([`classify`]) and not by a Modelfile.
    pub inferred: bool,
    /// Its size in bytes.
    pub size: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// Plans an artifact of the files in `directory`. Blocks, and reads no file.
///
/// **Without a Modelfile**, or with one that names no files, all files are taken, in nested directories too. Left out are hidden
/// files and directories (those that begin with a dot); `__pycache__`, `*.pyc`, `*.pyo`, `*.pyd`; the directories of version
/// control (`CVS`, `_darcs`); what systems leave behind (`__MACOSX`, `Thumbs.db`, `desktop.ini`, `lost+found`); downloads that
/// never ended (`*.incomplete`); and a `Modelfile` in `directory` itself. Upper and lower case are the same here.
///
/// **With a Modelfile**, a file is taken if a command names it, once, as what the first of `CONFIG`, `MODEL`, `CODE`, `DATASET`,
/// `DOC` that names it says. A path without `*`, `?` and `[` must exist; it takes the file it names, whatever that is, or
/// all files below the directory it names. Wildcards match hidden names, but none of the others that are left out, nor `.git`
/// and its like, nor `.cache` and other caches; `*` stays within one directory, and `**` stands for any number of
/// directories that are not left out. A wildcard that matches nothing is no error, one that matches directories only is.
/// Whatever no command names is not looked at.
///
/// **Links** are followed to files and directories below `directory`. One that leads elsewhere is refused, as are one that
/// leads nowhere and one to a directory that holds the link. If `directory` is in a snapshot of a Hugging Face cache
/// (`models--*/snapshots/*`), its links lead to the `blobs` of that cached repository, and are followed.
///
/// A file that cannot be read is found here, before anything is packed.
pub fn plan(directory: &Path, modelfile: Option<&Modelfile>) -> Result<Plan> {
    let root = match fs::canonicalize(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(modelpack_store::Error::not_found(format!("the directory {}", directory.display())).into());
        }
        root => root.map_err(modelpack_store::Error::io("open", directory))?,
    };
    if !root.is_dir() {
        return Err(Error::NotADirectory { path: directory.to_owned() });
    }
    let everything = Pattern::everything();
    let commands = modelfile.map(Modelfile::files).unwrap_or_default();
    let patterns: Vec<&Pattern> = if commands.is_empty() { vec![&everything] } else { commands.iter().map(|c| &c.pattern).collect() };
    let mut walk = Walk {
        shown: directory,
        bounds: Bounds::new(&root),
        patterns: &patterns,
        kinds: commands.iter().map(|c| c.kind).collect(),
        matches: vec![Match::Nothing; patterns.len()],
        files: Vec::new(),
        pending: Vec::new(),
    };
    walk.all(&root)?;

    let Walk { mut files, matches, .. } = walk;
    if let Some(modelfile) = modelfile {
        for (command, matched) in commands.iter().zip(matches) {
            let text = || command.pattern.text.clone();
            match matched {
                Match::Nothing if command.pattern.is_literal() => return Err(modelfile.error(command, ModelfileProblem::Missing(text()))),
                Match::OnlyDirectories => return Err(modelfile.error(command, ModelfileProblem::OnlyDirectories(text()))),
                Match::Nothing | Match::Found => {}
            }
        }
    }
    if files.is_empty() {
        return Err(Error::Empty { directory: directory.to_owned() });
    }
    files.sort_unstable_by(|a, b| (rank(a.kind), &a.path).cmp(&(rank(b.kind), &b.path)));
    let mut paths = PathSet::default();
    for file in &files {
        paths.insert(&file.path).map_err(|source| Error::InvalidPath { directory: directory.to_owned(), source })?;
    }
    Ok(Plan { directory: root, files })
}

/// Plans the one file `source`, which gets `path` in the artifact; its name says its kind if `kind` does not. Blocks, and does not read it.
///
/// A link is followed, wherever it leads: somebody named this file.
pub fn plan_file(source: &Path, path: FilePath, kind: Option<LayerKind>) -> Result<PlannedFile> {
    let absolute = fs::canonicalize(source).map_err(modelpack_store::Error::io("open", source))?;
    let metadata = fs::metadata(&absolute).map_err(modelpack_store::Error::io("look at", source))?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "directory" } else { kind_of(metadata.file_type()) };
        return Err(Error::NotAFile { path: source.to_owned(), kind });
    }
    let (size, inferred) = (metadata.len(), kind.is_none());
    let kind = kind.unwrap_or_else(|| classify(&path, size).0);
    let executable = metadata.permissions().mode() & 0o100 != 0;
    Ok(PlannedFile { path, source: absolute, kind, inferred, size, executable })
}

/// Where layers of this kind stand, and which of two commands takes a file that both name.
pub(crate) fn rank(kind: LayerKind) -> Option<usize> {
    LayerKind::ALL.iter().position(|&k| k == kind)
}

/// What a pattern has matched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Nothing,
    /// Directories, of which it takes none.
    OnlyDirectories,
    /// A file, or a directory whose files it takes.
    Found,
}

struct Walk<'a> {
    /// The directory as the user calls it, for errors.
    shown: &'a Path,
    bounds: Bounds,
    patterns: &'a [&'a Pattern],
    /// What each pattern's files are; empty if their names say it.
    kinds: Vec<LayerKind>,
    matches: Vec<Match>,
    files: Vec<PlannedFile>,
    pending: Vec<Directory>,
}

/// A directory to list.
struct Directory {
    /// Below the top.
    path: PathBuf,
    /// Absolute, with every link followed.
    source: PathBuf,
    states: Vec<State>,
    /// The top, and the directories to which links led on the way here.
    origins: Rc<[PathBuf]>,
}

impl Walk<'_> {
    /// Visits every directory into which a pattern leads. No recursion: a hostile tree is deeper than a stack.
    fn all(&mut self, root: &Path) -> Result<()> {
        let states = (0..self.patterns.len()).map(|pattern| State { pattern, matched: 0 }).collect();
        self.pending.push(Directory { path: PathBuf::new(), source: root.to_owned(), states, origins: [root.to_owned()].into() });
        while let Some(directory) = self.pending.pop() {
            let shown = if directory.path.as_os_str().is_empty() { self.shown.to_owned() } else { self.shown.join(&directory.path) };
            let level = Level::new(self.patterns, &directory.states, directory.path.as_os_str().is_empty());
            for pattern in level.all_below() {
                self.matches[pattern] = Match::Found;
            }
            let list = || fs::read_dir(&directory.source)?.collect::<io::Result<Vec<_>>>();
            let mut entries = list().map_err(modelpack_store::Error::io("list", &shown))?;
            // Of several errors, the same one is reported on every machine.
            entries.sort_by_cached_key(DirEntry::file_name);
            for entry in entries {
                let wanted = level.wanted(&entry.file_name().to_string_lossy());
                if !wanted.as_file.is_empty() || !wanted.as_directory.is_empty() {
                    self.entry(&directory, &entry, wanted)?;
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, directory: &Directory, entry: &DirEntry, wanted: Wanted) -> Result<()> {
        let path = directory.path.join(entry.file_name());
        let shown = self.shown.join(&path);
        let mut source = entry.path();
        let mut metadata = entry.metadata().map_err(modelpack_store::Error::io("look at", &shown))?;
        let is_link = metadata.is_symlink();
        if is_link {
            let Some(target) = link::follow(&source, &shown)? else {
                if wanted.as_file.is_empty() {
                    return Ok(());
                }
                let target = fs::read_link(&source).map_err(modelpack_store::Error::io("read the link", &shown))?;
                return Err(Error::LinkDangling { link: shown, target });
            };
            metadata = fs::metadata(&target).map_err(modelpack_store::Error::io("look at", &shown))?;
            source = target;
        }
        let is_wanted = if metadata.is_dir() { !wanted.as_directory.is_empty() } else { !wanted.as_file.is_empty() };
        if is_link && is_wanted {
            self.bounds.check(shown.clone(), &source)?;
        }
        if !metadata.is_dir() {
            return if is_wanted { self.file(path, source, &metadata, &wanted.as_file) } else { Ok(()) };
        }
        for &pattern in &wanted.as_file {
            if self.matches[pattern] == Match::Nothing {
                self.matches[pattern] = Match::OnlyDirectories;
            }
        }
        if !is_wanted {
            return Ok(());
        }
        let mut origins = directory.origins.clone();
        if is_link {
            if directory.source.starts_with(&source) || origins.contains(&source) {
                return Err(Error::LinkCycle { link: shown, target: source });
            }
            origins = origins.iter().chain([&source]).cloned().collect();
        }
        self.pending.push(Directory { path, source, states: wanted.as_directory, origins });
        Ok(())
    }

    fn file(&mut self, path: PathBuf, source: PathBuf, metadata: &Metadata, patterns: &[usize]) -> Result<()> {
        let shown = self.shown.join(&path);
        if !metadata.is_file() {
            return Err(Error::NotAFile { path: shown, kind: kind_of(metadata.file_type()) });
        }
        let Some(path) = path.to_str() else { return Err(Error::NotUtf8 { path: shown }) };
        let path: FilePath = path.parse().map_err(|source| Error::InvalidPath { directory: self.shown.to_owned(), source })?;
        match accessat(CWD, &source, Access::READ_OK, AtFlags::EACCESS) {
            // A kernel that cannot tell lets reading fail.
            Ok(()) | Err(Errno::NOSYS) => {}
            Err(e) => return Err(modelpack_store::Error::io("read", shown)(e.into()).into()),
        }
        for &pattern in patterns {
            self.matches[pattern] = Match::Found;
        }
        let size = metadata.len();
        let said = patterns.iter().filter_map(|&pattern| self.kinds.get(pattern).copied()).min_by_key(|&kind| rank(kind));
        let kind = said.unwrap_or_else(|| classify(&path, size).0);
        let executable = metadata.permissions().mode() & 0o100 != 0;
        self.files.push(PlannedFile { path, source, kind, inferred: said.is_none(), size, executable });
        Ok(())
    }
}

fn kind_of(file_type: FileType) -> &'static str {
    match file_type {
        t if t.is_fifo() => "named pipe",
        t if t.is_socket() => "socket",
        _ => "device",
    }
}
