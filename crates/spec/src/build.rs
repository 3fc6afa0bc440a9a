//! Builders of valid documents. [`Config`](crate::Config) and
//! [`ImageManifest`](crate::ImageManifest) accept conventions of other tools; these builders refuse
//! them.
//!
//! [`ConfigBuilder`] checks each value against its grammar in [`value`](crate::value).
//! [`ArtifactBuilder`] builds config and manifest together, so that they agree: it writes the
//! annotations from the layers, derives `modelfs` from them, and never writes `manifests` beside
//! `layers`.

mod artifact;
mod config;

pub use artifact::{ArtifactBuilder, BuiltArtifact, LayerInput};
pub use config::ConfigBuilder;

use crate::{InvalidManifest, InvalidPath};

/// The input would make an invalid document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A value is outside the grammar of its field.
    #[error("{field}: {value:?} is not {expected}")]
    Value {
        /// The field, as a JSON pointer into its document.
        field: String,
        /// The refused value.
        value: String,
        /// A description of the values that are accepted.
        expected: &'static str,
    },
    /// A required field or value is missing.
    #[error("{field}: {reason}")]
    Missing {
        /// The field, as a JSON pointer into its document.
        field: String,
        /// Why it is required.
        reason: &'static str,
    },
    /// The specification does not name the field.
    #[error("{field}: the specification does not name this field")]
    Unknown {
        /// The field, as a JSON pointer into its document.
        field: String,
    },
    /// The fields of a layer contradict each other.
    #[error("{field}: {reason}")]
    Layer {
        /// The field, as a JSON pointer into the manifest.
        field: String,
        /// The contradiction.
        reason: String,
    },
    /// Two layers cannot both be written to one directory.
    #[error("{field}: {source}")]
    Path {
        /// The layer, as a JSON pointer into the manifest.
        field: String,
        /// The path, and the reason.
        source: InvalidPath,
    },
    /// The manifest could not be read again, for example because it is too large.
    #[error(transparent)]
    Manifest(#[from] InvalidManifest),
}
