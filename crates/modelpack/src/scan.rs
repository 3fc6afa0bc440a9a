//! Whether loading a model's files could run code.

use crate::{Modelpack, Place, Result, open::artifact_of};
use modelpack_pack::{FileFilter, Patterns, PlannedFile, plan};
use modelpack_scan::{Report, ScannedFile, scan_files};
use modelpack_transfer::{Files, LayerFiles, blocking};
use serde::Serialize;
use std::{fmt, path::PathBuf, sync::Arc};

/// What is scanned.
#[derive(Clone, Debug)]
pub enum ScanTarget {
    /// An artifact.
    Place(Place),
    /// A directory: the files that are packed when no Modelfile and no ignore file chooses.
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

/// How a model is scanned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanOptions {
    /// The directory in which zip archives within archive layers are put into a nameless file while they are looked at. Without it they are
    /// not read, which is a finding.
    pub scratch: Option<PathBuf>,
}

impl ScanOptions {
    /// Puts zip archives within archive layers into a nameless file in this directory while they are looked at.
    pub fn scratch(self, scratch: impl Into<PathBuf>) -> Self {
        Self { scratch: Some(scratch.into()) }
    }
}

/// What of a directory is not looked at.
const HIDDEN: &str = "hidden files, and what systems and tools leave behind";

/// What came of scanning a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Scanned {
    /// What was scanned, as it was named.
    pub target: String,
    /// What was found in its files.
    #[serde(flatten)]
    pub report: Report,
    /// What of it was not looked at, in words; empty for an artifact.
    pub not_looked_at: Vec<String>,
}

impl Modelpack {
    /// Looks for what loading the files of `target` would run; nothing of them is run, and weights are not read.
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
                // An ignore file is as much somebody else's as what it hides.
                let include = Patterns::new("scan", ["*"]).expect("a star is a pattern");
                let everything = FileFilter::default().include(include).only_included(true);
                let directory = directory.clone();
                let plan = blocking(move || plan(&directory, None, &everything)).await?;
                self.scan_files(plan.content().clone(), &scanned(&plan.files), scratch).await
            }
        }
    }

    /// Scans files of a tree.
    pub(crate) async fn scan_files(&self, files: Arc<dyn Files>, scanned: &[ScannedFile], scratch: Option<PathBuf>) -> Result<Report> {
        let options = modelpack_scan::ScanOptions { concurrency: self.options.concurrency, scratch };
        Ok(scan_files(files, scanned, &options).await?)
    }
}

/// Files that are to be packed, as those that are scanned.
pub(crate) fn scanned<'a>(files: impl IntoIterator<Item = &'a PlannedFile>) -> Vec<ScannedFile> {
    files.into_iter().map(|file| ScannedFile::new(file.path.clone(), file.size)).collect()
}
