//! The models that are mounted. They are the same in all rounds of all runs, because packing them
//! takes longer than a round.

use crate::{
    model,
    scene::{Registry, Violation, below, ok},
};
use modelpack_testkit::{Cli, Random};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// A packed model: its tag, the size of its largest file, the options of `push`, and whether a file
/// of this size is in an archive.
type Form = (&'static str, u64, &'static [&'static str], fn(usize) -> bool);

const FORMS: [Form; 4] = [
    ("lists", (66 << 20) + 11, &[], |_| false),
    ("archive", (65 << 20) + 7, &["--layer", "weight=raw", "--layer", "<100kB=tar+zstd"], |size| size < 100_000),
    ("no-lists", (30 << 20) + 5, &["--no-hash-states"], |_| false),
    ("archives", (12 << 20) + 3, &["--layer", "tar"], |_| true),
];

/// A model, and how readers see it.
pub(super) struct Original {
    pub(super) tag: &'static str,
    /// By the path in the model.
    pub(super) files: BTreeMap<PathBuf, Vec<u8>>,
    is_archived: fn(usize) -> bool,
}

/// Pushes the models to a registry with this home.
pub(super) fn publish(cli: &Cli) -> Result<Vec<std::sync::Arc<Original>>, Violation> {
    let mut registry = Registry::start(cli.clone());
    let mut originals = Vec::new();
    let mut random = Random::new(0, 0);
    for (tag, large, options, is_archived) in FORMS {
        let (before, directory) = (cli.home().join("before").join(tag), cli.home().join(tag));
        model::write(&before, &mut random);
        model::write_next(&before, &directory, Some(large), &mut random);
        let to = format!("{}/m:{tag}", registry.address);
        ok(cli, &[&["push", tag, &to, "--plain-http"], options].concat())?;
        let mut files = BTreeMap::new();
        for path in below(&directory).into_iter().filter(|path| path.is_file()) {
            let bytes = fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            files.insert(path.strip_prefix(&directory).expect("it is below the directory").to_owned(), bytes);
        }
        originals.push(std::sync::Arc::new(Original { tag, files, is_archived }));
    }
    registry.end()?;
    Ok(originals)
}

impl Original {
    /// Whether nobody may ever see wrong bytes of a file, whatever the policy is. A large file is not
    /// one of these: its list of hash states may not come either.
    pub(super) fn is_always_verified(&self, path: &Path) -> bool {
        (self.is_archived)(self.files[path].len())
    }

    /// The files below a mount with their sizes, and an error of the first kind, which may pass, if
    /// they cannot be listed.
    pub(super) fn list(directory: &Path) -> std::io::Result<BTreeSet<(PathBuf, u64)>> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(below) = waiting.pop() {
            for entry in fs::read_dir(directory.join(&below))? {
                let entry = entry?;
                let (path, metadata) = (below.join(entry.file_name()), entry.metadata()?);
                if metadata.is_dir() {
                    waiting.push(path);
                } else {
                    found.insert((path, metadata.len()));
                }
            }
        }
        Ok(found)
    }

    /// Whether these are all of its files.
    pub(super) fn check_list(&self, found: &BTreeSet<(PathBuf, u64)>) -> Result<(), Violation> {
        let files: BTreeSet<_> = self.files.iter().map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect();
        if *found == files { Ok(()) } else { Err(format!("the files are {found:?}")) }
    }

    /// Reads and compares all files of a mount. What fails is tried again until `deadline`. So are wrong
    /// bytes that may be seen, because `eventual` shows them until all of the file has arrived. Returns
    /// how many tries were in vain.
    pub(super) fn check(&self, directory: &Path, eventual: bool, deadline: Instant) -> Result<usize, Violation> {
        let mut in_vain = 0;
        let mut again = |why: String| {
            in_vain += 1;
            if Instant::now() > deadline {
                return Err(format!("after the troubles: {why}"));
            }
            thread::sleep(Duration::from_millis(50));
            Ok(())
        };
        for (path, bytes) in &self.files {
            loop {
                match fs::read(directory.join(path)) {
                    Ok(found) if found == *bytes => break,
                    Ok(found) => {
                        let why = format!("WRONG BYTES of {}: {}", path.display(), difference(&found, bytes));
                        if !eventual || self.is_always_verified(path) {
                            return Err(why);
                        }
                        again(why)?;
                    }
                    Err(error) => again(format!("{}: {error}", path.display()))?,
                }
            }
        }
        loop {
            match Self::list(directory) {
                Ok(found) => break self.check_list(&found)?,
                Err(error) => again(format!("the files cannot be listed: {error}"))?,
            }
        }
        Ok(in_vain)
    }
}

/// Where bytes differ.
pub(super) fn difference(found: &[u8], right: &[u8]) -> String {
    let wrong = found.iter().zip(right).filter(|(a, b)| a != b).count();
    let first = found.iter().zip(right).position(|(a, b)| a != b);
    format!("{wrong} of {} bytes, the first at {first:?}; the right length is {}", found.len(), right.len())
}
