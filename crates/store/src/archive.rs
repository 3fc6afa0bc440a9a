//! A tar archive of an OCI image layout, as `oci-archive:` names it: a model in one file.

use crate::{
    disk::{Entries, Entry, EntrySelector, Index, Selected, all_referrers, written_name},
    partial::Partial,
};
use async_trait::async_trait;
use modelpack_spec::{Algorithm, Descriptor, Digest, MAX_MANIFEST_BYTES, Manifest, Selector, Tag};
use modelpack_transfer::{
    Begin, Body, Cancelled, Committed, Error, FileRange, Result, Sink, Source, Upload, Verifier, blocking, blocking_cancellable,
    verify_manifest, verify_selected,
};
use std::{
    collections::HashMap,
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The largest `index.json` or `oci-layout` that is read from an archive, in bytes.
const MAX_INDEX_BYTES: u64 = 64 << 20;
const BLOCK: u64 = 512;

/// An archive that is read. Blobs are read directly from the archive file, in any order.
#[derive(Clone)]
pub struct Archive(Arc<Contents>);

struct Contents {
    path: PathBuf,
    file: Arc<File>,
    index: Index,
    blobs: HashMap<Digest, Range<u64>>,
}

impl Archive {
    /// Opens an archive and finds its entries; blocks.
    pub fn open(path: &Path) -> Result<Self> {
        let FileRange { file, len, .. } = match FileRange::open(path) {
            Ok(whole) => whole,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::not_found(format!("an archive at {}", path.display())));
            }
            Err(e) => return Err(Error::io("open", path)(e)),
        };
        let invalid = |why: String| Error::Invalid {
            what: path.display().to_string(),
            why: format!("it is not a tar archive of an OCI image layout: {why}"),
        };
        let mut blobs = HashMap::new();
        let mut index_at = None;
        let mut tar = tar::Archive::new(&*file);
        for entry in tar.entries_with_seek().map_err(|e| invalid(e.to_string()))? {
            let entry = entry.map_err(|e| invalid(e.to_string()))?;
            let at = entry.raw_file_position()..entry.raw_file_position().saturating_add(entry.size());
            if at.end > len {
                return Err(invalid("it ends in the middle of an entry".to_owned()));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            match name.trim_start_matches("./") {
                "index.json" => index_at = Some(at),
                name => {
                    if let Some(digest) = name.strip_prefix("blobs/").and_then(|n| n.replacen('/', ":", 1).parse::<Digest>().ok()) {
                        blobs.insert(digest, at);
                    }
                }
            }
        }
        let index_at = index_at.ok_or_else(|| invalid("it has no index.json".to_owned()))?;
        if index_at.end - index_at.start > MAX_INDEX_BYTES {
            return Err(invalid("its index.json is too large".to_owned()));
        }
        let range = FileRange { file: file.clone(), path: path.to_owned(), offset: index_at.start, len: index_at.end - index_at.start };
        let index = Index::read_from(&range, &format!("index.json in {}", path.display()))?;
        Ok(Self(Arc::new(Contents { path: path.to_owned(), file, index, blobs })))
    }

    /// The manifest that `at` selects: see [`Layout::find`](crate::Layout::find); blocks.
    pub fn find(&self, at: Option<&EntrySelector>) -> Result<Selected> {
        self.with_entries(|entries| entries.find(at))
    }

    /// All entries, in the order of the index; blocks.
    pub fn entries(&self) -> Vec<Entry> {
        self.with_entries(|entries| entries.all())
    }

    /// How many manifests refer to the manifest with `digest`. `name` is its name, if it has one; blocks.
    pub fn count_referrers(&self, digest: &Digest, name: Option<&str>) -> usize {
        self.with_entries(|entries| entries.count_referrers(digest, name))
    }

    fn with_entries<T>(&self, work: impl FnOnce(&Entries<'_, &dyn Fn(&Descriptor) -> Result<Manifest>>) -> T) -> T {
        work(&Entries { of: &self.0.path.display().to_string(), index: &self.0.index, read: &|entry| self.read_manifest(entry) })
    }

    /// The part of the file that is a manifest, if that is not too large, and its name in an error.
    fn open_manifest(&self, digest: &Digest) -> Result<(String, FileRange)> {
        let what = format!("manifest {digest} in {}", self.0.path.display());
        let range = self.range(digest)?;
        if range.len > MAX_MANIFEST_BYTES as u64 {
            return Err(Error::InvalidManifest { what, source: modelpack_spec::InvalidManifest::TooLarge(range.len) });
        }
        Ok((what, range))
    }

    fn read_manifest(&self, entry: &Descriptor) -> Result<Manifest> {
        let (what, range) = self.open_manifest(&entry.digest)?;
        verify_manifest(&what, range.read()?, Some(entry.media_type.as_str()).filter(|t| !t.is_empty()), &entry.digest)
    }

    fn range(&self, digest: &Digest) -> Result<FileRange> {
        let at = self.0.blobs.get(digest).ok_or_else(|| Error::not_found(format!("blob {digest} in {}", self.0.path.display())))?;
        Ok(FileRange { file: self.0.file.clone(), path: self.0.path.clone(), offset: at.start, len: at.end - at.start })
    }
}

#[async_trait]
impl Source for Archive {
    async fn manifest(&self, at: &Selector) -> Result<Manifest> {
        let (this, at) = (self.clone(), at.clone());
        blocking(move || {
            let not_found = || Error::not_found(format!("{at} in {}", this.0.path.display()));
            this.read_manifest(&this.0.index.select(&at).ok_or_else(not_found)?)
        })
        .await
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body> {
        let whole = self.range(&blob.digest)?;
        Ok(Body::from_file(whole.slice(range, blob, &format!("blob {} in {}", blob.digest, self.0.path.display()))?))
    }

    async fn referrers(&self, subjects: &[Digest]) -> Result<Option<Vec<Descriptor>>> {
        let (this, subjects) = (self.clone(), subjects.to_vec());
        blocking(move || all_referrers(&this.0.index, |digest| this.open_manifest(digest), &subjects).map(Some)).await
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        Ok(Some(self.0.index.tags().into_iter().map(|(tag, _)| tag).collect()))
    }
}

/// An archive that is written. Nothing is visible at its path before [`finish`](Self::finish), and no other process writes it until then.
///
/// The blobs in an archive follow one another, so only one is written at a time. A second one waits for the first.
pub struct ArchiveWriter {
    /// Its name in an error.
    name: String,
    /// The name that a manifest gets instead of the tag that it is written with.
    entry_name: Option<String>,
    state: Arc<Mutex<State>>,
}

struct State {
    partial: Partial,
    /// Where the next entry begins. Bytes of the file after this offset have no meaning.
    end: u64,
    index: Index,
    blobs: HashMap<Digest, u64>,
}

impl ArchiveWriter {
    /// Begins to write an archive to `path`. If there is an archive already, its content is copied into the new one.
    ///
    /// A manifest that is written with a tag gets the name `entry_name` instead of the tag, if that is given. It may be any text, such as a
    /// whole reference. If another process writes the same archive, this calls `waits` once and waits until that process has finished.
    pub async fn create(path: &Path, entry_name: Option<String>, waits: impl FnOnce()) -> Result<Self> {
        let partial = Partial::create(path, waits).await?;
        let state = blocking_cancellable(move |cancelled| State::begin(partial, cancelled)).await?;
        Ok(Self { name: path.display().to_string(), entry_name, state: Arc::new(Mutex::new(state)) })
    }

    /// Completes the archive and renames it to its path, durably.
    pub async fn finish(self) -> Result<()> {
        let mut state = self.state.lock_owned().await;
        blocking(move || {
            let index = state.index.to_bytes();
            for (name, bytes) in [("oci-layout", &br#"{"imageLayoutVersion":"1.0.0"}"#[..]), ("index.json", &index)] {
                let at = state.end + BLOCK;
                state.write_at(bytes, at)?;
                state.close_entry(name, bytes.len() as u64)?;
            }
            // Two blocks of zeros end a tar archive.
            let file = state.partial.file();
            file.set_len(state.end).and_then(|()| file.set_len(state.end + 2 * BLOCK)).map_err(Error::io("write", state.partial.path()))?;
            state.partial.publish()
        })
        .await
    }
}

impl State {
    /// Copies what the archive holds already. No other process writes it, so it does not change meanwhile.
    fn begin(partial: Partial, cancelled: &Cancelled) -> Result<Self> {
        let path = partial.destination().to_owned();
        let mut state = Self { partial, end: 0, index: Index::empty(), blobs: HashMap::new() };
        let Archive(existing) = match Archive::open(&path) {
            Ok(existing) => existing,
            Err(e) if e.is_not_found() => return Ok(state),
            Err(e) => return Err(e),
        };
        for (digest, at) in &existing.blobs {
            let range = FileRange { file: existing.file.clone(), path: path.clone(), offset: at.start, len: at.end - at.start };
            let mut to = state.end + BLOCK;
            range.read_all(|piece| {
                cancelled.check(&path)?;
                state.write_at(piece, to)?;
                to += piece.len() as u64;
                Ok(())
            })?;
            state.close_entry(&blob_name(digest)?, range.len)?;
            state.blobs.insert(digest.clone(), range.len);
        }
        state.index = existing.index.clone();
        Ok(state)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.partial.file().write_all_at(bytes, at).map_err(Error::io("write", self.partial.path()))
    }

    /// Writes the header of an entry whose `size` bytes are already in the file, and moves on to the next entry.
    fn close_entry(&mut self, name: &str, size: u64) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(Error::io("write", self.partial.path()))?;
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        self.write_at(header.as_bytes(), self.end)?;
        let padding = size.next_multiple_of(BLOCK) - size;
        self.write_at(&[0; BLOCK as usize][..padding as usize], self.end + BLOCK + size)?;
        self.end += BLOCK + size + padding;
        Ok(())
    }
}

fn blob_name(digest: &Digest) -> Result<String> {
    match digest.algorithm() {
        Algorithm::Sha256 => Ok(format!("blobs/sha256/{}", digest.hex())),
        // Such a name does not fit into a plain tar header.
        Algorithm::Sha512 => Err(Error::Invalid { what: format!("blob {digest}"), why: "archives hold only sha256 blobs".into() }),
    }
}

#[async_trait]
impl Sink for ArchiveWriter {
    fn wants_digest(&self) -> bool {
        false
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin> {
        let state = self.state.clone().lock_owned().await;
        if blob.is_some_and(|b| state.blobs.get(&b.digest) == Some(&b.size)) {
            return Ok(Begin::Exists);
        }
        if let Some(blob) = blob {
            blob_name(&blob.digest)?;
        }
        let verifier = blob.map_or_else(|| Verifier::unknown(Algorithm::Sha256), Verifier::of);
        Ok(Begin::Upload(Box::new(ArchiveUpload(Some((state, verifier))))))
    }

    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<()> {
        verify_selected(at, manifest)?;
        modelpack_transfer::put_bytes(self, manifest.media_type(), manifest.bytes().to_vec()).await?;
        let mut state = self.state.lock().await;
        if let Some(missing) = manifest.blobs().chain(manifest.manifests()).find(|d| !state.blobs.contains_key(&d.digest)) {
            return Err(Error::MissingReference { digest: missing.digest.clone(), repository: self.name.clone() });
        }
        let name = at.tag().map(|tag| written_name(tag, self.entry_name.as_deref()));
        state.index.put(name, manifest, crate::Untagged::Keep);
        Ok(())
    }
}

/// `None` during a write, and for ever if the future of a write was dropped.
struct ArchiveUpload(Option<(OwnedMutexGuard<State>, Verifier)>);

impl ArchiveUpload {
    fn take(&mut self) -> Result<(OwnedMutexGuard<State>, Verifier)> {
        let abandoned = || Error::Invalid { what: "the archive".into(), why: "an earlier write to this upload was abandoned".into() };
        self.0.take().ok_or_else(abandoned)
    }
}

#[async_trait]
impl Upload for ArchiveUpload {
    async fn write(&mut self, body: Body) -> Result<()> {
        let (taken, result) = body
            .drain(self.take()?, |(state, verifier), piece| {
                state.write_at(&piece, state.end + BLOCK + verifier.count())?;
                verifier.update(&piece)
            })
            .await;
        self.0 = Some(taken);
        result
    }

    async fn commit(mut self: Box<Self>, expected: Option<&Descriptor>) -> Result<Committed> {
        let (mut state, verifier) = self.take()?;
        let blob = verifier.finish_as(expected)?;
        blocking(move || {
            state.close_entry(&blob_name(blob.digest())?, blob.size())?;
            state.blobs.insert(blob.digest().clone(), blob.size());
            Ok(blob.into())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::ImageIndex;
    use modelpack_transfer::{CopyOptions, MemoryStore, copy, put_bytes};
    use std::fs;

    fn tag(text: &str) -> Selector {
        Selector::Tag(text.parse().unwrap())
    }

    async fn model(content: &[u8]) -> (MemoryStore, Selector) {
        let store = MemoryStore::new();
        let manifest = modelpack_transfer::contract::manifest(content).0;
        put_bytes(&store, "application/vnd.oci.empty.v1+json", b"{}".to_vec()).await.unwrap();
        put_bytes(&store, "application/x", content.to_vec()).await.unwrap();
        store.put_manifest(&tag("v1"), &manifest).await.unwrap();
        (store, tag("v1"))
    }

    fn options() -> CopyOptions {
        CopyOptions { concurrency: 3, ..CopyOptions::default() }
    }

    #[tokio::test]
    async fn an_archive_gives_back_what_was_written_and_keeps_what_it_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.tar");
        for (content, name) in [(&b"one"[..], "a"), (b"", "b"), (&[7; 2000], "c")] {
            let (memory, at) = model(content).await;
            let writer = ArchiveWriter::create(&path, None, || ()).await.unwrap();
            copy(&memory, &memory.manifest(&at).await.unwrap(), &writer, &tag(name), &options()).await.unwrap();
            writer.finish().await.unwrap();
        }
        let archive = Archive::open(&path).unwrap();
        for (content, name) in [(&b"one"[..], "a"), (b"", "b"), (&[7; 2000], "c")] {
            let back = MemoryStore::new();
            let manifest = archive.manifest(&tag(name)).await.unwrap();
            copy(&archive, &manifest, &back, &tag("back"), &options()).await.unwrap();
            assert_eq!(manifest.digest(), modelpack_transfer::contract::manifest(content).0.digest());
            for name in ["a", "b", "absent"] {
                let both = Selector::Both(name.parse().unwrap(), manifest.digest().clone());
                assert_eq!(archive.manifest(&both).await.unwrap().digest(), manifest.digest(), "the digest decides, not {both}");
            }
        }
        assert!(matches!(archive.find(None), Err(Error::Ambiguous { .. })), "three manifests to choose from");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[tokio::test]
    async fn an_archive_that_is_not_finished_never_appears() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.tar");
        let (memory, at) = model(b"x").await;
        let writer = ArchiveWriter::create(&path, None, || ()).await.unwrap();
        copy(&memory, &memory.manifest(&at).await.unwrap(), &writer, &tag("v1"), &options()).await.unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_name_may_be_any_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.tar");
        for (content, name) in [(&b"one"[..], "team/x:v1"), (b"two", "team/y:v1"), (b"three", "team/x:v1")] {
            let (memory, at) = model(content).await;
            let writer = ArchiveWriter::create(&path, Some(name.to_owned()), || ()).await.unwrap();
            copy(&memory, &memory.manifest(&at).await.unwrap(), &writer, &at, &options()).await.unwrap();
            writer.finish().await.unwrap();
        }
        let archive = Archive::open(&path).unwrap();
        let find = |name: &str| archive.find(Some(&EntrySelector::Name(name.to_owned())));
        assert_eq!(find("team/x:v1").unwrap().digest, *modelpack_transfer::contract::manifest(b"three").0.digest(), "the last one counts");
        assert!(matches!(find("v1"), Err(Error::Ambiguous { candidates, .. }) if candidates == ["team/x:v1", "team/y:v1"]));
    }

    #[tokio::test]
    async fn a_lying_blob_is_refused_and_the_next_one_takes_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.tar");
        let writer = ArchiveWriter::create(&path, None, || ()).await.unwrap();
        let promised = Descriptor::of("x/x", b"promised");
        let Begin::Upload(mut upload) = writer.begin(Some(&promised)).await.unwrap() else { panic!("nothing is there") };
        upload.write(Body::from_bytes(&b"deliverd"[..])).await.unwrap();
        assert!(matches!(upload.commit(None).await, Err(Error::WrongDigest { .. })));
        let (memory, at) = model(b"x").await;
        copy(&memory, &memory.manifest(&at).await.unwrap(), &writer, &tag("v1"), &options()).await.unwrap();
        writer.finish().await.unwrap();
        assert!(Archive::open(&path).unwrap().manifest(&tag("v1")).await.is_ok());
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.tar");
        assert!(matches!(Archive::open(&path), Err(Error::NotFound { .. })));
        for content in [&b""[..], b"not a tar archive at all", &[0; 1024]] {
            fs::write(&path, content).unwrap();
            assert!(matches!(Archive::open(&path), Err(Error::Invalid { .. })), "{content:?}");
        }
    }

    #[tokio::test]
    async fn an_archive_lists_referrers_and_tags() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.tar");
        let (memory, at) = model(b"one").await;
        let subject = memory.manifest(&at).await.unwrap();
        let referrer = modelpack_transfer::contract::referrer(&subject.descriptor(), b"one");
        let other = modelpack_transfer::contract::referrer(&Descriptor::of(subject.media_type(), b"other"), b"one");
        let list = ImageIndex::new(vec![other.descriptor(), referrer.descriptor()]);
        let writer = ArchiveWriter::create(&path, Some("team/model:v1".to_owned()), || ()).await.unwrap();
        copy(&memory, &subject, &writer, &at, &options()).await.unwrap();
        for manifest in [&referrer, &other] {
            writer.put_manifest(&Selector::Digest(manifest.digest().clone()), manifest).await.unwrap();
        }
        let fallback = Tag::of_referrers(subject.digest());
        writer.put_manifest(&Selector::Tag(fallback.clone()), &Manifest::from_index(list).unwrap()).await.unwrap();
        writer.finish().await.unwrap();

        let archive = Archive::open(&path).unwrap();
        let listed = archive.referrers(&[subject.digest().clone()]).await.unwrap().unwrap();
        let mut expected = [&referrer, &other].map(|manifest| manifest.digest().clone());
        expected.sort();
        assert_eq!(listed.into_iter().map(|listed| listed.digest).collect::<Vec<_>>(), expected, "each once, also what only the tag lists");
        let absent = Digest::of(b"absent");
        assert!(archive.referrers(&[absent]).await.unwrap().unwrap().is_empty());
        // The name of the archive is for the model, and not for what refers to it.
        let mut tags = archive.tags().await.unwrap().unwrap();
        tags.sort();
        assert_eq!(tags, [fallback, "v1".parse().unwrap()]);
        assert_eq!(archive.find(Some(&EntrySelector::Name("team/model:v1".into()))).unwrap().digest, *subject.digest());
    }
}
