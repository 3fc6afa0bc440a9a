//! The planned files as a model's folder: the weights, and the side files by name.

use super::weights;
use crate::plan::PlannedFile;
use serde::de::DeserializeOwned;
use std::{
    fs::File,
    io::{BufReader, Read},
};

/// A JSON side file above this is not read. The largest are tokenizer configs with many added tokens and configs with many labels,
/// some 2 MiB; parsed, a hostile file takes some twenty times its length.
const MAX_JSON_BYTES: u64 = 4 << 20;

/// The files of one model.
pub(super) struct Folder<'a> {
    /// Sorted by path, so that no result hangs on the order in which they were planned.
    files: Vec<&'a PlannedFile>,
    /// The directory in which the weights lie, empty for the root.
    pub(super) directory: &'a str,
    /// The directories of the parts, if the model is a pipeline of several.
    parts: Vec<&'a str>,
}

impl<'a> Folder<'a> {
    pub(super) fn new(files: &'a [PlannedFile]) -> Self {
        let mut files: Vec<_> = files.iter().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let directory = weights::directory(&files);
        Self { files, directory, parts: Vec::new() }
    }

    /// Takes the directories `names` for the parts of one model.
    pub(super) fn set_parts(&mut self, names: &[&str]) {
        let mut parts: Vec<_> = self.files.iter().copied().map(parent).filter(|directory| names.contains(directory)).collect();
        parts.sort_unstable();
        parts.dedup();
        self.parts = parts;
    }

    /// Whether the model is a pipeline of parts.
    pub(super) fn is_pipeline(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The directories of the model's weights.
    pub(super) fn parts(&self) -> Vec<&'a str> {
        if self.is_pipeline() { self.parts.clone() } else { vec![self.directory] }
    }

    /// Every file, sorted by path.
    pub(super) fn files(&self) -> impl Iterator<Item = &'a PlannedFile> {
        self.files.iter().copied()
    }

    /// The file of this path.
    pub(super) fn file(&self, path: &str) -> Option<&'a PlannedFile> {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|at| self.files[at])
    }

    /// The files of one directory, not of those in it.
    pub(super) fn files_in(&self, directory: &str) -> impl Iterator<Item = &'a PlannedFile> {
        self.files().filter(move |file| parent(file) == directory)
    }

    /// The file of this name beside the weights, else the one at the root: many a repository has its card above the model.
    pub(super) fn find(&self, is_named: impl Fn(&str) -> bool) -> Option<&'a PlannedFile> {
        let in_directory = |directory| self.files().find(|file| parent(file) == directory && is_named(file.path.file_name()));
        in_directory(self.directory).or_else(|| in_directory(""))
    }

    /// The side file `name`, parsed, and its path.
    pub(super) fn json<T: DeserializeOwned>(&self, name: &str) -> Option<(T, String)> {
        read_json(self.find(|other| other == name)?)
    }

    /// The side file `name` of one directory, parsed, and its path.
    pub(super) fn json_in<T: DeserializeOwned>(&self, directory: &str, name: &str) -> Option<(T, String)> {
        read_json(self.files_in(directory).find(|file| file.path.file_name() == name)?)
    }
}

fn read_json<T: DeserializeOwned>(file: &PlannedFile) -> Option<(T, String)> {
    let bytes = BufReader::new(open(file)?.take(MAX_JSON_BYTES));
    Some((serde_json::from_reader(bytes).ok()?, file.path.to_string()))
}

/// The file, open, unless it is not what was planned any more: then packing fails.
pub(super) fn open(file: &PlannedFile) -> Option<File> {
    file.source.open().ok().map(|(file, _)| file)
}

/// The directory of a file, empty for the root.
pub(super) fn parent(file: &PlannedFile) -> &str {
    file.path.as_str().rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The beginning of a text file, at most `limit` bytes of it.
pub(super) fn beginning(file: &PlannedFile, limit: u64) -> Option<String> {
    let mut bytes = Vec::new();
    open(file)?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
