//! Mirrors, other locations, and what is blocked, as `registries.conf` says.

use crate::server::{Answer, Asked, Server, answer, cut, pieces};
use modelpack_distribution::client::{Client, ClientOptions, Credentials, MirroredRepository, Registries, RetryOptions};
use modelpack_spec::{Descriptor, Selector, Tag};
use modelpack_transfer::{Begin, Body, Error, Notice, Notices, Result, Sink, Source};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const MANIFEST: &str =
    r#"{"schemaVersion":2,"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}}"#;
const BLOB: &[u8] = b"0123456789";

fn latest() -> Selector {
    Selector::Tag(Tag::latest())
}

fn blob() -> Descriptor {
    Descriptor::of("x/x", BLOB)
}

/// A registry that has everything, in every repository.
fn whole(asked: &Asked) -> Answer {
    if asked.target.contains("/manifests/") {
        return answer(200, &[], MANIFEST);
    }
    match asked.header("range").and_then(|range| range[6..].split_once('-')?.0.parse().ok()) {
        Some(first) => answer(206, &[("content-range", &format!("bytes {first}-9/10"))], &BLOB[first..]),
        None => answer(200, &[], BLOB),
    }
}

type Told = Arc<Mutex<Vec<Notice>>>;

/// The client for a registry `registry.example.com`, which is at `registry`, with these mirrors.
fn client(registry: &Server, mirrors: &[(&Server, &str)], credentials: Credentials) -> (Client, Told) {
    let mirrors: Vec<_> =
        mirrors.iter().map(|(mirror, more)| format!("[[registry.mirror]]\nlocation = \"{}/copies\"\n{more}\n", mirror.address)).collect();
    let text = format!(
        "[[registry]]\nprefix = \"registry.example.com\"\nlocation = \"{}\"\n{}\
         [[registry]]\nprefix = \"registry.example.com/bad\"\nblocked = true\n",
        registry.address,
        mirrors.concat()
    );
    let mut registries = Registries::default();
    registries.add(&text, "registries.conf").unwrap();
    let told = Told::default();
    let notices = {
        let told = told.clone();
        Notices::to(move |notice| told.lock().unwrap().push(notice.clone()))
    };
    let retry = RetryOptions::default().first_pause(std::time::Duration::ZERO);
    let options = ClientOptions::default().credentials(credentials).notices(notices).retry(retry);
    (Client::with_registries(options, registries).unwrap(), told)
}

fn repository(registry: &Server, mirrors: &[(&Server, &str)]) -> (MirroredRepository, Told) {
    let (client, told) = client(registry, mirrors, Credentials::default());
    (client.mirrored(&"registry.example.com/a/b".parse().unwrap()).unwrap(), told)
}

async fn pull(repository: &MirroredRepository, at: &Selector) -> Result<Vec<u8>> {
    repository.manifest(at).await?;
    repository.blob(&blob(), 0..10).await?.collect(100, "the blob").await
}

#[tokio::test]
async fn a_pull_asks_the_mirrors_in_order_and_a_push_only_the_registry() {
    let registry = Server::start(|asked, _| match asked.method.as_str() {
        "HEAD" => answer(404, &[], ""),
        "POST" => answer(202, &[("location", "/session")], ""),
        _ => answer(201, &[], ""),
    })
    .await;
    let (empty, mirror) = (Server::start(|_, _| answer(404, &[], "")).await, Server::start(|asked, _| whole(asked)).await);
    let mirrors = [(&empty, ""), (&mirror, "")];
    let (mirrored, told) = repository(&registry, &mirrors);
    assert_eq!(pull(&mirrored, &latest()).await.unwrap(), BLOB);
    assert_eq!(mirror.asked()[0].target, "/v2/copies/a/b/manifests/latest");
    assert_eq!((empty.asked().len(), mirror.asked().len(), registry.asked().len()), (1, 2, 0), "blobs are where the manifest was");
    assert_eq!(told.lock().unwrap().len(), 0, "a mirror need not have everything");
    assert_eq!(mirrored.in_use().to_string(), format!("{}/copies/a/b", mirror.address));

    let (client, _) = client(&registry, &mirrors, Credentials::default());
    let pushed = client.repository(&"registry.example.com/a/b".parse().unwrap()).unwrap();
    let Begin::Upload(mut upload) = pushed.begin(Some(&blob())).await.unwrap() else { panic!("it is not there") };
    upload.write(Body::from_bytes(BLOB)).await.unwrap();
    upload.commit(Some(&blob())).await.unwrap();
    assert_eq!((empty.asked().len(), mirror.asked().len(), registry.count("PUT", "/session")), (1, 2, 1));
}

#[tokio::test]
async fn a_mirror_that_fails_is_replaced_by_the_next_and_in_the_end_by_the_registry() {
    let registry = Server::start(|asked, _| whole(asked)).await;
    for status in [401, 403, 500] {
        let broken = Server::start(move |_, _| answer(status, &[], "")).await;
        let (mirrored, told) = repository(&registry, &[(&broken, ""), (&broken, "")]);
        assert_eq!(pull(&mirrored, &latest()).await.unwrap(), BLOB, "{status}");
        let told = told.lock().unwrap();
        let is_about_it = |notice: &Notice| matches!(notice, Notice::MirrorFailed { mirror, .. } if mirror.ends_with("/copies/a/b"));
        assert!(told.len() == 2 && told.iter().all(is_about_it), "{status}: {told:?}");
        assert!(broken.asked().len() <= 4, "a mirror is asked at most twice: {}", broken.asked().len());
    }
    // What the registry says is the error.
    let (gone, broken) = (Server::start(|_, _| answer(404, &[], "")).await, Server::start(|_, _| None).await);
    let (mirrored, _) = repository(&gone, &[(&broken, "")]);
    let error = mirrored.manifest(&latest()).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains(&gone.address.to_string()), "{error}");
}

#[tokio::test]
async fn a_blob_that_breaks_off_at_a_mirror_goes_on_at_the_next_place() {
    let registry = Server::start(|asked, _| whole(asked)).await;
    let breaking = Server::start(|asked, _| match asked.header("range") {
        _ if asked.target.contains("/manifests/") => answer(200, &[], MANIFEST),
        None => pieces(200, &[("content-length", "10")], vec![Ok("01234".into()), cut()]),
        Some(_) => answer(503, &[], ""),
    })
    .await;
    let (mirrored, told) = repository(&registry, &[(&breaking, "")]);
    assert_eq!(pull(&mirrored, &latest()).await.unwrap(), BLOB);
    assert_eq!(registry.asked().iter().map(|asked| asked.header("range").unwrap()).collect::<Vec<_>>(), ["bytes=5-9"]);
    assert!(matches!(&told.lock().unwrap()[..], [Notice::MirrorFailed { .. }]));
}

#[tokio::test]
async fn a_mirror_may_be_for_tags_or_for_digests() {
    let registry = Server::start(|asked, _| whole(asked)).await;
    let [by_digest, by_tag] = [Server::start(|asked, _| whole(asked)).await, Server::start(|asked, _| whole(asked)).await];
    let mirrors = [(&by_digest, "pull-from-mirror = \"digest-only\""), (&by_tag, "pull-from-mirror = \"tag-only\"")];
    let (mirrored, _) = repository(&registry, &mirrors);
    let manifest = mirrored.manifest(&latest()).await.unwrap();
    assert_eq!((by_digest.asked().len(), by_tag.asked().len()), (0, 1));
    mirrored.manifest(&Selector::Digest(manifest.digest().clone())).await.unwrap();
    assert_eq!((by_digest.asked().len(), by_tag.asked().len(), registry.asked().len()), (1, 1, 0));
}

#[tokio::test]
async fn a_login_is_shown_only_to_the_host_that_it_belongs_to() {
    let guarded = |asked: &Asked| match asked.header("authorization") {
        Some(_) => answer(404, &[], ""),
        None => answer(401, &[("www-authenticate", "Basic")], ""),
    };
    let (registry, mirror) = (Server::start(move |asked, _| guarded(asked)).await, Server::start(move |asked, _| guarded(asked)).await);
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("auth.json");
    let login = |password| format!(r#"{{"username": "me", "password": "{password}"}}"#);
    let auths = format!(r#"{{"auths": {{"{}": {}, "{}": {}}}}}"#, registry.address, login("one"), mirror.address, login("two"));
    std::fs::write(&file, auths).unwrap();
    let (client, _) = client(&registry, &[(&mirror, "")], Credentials::in_file(file));
    let error = client.mirrored(&"registry.example.com/a/b".parse().unwrap()).unwrap().manifest(&latest()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    // `me:one` and `me:two` in Base64.
    for (server, expected) in [(&registry, "Basic bWU6b25l"), (&mirror, "Basic bWU6dHdv")] {
        let shown: Vec<_> = server.asked().iter().filter_map(|asked| asked.header("authorization").map(str::to_owned)).collect();
        assert_eq!(shown, [expected]);
    }
}

#[tokio::test]
async fn what_is_blocked_is_neither_read_nor_written() {
    let registry = Server::start(|asked, _| whole(asked)).await;
    let (client, _) = client(&registry, &[], Credentials::default());
    let name = "registry.example.com/bad/model".parse().unwrap();
    for error in [client.repository(&name).err().unwrap(), client.mirrored(&name).err().unwrap()] {
        assert!(matches!(&error, Error::Setting { setting, .. } if setting == "registries.conf:4"), "{error}");
    }
}
