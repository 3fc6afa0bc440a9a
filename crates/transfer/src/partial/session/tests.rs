use super::{super::journal, *};
use crate::platform::boot_id;
use modelpack_spec::Hasher;
use std::fs;
use tempfile::TempDir;

const OF: &str = "a/b";

struct Scene {
    directory: TempDir,
    content: Vec<u8>,
}

impl Scene {
    fn new(len: usize) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), content: (0..len).map(|i| (i * 7 % 251) as u8).collect() }
    }

    fn place(&self) -> PartialDirectory {
        PartialDirectory::open(self.directory.path(), "").unwrap()
    }

    async fn create(&self) -> UploadSession {
        self.place().create_session("id", OF, Algorithm::Sha256).await.unwrap()
    }

    async fn open(&self) -> UploadSession {
        self.place().open_session("id", OF).await.unwrap().expect("it is there")
    }

    async fn write(&self, session: &mut UploadSession, end: usize) {
        let body = self.content[session.len() as usize..end].to_vec();
        session.write(Body::from_bytes(body)).await.unwrap();
    }

    fn commit(&self, session: UploadSession) -> Result<VerifiedBlob> {
        let to = self.directory.path().join("blob");
        session.commit(&Digest::of(&self.content), |_, path, _| fs::rename(path, &to).map_err(Error::io("rename", &to)))
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join(journal::name("upload-id"))
    }

    fn files(&self) -> usize {
        fs::read_dir(self.directory.path()).unwrap().count()
    }
}

#[tokio::test]
async fn a_blob_in_one_piece_needs_no_journal() {
    let scene = Scene::new(100_000);
    let mut session = scene.create().await;
    scene.write(&mut session, 100_000).await;
    assert_eq!(scene.files(), 1);
    assert_eq!(scene.commit(session).unwrap().size(), 100_000);
    assert_eq!(scene.files(), 1);
    assert!(fs::read(scene.directory.path().join("blob")).unwrap() == scene.content);
}

#[tokio::test]
async fn many_small_requests_make_no_long_journal_and_hash_nothing_twice() {
    let scene = Scene::new(600);
    let mut session = scene.create().await;
    for end in 1..=600 {
        scene.write(&mut session, end).await;
        session.acknowledge();
        drop(session);
        assert!(fs::metadata(scene.journal()).unwrap().len() < LONG_JOURNAL + 1000);
        session = scene.open().await;
        assert_eq!((session.len(), session.is_cut()), (end as u64, false));
        assert_eq!(session.state().unwrap().hashing.given(), end as u64);
    }
    scene.commit(session).unwrap();
    assert_eq!(scene.files(), 1);
}

#[tokio::test]
async fn after_a_rewind_the_bytes_before_it_count() {
    let scene = Scene::new(2_000_000);
    let mut session = scene.create().await;
    for (before, wrong) in [(700_000, 100), (1_000_000, 1_500_000)] {
        scene.write(&mut session, before).await;
        let mark = session.mark().unwrap();
        session.write(Body::from_bytes(vec![1; wrong])).await.unwrap();
        session.rewind(mark).unwrap();
        session.acknowledge();
        drop(session);
        session = scene.open().await;
        assert_eq!((session.len(), session.is_cut()), (before as u64, false));
    }
    scene.write(&mut session, 2_000_000).await;
    scene.commit(session).unwrap();
}

#[tokio::test]
async fn after_a_power_failure_only_what_was_synced_counts() {
    let scene = Scene::new(3_000_000);
    let mut session = scene.create().await;
    scene.write(&mut session, 1_100_000).await;
    session.state().unwrap().sync().unwrap();
    scene.write(&mut session, 2_500_000).await;
    session.acknowledge();
    drop(session);
    let text = fs::read_to_string(scene.journal()).unwrap();
    fs::write(scene.journal(), text.replace(&boot_id().unwrap(), "another-boot")).unwrap();
    let file = fs::OpenOptions::new().write(true).open(scene.directory.path().join("upload-id")).unwrap();
    file.write_all_at(&vec![0; 1_400_000], 1_100_000).unwrap();

    let mut session = scene.open().await;
    assert_eq!((session.len(), session.is_cut()), (1_100_000, true));
    scene.write(&mut session, 3_000_000).await;
    scene.commit(session).unwrap();
}

#[tokio::test]
async fn other_bytes_are_never_the_blob_and_are_gone() {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let scene = Scene::new(1000);
        let mut session = scene.place().create_session("id", OF, algorithm).await.unwrap();
        session.write(Body::from_bytes(vec![1; 1000])).await.unwrap();
        assert!(matches!(scene.commit(session), Err(Error::WrongDigest { .. })));
        assert_eq!(scene.files(), 0);
    }
}

#[tokio::test]
async fn a_session_has_one_owner_and_belongs_to_one_thing() {
    let scene = Scene::new(1000);
    let mut session = scene.create().await;
    scene.write(&mut session, 500).await;
    scene.place().remove_session("id");
    assert!(scene.place().clear_sessions(|_, _| true).unwrap().is_empty());
    let (opened, ()) = tokio::join!(scene.open(), async move { drop(session) });
    assert_eq!(opened.len(), 500);
    drop(opened);
    assert!(scene.place().open_session("id", "a/c").await.unwrap().is_none());
    assert!(scene.place().open_session("other", OF).await.unwrap().is_none());
    assert_eq!(scene.place().clear_sessions(|id, _| id == "id").unwrap().len(), 1);
    assert_eq!(scene.files(), 0);
}

#[tokio::test]
async fn of_a_session_that_nobody_recorded_nothing_is_kept() {
    let scene = Scene::new(0);
    fs::write(scene.directory.path().join("upload-id"), "bytes without a journal").unwrap();
    fs::write(scene.directory.path().join("upload-id.journal.new"), "modelpack-pa").unwrap();
    assert!(scene.place().open_session("id", OF).await.unwrap().is_none());
    assert_eq!(scene.place().clear_sessions(|_, _| false).unwrap().len(), 1);
    assert_eq!(scene.files(), 0);
}

#[tokio::test]
async fn an_identifier_is_no_path() {
    let scene = Scene::new(0);
    let long = "a".repeat(65);
    for id in ["", ".", "..", "../id", "a/b", "A", "id.journal", "a b", "a\0", &long] {
        assert!(scene.place().create_session(id, OF, Algorithm::Sha256).await.is_err(), "{id:?}");
        assert!(scene.place().open_session(id, OF).await.unwrap().is_none(), "{id:?}");
        scene.place().remove_session(id);
    }
    assert_eq!(scene.files(), 0);
}

#[tokio::test]
async fn hash_states_are_noted_over_several_requests() {
    let scene = Scene::new(3_500_000);
    let mut session = scene.create().await;
    for end in [100, 1_048_576, 1_048_577, 3_000_000, 3_500_000] {
        scene.write(&mut session, end).await;
        drop(session);
        session = scene.open().await;
    }
    let mut at_once = Hasher::recording(Algorithm::Sha256);
    at_once.update(&scene.content);
    let noted = session.state().unwrap().hash_all().unwrap().hasher().hash_states();
    assert!(noted.is_some() && noted == at_once.hash_states());
    // If the journal has lost some of them, the blob has no list.
    drop(session);
    let journal = fs::read_to_string(scene.journal()).unwrap();
    let lost = journal.lines().find(|line| line.starts_with("states ")).unwrap();
    fs::write(scene.journal(), journal.replacen(&format!("{lost}\n"), "", 1)).unwrap();
    let mut session = scene.open().await;
    assert_eq!(session.state().unwrap().hash_all().unwrap().hasher().hash_states(), None);
    scene.commit(session).unwrap();
}

#[tokio::test]
async fn what_happens_to_one_session_does_not_concern_those_that_are_hashed_with_it() {
    let scenes = [1_000_000, 1_300_000, 400_000].map(Scene::new);
    let [scene, another, abandoned] = &scenes;
    let (mut session, mut other) = (scene.create().await, another.create().await);
    for step in 1..=10 {
        scene.write(&mut session, step * 100_000).await;
        match step {
            3 => abandoned.write(&mut abandoned.create().await, 300_000).await,
            5 => {
                drop(session);
                session = scene.open().await;
                assert_eq!(session.state().unwrap().hashing.count(), 500_000, "nothing is hashed twice");
            }
            7 => {
                let mark = session.mark().unwrap();
                session.write(Body::from_bytes(vec![1; 50_000])).await.unwrap();
                session.rewind(mark).unwrap();
            }
            _ => {}
        }
        another.write(&mut other, step * 130_000).await;
    }
    scene.commit(session).unwrap();
    another.commit(other).unwrap();
    let mut session = abandoned.open().await;
    abandoned.write(&mut session, 400_000).await;
    assert_eq!(session.digest().unwrap(), Digest::of(&abandoned.content));
}
