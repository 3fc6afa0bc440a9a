//! Uploads that continue after the registry was ended.

use crate::harness::{Registry, begin_request, failure, header, noise, sha512};
use modelpack_server::ServerOptions;
use modelpack_spec::Digest;
use reqwest::StatusCode;
use std::{fs, path::Path, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};

async fn start_in(directory: &Path) -> Registry {
    Registry::start_in(directory, ServerOptions::default()).await
}

async fn end(registry: Registry) {
    registry.stop.send(()).unwrap();
    registry.running.await.unwrap().unwrap();
}

/// Copies the files of a store. The copy is what a registry leaves that is killed at this moment.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else if entry.file_type().unwrap().is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), to).unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn an_upload_continues_after_an_orderly_restart_as_if_nothing_had_happened() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(3_000_000);
    let digests = [Digest::of(&content), sha512(&content)];
    let mut registry = start_in(directory.path()).await;
    let mut uploads = Vec::new();
    for (digest, query) in digests.iter().zip(["", "?digest-algorithm=sha512"]) {
        let begun = registry.post(&format!("/v2/a/b/blobs/uploads/{query}")).send().await.unwrap();
        uploads.push((header(&begun, "location").to_owned(), digest));
    }
    for (from, to) in [(0, 1), (1, 1_000), (1_000, 1_500_000)] {
        for (upload, _) in &uploads {
            // The client gives no position, because it knows from the answers that all has arrived.
            let patched = registry.patch(upload).body(content[from..to].to_vec()).send().await.unwrap();
            assert_eq!((patched.status(), header(&patched, "range")), (StatusCode::ACCEPTED, &*format!("0-{}", to - 1)));
        }
        end(registry).await;
        registry = start_in(directory.path()).await;
    }
    for (upload, digest) in &uploads {
        let elsewhere = upload.replace("/a/b/", "/a/c/");
        assert_eq!(failure(registry.get(&elsewhere).send().await.unwrap(), StatusCode::NOT_FOUND).await.0, "BLOB_UPLOAD_UNKNOWN");
        assert_eq!(registry.range_of(upload).await, "0-1499999");
        let wrong = registry.put(&format!("{upload}?digest={digest}")).body("wrong").send().await.unwrap();
        assert_eq!(header(&wrong, "range"), "0-1499999");
        failure(wrong, StatusCode::BAD_REQUEST).await;
    }
    end(registry).await;
    let registry = start_in(directory.path()).await;
    for (upload, digest) in &uploads {
        let done = registry.put(&format!("{upload}?digest={digest}")).body(content[1_500_000..].to_vec()).send().await.unwrap();
        assert_eq!(done.status(), StatusCode::CREATED);
        let pulled = registry.get(header(&done, "location")).send().await.unwrap();
        assert_eq!(pulled.bytes().await.unwrap(), content);
        failure(registry.get(upload).send().await.unwrap(), StatusCode::NOT_FOUND).await;
    }
    assert_eq!(fs::read_dir(directory.path().join("partials")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_upload_continues_after_a_kill_where_it_was_recorded() {
    const SENT: usize = 3_000_000;
    const WRITTEN: u64 = 1_500_000;
    const UNRECORDED: usize = 800_000;
    let (registry, content) = (Registry::start().await, noise(4_000_000));
    let digest = Digest::of(&content);
    let upload = registry.begin("a/b").await;
    let mut client = TcpStream::connect(registry.address).await.unwrap();
    begin_request(&mut client, "PATCH", &upload, content.len()).await;
    client.write_all(&content[..SENT]).await.unwrap();
    let killed = tempfile::tempdir().unwrap();
    let partials = registry.store.root().join("partials");
    // The registry may still have the last bytes in memory.
    let is_written = || fs::read_dir(&partials).is_ok_and(|mut files| files.any(|file| file.unwrap().metadata().unwrap().len() >= WRITTEN));
    while !is_written() {
        sleep(Duration::from_millis(5)).await;
    }
    copy(registry.store.root(), killed.path());

    let registry = start_in(killed.path()).await;
    // The client does not know how much has arrived, so it must not send without a position.
    let blind = registry.patch(&upload).body("x").send().await.unwrap();
    failure(blind, StatusCode::RANGE_NOT_SATISFIABLE).await;
    let received: usize = registry.range_of(&upload).await.trim_start_matches("0-").parse::<usize>().unwrap() + 1;
    assert!((WRITTEN as usize - UNRECORDED..=SENT).contains(&received), "{received} bytes were recorded");
    let rest = registry.put(&format!("{upload}?digest={digest}")).header("content-range", format!("{received}-3999999"));
    assert_eq!(rest.body(content[received..].to_vec()).send().await.unwrap().status(), StatusCode::CREATED);
    let pulled = registry.get(&format!("/v2/a/b/blobs/{digest}")).send().await.unwrap();
    assert_eq!(pulled.bytes().await.unwrap(), content);
}

#[tokio::test]
async fn bytes_of_an_upload_that_changed_while_no_registry_ran_are_found_out() {
    let directory = tempfile::tempdir().unwrap();
    let registry = start_in(directory.path()).await;
    let content = noise(100_000);
    let upload = registry.begin("a/b").await;
    registry.patch(&upload).body(content[..50_000].to_vec()).send().await.unwrap();
    end(registry).await;
    let mut files = fs::read_dir(directory.path().join("partials")).unwrap().map(|file| file.unwrap().path());
    let file = files.find(|path| path.extension().is_none()).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[17] ^= 1;
    fs::write(&file, bytes).unwrap();
    let registry = start_in(directory.path()).await;
    let put = registry.put(&format!("{upload}?digest={}", Digest::of(&content))).body(content[50_000..].to_vec());
    assert_eq!(failure(put.send().await.unwrap(), StatusCode::BAD_REQUEST).await.0, "DIGEST_INVALID");
}
