//! Whether a model is whole: what its own files name, and is not among them.
//!
//! Only the files that are packed count, for they are all that whoever pulls the artifact gets. Weights are read by their headers.

mod cut;
mod index;
mod onnx;
mod shards;
mod stand_ins;
#[cfg(test)]
mod tests;

use crate::{ModelFile, ModelFiles};
use modelpack_spec::FilePath;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// More gaps are not told: each has a file of its own.
const MAX_GAPS: usize = 50;
/// How many names are told of those that are missing together.
const TOLD: usize = 3;
/// Names from files are not told beyond this, in characters.
const NAME: usize = 200;

/// Something that is missing of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The file by which it is known, or the first of several.
    pub path: FilePath,
    /// What is missing: a sentence without a full stop, the path in it.
    pub message: String,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What is missing of the model in `files`: shards that an index, a name or a header tells of; tensors that are not in the file in which the
/// index has them; bytes that lie in a file of their own, or behind the end of one that was cut; files that are only pointers to what git keeps elsewhere; weights without a byte.
///
/// Blocks on the headers of weights, on indexes, and on all files that are small. Some 20 bytes of memory for each tensor of an index.
pub fn gaps(model: &ModelFiles) -> Vec<Gap> {
    let model = Model::new(&model.files);
    let mut gaps = stand_ins::gaps(&model);
    cut::gaps(&model, &mut gaps);
    let indexes = index::Indexes::read(&model, &mut gaps);
    shards::gaps(&model, &indexes, &mut gaps);
    onnx::gaps(&model, &mut gaps);
    gaps.truncate(MAX_GAPS);
    gaps
}

/// The files by their paths.
struct Model<'a> {
    files: BTreeMap<&'a str, &'a ModelFile>,
}

impl<'a> Model<'a> {
    fn new(files: impl IntoIterator<Item = &'a ModelFile>) -> Self {
        Self { files: files.into_iter().map(|file| (file.path.as_str(), file)).collect() }
    }

    /// The files of one directory, not of those in it.
    fn files_in(&self, directory: &str) -> impl Iterator<Item = &'a ModelFile> {
        self.files.values().copied().filter(move |file| split(file.path.as_str()).0 == directory)
    }

    /// The file that another in `directory` calls `name`, a relative path with slashes.
    fn beside(&self, directory: &str, name: &str) -> Option<&'a ModelFile> {
        let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        self.files.get(join(directory, &parts.join("/")).as_str()).copied()
    }
}

impl Gap {
    fn new(file: &ModelFile, why: impl fmt::Display) -> Self {
        Self { path: file.path.clone(), message: format!("{} {why}", file.path) }
    }

    /// One for all of `files`, if there are any: what `one` says of a single file, and what `several` says of more.
    fn of_all(files: &[&ModelFile], one: &str, several: &str) -> Option<Self> {
        match files {
            [] => None,
            [file] => Some(Self::new(file, one)),
            [file, rest @ ..] => {
                let files = if rest.len() == 1 { "another file" } else { "other files" };
                let number = if rest.len() == 1 { String::new() } else { format!("{} ", rest.len()) };
                Some(Self::new(file, format_args!("and {number}{files} {several}")))
            }
        }
    }
}

/// Names from a file, of which the first are kept.
#[derive(Default)]
struct Names {
    count: usize,
    first: Vec<String>,
}

impl Names {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < TOLD {
            let shown: String = name.chars().take(NAME).collect();
            self.first.push(if shown.len() < name.len() { format!("{shown}…") } else { shown });
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        match self.count - self.first.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The directory of a path, empty for the root, and the name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}
