//! `cp` takes along what refers to an artifact: signatures, attestations, SBOMs.

use crate::{
    harness::{Registry, cli_with_model, count_files, fails, json, ok, run},
    places::Layout,
};
use modelpack::spec::{Descriptor, Digest, media_type};
use modelpack_testkit::{Cli, Failure, Fault};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The tag of cosign for a manifest.
fn of_cosign(digest: &Digest, ending: &str) -> String {
    format!("sha256-{}.{ending}", digest.hex())
}

/// The digests of the referrers that a copy took along.
#[track_caller]
fn copied(cli: &Cli, line: &str) -> BTreeSet<String> {
    let copied = json(cli, line);
    assert_eq!(copied["referrersLeftBehind"], 0, "{line}: {copied}");
    copied["referrers"].as_array().unwrap().iter().map(|referrer| referrer["digest"].as_str().unwrap().to_owned()).collect()
}

fn digests<'a>(of: impl IntoIterator<Item = &'a Descriptor>) -> BTreeSet<String> {
    of.into_iter().map(|descriptor| descriptor.digest.to_string()).collect()
}

/// A model in `oci:layout:v1`, and what refers to it in every way.
fn signed_model(cli: &Cli) -> (Layout, Digest, Vec<Descriptor>) {
    let (layout, model) = Layout::with_model(cli, "v1");
    let sbom = layout.add("", &layout.signature(Some(&model), "sbom"));
    let of_sbom = layout.add("", &layout.signature(Some(&sbom.digest), "signature of the sbom"));
    let tagged = layout.add(&of_cosign(&model, "sig"), &layout.signature(None, "signature under a tag"));
    let of_tagged = layout.add(&of_cosign(&tagged.digest, "att"), &layout.signature(None, "attestation of the signature"));
    let other = layout.add("other", &layout.signature(None, "another artifact"));
    layout.add("", &layout.signature(Some(&other.digest), "the signature of another artifact"));
    (layout, model, vec![sbom, of_sbom, tagged, of_tagged])
}

#[test]
fn referrers_go_through_every_kind_of_place() {
    let (cli, _) = cli_with_model();
    let (_, model, referrers) = signed_model(&cli);
    let (one, two) = (Registry::start(), Registry::start());
    let name = "registry.example.com/team/model:v1";
    for line in [
        format!("cp --referrers oci:layout:v1 {}", one.reference("team/model:v1")),
        format!("cp --referrers {} {}", one.reference("team/model:v1"), two.reference("model:v1")),
        format!("cp docker://{} oci-archive:model.tar:{name}", two.reference("model:v1")),
        "cp --referrers=true oci-archive:model.tar store:model:v1".to_owned(),
        format!("cp store:model:v1 oci:copy:{name}"),
        "cp oci:copy oci-archive:more.tar".to_owned(),
        format!("cp --referrers oci-archive:more.tar {}", two.reference("again:v1")),
    ] {
        assert_eq!(copied(&cli, &line), digests(&referrers), "{line}");
    }
    for place in [format!("docker://{}", two.reference("again:v1")), "oci:copy".to_owned(), "oci-archive:model.tar".to_owned()] {
        assert_eq!(ok(&cli, &format!("verify {place}")), model.to_string(), "the model is found beside its referrers in {place}");
    }
    // Tags are tags in a layout too, whatever name the model has.
    let listed = json(&cli, "ls oci:copy");
    let names: BTreeSet<_> = listed.as_array().unwrap().iter().filter_map(|entry| entry["name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from([name, &of_cosign(&model, "sig"), &of_cosign(&referrers[2].digest, "att")]));
    assert_eq!(two.request("GET", &format!("again/manifests/{}", of_cosign(&model, "sig"))), 200);
}

#[test]
fn referrers_are_the_default_for_layouts_and_archives_only() {
    let (cli, _) = cli_with_model();
    let (_, model, referrers) = signed_model(&cli);
    let registry = Registry::start();
    let (from, to) = (registry.reference("a:v1"), registry.reference("b:v1"));
    ok(&cli, &format!("cp --referrers oci:layout:v1 {from}"));
    let with = run(&cli, &format!("cp docker://{from} oci:with")).expect_code(0);
    assert!(
        with.stderr.contains(&format!("4 referrers of docker://{from} (signatures, SBOMs and the like) are copied")),
        "{}",
        with.stderr
    );
    for line in [format!("cp docker://{from} {to}"), format!("cp --referrers=false docker://{from} oci:without"), format!("pull {from}")] {
        let left = json(&cli, &line);
        assert_eq!((&left["referrers"], &left["referrersLeftBehind"]), (&json!([]), &json!(2)), "{line}: those of the model itself");
    }
    let left = run(&cli, &format!("cp docker://{from} {to}")).expect_code(0);
    let notice =
        format!("2 referrers of docker://{from} (signatures, SBOMs and the like) are not copied; `modelpack cp --referrers` copies them");
    assert!(left.stderr.contains(&notice), "{}", left.stderr);
    assert_eq!(registry.request("GET", &format!("b/manifests/{}", referrers[0].digest)), 404);
    // In the same repository, they are there.
    assert_eq!(copied(&cli, &format!("cp --referrers docker://{from} {}", registry.reference("a:v2"))), BTreeSet::new());
    // A converted model is another one, for which nothing was signed.
    fails(&cli, &format!("cp --to modelpack --referrers docker://{from} {to}"), 2, &["--referrers"]);
    assert_eq!(ok(&cli, &format!("verify {to}")), model.to_string());
}

#[test]
fn a_copy_within_a_registry_mounts_the_blobs_of_referrers_and_keeps_no_file() {
    let (cli, _) = cli_with_model();
    let (_, _, referrers) = signed_model(&cli);
    let registry = Registry::start();
    let from = registry.reference("a:v1");
    ok(&cli, &format!("cp --referrers oci:layout:v1 {from}"));
    let before = count_files(cli.home());
    let proxy = registry.behind(Vec::new());
    let (from, to) = (format!("{}/a:v1", proxy.address()), format!("{}/b:v1", proxy.address()));
    let mounted = json(&cli, &format!("cp --referrers docker://{from} docker://{to}"));
    assert_eq!((&mounted["moved"], mounted["referrers"].as_array().unwrap().len()), (&json!(0), referrers.len()), "{mounted}");
    let requests = proxy.requests();
    assert!(!requests.iter().any(|seen| seen.method == "PUT" && seen.path.contains("/uploads/")), "every blob is mounted");
    assert!(!requests.iter().any(|seen| seen.method == "GET" && seen.path.contains("/blobs/")), "no blob is read");
    assert_eq!(count_files(cli.home()), before);
    // The tag comes last: who sees it finds the signatures.
    let written: Vec<_> = requests.iter().filter(|seen| seen.method == "PUT").map(|seen| seen.path.as_str()).collect();
    assert_eq!(written.last(), Some(&"/v2/b/manifests/v1"), "{written:?}");
}

#[test]
fn what_refers_to_the_manifests_of_an_index_is_copied_with_the_index() {
    let (cli, _) = cli_with_model();
    let (layout, model, mut referrers) = signed_model(&cli);
    let other = layout.add("", &layout.signature(None, "another model"));
    let size = std::fs::metadata(layout.path().join("blobs/sha256").join(model.hex())).unwrap().len();
    let model = Descriptor::new(media_type::IMAGE_MANIFEST, model, size);
    let inner = layout.add("", &json!({ "schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": [model] }));
    let index = layout.add("index", &json!({ "schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": [inner, other] }));
    for subject in [&index, &inner, &other] {
        referrers.push(layout.add("", &layout.signature(Some(&subject.digest), &subject.digest.to_string())));
    }
    // A referrer may be an index.
    let part = layout.add("", &layout.signature(None, "part"));
    referrers
        .push(layout.add("", &json!({ "schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": [part], "subject": other })));
    referrers.push(layout.add("", &layout.signature(Some(&part.digest), "signature of a part")));
    let (one, two) = (Registry::start(), Registry::start());
    for line in [
        format!("cp --referrers oci:layout:index {}", one.reference("all:v1")),
        format!("cp docker://{} oci-archive:all.tar", one.reference("all:v1")),
        "cp --referrers oci-archive:all.tar store:all:v1".to_owned(),
        "cp store:all:v1 oci:copy:v1".to_owned(),
        format!("cp --referrers oci:copy {}", two.reference("all:v1")),
        format!("cp --referrers {} {}", two.reference("all:v1"), one.reference("again:v1")),
    ] {
        let result = json(&cli, &line);
        assert_eq!(result["digest"], index.digest.to_string(), "{line}");
        assert_eq!(copied(&cli, &line), digests(&referrers), "{line}");
    }
    for manifest in [&model, &inner, &other, &part] {
        assert_eq!(one.request("GET", &format!("again/manifests/{}", manifest.digest)), 200);
    }
}

#[test]
fn signatures_that_cosign_saved_get_their_tags() {
    let (cli, _) = cli_with_model();
    let (layout, model) = Layout::with_model(&cli, "team/model:v1");
    let [signature, attestation] = ["sigs", "atts"]
        .map(|kind| (layout.add("team/model:v1", &layout.signature(None, kind)), format!("dev.cosignproject.cosign/{kind}")));
    layout.change(|entries| {
        entries[0]["annotations"]["kind"] = json!("dev.cosignproject.cosign/image");
        entries[1]["annotations"]["kind"] = json!(signature.1);
        entries[2]["annotations"]["kind"] = json!(attestation.1);
    });
    let registry = Registry::start();
    let line = format!("cp --referrers oci:layout {}", registry.reference("a:v1"));
    assert_eq!(copied(&cli, &line), digests([&signature.0, &attestation.0]));
    for (ending, expected) in [("sig", signature.0), ("att", attestation.0)] {
        let tagged = json(&cli, &format!("cp docker://{} oci:out", registry.reference(&format!("a:{}", of_cosign(&model, ending)))));
        assert_eq!(tagged["digest"], expected.digest.to_string(), "{ending}");
    }
}

#[test]
fn referrers_are_found_by_the_tag_that_stands_in_for_the_api() {
    let (cli, _) = cli_with_model();
    let (layout, model, referrers) = signed_model(&cli);
    let fallback = format!("sha256-{}", model.hex());
    layout.add(&fallback, &json!({ "schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": [referrers[0]] }));
    let registry = Registry::start();
    ok(&cli, &format!("cp --referrers oci:layout:v1 {}", registry.reference("a:v1")));
    ok(&cli, &format!("cp oci:layout:{fallback} {}", registry.reference(&format!("a:{fallback}"))));
    let of_model = BTreeSet::from([&referrers[0], &referrers[2], &referrers[3]].map(|referrer| referrer.digest.to_string()));
    let page =
        Failure::Status { code: 200, headers: vec![("content-type", "text/html".to_owned())], body: "<html>Hello</html>".to_owned() };
    let status = |code| Failure::Status { code, headers: Vec::new(), body: String::new() };
    for (number, without) in [status(404), status(405), status(406), page].into_iter().enumerate() {
        let proxy = registry.behind(vec![Fault::on("GET", "/referrers/", without)]);
        let line = format!("cp docker://{}/a:v1 oci:out{number}", proxy.address());
        assert_eq!(copied(&cli, &line), of_model, "what only the API lists is not found: {number}");
    }
}

#[test]
fn a_referrer_that_cannot_be_copied_is_named_and_the_tag_is_not_set() {
    let (cli, _) = cli_with_model();
    let (_, _, referrers) = signed_model(&cli);
    let (one, two) = (Registry::start(), Registry::start());
    ok(&cli, &format!("cp --referrers oci:layout:v1 {}", one.reference("a:v1")));
    let named = referrers[0].digest.to_string();
    let refused = |code| Failure::Status { code, headers: Vec::new(), body: String::new() };
    let hint = "hint: `modelpack cp --referrers=false`";
    for (path, status, code, words) in [
        (format!("/manifests/{named}"), 404, 3, ["the referrer ", &named, hint]),
        (format!("/manifests/{named}"), 422, 7, ["the referrer ", &named, hint]),
        ("/referrers/".to_owned(), 403, 4, ["the referrers of ", "cannot be listed", "hint: log in"]),
        (".sig".to_owned(), 422, 7, ["the referrers of ", "cannot be listed", hint]),
    ] {
        let proxy = one.behind(vec![Fault::on("GET", path.clone(), refused(status))]);
        fails(&cli, &format!("cp --referrers docker://{}/a:v1 docker://{}", proxy.address(), two.reference("a:v1")), code, &words);
        assert_eq!(two.request("GET", "a/manifests/v1"), 404, "{path}");
        fails(&cli, &format!("cp docker://{}/a:v1 oci-archive:a.tar", proxy.address()), code, &words);
        assert!(!cli.home().join("a.tar").exists());
        ok(&cli, &format!("cp --referrers=false docker://{}/a:v1 oci-archive:a.tar", proxy.address()));
        std::fs::remove_file(cli.home().join("a.tar")).unwrap();
    }
    // The next attempt goes on.
    assert_eq!(copied(&cli, &format!("cp --referrers {} {}", one.reference("a:v1"), two.reference("a:v1"))), digests(&referrers));
}

#[test]
fn a_list_that_lies_brings_only_what_refers_to_the_artifact() {
    let (cli, _) = cli_with_model();
    let (layout, model, referrers) = signed_model(&cli);
    let registry = Registry::start();
    ok(&cli, &format!("cp --referrers oci:layout:v1 {}", registry.reference("a:v1")));
    let unrelated = layout.add("unrelated", &layout.signature(None, "unrelated"));
    ok(&cli, &format!("cp oci:layout:unrelated {}", registry.reference("a:unrelated")));
    // A signature of the signature is the model itself, and so on in a circle.
    for tagged in [&model, &referrers[0].digest, &referrers[2].digest] {
        let loop_tag = registry.reference(&format!("a:{}", of_cosign(tagged, "sbom")));
        ok(&cli, &format!("cp docker://{} docker://{loop_tag}", registry.reference("a:v1")));
    }
    let entry = |digest: &Digest| json!({ "mediaType": "x/y", "digest": digest, "size": 1u64 << 50, "artifactType": "z".repeat(1000) });
    let listing = |manifests: Vec<Value>| {
        let body = json!({ "schemaVersion": 2, "manifests": manifests }).to_string();
        vec![Fault::on("GET", "/referrers/", Failure::Status { code: 200, headers: Vec::new(), body })]
    };
    let lies = listing([&model, &unrelated.digest, &referrers[0].digest, &referrers[0].digest].map(entry).to_vec());
    let proxy = registry.behind(lies);
    let of_model = BTreeSet::from([&referrers[0], &referrers[2], &referrers[3]].map(|referrer| referrer.digest.to_string()));
    let result = json(&cli, &format!("cp docker://{}/a:v1 oci:out", proxy.address()));
    assert_eq!(copied(&cli, &format!("cp docker://{}/a:v1 oci:out", proxy.address())), of_model);
    let sbom = result["referrers"].as_array().unwrap().iter().find(|listed| listed["digest"] == json!(referrers[0].digest)).unwrap();
    assert_eq!(sbom["artifactType"], "application/vnd.example.signature", "what the manifest says counts");
    assert_eq!(sbom["size"], referrers[0].size);
    // More than anybody has; and one that cannot be fetched.
    let many = (0..20_000u32).map(|n| entry(&Digest::of(&n.to_le_bytes()))).map(|mut entry| {
        entry["artifactType"] = json!("z");
        entry
    });
    proxy.set_faults(listing(many.collect()));
    fails(
        &cli,
        &format!("cp docker://{}/a:v1 oci:many", proxy.address()),
        5,
        &["more than 10000", "hint: `modelpack cp --referrers=false`"],
    );
    assert!(!cli.home().join("many").exists());
    proxy.set_faults(listing(vec![json!({ "size": 1 })]));
    fails(&cli, &format!("cp docker://{}/a:v1 oci:many", proxy.address()), 5, &["has no digest"]);
}

/// Nobody knows what a damaged manifest refers to.
#[test]
fn a_damaged_manifest_beside_the_artifact_is_named() {
    let (cli, _) = cli_with_model();
    let (layout, _, referrers) = signed_model(&cli);
    let damaged = &referrers[0];
    let path = layout.path().join("blobs/sha256").join(damaged.digest.hex());
    std::fs::write(path, "{}".repeat(damaged.size as usize / 2)).unwrap();
    let words = ["the referrers of", &damaged.digest.to_string(), "hint: `modelpack cp --referrers=false`"];
    fails(&cli, "cp oci:layout:v1 oci-archive:model.tar", 5, &words);
    ok(&cli, "cp --referrers=false oci:layout:v1 oci-archive:model.tar");
    // An entry that is no manifest refers to nothing, and neither does one whose manifest is not there.
    let (cli, _) = cli_with_model();
    let (layout, model, _) = signed_model(&cli);
    let text = layout.blob("text/plain", b"no manifest");
    let absent = Descriptor::of(media_type::IMAGE_MANIFEST, b"absent");
    let without: Vec<_> = [&text, &absent].map(|entry| json!(entry)).to_vec();
    layout.change(|entries| entries.extend(without));
    assert_eq!(json(&cli, "cp oci:layout:v1 oci:copy")["digest"], model.to_string());
}
