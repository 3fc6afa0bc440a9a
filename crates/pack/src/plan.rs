//! Planning: which files of a tree make an artifact, their kinds, and their order.
//!
//! A plan depends only on names, contents and the owner's `x` bits, and not on the location of the
//! files, the order of a directory listing, or times.

mod filter;
mod hub_cache;
mod kitignore;
mod left_out;
mod level;
mod listed;
mod on_disk;
mod source;
#[cfg(test)]
mod tests;
mod tree;

use crate::{
    ArtifactFiles, Error, Modelfile, Result, StoredArchive, classify,
    directory::{Directory, failed},
    directory_files::DirectoryFiles,
    modelfile::{FileCommand, ModelfileProblem, Pattern},
};
use filter::Ignores;
use kitignore::KitIgnore;
use left_out::IGNORE_FILE;
use level::{Level, State, Wanted};
use listed::ListedTree;
use modelpack_describe::ModelFiles;
use modelpack_spec::{FilePath, LayerKind, PathSet};
use modelpack_transfer::{FileEntry, Files, FilesReader, OpenFile};
use on_disk::{DirectoryTree, kind_of};
use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeSet,
    ffi::OsString,
    fmt,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};
use tree::{Taken, Tree};

pub use filter::FileFilter;
pub(crate) use source::SourceFile;

/// The files of an artifact to be packed.
#[derive(Clone)]
pub struct Plan {
    /// The files in the order weight configs, weights, code, data sets, docs. Within a kind, files
    /// of the top directory come first; then files are sorted by the bytes of their paths. Never
    /// empty.
    pub files: Vec<PlannedFile>,
    /// Existing archives that contain several of the files.
    pub(crate) archives: Vec<StoredArchive>,
    content: Arc<dyn Files>,
}

impl Plan {
    /// The files as a model, for [`infer`](modelpack_describe::infer()) and
    /// [`gaps`](modelpack_describe::gaps()). Remote files are read on the runtime in which this is
    /// called.
    pub fn model(&self) -> ModelFiles {
        let files = self.files.iter().map(|file| (file.path.clone(), file.size, file.kind));
        ModelFiles::new(FilesReader::new(self.content.clone()), files)
    }

    /// The tree with exactly these files.
    pub fn content(&self) -> &Arc<dyn Files> {
        &self.content
    }

    /// A plan of `files`, which are all in `content`.
    pub(crate) fn new(files: Vec<PlannedFile>, archives: Vec<StoredArchive>, content: Arc<dyn Files>) -> Self {
        Self { files, archives, content }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("files", &self.files).finish_non_exhaustive()
    }
}

/// A file that becomes a layer or a part of one.
#[derive(Clone)]
pub struct PlannedFile {
    /// Its path in the artifact.
    pub path: FilePath,
    /// The kind of the file.
    pub kind: LayerKind,
    /// Whether the kind was inferred from the name ([`classify`]) and not given by a Modelfile.
    pub inferred: bool,
    /// Its size in bytes.
    pub size: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// The tree with the file at this path.
    pub(crate) content: Arc<dyn Files>,
}

impl PlannedFile {
    /// The order of two files in an artifact.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        place(self.kind, &self.path).cmp(&place(other.kind, &other.path))
    }

    /// Opens the file.
    pub(crate) async fn open(&self) -> Result<Arc<dyn OpenFile>, modelpack_transfer::Error> {
        self.content.open(&self.path).await
    }

    fn new(selected: Selected, content: Arc<dyn Files>) -> Self {
        let Selected { path, kind, inferred, size, executable } = selected;
        Self { path, kind, inferred, size, executable, content }
    }
}

/// The location of the bytes is not part of the plan.
impl PartialEq for PlannedFile {
    fn eq(&self, other: &Self) -> bool {
        let what = |file: &Self| (file.kind, file.inferred, file.size, file.executable);
        self.path == other.path && what(self) == what(other)
    }
}

impl Eq for PlannedFile {}

impl fmt::Debug for PlannedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, kind, inferred, size, executable, .. } = self;
        f.debug_struct("PlannedFile")
            .field("path", path)
            .field("kind", kind)
            .field("inferred", inferred)
            .field("size", size)
            .field("executable", executable)
            .finish_non_exhaustive()
    }
}

/// Plans an artifact of the files in `directory`. This call blocks, and reads no files.
///
/// **Without a Modelfile**, or with one that names no files, all files are taken, including those
/// in nested directories. Left out are hidden files and directories (whose names begin with a dot);
/// `__pycache__`, `*.pyc`, `*.pyo`, `*.pyd`; the directories of version control (`CVS`, `_darcs`);
/// files of operating systems (`__MACOSX`, `Thumbs.db`, `desktop.ini`, `lost+found`); incomplete
/// downloads (`*.incomplete`); and a `Modelfile` or `Kitfile` in `directory` itself. These names
/// are case-insensitive.
///
/// **With a Modelfile**, a file is taken once if a command names it, with the kind of the first of
/// `CONFIG`, `MODEL`, `CODE`, `DATASET`, `DOC` that names it. A path without `*`, `?` and `[` must
/// exist; it takes the file that it names, whatever that is, or all files below the directory that
/// it names. Wildcards match hidden names, but not the other names that are left out, `.git` and
/// similar directories, or `.cache` and other caches. `*` stays within one directory, and `**`
/// matches any number of directories that are not left out. A wildcard without a match is not an
/// error; a wildcard that matches only directories is. Files that no command names are ignored. A
/// Kitfile names only files and directories, and if two entries name a file the longer path takes
/// it.
///
/// **Ignore files** exclude more files: each `.modelpackignore` in `directory` and below, with
/// git's rules. It is an error if this excludes a file that the Modelfile names without wildcards.
/// With a Kitfile, `.kitignore` in `directory` also applies, with KitOps' rules. `filter` overrides
/// the Modelfile and the default exclusions. Excluded directories are not searched.
///
/// **Links** are followed to files and directories below `directory`. Links that point elsewhere,
/// dangling links, and links to a directory that contains the link are refused. If `directory` is
/// in a snapshot of a Hugging Face cache (`models--*/snapshots/*`), links may also point to the
/// `blobs` of that cached repository, and from there to the `blobs` that all repositories of the
/// cache share, if the cache declares them. Files that are replaced during planning cannot change
/// what is planned: directories are held open, and the target of a link is opened without following
/// another link.
///
/// Unreadable files are reported here, before anything is packed.
pub fn plan(directory: &Path, modelfile: Option<&Modelfile>, filter: &FileFilter) -> Result<Plan> {
    let tree = DirectoryTree::open(directory)?;
    let selected = select(&tree, modelfile, filter)?;
    let (selected, sources): (Vec<_>, Vec<_>) = selected.into_iter().map(|planned| (planned.file, planned.source)).unzip();
    let sources = selected.iter().map(Selected::entry).zip(sources).collect();
    Ok(plan_of(selected, Arc::new(DirectoryFiles::new(Some(tree.top().clone()), sources))))
}

/// Plans an artifact of the files of another artifact. This call blocks only to read the listing.
///
/// **Without a Modelfile**, all files are taken, because the author of the artifact has selected
/// them. Their kinds come from their layers or else from their names. **With a Modelfile**, the
/// files that it names are taken, as from a directory. `filter` applies in both cases; ignore files
/// are ordinary files.
pub fn plan_artifact(files: &Arc<ArtifactFiles>, modelfile: Option<&Modelfile>, filter: &FileFilter) -> Result<Plan> {
    let tree = ListedTree::new(files);
    let selected: Vec<Selected> = select(&tree, modelfile, filter)?.into_iter().map(|planned| planned.file).collect();
    let archives = files.archives().to_vec();
    Ok(Plan { archives, ..plan_of(selected, files.clone()) })
}

/// The plan of the selected files of `content`, in plan order.
fn plan_of(selected: Vec<Selected>, content: Arc<dyn Files>) -> Plan {
    let mut files: Vec<PlannedFile> = selected.into_iter().map(|file| PlannedFile::new(file, content.clone())).collect();
    files.sort_unstable_by(PlannedFile::order);
    Plan::new(files, Vec::new(), content)
}

/// The files of `tree` that make an artifact.
fn select<T: Tree>(tree: &T, modelfile: Option<&Modelfile>, filter: &FileFilter) -> Result<Vec<Planned<T::Source>>> {
    let everything = Pattern::everything();
    let commands = modelfile.map(Modelfile::files).unwrap_or_default();
    let patterns: Vec<&Pattern> = if commands.is_empty() { vec![&everything] } else { commands.iter().map(|c| &c.pattern).collect() };
    let kitignore = match modelfile {
        Some(modelfile) if modelfile.is_kitfile() && !filter.takes_included_only() => KitIgnore::read(tree)?,
        _ => None,
    };
    let mut walk = Walk {
        filter,
        kitignore,
        tree,
        patterns: &patterns,
        commands,
        matches: vec![Match::Nothing; patterns.len()],
        files: Vec::new(),
        ignored_by: BTreeSet::new(),
        pending: Vec::new(),
    };
    walk.all()?;

    let Walk { files, matches, ignored_by, .. } = walk;
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
        return Err(Error::Empty { files: tree.name(), rules });
    }
    let mut paths = PathSet::default();
    let mut sorted: Vec<&FilePath> = files.iter().map(|planned| &planned.file.path).collect();
    // Sorted, so that the same one of several errors is reported on every machine.
    sorted.sort_unstable();
    for path in sorted {
        paths.insert(path).map_err(|source| Error::InvalidPath { files: tree.name(), source })?;
    }
    Ok(files)
}

/// Plans the single file `source` with the path `path` in the artifact. Without `kind`, the name
/// determines the kind. This call blocks, and does not read the file.
///
/// A link is followed to any place, because the user gave this path.
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
    let selected = Selected { path, kind, inferred, size, executable };
    let files = DirectoryFiles::new(None, vec![(selected.entry(), SourceFile::new(parent, name.into(), &metadata))]);
    Ok(PlannedFile::new(selected, Arc::new(files)))
}

/// Opens the file `name` in `directory`. `shown` is its name in errors. A link is followed with the
/// rules for planned files.
pub(crate) fn open_in(directory: &Path, name: &str, shown: &Path) -> Result<File> {
    let tree = DirectoryTree::open(directory)?;
    tree.open_file(tree.top(), name.into(), shown)
}

/// The rank of a kind: it orders layers, and decides between two commands that name a file.
fn rank(kind: LayerKind) -> Option<usize> {
    LayerKind::ALL.iter().position(|&k| k == kind)
}

/// The position of a file in an artifact: by its kind, then files of the top directory before
/// others, then by the bytes of the path.
///
/// Several readers use the first file with a certain name, or its directory, as the model's own. So
/// the files of a model's part, which are in a subdirectory, come later.
pub(crate) fn place(kind: LayerKind, path: &FilePath) -> (Option<usize>, bool, &FilePath) {
    (rank(kind), path.components().nth(1).is_some(), path)
}

/// What a pattern has matched. Later variants override earlier ones.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Nothing,
    /// Files that an ignore file excludes, with the rule.
    Ignored(String),
    /// Files that the filter excludes.
    Excluded,
    /// Directories, none of which the pattern takes.
    OnlyDirectories,
    /// A file, or a directory whose files the pattern takes.
    Found,
}

struct Walk<'a, T: Tree> {
    filter: &'a FileFilter,
    kitignore: Option<KitIgnore>,
    tree: &'a T,
    patterns: &'a [&'a Pattern],
    /// The command of each pattern; empty without commands, when names determine the kinds.
    commands: &'a [FileCommand],
    matches: Vec<Match>,
    files: Vec<Planned<T::Source>>,
    /// The rules of ignore files that excluded something, for an error message.
    ignored_by: BTreeSet<String>,
    pending: Vec<Pending<T::Directory>>,
}

/// A selected file, and the means to open it.
struct Planned<S> {
    file: Selected,
    source: S,
}

/// The properties of a selected file: see [`PlannedFile`].
struct Selected {
    path: FilePath,
    kind: LayerKind,
    inferred: bool,
    size: u64,
    executable: bool,
}

impl Selected {
    fn entry(&self) -> FileEntry {
        FileEntry { path: self.path.clone(), size: self.size, executable: self.executable }
    }
}

/// A directory to list.
struct Pending<D> {
    /// Its path below the top.
    path: String,
    directory: D,
    states: Vec<State>,
    ignores: Ignores,
    /// Whether only files that the filter includes are taken.
    only_included: bool,
}

/// A file or directory that patterns may want.
struct Candidate {
    /// Its path below the top.
    path: String,
    /// The patterns that want it by default.
    usual: Wanted,
    /// The patterns that want it because an include names it, even if it is left out by default.
    named: Option<Wanted>,
}

impl<T: Tree> Walk<'_, T> {
    /// Visits every directory to which a pattern leads. There is no recursion, because a hostile
    /// tree may be deeper than the stack.
    fn all(&mut self) -> Result<()> {
        let states = (0..self.patterns.len()).map(|pattern| State { pattern, matched: 0 }).collect();
        self.pending.push(Pending {
            path: String::new(),
            directory: self.tree.root(),
            states,
            ignores: Ignores::default(),
            only_included: self.filter.takes_included_only(),
        });
        while let Some(mut pending) = self.pending.pop() {
            let states = std::mem::take(&mut pending.states);
            let level = Level::new(self.patterns, &states, pending.path.is_empty());
            self.matched(&level.all_below().collect::<Vec<_>>(), &Match::Found);
            let open = self.tree.open(&pending.directory)?;
            let names = self.tree.names(&pending.directory, &open)?;
            if !self.filter.takes_included_only()
                && !self.tree.is_chosen()
                && names.iter().any(|name| name == IGNORE_FILE)
                && let Some(rules) = self.tree.rules(&pending.directory, IGNORE_FILE)?
            {
                pending.ignores = pending.ignores.with(&pending.path, &rules)?;
            }
            for name in names {
                self.entry(&pending, &open, &level, name)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, within: &Pending<T::Directory>, open: &T::Open, level: &Level<'_>, name: OsString) -> Result<()> {
        // If the name is needed and is not UTF-8, the tree refuses it later.
        let text = name.to_string_lossy();
        let path = if within.path.is_empty() { text.to_string() } else { format!("{}/{text}", within.path) };
        let mut wanted = Candidate { path, usual: level.wanted(&text, self.tree.is_chosen() && self.commands.is_empty()), named: None };
        if self.filter.include.name(Path::new(&*text)) {
            wanted.named = Some(level.wanted(&text, true));
        } else if wanted.usual.is_empty() {
            return Ok(());
        }
        let (is_directory, found) = self.tree.look(&within.directory, open, &name)?;
        if !is_directory {
            let patterns = self.takers(within, &wanted);
            return if patterns.is_empty() { Ok(()) } else { self.file(&wanted.path, found, &patterns) };
        }
        let Some((states, only_included)) = self.way_into(within, &wanted) else { return Ok(()) };
        let directory = self.tree.enter(found)?;
        self.pending.push(Pending { path: wanted.path, directory, states, ignores: within.ignores.clone(), only_included });
        Ok(())
    }

    /// The patterns that take the file.
    fn takers(&mut self, directory: &Pending<T::Directory>, file: &Candidate) -> Vec<usize> {
        if self.is_left_out(directory, file, false) {
            return Vec::new();
        }
        if self.filter.include.includes(Path::new(&file.path), false) {
            return file.named.as_ref().unwrap_or(&file.usual).as_file.clone();
        }
        if directory.only_included {
            self.left_out(file, &Match::Excluded);
            return Vec::new();
        }
        file.usual.as_file.clone()
    }

    /// The states of the patterns in the directory `inner`, if it may contain wanted files, and
    /// whether only included files are taken there.
    fn way_into(&mut self, directory: &Pending<T::Directory>, inner: &Candidate) -> Option<(Vec<State>, bool)> {
        if self.is_left_out(directory, inner, true) {
            return None;
        }
        self.matched(&inner.usual.as_file, &Match::OnlyDirectories);
        if !directory.only_included && !inner.usual.as_directory.is_empty() {
            return Some((inner.usual.as_directory.clone(), false));
        }
        let states = &inner.named.as_ref().unwrap_or(&inner.usual).as_directory;
        if !states.is_empty() && self.filter.include.may_include_below(Path::new(&inner.path)) {
            return Some((states.clone(), true));
        }
        self.left_out(inner, &Match::Excluded);
        None
    }

    /// Whether an exclude or an ignore file leaves it out.
    fn is_left_out(&mut self, directory: &Pending<T::Directory>, candidate: &Candidate, is_directory: bool) -> bool {
        let ignored = || {
            let kitignore = self.kitignore.as_ref().and_then(|ignore| ignore.rule(&candidate.path, is_directory));
            kitignore.or_else(|| directory.ignores.rule(&candidate.path, is_directory))
        };
        if self.filter.exclude.decide(Path::new(&candidate.path), is_directory).is_some_and(|decision| decision.is_match) {
            self.left_out(candidate, &Match::Excluded);
        } else if let Some(rule) = ignored() {
            self.left_out(candidate, &Match::Ignored(rule.clone()));
            self.ignored_by.insert(rule);
        } else {
            return false;
        }
        true
    }

    /// Records for the patterns that want it why it is left out.
    fn left_out(&mut self, candidate: &Candidate, why: &Match) {
        let into = candidate.usual.as_directory.iter().map(|state| state.pattern);
        let patterns: Vec<usize> = candidate.usual.as_file.iter().copied().chain(into).collect();
        self.matched(&patterns, why);
    }

    /// Records that patterns have matched this, in addition to earlier matches.
    fn matched(&mut self, patterns: &[usize], what: &Match) {
        for &pattern in patterns {
            if self.matches[pattern] < *what {
                self.matches[pattern] = what.clone();
            }
        }
    }

    fn file(&mut self, path: &str, found: T::Found, patterns: &[usize]) -> Result<()> {
        let Taken { size, executable, kind, source } = self.tree.take(found)?;
        let path: FilePath = path.parse().map_err(|source| Error::InvalidPath { files: self.tree.name(), source })?;
        self.matched(patterns, &Match::Found);
        let named_by = patterns.iter().filter_map(|&pattern| self.commands.get(pattern));
        let command = named_by.min_by_key(|command| (Reverse(command.depth), rank(command.layer_kind())));
        let by_name = || (classify(&path, size).0, true);
        let (kind, inferred) = command.map_or_else(|| kind.unwrap_or_else(by_name), |command| command.kind_of(&path, size));
        self.files.push(Planned { file: Selected { path, kind, inferred, size, executable }, source });
        Ok(())
    }
}
