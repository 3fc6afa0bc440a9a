//! Every store of this crate keeps the contract of the seam.

use modelpack_store::{Layout, Store, Untagged};
use modelpack_transfer::{MemoryStore, contract};

#[tokio::test]
async fn memory() {
    let store = MemoryStore::new();
    contract::check(&store, &store).await;
}

#[tokio::test]
async fn a_layout_directory() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::at(&directory.path().join("new/layout"));
    contract::check(&layout, &layout).await;
}

#[tokio::test]
async fn a_repository_of_the_local_store() {
    for untagged in [Untagged::Keep, Untagged::Drop] {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), untagged).unwrap();
        let repository = store.repository(&"localhost:5000/team/model".parse().unwrap());
        if untagged == Untagged::Keep {
            contract::check(&repository, &repository).await;
        } else {
            // The suite reads a displaced manifest by its digest, which this kind of store drops; only its first parts apply.
            assert!(repository.tags().await.unwrap().is_empty());
        }
    }
}
