use super::*;
use modelpack_spec::Hasher;
use std::{fs, sync::atomic::AtomicU64};

#[test]
fn a_file_is_verified_by_a_true_list_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blob");
    // Several parts, and an end that is no whole chunk.
    let mut content: Vec<u8> = (0..40_000_000u32).map(|i| (i % 251) as u8).collect();
    let blob = Descriptor::of("x/x", &content);
    let mut hasher = Hasher::recording(Algorithm::Sha256);
    hasher.update(&content);
    let list = hasher.hash_states().unwrap();
    let verify = |content: &[u8], list: &HashStates| {
        fs::write(&path, content).unwrap();
        let counted = AtomicU64::new(0);
        let count = |len| {
            counted.fetch_add(len, Relaxed);
            Ok(())
        };
        let verified = verify_by_hash_states(&FileRange::open(&path).unwrap(), &blob, list.clone(), &count).unwrap();
        assert!(verified.is_none() || counted.into_inner() == content.len() as u64);
        verified
    };
    assert_eq!(verify(&content, &list).unwrap().digest(), &blob.digest);
    assert!(verify(&content[..content.len() - 1], &list).is_none(), "a file of another length");
    for state in [0, 17, 37] {
        let mut lie = list.bytes().to_vec();
        lie[32 * state] ^= 1;
        assert!(verify(&content, &HashStates::read(blob.size, &lie).unwrap()).is_none(), "state {state}");
    }
    for wrong in [0, 8 << 20, content.len() - 1] {
        content[wrong] ^= 1;
        assert!(verify(&content, &list).is_none(), "byte {wrong}");
        content[wrong] ^= 1;
    }
}

#[test]
fn the_first_error_of_a_thread_is_returned() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blob");
    let content = vec![3; 40_000_000];
    fs::write(&path, &content).unwrap();
    let mut hasher = Hasher::recording(Algorithm::Sha256);
    hasher.update(&content);
    let refuse = |_| Err(crate::Error::not_found("room"));
    let blob = Descriptor::of("x/x", &content);
    let verified = verify_by_hash_states(&FileRange::open(&path).unwrap(), &blob, hasher.hash_states().unwrap(), &refuse);
    assert!(matches!(verified, Err(crate::Error::NotFound { .. })));
}
