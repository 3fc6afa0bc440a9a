use super::*;
use crate::platform::boot_id;
use rustix::fs::Mode;
use std::{fs, io::Write};
use tempfile::TempDir;

struct Scene {
    directory: TempDir,
    content: Vec<u8>,
    blob: Descriptor,
}

impl Scene {
    fn new(len: usize) -> Self {
        let content: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
        let blob = Descriptor::of("x/x", &content);
        Self { directory: tempfile::tempdir().unwrap(), content, blob }
    }

    fn place(&self) -> PartialDirectory {
        PartialDirectory::open(self.directory.path(), "p-").unwrap()
    }

    fn begin(&self) -> Partial {
        self.place().begin(&self.blob, "a blob").unwrap().expect("nobody owns it")
    }

    fn write(&self, partial: &Partial, range: Range<usize>) {
        for at in range.clone().step_by(100_000) {
            let end = range.end.min(at + 100_000);
            partial.write_blocking(at as u64, &self.content[at..end]).unwrap();
        }
    }

    fn commit(&self, partial: &Partial) -> Result<VerifiedBlob> {
        let to = self.directory.path().join("blob");
        partial.commit(|_, _| fs::rename(partial.path(), &to).map_err(Error::io("rename", &to)))
    }

    /// Like a `kill -9`: nothing is written at the end, but the lock is released.
    fn kill(&self, partial: Partial) {
        let paths = [&partial.name, &journal::name(&partial.name)].map(|name| self.directory.path().join(name));
        let files = paths.map(|path| (fs::read(&path).ok(), path));
        drop(partial);
        for (bytes, path) in files {
            let _ = fs::remove_file(&path);
            bytes.into_iter().for_each(|bytes| fs::write(&path, bytes).unwrap());
        }
    }

    fn journal(&self) -> PathBuf {
        self.place().0.path.join(journal::name(&self.place().name(&self.blob.digest)))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A process can be killed while it replaces the journal.
#[test]
fn what_a_killed_process_left_of_a_new_journal_is_removed_with_the_old_one() {
    let scene = Scene::new(200_000);
    let unfinished = scene.place().0.path.join(journal::new_name(&scene.place().name(&scene.blob.digest)));
    let partial = scene.begin();
    partial.record_now(&mut partial.kept()).unwrap();
    scene.kill(partial);
    fs::write(&unfinished, "modelpack-partial").unwrap();
    let partial = scene.begin();
    assert!(unfinished.exists(), "the journal was not replaced");
    scene.write(&partial, 0..200_000);
    scene.commit(&partial).unwrap();
    drop(partial);
    assert_eq!(scene.names(), ["blob"]);

    scene.kill(scene.begin());
    fs::write(&unfinished, "modelpack-partial").unwrap();
    assert_eq!(scene.place().clear(|_| true).unwrap().len(), 1);
    assert_eq!(scene.names(), ["blob"]);
}

#[test]
fn bytes_in_any_order_become_the_blob_and_nothing_else_is_left() {
    let scene = Scene::new(5_000_000);
    let partial = scene.begin();
    for range in [3_000_000..5_000_000, 1_000_000..2_000_000, 0..1_000_000, 2_000_000..3_000_000] {
        scene.write(&partial, range);
    }
    assert!(partial.missing().is_empty());
    assert_eq!(*scene.commit(&partial).unwrap().digest(), scene.blob.digest);
    drop(partial);
    assert_eq!(scene.names(), ["blob"]);
    assert!(fs::read(scene.directory.path().join("blob")).unwrap() == scene.content);
}

#[test]
fn what_is_missing_at_the_end_is_an_error_and_what_is_there_stays() {
    let scene = Scene::new(300_000);
    let partial = scene.begin();
    scene.write(&partial, 100_000..300_000);
    assert!(matches!(scene.commit(&partial), Err(Error::WrongSize { found: 200_000, .. })));
    scene.write(&partial, 0..100_000);
    scene.commit(&partial).unwrap();
}

#[test]
fn wrong_bytes_are_never_the_blob_and_are_gone() {
    let scene = Scene::new(300_000);
    for wrong in [0, 150_000, 299_999] {
        let partial = scene.begin();
        scene.write(&partial, 0..wrong);
        partial.write_blocking(wrong as u64, &[scene.content[wrong] ^ 1]).unwrap();
        scene.write(&partial, wrong + 1..300_000);
        // The right ones come too late.
        scene.write(&partial, 0..300_000);
        assert!(matches!(scene.commit(&partial), Err(Error::WrongDigest { .. })), "{wrong}");
        drop(partial);
        assert!(scene.names().is_empty());
    }
    let partial = scene.begin();
    assert!(matches!(partial.write_blocking(299_999, b"xx"), Err(Error::WrongSize { .. })));
}

#[test]
fn the_next_owner_continues_after_an_orderly_end_and_after_a_kill() {
    let scene = Scene::new(4_000_000);
    let partial = scene.begin();
    scene.write(&partial, 0..1_000_000);
    scene.write(&partial, 2_000_000..2_500_000);
    drop(partial);
    let partial = scene.begin();
    assert_eq!(partial.resumed(), 1_500_000);
    assert_eq!(partial.missing().iter().collect::<Vec<_>>(), [1_000_000..2_000_000, 2_500_000..4_000_000]);
    assert_eq!(partial.in_order.get().count(), 1_000_000, "nothing is hashed twice");
    scene.write(&partial, 1_000_000..2_000_000);
    scene.kill(partial);
    let partial = scene.begin();
    let missing = partial.missing();
    assert!(missing.total() <= 1_500_000 + RECORD + 100_000, "{missing:?}");
    assert_eq!(partial.in_order.get().count(), 0, "after a kill nobody knows whether the file was changed");
    missing.iter().for_each(|range| scene.write(&partial, range.start as usize..range.end as usize));
    scene.commit(&partial).unwrap();
}

#[test]
fn a_partial_blob_that_somebody_changed_is_found_out() {
    let scene = Scene::new(1_000_000);
    for kills in [false, true] {
        let partial = scene.begin();
        scene.write(&partial, 0..900_000);
        let path = partial.path();
        if kills {
            scene.kill(partial)
        } else {
            drop(partial)
        }
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"?", 17).unwrap();
        drop(file);
        let partial = scene.begin();
        partial.missing().iter().for_each(|range| scene.write(&partial, range.start as usize..range.end as usize));
        assert!(matches!(scene.commit(&partial), Err(Error::WrongDigest { .. })));
    }
}

#[test]
fn after_a_power_failure_only_what_was_synced_counts() {
    let scene = Scene::new(3_000_000);
    let partial = scene.begin();
    scene.write(&partial, 0..1_000_000);
    partial.kept().unsynced = SYNC;
    scene.write(&partial, 1_000_000..1_100_000);
    scene.write(&partial, 1_100_000..2_500_000);
    let path = partial.path();
    drop(partial);
    let text = fs::read_to_string(scene.journal()).unwrap();
    let boot = boot_id().unwrap();
    fs::write(scene.journal(), text.replace(&boot, "another-boot")).unwrap();
    // What was not synced is lost.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0; 1_900_000], 1_100_000).unwrap();
    drop(file);
    let partial = scene.begin();
    assert!(partial.missing().iter().eq(std::iter::once(1_100_000..3_000_000)));
    scene.write(&partial, 1_100_000..2_000_000);
    scene.kill(partial);
    let partial = scene.begin();
    let missing = partial.missing();
    assert!(missing.total() < 1_900_000, "what was written after the start of the machine counts: {missing:?}");
    missing.iter().for_each(|range| scene.write(&partial, range.start as usize..range.end as usize));
    scene.commit(&partial).unwrap();
}

#[test]
fn a_journal_that_ends_in_garbage_counts_up_to_there_and_one_of_another_blob_does_not_count() {
    let scene = Scene::new(2_000_000);
    type Damage<'a> = (&'a dyn Fn(&mut Vec<u8>), u64);
    let damages: [Damage; 6] = [
        (&|journal| journal.extend(b"have 1 2"), 1_000_000),
        (&|journal| journal.extend(b"have 1 99999999999\nhave 1500000 1600000\n"), 1_000_000),
        (&|journal| journal.extend(b"\0\0\0\0\nhave 1500000 1600000\n"), 1_000_000),
        (&|journal| journal.truncate(10), 0),
        (&|journal| *journal = b"modelpack-partial 2\nblob sha256:00 5\n".to_vec(), 0),
        (&|journal| journal.insert(0, 0xff), 0),
    ];
    for (at, (damage, left)) in damages.iter().enumerate() {
        let partial = scene.begin();
        scene.write(&partial, 0..1_000_000);
        scene.kill(partial);
        let mut bytes = b"have 0 1000000\n".to_vec();
        let head = fs::read(scene.journal()).unwrap();
        bytes.splice(0..0, head);
        damage(&mut bytes);
        fs::write(scene.journal(), bytes).unwrap();
        let partial = scene.begin();
        assert_eq!(partial.resumed(), *left, "case {at}");
        partial.discard();
    }
    assert!(scene.names().is_empty());
}

#[test]
fn a_journal_without_its_file_is_cleared() {
    let scene = Scene::new(1_000_000);
    let partial = scene.begin();
    scene.write(&partial, 0..600_000);
    let journal = fs::read(scene.journal()).unwrap();
    scene.write(&partial, 600_000..1_000_000);
    scene.commit(&partial).unwrap();
    drop(partial);
    // As if the process had been killed before it removed the journal.
    fs::write(scene.journal(), journal).unwrap();
    assert!(scene.place().leftovers().unwrap().is_empty());
    assert!(scene.place().clear(|_| false).unwrap().is_empty());
    assert_eq!(scene.names(), ["blob"]);
}

#[test]
fn it_has_one_owner_at_a_time() {
    let scene = Scene::new(1_000_000);
    let first = scene.begin();
    assert!(scene.place().begin(&scene.blob, "a blob").unwrap().is_none());
    assert!(scene.place().leftovers().unwrap().is_empty());
    scene.write(&first, 0..600_000);
    drop(first);
    let leftovers = scene.place().leftovers().unwrap();
    assert!(leftovers.len() == 1 && leftovers[0].bytes >= 600_000, "{leftovers:?}");
    assert!(scene.place().clear(|_| false).unwrap().is_empty());
    assert_eq!(scene.place().clear(|leftover| leftover.bytes > 0).unwrap(), leftovers);
    assert!(scene.names().is_empty());
}

#[test]
fn two_tasks_may_not_write_the_same_bytes_at_once() {
    let scene = Scene::new(1000);
    let partial = scene.begin();
    let claimed = partial.claim(100..200).unwrap();
    assert!(matches!(partial.write_blocking(150, &[0; 100]), Err(Error::Invalid { .. })));
    partial.release(&claimed, false);
    scene.write(&partial, 0..1000);
    scene.commit(&partial).unwrap();
}

#[test]
fn without_room_nothing_is_left() {
    let scene = Scene::new(1000);
    let huge = Descriptor::new("x/x", scene.blob.digest.clone(), 1 << 60);
    let error = scene.place().begin(&huge, "a blob").unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(scene.names().is_empty());
}

#[test]
fn what_is_not_a_file_of_ours_stays() {
    let scene = Scene::new(1000);
    let name = scene.place().name(&scene.blob.digest);
    fs::write(scene.directory.path().join("precious"), "kept").unwrap();
    std::os::unix::fs::symlink("precious", scene.directory.path().join(&name)).unwrap();
    assert!(scene.place().begin(&scene.blob, "a blob").is_err());
    fs::remove_file(scene.directory.path().join(&name)).unwrap();
    rustix::fs::mkdirat(rustix::fs::CWD, scene.directory.path().join(&name), Mode::RWXU).unwrap();
    assert!(scene.place().begin(&scene.blob, "a blob").is_err());
    fs::File::create(scene.directory.path().join("p-sha256-12")).unwrap().write_all(b"x").unwrap();
    assert!(scene.place().leftovers().unwrap().is_empty());
    assert_eq!(fs::read(scene.directory.path().join("precious")).unwrap(), b"kept");
}

#[tokio::test]
async fn several_tasks_write_bodies_and_a_large_file_is_copied() {
    let scene = Scene::new(12_000_000);
    let partial = Arc::new(scene.begin());
    let parts = (0..6).map(|i| {
        let range = i * 2_000_000..(i + 1) * 2_000_000;
        let body = Body::from_bytes(scene.content[range.clone()].to_vec());
        tokio::spawn(partial.clone().write(range.start as u64, body))
    });
    for part in parts.collect::<Vec<_>>() {
        assert_eq!(part.await.unwrap().unwrap(), 2_000_000);
    }
    scene.commit(&partial).unwrap();

    let scene = Scene::new(12_000_000);
    let path = scene.directory.path().join("original");
    fs::write(&path, &scene.content).unwrap();
    let partial = Arc::new(scene.begin());
    let body = Body::from_file(FileRange::open(&path).unwrap());
    assert_eq!(partial.clone().write(0, body).await.unwrap(), 12_000_000);
    scene.commit(&partial).unwrap();
}

#[test]
fn a_task_far_ahead_of_the_hash_waits_until_it_can_hash() {
    let len = hashed::FAR_BEHIND as usize + 100_000;
    let content = vec![0; len];
    let scene = Scene { directory: tempfile::tempdir().unwrap(), blob: Descriptor::of("x/x", &content), content };
    let partial = scene.begin();
    let another = partial.in_order.get().lock();
    scene.write(&partial, 0..len - 100_000);
    assert_eq!(another.verifier().count(), 0, "another task hashes");
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| scene.write(&partial, len - 100_000..len));
        while !partial.missing().is_empty() {
            std::thread::yield_now();
        }
        drop(another);
        writing.join().unwrap();
    });
    assert_eq!(partial.in_order.get().count(), CATCH_UP);
    scene.commit(&partial).unwrap();
}

/// The list of hash states of `content`.
fn list_of(content: &[u8]) -> HashStates {
    let mut hasher = modelpack_spec::Hasher::recording(modelpack_spec::Algorithm::Sha256);
    hasher.update(content);
    hasher.hash_states().expect("it was recorded")
}

/// The same list with another state between the chunks `index` and `index + 1`.
fn with_wrong_state(list: &HashStates, index: usize) -> HashStates {
    let mut bytes = list.bytes().to_vec();
    bytes[32 * index + 7] ^= 1;
    HashStates::read(list.size(), &bytes).expect("its length is right")
}

/// Ranges of a blob of 5 MiB and some bytes, in no order, of which some do not begin or end with a chunk.
const PARTS: [Range<usize>; 5] = [3_500_000..5_500_000, 0..1_048_576, 1_048_576..1_500_000, 2_097_152..3_500_000, 1_500_000..2_097_152];

#[test]
fn with_a_list_chunks_are_verified_in_any_order() {
    let scene = Scene::new(5_500_000);
    for is_true in [true, false] {
        let partial = scene.begin();
        let list = list_of(&scene.content);
        partial.verify_by(if is_true { list.clone() } else { with_wrong_state(&list, 3) });
        std::thread::scope(|scope| {
            for part in PARTS {
                let (scene, partial) = (&scene, &partial);
                scope.spawn(move || scene.write(partial, part));
            }
        });
        let verified = scene.commit(&partial).unwrap();
        assert_eq!((verified.digest(), verified.size()), (&scene.blob.digest, 5_500_000));
        assert_eq!(verified.hash_states(), Some(&list).filter(|_| is_true), "only a true list is kept");
    }
}

#[tokio::test]
async fn with_a_list_a_large_file_is_copied_and_verified_by_all_processors() {
    let scene = Scene::new(12_000_000);
    let path = scene.directory.path().join("original");
    fs::write(&path, &scene.content).unwrap();
    let list = list_of(&scene.content);
    for list in [list.clone(), with_wrong_state(&list, 0), with_wrong_state(&list, 10), list_of(&vec![0; 12_000_000])] {
        let partial = Arc::new(scene.begin());
        partial.verify_by(list);
        let progress = Arc::new(Progress::default());
        let body = Body::from_file(FileRange::open(&path).unwrap()).counted(progress.clone());
        assert_eq!(partial.clone().write(0, body).await.unwrap(), 12_000_000);
        scene.commit(&partial).unwrap();
        assert_eq!(progress.snapshot().moved, 12_000_000, "each byte is counted once");
        assert!(fs::read(scene.directory.path().join("blob")).unwrap() == scene.content);
    }
}

#[test]
fn wrong_bytes_are_found_whatever_the_list_says() {
    let mut scene = Scene::new(3_500_000);
    let right = list_of(&scene.content);
    for wrong in [0, 1_048_575, 1_048_576, 2_000_000, 3_499_999] {
        scene.content[wrong] ^= 1;
        // The list of the right bytes, and one that agrees with all chunks of the wrong ones.
        for list in [right.clone(), list_of(&scene.content)] {
            let partial = scene.begin();
            partial.verify_by(list);
            scene.write(&partial, 2_097_152..3_500_000);
            scene.write(&partial, 0..2_097_152);
            assert!(matches!(scene.commit(&partial), Err(Error::WrongDigest { .. })), "byte {wrong}");
            drop(partial);
            assert!(scene.names().is_empty(), "nothing of it stays");
        }
        scene.content[wrong] ^= 1;
    }
}

#[test]
fn right_bytes_are_accepted_whatever_the_list_says() {
    let scene = Scene::new(3_500_000);
    let right = list_of(&scene.content);
    let mut reversed = right.bytes().to_vec();
    reversed.reverse();
    let other = Scene::new(3_500_001);
    for lie in [
        with_wrong_state(&right, 0),
        with_wrong_state(&right, 2),
        list_of(&vec![7; 3_500_000]),
        HashStates::read(3_500_000, &reversed).unwrap(),
        HashStates::read(3_500_000, &[0; 96]).unwrap(),
        // That of a blob with another size.
        list_of(&other.content),
        list_of(b""),
    ] {
        let partial = scene.begin();
        partial.verify_by(lie);
        scene.write(&partial, 2_097_152..3_500_000);
        scene.write(&partial, 0..2_097_152);
        assert_eq!(*scene.commit(&partial).unwrap().digest(), scene.blob.digest);
    }
}

#[test]
fn what_agreed_with_a_list_counts_for_that_list_alone_also_in_the_next_process() {
    let scene = Scene::new(4_500_000);
    let list = list_of(&scene.content);
    let lie = with_wrong_state(&list, 3);
    let agreed = |partial: &Partial| partial.chunks.get().map(|chunks| chunks.verified().total());
    let write_all = |partial: &Partial, range: Range<usize>| {
        let mut write = HashedWrite::new(range.start as u64);
        partial.write_piece(&mut write, scene.content[range].into()).unwrap();
        partial.finish_write(&mut write);
    };
    for (first, second, kept) in [(&list, &list, 2 << 20), (&lie, &lie, 2 << 20), (&lie, &list, 0), (&list, &lie, 0)] {
        let partial = scene.begin();
        partial.verify_by(first.clone());
        write_all(&partial, 0..2_200_000);
        assert_eq!(agreed(&partial), Some(2 << 20));
        drop(partial);
        let partial = scene.begin();
        partial.verify_by(second.clone());
        assert_eq!(agreed(&partial), Some(kept));
        write_all(&partial, 2_200_000..4_500_000);
        scene.commit(&partial).unwrap();
    }
    // After a kill, or if somebody changed the file, nothing is known to agree.
    for is_killed in [true, false] {
        let partial = scene.begin();
        partial.verify_by(list.clone());
        write_all(&partial, 0..2_200_000);
        let path = partial.path();
        if is_killed {
            scene.kill(partial);
        } else {
            drop(partial);
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all(b"x").unwrap();
        }
        let partial = scene.begin();
        partial.verify_by(list.clone());
        assert_eq!(agreed(&partial), Some(0));
        partial.missing().iter().for_each(|missing| write_all(&partial, missing.start as usize..missing.end as usize));
        assert_eq!(scene.commit(&partial).is_ok(), is_killed, "a byte that was changed is found");
    }
}

#[test]
fn bytes_that_were_there_before_are_verified_in_the_file() {
    let scene = Scene::new(3_500_000);
    let partial = scene.begin();
    scene.write(&partial, 1_000_000..1_200_000);
    drop(partial);
    let partial = scene.begin();
    partial.verify_by(list_of(&scene.content));
    // One piece over all of them: what is written is not what the file has everywhere.
    let mut other = scene.content.clone();
    other[1_000_000..1_200_000].fill(9);
    let mut write = HashedWrite::new(0);
    partial.write_piece(&mut write, other[..].into()).unwrap();
    partial.finish_write(&mut write);
    scene.commit(&partial).unwrap();
    assert!(fs::read(scene.directory.path().join("blob")).unwrap() == scene.content);
}

#[tokio::test]
async fn readers_get_chunks_that_agree_with_the_list_as_soon_as_they_are_there() {
    let scene = Scene::new((64 << 20) + 100);
    let partial = Arc::new(scene.begin());
    partial.verify_by(list_of(&scene.content));
    let (start, end) = (3 << 20, 5 << 20);
    let readers = [Unverified::Hidden, Unverified::Visible].map(|unverified| {
        let partial = partial.clone();
        tokio::spawn(async move { partial.readable(start..end, unverified).await })
    });
    let write = |range: Range<usize>| {
        let (partial, body) = (partial.clone(), Body::from_bytes(bytes::Bytes::copy_from_slice(&scene.content[range.clone()])));
        async move { partial.write(range.start as u64, body).await.unwrap() }
    };
    tokio::task::yield_now().await;
    write(4 << 20..end as usize).await;
    assert!(!partial.is_readable(start..end, Unverified::Visible));
    assert!(partial.is_readable(4 << 20..end, Unverified::Hidden), "whole chunks");
    write(start as usize..4 << 20).await;
    for reader in readers {
        reader.await.unwrap();
    }
    let mut bytes = vec![0; 1000];
    assert_eq!(partial.file().read_at(&mut bytes, start).unwrap(), 1000);
    assert_eq!(bytes, scene.content[start as usize..start as usize + 1000]);
}

#[tokio::test]
async fn without_a_list_readers_see_nothing_or_what_has_arrived() {
    let scene = Scene::new(300_000);
    let partial = Arc::new(scene.begin());
    let reader = tokio::spawn({
        let partial = partial.clone();
        async move { partial.readable(100_000..150_000, Unverified::Visible).await }
    });
    tokio::task::yield_now().await;
    scene.write(&partial, 100_000..200_000);
    reader.await.unwrap();
    assert!(!partial.is_readable(100_000..150_000, Unverified::Hidden));
    assert!(!partial.is_readable(100_000..200_001, Unverified::Visible));
}

#[test]
fn wrong_bytes_are_not_readable_by_a_list_that_says_so() {
    let scene = Scene::new(64 << 20);
    let partial = scene.begin();
    partial.verify_by(list_of(&scene.content));
    let mut wrong = scene.content[..2 << 20].to_vec();
    wrong[1 << 20] ^= 1;
    partial.write_blocking(0, &wrong).unwrap();
    assert!(!partial.is_readable(1 << 20..2 << 20, Unverified::Hidden));
}

#[tokio::test]
async fn a_reader_who_sees_nothing_before_the_end_wants_all_bytes() {
    let scene = Scene::new(64 << 20);
    let with_list = Arc::new(scene.begin());
    with_list.verify_by(list_of(&scene.content));
    let reader = |partial: &Arc<Partial>, unverified| {
        let partial = partial.clone();
        tokio::spawn(async move { partial.readable(0..1000, unverified).await })
    };
    let waiting = reader(&with_list, Unverified::Hidden);
    tokio::task::yield_now().await;
    assert!(!with_list.demand().wants_all(), "a chunk is enough");
    let wrong = bytes::Bytes::from(vec![9; 2 << 20]);
    with_list.clone().write(0, Body::from_bytes(wrong)).await.unwrap();
    while !with_list.demand().wants_all() {
        tokio::task::yield_now().await;
    }
    waiting.abort();

    let other = Scene::new(1000);
    let without_list = Arc::new(other.begin());
    let visible = reader(&without_list, Unverified::Visible);
    tokio::task::yield_now().await;
    assert!(!without_list.demand().wants_all());
    let hidden = reader(&without_list, Unverified::Hidden);
    while !without_list.demand().wants_all() {
        tokio::task::yield_now().await;
    }
    visible.abort();
    hidden.abort();
}
