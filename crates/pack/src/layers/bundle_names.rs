//! Names for archives with several files of a model.

use modelpack_spec::{Encoding, FilePath, LayerKind};
use std::collections::{BTreeMap, HashSet};

/// Generates names that no file or directory at the top of the model has: the kind, a number and an
/// extension, as in `doc.bundle-1.tar`.
pub(crate) struct BundleNames {
    taken: HashSet<String>,
    numbers: BTreeMap<LayerKind, u32>,
}

impl BundleNames {
    /// Names that do not clash with files at these paths.
    pub(crate) fn beside<'a>(paths: impl IntoIterator<Item = &'a FilePath>) -> Self {
        let top = |path: &FilePath| path.components().next().map(str::to_lowercase);
        Self { taken: paths.into_iter().filter_map(top).collect(), numbers: BTreeMap::new() }
    }

    /// The next name for an archive with this kind and encoding; `None` for a raw encoding.
    pub(crate) fn next(&mut self, kind: LayerKind, encoding: Encoding) -> Option<FilePath> {
        let extension = encoding.extension()?;
        let number = self.numbers.entry(kind).or_default();
        loop {
            *number += 1;
            let name = format!("{}.bundle-{number}.{extension}", kind.name());
            if !self.taken.contains(&name) {
                return Some(name.parse().expect("it is one short component"));
            }
        }
    }
}
