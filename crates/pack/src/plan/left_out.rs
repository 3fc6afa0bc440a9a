//! Names that are not files of a model unless a Modelfile names them without wildcards.

/// The ignore file, which applies to its directory and below.
pub(super) const IGNORE_FILE: &str = ".modelpackignore";

/// Names of version control, caches and operating systems, in lower case.
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
    // Repaired files of a disk, which only root can list. The model may be the only content of a
    // disk.
    "lost+found",
];

/// Suffixes of compiled Python files and of incomplete downloads, in lower case.
const SUFFIXES: [&str; 4] = [".pyc", ".pyo", ".pyd", ".incomplete"];

/// Whether the file or directory is hidden.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// Whether the file or directory never belongs to a model, even if a wildcard matches it.
pub(super) fn is_foreign(name: &str, at_top: bool) -> bool {
    let name = name.to_lowercase();
    NAMES.contains(&name.as_str())
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        // Metadata files that macOS writes on file systems without support for them.
        || name.starts_with("._")
        || (at_top && matches!(name.as_str(), "modelfile" | "kitfile"))
}
