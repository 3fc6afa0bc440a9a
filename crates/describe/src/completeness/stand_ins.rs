//! Files that stand in the place of others: pointers that a git repository holds, and weights that have not been written yet.

use super::{Gap, Model};
use crate::ModelFile;
use modelpack_spec::LayerKind;
use std::io::Read;

/// A pointer is shorter, which is git LFS's own limit.
const MAX_POINTER_BYTES: u64 = 1024;

/// A kind of pointers.
struct Pointer {
    /// How one begins.
    starts: &'static [&'static [u8]],
    /// What one and several of them are, and what fetches the files.
    one: &'static str,
    several: &'static str,
}

const POINTERS: [Pointer; 3] = [
    Pointer {
        // The first is today's, which Hugging Face's Xet has too; the others are those of its first years.
        starts: &[
            b"version https://git-lfs.github.com/spec/v1",
            b"version https://hawser.github.com/spec/v1",
            b"version http://git-media.io/v/2",
        ],
        one: "is a pointer of git LFS, not the file itself; `git lfs pull` fetches it",
        several: "are pointers of git LFS, not the files themselves; `git lfs pull` fetches them",
    },
    Pointer {
        starts: &[b"# xet version "],
        one: "is a pointer of git-xet, not the file itself; `git xet checkout` fetches it",
        several: "are pointers of git-xet, not the files themselves; `git xet checkout` fetches them",
    },
    Pointer {
        starts: &[b"/annex/objects/"],
        one: "is a pointer of git-annex, not the file itself; `git annex get` fetches it",
        several: "are pointers of git-annex, not the files themselves; `git annex get` fetches them",
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
    pointers.chain(Gap::of_all(&empty, "is empty, and should be weights", "are empty, and should be weights")).collect()
}

/// Whether a file stands in the place of weights, so that nothing can be read from it.
pub(super) fn is_stand_in(file: &ModelFile) -> bool {
    file.size == 0 || is_pointer(file)
}

/// Whether a file is a pointer to what git keeps elsewhere.
pub(super) fn is_pointer(file: &ModelFile) -> bool {
    kind_of(file).is_some()
}

/// Which of [`POINTERS`] a file is.
fn kind_of(file: &ModelFile) -> Option<usize> {
    if file.size == 0 || file.size >= MAX_POINTER_BYTES {
        return None;
    }
    let mut content = Vec::new();
    file.open()?.take(MAX_POINTER_BYTES).read_to_end(&mut content).ok()?;
    POINTERS.iter().position(|kind| kind.starts.iter().any(|start| content.starts_with(start)))
}
