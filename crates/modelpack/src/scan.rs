//! Whether loading a model's files could run code.

use crate::{Modelpack, Place, Result, open::artifact_of};
use modelpack_pack::{FileFilter, Patterns, PlannedFile, plan};
use modelpack_scan::{Report, ScanOptions, scan_artifact, scan_file};
use modelpack_transfer::blocking;
use std::{path::PathBuf, sync::Arc};

/// What is scanned.
#[derive(Clone, Debug)]
pub enum ScanTarget {
    /// An artifact.
    Place(Place),
    /// A directory: the files that are packed when no Modelfile and no ignore file chooses.
    Directory(PathBuf),
}

impl Modelpack {
    /// Looks for what loading the files of `target` would run; nothing of them is run, and weights are not read.
    ///
    /// Zip archives within archive layers are put into a nameless file in `scratch` while they are looked at; without it they are
    /// not read, which is a finding.
    pub async fn scan(&self, target: &ScanTarget, scratch: Option<PathBuf>) -> Result<Report> {
        match target {
            ScanTarget::Place(place) => {
                let opened = self.open(place).await?;
                let artifact = artifact_of(&opened.manifest)?;
                let options = ScanOptions { concurrency: self.options.concurrency, scratch };
                opened.place.blame(scan_artifact(Arc::from(opened.source), &artifact, &options).await)
            }
            ScanTarget::Directory(directory) => {
                let directory = directory.clone();
                blocking(move || {
                    // An ignore file is as much somebody else's as what it hides.
                    let include = Patterns::new("scan", ["*"]).expect("a star is a pattern");
                    let everything = FileFilter { include, only_included: true, ..FileFilter::default() };
                    let plan = plan(&directory, None, &everything)?;
                    scan_planned(&plan.files, scratch)
                })
                .await
            }
        }
    }
}

/// Scans files that are to be packed; blocks.
pub(crate) fn scan_planned<'a>(files: impl IntoIterator<Item = &'a PlannedFile>, scratch: Option<PathBuf>) -> Result<Report> {
    let scan = |planned: &PlannedFile| {
        let (file, _) = planned.source.open()?;
        Ok(scan_file(planned.path.as_str(), planned.size, file, scratch.as_deref()))
    };
    Ok(Report { files: files.into_iter().map(scan).collect::<Result<_>>()? })
}
