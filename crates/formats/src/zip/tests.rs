//! Zip archives, with and without contradictions.

use super::Archive;
use modelpack_testkit::zip_of;
use std::io::{Cursor, Read};

const TWO: [(&str, &[u8]); 2] = [("a.txt", b"first"), ("d/b.txt", b"second")];

#[track_caller]
fn read(bytes: &[u8]) -> Archive {
    Archive::read(Cursor::new(bytes), bytes.len() as u64).unwrap()
}

#[track_caller]
fn has_problem(bytes: &[u8], words: &str) {
    let problems = read(bytes).problems;
    assert!(problems.iter().any(|problem| problem.contains(words)), "{words:?} is not in {problems:?}");
}

fn content(bytes: &[u8], entry: usize) -> Vec<u8> {
    let mut content = Vec::new();
    read(bytes).entries[entry].open(Cursor::new(bytes)).unwrap().read_to_end(&mut content).unwrap();
    content
}

/// Replaces the last or first occurrence of `from` in `bytes` by `to`.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8], last: bool) -> Vec<u8> {
    let places: Vec<usize> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    let at = if last { *places.last().unwrap() } else { places[0] };
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn entries_are_read_at_the_offsets_of_the_directory() {
    let bytes = zip_of(&TWO);
    let archive = read(&bytes);
    assert_eq!(archive.problems, Vec::<String>::new());
    let entries: Vec<_> = archive.entries.iter().map(|entry| (entry.name.as_str(), entry.size)).collect();
    assert_eq!(entries, [("a.txt", 5), ("d/b.txt", 6)]);
    assert_eq!((content(&bytes, 0), content(&bytes, 1)), (b"first".to_vec(), b"second".to_vec()));
    assert_eq!(read(&zip_of(&[])), Archive::default());
}

#[test]
fn a_name_that_differs_between_directory_and_entry_is_a_problem() {
    let bytes = replaced(&zip_of(&TWO), b"a.txt", b"z.txt", false);
    has_problem(&bytes, "has the name \"z.txt\" in its local header");
    assert_eq!(content(&bytes, 0), b"first");
}

#[test]
fn an_entry_marked_as_encrypted_is_still_read() {
    for (at, last) in [(b"PK\x03\x04\x14\0\0\0", false), (b"\x02\x14\0\x14\0\0\0\0", true)] {
        let mut flagged = at.to_vec();
        let flags = if last { 5 } else { 6 };
        flagged[flags] = 1;
        let bytes = replaced(&zip_of(&TWO), at, &flagged, last);
        has_problem(&bytes, "encrypted");
        assert_eq!(content(&bytes, 1), b"second");
    }
}

#[test]
fn content_that_only_some_programs_see_is_a_problem() {
    has_problem(&zip_of(&[("a", b"1"), ("a", b"2")]), "two of its entries have the name \"a\"");
    has_problem(&[&zip_of(&TWO)[..], b"more"].concat(), "4 bytes follow its end record");
    has_problem(&[b"before", &zip_of(&TWO)[..]].concat(), "6 bytes too small");
    assert_eq!(content(&[b"before", &zip_of(&TWO)[..]].concat(), 1), b"second");

    // An entry before those of the directory.
    let hidden = zip_of(&[("hidden", b"payload")]);
    let hidden = &hidden[..30 + 6 + 7];
    let mut bytes = [hidden, &zip_of(&TWO)].concat();
    let shift = hidden.len() as u32;
    for signature in [&b"PK\x01\x02"[..], b"PK\x05\x06"] {
        let offset = if signature[2] == 1 { 42 } else { 16 };
        for at in (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(signature)).collect::<Vec<_>>() {
            let place = &mut bytes[at + offset..at + offset + 4];
            let moved = u32::from_le_bytes(place.try_into().unwrap()) + shift;
            place.copy_from_slice(&moved.to_le_bytes());
        }
    }
    has_problem(&bytes, "the entry at byte 0 is not in its directory");

    // Two entries with the same bytes.
    let offset_of_second = (30 + 5 + 5u32).to_le_bytes();
    let bytes = replaced(&zip_of(&TWO), &[&offset_of_second[..], b"d/b"].concat(), &[&[0; 4][..], b"d/b"].concat(), true);
    has_problem(&bytes, "overlaps");
    let bytes = replaced(&zip_of(&TWO), &[&offset_of_second[..], b"d/b"].concat(), &[&[9; 4][..], b"d/b"].concat(), true);
    has_problem(&bytes, "not at the offset that the directory gives");
    assert!(read(&bytes).entries[1].open(Cursor::new(&bytes)).is_err());
}

#[test]
fn impossible_numbers_are_errors_and_use_no_memory() {
    let whole = zip_of(&TWO);
    let end = whole.len() - 22;
    for (at, length, words) in [(10, 2, "ends inside"), (12, 4, "at most"), (16, 4, "past its end record")] {
        let mut bytes = whole.clone();
        bytes[end + at..end + at + length].fill(0xff);
        let error = Archive::read(Cursor::new(&bytes), bytes.len() as u64).unwrap_err().to_string();
        assert!(error.contains(words), "{at}: {error}");
    }
    for length in 0..whole.len() {
        assert!(Archive::read(Cursor::new(&whole[..length]), length as u64).is_err(), "{length}");
    }
    assert!(Archive::read(Cursor::new(b"no archive"), 10).is_err());
}

#[test]
fn an_entry_is_read_to_the_size_in_the_directory() {
    let mut compressor = flate2::read::DeflateEncoder::new(&[b'x'; 10_000][..], flate2::Compression::default());
    let mut data = Vec::new();
    compressor.read_to_end(&mut data).unwrap();
    let mut bytes = zip_of(&[("a", &data)]);
    let directory = bytes.len() - 22 - 47;
    bytes[8] = 8;
    bytes[directory + 10] = 8;
    let size = 9_000u32.to_le_bytes();
    bytes[22..26].copy_from_slice(&size);
    bytes[directory + 24..directory + 28].copy_from_slice(&size);
    assert_eq!(read(&bytes).problems, Vec::<String>::new());
    assert_eq!(content(&bytes, 0), [b'x'; 9_000]);
}
