//! The files that hold one model's weights together, by their names, which all programs of the field write alike.

use std::collections::{BTreeMap, BTreeSet};

/// No model is in more files; a larger number is no such number.
const MAX_TOTAL: usize = 1_000_000;
/// How many numbers of missing files are told.
const TOLD: usize = 5;

/// What the name of a shard says: `STEM-00002-of-00003.EXTENSION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardName<'a> {
    /// The name of the model that it is a part of.
    pub stem: &'a str,
    /// What the name ends with, without a dot; empty without one.
    pub extension: &'a str,
    /// Which one it is. Most programs count from 1, some from 0.
    pub number: usize,
    /// How many there are; at least 1.
    pub total: usize,
}

impl<'a> ShardName<'a> {
    /// What the file name `name` says, if it is that of a shard.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (whole, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let digits = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<usize>().ok()).flatten();
        let (rest, total) = whole.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let (number, total) = (digits(number)?, digits(total)?);
        ((1..=MAX_TOTAL).contains(&total) && number <= total).then_some(Self { stem, extension, number, total })
    }
}

/// The shards of one model that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSet<'a> {
    /// The path of each, by its number; never empty.
    pub paths: BTreeMap<usize, &'a str>,
    /// How many there should be.
    pub total: usize,
}

impl<'a> ShardSet<'a> {
    /// The sets that the files with these paths make, in the order of their paths. Those that a vector has together are of one name, and differ
    /// in how many files they should have.
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

    /// The path of the first that is there.
    pub fn first(&self) -> &'a str {
        self.paths.values().next().copied().unwrap_or_default()
    }

    /// Which are not there, as it follows the path of the first; nothing if all are.
    pub fn lack(&self) -> Option<String> {
        let begin = usize::from(!self.paths.contains_key(&0));
        let numbers = begin..begin + self.total;
        let there: BTreeSet<usize> = self.paths.keys().copied().filter(|number| numbers.contains(number)).collect();
        let missing = self.total - there.len();
        let first: Vec<String> = numbers.filter(|number| !there.contains(number)).take(TOLD).map(|number| number.to_string()).collect();
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
    fn names_of_shards() {
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
    fn what_is_missing_is_told_by_number() {
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
