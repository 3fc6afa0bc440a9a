//! Checks whether loading a model's files can run code.

use crate::{Modelpack, Place, Result, open::artifact_of};
use modelpack_pack::{FileFilter, Patterns, PlannedFile, plan};
use modelpack_scan::{Report, ScanOptions, ScannedFile, scan_files};
use modelpack_transfer::{Files, LayerFiles, blocking};
use std::{path::PathBuf, sync::Arc};

/// The target of a scan.
#[derive(Clone, Debug)]
pub enum ScanTarget {
    /// An artifact.
    Place(Place),
    /// A directory: the files that are packed without a Modelfile and without an ignore file.
    Directory(PathBuf),
}

impl Modelpack {
    /// Finds code that would run when the files of `target` are loaded. The scan runs no code from
    /// them, and does not read tensor data.
    ///
    /// Zip archives within archive layers are stored in an unnamed file in `scratch` during the
    /// scan. Without it they are not read, which is a finding.
    pub async fn scan(&self, target: &ScanTarget, scratch: Option<PathBuf>) -> Result<Report> {
        match target {
            ScanTarget::Place(place) => {
                let opened = self.open(place).await?;
                let layers = LayerFiles::new(opened.source.clone(), &artifact_of(&opened.manifest)?);
                let scanned: Vec<_> = layers.layers().iter().map(ScannedFile::from).collect();
                opened.place.blame(self.scan_files(Arc::new(layers), &scanned, scratch).await)
            }
            ScanTarget::Directory(directory) => {
                // Ignore files are as untrusted as the files that they hide, so they are not
                // applied.
                let include = Patterns::new("scan", ["*"]).expect("a star is a pattern");
                let everything = FileFilter { include, only_included: true, ..FileFilter::default() };
                let directory = directory.clone();
                let plan = blocking(move || plan(&directory, None, &everything)).await?;
                self.scan_files(plan.content().clone(), &scanned(&plan.files), scratch).await
            }
        }
    }

    /// Scans the files of a tree.
    pub(crate) async fn scan_files(&self, files: Arc<dyn Files>, scanned: &[ScannedFile], scratch: Option<PathBuf>) -> Result<Report> {
        let options = ScanOptions { concurrency: self.options.concurrency, scratch };
        Ok(scan_files(files, scanned, &options).await?)
    }
}

/// Files to pack, as input of the scan.
pub(crate) fn scanned<'a>(files: impl IntoIterator<Item = &'a PlannedFile>) -> Vec<ScannedFile> {
    files.into_iter().map(|file| ScannedFile::new(file.path.clone(), file.size)).collect()
}
