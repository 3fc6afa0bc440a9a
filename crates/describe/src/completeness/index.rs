//! Compares indexes with the files that they name and with the tensors in these files.

use super::{
    Gap, Model, Names, join, split,
    stand_ins::{is_pointer, is_stand_in},
};
use crate::{ModelFile, infer::format_by_name};
use modelpack_formats::{
    Malformed,
    safetensors::{Tensor, read_header_and_notes},
    shard_index,
};
use modelpack_spec::LayerKind;
use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
};

/// Limits for an index. No model needs more, and an index beyond them is not read.
const MAX_TENSORS: usize = 4 << 20;
const MAX_FILES: usize = 1 << 14;
/// The longest file name in an index.
const MAX_NAME_BYTES: usize = 1024;

/// The largest number of indexes that are read. A pipeline has one for each of its parts.
const MAX_INDEXES: usize = 256;

/// The files that the indexes name.
#[derive(Default)]
pub(super) struct Indexes {
    named: BTreeSet<String>,
}

impl Indexes {
    /// Reads every index, and adds the gaps that it shows.
    pub(super) fn read(model: &Model<'_>, gaps: &mut Vec<Gap>) -> Self {
        let mut indexes = Self::default();
        let named = model.files.values().filter_map(|file| Some((*file, IndexName::parse(file.path.file_name())?)));
        for (file, name) in named.filter(|(file, _)| !is_pointer(file)).take(MAX_INDEXES) {
            indexes.judge(model, file, &name, gaps);
        }
        indexes
    }

    /// Whether an index names the file at this path.
    pub(super) fn name(&self, path: &str) -> bool {
        self.named.contains(path)
    }

    fn judge(&mut self, model: &Model<'_>, file: &ModelFile, names: &IndexName<'_>, gaps: &mut Vec<Gap>) {
        let directory = split(file.path.as_str()).0;
        // If a single file has all weights, loaders use it and ignore the index. So the index is
        // checked only if it names that file.
        let has_whole = model.beside(directory, &names.whole()).is_some();
        let index = match Index::read(file) {
            Ok(Some(index)) if has_whole && !index.files.contains(&names.whole()) => return,
            Ok(Some(index)) => index,
            Ok(None) => return,
            Err(_) if has_whole => return,
            Err(why) => {
                return gaps.push(Gap::new(file, format_args!("cannot be read, so the weights cannot be checked against it: {why}")));
            }
        };
        let shards: Vec<Option<&ModelFile>> = index.files.iter().map(|name| model.beside(directory, name)).collect();
        if shards.iter().all(Option::is_none) && has_other_weights(model, directory, names) {
            return;
        }
        self.named.extend(shards.iter().flatten().map(|shard| shard.path.to_string()));
        let mut absent = Names::default();
        index.files.iter().zip(&shards).filter(|(_, shard)| shard.is_none()).for_each(|(name, _)| absent.add(&join(directory, name)));
        if absent.count > 0 {
            gaps.push(Gap::new(file, format_args!("names {}: {absent}", count(absent.count, "missing file", "missing files"))));
        }
        if names.format == "safetensors" {
            let found = index.hold_against(file, &shards);
            gaps.extend(found.into_iter().map(|why| Gap::new(file, why)));
        }
    }
}

/// Whether a directory has weights that loaders use without this index, although all files of the
/// index are missing. Then the index came with the weights of another format or variant.
fn has_other_weights(model: &Model<'_>, directory: &str, names: &IndexName<'_>) -> bool {
    model.files_in(directory).filter(|file| file.kind == LayerKind::Weight).any(|file| match format_by_name(&file.path) {
        None => false,
        // Loaders of these formats look for the safetensors index first.
        Some("pt" | "h5" | "msgpack") => names.format != "safetensors" || names.variant.is_some(),
        Some("safetensors") => names.format != "safetensors" || names.variant.is_some() || names.has_variant(file.path.file_name()),
        Some(_) => true,
    })
}

/// The parts of an index's file name: `model.safetensors.index.json`, or
/// `model.safetensors.index.fp16.json` for a variant.
struct IndexName<'a> {
    stem: &'a str,
    format: &'a str,
    variant: Option<&'a str>,
}

impl<'a> IndexName<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let (whole, rest) = name.strip_suffix(".json")?.rsplit_once(".index")?;
        let variant = if rest.is_empty() { None } else { Some(rest.strip_prefix('.')?) };
        let (stem, format) = whole.rsplit_once('.')?;
        matches!(format, "safetensors" | "bin" | "h5" | "msgpack").then_some(Self { stem, format, variant })
    }

    /// Whether the file name is that of a variant of the same weights, such as
    /// `model.fp16.safetensors`.
    fn has_variant(&self, name: &str) -> bool {
        name.strip_prefix(self.stem).is_some_and(|rest| rest.starts_with('.'))
    }

    /// The name of the single file with all weights.
    fn whole(&self) -> String {
        let variant = self.variant.map(|variant| format!(".{variant}")).unwrap_or_default();
        format!("{}{variant}.{}", self.stem, self.format)
    }
}

/// An index without the names of its tensors, of which there may be a million.
struct Index {
    /// The files that it names, in their order.
    files: Vec<String>,
    /// The hash of each tensor name with the number of its file; sorted and unique.
    tensors: Vec<(u64, u32)>,
    hash: RandomState,
}

/// The location of a tensor of an index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Nowhere,
    Elsewhere,
    InItsFile,
}

impl Index {
    /// `None` if the file has changed since it was planned.
    fn read(file: &ModelFile) -> Result<Option<Self>, String> {
        let Some(open) = file.open() else { return Ok(None) };
        let mut index = Self { files: Vec::new(), tensors: Vec::new(), hash: RandomState::new() };
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut is_bounded = true;
        let read = shard_index::read(open, |tensor, name| {
            is_bounded &= index.tensors.len() < MAX_TENSORS && numbers.len() < MAX_FILES && name.len() <= MAX_NAME_BYTES;
            if is_bounded {
                let next = u32::try_from(numbers.len()).expect("the number is bounded");
                let number = match numbers.get(name) {
                    Some(number) => *number,
                    None => *numbers.entry(name.to_owned()).or_insert(next),
                };
                index.tensors.push((index.hash.hash_one(tensor), number));
            }
        });
        read.map_err(|why: Malformed| why.to_string())?;
        if !is_bounded {
            return Err(format!(
                "it names more than {MAX_TENSORS} tensors or {MAX_FILES} files, or a file name of more than {MAX_NAME_BYTES} bytes"
            ));
        }
        let mut files: Vec<(String, u32)> = numbers.into_iter().collect();
        files.sort_unstable();
        let mut order = vec![0; files.len()];
        files.iter().zip(0u32..).for_each(|((_, number), place)| order[*number as usize] = place);
        index.files = files.into_iter().map(|(name, _)| name).collect();
        index.tensors.iter_mut().for_each(|(_, number)| *number = order[*number as usize]);
        // Of duplicate names the last one wins, as in Python.
        index.tensors.reverse();
        index.tensors.sort_by_key(|(hash, _)| *hash);
        index.tensors.dedup_by_key(|(hash, _)| *hash);
        Ok(Some(index))
    }

    fn find(&self, tensor: &str) -> Option<usize> {
        let hash = self.hash.hash_one(tensor);
        self.tensors.binary_search_by_key(&hash, |(hash, _)| *hash).ok()
    }

    /// Compares the index with its files. Files that cannot be read are skipped, because other
    /// checks report them.
    fn hold_against(&self, file: &ModelFile, shards: &[Option<&ModelFile>]) -> Vec<String> {
        let mut places = vec![Place::Nowhere; self.tensors.len()];
        let mut was_read = vec![false; shards.len()];
        let mut unnamed = Names::default();
        for (number, shard) in shards.iter().enumerate() {
            let Some((shard, open)) = shard.filter(|shard| !is_stand_in(shard)).and_then(|shard| Some((shard, shard.open()?))) else {
                continue;
            };
            let mut of_shard = Names::default();
            let mut left_out = Vec::new();
            let tensor = |tensor: Tensor<'_>| match self.find(tensor.name) {
                None => of_shard.add(tensor.name),
                Some(at) => {
                    let place = if self.tensors[at].1 as usize == number { Place::InItsFile } else { Place::Elsewhere };
                    places[at] = places[at].max(place);
                }
            };
            // Converters leave out tensors that are tied to others, and note this in the header,
            // but often do not update the index.
            let note = |name: &str, other: &str| {
                let may_be_noted = left_out.len() < self.tensors.len() && self.find(other).is_some();
                left_out.extend(self.find(name).filter(|_| may_be_noted));
            };
            if read_header_and_notes(open, shard.size, tensor, note).is_ok() {
                left_out.into_iter().for_each(|at| places[at] = Place::InItsFile);
                was_read[number] = true;
                unnamed.count += of_shard.count;
                unnamed.first.extend(of_shard.first);
                unnamed.first.truncate(super::MAX_LISTED);
            }
        }
        let is_wrong = |at: usize| places[at] != Place::InItsFile && was_read[self.tensors[at].1 as usize];
        let (mut missing, mut misplaced) = (Names::default(), Names::default());
        if let Some(open) = (0..places.len()).any(is_wrong).then(|| file.open()).flatten() {
            // The index is read again for the names. It was valid before; if it has changed since,
            // packing fails.
            let _ = shard_index::read(open, |tensor, name| {
                let Some(at) = self.find(tensor).filter(|at| is_wrong(*at)) else { return };
                if self.files[self.tensors[at].1 as usize] == name {
                    if places[at] == Place::Nowhere { &mut missing } else { &mut misplaced }.add(tensor);
                }
            });
        }
        let mut found = Vec::new();
        if missing.count > 0 {
            let tensors = count(missing.count, "tensor that is not in its file", "tensors that are not in their files");
            found.push(format!("names {tensors}: {missing}"));
        }
        if misplaced.count > 0 {
            let tensors = count(misplaced.count, "tensor that is in another of its files", "tensors that are in others of its files");
            found.push(format!("names {tensors}: {misplaced}"));
        }
        if unnamed.count > 0 {
            found.push(format!("does not name {} of its files: {unnamed}", count(unnamed.count, "tensor", "tensors")));
        }
        found
    }
}

fn count(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}
