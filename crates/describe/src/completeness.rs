//! Checks that a model is complete: that everything that its own files name is among its files.
//!
//! Only the packed files count, because a user who pulls the artifact gets no others. Only the
//! headers of weights are read.

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

/// The largest number of reported gaps. Each gap belongs to a different file.
const MAX_GAPS: usize = 50;
/// How many names are listed for files or tensors that are missing together.
const MAX_LISTED: usize = 3;
/// The largest length of a name from a file in a message, in characters.
const NAME: usize = 200;

/// A missing part of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The file that shows the gap, or the first of several.
    pub path: FilePath,
    /// What is missing: a sentence without a full stop, which contains the path.
    pub message: String,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Finds the missing parts of a model: shards that an index, a name or a header mentions; tensors
/// that are not in the file that the index gives; bytes in an external file, or after the end of an
/// incomplete file; pointers that git keeps instead of the files; weights without content.
///
/// Blocks to read the headers of weights, indexes, and all small files. Uses some 20 bytes of
/// memory for each tensor of an index.
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

/// The files by path.
struct Model<'a> {
    files: BTreeMap<&'a str, &'a ModelFile>,
}

impl<'a> Model<'a> {
    fn new(files: impl IntoIterator<Item = &'a ModelFile>) -> Self {
        Self { files: files.into_iter().map(|file| (file.path.as_str(), file)).collect() }
    }

    /// The files of one directory, without its subdirectories.
    fn files_in(&self, directory: &str) -> impl Iterator<Item = &'a ModelFile> {
        self.files.values().copied().filter(move |file| split(file.path.as_str()).0 == directory)
    }

    /// The file that a file in `directory` names `name`, a relative path with slashes.
    fn beside(&self, directory: &str, name: &str) -> Option<&'a ModelFile> {
        let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        self.files.get(join(directory, &parts.join("/")).as_str()).copied()
    }
}

impl Gap {
    fn new(file: &ModelFile, why: impl fmt::Display) -> Self {
        Self { path: file.path.clone(), message: format!("{} {why}", file.path) }
    }

    /// One gap for all of `files`, if there are any. `one` is the description of a single file,
    /// `several` that of more.
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

/// Names from a file. Only the first ones are kept.
#[derive(Default)]
struct Names {
    count: usize,
    first: Vec<String>,
}

impl Names {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < MAX_LISTED {
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

/// Splits a path into its directory (empty for the root) and its file name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}
