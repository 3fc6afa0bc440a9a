//! Directories with names that break careless programs, and the comparison of two directories.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Writes files with legal but odd names into `directory`, which is made if need be. Each holds its own name, or nothing.
///
/// All of them may be in one artifact: no two differ only in case or Unicode form.
pub fn write_odd_names(directory: &Path) {
    let longest = [&"n".repeat(251), ".txt"].concat();
    let longest_cyrillic = ["ж".repeat(127), "x".to_owned()].concat();
    let odd = [
        "with space.txt",
        " leading and trailing ",
        "[bracket]{brace}(paren).txt",
        "*?!.txt",
        "it's \"quoted\" `here`.txt",
        "100% #1 & a=b;c, d+e@f.txt",
        "$HOME ~.txt",
        "-rf",
        ".hidden",
        "...",
        "new\nline.txt",
        "tab\tand\u{1b}escape.txt",
        "名前-ünïçödé-🦙.txt",
        "decomposed-e\u{301}.txt",
        "deep/er/and/deep er/still [deep].bin",
        "naïve directory/модель.bin",
        &longest,
        &longest_cyrillic,
    ];
    for name in odd {
        write(directory, name, name);
    }
    for name in ["empty.txt", "nested/empty/.keep", "nested/empty/also empty.txt"] {
        write(directory, name, "");
    }
}

fn write(directory: &Path, name: &str, content: &str) {
    let path = directory.join(name);
    let parent = path.parent().expect("a name was joined to the directory");
    fs::create_dir_all(parent).and_then(|()| fs::write(&path, content)).unwrap_or_else(|e| panic!("cannot write {path:?}: {e}"));
}

/// Panics at the first [`difference`] between two directories.
#[track_caller]
pub fn assert_same_tree(left: &Path, right: &Path) {
    if let Some(difference) = difference(left, right) {
        panic!("{difference}");
    }
}

/// The first difference between two directories in names, bytes, executable bits or targets of symbolic links, in words.
///
/// An empty directory counts; owners, times and other permissions do not.
pub fn difference(left: &Path, right: &Path) -> Option<String> {
    let (left_entries, right_entries) = (entries(left), entries(right));
    for (one, other, place) in [(&left_entries, &right_entries, right), (&right_entries, &left_entries, left)] {
        if let Some((name, entry)) = one.iter().find(|(name, _)| !other.contains_key(*name)) {
            return Some(format!("{} lacks {name:?}, {}", place.display(), entry.describe()));
        }
    }
    left_entries.iter().find_map(|(name, entry)| {
        let other = &right_entries[name];
        if entry != other {
            let (is, but) = (entry.describe(), other.describe());
            return Some(format!("{name:?} is {is} in {}, but {but} in {}", left.display(), right.display()));
        }
        let Entry::File { .. } = entry else { return None };
        let (one, other) = (read(&left.join(name)), read(&right.join(name)));
        let at = one.iter().zip(&other).position(|(a, b)| a != b)?;
        Some(format!("{name:?} differs from byte {at} on between {} and {}", left.display(), right.display()))
    })
}

#[derive(PartialEq)]
enum Entry {
    File { len: u64, executable: bool },
    Link(PathBuf),
    EmptyDirectory,
    Special,
}

impl Entry {
    fn describe(&self) -> String {
        match self {
            Self::File { len, executable: true } => format!("an executable file of {len} bytes"),
            Self::File { len, executable: false } => format!("a file of {len} bytes"),
            Self::Link(target) => format!("a symbolic link to {target:?}"),
            Self::EmptyDirectory => "an empty directory".to_owned(),
            Self::Special => "neither file, link nor directory".to_owned(),
        }
    }
}

/// Everything below `root` by its relative path, except directories that hold something.
fn entries(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let list = |directory: &Path| -> Vec<PathBuf> {
        let listing = fs::read_dir(directory).unwrap_or_else(|e| panic!("cannot list {directory:?}: {e}"));
        listing.map(|entry| entry.expect("a directory that was opened can be read").path()).collect()
    };
    let mut found = BTreeMap::new();
    let mut waiting = list(root);
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("cannot look at {path:?}: {e}"));
        let entry = if metadata.is_dir() {
            let inside = list(&path);
            if !inside.is_empty() {
                waiting.extend(inside);
                continue;
            }
            Entry::EmptyDirectory
        } else if metadata.is_file() {
            Entry::File { len: metadata.len(), executable: metadata.permissions().mode() & 0o111 != 0 }
        } else if metadata.is_symlink() {
            Entry::Link(fs::read_link(&path).unwrap_or_else(|e| panic!("cannot read the link {path:?}: {e}")))
        } else {
            Entry::Special
        };
        found.insert(path.strip_prefix(root).expect("the path was listed under the root").to_owned(), entry);
    }
    found
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("cannot read {path:?}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::fs::symlink, panic::catch_unwind};

    #[test]
    fn names_reach_the_limit_of_255_bytes() {
        let directory = tempfile::tempdir().unwrap();
        write_odd_names(directory.path());
        let lengths = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().len());
        assert_eq!(lengths.filter(|len| *len == 255).count(), 2);
    }

    #[test]
    fn equal_trees_pass_and_every_kind_of_difference_is_named() {
        type Change = fn(&Path);
        let differences: [(&str, Change); 7] = [
            ("lacks \"-rf\", a file of 3 bytes", |root| fs::remove_file(root.join("-rf")).unwrap()),
            ("lacks \"left over\", an empty directory", |root| fs::create_dir(root.join("left over")).unwrap()),
            ("\"-rf\" differs from byte 1 on", |root| fs::write(root.join("-rf"), "-xf").unwrap()),
            ("but a file of 4 bytes", |root| fs::write(root.join("-rf"), "-rf\n").unwrap()),
            ("but an executable file of 3 bytes", |root| {
                fs::set_permissions(root.join("-rf"), fs::Permissions::from_mode(0o755)).unwrap();
            }),
            ("but an empty directory", |root| {
                fs::remove_file(root.join("-rf")).and_then(|()| fs::create_dir(root.join("-rf"))).unwrap();
            }),
            ("but a symbolic link to \"...\"", |root| {
                fs::remove_file(root.join("-rf")).and_then(|()| symlink("...", root.join("-rf"))).unwrap();
            }),
        ];
        for (message, make_different) in differences {
            let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            write_odd_names(left.path());
            write_odd_names(right.path());
            assert_same_tree(left.path(), right.path());
            make_different(right.path());
            let panic = catch_unwind(|| assert_same_tree(left.path(), right.path())).unwrap_err();
            let said = panic.downcast_ref::<String>().unwrap();
            assert!(said.contains(message), "{said}");
        }
    }
}
