//! The paths that an artifact occupies: those in its manifest and those in its archives.

use super::{Allowance, ArchiveReader, ArchivedFile, contents::Contents, name};
use modelpack_spec::{Artifact, Content, FilePath};
use modelpack_transfer::{Result, Source, for_each_concurrent};
use std::{
    collections::HashSet,
    io::Read,
    sync::{Arc, Mutex},
};

/// All paths of an artifact.
pub(crate) struct Occupied {
    /// The set of all paths. It refuses paths that clash.
    pub(crate) paths: Contents,
    /// The archive layers.
    pub(crate) archives: Vec<Archive>,
}

/// The files in an archive layer.
pub(crate) struct Archive {
    /// The index of the layer.
    pub(crate) layer: usize,
    /// The name of the layer in errors.
    pub(crate) name: String,
    pub(crate) files: HashSet<FilePath>,
}

impl Archive {
    /// The file, if it is the only one.
    pub(crate) fn only_file(&self) -> Option<&FilePath> {
        self.files.iter().next().filter(|_| self.files.len() == 1)
    }
}

/// Finds the paths that an artifact occupies. Its archives are read to their end and verified, and
/// only names are kept.
///
/// Fails if the artifact could not be unpacked because of its paths, as [`unpack`](super::unpack)
/// does.
pub(crate) async fn occupied(source: &dyn Source, artifact: &Artifact, concurrency: usize) -> Result<Occupied> {
    let (mut paths, mut archives, mut stored) = (Contents::default(), Vec::new(), 0_u64);
    for (at, layer) in artifact.layers.iter().enumerate() {
        match &layer.content {
            Content::File(path) | Content::Compressed(path, _) => paths.insert_file(&name(layer), path)?,
            Content::Archive(encoding) => {
                archives.push((at, layer, *encoding));
                stored = stored.saturating_add(layer.descriptor.size);
            }
            Content::Unnamed => {}
        }
    }
    let (paths, allowance) = (Arc::new(Mutex::new(paths)), Allowance::of(stored));
    let read = for_each_concurrent(concurrency, archives, |(at, layer, encoding)| {
        let (paths, allowance) = (paths.clone(), allowance.clone());
        async move {
            let body = source.blob(&layer.descriptor, 0..layer.descriptor.size).await?;
            let files = Arc::new(Mutex::new(HashSet::new()));
            let (what, layer) = (name(layer), layer.descriptor.clone());
            let found = files.clone();
            let reader = ArchiveReader { what: what.clone(), layer, encoding, contents: paths, allowance };
            let add = move |file: ArchivedFile, _: &mut dyn Read| {
                found.lock().expect("no code panics while it holds the files").insert(file.path);
                Ok(())
            };
            reader.read(body, add).await?;
            let files = std::mem::take(&mut *files.lock().expect("no code panics while it holds the files"));
            Ok(Archive { layer: at, name: what, files })
        }
    });
    let archives = read.await?;
    let paths = std::mem::take(&mut *paths.lock().expect("no code panics while it holds the contents"));
    Ok(Occupied { paths, archives })
}
