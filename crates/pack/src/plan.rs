//! Planning: which files of a directory make an artifact, what they are to the model, and in which order they stand.
//!
//! A plan depends on names, contents and the owner's `x` bits alone: not on where the directory is, in which order the disk
//! lists it, or when its files were written.

mod filter;
mod kitignore;
mod left_out;
mod level;
mod link;
#[cfg(test)]
mod tests;

use crate::{
    Error, Modelfile, Result, classify,
    modelfile::{FileCommand, ModelfileProblem, Pattern},
};
use filter::Ignores;
use kitignore::KitIgnore;
use left_out::IGNORE_FILE;
use level::{Level, State, Wanted};
use link::Bounds;
use modelpack_spec::{FilePath, LayerKind, PathSet};
use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    io::Errno,
};
use std::{
    cmp::Reverse,
    collections::BTreeSet,
    fs::{self, DirEntry, FileType, Metadata},
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    rc::Rc,
};

pub use filter::FileFilter;

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
/// never ended (`*.incomplete`); and a `Modelfile` or `Kitfile` in `directory` itself. Upper and lower case are the same here.
///
/// **With a Modelfile**, a file is taken if a command names it, once, as what the first of `CONFIG`, `MODEL`, `CODE`, `DATASET`,
/// `DOC` that names it says. A path without `*`, `?` and `[` must exist; it takes the file it names, whatever that is, or
/// all files below the directory it names. Wildcards match hidden names, but none of the others that are left out, nor `.git`
/// and its like, nor `.cache` and other caches; `*` stays within one directory, and `**` stands for any number of
/// directories that are not left out. A wildcard that matches nothing is no error, one that matches directories only is.
/// Whatever no command names is not looked at. A Kitfile names files and directories only, and of two that name a file the longer path
/// takes it.
///
/// **Left out** beside these is what an ignore file says: each `.modelpackignore`, in `directory` and below, as git reads its own. It is an
/// error if that is a file which the Modelfile spells out. Beside a Kitfile, what `.kitignore` in `directory` says too, as KitOps reads it. What `filter` says wins over Modelfile and habits. A directory that is left out is not
/// looked into.
///
/// **Links** are followed to files and directories below `directory`. One that leads elsewhere is refused, as are one that
/// leads nowhere and one to a directory that holds the link. If `directory` is in a snapshot of a Hugging Face cache
/// (`models--*/snapshots/*`), its links lead to the `blobs` of that cached repository, and are followed.
///
/// A file that cannot be read is found here, before anything is packed.
pub fn plan(directory: &Path, modelfile: Option<&Modelfile>, filter: &FileFilter) -> Result<Plan> {
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
    let kitignore = match modelfile {
        Some(modelfile) if modelfile.is_kitfile() && !filter.takes_included_only() => KitIgnore::read(&root, directory)?,
        _ => None,
    };
    let mut walk = Walk {
        shown: directory,
        filter,
        kitignore,
        bounds: Bounds::new(&root),
        patterns: &patterns,
        commands,
        matches: vec![Match::Nothing; patterns.len()],
        files: Vec::new(),
        ignored_by: BTreeSet::new(),
        pending: Vec::new(),
    };
    walk.all(&root)?;

    let Walk { mut files, matches, ignored_by, .. } = walk;
    if let Some(modelfile) = modelfile {
        for (command, matched) in commands.iter().zip(matches) {
            let text = || command.pattern.text.clone();
            match matched {
                Match::Nothing if command.pattern.is_literal() => return Err(modelfile.error(command, ModelfileProblem::Missing(text()))),
                Match::OnlyDirectories => return Err(modelfile.error(command, ModelfileProblem::OnlyDirectories(text()))),
                Match::Ignored(rule) if command.pattern.is_literal() => {
                    return Err(modelfile.error(command, ModelfileProblem::Ignored { path: text(), rule }));
                }
                Match::Nothing | Match::Ignored(_) | Match::Excluded | Match::Found => {}
            }
        }
    }
    if files.is_empty() {
        let rules = filter.rules().map(str::to_owned).chain(ignored_by).collect();
        return Err(Error::Empty { directory: directory.to_owned(), rules });
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

/// What a pattern has matched; what comes later in this list counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Nothing,
    /// What an ignore file leaves out, by this rule.
    Ignored(String),
    /// What the filter leaves out.
    Excluded,
    /// Directories, of which it takes none.
    OnlyDirectories,
    /// A file, or a directory whose files it takes.
    Found,
}

struct Walk<'a> {
    /// The directory as the user calls it, for errors.
    shown: &'a Path,
    filter: &'a FileFilter,
    kitignore: Option<KitIgnore>,
    bounds: Bounds,
    patterns: &'a [&'a Pattern],
    /// The command of each pattern; empty if there are none, and names say what files are.
    commands: &'a [FileCommand],
    matches: Vec<Match>,
    files: Vec<PlannedFile>,
    /// The rules of ignore files that left something out, for an error.
    ignored_by: BTreeSet<String>,
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
    ignores: Ignores,
    /// Whether only files are taken that the filter includes.
    only_included: bool,
}

/// A file or directory that patterns may want.
struct Candidate {
    /// Below the top.
    path: PathBuf,
    /// What wants it by itself.
    usual: Wanted,
    /// What wants it now that an include names it, whatever is usually left out.
    named: Option<Wanted>,
}

impl Walk<'_> {
    /// Visits every directory into which a pattern leads. No recursion: a hostile tree is deeper than a stack.
    fn all(&mut self, root: &Path) -> Result<()> {
        let states = (0..self.patterns.len()).map(|pattern| State { pattern, matched: 0 }).collect();
        self.pending.push(Directory {
            path: PathBuf::new(),
            source: root.to_owned(),
            states,
            origins: [root.to_owned()].into(),
            ignores: Ignores::default(),
            only_included: self.filter.takes_included_only(),
        });
        while let Some(mut directory) = self.pending.pop() {
            let shown = if directory.path.as_os_str().is_empty() { self.shown.to_owned() } else { self.shown.join(&directory.path) };
            let states = std::mem::take(&mut directory.states);
            let level = Level::new(self.patterns, &states, directory.path.as_os_str().is_empty());
            self.matched(&level.all_below().collect::<Vec<_>>(), &Match::Found);
            let list = || fs::read_dir(&directory.source)?.collect::<io::Result<Vec<_>>>();
            let mut entries = list().map_err(modelpack_store::Error::io("list", &shown))?;
            // Of several errors, the same one is reported on every machine.
            entries.sort_by_cached_key(DirEntry::file_name);
            if !self.filter.takes_included_only() && entries.iter().any(|entry| entry.file_name() == IGNORE_FILE) {
                directory.ignores = directory.ignores.with(&directory.path, &directory.source, &shown)?;
            }
            for entry in entries {
                self.entry(&directory, &level, &entry)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, directory: &Directory, level: &Level<'_>, entry: &DirEntry) -> Result<()> {
        let name = entry.file_name();
        let mut wanted = Candidate { path: directory.path.join(&name), usual: level.wanted(&name.to_string_lossy(), false), named: None };
        if self.filter.include.name(Path::new(&name)) {
            wanted.named = Some(level.wanted(&name.to_string_lossy(), true));
        } else if wanted.usual.is_empty() {
            return Ok(());
        }
        let shown = self.shown.join(&wanted.path);
        let mut source = entry.path();
        let mut metadata = entry.metadata().map_err(modelpack_store::Error::io("look at", &shown))?;
        let is_link = metadata.is_symlink();
        if is_link {
            let Some(target) = link::follow(&source, &shown)? else {
                // Whatever it should lead to, it is judged as a file.
                if self.takers(directory, &wanted).is_empty() {
                    return Ok(());
                }
                let target = fs::read_link(&source).map_err(modelpack_store::Error::io("read the link", &shown))?;
                return Err(Error::LinkDangling { link: shown, target });
            };
            metadata = fs::metadata(&target).map_err(modelpack_store::Error::io("look at", &shown))?;
            source = target;
        }
        if !metadata.is_dir() {
            let patterns = self.takers(directory, &wanted);
            if patterns.is_empty() {
                return Ok(());
            }
            if is_link {
                self.bounds.check(shown, &source)?;
            }
            return self.file(wanted.path, source, &metadata, &patterns);
        }
        let Some((states, only_included)) = self.way_into(directory, &wanted) else { return Ok(()) };
        let mut origins = directory.origins.clone();
        if is_link {
            self.bounds.check(shown.clone(), &source)?;
            if directory.source.starts_with(&source) || origins.contains(&source) {
                return Err(Error::LinkCycle { link: shown, target: source });
            }
            origins = origins.iter().chain([&source]).cloned().collect();
        }
        let ignores = directory.ignores.clone();
        self.pending.push(Directory { path: wanted.path, source, states, origins, ignores, only_included });
        Ok(())
    }

    /// The patterns that take the file.
    fn takers(&mut self, directory: &Directory, file: &Candidate) -> Vec<usize> {
        if self.is_left_out(directory, file, false) {
            return Vec::new();
        }
        if self.filter.include.includes(&file.path, false) {
            return file.named.as_ref().unwrap_or(&file.usual).as_file.clone();
        }
        if directory.only_included {
            self.left_out(file, &Match::Excluded);
            return Vec::new();
        }
        file.usual.as_file.clone()
    }

    /// The states of patterns in the directory `inner`, if something in it may be wanted, and whether that is only what is included.
    fn way_into(&mut self, directory: &Directory, inner: &Candidate) -> Option<(Vec<State>, bool)> {
        if self.is_left_out(directory, inner, true) {
            return None;
        }
        self.matched(&inner.usual.as_file, &Match::OnlyDirectories);
        if !directory.only_included && !inner.usual.as_directory.is_empty() {
            return Some((inner.usual.as_directory.clone(), false));
        }
        let states = &inner.named.as_ref().unwrap_or(&inner.usual).as_directory;
        if !states.is_empty() && self.filter.include.may_include_below(&inner.path) {
            return Some((states.clone(), true));
        }
        self.left_out(inner, &Match::Excluded);
        None
    }

    /// Whether an exclude or an ignore file leaves it out.
    fn is_left_out(&mut self, directory: &Directory, candidate: &Candidate, is_directory: bool) -> bool {
        let ignored = || {
            let kitignore = self.kitignore.as_ref().and_then(|ignore| ignore.rule(&candidate.path, is_directory));
            kitignore.or_else(|| directory.ignores.rule(&candidate.path, is_directory))
        };
        if self.filter.exclude.decide(&candidate.path, is_directory).is_some_and(|said| said.is_match) {
            self.left_out(candidate, &Match::Excluded);
        } else if let Some(rule) = ignored() {
            self.left_out(candidate, &Match::Ignored(rule.clone()));
            self.ignored_by.insert(rule);
        } else {
            return false;
        }
        true
    }

    /// Notes why what patterns want is left out.
    fn left_out(&mut self, candidate: &Candidate, why: &Match) {
        let into = candidate.usual.as_directory.iter().map(|state| state.pattern);
        let patterns: Vec<usize> = candidate.usual.as_file.iter().copied().chain(into).collect();
        self.matched(&patterns, why);
    }

    /// Notes that patterns have matched this, beside what they have matched before.
    fn matched(&mut self, patterns: &[usize], what: &Match) {
        for &pattern in patterns {
            if self.matches[pattern] < *what {
                self.matches[pattern] = what.clone();
            }
        }
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
        self.matched(patterns, &Match::Found);
        let size = metadata.len();
        let named_by = patterns.iter().filter_map(|&pattern| self.commands.get(pattern));
        let command = named_by.min_by_key(|command| (Reverse(command.depth), rank(command.layer_kind())));
        let (kind, inferred) = command.map_or_else(|| (classify(&path, size).0, true), |command| command.kind_of(&path, size));
        let executable = metadata.permissions().mode() & 0o100 != 0;
        self.files.push(PlannedFile { path, source, kind, inferred, size, executable });
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
