//! Layouts and archives of other tools: full references as names, signatures beside a model,
//! several concurrent writers.

use crate::harness::{Registry, cli, cli_with_model, fails, json, ok, run, wait_until};
use modelpack::spec::{Descriptor, Digest, media_type};
use modelpack_testkit::{Cli, Failure, Fault, Signal, assert_same_tree};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// A layout directory as other tools write it.
pub(crate) struct Layout(PathBuf);

impl Layout {
    /// A layout with the model under `name`, and the model's digest.
    pub(crate) fn with_model(cli: &Cli, name: &str) -> (Self, Digest) {
        let digest = ok(cli, "pack model -t oci:layout:first");
        let layout = Self(cli.home().join("layout"));
        layout.change(|entries| entries[0]["annotations"]["org.opencontainers.image.ref.name"] = json!(name));
        (layout, digest.parse().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Vec<Value>)) {
        let path = self.0.join("index.json");
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(index["manifests"].as_array_mut().unwrap());
        fs::write(path, index.to_string()).unwrap();
    }

    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let blob = Descriptor::of(media_type, bytes);
        fs::write(self.0.join("blobs/sha256").join(blob.digest.hex()), bytes).unwrap();
        blob
    }

    /// Adds an entry for a manifest. An empty name means no name.
    pub(crate) fn add(&self, name: &str, manifest: &Value) -> Descriptor {
        let media_type = manifest["mediaType"].as_str().unwrap();
        let blob = self.blob(media_type, manifest.to_string().as_bytes());
        let mut entry = json!(blob);
        if !name.is_empty() {
            entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        }
        self.change(|entries| entries.push(entry));
        blob
    }

    /// A manifest in the form of `oras attach` and `cosign sign`. Older versions of cosign set no
    /// subject.
    pub(crate) fn signature(&self, of: Option<&Digest>, content: &str) -> Value {
        let layer = self.blob("application/vnd.dev.cosign.simplesigning.v1+json", content.as_bytes());
        let config = self.blob("application/vnd.oci.empty.v1+json", b"{}");
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::IMAGE_MANIFEST, "artifactType": "application/vnd.example.signature",
            "config": config, "layers": [layer],
        });
        if let Some(digest) = of {
            let size = fs::metadata(self.0.join("blobs/sha256").join(digest.hex())).unwrap().len();
            manifest["subject"] = json!({ "mediaType": media_type::IMAGE_MANIFEST, "digest": digest, "size": size });
        }
        manifest
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_layout_with_full_references_as_names_is_read_and_copied_with_them() {
    let (cli, model) = cli_with_model();
    let (layout, digest) = Layout::with_model(&cli, "platform/devops:v1");
    for at in ["", ":platform/devops:v1", ":v1", &format!("@{digest}"), &format!(":platform/devops:v1@{digest}")] {
        assert_eq!(json(&cli, &format!("inspect oci:layout{at}"))["digest"], digest.to_string(), "{at}");
    }
    ok(&cli, "unpack oci:layout:platform/devops:v1 -o out");
    assert_same_tree(&model, &cli.home().join("out"));
    fails(&cli, "inspect oci:layout:devops:v1", 3, &["devops:v1"]);
    // Copies keep the name, also through other formats.
    ok(&cli, "cp oci:layout oci-archive:model.tar");
    ok(&cli, "cp oci-archive:model.tar:v1 oci:copy");
    assert_eq!(json(&cli, "ls oci:copy")[0]["name"], "platform/devops:v1");
    ok(&cli, "verify oci:copy:platform/devops:v1");
    // Two names with the same end are distinguished only by their full names.
    fs::write(model.join("more.txt"), "more").unwrap();
    let other = ok(&cli, "pack model -t oci:layout:registry.example.com:5000/team/model:v1");
    let candidates = ["platform/devops:v1", "registry.example.com:5000/team/model:v1", "hint: put one of these"];
    fails(&cli, "inspect oci:layout:v1", 2, &candidates);
    fails(&cli, "inspect oci:layout", 2, &candidates);
    assert_eq!(json(&cli, "inspect oci:layout:platform/devops:v1")["digest"], digest.to_string());
    assert_eq!(json(&cli, "inspect oci:layout:registry.example.com:5000/team/model:v1")["digest"], other);
    // A plain tag is a separate name, and does not replace other names.
    assert_eq!(ok(&cli, "pack model -t oci:layout:v1"), other);
    assert_eq!(json(&cli, "inspect oci:layout:v1")["digest"], other);
    let listed = json(&cli, "ls oci:layout");
    let listed: BTreeSet<_> = listed.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(listed, BTreeSet::from([candidates[0], candidates[1], "v1"]));
    assert!(layout.0.is_dir());
}

#[test]
fn a_path_may_contain_a_colon() {
    let (cli, _) = cli_with_model();
    fs::create_dir(cli.home().join("a:b")).unwrap();
    let digest = ok(&cli, "pack model -t oci:a:b/dir:v1");
    assert!(cli.home().join("a:b/dir/index.json").is_file());
    for at in ["", ":v1"] {
        assert_eq!(json(&cli, &format!("inspect oci:a:b/dir{at}"))["digest"], digest);
    }
    ok(&cli, "cp oci:a:b/dir oci-archive:a:b/m:1.tar:team/x:v2");
    assert_eq!(names(&cli.home().join("a:b")), ["dir", "m"], "if no file exists, the name begins at the first colon");
    ok(&cli, "cp oci:a:b/dir oci:new:team/x:v2");
    assert_eq!(json(&cli, "ls oci:new")[0]["name"], "team/x:v2");
}

#[test]
fn a_model_is_found_and_validated_beside_its_signatures_and_sboms() {
    let (cli, _) = cli_with_model();
    let (layout, digest) = Layout::with_model(&cli, "team/model:v1");
    let subject = Some(&digest);
    let sbom = layout.add("", &layout.signature(subject, "sbom"));
    let listed = layout.add("", &layout.signature(subject, "signature"));
    let fallback = digest.to_string().replace(':', "-");
    layout.add(&fallback, &json!({ "schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": [sbom, listed] }));
    for ending in ["sig", "att", "sbom"] {
        layout.add(&format!("{fallback}.{ending}"), &layout.signature(None, ending));
    }
    assert_eq!(json(&cli, "inspect oci:layout")["digest"], digest.to_string());
    let judged = json(&cli, "validate layout");
    assert_eq!(judged["valid"], true, "{judged}");
    let results = judged["targets"][0]["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|result| &result["digest"]).collect::<Vec<_>>(), [&json!(digest.to_string())]);
    assert_eq!(json(&cli, "validate oci:layout")["valid"], true);
    let entries = json(&cli, "ls oci:layout");
    assert_eq!(entries.as_array().unwrap().iter().filter(|entry| entry["referrer"] == true).count(), 6);

    // A copy reports what it leaves behind: two signatures with the model as subject, and three
    // tags of cosign.
    let notice = "5 referrers of oci:layout (signatures, SBOMs and the like) are not copied";
    let without = "cp --referrers=false oci:layout oci:copy";
    let copied = run(&cli, without).expect_code(0);
    assert_eq!(copied.stderr.matches(notice).count(), 1, "{}", copied.stderr);
    assert_eq!(run(&cli, &format!("{without} --quiet")).expect_code(0).stderr, "");
    assert_eq!(json(&cli, without)["referrersLeftBehind"], 5);
    assert_eq!(json(&cli, "cp oci:layout oci:layout:other")["referrersLeftBehind"], 0, "the referrers are still in this layout");
    assert_eq!(json(&cli, "cp oci:copy oci:more")["referrersLeftBehind"], 0);

    // A manifest with the artifact type of a model is validated, even if it refers to another one.
    let model: Value = serde_json::from_slice(&fs::read(layout.0.join("blobs/sha256").join(digest.hex())).unwrap()).unwrap();
    let mut wrong = layout.signature(subject, "model");
    wrong["artifactType"] = model["artifactType"].clone();
    layout.add("", &wrong);
    let judged = run(&cli, "validate layout --json").expect_code(5);
    let judged: Value = serde_json::from_str(&judged.stdout).unwrap();
    assert_eq!(judged["targets"][0]["results"].as_array().unwrap().len(), 2, "{judged}");
}

#[test]
fn a_pull_reports_the_referrers_that_it_leaves_behind() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    let digest: Digest = ok(&cli, &format!("push model {reference}")).parse().unwrap();
    assert_eq!(json(&cli, &format!("pull {reference}"))["referrersLeftBehind"], 0);
    // A copied signature finds its subject at the target.
    ok(&cli, &format!("cp {reference} oci:layout"));
    let layout = Layout(cli.home().join("layout"));
    layout.add("signature", &layout.signature(Some(&digest), "signature"));
    ok(&cli, &format!("cp oci:layout:signature {}", registry.reference("tiny:signed")));
    let notice = format!("1 referrer of docker://{reference} (signatures, SBOMs and the like) is not copied");
    let pulled = run(&cli, &format!("pull {reference}")).expect_code(0);
    assert_eq!(pulled.stderr.matches(&notice).count(), 1, "{}", pulled.stderr);
    assert_eq!(json(&cli, &format!("cp docker://{reference} {}", registry.reference("tiny:v2")))["referrersLeftBehind"], 0);
    assert_eq!(json(&cli, &format!("cp docker://{reference} {}", registry.reference("other:v1")))["referrersLeftBehind"], 1);
    // A registry that cannot list referrers is not an error.
    let broken = Failure::Status { code: 500, headers: Vec::new(), body: String::new() };
    let proxy = registry.behind(vec![Fault::on("GET", "/referrers/", broken)]);
    assert_eq!(json(&cli, &format!("pull {}/tiny:v1", proxy.address()))["referrersLeftBehind"], Value::Null);
    // The store has the referrer from a copy of the signature.
    ok(&cli, &format!("pull {}", registry.reference("tiny:signed")));
    assert_eq!(json(&cli, &format!("cp --referrers=false store:{reference} oci:from-store"))["referrersLeftBehind"], 1);
}

#[test]
fn cosign_s_tags_in_a_registry_are_counted_among_what_a_copy_leaves_behind() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    let digest: Digest = ok(&cli, &format!("push model {reference}")).parse().unwrap();
    ok(&cli, &format!("cp {reference} oci:layout"));
    let layout = Layout(cli.home().join("layout"));
    for (name, subject) in [("sig", None), ("att", None), ("signed", Some(&digest))] {
        layout.add(name, &layout.signature(subject, name));
        ok(&cli, &format!("cp oci:layout:{name} {}", registry.reference(&format!("tiny:sha256-{}.{name}", digest.hex()))));
    }
    let notice = format!("3 referrers of docker://{reference} (signatures, SBOMs and the like) are not copied");
    let pulled = run(&cli, &format!("pull {reference}")).expect_code(0);
    assert_eq!(pulled.stderr.matches(&notice).count(), 1, "{}", pulled.stderr);
    // A referrer that the registry lists and that is also tagged counts once.
    ok(&cli, &format!("cp oci:layout:signed {}", registry.reference(&format!("tiny:sha256-{}.sbom", digest.hex()))));
    assert_eq!(json(&cli, &format!("pull {reference}"))["referrersLeftBehind"], 3);
    // A registry that does not list them is not an error.
    let denied = Failure::Status { code: 403, headers: Vec::new(), body: String::new() };
    let proxy = registry.behind(vec![Fault::on("", ".sig", denied.clone()), Fault::on("", ".att", denied)]);
    assert_eq!(json(&cli, &format!("pull {}/tiny:v1", proxy.address()))["referrersLeftBehind"], 1);
}

#[test]
fn ls_shows_the_valid_names_if_a_registry_lists_a_malformed_one() {
    let (cli, registry) = (cli(), Registry::start());
    let body = r#"{"tags":["v1","a\u001b[31m\u202e","v2"],"repositories":["tiny","a\u001b[31m\u202e"]}"#.to_owned();
    let proxy = registry.behind(vec![Fault::on("GET", "/v2/", Failure::Status { code: 200, headers: Vec::new(), body })]);
    let tiny = format!("{}/tiny", proxy.address());
    for (line, listed) in [(format!("ls {tiny}"), "v1\nv2\n"), (format!("ls {}/", proxy.address()), &*format!("{tiny}\n"))] {
        let output = run(&cli, &line).expect_code(0);
        assert_eq!(output.stdout, listed);
        assert!(
            output.stderr.starts_with("warning: the list of ") && output.stderr.ends_with(": `a [31m\\u{202e}`\n"),
            "{}",
            output.stderr
        );
        let printed = run(&cli, &format!("{line} --json")).expect_code(0).stderr;
        assert!(printed.starts_with(r#"{"warning":{"message":"the list of "#) && printed.contains(r"a [31m\u202e"), "{printed}");
    }
}

#[test]
fn ls_lists_tags_and_repositories_of_a_registry_and_repositories_of_the_store_by_name() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    for name in ["team/tiny:v1", "team/tiny:v2", "other:v1"] {
        ok(&cli, &format!("pack model -t {}", registry.reference(name)));
        ok(&cli, &format!("push {}", registry.reference(name)));
    }
    let tiny = registry.reference("team/tiny");
    assert_eq!(ok(&cli, &format!("ls {tiny}")), "v1\nv2");
    assert_eq!(ok(&cli, &format!("ls docker://{tiny}")), "v1\nv2");
    assert_eq!(json(&cli, &format!("ls {tiny}")), json!([{ "repository": tiny, "tag": "v1" }, { "repository": tiny, "tag": "v2" }]));
    let host = registry.reference("");
    assert_eq!(ok(&cli, &format!("ls {host}")), format!("{}\n{tiny}", registry.reference("other")));
    assert_eq!(json(&cli, &format!("ls docker://{host}")).as_array().unwrap().len(), 2);
    fails(&cli, &format!("ls {}", registry.reference("nope")), 3, &["nope"]);
    let absent = Failure::Status { code: 404, headers: Vec::new(), body: "404 page not found".to_owned() };
    let proxy = registry.behind(vec![Fault::on("GET", "/v2/_catalog", absent)]);
    fails(&cli, &format!("ls {}/", proxy.address()), 3, &["a list of repositories (_catalog)", "hint: not every registry has one"]);
    run(&cli, &format!("ls {tiny}:v1")).expect_code(2);
    // In the store, a name selects that repository and those below it.
    assert_eq!(json(&cli, "ls").as_array().unwrap().len(), 3);
    for (name, count) in [(format!("store:{tiny}"), 2), (format!("store:{}", registry.reference("team")), 2), ("tiny".to_owned(), 0)] {
        assert_eq!(json(&cli, &format!("ls {name}")).as_array().unwrap().len(), count, "{name}");
    }
    ok(&cli, "pack model -t team/tiny:v1");
    assert_eq!(json(&cli, "ls team").as_array().unwrap().len(), 1);
    assert_eq!(json(&cli, "ls tea"), json!([]), "part of a name selects nothing");
}

#[test]
fn concurrent_copies_into_one_archive_are_all_kept() {
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t tiny");
    let copies = 24;
    let running: Vec<_> = (0..copies).map(|n| cli.start(["cp", "store:tiny", &format!("oci-archive:many.tar:t{n}")])).collect();
    for running in running {
        running.wait().expect_code(0);
    }
    let listed = json(&cli, "ls oci-archive:many.tar");
    let listed: BTreeSet<_> = listed.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, (0..copies).map(|n| format!("t{n}")).collect());
    ok(&cli, "verify oci-archive:many.tar");
    assert_eq!(names(cli.home()), [".local", "many.tar", "model"], "no other files remain");
}

/// Starts a copy into `model.tar` that reads a file of 4 GiB, and returns it when it is in
/// progress.
fn long_copy(cli: &Cli) -> modelpack_testkit::Running {
    let (layout, _) = Layout::with_model(cli, "v1");
    let huge = Descriptor::new("application/x", Digest::of(b"another"), 4 << 30);
    File::create(layout.0.join("blobs/sha256").join(huge.digest.hex())).unwrap().set_len(huge.size).unwrap();
    let mut manifest = layout.signature(None, "huge");
    manifest["layers"][0] = json!(huge);
    layout.add("huge", &manifest);
    let running = cli.start(["cp", "oci:layout:huge", "oci-archive:model.tar:huge"]);
    let partial = cli.home().join(".model.tar.modelpack-partial");
    wait_until("it writes", || fs::metadata(&partial).is_ok_and(|metadata| metadata.len() > 0));
    running
}

#[test]
fn a_command_that_waits_for_an_archive_reports_it_can_be_interrupted_and_continues() {
    let (cli, _) = cli_with_model();
    let first = long_copy(&cli);
    let waits = "model.tar is being written by another process; waiting for it";
    let mut second = cli.start(["cp", "oci:layout:v1", "oci-archive:model.tar"]);
    let mut third = cli.start(["cp", "oci:layout:v1", "oci-archive:model.tar"]);
    second.wait_for_line(waits);
    third.wait_for_line(waits);
    second.signal(Signal::INT);
    second.wait().expect_code(130);
    // A killed writer blocks no other, and the next writer removes its files.
    first.signal(Signal::KILL);
    first.wait().expect_code(128 + 9);
    third.wait().expect_code(0);
    assert_eq!(names(cli.home()), [".local", "layout", "model", "model.tar"]);
    ok(&cli, "verify oci-archive:model.tar:v1");
}

#[test]
fn a_signal_leaves_no_incomplete_archive() {
    for (signal, code) in [(Signal::HUP, 129), (Signal::INT, 130), (Signal::TERM, 143)] {
        let (cli, _) = cli_with_model();
        let running = long_copy(&cli);
        running.signal(signal);
        running.wait().expect_code(code);
        assert_eq!(names(cli.home()), [".local", "layout", "model"], "{signal:?}");
    }
}

/// An index is parsed once for all entries. Parsing it once per entry would take minutes.
#[test]
fn many_entries_are_listed_together() {
    const COUNT: usize = 5000;
    let (cli, _) = cli_with_model();
    let (layout, _) = Layout::with_model(&cli, "v0");
    let many = |entries: &mut Vec<Value>| {
        for number in 1..COUNT {
            let mut entry = entries[0].clone();
            entry["annotations"]["org.opencontainers.image.ref.name"] = json!(format!("v{number}"));
            entries.push(entry);
        }
    };
    layout.change(many);
    ok(&cli, "pack model -t tiny:v0");
    Layout(PathBuf::from(json(&cli, "ls")[0]["layout"].as_str().unwrap())).change(many);
    let tar = Command::new("tar").args(["-C", "layout", "-cf", "model.tar", "."]).current_dir(cli.home()).status().unwrap();
    assert!(tar.success());
    for line in ["ls oci:layout", "ls oci-archive:model.tar", "ls"] {
        assert_eq!(json(&cli, line).as_array().unwrap().len(), COUNT, "{line}");
    }
    assert_eq!(json(&cli, "verify --repair")["repositories"], json!([]));
}
