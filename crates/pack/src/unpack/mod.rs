//! Unpacking: an artifact becomes a directory again, byte for byte.
//!
//! Everything that can be checked is checked before anything is written: the paths of all layers,
//! and the existing content of the directory. Files are then written to a hidden [staging](staging)
//! directory in the destination. Each file is renamed to its own name when it is complete, verified
//! and synced. All archives are read to their end before the first file gets its name. If unpacking
//! stops for any reason, the staging directory is removed, and files with their final names stay,
//! so a second attempt finds them. Concurrent unpacks into one destination take [turns](turn).
//!
//! Of a file's attributes only the executable bit is applied. The process's umask applies.

mod archive;
mod contents;
mod destination;
mod occupied;
mod raw;
mod staging;
mod turn;

pub use archive::content_digest;
pub(crate) use archive::{ArchiveEntry, ArchiveReader, ArchivedFile, PIECES, blame, decoder};
pub(crate) use contents::{Contents, invalid};
pub use modelpack_formats::compressed::Allowance;
pub(crate) use occupied::{Occupied, occupied};

use crate::{Result, Selection, classify};
use archive::Unarchiver;
use destination::Destination;
use modelpack_spec::{Artifact, Content, Descriptor, Encoding, FilePath, Layer, Manifest};
use modelpack_store::DigestCache;
use modelpack_transfer::{
    Attempt, Body, Connections, Error, Partial, Progress, Source, Verifier, blocking, fetch, for_each_concurrent, retried_if_damaged,
};
use raw::{Found, RawFile};
use serde::Serialize;
use staging::{RESUMABLE, Staging};
use std::{collections::BTreeSet, path::Path, sync::Arc};
use turn::Turn;

/// Options for unpacking.
#[derive(Clone, Debug)]
pub struct UnpackOptions {
    /// The files to unpack.
    pub selection: Selection,
    /// Whether existing files are replaced. Directories and links are never replaced.
    pub force: bool,
    /// The number of layers that are unpacked concurrently; at least 1.
    pub concurrency: usize,
    /// The counter for bytes of layers.
    pub progress: Arc<Progress>,
    /// The connections that all transfers share.
    pub connections: Arc<Connections>,
    /// A cache that avoids hashing existing files, and gets the digests of written files.
    pub digest_cache: Option<DigestCache>,
}

impl Default for UnpackOptions {
    /// All files, one layer after the other, without replacing anything.
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            force: false,
            concurrency: 1,
            progress: Arc::default(),
            connections: Connections::default_limit(),
            digest_cache: None,
        }
    }
}

/// The result of unpacking. Each list is in the order of its paths or layers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unpacked {
    /// Files that were written.
    pub written: Vec<FilePath>,
    /// Files that already existed with the right content.
    pub unchanged: Vec<FilePath>,
    /// Layers without a file name; they are not unpacked.
    pub unnamed: Vec<Descriptor>,
    /// The total size of the written files in bytes.
    pub bytes: u64,
    /// The files that were not selected.
    pub left_out: LeftOut,
}

/// What a selection left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// The number of files, without those in archives that were not fetched.
    pub files: usize,
    /// The number of archives that were not fetched.
    pub archives: usize,
    /// The total size of these files and archives in bytes.
    pub bytes: u64,
}

impl LeftOut {
    fn add_file(&mut self, size: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
    }
}

/// Unpacks the artifact of `manifest` into the directory `destination`, which is created if
/// necessary. `source` has the layers.
///
/// An existing file with the right content is left unchanged, and its layer is not fetched. An
/// existing file with other content fails with [`Error::Conflict`], before anything is written,
/// unless `options.force` is set. An index is refused, because it is not a single artifact.
///
/// With a selection, only the needed layers are fetched: selected files, and archives that may
/// contain some. Every byte of a fetched archive is verified, and empty directories are not
/// created. Fails with [`Error::NothingSelected`](crate::Error::NothingSelected) if no file is
/// selected. Paths are checked as if all files were written.
///
/// Layers without a file name are left out. An artifact without other layers, or whose archives
/// contain no file, fails with [`Error::Invalid`].
///
/// Refused are paths that leave the destination or clash with each other, and archives that contain
/// anything but files and directories, more than a million of them, or files of more than 1 GiB and
/// more than 1000 times the size of all archives. A symbolic link below the destination is never
/// followed.
///
/// While another process or call unpacks into the same directory, this call waits for it and calls
/// `waits` once. Files of the other unpack then count as existing files.
///
/// If it fails or the returned future is dropped, raw files of 1 MiB and more that are incomplete
/// stay in a hidden directory of the destination. The next call for the same destination continues
/// them, and removes what is left of others. All other incomplete files are removed, by threads that
/// may outlive the future briefly.
pub async fn unpack(
    source: &dyn Source,
    manifest: &Manifest,
    destination: &Path,
    options: &UnpackOptions,
    waits: impl FnOnce(),
) -> Result<Unpacked> {
    let what = format!("manifest {}", manifest.digest());
    let Some(image) = manifest.image() else {
        let why = "it is an index of several manifests; only one of them can be unpacked".to_owned();
        return Err(Error::Invalid { what, why }.into());
    };
    let artifact = Artifact::read(image).map_err(invalid(&what))?;
    let plan = Plan::of(&artifact, &options.selection)?;
    if plan.has_no_file() {
        return Err(Error::Invalid { what, why: why_no_file(&plan.unnamed) }.into());
    }
    if plan.is_nothing() {
        return Err(nothing_selected(what, &artifact, &options.selection, &[]));
    }
    options.progress.expect(plan.size());
    let path = destination.to_owned();
    let destination = blocking(move || {
        let destination = Arc::new(Destination::open(&path)?);
        Staging::remove_stale(&destination);
        Turn::remove_stale(&destination);
        Ok::<_, Error>(destination)
    });
    let unpacking = Unpacking { source, what: what.clone(), destination: destination.await?, options };
    let (unpacked, passed) = unpacking.run(plan, waits).await?;
    if unpacked.written.is_empty() && unpacked.unchanged.is_empty() && !options.selection.is_everything() {
        return Err(nothing_selected(what, &artifact, &options.selection, &passed));
    }
    Ok(unpacked)
}

/// How many files an error lists.
const LISTED: usize = 10;

/// The error for an empty selection. `passed` has files in archives that were not selected.
fn nothing_selected(what: String, artifact: &Artifact, selection: &Selection, passed: &[FilePath]) -> crate::Error {
    let layers = artifact.layers.iter().filter_map(|layer| match &layer.content {
        Content::File(path) | Content::Compressed(path, _) => {
            let kind = layer.kind.unwrap_or_else(|| classify(path, layer.descriptor.size).0);
            Some(format!("{path} ({})", kind.name()))
        }
        Content::Archive(_) => Some(name(layer)),
        Content::Unnamed => None,
    });
    let mut names: Vec<String> = layers.chain(passed.iter().map(FilePath::to_string)).collect();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let has = match (names.len(), more) {
        (0, _) => "no file".to_owned(),
        (_, 0) => names.join(", "),
        (_, more) => format!("{}, and {more} more", names.join(", ")),
    };
    crate::Error::NothingSelected { what, rules: selection.rules(), has }
}

/// Why an artifact whose only layers are `unnamed` has no files.
fn why_no_file(unnamed: &[Descriptor]) -> String {
    if unnamed.is_empty() {
        return "it has no layers, so it has no files".to_owned();
    }
    let types: BTreeSet<&str> = unnamed.iter().map(|layer| layer.media_type.as_str()).collect();
    let mut listed: Vec<String> = types.iter().take(LISTED).map(|media_type| format!("{media_type:?}")).collect();
    listed.extend((types.len() > LISTED).then(|| format!("{} more", types.len() - LISTED)));
    format!("its layers have no file names: none has a path, and no file name is known for the type {}", listed.join(", "))
}

/// The layers of an artifact by the way they are unpacked.
struct Plan<'a> {
    files: Vec<RawFile<'a>>,
    archives: Vec<(&'a Layer, Form<'a>)>,
    unnamed: Vec<Descriptor>,
    contents: Contents,
    left_out: LeftOut,
}

impl<'a> Plan<'a> {
    fn of(artifact: &'a Artifact, selection: &Selection) -> Result<Self, Error> {
        let (contents, left_out) = (Contents::default(), LeftOut::default());
        let mut plan = Self { files: Vec::new(), archives: Vec::new(), unnamed: Vec::new(), contents, left_out };
        for layer in &artifact.layers {
            match &layer.content {
                Content::File(path) => {
                    plan.contents.insert_file(&name(layer), path)?;
                    match selection.selects(path, layer.descriptor.size, layer) {
                        true => plan.files.push(RawFile { layer, path }),
                        false => plan.left_out.add_file(layer.descriptor.size),
                    }
                }
                Content::Archive(encoding) if selection.may_select_in(layer) => {
                    plan.archives.push((layer, Form { encoding: *encoding, file: None }));
                }
                Content::Archive(_) => {
                    plan.left_out.archives += 1;
                    plan.left_out.bytes = plan.left_out.bytes.saturating_add(layer.descriptor.size);
                }
                Content::Compressed(path, encoding) => match selection.selects(path, layer.descriptor.size, layer) {
                    true => plan.archives.push((layer, Form { encoding: *encoding, file: Some(path) })),
                    false => plan.left_out.add_file(layer.descriptor.size),
                },
                Content::Unnamed => plan.unnamed.push(layer.descriptor.clone()),
            }
        }
        Ok(plan)
    }

    fn is_nothing(&self) -> bool {
        self.files.is_empty() && self.archives.is_empty()
    }

    /// Whether the artifact has no files, independent of the selection.
    fn has_no_file(&self) -> bool {
        self.is_nothing() && self.left_out == LeftOut::default()
    }

    /// The size of the layers that will be unpacked, in bytes.
    fn size(&self) -> u64 {
        self.files.iter().fold(self.archives_size(), |sum, file| sum.saturating_add(file.layer.descriptor.size))
    }

    fn archives_size(&self) -> u64 {
        self.archives.iter().fold(0, |sum, (layer, _)| sum.saturating_add(layer.descriptor.size))
    }
}

/// How the bytes of a layer that is not raw hold its files.
#[derive(Clone, Copy)]
struct Form<'a> {
    encoding: Encoding,
    /// The file, if the bytes are a single compressed file and not an archive.
    file: Option<&'a FilePath>,
}

/// The name of a layer in errors.
pub(crate) fn name(layer: &Layer) -> String {
    match &layer.path {
        Some(path) => format!("layer {path} ({})", layer.descriptor.digest),
        None => format!("layer {}", layer.descriptor.digest),
    }
}

/// A file that is in the destination at the end.
struct Finished {
    path: FilePath,
    executable: bool,
    size: u64,
}

fn sorted_paths(files: &[Finished]) -> Vec<FilePath> {
    let mut paths: Vec<FilePath> = files.iter().map(|file| file.path.clone()).collect();
    paths.sort();
    paths
}

struct Unpacking<'a> {
    source: &'a dyn Source,
    /// The name of the artifact in errors.
    what: String,
    destination: Arc<Destination>,
    options: &'a UnpackOptions,
}

impl Unpacking<'_> {
    /// Unpacks. Also returns the first files of archives that were not selected.
    async fn run(&self, plan: Plan<'_>, waits: impl FnOnce()) -> Result<(Unpacked, Vec<FilePath>), Error> {
        let limit = self.options.concurrency;
        let (mut left_out, mut passed) = (plan.left_out, Vec::new());
        let (mut written, mut unchanged, mut directories, mut placed_raw) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut missing, mut replaced) = self.sort(&plan.files, &mut unchanged).await?;
        let mut turn = None;
        if !plan.archives.is_empty() || !missing.is_empty() || !replaced.is_empty() {
            turn = Some(Turn::take(&self.destination, waits).await?);
            // The unpack that had the turn before may have written them.
            let (still_missing, found) = self.sort(&missing, &mut unchanged).await?;
            replaced.extend(found);
            missing = still_missing;
        }
        missing.append(&mut replaced);
        if let Some(turn) = turn.filter(|_| !plan.archives.is_empty() || !missing.is_empty()) {
            let destination = self.destination.clone();
            let layers = missing.iter().map(|file| file.layer).chain(plan.archives.iter().map(|(layer, _)| *layer));
            let blobs: Vec<Descriptor> = layers.map(|layer| layer.descriptor.clone()).collect();
            let staging = Arc::new(blocking(move || Staging::create(destination, turn, &blobs)).await?);
            let stored = plan.archives_size();
            let unarchiver = Unarchiver::new(staging.clone(), plan.contents, stored);
            let stage = |(layer, form)| self.stage_archive(&staging, unarchiver.clone(), layer, form);
            // Fetched archives stay until their files have their names, so that nothing is fetched again.
            let (archived, fetched): (Vec<_>, Vec<_>) = for_each_concurrent(limit, plan.archives, stage).await?.into_iter().unzip();
            for archived in &archived {
                left_out.files += archived.left_out.files;
                left_out.bytes = left_out.bytes.saturating_add(archived.left_out.bytes);
                passed.extend(archived.passed.iter().cloned());
            }
            let has_file = !unchanged.is_empty() || !missing.is_empty() || archived.iter().any(|archived| archived.has_file());
            if !has_file && self.options.selection.is_everything() {
                return Err(Error::Invalid { what: self.what.clone(), why: "its archives contain no file".to_owned() });
            }
            let placed = archive::place(&staging, archived, self.options.force).await?;
            written = placed.written;
            unchanged.extend(placed.unchanged);
            directories = placed.directories;
            placed_raw = for_each_concurrent(limit, &missing, |file| self.write(&staging, *file)).await?;
            written.extend(missing.iter().map(RawFile::finished));
            blocking(move || {
                drop(fetched);
                staging.clear_partials()
            })
            .await?;
        }
        let (destination, unnamed, cache) = (self.destination.clone(), plan.unnamed, self.options.digest_cache.clone());
        blocking(move || {
            let unpacked = Unpacked {
                bytes: written.iter().map(|file| file.size).sum(),
                written: sorted_paths(&written),
                unchanged: sorted_paths(&unchanged),
                unnamed,
                left_out,
            };
            unchanged.iter().try_for_each(|file| destination.set_executable(&file.path, file.executable))?;
            // Unchanged files may come from an earlier failed attempt, so they are synced too.
            destination.sync(unpacked.written.iter().chain(&unpacked.unchanged).chain(&directories))?;
            raw::remember_all(&placed_raw, &destination, cache.as_ref());
            Ok((unpacked, passed))
        })
        .await
    }

    /// Separates existing files with the right content, which are added to `unchanged`, from
    /// missing files and from files to be replaced.
    async fn sort<'f>(&self, files: &[RawFile<'f>], unchanged: &mut Vec<Finished>) -> Result<(Vec<RawFile<'f>>, Vec<RawFile<'f>>), Error> {
        let found = for_each_concurrent(self.options.concurrency, files, |file| self.look_at(*file)).await?;
        let (mut missing, mut replaced) = (Vec::new(), Vec::new());
        for (file, found) in files.iter().zip(found) {
            match found {
                Found::Equal => unchanged.push(file.finished()),
                Found::Nothing => missing.push(*file),
                Found::Other => replaced.push(*file),
            }
        }
        Ok((missing, replaced))
    }

    /// Stages the files of an archive. A large one that is not on this machine is fetched first, so
    /// that an interrupted transfer continues; then it is returned too.
    async fn stage_archive(
        &self,
        staging: &Arc<Staging>,
        unarchiver: Unarchiver,
        layer: &Layer,
        form: Form<'_>,
    ) -> Result<(archive::Archived, Option<Arc<Partial>>), Error> {
        let (blob, part) = (&layer.descriptor, self.options.progress.blob(&layer.descriptor));
        let is_here = self.source.blob(blob, 0..0).await?.file().is_some();
        let (body, fetched) = if is_here || blob.size < RESUMABLE {
            (self.source.blob(blob, 0..blob.size).await?.counted(part), None)
        } else {
            let fetched = retried_if_damaged(|| self.fetch_archive(staging, layer, &part)).await?;
            (Body::from_file(fetched.file()), Some(fetched))
        };
        let what = name(layer);
        let verifier = Verifier::named(&what, &layer.descriptor);
        let file = form.file.map(|path| (path.clone(), layer.is_executable()));
        let (selection, layer) = (self.options.selection.clone(), layer.clone());
        let is_selected = move |path: &FilePath, size| selection.selects(path, size, &layer);
        let staged = unarchiver.stage(what, form.encoding, file, body, verifier, is_selected).await;
        if let (Err(Error::Invalid { .. } | Error::InvalidPath { .. }), Some(fetched)) = (&staged, &fetched) {
            // It is refused the next time too.
            let fetched = fetched.clone();
            blocking(move || fetched.discard()).await;
        }
        Ok((staged?, fetched))
    }

    /// Fetches an archive and verifies it.
    async fn fetch_archive(&self, staging: &Arc<Staging>, layer: &Layer, part: &Arc<Progress>) -> Attempt<Arc<Partial>> {
        let new = |error| (error, false);
        let begun = staging.partials().begin_or_wait(&layer.descriptor, &name(layer), &self.options.progress).await;
        let partial = Arc::new(begun.map_err(new)?);
        fetch(self.source, &layer.descriptor, Arc::new(partial.clone()), &self.options.connections, part).await.map_err(new)?;
        let fetched = partial.clone();
        match blocking(move || fetched.verify()).await {
            Ok(_) => Ok(partial),
            Err(error) => Err((error, partial.resumed() > 0)),
        }
    }
}
