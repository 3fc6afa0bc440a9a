//! Shards, identified by their names and by the headers of GGUF files.

use super::{Gap, Model, Names, index::Indexes, split, stand_ins::is_stand_in};
use crate::{ModelFile, infer::format_by_name};
use modelpack_formats::gguf::Header;
use modelpack_spec::{LayerKind, ShardName, ShardSet};

pub(super) fn gaps(model: &Model<'_>, indexes: &Indexes, gaps: &mut Vec<Gap>) {
    let is_weight = |file: &&&ModelFile| file.kind == LayerKind::Weight && format_by_name(&file.path).is_some();
    for family in ShardSet::all(model.files.values().filter(is_weight).map(|file| file.path.as_str())) {
        family.iter().for_each(|set| judge(model, set, indexes, gaps));
        if let [set, others @ ..] = family.as_slice()
            && !others.is_empty()
        {
            let mut firsts = Names::default();
            others.iter().for_each(|other| firsts.add(other.first()));
            let file = model.files[set.first()];
            gaps.push(Gap::new(file, format_args!("and {firsts} are shards of different sets")));
        }
    }
    for file in model.files.values().filter(is_weight).filter(|file| format_by_name(&file.path) == Some("gguf")) {
        gaps.extend(split_of(file).and_then(|split| split.misnamed(file)));
    }
}

fn judge(model: &Model<'_>, set: &ShardSet<'_>, indexes: &Indexes, gaps: &mut Vec<Gap>) {
    let file = model.files[set.first()];
    let named = set.paths.values().filter(|path| indexes.name(path)).count();
    if named > 0 {
        // The index already reports missing shards.
        let mut unnamed = Names::default();
        set.paths.values().filter(|path| !indexes.name(path)).for_each(|path| unnamed.add(path));
        if unnamed.count > 0 {
            let first = set.paths.values().find(|path| indexes.name(path)).map_or(file, |path| model.files[path]);
            gaps.push(Gap::new(first, format_args!("is named by an index that does not name others of the same set: {unnamed}")));
        }
        return;
    }
    if let Some(lack) = set.lack() {
        return gaps.push(Gap::new(file, lack));
    }
    let splits: Option<Vec<Split>> = set.paths.values().map(|path| split_of(model.files[path])).collect();
    let Some(splits) = splits else { return };
    let sum: u64 = splits.iter().map(|split| split.tensors).sum();
    if let Some(declared) = splits.first().and_then(|split| split.declared).filter(|declared| *declared != sum) {
        gaps.push(Gap::new(file, format_args!("declares {declared} tensors for the {} files, but they have {sum}", set.total)));
    }
}

/// The split information in the header of a GGUF file.
struct Split {
    /// The number of this file, from 0.
    number: u64,
    /// The number of files.
    count: u64,
    /// The number of tensors in this file.
    tensors: u64,
    /// The declared number of tensors in all files.
    declared: Option<u64>,
}

/// `None` for a file that is not split or cannot be read.
fn split_of(file: &ModelFile) -> Option<Split> {
    if format_by_name(&file.path) != Some("gguf") || is_stand_in(file) {
        return None;
    }
    let mut tensors = 0;
    let header = Header::read(file.open()?, file.size, |_| tensors += 1).ok()?;
    let count = header.split_count.filter(|count| *count > 1)?;
    let declared = header.split_tensors.and_then(|declared| u64::try_from(declared).ok());
    Some(Split { number: header.split_number.unwrap_or(0).into(), count: count.into(), tensors, declared })
}

impl Split {
    /// Whether a loader would look for the other files under wrong names: it derives their names
    /// from this file's name.
    fn misnamed(&self, file: &ModelFile) -> Option<Gap> {
        let (number, count) = (self.number.saturating_add(1), self.count);
        let shard = ShardName::parse(split(file.path.as_str()).1);
        let is_so = shard.is_some_and(|shard| (shard.number as u64, shard.total as u64) == (number, count));
        let ending = format!("-{number:05}-of-{count:05}.gguf");
        (!is_so).then(|| {
            Gap::new(file, format_args!("is file {number} of {count} according to its header, so its name should end in {ending}"))
        })
    }
}
