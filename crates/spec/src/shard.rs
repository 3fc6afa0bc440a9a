//! Sharded files: several files that hold one model's weights. Their names follow one convention in
//! all programs.

use std::collections::{BTreeMap, BTreeSet};

/// No model has more shards. A larger number is not a shard number.
const MAX_TOTAL: usize = 1_000_000;
/// The maximum number of missing shards in a message.
const MAX_LISTED: usize = 5;

/// The parts of a shard's file name: `STEM-00002-of-00003.EXTENSION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardName<'a> {
    /// The name of the model that the shard belongs to.
    pub stem: &'a str,
    /// The file extension without a dot; empty if there is none.
    pub extension: &'a str,
    /// The number of the shard. Most programs count from 1, some from 0.
    pub number: usize,
    /// The total number of shards; at least 1.
    pub total: usize,
}

impl<'a> ShardName<'a> {
    /// Parses the file name `name`. Returns `None` if it is not the name of a shard.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (whole, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let digits = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<usize>().ok()).flatten();
        let (rest, total) = whole.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let (number, total) = (digits(number)?, digits(total)?);
        ((1..=MAX_TOTAL).contains(&total) && number <= total).then_some(Self { stem, extension, number, total })
    }
}

/// The shards of one model that exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSet<'a> {
    /// The path of each shard by its number; never empty.
    pub paths: BTreeMap<usize, &'a str>,
    /// The number of shards that the model should have.
    pub total: usize,
}

impl<'a> ShardSet<'a> {
    /// Groups the shards among `paths` into sets, in the order of their paths. The sets of one
    /// inner vector have the same name but different totals.
    pub fn all(paths: impl IntoIterator<Item = &'a str>) -> Vec<Vec<Self>> {
        let mut families: BTreeMap<(&str, &str, &str), BTreeMap<usize, Self>> = BTreeMap::new();
        for path in paths {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(shard) = ShardName::parse(name) else { continue };
            let family = families.entry((directory, shard.stem, shard.extension)).or_default();
            let set = family.entry(shard.total).or_insert_with(|| Self { paths: BTreeMap::new(), total: shard.total });
            set.paths.insert(shard.number, path);
        }
        families.into_values().map(|family| family.into_values().collect()).collect()
    }

    /// The path of the first shard that exists.
    pub fn first(&self) -> &'a str {
        self.paths.values().next().copied().unwrap_or_default()
    }

    /// A message about the missing shards, to be appended to the path of the first one; `None` if
    /// the set is complete.
    pub fn lack(&self) -> Option<String> {
        let begin = usize::from(!self.paths.contains_key(&0));
        let numbers = begin..begin + self.total;
        let there: BTreeSet<usize> = self.paths.keys().copied().filter(|number| numbers.contains(number)).collect();
        let missing = self.total - there.len();
        let first: Vec<String> =
            numbers.filter(|number| !there.contains(number)).take(MAX_LISTED).map(|number| number.to_string()).collect();
        let more = if missing > first.len() { format!(" and {} more", missing - first.len()) } else { String::new() };
        let are = if missing == 1 { "is" } else { "are" };
        (missing > 0)
            .then(|| format!("is one of {} files, of which {missing} {are} missing: number {}{more}", self.total, first.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_names_are_parsed() {
        let parse = |name| ShardName::parse(name).map(|shard| (shard.stem, shard.extension, shard.number, shard.total));
        assert_eq!(parse("model-00002-of-00003.safetensors"), Some(("model", "safetensors", 2, 3)));
        assert_eq!(parse("model.fp16-00001-of-00002.safetensors"), Some(("model.fp16", "safetensors", 1, 2)));
        assert_eq!(parse("model-00001-of-000163.safetensors"), Some(("model", "safetensors", 1, 163)));
        assert_eq!(parse("a-b-0-of-1"), Some(("a-b", "", 0, 1)));
        for name in
            ["model.safetensors", "model-4-of-3.gguf", "model-0-of-0.gguf", "model-x-of-3.gguf", "model-1-of-.gguf", "1-of-2.gguf", "-of-"]
        {
            assert_eq!(parse(name), None, "{name}");
        }
        assert_eq!((parse("model-1-of-1000001.gguf"), parse("model-1-of-99999999999999999999.gguf")), (None, None));
    }

    fn lacks(paths: &[&str]) -> Vec<Vec<Option<String>>> {
        ShardSet::all(paths.iter().copied()).iter().map(|family| family.iter().map(ShardSet::lack).collect()).collect()
    }

    #[test]
    fn missing_shards_are_listed_by_number() {
        assert_eq!(lacks(&["m-1-of-2.a", "m-2-of-2.a", "n-0-of-2.a", "n-1-of-2.a", "x.a"]), [[None], [None]]);
        assert_eq!(lacks(&["d/m-2-of-2.a", "m-1-of-2.a"]).len(), 2);
        let one = |paths: &[&str]| lacks(paths)[0][0].clone().unwrap();
        assert_eq!(one(&["m-2-of-3.a", "m-3-of-3.a"]), "is one of 3 files, of which 1 is missing: number 1");
        assert_eq!(one(&["m-0-of-3.a", "m-3-of-3.a"]), "is one of 3 files, of which 2 are missing: number 1, 2");
        let many = "is one of 1000000 files, of which 999999 are missing: number 2, 3, 4, 5, 6 and 999994 more";
        assert_eq!(one(&["m-1-of-1000000.a"]), many);
        assert_eq!(lacks(&["m-1-of-3.a", "m-2-of-2.a"])[0].len(), 2);
    }
}
