//! Files that replace others: pointers in a git repository, and weights that were not written yet.

use super::{Gap, Model};
use crate::ModelFile;
use modelpack_spec::LayerKind;
use std::io::Read;

/// Pointers are smaller than this, which is the limit of git LFS itself.
const MAX_POINTER_BYTES: u64 = 1024;

/// A kind of pointer file.
struct Pointer {
    /// The beginnings of such a file.
    starts: &'static [&'static [u8]],
    /// Descriptions of one and of several such files, with the command that fetches the real files.
    one: &'static str,
    several: &'static str,
}

const POINTERS: [Pointer; 3] = [
    Pointer {
        // The first is the current format, which Hugging Face's Xet also uses. The others are the
        // formats of its first years.
        starts: &[
            b"version https://git-lfs.github.com/spec/v1",
            b"version https://hawser.github.com/spec/v1",
            b"version http://git-media.io/v/2",
        ],
        one: "is a git LFS pointer, not the file itself; `git lfs pull` fetches it",
        several: "are git LFS pointers, not the files themselves; `git lfs pull` fetches them",
    },
    Pointer {
        starts: &[b"# xet version "],
        one: "is a git-xet pointer, not the file itself; `git xet checkout` fetches it",
        several: "are git-xet pointers, not the files themselves; `git xet checkout` fetches them",
    },
    Pointer {
        starts: &[b"/annex/objects/"],
        one: "is a git-annex pointer, not the file itself; `git annex get` fetches it",
        several: "are git-annex pointers, not the files themselves; `git annex get` fetches them",
    },
];

pub(super) fn gaps(model: &Model<'_>) -> Vec<Gap> {
    let mut pointers: [Vec<&ModelFile>; POINTERS.len()] = Default::default();
    for file in model.files.values() {
        if let Some(kind) = kind_of(file) {
            pointers[kind].push(file);
        }
    }
    let empty = |file: &&ModelFile| file.kind == LayerKind::Weight && file.size == 0;
    let empty: Vec<&ModelFile> = model.files.values().copied().filter(empty).collect();
    let pointers = POINTERS.iter().zip(&pointers).filter_map(|(kind, files)| Gap::of_all(files, kind.one, kind.several));
    pointers.chain(Gap::of_all(&empty, "is empty, but should contain weights", "are empty, but should contain weights")).collect()
}

/// Whether a file is a replacement for weights, so that no header can be read from it.
pub(super) fn is_stand_in(file: &ModelFile) -> bool {
    file.size == 0 || is_pointer(file)
}

/// Whether a file is a pointer to content that git keeps elsewhere.
pub(super) fn is_pointer(file: &ModelFile) -> bool {
    kind_of(file).is_some()
}

/// The index of the file's kind in [`POINTERS`].
fn kind_of(file: &ModelFile) -> Option<usize> {
    if file.size == 0 || file.size >= MAX_POINTER_BYTES {
        return None;
    }
    let mut content = Vec::new();
    file.open()?.take(MAX_POINTER_BYTES).read_to_end(&mut content).ok()?;
    POINTERS.iter().position(|kind| kind.starts.iter().any(|start| content.starts_with(start)))
}
