use super::*;
use modelpack_spec::Descriptor;
use std::{fs::File, io::Write, thread};
use tempfile::NamedTempFile;

const PIECE: usize = 100_000;

fn content(len: usize, seed: u64) -> Bytes {
    (0..len as u64).map(|i| ((i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn group() -> &'static Blobs {
    Box::leak(Box::default())
}

/// A blob in a file, which has all its bytes from the beginning.
struct Blob {
    content: Bytes,
    hashing: Hashing,
    file: NamedTempFile,
}

impl Blob {
    fn new(all: &'static Blobs, len: usize, seed: u64) -> Self {
        let content = content(len, seed);
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        Self { hashing: Hashing::among(all, Verifier::of(&Descriptor::of("x/x", &content))), content, file }
    }

    fn offer(&self, at: usize) {
        let piece = self.content.slice(at..self.content.len().min(at + PIECE));
        self.hashing.offer(at as u64, &(&piece).into());
    }

    fn finish(&self) -> Result<()> {
        let file = Arc::new(File::open(self.file.path()).unwrap());
        let range = FileRange { file, path: self.file.path().into(), offset: 0, len: self.content.len() as u64 };
        let mut hashed = self.hashing.settle();
        self.hashing.catch_up(&mut hashed, &range, u64::MAX)?;
        assert_eq!(self.hashing.count(), range.len);
        hashed.verifier().clone().finish().map(drop)
    }
}

#[test]
fn a_piece_waits_until_another_blob_has_one_and_both_are_hashed_together() {
    let all = group();
    let [one, other] = [1, 2].map(|seed| Blob::new(all, 10 * PIECE, seed));
    one.offer(0);
    assert_eq!(one.hashing.count(), 0);
    other.offer(0);
    assert_eq!([&one, &other].map(|blob| blob.hashing.count()), [PIECE as u64; 2]);
    // Without another one, the first pieces are hashed when it has waited for long.
    (1..10).for_each(|number| one.offer(number * PIECE));
    let waits = 10 * PIECE as u64 - one.hashing.count();
    assert!((1..=PATIENCE as u64).contains(&waits), "{waits}");
    one.finish().unwrap();
    other.finish().unwrap();
}

#[test]
fn a_blob_that_is_alone_waits_for_nobody() {
    let blob = Blob::new(group(), 3 * PIECE, 3);
    for number in 0..3 {
        blob.offer(number * PIECE);
        assert_eq!(blob.hashing.count(), (number as u64 + 1) * PIECE as u64);
    }
    blob.finish().unwrap();
}

#[tokio::test]
async fn another_thread_hashes_for_a_blob_that_is_alone_if_there_is_a_processor_for_it() {
    let all = group();
    let blob = Blob::new(all, 40 * PIECE + 1, 4);
    if !all.can_be_helped() {
        eprintln!("SKIPPED: there is one processor");
        return;
    }
    blob.offer(0);
    assert_eq!(blob.hashing.count(), 0, "a little waits for more");
    (1..3).for_each(|number| blob.offer(number * PIECE));
    while blob.hashing.count() < 3 * PIECE as u64 {
        tokio::task::yield_now().await;
    }
    for number in 3..=40 {
        blob.offer(number * PIECE);
        assert!(lock(&blob.hashing.0.waiting).len <= MOST_WAITING);
    }
    blob.finish().unwrap();
}

#[test]
fn a_piece_that_comes_while_the_one_before_is_hashed_is_not_read_again() {
    let all = group();
    let [one, _other] = [7, 8].map(|seed| Blob::new(all, 2 * PIECE, seed));
    one.offer(0);
    let hashed_elsewhere = one.hashing.0.next(0).unwrap();
    one.offer(PIECE);
    one.hashing.0.put_back(0, hashed_elsewhere);
    assert_eq!(lock(&one.hashing.0.waiting).len, 2 * PIECE);
    one.finish().unwrap();
}

#[test]
fn pieces_from_many_tasks_in_any_order_have_the_right_digests() {
    let all = group();
    for round in 0..20u64 {
        let blobs: Vec<_> = (0..5).map(|seed| Blob::new(all, (seed as usize + 1) * 3 * PIECE + 17, round * 10 + seed)).collect();
        thread::scope(|scope| {
            for (number, blob) in blobs.iter().enumerate() {
                // Two tasks bring every second piece, so some come too early, and must be read once more.
                for part in 0..2 {
                    scope.spawn(move || {
                        let pieces = blob.content.len().div_ceil(PIECE);
                        (0..pieces).filter(|piece| number == 0 || piece % 2 == part).for_each(|piece| blob.offer(piece * PIECE));
                    });
                }
            }
        });
        blobs.iter().for_each(|blob| blob.finish().unwrap());
    }
    assert!(lock(&all.waiting).is_empty() && !all.are_several(), "none is left");
}

#[test]
fn a_wrong_byte_of_one_blob_is_found_and_the_other_is_right() {
    let all = group();
    let [mut one, other] = [5, 6].map(|seed| Blob::new(all, 3 * PIECE, seed));
    let mut wrong = one.content.to_vec();
    wrong[PIECE + 5] ^= 1;
    one.content = wrong.into();
    for number in 0..3 {
        one.offer(number * PIECE);
        other.offer(number * PIECE);
    }
    one.finish().unwrap_err();
    other.finish().unwrap();
}

/// Gives pieces of many lengths in order, of which some can be kept and some cannot.
fn update_all(hashing: &Hashing, content: &Bytes) {
    let mut at = 0;
    for number in 1.. {
        let piece = content.slice(at..content.len().min(at + number * 7919 % PIECE));
        if piece.is_empty() {
            break;
        }
        hashing.update(&if number % 5 == 0 { piece[..].into() } else { (&piece).into() });
        at += piece.len();
        assert_eq!(hashing.given(), at as u64);
        assert!(lock(&hashing.0.waiting).len <= MOST_WAITING + PIECE, "the memory of a blob is bounded");
    }
}

#[test]
fn bytes_in_order_have_the_right_digests_whenever_other_blobs_begin_end_or_are_abandoned() {
    let all = group();
    for round in 0..20 {
        thread::scope(|scope| {
            for number in 0..6 {
                scope.spawn(move || {
                    let content = content((number + 1) * 2 * PIECE + number, (round * 10 + number) as u64);
                    let hashing = Hashing::among(all, Verifier::of(&Descriptor::of("x/x", &content)));
                    // One is given the bytes of its beginning, and is dropped then.
                    let given = if number == 5 { content.slice(..content.len() / 2) } else { content };
                    update_all(&hashing, &given);
                    if number < 5 {
                        hashing.finish().finish().unwrap();
                    }
                });
            }
        });
        assert!(lock(&all.waiting).is_empty() && !all.are_several(), "none is left");
    }
}

#[test]
fn a_blob_ends_while_its_bytes_and_those_of_another_one_wait() {
    let all = group();
    let contents = [1, 2, 3].map(|seed| content(PIECE, seed));
    let [one, other, abandoned] = contents.clone().map(|content| Hashing::among(all, Verifier::of(&Descriptor::of("x/x", &content))));
    one.update(&(&contents[0]).into());
    assert_eq!((one.count(), one.given()), (0, PIECE as u64));
    abandoned.update(&(&contents[2].slice(..PIECE / 2)).into());
    assert_eq!(one.count(), PIECE as u64 / 2, "the two are hashed as far as both have bytes");
    drop(abandoned);
    one.finish().finish().unwrap();
    other.update(&(&contents[1]).into());
    other.finish().finish().unwrap();
}
