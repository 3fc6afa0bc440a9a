//! The CNCF ModelPack specification as plain data: no I/O, no async.
//!
//! This crate parses, checks and prints the parts of a model artifact: media types, annotations,
//! config, manifest and file paths. No other crate does. A [`Manifest`] keeps the bytes it was read
//! from, because its digest is over those bytes. An [`Artifact`] is the content of a manifest with
//! older names of the specification normalised. Reading is lenient; [`ArtifactBuilder`] and
//! [`ConfigBuilder`] build only valid documents.

pub mod annotation;
mod artifact;
mod build;
mod config;
mod descriptor;
mod digest;
mod docker_model;
mod hash_states;
pub mod json;
mod lenient;
mod licence;
mod manifest;
pub mod media_type;
mod modelkit;
mod needed;
mod ollama;
mod path;
mod reference;
mod referrer;
mod shard;
mod size;
mod translate;
mod typed_layer;
mod unknown;
pub mod value;

pub use artifact::{Artifact, Content, FileMetadata, Layer};
pub use build::{ArtifactBuilder, BuildError, BuiltArtifact, ConfigBuilder, LayerInput};
pub use config::{Capabilities, Config, MAX_CONFIG_BYTES, MAX_CONFIG_VALUES, ModelConfig, ModelDescriptor, ModelFs, count_values};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Hasher, InvalidDigest};
pub use docker_model::DockerModel;
pub use hash_states::{HashStates, hash_states_manifest};
pub use manifest::{Document, ImageIndex, ImageManifest, InvalidManifest, MAX_MANIFEST_BYTES, Manifest};
pub use media_type::{Encoding, LayerKind, LayerType};
pub use modelkit::ModelKit;
pub use needed::needed_by;
pub use ollama::OllamaModel;
pub use path::{FilePath, InvalidPath, PathSet};
pub use reference::{InvalidReference, Reference, RepositoryName, Selector, Tag};
pub use referrer::Referrer;
pub use shard::{ShardName, ShardSet};
pub use size::{InvalidSize, parse_size};
pub use translate::ConfigContents;
pub use unknown::UnknownFields;
