//! Building documents that are valid: what [`Config`](crate::Config) and [`ImageManifest`](crate::ImageManifest) can hold of other tools'
//! habits, these refuse.
//!
//! [`ConfigBuilder`] holds values to the grammars of [`value`](crate::value). [`ArtifactBuilder`] makes config and manifest together, so that they
//! agree: annotations are written from the layers, `modelfs` is derived from them, and there are no `manifests` beside `layers`.

mod artifact;
mod config;

pub use artifact::{ArtifactBuilder, BuiltArtifact, LayerInput};
pub use config::ConfigBuilder;

use crate::{InvalidManifest, InvalidPath};

/// What was said would make a document that is not valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A value is outside the grammar of its field.
    #[error("{field}: {value:?} is not {expected}")]
    Value {
        /// The field, as a JSON pointer into its document.
        field: String,
        /// What was said.
        value: String,
        /// What would be taken.
        expected: &'static str,
    },
    /// Something that has to be there is not.
    #[error("{field}: {reason}")]
    Missing {
        /// The field, as a JSON pointer into its document.
        field: String,
        /// Why it has to be there.
        reason: &'static str,
    },
    /// The specification does not name the field.
    #[error("{field}: the specification does not name this field")]
    Unknown {
        /// The field, as a JSON pointer into its document.
        field: String,
    },
    /// What is said of a layer contradicts itself.
    #[error("{field}: {reason}")]
    Layer {
        /// The field, as a JSON pointer into the manifest.
        field: String,
        /// What contradicts what.
        reason: String,
    },
    /// Two layers cannot both be written to one directory.
    #[error("{field}: {source}")]
    Path {
        /// The layer, as a JSON pointer into the manifest.
        field: String,
        /// The path, and why.
        source: InvalidPath,
    },
    /// The manifest cannot be read back, as when it is too large.
    #[error(transparent)]
    Manifest(#[from] InvalidManifest),
}
