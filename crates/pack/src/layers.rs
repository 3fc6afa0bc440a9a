//! Decides which layers the files of a plan become: the files, the encoding and the path of each.
//!
//! The result depends on the plan and the policy alone; no file is read. Each file is a separate
//! layer, encoded according to the [policy](LayerPolicy), as long as the number of layers is within
//! the limit. Otherwise small files are [bundled](bundle). An existing archive with the same files
//! is [kept](stored).

mod bundle;
mod bundle_names;
mod policy;
mod stored;
#[cfg(test)]
mod tests;

pub(crate) use bundle_names::BundleNames;
pub use policy::{InvalidLayerRule, LayerPolicy, LayerRule};

use crate::{
    Error, Plan, PlannedFile, Result, StoredArchive,
    pack::{archive_len, metadata_of},
};
use modelpack_spec::{Digest, Encoding, FilePath, LayerInput, LayerKind, LayerType};
use std::collections::HashSet;

/// A layer to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedLayer {
    /// The kind of its files.
    pub kind: LayerKind,
    /// The encoding of the layer.
    pub encoding: Encoding,
    /// The path of its file. For several files, a name that no file or directory of the model has.
    pub path: FilePath,
    /// Its files, in the order of the plan: one, or several if they were bundled. A raw layer has
    /// one file.
    pub files: Vec<PlannedFile>,
    /// An existing archive with these files, if there is one. It is transferred unchanged.
    pub(crate) stored: Option<StoredArchive>,
}

impl PlannedLayer {
    /// A layer with one file.
    pub(crate) fn of(file: &PlannedFile, encoding: Encoding) -> Self {
        Self { kind: file.kind, encoding, path: file.path.clone(), files: vec![file.clone()], stored: None }
    }

    /// Its media type.
    pub fn layer_type(&self) -> LayerType {
        LayerType { kind: self.kind, encoding: self.encoding }
    }

    /// The size of its files in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// The size of the layer in bytes; `None` for a compressed layer, whose size is not known in
    /// advance.
    pub fn size(&self) -> Option<u64> {
        match self.encoding {
            _ if self.stored.is_some() => self.stored.as_ref().map(|archive| archive.descriptor.size),
            Encoding::Raw => Some(self.bytes()),
            Encoding::Tar => Some(self.archive_len()),
            Encoding::TarGzip | Encoding::TarZstd => None,
        }
    }

    /// The number of bytes that are read to write the layer: those of its files, or of the existing
    /// archive.
    pub(crate) fn bytes_to_move(&self) -> u64 {
        self.stored.as_ref().map_or_else(|| self.bytes(), |archive| archive.descriptor.size)
    }

    /// The size of an uncompressed archive of its files, in bytes.
    pub(crate) fn archive_len(&self) -> u64 {
        archive_len(self.files.iter().map(|file| (&file.path, file.size)))
    }

    /// The metadata of the layer for the builder, after the layer was stored.
    pub(crate) fn input(&self, digest: Digest, diff_id: Option<Digest>, size: u64) -> LayerInput {
        let metadata = match &self.files[..] {
            [file] => Some(metadata_of(file)),
            _ => None,
        };
        let untested = Some(self.files.iter().any(|file| file.inferred));
        LayerInput {
            kind: self.kind,
            encoding: self.encoding,
            digest,
            diff_id,
            size,
            path: Some(self.path.clone()),
            metadata,
            untested,
            hash_states: None,
        }
    }
}

/// The layers for the files of `plan`, in the order of the plan's files.
///
/// Fails with [`Error::TooManyLayers`] if bundling cannot reduce the number of layers to the limit.
/// Fails with [`Error::LayerRule`] if a rule names a path that no file has, because it was probably
/// meant as a kind.
pub fn layers(plan: &Plan, policy: &LayerPolicy) -> Result<Vec<PlannedLayer>> {
    if let Some(path) = policy.missing(&plan.files) {
        return Err(Error::LayerRule { path: path.to_owned() });
    }
    let rules: Vec<Option<Encoding>> = plan.files.iter().map(|file| policy.encoding_of(file)).collect();
    let stored = stored::layers(plan, &rules);
    let is_stored: HashSet<&FilePath> = stored.iter().flat_map(|layer| &layer.files).map(|file| &file.path).collect();
    let others: Vec<_> = plan.files.iter().zip(rules).filter(|(file, _)| !is_stored.contains(&file.path)).collect();
    let mut layers = if others.len() + stored.len() > policy.max_layers {
        let names = BundleNames::beside(plan.files.iter().map(|file| &file.path).chain(stored.iter().map(|layer| &layer.path)));
        bundle::layers(&others, names, policy.max_layers, stored.len())?
    } else {
        others.into_iter().map(|(file, requested)| PlannedLayer::of(file, requested.unwrap_or(Encoding::Raw))).collect()
    };
    if !stored.is_empty() {
        layers.extend(stored);
        layers.sort_by(|a, b| a.files[0].order(&b.files[0]));
    }
    Ok(layers)
}

/// The error for too many layers, with the data for a hint.
fn too_many(needed: usize, limit: usize, raw: usize) -> Error {
    Error::TooManyLayers { needed, limit, raw }
}
