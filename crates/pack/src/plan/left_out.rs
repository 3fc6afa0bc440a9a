//! Names that are not taken for files of a model unless a Modelfile spells them out.

/// The file that says which files beside and below it are left out.
pub(super) const IGNORE_FILE: &str = ".modelpackignore";

/// Names of what version control, caches and systems keep beside a model's files, in lower case.
const NAMES: [&str; 19] = [
    IGNORE_FILE,
    ".git",
    ".hg",
    ".svn",
    ".bzr",
    ".jj",
    "cvs",
    "_darcs",
    ".cache",
    "__pycache__",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".ds_store",
    "__macosx",
    "thumbs.db",
    "desktop.ini",
    // Where a disk keeps what a repair found, which only root may list: a model may well be all there is on a disk.
    "lost+found",
];

/// Ends of the names of compiled Python and of downloads that never ended, in lower case.
const SUFFIXES: [&str; 4] = [".pyc", ".pyo", ".pyd", ".incomplete"];

/// Whether the file or directory is hidden.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// Whether the file or directory is never a model's, whatever wildcard matches it.
pub(super) fn is_foreign(name: &str, at_top: bool) -> bool {
    let name = name.to_lowercase();
    NAMES.contains(&name.as_str())
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        // The second half that macOS writes of a file where the filesystem has no place for it.
        || name.starts_with("._")
        || (at_top && matches!(name.as_str(), "modelfile" | "kitfile"))
}
