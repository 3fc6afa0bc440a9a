//! Planning: which files of a directory make an artifact, what they are to the model, and in which order they stand.
//!
//! A plan depends on names, contents and the owner's `x` bits alone: not on where the directory is, in which order the disk
//! lists it, or when its files were written.

mod filter;
mod hub_cache;
mod kitignore;
mod left_out;
mod level;
mod source;
#[cfg(test)]
mod tests;
mod tree;

use crate::{
    Error, Modelfile, Result, classify,
    directory::{Directory, Obstacle, failed},
    modelfile::{FileCommand, ModelfileProblem, Pattern},
};
use filter::Ignores;
use kitignore::KitIgnore;
use left_out::IGNORE_FILE;
use level::{Level, State, Wanted};
use modelpack_spec::{FilePath, LayerKind, PathSet};
use rustix::io::Errno;
use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File, FileType},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};
use tree::{Found, Target, Tree};

pub use filter::FileFilter;
pub use source::SourceFile;

/// A directory with a longer path is not listed: no path in an artifact is longer.
const MAX_PATH_BYTES: usize = 4096;

/// The files that make an artifact.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The directory that they are in.
    pub(crate) directory: Arc<Directory>,
    /// The files: weight configs, weights, code, data sets, docs. Of each kind those of the top directory come first, then the others, each
    /// sorted by the bytes of their paths. Never empty.
    pub files: Vec<PlannedFile>,
}

/// A file that becomes a layer, or part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path in the artifact.
    pub path: FilePath,
    /// The file to open.
    pub source: SourceFile,
    /// What it is to the model.
    pub kind: LayerKind,
    /// Whether the kind was told from the name ([`classify`]) and not by a Modelfile.
    pub inferred: bool,
    /// Its size in bytes.
    pub size: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
}

impl PlannedFile {
    /// Which of two files comes first in an artifact.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        place(self.kind, &self.path).cmp(&place(other.kind, &other.path))
    }
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
/// (`models--*/snapshots/*`), its links lead to the `blobs` of that cached repository, and are followed, on to the `blobs` that all
/// repositories of the cache share if it says that they do. Whatever is replaced while
/// this looks, nothing else is planned: directories are held open, and what a link leads to is reached without following another.
///
/// A file that cannot be read is found here, before anything is packed.
pub fn plan(directory: &Path, modelfile: Option<&Modelfile>, filter: &FileFilter) -> Result<Plan> {
    let tree = Tree::open(directory)?;
    let everything = Pattern::everything();
    let commands = modelfile.map(Modelfile::files).unwrap_or_default();
    let patterns: Vec<&Pattern> = if commands.is_empty() { vec![&everything] } else { commands.iter().map(|c| &c.pattern).collect() };
    let kitignore = match modelfile {
        Some(modelfile) if modelfile.is_kitfile() && !filter.takes_included_only() => KitIgnore::read(&tree, directory)?,
        _ => None,
    };
    let mut walk = Walk {
        shown: directory,
        filter,
        kitignore,
        tree: &tree,
        patterns: &patterns,
        commands,
        matches: vec![Match::Nothing; patterns.len()],
        files: Vec::new(),
        ignored_by: BTreeSet::new(),
        pending: Vec::new(),
    };
    walk.all()?;

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
    files.sort_unstable_by(PlannedFile::order);
    let mut paths = PathSet::default();
    for file in &files {
        paths.insert(&file.path).map_err(|source| Error::InvalidPath { directory: directory.to_owned(), source })?;
    }
    Ok(Plan { directory: tree.root().clone(), files })
}

/// Plans the one file `source`, which gets `path` in the artifact; its name says its kind if `kind` does not. Blocks, and does not read it.
///
/// A link is followed, wherever it leads: somebody named this file.
pub fn plan_file(source: &Path, path: FilePath, kind: Option<LayerKind>) -> Result<PlannedFile> {
    let absolute = fs::canonicalize(source).map_err(modelpack_transfer::Error::io("open", source))?;
    let not_a_file = |kind| Error::NotAFile { path: source.to_owned(), kind };
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else { return Err(not_a_file("directory")) };
    let parent = Arc::new(Directory::open(parent).map_err(failed("open", source))?);
    let metadata = parent.look(Path::new(name)).map_err(|obstacle| obstacle.since(source))?;
    if !metadata.is_file() {
        return Err(not_a_file(kind_of(metadata.file_type())));
    }
    let (size, inferred) = (metadata.len(), kind.is_none());
    let kind = kind.unwrap_or_else(|| classify(&path, size).0);
    let executable = metadata.permissions().mode() & 0o100 != 0;
    Ok(PlannedFile { path, source: SourceFile::new(parent, name.into(), &metadata), kind, inferred, size, executable })
}

/// Opens the file `name` in `directory` itself, which is called `shown`. A link is followed as one of a file that is planned.
pub(crate) fn open_in(directory: &Path, name: &str, shown: &Path) -> Result<File> {
    let tree = Tree::open(directory)?;
    tree.open_file(tree.root(), name.into(), shown)
}

/// Where layers of this kind stand, and which of two commands takes a file that both name.
fn rank(kind: LayerKind) -> Option<usize> {
    LayerKind::ALL.iter().position(|&k| k == kind)
}

/// Where a file stands in an artifact: by its kind, those of the top directory before others, by the bytes of the path.
///
/// Several readers take the first file of some name for the model's own, or its directory for the model's: so what belongs to a part of
/// the model, in a directory of its own, comes later.
pub(crate) fn place(kind: LayerKind, path: &FilePath) -> (Option<usize>, bool, &FilePath) {
    (rank(kind), path.components().nth(1).is_some(), path)
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
    tree: &'a Tree,
    patterns: &'a [&'a Pattern],
    /// The command of each pattern; empty if there are none, and names say what files are.
    commands: &'a [FileCommand],
    matches: Vec<Match>,
    files: Vec<PlannedFile>,
    /// The rules of ignore files that left something out, for an error.
    ignored_by: BTreeSet<String>,
    pending: Vec<Pending>,
}

/// A directory to list.
struct Pending {
    /// Below the top.
    path: PathBuf,
    /// Where it really is.
    within: Arc<Directory>,
    below: PathBuf,
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
    fn all(&mut self) -> Result<()> {
        let states = (0..self.patterns.len()).map(|pattern| State { pattern, matched: 0 }).collect();
        let root = self.tree.root();
        self.pending.push(Pending {
            path: PathBuf::new(),
            within: root.clone(),
            below: PathBuf::new(),
            states,
            origins: [root.path().to_owned()].into(),
            ignores: Ignores::default(),
            only_included: self.filter.takes_included_only(),
        });
        while let Some(mut directory) = self.pending.pop() {
            let shown = if directory.path.as_os_str().is_empty() { self.shown.to_owned() } else { self.shown.join(&directory.path) };
            let states = std::mem::take(&mut directory.states);
            let level = Level::new(self.patterns, &states, directory.path.as_os_str().is_empty());
            self.matched(&level.all_below().collect::<Vec<_>>(), &Match::Found);
            // Each is walked to from the top, so that a hostile depth would cost its square.
            if directory.below.as_os_str().len() > MAX_PATH_BYTES {
                return Err(failed("list", &shown)(Errno::NAMETOOLONG).into());
            }
            let opened = directory.within.directory(&directory.below).map_err(|obstacle| not_listed(obstacle, &shown))?;
            let mut names = opened.names().map_err(modelpack_transfer::Error::io("list", &shown))?;
            // Of several errors, the same one is reported on every machine.
            names.sort();
            if !self.filter.takes_included_only() && names.iter().any(|name| name == IGNORE_FILE) {
                let file = self.tree.open_file(&directory.within, directory.below.join(IGNORE_FILE), &shown.join(IGNORE_FILE))?;
                directory.ignores = directory.ignores.with(&directory.path, file, &shown)?;
            }
            for name in names {
                self.entry(&directory, &opened, &level, name)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, directory: &Pending, opened: &Directory, level: &Level<'_>, name: OsString) -> Result<()> {
        let mut wanted = Candidate { path: directory.path.join(&name), usual: level.wanted(&name.to_string_lossy(), false), named: None };
        if self.filter.include.name(Path::new(&name)) {
            wanted.named = Some(level.wanted(&name.to_string_lossy(), true));
        } else if wanted.usual.is_empty() {
            return Ok(());
        }
        let shown = self.shown.join(&wanted.path);
        let metadata = opened.look(Path::new(&name)).map_err(|obstacle| obstacle.since(&shown))?;
        let is_link = metadata.is_symlink();
        let target = match is_link {
            true => self.tree.follow(&opened.path().join(&name), &shown)?,
            false => Target::Inside(Found { within: directory.within.clone(), below: directory.below.join(&name), metadata }),
        };
        let is_directory = match &target {
            Target::Inside(found) => found.metadata.is_dir(),
            Target::Outside { is_directory, .. } => *is_directory,
            // Whatever it should lead to, it is judged as a file.
            Target::Nothing { .. } => false,
        };
        if !is_directory {
            let patterns = self.takers(directory, &wanted);
            if patterns.is_empty() {
                return Ok(());
            }
            let found = self.inside(target, shown)?;
            return self.file(wanted.path, found, &patterns);
        }
        let Some((states, only_included)) = self.way_into(directory, &wanted) else { return Ok(()) };
        let found = self.inside(target, shown.clone())?;
        let mut origins = directory.origins.clone();
        if is_link {
            let path = found.path();
            if opened.path().starts_with(&path) || origins.contains(&path) {
                return Err(Error::LinkCycle { link: shown, target: path });
            }
            origins = origins.iter().chain([&path]).cloned().collect();
        }
        let ignores = directory.ignores.clone();
        let Found { within, below, .. } = found;
        self.pending.push(Pending { path: wanted.path, within, below, states, origins, ignores, only_included });
        Ok(())
    }

    /// What may be taken; `link` is what leads there.
    fn inside(&self, target: Target, link: PathBuf) -> Result<Found> {
        match target {
            Target::Inside(found) => Ok(found),
            Target::Outside { path, .. } => Err(self.tree.outside(&link, path)),
            Target::Nothing { text } => Err(Error::LinkDangling { link, target: text }),
        }
    }

    /// The patterns that take the file.
    fn takers(&mut self, directory: &Pending, file: &Candidate) -> Vec<usize> {
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
    fn way_into(&mut self, directory: &Pending, inner: &Candidate) -> Option<(Vec<State>, bool)> {
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
    fn is_left_out(&mut self, directory: &Pending, candidate: &Candidate, is_directory: bool) -> bool {
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

    fn file(&mut self, path: PathBuf, found: Found, patterns: &[usize]) -> Result<()> {
        let shown = self.shown.join(&path);
        let metadata = &found.metadata;
        if !metadata.is_file() {
            return Err(Error::NotAFile { path: shown, kind: kind_of(metadata.file_type()) });
        }
        let Some(path) = path.to_str() else { return Err(Error::NotUtf8 { path: shown }) };
        let path: FilePath = path.parse().map_err(|source| Error::InvalidPath { directory: self.shown.to_owned(), source })?;
        found.within.may_read(&found.below).map_err(|obstacle| obstacle.since(&shown))?;
        self.matched(patterns, &Match::Found);
        let size = metadata.len();
        let named_by = patterns.iter().filter_map(|&pattern| self.commands.get(pattern));
        let command = named_by.min_by_key(|command| (Reverse(command.depth), rank(command.layer_kind())));
        let (kind, inferred) = command.map_or_else(|| (classify(&path, size).0, true), |command| command.kind_of(&path, size));
        let executable = metadata.permissions().mode() & 0o100 != 0;
        self.files.push(PlannedFile { path, source: found.into_source(), kind, inferred, size, executable });
        Ok(())
    }
}

/// Why a directory that was seen a moment ago cannot be listed.
fn not_listed(obstacle: Obstacle, shown: &Path) -> modelpack_transfer::Error {
    match obstacle.since(shown) {
        modelpack_transfer::Error::Io { source, .. } => modelpack_transfer::Error::io("list", shown)(source),
        error => error,
    }
}

/// What it is that is no file.
fn kind_of(file_type: FileType) -> &'static str {
    match file_type {
        t if t.is_dir() => "directory",
        t if t.is_fifo() => "named pipe",
        t if t.is_socket() => "socket",
        _ => "device",
    }
}
