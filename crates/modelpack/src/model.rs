//! What is asked about, packed or not.

use crate::{PackRequest, Place};
use std::fmt;

/// A model: an artifact, or a directory that could become one.
#[derive(Clone, Debug)]
pub enum Model {
    /// An artifact.
    Place(Place),
    /// A directory, and how it would be packed.
    Directory(Box<PackRequest>),
}

/// The name of the artifact, or the path of the directory.
impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Directory(request) => request.directory.display().fmt(f),
        }
    }
}
