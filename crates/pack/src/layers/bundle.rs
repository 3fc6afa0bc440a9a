//! Bundles: archives of small files, if not every file can be a separate layer.
//!
//! Files are bundled by class, beginning with the files for which a separate layer is least useful.
//! A class is bundled completely or not at all, so that one more file does not change which files
//! are bundled. A bundle contains files of one kind and one encoding, in the order of the plan.
//! Where a bundle ends depends only on the path and size of a file, unless the bundle would become
//! too large. So an added or changed file changes its own bundle and few others.

use super::{BundleNames, PlannedLayer, too_many};
use crate::{PlannedFile, Result, pack::archive_len};
use modelpack_spec::{Algorithm, Encoding, FilePath, Hasher, LayerKind};
use std::collections::BTreeMap;

/// A larger file is always a separate layer.
const SMALL: u64 = 64 << 20;
/// The size limits for a bundle's archive. The next limit is tried if there are still too many
/// layers.
const LIMITS: [u64; 5] = [256 << 20, 512 << 20, 1 << 30, 4 << 30, 16 << 30];
/// On average, bundles end at this fraction of their limit.
const AVERAGE: u64 = 4;

/// The class of a file: how useful a separate layer is for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A document, code or a data set, which no tool looks for in a layer.
    Aside,
    /// A config that no engine is known to read.
    Config,
    /// A config that engines read or registries display.
    Read,
    /// Weights.
    Weights,
}

/// The sets of classes that are bundled, tried in this order until the number of layers is within
/// the limit.
const SETS: [&[Class]; 5] = [
    &[Class::Aside],
    &[Class::Aside, Class::Config],
    &[Class::Aside, Class::Config, Class::Read],
    &[Class::Aside, Class::Config, Class::Weights],
    &[Class::Aside, Class::Config, Class::Read, Class::Weights],
];

/// The layers for files that exceed the limit, in addition to `stored` other layers. Each file has
/// the encoding that the policy's rules give.
pub(super) fn layers(
    planned: &[(&PlannedFile, Option<Encoding>)],
    names: BundleNames,
    limit: usize,
    stored: usize,
) -> Result<Vec<PlannedLayer>> {
    let files: Vec<File<'_>> = planned.iter().map(|(file, requested)| File::new(file, *requested)).collect();
    let mut fewest = files.len();
    for set in SETS {
        for largest in LIMITS {
            let groups = groups(&files, set, largest);
            if groups.len() + stored <= limit {
                return Ok(named(names, groups));
            }
            fewest = fewest.min(groups.len());
        }
    }
    let raw = planned.iter().filter(|(_, requested)| *requested == Some(Encoding::Raw)).count();
    Err(too_many(fewest + stored, limit, raw))
}

/// A file with the data that decides whether and how it is bundled.
struct File<'a> {
    planned: &'a PlannedFile,
    /// Its encoding as a separate layer.
    alone: Encoding,
    /// The encoding of a bundle with this file; `None` if it is never bundled.
    bundled: Option<Encoding>,
    class: Class,
    /// Its size in an archive, in bytes.
    len: u64,
    hash: u64,
}

impl<'a> File<'a> {
    fn new(planned: &'a PlannedFile, requested: Option<Encoding>) -> Self {
        let bundled = match requested {
            Some(Encoding::Raw) => None,
            requested => requested.or(Some(Encoding::Tar)),
        };
        Self {
            planned,
            alone: requested.unwrap_or(Encoding::Raw),
            bundled: bundled.filter(|_| planned.size <= SMALL),
            class: class(planned),
            len: archive_len([(&planned.path, planned.size)]),
            hash: hash(&planned.path),
        }
    }

    /// Whether a bundle with the limit `largest` ends before this file. Larger files end a bundle
    /// more often.
    fn begins_bundle(&self, largest: u64) -> bool {
        let average = u128::from(largest / AVERAGE);
        u128::from(self.hash) * average < u128::from(self.len) << 64
    }
}

fn class(file: &PlannedFile) -> Class {
    let name = file.path.file_name();
    let is_at_top = file.path.as_str() == name;
    match file.kind {
        LayerKind::Weight => Class::Weights,
        LayerKind::WeightConfig if is_read_by_engines(name) => Class::Read,
        LayerKind::WeightConfig => Class::Config,
        LayerKind::Doc if is_at_top && matches!(name, "README" | "README.md" | "LICENSE" | "LICENSE.txt") => Class::Read,
        LayerKind::Code | LayerKind::Doc | LayerKind::Dataset => Class::Aside,
    }
}

/// Whether an engine may look for a config with this name.
fn is_read_by_engines(name: &str) -> bool {
    let ends = ["config.json", ".index.json", ".jinja", ".tiktoken", ".model", ".vocab"];
    let begins = ["tokenizer", "vocab.", "merges.", "special_tokens_map", "added_tokens", "chat_template", "sentencepiece"];
    let whole = ["modules.json", "model_index.json", "params.json", "tekken.json", "spiece.model"];
    ends.iter().any(|end| name.ends_with(end)) || begins.iter().any(|begin| name.starts_with(begin)) || whole.contains(&name)
}

/// The first bytes of the path's SHA-256.
fn hash(path: &FilePath) -> u64 {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(path.as_str().as_bytes());
    u64::from_str_radix(&hasher.finish().hex()[..16], 16).expect("a digest is hexadecimal")
}

/// The files of one layer, and its encoding.
struct Group<'a> {
    encoding: Encoding,
    /// The encoding if the layer has only one file.
    alone: Encoding,
    files: Vec<&'a PlannedFile>,
}

/// Groups the files of some classes into bundles; other files are separate. The groups are in the
/// order of their first files.
fn groups<'a>(files: &[File<'a>], set: &[Class], largest: u64) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    // For each kind and encoding, the open bundle and its size in bytes.
    let mut open: BTreeMap<(LayerKind, &str), (usize, u64)> = BTreeMap::new();
    for file in files {
        let Some(encoding) = file.bundled.filter(|_| set.contains(&file.class)) else {
            groups.push(Group { encoding: file.alone, alone: file.alone, files: vec![file.planned] });
            continue;
        };
        let key = (file.planned.kind, encoding.name());
        match open.get_mut(&key) {
            Some((group, len)) if !file.begins_bundle(largest) && *len + file.len <= largest => {
                groups[*group].files.push(file.planned);
                *len += file.len;
            }
            _ => {
                open.insert(key, (groups.len(), file.len));
                groups.push(Group { encoding, alone: file.alone, files: vec![file.planned] });
            }
        }
    }
    groups
}

/// Gives each bundle a name.
fn named(mut names: BundleNames, groups: Vec<Group<'_>>) -> Vec<PlannedLayer> {
    let layers = groups.into_iter().map(|group| {
        let kind = group.files[0].kind;
        let (encoding, path) = match &group.files[..] {
            [file] => (group.alone, file.path.clone()),
            _ => (group.encoding, names.next(kind, group.encoding).expect("a bundle is an archive")),
        };
        PlannedLayer { kind, encoding, path, files: group.files.into_iter().cloned().collect(), stored: None }
    });
    layers.collect()
}
