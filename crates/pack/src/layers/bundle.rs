//! Bundles: what becomes of small files when each cannot be a layer of its own.
//!
//! Files are bundled by class, those first whose place in a layer of their own matters least, and a class as a whole or not at all, so that
//! one file more does not change which files are bundled. A bundle holds files of one kind and one encoding, in the order of the plan.
//! Where one ends depends on the path and size of a file alone, unless it would become too large: so a file that is added or changed
//! changes the bundle that it is in, and few others.

use super::{BundleNames, PlannedLayer, too_many};
use crate::{PlannedFile, Result, pack::archive_len};
use modelpack_spec::{Algorithm, Encoding, FilePath, Hasher, LayerKind};
use std::collections::BTreeMap;

/// A larger file is a layer of its own, whatever it is.
const SMALL: u64 = 64 << 20;
/// How large the archive of a bundle may be; the next is tried if there are still too many.
const LIMITS: [u64; 5] = [256 << 20, 512 << 20, 1 << 30, 4 << 30, 16 << 30];
/// Bundles end by themselves at this part of their limit, on average.
const AVERAGE: u64 = 4;

/// Why a file would rather be a layer of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nobody looks for it in a layer: a document, code, a data set.
    Aside,
    /// A config that no engine is known to read.
    Config,
    /// Engines read it, or registries show it.
    Read,
    /// Weights.
    Weights,
}

/// What is bundled, one set after the other, until the layers are few enough.
const SETS: [&[Class]; 5] = [
    &[Class::Aside],
    &[Class::Aside, Class::Config],
    &[Class::Aside, Class::Config, Class::Read],
    &[Class::Aside, Class::Config, Class::Weights],
    &[Class::Aside, Class::Config, Class::Read, Class::Weights],
];

/// The layers of files that are more than there may be layers beside `stored` others; each with what the policy's rules say of it.
pub(super) fn layers(
    planned: &[(&PlannedFile, Option<Encoding>)],
    names: BundleNames,
    limit: usize,
    stored: usize,
) -> Result<Vec<PlannedLayer>> {
    let files: Vec<File<'_>> = planned.iter().map(|(file, said)| File::new(file, *said)).collect();
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
    let raw = planned.iter().filter(|(_, said)| *said == Some(Encoding::Raw)).count();
    Err(too_many(fewest + stored, limit, raw))
}

/// A file, and what decides whether and how it is bundled.
struct File<'a> {
    planned: &'a PlannedFile,
    /// What it is encoded as when it is a layer of its own.
    alone: Encoding,
    /// What a bundle that it is in is encoded as; `None` if it is in none.
    bundled: Option<Encoding>,
    class: Class,
    /// Its size in an archive in bytes.
    len: u64,
    hash: u64,
}

impl<'a> File<'a> {
    fn new(planned: &'a PlannedFile, said: Option<Encoding>) -> Self {
        let bundled = match said {
            Some(Encoding::Raw) => None,
            said => said.or(Some(Encoding::Tar)),
        };
        Self {
            planned,
            alone: said.unwrap_or(Encoding::Raw),
            bundled: bundled.filter(|_| planned.size <= SMALL),
            class: class(planned),
            len: archive_len([(&planned.path, planned.size)]),
            hash: hash(&planned.path),
        }
    }

    /// Whether a bundle whose limit is `largest` ends before this file: the likelier the larger the file is.
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

/// Whether an engine may look for a config by this name.
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
    /// What its file is encoded as if it stays the only one.
    alone: Encoding,
    files: Vec<&'a PlannedFile>,
}

/// Puts the files of some classes into bundles; each other file is alone. In the order of the first file of each.
fn groups<'a>(files: &[File<'a>], set: &[Class], largest: u64) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    // For each kind and encoding, the bundle that is being filled, and how many bytes are in it.
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
