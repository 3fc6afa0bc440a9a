//! `cp --to image`: models as OCI images, from any place to any other.

use crate::harness::{Registry, cli, cli_with_model, count_files, expect_nothing_visible, fails, json, ok, run, store, wait_until};
use modelpack::spec::Digest;
use modelpack_testkit::{Cli, Failure, Fault, FaultProxy, Signal, assert_same_tree, fixture, write_odd_names};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest: Digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
    layout.join("blobs/sha256").join(digest.hex())
}

fn read(layout: &Path, descriptor: &Value) -> Value {
    serde_json::from_slice(&fs::read(blob(layout, descriptor)).unwrap()).unwrap()
}

/// The files of an image, as a runtime of this platform applies its layers. `digest` is that of its
/// index.
fn applied(cli: &Cli, layout: &str, digest: &Value, architecture: &str) -> PathBuf {
    let (layout, directory) = (cli.home().join(layout), cli.home().join(format!("{layout}-{architecture}")));
    let index = read(&layout, &json!({ "digest": digest }));
    let wanted = json!({ "os": "linux", "architecture": architecture });
    let manifest = index["manifests"].as_array().unwrap().iter().find(|entry| entry["platform"] == wanted).expect("a manifest");
    let manifest = read(&layout, manifest);
    let config = read(&layout, &manifest["config"]);
    assert_eq!((&config["os"], &config["architecture"]), (&wanted["os"], &wanted["architecture"]));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(config["rootfs"]["diff_ids"], layers.iter().map(|layer| layer["digest"].clone()).collect::<Value>());
    for layer in layers {
        assert_eq!(layer["mediaType"], LAYER);
        tar::Archive::new(File::open(blob(&layout, layer)).unwrap()).unpack(&directory).unwrap();
    }
    directory
}

#[test]
fn an_image_has_the_files_of_the_model_for_every_architecture() {
    let (cli, model) = cli_with_model();
    ok(&cli, "pack model -t tiny:v1 --title Tiny --license MIT --model-version 1.0");
    let image = json(&cli, "cp --to image store:tiny:v1 oci:image:v1");
    let platforms = json!(["linux/amd64", "linux/arm64", "linux/ppc64le", "linux/s390x"]);
    assert_eq!((&image["prefix"], &image["platforms"]), (&json!("/models"), &platforms));
    assert_eq!(image["layers"].as_u64().unwrap() as usize, count_files(&model));
    for architecture in ["amd64", "arm64", "ppc64le", "s390x"] {
        let files = applied(&cli, "image", &image["digest"], architecture);
        assert_eq!(fs::read_dir(&files).unwrap().count(), 1, "only the prefix is there");
        assert_same_tree(&model, &files.join("models"));
    }
    let index = read(&cli.home().join("image"), &json!({ "digest": image["digest"] }));
    let said = |key: &str| index["annotations"][format!("org.opencontainers.image.{key}")].clone();
    assert_eq!((said("title"), said("licenses"), said("version")), (json!("Tiny"), json!("MIT"), json!("1.0")));
    ok(&cli, "verify oci:image:v1");
    for entry in index["manifests"].as_array().unwrap() {
        let digest = entry["digest"].as_str().unwrap();
        ok(&cli, &format!("lint oci:image@{digest} --for containerd --for kserve"));
    }
    let shown = run(&cli, "cp --to image store:tiny:v1 oci:image:v2").expect_code(0);
    assert_eq!(shown.stdout.trim_end(), image["digest"].as_str().unwrap());
    assert!(shown.stderr.contains("the files are in /models"), "{}", shown.stderr);
}

#[test]
fn odd_names_and_archives_of_other_tools_are_in_the_image_as_they_are_unpacked() {
    let cli = cli();
    write_odd_names(&cli.home().join("odd"));
    fs::write(cli.home().join("all"), "MODEL **/*\n").unwrap();
    ok(&cli, "pack odd -f all -t odd:v1 --layer tar+zstd");
    let kits = ["kit-none", "kit-gzip", "modctl-raw", "modctl-tar", "modctl-cnai", "oras"];
    let kits = kits.map(|name| (name, format!("oci:{}:v1", fixture(name).display())));
    for (name, place) in kits.into_iter().chain([("odd", "store:odd:v1".to_owned())]) {
        let image = json(&cli, &format!("cp --to image {place} oci:image-{name}:v1"));
        ok(&cli, &format!("unpack {place} -o unpacked-{name}"));
        let files = applied(&cli, &format!("image-{name}"), &image["digest"], "amd64");
        assert_same_tree(&cli.home().join(format!("unpacked-{name}")), &files.join("models"));
    }
}

#[test]
fn an_image_is_the_same_from_every_place_and_to_every_place() {
    let (cli, first, second) = (cli_with_model().0, Registry::start(), Registry::start());
    ok(&cli, "pack model -t tiny:v1");
    let remote = first.reference("tiny:v1");
    for place in [&format!("docker://{remote}"), "oci:layout:v1", "oci-archive:model.tar:v1"] {
        ok(&cli, &format!("cp store:tiny:v1 {place}"));
    }
    let expected = ok(&cli, "cp --to image store:tiny:v1 oci:image:v1");
    let sources = ["store:tiny:v1", &format!("docker://{remote}"), "oci:layout:v1", "oci-archive:model.tar:v1"];
    for (number, from) in sources.iter().enumerate() {
        for to in [
            format!("docker://{}", second.reference(&format!("image-{number}:v1"))),
            format!("docker://{}", first.reference("tiny:image")),
            format!("store:image-{number}:v1"),
            format!("oci:image-{number}:v1"),
            format!("oci-archive:image-{number}.tar:v1"),
        ] {
            assert_eq!(ok(&cli, &format!("cp --to image {from} {to}")), expected, "{from} {to}");
            ok(&cli, &format!("verify {to}"));
        }
    }
}

#[test]
fn a_registry_gets_no_layer_that_it_has_and_no_copy_is_kept_here() {
    let (cli, first, second) = (cli_with_model().0, Registry::start(), Registry::start());
    let (from, to) = (first.reference("tiny:v1"), second.reference("team/image:v1"));
    ok(&cli, &format!("push model {from}"));
    let files = count_files(&store(&cli).join("blobs"));
    let image = json(&cli, &format!("cp --to image {from} {to}"));
    let moved = image["moved"].as_u64().unwrap();
    assert!(moved > 0 && image["present"] == 0, "{image}");
    assert_eq!(count_files(&store(&cli).join("blobs")), files, "no blob is stored here");
    let again = json(&cli, &format!("cp --to image {from} {to}"));
    assert_eq!((&again["digest"], &again["moved"], again["present"].as_u64()), (&image["digest"], &json!(0), Some(moved)));
    // Another prefix means other layers.
    let other = json(&cli, &format!("cp --to image --prefix /srv {from} {to}"));
    assert!(other["digest"] != image["digest"] && other["moved"].as_u64() > Some(0) && other["present"] == 0, "{other}");
    let copied = json(&cli, &format!("cp docker://{to} oci:copied:v1"));
    assert_eq!(copied["digest"], other["digest"]);
    assert_same_tree(&cli.home().join("model"), &applied(&cli, "copied", &copied["digest"], "arm64").join("srv"));
}

#[test]
fn the_directory_of_the_files_can_be_chosen_and_is_checked() {
    let (cli, model) = cli_with_model();
    ok(&cli, "pack model -t tiny:v1");
    for (prefix, shown, below) in [("/", "/", ""), ("//srv/models/", "/srv/models", "srv/models")] {
        let name = format!("image{}", below.len());
        let image = json(&cli, &format!("cp --to image --prefix {prefix} tiny:v1 oci:{name}:v1"));
        assert_eq!(image["prefix"], shown);
        assert_same_tree(&model, &applied(&cli, &name, &image["digest"], "amd64").join(below));
    }
    for prefix in ["models", "../models", "/models/../etc", "/a/.wh.b"] {
        fails(&cli, &format!("cp --to image --prefix {prefix} tiny:v1 oci:refused:v1"), 2, &[prefix]);
    }
    fails(&cli, "cp --prefix /models tiny:v1 oci:refused:v1", 2, &["--to"]);
    fails(&cli, "cp --to modelpack --prefix /models tiny:v1 oci:refused:v1", 2, &["--prefix", "--to image"]);
    assert!(!cli.home().join("refused").exists());
}

#[test]
fn what_cannot_be_an_image_is_refused_with_the_reason() {
    let (cli, model) = cli_with_model();
    fs::write(model.join(".wh.README.md"), "a name that deletes README.md").unwrap();
    fs::write(cli.home().join("all"), "MODEL **/*\n").unwrap();
    ok(&cli, "pack model -f all -t tiny:v1");
    fails(&cli, "cp --to image tiny:v1 oci:refused:v1", 5, &[".wh.README.md", "deletion"]);
    fs::remove_file(model.join(".wh.README.md")).unwrap();
    ok(&cli, "pack model -t tiny:v1");
    ok(&cli, "cp --to image tiny:v1 oci:image:v1");
    fails(&cli, "cp --to image oci:image:v1 oci:refused:v1", 5, &["index"]);
    fails(&cli, "cp --to image store:absent:v1 oci:refused:v1", 3, &["absent"]);
}

const MIB: u64 = 1 << 20;
const LARGE: u64 = 20 * MIB;
const ARRIVED: u64 = 12 * MIB;

/// Adds a large file to the model, and returns its digest.
fn write_large_file(model: &Path) -> Digest {
    let content: Vec<u8> = (0..LARGE).map(|i| (i % 251) as u8 ^ (i >> 16) as u8).collect();
    fs::write(model.join("large.bin"), &content).unwrap();
    Digest::of(&content)
}

/// The bytes of the requests that send the large file.
fn bytes_of_large_file(proxy: &FaultProxy) -> u64 {
    proxy.requests().iter().map(|request| request.received).filter(|received| *received >= 2 * MIB).sum()
}

#[test]
fn an_image_whose_copy_was_killed_is_sent_from_where_the_registry_stands() {
    for layer in ["raw", "tar", "tar+zstd"] {
        let (cli, model) = cli_with_model();
        let digest = write_large_file(&model);
        let (first, second) = (Registry::start(), Registry::start());
        ok(&cli, &format!("push model {} --layer {layer}", first.reference("tiny:v1")));
        let source = first.behind(Vec::new());
        let proxy = second.behind(vec![Fault::on("PUT", "/uploads/", Failure::StallRequestAfter(ARRIVED))]);
        let line = format!("cp --to image docker://{}/tiny:v1 docker://{}/image:v1", source.address(), proxy.address());
        let running = cli.start(line.split_whitespace());
        wait_until("a part of the file has arrived", || bytes_of_large_file(&proxy) >= ARRIVED);
        running.signal(Signal::KILL);
        running.wait();

        proxy.set_faults(Vec::new());
        let image = json(&cli, &line);
        let bytes = bytes_of_large_file(&proxy);
        assert!((LARGE..=LARGE + 2 * MIB).contains(&bytes), "{layer}: {bytes} bytes, {:#?}", proxy.requests());
        // The bytes of a raw layer that the registry has are not fetched again to be sent.
        let begins_later = source.requests().iter().any(|request| {
            let begin = request.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse::<u64>().ok());
            request.path.contains(&digest.to_string()) && begin.is_some_and(|begin| begin > MIB)
        });
        assert_eq!(begins_later, layer == "raw", "{:#?}", source.requests());
        ok(&cli, &format!("cp docker://{} oci:copied:v1", second.reference("image:v1")));
        assert_same_tree(&model, &applied(&cli, "copied", &image["digest"], "amd64").join("models"));
    }
}

#[test]
fn wrong_bytes_of_the_source_never_become_an_image() {
    let (cli, model) = cli_with_model();
    let digest = write_large_file(&model);
    let (first, second) = (Registry::start(), Registry::start());
    ok(&cli, &format!("push model {}", first.reference("tiny:v1")));
    let flips = Fault::on("GET", format!("/blobs/{digest}"), Failure::FlipByte(LARGE / 2));
    let passes = Fault::on("GET", format!("/blobs/{digest}"), Failure::PauseAfter(0, Duration::ZERO)).times(1);
    let image = second.reference("image:v1");
    // The first time a layer is read for its digest, the second time to be sent.
    for faults in [vec![flips.clone()], vec![passes, flips.clone()]] {
        let source = first.behind(faults);
        fails(&cli, &format!("cp --to image docker://{}/tiny:v1 docker://{image}", source.address()), 5, &["digest"]);
        fails(&cli, &format!("inspect docker://{image}"), 3, &[]);
    }
    let source = first.behind(vec![flips]);
    fails(&cli, &format!("cp --to image docker://{}/tiny:v1 store:image:v1", source.address()), 5, &["digest", "large.bin"]);
    expect_nothing_visible(&cli);
}
