//! Packs model directories into artifacts, and unpacks artifacts into directories.
//!
//! [`plan`] selects the files of a directory and determines their kinds, according to a
//! [`Modelfile`] or by their names ([`classify`]). [`infer()`] reads metadata from the files.
//! [`layers()`] assigns the files to layers, and [`pack()`] writes the layers.

mod artifact_files;
mod attach;
mod convert;
mod directory;
mod directory_files;
mod error;
mod git;
mod image;
mod json;
mod known_digests;
mod layers;
mod modelfile;
mod pack;
mod patterns;
mod plan;
mod preview;
mod selection;
mod unpack;

pub use artifact_files::{ArtifactFiles, StoredArchive};
pub use attach::{Attached, attach};
pub use convert::{Converted, convert, is_foreign};
pub use error::{Error, Result};
pub use image::{Image, ImagePrefix, InvalidImagePrefix, image, image_annotations};
pub use layers::{InvalidLayerRule, LayerPolicy, LayerRule, PlannedLayer, layers};
pub use modelfile::{Modelfile, ModelfileError, ModelfileProblem, generate};
pub use modelpack_describe::{Description, Field, Finding, Gap, Inferred, InvalidValue, Metadata, classify, gaps, infer};
pub use pack::{PackOptions, pack};
pub use patterns::{InvalidPattern, Patterns};
pub use plan::{FileFilter, Plan, PlannedFile, plan, plan_artifact, plan_file};
pub use preview::preview;
pub use selection::{NotAPreset, Preset, Selection};
pub use unpack::{Allowance, LeftOut, UnpackOptions, Unpacked, content_digest, unpack};
