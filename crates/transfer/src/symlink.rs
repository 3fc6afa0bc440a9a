//! Symbolic links to files that are replaced as a whole.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// How many links in a row are followed, as Linux does it.
const MAX_LINKS: usize = 40;

/// The file that `path` means, with links followed, also where the last one leads to a file that is not there yet: whoever replaces the
/// file puts the new one there, and the links stay. Blocks.
///
/// Fails if the links lead in a circle, and if they cannot be read.
pub fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match path.canonicalize() {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            target => return target,
        }
        // A directory that is not there is an error of whoever makes the file.
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(directory) = directory.canonicalize() else { return Ok(path) };
        let Some(name) = path.file_name() else { return Ok(path) };
        path = directory.join(name);
        match fs::read_link(&path) {
            Ok(target) => path = directory.join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links lead from one to the next"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_to_a_file_that_is_there_or_will_be() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/here"), "").unwrap();
        for (link, target) in [("a/b/1", "../../2"), ("2", "a/here"), ("3", "a/b/4"), ("a/b/4", "../new"), ("none", "nowhere/new")] {
            symlink(target, at(link)).unwrap();
        }
        for (path, expected) in [
            ("a/b/1", "a/here"),
            ("a/b/../b/1", "a/here"),
            ("3", "a/new"),
            ("a/b/new", "a/b/new"),
            ("none", "nowhere/new"),
            ("no/directory/new", "no/directory/new"),
        ] {
            assert_eq!(follow_links(&at(path)).unwrap(), at(expected), "{path}");
        }
        symlink("circle", at("circle")).unwrap();
        assert!(follow_links(&at("circle")).is_err());
    }
}
