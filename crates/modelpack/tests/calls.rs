//! Concurrent calls of one `Modelpack`.

use modelpack::{
    AttachOptions, Model, Modelpack, Options, PackRequest, Place, Progress, PruneOptions, ScanOptions, ScanTarget, UnpackOptions,
    spec::RepositoryName,
};
use std::{fs, path::Path, sync::Arc};

/// This test only has to compile: a future that is not `Send` for every lifetime cannot be spawned.
#[allow(dead_code, reason = "it is compiled and never called")]
fn every_call_can_be_spawned(m: &'static Modelpack, place: &'static Place, request: &'static PackRequest, name: &'static RepositoryName) {
    fn spawn(_: impl Future + Send + 'static) {}
    spawn(async { m.pack(request, place).await });
    spawn(async { m.plan(request).await });
    spawn(async { m.modelfile(request).await });
    spawn(async { m.copy(place, place).await });
    spawn(async { m.push(place).await });
    spawn(async { m.pull(place).await });
    spawn(async { m.convert(place, place).await });
    spawn(async { m.attach(place, &[], place, &AttachOptions::default()).await });
    spawn(async { m.unpack(place, Path::new("."), &UnpackOptions::default()).await });
    spawn(async { m.inspect(place).await });
    spawn(async { m.diff(&Model::Place(place.clone()), &Model::Place(place.clone())).await });
    spawn(async { m.lint(&Model::Place(place.clone())).await });
    spawn(async { m.scan(&ScanTarget::Place(place.clone()), &ScanOptions::default()).await });
    #[cfg(feature = "validate")]
    spawn(async { m.validate(&modelpack::ValidateTarget::Layout(".".into()), &modelpack::ValidateOptions::default()).await });
    spawn(async { m.verify(place).await });
    spawn(async { m.repair(place).await });
    spawn(async { m.repair_store().await });
    spawn(async { m.list(None).await });
    spawn(async { m.list_layout(Path::new(".")).await });
    spawn(async { m.list_archive(Path::new(".")).await });
    spawn(async { m.list_tags(name).await });
    spawn(async { m.list_repositories("localhost").await });
    spawn(async { m.tag(place, place).await });
    spawn(async { m.remove(place).await });
    spawn(async { m.prune(&PruneOptions::default()).await });
    spawn(async { m.login("localhost", "name", "password").await });
    spawn(async { m.logout("localhost").await });
}

#[tokio::test]
async fn each_call_counts_its_own_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    let place = |text: &str| text.parse::<Place>().unwrap();
    let packed = |name: &'static str, size: usize| {
        let directory = scratch.path().join(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("README.md"), vec![b'x'; size]).unwrap();
        let (modelpack, request) = (modelpack.clone(), PackRequest::new(directory));
        async move { modelpack.pack(&request, &place(&format!("{name}:v1"))).await.unwrap() }
    };
    let (small, large) = tokio::join!(packed("small", 1_000), packed("large", 200_000));
    assert!((1_000..3_000).contains(&small.moved) && (200_000..203_000).contains(&large.moved), "{} {}", small.moved, large.moved);

    let layout = place(&format!("oci:{}", scratch.path().join("layout").display()));
    let counters = [(); 2].map(|()| Arc::<Progress>::default());
    let handles = [0, 1].map(|at| modelpack.with_progress(counters[at].clone()));
    let (small_place, large_place) = (place("store:small:v1"), place("store:large:v1"));
    let (of_small, of_large) = tokio::join!(handles[0].copy(&small_place, &layout), handles[1].copy(&large_place, &layout));
    let moved = [of_small.unwrap().moved, of_large.unwrap().moved];
    assert_eq!(counters.each_ref().map(|counters| counters.snapshot().moved), moved);

    // With several calls of one handle, each result has its own counts, and the counters of the
    // handle have the sums.
    let again = handles[0].copy(&place("store:large:v1"), &layout).await.unwrap();
    assert_eq!((again.moved, again.present), (0, moved[1]));
    let all = counters[0].snapshot();
    assert_eq!((all.moved, all.skipped), (moved[0], moved[1]));
}
