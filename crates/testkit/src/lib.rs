//! What the tests of all crates share. Nothing else uses it, and it is never in the released binary.
//!
//! [`write_odd_names`] writes a real directory, and [`assert_same_tree`] compares two; [`torch_archive`] makes weights as PyTorch writes
//! them; [`fixture`] finds artifacts that other tools wrote; [`FaultProxy`] stands before a real server and breaks its traffic; `server`
//! answers a client as a test says, over TLS with the certificates of `tls`, which can also stand before a real server; [`TinyDisk`] fills up; [`SharedMapping`] changes a file that nobody writes to; [`Cli`] runs the real
//! binary. Everything here panics when it cannot do its work, because a test could not go on. It uses none of the other crates, so that
//! each of them can use it in its tests.

mod archives;
mod cli;
mod limited;
mod mapping;
mod proxy;
mod random;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod tls;
mod torch;
mod tree;

pub use archives::{tar_of, zip_of};
pub use cli::{Cli, Output, Running, Signal};
pub use limited::TinyDisk;
pub use mapping::SharedMapping;
pub use proxy::{Bytes, Failure, Fault, FaultProxy, RandomFaults, SeenRequest, Traffic};
pub use random::Random;
pub use torch::{TorchTensor, torch_archive, torch_pickle};
pub use tree::{assert_same_tree, difference, write_odd_names};

use std::path::{Path, PathBuf};

/// Where the fixture `name` lies; `fixtures/README.md` says which there are. Tests must not write there.
pub fn fixture(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    assert!(path.exists(), "there is no fixture {name:?}");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_among_the_fixtures_has_the_tag_v1() {
        for name in ["modctl-raw", "modctl-tar", "modctl-cnai", "oras", "kit-none", "kit-gzip"] {
            let index = std::fs::read(fixture(name).join("index.json")).unwrap();
            let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
            assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "v1", "{name}");
            let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
            assert!(fixture(name).join("blobs").join(digest).is_file(), "{name}");
        }
    }
}
