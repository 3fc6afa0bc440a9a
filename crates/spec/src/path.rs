//! Paths of files in an artifact: relative, with `/`, and safe on every system that they may be
//! written to.

use serde::{Deserialize, Serialize};
use std::{collections::HashMap, fmt, str::FromStr};
use unicode_normalization::UnicodeNormalization;

/// Real models have no deeper paths, and each directory of each path costs time and memory.
const MAX_DEPTH: usize = 256;

/// A relative path of normal components: no `..`, no root, no drive, no backslash and no NUL. Each
/// component has at most 255 bytes; the path has at most 4096 bytes and 256 components.
///
/// Every file name from outside (an annotation, a tar entry) is parsed into this type before it is
/// used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

impl FilePath {
    /// The whole path, components separated by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, first to last.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> String {
        path.0
    }
}

impl TryFrom<String> for FilePath {
    type Error = InvalidPath;

    fn try_from(path: String) -> Result<Self, InvalidPath> {
        path.parse()
    }
}

impl FromStr for FilePath {
    type Err = InvalidPath;

    /// Accepts a leading `./` and repeated or trailing slashes, as archivers write them.
    fn from_str(path: &str) -> Result<Self, InvalidPath> {
        let invalid = |why| InvalidPath::new(path, why);
        if path.starts_with('/') {
            return Err(invalid("it is absolute"));
        }
        if path.contains('\0') {
            return Err(invalid("it contains a NUL"));
        }
        if path.contains('\\') {
            return Err(invalid("it contains a backslash, which separates components on some systems"));
        }
        let components: Vec<&str> = path.split('/').filter(|c| !c.is_empty() && *c != ".").collect();
        if components.is_empty() {
            return Err(invalid("it does not name a file"));
        }
        if components.contains(&"..") {
            return Err(invalid("it contains `..`"));
        }
        if components.iter().any(|c| c.len() > 255) {
            return Err(invalid("a component is longer than 255 bytes"));
        }
        if components.len() > MAX_DEPTH {
            return Err(invalid("it is more than 256 directories deep"));
        }
        let joined = components.join("/");
        // Checked on the normalised path, because a `./` may have preceded the drive letter.
        if matches!(joined.as_bytes(), [drive, b':', ..] if drive.is_ascii_alphabetic()) {
            return Err(invalid("it begins with a drive letter"));
        }
        if joined.len() > 4096 {
            return Err(invalid("it is longer than 4096 bytes"));
        }
        Ok(Self(joined))
    }
}

/// The path would leave its target directory, or cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {path:?} is refused: {why}")]
pub struct InvalidPath {
    path: String,
    why: &'static str,
}

impl InvalidPath {
    /// A hostile path may be megabytes long, so only its beginning is shown.
    fn new(path: &str, why: &'static str) -> Self {
        const SHOWN: usize = 300;
        let mut shown: String = path.chars().take(SHOWN).collect();
        if shown.len() < path.len() {
            shown.push('…');
        }
        Self { path: shown, why }
    }

    /// Why the path is refused, without the path.
    pub fn reason(&self) -> &'static str {
        self.why
    }
}

/// The paths of one artifact. Refuses two paths that cannot both exist in one directory.
#[derive(Default)]
pub struct PathSet {
    files: HashMap<String, FilePath>,
    directories: HashMap<String, FilePath>,
}

impl PathSet {
    /// Adds `path`.
    ///
    /// Refuses a path that was added before, a path that differs from another only in case or
    /// Unicode normalisation (the same file on some systems), and a path that is a file here and a
    /// directory elsewhere in the set.
    pub fn insert(&mut self, path: &FilePath) -> Result<(), InvalidPath> {
        let refuse = |why| InvalidPath::new(&path.0, why);
        let folded = self.insert_directories(path, path.components().count() - 1)?;
        if let Some(other) = self.files.get(&folded) {
            return Err(refuse(if other == path {
                "two files have this path"
            } else {
                "another file's path differs from it only in case or Unicode form, and is the same file on some systems"
            }));
        }
        if self.directories.contains_key(&folded) {
            return Err(refuse("it is both a file and a directory"));
        }
        self.files.insert(folded, path.clone());
        Ok(())
    }

    /// Adds `path` as a directory, which may have been added before. Refuses the same clashes as
    /// [`insert`](Self::insert).
    pub fn insert_directory(&mut self, path: &FilePath) -> Result<(), InvalidPath> {
        self.insert_directories(path, path.components().count()).map(|_| ())
    }

    /// Adds the first `directories` components of `path` as directories. Returns the whole path
    /// case-folded.
    fn insert_directories(&mut self, path: &FilePath, directories: usize) -> Result<String, InvalidPath> {
        let refuse = |why| InvalidPath::new(&path.0, why);
        let mut folded = String::with_capacity(path.0.len());
        let mut len = 0;
        for (depth, component) in path.components().enumerate() {
            if depth > 0 {
                folded.push('/');
                len += 1;
            }
            folded.push_str(&fold(component));
            len += component.len();
            if depth >= directories {
                continue;
            }
            if self.files.contains_key(&folded) {
                return Err(refuse("one of its directories is a file"));
            }
            match self.directories.get(&folded) {
                Some(first) if first.0 != path.0[..len] => {
                    return Err(refuse("one of its directories differs from another path's directory only in case or Unicode form"));
                }
                Some(_) => {}
                None => {
                    self.directories.insert(folded.clone(), FilePath(path.0[..len].to_owned()));
                }
            }
        }
        Ok(folded)
    }

    /// Whether `path` was added.
    pub fn contains(&self, path: &FilePath) -> bool {
        self.files.get(&path.components().map(fold).collect::<Vec<_>>().join("/")) == Some(path)
    }
}

/// Maps all components that are one name on a case-insensitive, normalising file system to one
/// text.
fn fold(component: &str) -> String {
    component.nfc().flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_paths_are_refused() {
        let long = "x".repeat(256);
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            "..",
            ".",
            "./",
            "a\\..\\x",
            "..\\x",
            "C:\\x",
            "C:x",
            "./C:/x",
            "a\0b",
            long.as_str(),
            &"d/".repeat(257),
        ] {
            assert!(bad.parse::<FilePath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ordinary_and_unusual_paths_are_accepted() {
        let longest = "y".repeat(255);
        for good in ["a", "a/b", "with space.txt", "we[i]rd", "quo\"te'", "ünï/çødé", "..a", "a..", "...", longest.as_str()] {
            assert_eq!(good.parse::<FilePath>().unwrap().as_str(), good);
        }
        assert_eq!("./a//b/".parse::<FilePath>().unwrap().as_str(), "a/b");
    }

    #[test]
    fn paths_that_clash_are_refused() {
        let insert_all = |paths: &[&str]| {
            let mut set = PathSet::default();
            paths.iter().try_for_each(|p| set.insert(&p.parse().unwrap()))
        };
        assert!(insert_all(&["a", "b/a", "b/c", "d/e/f"]).is_ok());
        for bad in [&["a", "a"][..], &["a", "A"], &["a", "a/b"], &["a/b", "a"], &["é", "e\u{301}"], &["A/b", "a/c"]] {
            assert!(insert_all(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_directory_may_be_added_twice_but_not_over_a_file() {
        let path = |p: &str| p.parse::<FilePath>().unwrap();
        let mut set = PathSet::default();
        set.insert(&path("d/file")).unwrap();
        for good in ["d", "d", "d/e", "empty/f"] {
            set.insert_directory(&path(good)).unwrap();
        }
        for bad in ["d/file", "d/FILE", "d/file/x", "D"] {
            assert!(set.insert_directory(&path(bad)).is_err(), "{bad:?}");
        }
        assert!(set.insert(&path("empty/f")).is_err());
    }
}
