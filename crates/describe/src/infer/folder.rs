//! The planned files as a model directory: the weights, and the side files by name.

use super::weights;
use crate::ModelFile;
use modelpack_formats::json::{self, Keep};
use serde_json::Value;
use std::{cell::RefCell, collections::BTreeMap, io::Read};

/// The largest JSON side file that is read. The largest real files are indexes of models with many
/// tensors, some 20 MiB.
const MAX_JSON_BYTES: u64 = 64 << 20;

/// The files of one model.
pub(super) struct Folder<'a> {
    /// Sorted by path, so that no result depends on the order of planning.
    files: Vec<&'a ModelFile>,
    /// The directory with the weights; empty for the root.
    pub(super) directory: &'a str,
    /// The directories of the parts, if the model is a pipeline.
    parts: Vec<&'a str>,
    /// The side files that cannot be read, with the reasons, by path.
    unread: RefCell<BTreeMap<String, String>>,
}

impl<'a> Folder<'a> {
    pub(super) fn new(files: &'a [ModelFile]) -> Self {
        let mut files: Vec<_> = files.iter().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let directory = weights::directory(&files);
        Self { files, directory, parts: Vec::new(), unread: RefCell::default() }
    }

    /// Marks the directories `names` as the parts of a pipeline.
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
    pub(super) fn files(&self) -> impl Iterator<Item = &'a ModelFile> {
        self.files.iter().copied()
    }

    /// The file at this path.
    pub(super) fn file(&self, path: &str) -> Option<&'a ModelFile> {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|at| self.files[at])
    }

    /// The files of one directory, without its subdirectories.
    pub(super) fn files_in(&self, directory: &str) -> impl Iterator<Item = &'a ModelFile> {
        self.files().filter(move |file| parent(file) == directory)
    }

    /// The file with this name in the directory of the weights, or else at the root: many
    /// repositories have the model card above the model.
    pub(super) fn find(&self, is_named: impl Fn(&str) -> bool) -> Option<&'a ModelFile> {
        let in_directory = |directory| self.files().find(|file| parent(file) == directory && is_named(file.path.file_name()));
        in_directory(self.directory).or_else(|| in_directory(""))
    }

    /// The content of the side file `name` as Python reads it, and its path.
    pub(super) fn json(&self, name: &str) -> Option<(Value, String)> {
        self.read_json(self.find(|other| other == name)?, Keep::All)
    }

    /// These fields of the side file `name`, and its path.
    pub(super) fn json_fields(&self, name: &str, fields: &[&str]) -> Option<(Value, String)> {
        self.read_json(self.find(|other| other == name)?, Keep::Fields(fields))
    }

    /// The content of the side file `name` in one directory, and its path.
    pub(super) fn json_in(&self, directory: &str, name: &str) -> Option<(Value, String)> {
        self.read_json(self.files_in(directory).find(|file| file.path.file_name() == name)?, Keep::All)
    }

    /// Sentences about the side files that could not be read, one for each.
    pub(super) fn unread(&self) -> Vec<String> {
        self.unread.borrow().iter().map(|(path, why)| format!("{path} gives no metadata: {why}")).collect()
    }

    fn read_json(&self, file: &ModelFile, keep: Keep<'_>) -> Option<(Value, String)> {
        let read = match file.size {
            ..=MAX_JSON_BYTES => json::read(file.open()?, keep).map_err(|error| error.to_string()),
            _ => Err(format!("it has more than {} MiB", MAX_JSON_BYTES >> 20)),
        };
        let path = file.path.to_string();
        match read {
            Ok(value) => Some((value, path)),
            Err(why) => {
                self.unread.borrow_mut().insert(path, why);
                None
            }
        }
    }
}

/// The directory of a file, empty for the root.
pub(super) fn parent(file: &ModelFile) -> &str {
    file.path.as_str().rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The beginning of a text file, at most `limit` bytes of it.
pub(super) fn beginning(file: &ModelFile, limit: u64) -> Option<String> {
    let mut bytes = Vec::new();
    file.open()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
