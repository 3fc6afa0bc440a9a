//! Checks whether loading a model's files can run code.

use crate::{Modelpack, Place, Result, open::artifact_of};
use modelpack_pack::{FileFilter, Patterns, PlannedFile, plan};
use modelpack_scan::{Report, ScannedFile, scan_files};
use modelpack_transfer::{Files, LayerFiles, blocking};
use serde::Serialize;
use std::{fmt, path::PathBuf, sync::Arc};

/// The target of a scan.
#[derive(Clone, Debug)]
pub enum ScanTarget {
    /// An artifact.
    Place(Place),
    /// A directory: the files that are packed without a Modelfile and without an ignore file.
    Directory(PathBuf),
}

impl fmt::Display for ScanTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Directory(directory) => directory.display().fmt(f),
        }
    }
}

/// Options of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanOptions {
    /// The directory for an unnamed file with zip archives within archive layers during the scan.
    /// Without it they are not read, which is a finding.
    pub scratch: Option<PathBuf>,
}

impl ScanOptions {
    /// Sets the directory for an unnamed file with zip archives within archive layers during the
    /// scan.
    pub fn scratch(self, scratch: impl Into<PathBuf>) -> Self {
        Self { scratch: Some(scratch.into()) }
    }
}

/// The files of a directory that are not scanned.
const HIDDEN: &str = "hidden files, and files of operating systems and tools";

/// The result of scanning a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Scanned {
    /// The name of the target, as given.
    pub target: String,
    /// The findings in its files.
    #[serde(flatten)]
    pub report: Report,
    /// Descriptions of the files that were not scanned; empty for an artifact.
    pub not_looked_at: Vec<String>,
}

impl Modelpack {
    /// Finds code that would run when the files of `target` are loaded. The scan runs no code from
    /// them, and does not read tensor data.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, ScanOptions, ScanTarget};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # let model = scratch.path();
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// // A pickle that calls `os.system`.
    /// std::fs::write(model.join("loader.pkl"), b"cos\nsystem\n(S'true'\ntR.")?;
    /// let scanned = modelpack.scan(&ScanTarget::Directory(model.into()), &ScanOptions::default()).await?;
    /// let (file, finding) = scanned.report.findings().next().expect("it is found");
    /// assert_eq!((file.path.as_str(), finding.global.as_deref()), ("loader.pkl", Some("os.system")));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn scan(&self, target: &ScanTarget, options: &ScanOptions) -> Result<Scanned> {
        let report = self.report_on(target, options.scratch.clone()).await?;
        let not_looked_at = match target {
            ScanTarget::Place(_) => Vec::new(),
            ScanTarget::Directory(_) => vec![HIDDEN.to_owned()],
        };
        Ok(Scanned { target: target.to_string(), report, not_looked_at })
    }

    async fn report_on(&self, target: &ScanTarget, scratch: Option<PathBuf>) -> Result<Report> {
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
                let everything = FileFilter::default().include(include).only_included(true);
                let directory = directory.clone();
                let plan = blocking(move || plan(&directory, None, &everything)).await?;
                self.scan_files(plan.content().clone(), &scanned(&plan.files), scratch).await
            }
        }
    }

    /// Scans the files of a tree.
    pub(crate) async fn scan_files(&self, files: Arc<dyn Files>, scanned: &[ScannedFile], scratch: Option<PathBuf>) -> Result<Report> {
        let options = modelpack_scan::ScanOptions { concurrency: self.options.concurrency, scratch };
        Ok(scan_files(files, scanned, &options).await?)
    }
}

/// Files to pack, as input of the scan.
pub(crate) fn scanned<'a>(files: impl IntoIterator<Item = &'a PlannedFile>) -> Vec<ScannedFile> {
    files.into_iter().map(|file| ScannedFile::new(file.path.clone(), file.size)).collect()
}
