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
    directory: &'a str,
}

impl<'a> Folder<'a> {
    pub(super) fn new(files: &'a [PlannedFile]) -> Self {
        let mut files: Vec<_> = files.iter().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let directory = weights::directory(&files);
        Self { files, directory }
    }

    /// Every file, sorted by path.
    pub(super) fn files(&self) -> impl Iterator<Item = &'a PlannedFile> {
        self.files.iter().copied()
    }

    /// The files that lie where the weights lie.
    pub(super) fn beside_weights(&self) -> impl Iterator<Item = &'a PlannedFile> {
        self.files().filter(|file| parent(file) == self.directory)
    }

    /// The file of this name beside the weights, else the one at the root: many a repository has its card above the model.
    pub(super) fn find(&self, is_named: impl Fn(&str) -> bool) -> Option<&'a PlannedFile> {
        let in_directory = |directory| self.files().find(|file| parent(file) == directory && is_named(file.path.file_name()));
        in_directory(self.directory).or_else(|| in_directory(""))
    }

    /// The side file `name`, parsed, and its path.
    pub(super) fn json<T: DeserializeOwned>(&self, name: &str) -> Option<(T, String)> {
        let file = self.find(|other| other == name)?;
        let bytes = BufReader::new(File::open(&file.source).ok()?.take(MAX_JSON_BYTES));
        Some((serde_json::from_reader(bytes).ok()?, file.path.to_string()))
    }
}

/// The directory of a file, empty for the root.
pub(super) fn parent(file: &PlannedFile) -> &str {
    file.path.as_str().rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The beginning of a text file, at most `limit` bytes of it.
pub(super) fn beginning(file: &PlannedFile, limit: u64) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(&file.source).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
