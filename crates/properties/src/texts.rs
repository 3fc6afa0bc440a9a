//! Texts that people write: Modelfiles, paths, references.

use modelpack_pack::{Modelfile, ModelfileError};
use modelpack_spec::{FilePath, PathSet, Reference};

/// An error in a Modelfile points to a position in the text.
pub(crate) fn modelfile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = Modelfile::parse(&text) {
        points_into(&text, &error);
    }
}

/// An error in a Kitfile points to a position in the text.
pub(crate) fn kitfile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = Modelfile::parse_kitfile(&text) {
        points_into(&text, &error);
    }
}

fn points_into(text: &str, error: &ModelfileError) {
    let line = text.lines().nth(error.line - 1).expect("the error is on a line of the text");
    assert_eq!(error.text, line);
    assert!((1..=line.chars().count() + 1).contains(&error.column), "{error}");
}

/// Accepted paths, one per line, print unchanged, and sets of them can be written to one directory.
pub(crate) fn path(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut set = PathSet::default();
    for line in text.split('\n') {
        let Ok(path) = line.parse::<FilePath>() else { continue };
        assert_eq!(path.as_str().parse::<FilePath>().as_ref(), Ok(&path));
        assert!(!path.as_str().starts_with('/') && path.components().all(|part| !matches!(part, "" | "." | "..")), "{path}");
        if set.insert(&path).is_ok() {
            assert!(set.insert(&path).is_err(), "{path} is accepted twice");
        }
    }
}

/// A printed reference parses as the same reference.
pub(crate) fn reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(reference) = text.parse::<Reference>() else { return };
    assert_eq!(reference.to_string().parse::<Reference>().as_ref(), Ok(&reference));
}
