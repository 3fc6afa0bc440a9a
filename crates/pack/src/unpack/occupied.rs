//! Which paths an artifact occupies: those that its manifest names, and those in its archives.

use super::{Allowance, ArchiveReader, ArchivedFile, contents::Contents, name};
use modelpack_spec::{Artifact, Content, FilePath};
use modelpack_transfer::{Result, Source, for_each_concurrent};
use std::{
    collections::HashSet,
    io::Read,
    sync::{Arc, Mutex},
};

/// Every path of an artifact.
pub(crate) struct Occupied {
    /// All of them; a path that cannot stand beside them is refused.
    pub(crate) paths: Contents,
    /// The layers that are archives.
    pub(crate) archives: Vec<Archive>,
}

/// The files in a layer that is an archive.
pub(crate) struct Archive {
    /// Which of the layers it is.
    pub(crate) layer: usize,
    /// What it is called in an error.
    pub(crate) name: String,
    pub(crate) files: HashSet<FilePath>,
}

impl Archive {
    /// The file, if it holds no other.
    pub(crate) fn only_file(&self) -> Option<&FilePath> {
        self.files.iter().next().filter(|_| self.files.len() == 1)
    }
}

/// Finds the paths that an artifact occupies. Its archives are read to their end and verified, and nothing of them is kept but names.
///
/// Fails if the artifact could not be unpacked for its paths, as [`unpack`](super::unpack) does.
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
                found.lock().expect("nobody panics while holding the files").insert(file.path);
                Ok(())
            };
            reader.read(body, add).await?;
            let files = std::mem::take(&mut *files.lock().expect("nobody panics while holding the files"));
            Ok(Archive { layer: at, name: what, files })
        }
    });
    let archives = read.await?;
    let paths = std::mem::take(&mut *paths.lock().expect("nobody panics while holding the contents"));
    Ok(Occupied { paths, archives })
}
