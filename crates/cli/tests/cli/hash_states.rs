//! Lists of hash states: which layers name one, where they are kept, and that none of them has to be trusted.

use crate::{
    harness::{Registry, cli, cli_with_model, json, ok, run, store},
    places::Layout,
};
use modelpack::spec::{Algorithm, Descriptor, Digest, HashStates, Hasher, annotation, media_type};
use modelpack_testkit::{Cli, Failure, Fault, SeenRequest, assert_same_tree};
use serde_json::{Value, json};
use std::{fs, path::Path};

const LARGE: usize = 66 << 20;

fn content() -> Vec<u8> {
    (0..LARGE).map(|i| (i % 251) as u8 ^ (i >> 16) as u8).collect()
}

/// The list of `content`.
fn list() -> HashStates {
    let mut hasher = Hasher::recording(Algorithm::Sha256);
    hasher.update(&content());
    hasher.hash_states().unwrap()
}

/// A program and a model with a large file.
fn cli_with_large_model() -> (Cli, std::path::PathBuf) {
    let (cli, model) = cli_with_model();
    fs::write(model.join("large.bin"), content()).unwrap();
    (cli, model)
}

/// The list that the layer of the large file names, and how many other layers name one.
fn named(cli: &Cli, place: &str) -> (Option<Descriptor>, usize) {
    let manifest: Value = ok(cli, &format!("inspect --raw {place}")).parse().unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter().map(|layer| &layer["annotations"]);
    let (large, others): (Vec<_>, Vec<_>) = layers.partition(|annotations| annotations[annotation::FILEPATH] == "large.bin");
    let list = |annotations: &&Value| annotations[annotation::HASH_STATES].as_str().map(|list| serde_json::from_str(list).unwrap());
    (large.iter().find_map(list), others.iter().filter_map(list).count())
}

fn kept_lists(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join("hash-states")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_layer_of_a_large_file_names_the_same_list_wherever_and_however_often_it_is_packed() {
    let (cli, model) = cli_with_large_model();
    let registry = Registry::start();
    let digest = ok(&cli, "pack model -t store:large:v1");
    assert_eq!(named(&cli, "store:large:v1"), (Some(list().descriptor()), 0), "small files name none");
    for place in ["store:large:v1", "oci:layout:v1", "oci-archive:archive.tar:v1", &registry.reference("large:v1")] {
        for _ in 0..2 {
            let verb = if place.starts_with("127") { "push model " } else { "pack model -t " };
            assert_eq!(ok(&cli, &format!("{verb}{place}")), digest, "{place}");
        }
    }
    for layer in ["tar", "tar+zstd"] {
        let packed = ok(&cli, &format!("pack model -t store:archive --layer large.bin={layer}"));
        assert_eq!(ok(&cli, &format!("push model {} --layer large.bin={layer}", registry.reference("archive"))), packed);
    }
    // The files of an artifact give the same artifact.
    assert_eq!(ok(&cli, &format!("push docker://{} {}", registry.reference("large:v1"), registry.reference("again:v1"))), digest);
    assert_eq!(ok(&cli, "pack store:large:v1 -t oci:again:v1"), digest);
    assert_ne!(ok(&cli, "pack model -t store:without --no-hash-states"), digest);
    assert_eq!(named(&cli, "store:without"), (None, 0));
    fs::remove_dir_all(store(&cli)).unwrap();
    assert_eq!(ok(&cli, &format!("push model {}", registry.reference("large:v2"))), digest, "nothing was remembered");
    // What is attached is packed. What is copied keeps what it has.
    ok(&cli, "pack model -t store:small --exclude large.bin");
    ok(&cli, &format!("attach {} -s store:small -t store:attached", model.join("large.bin").display()));
    ok(&cli, &format!("cp store:attached docker://{}", registry.reference("attached:v1")));
    assert_eq!(named(&cli, &registry.reference("attached:v1")), (Some(list().descriptor()), 0));
    assert_eq!(registry.request("HEAD", &format!("attached/blobs/{}", list().descriptor().digest)), 200);
}

#[test]
fn a_registry_keeps_the_lists_beside_the_artifact_if_it_lists_referrers_or_if_asked() {
    let (cli, _) = cli_with_large_model();
    let registry = Registry::start();
    let blob = |name: &str| registry.request("HEAD", &format!("{name}/blobs/{}", list().descriptor().digest));
    ok(&cli, &format!("push model {}", registry.reference("listed:v1")));
    assert_eq!(blob("listed"), 200);
    let none = || Failure::Status { code: 404, headers: Vec::new(), body: String::new() };
    let proxy = registry.behind(vec![Fault::on("GET", "/referrers/", none())]);
    for (flags, status) in [("", 404), ("--no-hash-states", 404), ("--hash-states", 200)] {
        ok(&cli, &format!("push model {}/unlisted:v1 {flags}", proxy.address()));
        assert_eq!(blob("unlisted"), status, "{flags}");
    }
    // They are found again, copied to the next registry, and are not counted among signatures that are left behind.
    let other = Registry::start();
    let copied = json(&cli, &format!("cp docker://{} docker://{}", registry.reference("listed:v1"), other.reference("copy:v1")));
    assert_eq!((&copied["referrers"], &copied["referrersLeftBehind"]), (&json!([]), &json!(0)));
    assert_eq!(other.request("HEAD", &format!("copy/blobs/{}", list().descriptor().digest)), 200);
    let stderr = run(&cli, &format!("cp docker://{} oci:layout", registry.reference("listed:v1"))).expect_code(0).stderr;
    assert!(!stderr.contains("referrer"), "they are no news: {stderr}");
    assert_eq!(ok(&cli, "unpack oci:layout -o out"), ok(&cli, "verify oci:layout"), "the model is found beside them");
    // A second push finds all there.
    let proxy = registry.behind(Vec::new());
    ok(&cli, &format!("push model {}/listed:v1", proxy.address()));
    let sent = |request: &SeenRequest| request.method == "POST" || (request.method == "PUT" && !request.path.ends_with("/v1"));
    assert!(!proxy.requests().iter().any(sent), "{:#?}", proxy.requests());
    // A registry that refuses them has the artifact all the same.
    let refusing =
        other.behind(vec![Fault::on("PUT", "manifests/sha256", Failure::Status { code: 403, headers: Vec::new(), body: String::new() })]);
    ok(&cli, &format!("push model {}/refused:v1", refusing.address()));
    run(&cli, &format!("push model {}/refused:v1 --hash-states", refusing.address())).expect_code(4);
}

#[test]
fn a_pull_reads_the_list_that_a_layer_names_and_needs_none() {
    let (packer, model) = cli_with_large_model();
    let registry = Registry::start();
    ok(&packer, &format!("push model {}", registry.reference("large:v1")));
    let path = format!("/blobs/{}", list().descriptor().digest);
    let status = |code| Failure::Status { code, headers: Vec::new(), body: String::new() };
    for fault in [None, Some(status(404)), Some(status(403)), Some(Failure::FlipByte(100)), Some(Failure::ContentLength(7))] {
        let what = format!("{fault:?}");
        let proxy = registry.behind(fault.into_iter().map(|fault| Fault::on("GET", path.clone(), fault)).collect());
        let cli = cli();
        ok(&cli, &format!("pull {}/large:v1 -o out", proxy.address()));
        assert_same_tree(&model, &cli.home().join("out"));
        ok(&cli, &format!("pull {}/large:v1", proxy.address()));
        assert!(proxy.requests().iter().any(|request| request.path.ends_with(&path)), "{what}");
        assert_eq!(kept_lists(&store(&cli)).len(), 1, "it is made, if it was not there: {what}");
        ok(&cli, &format!("verify store:{}/large:v1", proxy.address()));
        // From the store, without another copy in memory.
        ok(&cli, &format!("unpack store:{}/large:v1 -o from-store", proxy.address()));
        assert_same_tree(&model, &cli.home().join("from-store"));
    }
}

#[test]
fn a_cut_pull_with_a_list_goes_on_where_it_was() {
    let (packer, model) = cli_with_large_model();
    let registry = Registry::start();
    ok(&packer, &format!("push model {}", registry.reference("large:v1")));
    let proxy = registry.behind(vec![Fault::on("GET", "/blobs/", Failure::CutAfter(5_500_000))]);
    let cli = cli();
    for line in ["-o out", ""] {
        let line = format!("pull {}/large:v1 {line}", proxy.address());
        proxy.set_faults(vec![Fault::on("GET", "/blobs/", Failure::CutAfter(5_500_000))]);
        ok(&cli, &line);
    }
    assert_same_tree(&model, &cli.home().join("out"));
    ok(&cli, &format!("verify store:{}/large:v1", proxy.address()));
}

/// Writes the artifact `v1` of the layout once more, as `name`, with `list` for its large layer.
fn add_with_list(layout: &Layout, cli: &Cli, list: &[u8], name: &str) {
    let list = layout.blob(media_type::HASH_STATES, list);
    let mut manifest: Value = ok(cli, "inspect --raw oci:layout:v1").parse().unwrap();
    for layer in manifest["layers"].as_array_mut().unwrap() {
        if layer["annotations"][annotation::FILEPATH] == "large.bin" {
            layer["annotations"][annotation::HASH_STATES] = serde_json::to_string(&list).unwrap().into();
        }
    }
    layout.add(name, &manifest);
}

#[test]
fn a_false_list_of_a_hostile_artifact_does_no_harm_to_it_or_to_others_with_the_same_blob() {
    let (packer, model) = cli_with_large_model();
    let (layout, _) = Layout::with_model(&packer, "v1");
    let mut false_list = list().bytes().to_vec();
    false_list[40 * 32] ^= 1;
    add_with_list(&layout, &packer, &false_list, "false");
    add_with_list(&layout, &packer, &vec![0; false_list.len()], "zero");
    add_with_list(&layout, &packer, &false_list[32..], "short");
    let registry = Registry::start();
    for name in ["v1", "false", "zero", "short"] {
        ok(&packer, &format!("cp oci:layout:{name} docker://{}", registry.reference(&format!("large:{name}"))));
    }
    let content = content();
    let true_list = list();
    for names in [["false", "v1"], ["v1", "zero"], ["zero", "false"], ["short", "false"]] {
        let cli = cli();
        for name in names {
            let reference = registry.reference(&format!("large:{name}"));
            ok(&cli, &format!("pull {reference} -o out-{name}"));
            assert!(fs::read(cli.home().join(format!("out-{name}/large.bin"))).unwrap() == content);
            ok(&cli, &format!("pull {reference}"));
            ok(&cli, &format!("verify store:{reference}"));
            ok(&cli, &format!("verify docker://{reference}"));
        }
        let kept = kept_lists(&store(&cli));
        assert_eq!(kept, [Digest::of(&content).hex()]);
        assert!(fs::read(store(&cli).join("hash-states").join(&kept[0])).unwrap() == true_list.bytes(), "{names:?}");
        assert_same_tree(&model, &cli.home().join(format!("out-{}", names[0])));
    }
    // A list in the store that somebody changed costs time only; it is no list of another artifact's.
    let cli = cli();
    let reference = registry.reference("large:v1");
    ok(&cli, &format!("pull {reference}"));
    fs::write(store(&cli).join("hash-states").join(Digest::of(&content).hex()), &false_list).unwrap();
    ok(&cli, &format!("verify store:{reference}"));
    ok(&cli, &format!("unpack store:{reference} -o out"));
    assert_same_tree(&model, &cli.home().join("out"));
}

#[test]
fn a_damaged_blob_is_found_with_its_list() {
    let (cli, _) = cli_with_large_model();
    ok(&cli, "pack model -t store:large:v1");
    let blob = store(&cli).join("blobs/sha256").join(Digest::of(&content()).hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[50 << 20] ^= 1;
    fs::write(&blob, bytes).unwrap();
    run(&cli, "verify store:large:v1").expect_code(5);
    run(&cli, "unpack store:large:v1 -o out").expect_code(5);
    assert!(!cli.home().join("out/large.bin").exists());
}

#[test]
fn a_registry_makes_the_list_of_what_others_push_and_it_goes_with_the_blob() {
    let (cli, _) = cli_with_large_model();
    let root = tempfile::tempdir().unwrap();
    let registry = Registry::start_in(root.path());
    let reference = registry.reference("large:v1");
    ok(&cli, &format!("push model {reference} --no-hash-states"));
    assert_eq!(kept_lists(root.path()), [Digest::of(&content()).hex()]);
    assert!(fs::read(root.path().join("hash-states").join(Digest::of(&content()).hex())).unwrap() == list().bytes());
    ok(&cli, "pack model -t store:large:v1");
    ok(&cli, "rm store:large:v1");
    ok(&cli, "prune --dry-run");
    assert_eq!(kept_lists(&store(&cli)).len(), 1);
    ok(&cli, "prune");
    assert_eq!(kept_lists(&store(&cli)), [""; 0]);
}
