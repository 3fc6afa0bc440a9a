//! What is asked about, packed or not.

use crate::{PackRequest, Place};

/// A model: an artifact, or a directory that could become one.
#[derive(Clone, Debug)]
pub enum Model {
    /// An artifact.
    Place(Place),
    /// A directory, and how it would be packed.
    Directory(Box<PackRequest>),
}
