//! The directory of an image that has the files of the model.

use crate::unpack::invalid;
use modelpack_spec::{FilePath, InvalidPath};
use modelpack_transfer::{Error, Result};
use std::{fmt, str::FromStr};

/// A file with this beginning of its name is no file in a layer: it says that the layers below have
/// something that is deleted (OCI image specification, "whiteouts").
const WHITEOUT: &str = ".wh.";

/// The directory of an image that has the files of the model: an absolute path, such as `/models`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePrefix(Option<FilePath>);

impl Default for ImagePrefix {
    /// `/models`, where KServe expects a model.
    fn default() -> Self {
        Self(Some("models".parse().expect("it is a path")))
    }
}

impl fmt::Display for ImagePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0.as_ref().map_or("", FilePath::as_str))
    }
}

impl FromStr for ImagePrefix {
    type Err = InvalidImagePrefix;

    /// Accepts `/` for the top of the image, and repeated or trailing slashes.
    fn from_str(text: &str) -> Result<Self, InvalidImagePrefix> {
        let refuse = |why: &str| InvalidImagePrefix { prefix: text.chars().take(300).collect(), why: why.to_owned() };
        let Some(path) = text.strip_prefix('/') else { return Err(refuse("it does not begin with `/`")) };
        let path = path.trim_start_matches('/');
        if path.is_empty() {
            return Ok(Self(None));
        }
        let path: FilePath = path.parse().map_err(|invalid: InvalidPath| refuse(invalid.reason()))?;
        if is_whiteout(&path) {
            return Err(refuse("a name that begins with `.wh.` means a deletion in an image"));
        }
        Ok(Self(Some(path)))
    }
}

/// The text is not the absolute path of a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{prefix:?} cannot be the directory of the files in an image: {why}")]
pub struct InvalidImagePrefix {
    prefix: String,
    why: String,
}

impl ImagePrefix {
    /// The directory, if it is not the top of the image.
    pub(super) fn directory(&self) -> Option<&FilePath> {
        self.0.as_ref()
    }

    /// The path in the image of a file or directory of the model. `what` is its layer.
    ///
    /// Refuses a path that means a deletion, and one that is too long.
    pub(super) fn place(&self, what: &str, path: &FilePath) -> Result<FilePath> {
        if is_whiteout(path) {
            let why = format!("the path {path} has a name that begins with {WHITEOUT}, which means a deletion in an image");
            return Err(Error::Invalid { what: what.to_owned(), why });
        }
        match &self.0 {
            None => Ok(path.clone()),
            Some(prefix) => format!("{prefix}/{path}").parse().map_err(invalid(what)),
        }
    }
}

fn is_whiteout(path: &FilePath) -> bool {
    path.components().any(|name| name.starts_with(WHITEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ImagePrefix {
        text.parse().unwrap()
    }

    #[test]
    fn absolute_paths_are_prefixes() {
        assert_eq!(parsed("/models"), ImagePrefix::default());
        for (text, shown) in [("/models", "/models"), ("//srv/./models//", "/srv/models"), ("/", "/"), ("///", "/"), ("/ü b", "/ü b")] {
            assert_eq!(parsed(text).to_string(), shown);
            assert_eq!(parsed(shown), parsed(text));
        }
    }

    #[test]
    fn other_paths_are_refused_with_the_reason() {
        let (long, deep) = (format!("/{}", "x".repeat(256)), "/d".repeat(257));
        for (text, why) in [
            ("", "begin with"),
            ("models", "begin with"),
            ("../models", "begin with"),
            ("/..", "`..`"),
            ("/models/../etc", "`..`"),
            ("/.", "does not name"),
            ("/a\\b", "backslash"),
            ("/a\0b", "NUL"),
            ("/C:/models", "drive"),
            ("/a/.wh.b/c", "deletion"),
            ("/.wh..wh..opq", "deletion"),
            (&long, "255 bytes"),
            (&deep, "deep"),
        ] {
            let error = text.parse::<ImagePrefix>().unwrap_err().to_string();
            assert!(error.contains(why) && error.len() < 1000, "{error}");
        }
    }

    #[test]
    fn a_path_of_the_model_is_below_the_prefix() {
        let place = |prefix: &str, path: &str| parsed(prefix).place("layer x", &path.parse().unwrap());
        assert_eq!(place("/", "a/b").unwrap().as_str(), "a/b");
        assert_eq!(place("/srv/models", "a/b").unwrap().as_str(), "srv/models/a/b");
        for path in [".wh.a", "a/.wh..wh..opq", ".wh.d/x", ".wh."] {
            assert!(place("/models", path).unwrap_err().to_string().contains("means a deletion"), "{path}");
        }
        assert_eq!(place("/models", "a.wh.b/x.wh.").unwrap().as_str(), "models/a.wh.b/x.wh.");
        assert!(place("/models", &"d/".repeat(256)).unwrap_err().to_string().contains("layer x"));
    }
}
