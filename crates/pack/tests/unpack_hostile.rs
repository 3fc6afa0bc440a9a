//! Hostile and damaged artifacts: nothing outside the destination is changed, and no unverified
//! file gets its name.

mod artifact;

use artifact::{ARCHIVES, Artifact, compressed, ended, entry, entry_with, forced, listing, media_type_of, record, tar_of};
use modelpack_pack::Error;
use modelpack_spec::{Encoding, annotation};
use modelpack_transfer::Error as StoreError;
use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};
use tempfile::tempdir;

const HOSTILE_PATHS: [&str; 14] = [
    "../x",
    "/x",
    "a/../../x",
    "a/..",
    "..",
    "..\\x",
    "a\\..\\..\\x",
    "C:\\x",
    "C:x",
    "",
    "./.",
    ".modelpack-0123456789abcdef/x",
    ".modelpack-0123456789abcdef",
    ".modelpack-lock",
];

/// The error of unpacking into a nested directory. Nothing may be left in either directory.
async fn refused(artifact: &Artifact) -> StoreError {
    let parent = tempdir().unwrap();
    let to = parent.path().join("to");
    let error = artifact.unpack(&to).await.unwrap_err();
    let found = listing(parent.path());
    assert!(found.is_empty() || found == ["to/"], "{found:?} after: {error}");
    match error {
        Error::Store(error) => error,
        other => panic!("{other}"),
    }
}

/// The error for an archive layer. A raw file beside it must not get its name either.
async fn archive_refused(encoding: Encoding, tar: &[u8]) -> StoreError {
    let mut artifact = Artifact::new();
    artifact.raw("raw", 0o644, "innocent").await;
    artifact.archive(encoding, &tar_of(&[("innocent", b"archive")])).await;
    artifact.archive(encoding, tar).await;
    refused(&artifact).await
}

#[tokio::test]
async fn a_path_out_of_the_destination_is_refused_in_annotations_and_archives() {
    for path in HOSTILE_PATHS.into_iter().chain(["a\0b", "/"]) {
        let mut artifact = Artifact::new();
        artifact.raw("innocent", 0o644, "raw").await;
        artifact.raw(path, 0o644, "x").await;
        let error = refused(&artifact).await;
        assert!(matches!(error, StoreError::InvalidPath { .. } | StoreError::Invalid { .. }), "{path:?}: {error}");
    }
    for path in HOSTILE_PATHS {
        let error = archive_refused(Encoding::Tar, &tar_of(&[(path, b"x")])).await;
        assert!(matches!(error, StoreError::InvalidPath { .. } | StoreError::Invalid { .. }), "{path:?}: {error}");
        let pax = [entry(b'x', "pax", 0, &record("path", path)), entry(b'0', "harmless", 0o644, b"x")].concat();
        archive_refused(Encoding::Tar, &ended(pax)).await;
        let long = [entry(b'L', "long", 0, path.as_bytes()), entry(b'0', "harmless", 0o644, b"x")].concat();
        archive_refused(Encoding::Tar, &ended(long)).await;
    }
    let nul = [entry(b'L', "long", 0, b"a\0b\0"), entry(b'0', "harmless", 0o644, b"x")].concat();
    archive_refused(Encoding::Tar, &ended(nul)).await;
    archive_refused(Encoding::Tar, &ended(entry(b'5', "../directory", 0o755, b""))).await;
}

#[tokio::test]
async fn links_devices_pipes_and_sparse_files_are_refused_with_their_names() {
    for (kind, says) in [
        (b'1', "link"),
        (b'2', "symbolic link"),
        (b'3', "device"),
        (b'4', "device"),
        (b'6', "named pipe"),
        (b'7', "unknown"),
        (b'S', "sparse"),
        (b'K', "link"),
        (b'Z', "unknown"),
    ] {
        let special = entry_with(kind, "special", 0o644, b"", |header| header.set_link_name("innocent").unwrap());
        let through = entry(b'0', "special/x", 0o644, b"x");
        for encoding in ARCHIVES {
            let error = archive_refused(encoding, &ended([special.clone(), through.clone()].concat())).await;
            assert!(matches!(error, StoreError::Invalid { .. }) && error.to_string().contains(says), "{error}");
        }
    }
}

#[tokio::test]
async fn an_existing_link_is_never_followed_or_replaced() {
    for forced in [artifact::options(), forced()] {
        for link in ["d", "d/file"] {
            let (parent, outside) = (tempdir().unwrap(), tempdir().unwrap());
            let (to, outside_file) = (parent.path().join("to"), outside.path().join("file"));
            fs::write(&outside_file, "outside").unwrap();
            fs::create_dir_all(to.join("d").parent().unwrap()).unwrap();
            match link {
                "d" => symlink(outside.path(), to.join("d")).unwrap(),
                _ => {
                    fs::create_dir(to.join("d")).unwrap();
                    symlink(&outside_file, to.join("d/file")).unwrap();
                }
            }
            let before = listing(&to);
            let mut raw = Artifact::new();
            raw.raw("d/file", 0o755, "inside").await;
            let mut equal = Artifact::new();
            equal.raw("d/file", 0o755, "outside").await;
            let mut archive = Artifact::new();
            archive.archive(Encoding::TarGzip, &tar_of(&[("d/file", b"inside")])).await;
            for artifact in [raw, equal, archive] {
                let error = artifact.unpack_with(&to, &forced).await.unwrap_err();
                assert!(matches!(&error, Error::Store(StoreError::Conflict { path, .. }) if *path == to.join(link)), "{error}");
                assert_eq!(listing(&to), before);
            }
            assert_eq!(fs::read(&outside_file).unwrap(), b"outside");
            assert_eq!(outside_file.metadata().unwrap().mode() & 0o111, 0);
        }
    }
}

#[tokio::test]
async fn a_directory_instead_of_a_file_and_the_reverse_are_conflicts_even_with_force() {
    let to = tempdir().unwrap();
    fs::create_dir(to.path().join("directory")).unwrap();
    fs::write(to.path().join("file"), "").unwrap();
    let mut artifacts = Vec::new();
    for path in ["directory", "file/below"] {
        let mut raw = Artifact::new();
        raw.raw(path, 0o644, "x").await;
        let mut archive = Artifact::new();
        archive.archive(Encoding::Tar, &tar_of(&[(path, b"x")])).await;
        artifacts.extend([raw, archive]);
    }
    let mut empty_directory = Artifact::new();
    empty_directory.archive(Encoding::Tar, &ended(entry(b'5', "file", 0o755, b""))).await;
    empty_directory.raw("beside", 0o644, "x").await;
    artifacts.push(empty_directory);
    for artifact in artifacts {
        let error = artifact.unpack_with(to.path(), &forced()).await.unwrap_err();
        assert!(matches!(error, Error::Store(StoreError::Conflict { .. })), "{error}");
        assert_eq!(listing(to.path()), ["directory/", "file"]);
    }
}

#[tokio::test]
async fn no_file_gets_more_than_ordinary_permissions() {
    let to = tempdir().unwrap();
    let mut artifact = Artifact::new();
    artifact.raw("raw", 0o6755, "x").await;
    artifact.archive(Encoding::Tar, &ended(entry(b'0', "archived", 0o7777, b"x"))).await;
    artifact.unpack(to.path()).await.unwrap();
    for name in ["raw", "archived"] {
        let metadata = to.path().join(name).metadata().unwrap();
        assert_eq!(metadata.mode() & 0o7022, 0);
        assert_eq!(metadata.mode() & 0o100, 0o100);
        assert_eq!(metadata.uid(), fs::metadata(to.path()).unwrap().uid());
    }
}

#[tokio::test]
async fn paths_that_clash_are_refused_across_layers_and_within_one() {
    for (one, other) in [("a", "a"), ("A", "a"), ("é", "e\u{301}"), ("a", "a/b"), ("d/x", "D/y")] {
        let mut raw = Artifact::new();
        raw.raw(one, 0o644, "1").await;
        raw.raw(other, 0o644, "2").await;
        let mut mixed = Artifact::new();
        mixed.raw(one, 0o644, "1").await;
        mixed.archive(Encoding::Tar, &tar_of(&[(other, b"2")])).await;
        let mut archives = Artifact::new();
        archives.archive(Encoding::TarZstd, &tar_of(&[(one, b"1")])).await;
        archives.archive(Encoding::Tar, &tar_of(&[(other, b"2")])).await;
        let mut archive = Artifact::new();
        archive.archive(Encoding::Tar, &tar_of(&[(one, b"1"), (other, b"2")])).await;
        for artifact in [raw, mixed, archives, archive] {
            let error = refused(&artifact).await;
            assert!(matches!(error, StoreError::InvalidPath { .. }), "{one:?} {other:?}: {error}");
        }
    }
    let file_and_directory = [entry(b'0', "a", 0o644, b""), entry(b'5', "a", 0o755, b"")].concat();
    assert!(matches!(archive_refused(Encoding::Tar, &ended(file_and_directory)).await, StoreError::InvalidPath { .. }));
}

#[tokio::test]
async fn archives_that_readers_could_read_differently_are_refused() {
    let file = || entry(b'0', "file", 0o644, b"content");
    let pax = |records: &[u8]| entry(b'x', "pax", 0, records);
    let wrong_header = |change: fn(&mut tar::Header)| entry_with(b'0', "file", 0o644, b"content", change);
    let broken_checksum = {
        let mut bytes = file();
        bytes[0] ^= 1;
        bytes
    };
    for (what, entries) in [
        ("a pax size unlike the header's", [pax(&record("size", "512")), file()].concat()),
        ("a pax size with a sign", [pax(&record("size", "+7")), file()].concat()),
        ("two pax sizes", [pax(&[record("size", "7"), record("size", "7")].concat()), file()].concat()),
        ("two pax paths", [pax(&[record("path", "a"), record("path", "b")].concat()), file()].concat()),
        ("two extended headers with paths", [pax(&record("path", "a")), pax(&record("path", "b")), file()].concat()),
        ("a pax and a GNU path", [pax(&record("path", "a")), entry(b'L', "long", 0, b"b"), file()].concat()),
        ("a pax path that is not UTF-8", [pax(b"11 path=\xff\xff\n"), file()].concat()),
        ("a pax record that is too long", [pax(b"99 path=a\n"), file()].concat()),
        ("a pax record that is too short", [pax(b"5 path=a\n"), file()].concat()),
        ("a pax record without an end", [pax(b"9 path=abc"), file()].concat()),
        ("a pax record without a value", [pax(b"7 path\n"), file()].concat()),
        ("an empty pax record", [pax(&[b"\n", &record("path", "a")[..]].concat()), file()].concat()),
        ("a pax record of no length", [pax(b"0 path=a\n"), file()].concat()),
        ("a path for all entries", [entry(b'g', "pax", 0, &record("path", "a")), file()].concat()),
        ("a sparse file of version 1", [pax(&record("GNU.sparse.major", "1")), file()].concat()),
        ("an extended header of nothing", [file(), pax(&record("path", "a"))].concat()),
        ("a large extended header", [pax(&record("comment", &"x".repeat(1 << 20))), file()].concat()),
        ("a checksum that is wrong", broken_checksum),
        ("an unknown layout", wrong_header(|header| header.as_old_mut().pad[0] = 1)),
        ("a size that is not octal", wrong_header(|header| header.as_old_mut().size = *b"00000000009\0")),
        ("a size with something after it", wrong_header(|header| header.as_old_mut().size = *b"7\0 00000000\0")),
        ("a negative size", wrong_header(|header| header.as_old_mut().size = [0xff; 12])),
        ("a size of more than 64 bits", wrong_header(|header| header.as_old_mut().size = *b"\x80\x01\0\0\0\0\0\0\0\0\0\x07")),
        ("a file named like a directory", entry(b'0', "file/", 0o644, b"content")),
        ("a directory with content", entry(b'5', "directory", 0o755, b"content")),
    ] {
        let error = archive_refused(Encoding::Tar, &ended(entries)).await;
        assert!(matches!(error, StoreError::Invalid { .. }), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_decompression_bomb_is_refused_by_its_declared_size() {
    const TEBIBYTE: u64 = 1 << 40;
    let octal = entry_with(b'0', "bomb", 0o644, b"", |header| header.set_size((8 << 30) - 1));
    let binary = entry_with(b'0', "bomb", 0o644, b"", |header| header.set_size(TEBIBYTE));
    let pax = [entry(b'x', "pax", 0, &record("size", &TEBIBYTE.to_string())), entry(b'0', "bomb", 0o644, b"")].concat();
    let overflowing = [entry(b'x', "pax", 0, &record("size", &u64::MAX.to_string())), entry(b'0', "bomb", 0o644, b"")].concat();
    for tar in [octal, binary, pax, overflowing] {
        for encoding in ARCHIVES {
            let error = archive_refused(encoding, &ended(tar.clone())).await;
            assert!(matches!(error, StoreError::Invalid { .. }) && error.to_string().contains("1000 times"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_changed_byte_anywhere_in_a_layer_is_found_before_any_file_gets_its_name() {
    let content: Vec<u8> = (0..5000_u32).map(|i| ((i * i) >> 3) as u8).collect();
    for encoding in Encoding::ALL {
        let bytes = compressed(encoding, &tar_of(&[("file", &content)]));
        for at in (0..bytes.len()).step_by(bytes.len() / 23).chain([bytes.len() - 1]) {
            let mut artifact = Artifact::new();
            let digest = artifact.layer(&media_type_of(encoding), &[(annotation::FILEPATH, "file")], bytes.clone()).await;
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            artifact.damage(digest, damaged);
            let error = refused(&artifact).await;
            assert!(matches!(error, StoreError::WrongDigest { .. }), "{encoding:?}, byte {at}: {error}");
        }
    }
}

#[tokio::test]
async fn a_damaged_archive_prevents_that_files_of_any_layer_get_their_names() {
    let mut artifact = Artifact::new();
    artifact.raw("raw", 0o644, "innocent").await;
    artifact.archive(Encoding::Tar, &tar_of(&[("archived", b"innocent too")])).await;
    let damaged = artifact.archive(Encoding::TarGzip, &tar_of(&[("damaged", b"x")])).await;
    artifact.damage(damaged, compressed(Encoding::TarGzip, &tar_of(&[("damaged", b"y")])));
    assert!(matches!(refused(&artifact).await, StoreError::WrongDigest { .. }));
}

#[tokio::test]
async fn an_archive_of_the_wrong_length_is_refused_although_its_digest_is_right() {
    let content: Vec<u8> = (0..50_000_u32).map(|i| ((i * i) >> 3) as u8).collect();
    let whole = tar_of(&[("file", &content)]);
    for encoding in ARCHIVES {
        let stored = compressed(encoding, &whole);
        let garbage = [&stored[..], b"more"].concat();
        let second = [&stored[..], &compressed(encoding, &tar_of(&[("second", b"x")]))].concat();
        let inside = compressed(encoding, &[&whole[..], &whole].concat());
        let unended = compressed(encoding, &whole[..whole.len() - 1024]);
        for bytes in [&stored[..0], &stored[..10], &stored[..stored.len() / 2], &garbage, &second, &inside, &unended] {
            let mut artifact = Artifact::new();
            artifact.layer(&media_type_of(encoding), &[], bytes).await;
            let error = refused(&artifact).await;
            assert!(matches!(error, StoreError::Invalid { .. }), "{encoding:?}, {} bytes: {error}", bytes.len());
        }
    }
    // A checksum follows the data. Neither reader may skip it.
    for encoding in [Encoding::TarGzip, Encoding::TarZstd] {
        let mut stored = compressed(encoding, &whole);
        stored.truncate(stored.len() - 1);
        let mut artifact = Artifact::new();
        artifact.layer(&media_type_of(encoding), &[], stored).await;
        assert!(matches!(refused(&artifact).await, StoreError::Invalid { .. }));
    }
}

#[tokio::test]
async fn a_zstd_window_that_needs_too_much_memory_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    std::io::Write::write_all(&mut encoder, &tar_of(&[("file", b"x")])).unwrap();
    let mut artifact = Artifact::new();
    artifact.layer(&media_type_of(Encoding::TarZstd), &[], encoder.finish().unwrap()).await;
    let error = refused(&artifact).await;
    assert!(error.to_string().contains("memory"), "{error}");
}

#[tokio::test]
async fn a_blob_with_the_wrong_size_is_refused() {
    let tar = tar_of(&[("file", b"content")]);
    for encoding in Encoding::ALL {
        let bytes = compressed(encoding, &tar);
        for wrong in [&bytes[..bytes.len() - 1], &[&bytes[..], b"\0"].concat()] {
            let mut artifact = Artifact::new();
            let digest = artifact.layer(&media_type_of(encoding), &[(annotation::FILEPATH, "file")], bytes.clone()).await;
            artifact.damage(digest, wrong.to_vec());
            let error = refused(&artifact).await;
            assert!(matches!(error, StoreError::WrongSize { .. }), "{encoding:?}: {error}");
        }
    }
}

#[tokio::test]
async fn equal_size_and_time_do_not_make_files_equal() {
    let to = tempdir().unwrap();
    let mut artifact = Artifact::new();
    artifact.raw("file", 0o644, "right").await;
    artifact.unpack(to.path()).await.unwrap();
    let file = to.path().join("file");
    let modified = file.metadata().unwrap().modified().unwrap();
    fs::write(&file, "wrong").unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
    assert!(artifact.unpack(to.path()).await.is_err());
    assert_eq!(fs::read(Path::new(&file)).unwrap(), b"wrong");
}
