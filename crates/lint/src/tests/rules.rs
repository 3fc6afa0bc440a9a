//! A test case for each rule: an artifact that breaks only this rule.

use super::{Sample, flat, of_docker};
use crate::{CONSUMERS, Verdict};
use modelpack_spec::{Digest, annotation};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const OLDER_FILEPATH: &str = "org.cnai.model.filepath";
const WEIGHT: &str = "0-model.gguf";

/// A rule, and a change to a valid artifact that breaks this rule and no other.
struct Case {
    consumer: &'static str,
    rule: &'static str,
    verdict: Verdict,
    breaks: fn(&mut Sample),
}

const fn case(consumer: &'static str, rule: &'static str, verdict: Verdict, breaks: fn(&mut Sample)) -> Case {
    Case { consumer, rule, verdict, breaks }
}

/// An artifact that satisfies every rule of the consumer.
fn satisfying(consumer: &str) -> Sample {
    match consumer {
        "kitops-1.10" => flat().in_tar(),
        "modctl-0.0" | "harbor-2.13" => flat().in_older_names(),
        "containerd" | "kserve" | "ramalama-docker" => flat().in_image(),
        _ => flat(),
    }
}

fn without(key: &'static str) -> impl Fn(&mut Sample) {
    move |sample| sample.annotate("README.md", key, None)
}

fn retype(sample: &mut Sample, path: &str, from: &str, to: &str) {
    let layer = sample.layer(path);
    layer.media_type = layer.media_type.replace(from, to);
}

fn rename(sample: &mut Sample, from: &str, to: &str) {
    sample.annotate(from, annotation::TITLE, Some(to));
    sample.annotate(from, annotation::FILEPATH, Some(to));
}

fn oras_directory(sample: &mut Sample, encoding: &str) {
    retype(sample, "README.md", "raw", encoding);
    sample.annotate("README.md", annotation::ORAS_UNPACK, Some("true"));
}

/// Removes all names of the README except `metadata` and its title.
fn only_metadata(sample: &mut Sample, metadata: &str) {
    sample.annotate("README.md", annotation::FILE_METADATA, Some(metadata));
    sample.annotate("README.md", annotation::FILEPATH, None);
}

/// Turns the artifact into a safetensors model with its config.
fn in_safetensors(sample: &mut Sample) {
    rename(sample, WEIGHT, "model.safetensors");
    sample.config["config"]["format"] = json!("safetensors");
    sample.add("weight.config", "config.json");
}

use Verdict::{Cannot, InPart, Works};

#[rustfmt::skip]
const CASES: &[Case] = &[
    case("oras", "title-missing", InPart, |s| without(annotation::TITLE)(s)),
    case("oras", "title-clash", Cannot, |s| s.annotate("README.md", annotation::TITLE, Some("LICENSE"))),
    case("oras", "title-clash", Cannot, |s| s.annotate("README.md", annotation::TITLE, Some("LICENSE/more"))),
    case("oras", "title-outside", Cannot, |s| s.annotate("README.md", annotation::TITLE, Some("a/../../b"))),
    case("oras", "title-outside", Cannot, |s| s.annotate("README.md", annotation::TITLE, Some("/etc/motd"))),
    case("oras", "archive-not-unpacked", InPart, |s| retype(s, "README.md", "raw", "tar+gzip")),
    case("oras", "unpack-not-gzip", Cannot, |s| oras_directory(s, "tar+zstd")),

    case("docker-model-runner", "config-type", Cannot, |s| s.manifest.config.media_type = "application/x+json".into()),
    case("docker-model-runner", "config-time", Cannot, |s| s.config["descriptor"]["createdAt"] = json!("yesterday")),
    case("docker-model-runner", "artifact-type", InPart, |s| { s.add("weight.config", "config.json"); s.manifest.artifact_type = None }),
    case("docker-model-runner", "config-taken-for-archive", Cannot, |s| s.manifest.artifact_type = None),
    case("docker-model-runner", "filepath-missing", InPart, |s| without(annotation::FILEPATH)(s)),
    case("docker-model-runner", "filepath-missing", InPart, |s| { *s = of_docker("0.2"); s.manifest.layers[1].annotations.clear() }),
    case("docker-model-runner", "filepath-absolute", Cannot, |s| s.annotate("README.md", annotation::FILEPATH, Some("/README.md"))),
    case("docker-model-runner", "filepath-outside", InPart, |s| s.annotate("README.md", annotation::FILEPATH, Some("../README.md"))),
    case("docker-model-runner", "filepath-twice", InPart, |s| s.annotate("README.md", annotation::FILEPATH, Some("LICENSE"))),
    case("docker-model-runner", "file-and-directory", Cannot, |s| s.annotate("README.md", annotation::FILEPATH, Some("LICENSE/a"))),
    case("docker-model-runner", "archive-layer", InPart, |s| retype(s, "README.md", "raw", "tar")),
    case("docker-model-runner", "no-weights", Cannot, |s| retype(s, WEIGHT, "weight", "code")),
    case("docker-model-runner", "no-weights", Cannot, |s| { *s = of_docker("0.1"); s.manifest.layers.remove(0); s.config["rootfs"] = Value::Null }),
    case("docker-model-runner", "no-weights", Cannot, |s| { *s = of_docker("0.2"); s.manifest.layers.remove(0); s.config["rootfs"] = Value::Null }),
    case("docker-model-runner", "weight-archive", Cannot, |s| { s.add("weight", "b.safetensors"); retype(s, "b.safetensors", "raw", "tar") }),
    case("docker-model-runner", "diff-id", Cannot, |s| s.config["modelfs"]["diffIds"][1] = json!(Digest::of(b"other").to_string())),
    case("docker-model-runner", "diff-id", Cannot, |s| { *s = of_docker("0.1"); s.config["rootfs"]["diff_ids"][0] = json!(Digest::of(b"other").to_string()) }),
    case("docker-model-runner", "first-weight", Cannot, |s| { rename(s, WEIGHT, "imatrix.dat"); s.add("weight", "model.gguf") }),
    case("docker-model-runner", "first-shard", Cannot, |s| rename(s, WEIGHT, "m-00002-of-00003.gguf")),
    case("docker-model-runner", "gguf-not-first-by-name", InPart, |s| s.add("weight", "0-before.gguf")),
    case("docker-model-runner", "gguf-not-first-by-name", InPart, |s| { rename(s, WEIGHT, "sub/model.gguf"); s.add("weight", "z.gguf") }),
    case("docker-model-runner", "gguf-not-first-by-name", InPart, |s| { rename(s, WEIGHT, "a/z.gguf"); s.add("weight", "a/b/c.gguf") }),
    case("docker-model-runner", "safetensors-directory", InPart, |s| {
        s.config["config"]["format"] = json!("safetensors");
        rename(s, WEIGHT, "2_Dense/model.safetensors");
        s.add("weight", "model.safetensors");
    }),
    case("docker-model-runner", "several-templates", InPart, |s| s.add("weight.config", "other.jinja")),
    case("docker-model-runner", "several-projectors", InPart, |s| { s.add("weight", "mmproj-a.gguf"); s.add("weight", "MMPROJ-b.gguf") }),
    case("docker-model-runner", "format-unknown", Cannot, |s| s.config["config"]["format"] = json!("onnx")),
    case("docker-model-runner", "format-unknown", Cannot, |s| { s.config["config"]["format"] = Value::Null; rename(s, WEIGHT, "a.bin") }),

    case("kitops", "config-type", Cannot, |s| s.manifest.config.media_type = "application/x+json".into()),
    case("kitops", "filepath-missing", Cannot, |s| without(annotation::FILEPATH)(s)),
    case("kitops", "filepath-outside", Cannot, |s| s.annotate("README.md", annotation::FILEPATH, Some("../x"))),
    case("kitops", "metadata-size", Cannot, |s| s.annotate("README.md", annotation::FILE_METADATA, Some(r#"{"size":1}"#))),
    case("kitops-1.10", "config-type", Cannot, |s| s.manifest.config.media_type = "application/x+json".into()),
    case("kitops-1.10", "filepath-missing", Cannot, |s| without(annotation::FILEPATH)(s)),
    case("kitops-1.10", "filepath-outside", Cannot, |s| s.annotate("README.md", annotation::FILEPATH, Some("/x"))),
    case("kitops-1.10", "raw-layer", Cannot, |s| retype(s, "README.md", "tar", "raw")),

    case("cri-o", "name-missing", InPart, |s| { let l = s.layer("README.md"); l.annotations.clear() }),
    case("cri-o", "archive-layer", InPart, |s| retype(s, "README.md", "raw", "tar")),
    case("cri-o-1.33", "name-missing", InPart, |s| without(annotation::TITLE)(s)),
    case("cri-o-1.33", "archive-layer", InPart, |s| retype(s, "README.md", "raw", "tar")),

    case("containerd", "not-an-image", Cannot, |s| *s = flat()),
    case("kserve", "no-image-layer", Cannot, |s| *s = flat()),
    case("kserve", "no-image-layer", Cannot, |s| *s = flat().in_tar()),
    case("kserve", "not-an-image", InPart, |s| s.manifest.config.media_type = "application/vnd.oci.empty.v1+json".into()),
    case("kserve", "layer-type", InPart, |s| s.manifest.layers[1].media_type = "application/vnd.oci.image.layer.v1.tar+zstd".into()),
    case("kserve", "layer-type", InPart, |s| s.manifest.layers[1].media_type = "application/vnd.cncf.model.weight.v1.tar".into()),

    case("podman", "title-has-directory", Cannot, |s| rename(s, "README.md", "docs/README.md")),
    case("podman", "title-twice", Cannot, |s| { let again = s.manifest.layers[0].clone(); s.manifest.layers.push(again) }),
    case("podman", "title-missing", InPart, |s| without(annotation::TITLE)(s)),
    case("podman", "archive-layer", InPart, |s| retype(s, "README.md", "raw", "tar")),

    case("ramalama", "unknown-artifact", Cannot, |s| *s = flat().in_older_names()),
    case("ramalama", "unknown-artifact", Cannot, |s| *s = of_docker("0.2")),
    case("ramalama", "metadata-incomplete", Cannot, |s| only_metadata(s, r#"{"name":"README.md"}"#)),
    case("ramalama", "metadata-incomplete", Cannot, |s| {
        only_metadata(s, r#"{"name":"x","mode":420,"uid":0,"gid":0,"size":1,"mtime":"t","typeflag":"0"}"#);
    }),
    case("ramalama", "filepath-missing", Cannot, |s| { without(annotation::FILE_METADATA)(s); without(annotation::FILEPATH)(s) }),
    case("ramalama", "filepath-outside", Cannot, |s| s.annotate("README.md", annotation::FILEPATH, Some("a/../../README.md"))),
    case("ramalama", "title-has-directory", Cannot, |s| rename(s, "README.md", "docs/README.md")),
    case("ramalama", "title-twice", Cannot, |s| s.annotate("README.md", annotation::TITLE, Some("LICENSE"))),
    case("ramalama", "no-gguf", Cannot, |s| rename(s, WEIGHT, "model.safetensors")),
    case("ramalama", "entry-point", Cannot, |s| s.add("weight.config", "0-config.json")),
    case("ramalama", "entry-point", Cannot, |s| rename(s, WEIGHT, "model.gguf")),
    case("ramalama", "entry-title", Cannot, |s| s.annotate(WEIGHT, annotation::TITLE, Some("model.gguf"))),
    case("ramalama", "entry-title", Cannot, |s| s.annotate(WEIGHT, annotation::TITLE, None)),
    case("ramalama", "projector-not-used", InPart, |s| s.add("weight", "mmproj-F16.gguf")),
    case("ramalama", "archive-layer", InPart, |s| retype(s, "README.md", "raw", "tar")),
    case("ramalama-docker", "not-an-image", Cannot, |s| *s = flat()),
    case("ramalama-docker", "not-an-image", Cannot, |s| *s = of_docker("0.1")),

    case("llmman", "media-type-missing", Cannot, |s| s.manifest.media_type = None),
    case("llmman", "no-model", Cannot, |s| rename(s, WEIGHT, "model.onnx")),
    case("llmman", "no-model", Cannot, |s| s.layer(WEIGHT).annotations.clear()),
    case("llmman", "gguf-compressed", Cannot, |s| retype(s, WEIGHT, "raw", "tar+gzip")),
    case("llmman", "gguf-shards", Cannot, |s| { rename(s, WEIGHT, "m-00001-of-00002.gguf"); s.add("weight", "m-00002-of-00002.gguf") }),
    case("llmman", "projector-first", Cannot, |s| { rename(s, WEIGHT, "mmproj-F16.gguf"); s.add("weight", "model.gguf") }),
    case("llmman", "projector-not-used", InPart, |s| s.add("weight", "mmproj-F16.gguf")),
    case("llmman", "layer-type", Cannot, |s| { in_safetensors(s); retype(s, "model.safetensors", "raw", "tar") }),
    case("llmman", "layer-type", Cannot, |s| { in_safetensors(s); retype(s, "config.json", "cncf", "cnai") }),
    case("llmman", "code-skipped", InPart, |s| { in_safetensors(s); s.add("code", "modeling.py") }),
    case("llmman", "name-missing", InPart, |s| { in_safetensors(s); s.layer("config.json").annotations.clear() }),
    case("llmman", "name-outside", InPart, |s| { in_safetensors(s); s.add("weight.config", "../tokenizer.json") }),
    case("llmman", "name-twice", InPart, |s| {
        in_safetensors(s);
        s.add("weight.config", "a.json");
        s.annotate("a.json", annotation::FILEPATH, Some("config.json"));
    }),
    case("llmman", "file-and-directory", Cannot, |s| { in_safetensors(s); s.add("weight.config", "config.json/a") }),
    case("llmman", "first-config", Cannot, |s| { in_safetensors(s); s.add("weight.config", "1_Pooling/config.json"); s.last_first() }),

    case("harbor", "config-type", InPart, |s| s.manifest.config.media_type = "application/vnd.cnai.model.config.v1+json".into()),
    case("harbor", "config-object-missing", Cannot, |s| { s.config = json!({ "config": s.config["config"] }) }),
    case("harbor", "config-time", InPart, |s| s.config["descriptor"]["createdAt"] = json!("yesterday")),
    case("harbor", "config-time", InPart, |s| s.config["config"]["capabilities"] = json!({ "knowledgeCutoff": "2024-06" })),
    case("harbor", "filepath-missing", InPart, |s| s.annotate(WEIGHT, annotation::FILEPATH, None)),
    case("harbor", "file-and-directory", InPart, |s| s.add("code", "LICENSE/x.py")),
    case("harbor", "readme-not-shown", InPart, |s| retype(s, "README.md", "raw", "tar+gzip")),
    case("harbor", "readme-not-shown", InPart, |s| s.layer("README.md").size = (4 << 20) + 1),
    case("harbor", "licence-not-shown", InPart, |s| rename(s, "LICENSE", "LICENSE.md")),
    case("harbor", "value-not-said", Works, |s| s.config["config"]["precision"] = Value::Null),
    case("harbor-2.13", "older-config-type", InPart, |s| *s = flat()),
    case("harbor-2.13", "config-object-missing", Cannot, |s| s.config = json!({})),

    case("modctl", "unreadable-layer", Cannot, |s| retype(s, "README.md", "raw", "tar+gzip")),
    case("modctl", "unreadable-layer", Cannot, |s| s.layer("README.md").media_type = "application/vnd.oci.image.layer.v1.tar".into()),
    case("modctl", "filepath-missing", Cannot, |s| without(annotation::FILEPATH)(s)),
    case("modctl", "metadata-unreadable", Cannot, |s| s.annotate("README.md", annotation::FILE_METADATA, Some(r#"{"mtime":"now"}"#))),
    case("modctl", "config-time", InPart, |s| s.config["descriptor"]["createdAt"] = json!(1)),
    case("modctl", "config-time", InPart, |s| s.config["descriptor"]["createdAt"] = json!("2025-01-31t00:00:00z")),
    case("modctl", "config-time", InPart, |s| s.config["descriptor"]["createdAt"] = json!("2016-12-31T23:59:60Z")),
    case("modctl-0.0", "unreadable-layer", Cannot, |s| retype(s, "README.md", "raw", "tar+zstd")),
    case("modctl-0.0", "older-filepath-missing", Cannot, |s| without(OLDER_FILEPATH)(s)),
    case("model-csi-driver", "unreadable-layer", Cannot, |s| retype(s, "README.md", "raw", "tar+gzip")),
    case("model-csi-driver", "filepath-missing", Cannot, |s| without(annotation::FILEPATH)(s)),
    case("model-csi-driver", "metadata-unreadable", Cannot, |s| s.annotate("README.md", annotation::FILE_METADATA, Some("[]"))),
    case("model-csi-driver", "config-time", InPart, |s| s.config["descriptor"]["createdAt"] = json!("yesterday")),
];

#[test]
fn each_rule_can_be_satisfied_and_broken_alone() {
    for case in CASES {
        let mut sample = satisfying(case.consumer);
        let (broken, verdict) = sample.ask(case.consumer);
        assert!(broken.is_empty() && verdict == Works, "{} before the change: {broken:?}", case.consumer);
        (case.breaks)(&mut sample);
        assert_eq!(sample.ask(case.consumer), (BTreeSet::from([case.rule]), case.verdict), "{} {}", case.consumer, case.rule);
    }
}

#[test]
fn every_rule_has_a_case() {
    for consumer in CONSUMERS {
        for rule in consumer.rules {
            let has_case = CASES.iter().any(|case| (case.consumer, case.rule) == (consumer.id, rule.name));
            assert!(has_case, "{} {}", consumer.id, rule.name);
        }
    }
}

#[test]
fn cases_that_look_like_breaches_but_are_not() {
    let mut sample = flat();
    sample.manifest.layers.iter_mut().for_each(|layer| layer.annotations.retain(|key, _| key != annotation::FILE_METADATA));
    sample.config["modelfs"] = json!({});
    for consumer in ["docker-model-runner", "kitops", "ramalama", "modctl"] {
        assert_eq!(sample.ask(consumer).1, Works, "{consumer} needs no metadata and no diffIds");
    }
    let mut sample = flat();
    oras_directory(&mut sample, "tar+gzip");
    assert_eq!(sample.ask("oras").1, Works, "oras unpacks the directories that it marked");
    let mut sample = flat();
    rename(&mut sample, WEIGHT, "0-00001-of-00002.gguf");
    sample.add("weight", "0-00002-of-00002.gguf");
    sample.add("weight", "mmproj.gguf");
    assert_eq!(sample.ask("docker-model-runner").1, Works, "shards in order, and one projector");
    let twice = sample.manifest.layers[2].clone();
    sample.manifest.layers.push(twice);
    assert_eq!(sample.ask("oras").1, Works, "two entries of one layer have the same content");
}

#[test]
fn modctl_checks_only_the_end_of_a_media_type() {
    let mut sample = flat();
    sample.layer("README.md").media_type = "application/vnd.kitops.modelkit.docs.v1.tar".to_owned();
    sample.layer("LICENSE").media_type = "application/x.raw".to_owned();
    assert_eq!([sample.ask("modctl").1, sample.ask("model-csi-driver").1], [Works; 2]);
    without(annotation::FILEPATH)(&mut sample);
    assert_eq!(sample.ask("modctl").1, Works, "an archive needs no path");
    sample.annotate("LICENSE", annotation::FILEPATH, None);
    assert_eq!(sample.ask("modctl").0, BTreeSet::from(["filepath-missing"]));
}

#[test]
fn docker_model_runner_reads_its_own_artifacts() {
    for version in ["0.1", "0.2"] {
        let sample = of_docker(version);
        assert_eq!(sample.ask("docker-model-runner"), (BTreeSet::new(), Works), "{version}");
        assert!(sample.manifest.layers.iter().all(|layer| !layer.annotations.contains_key(annotation::TITLE)));
    }
    let mut sample = flat();
    sample.layer(WEIGHT).media_type = "application/vnd.cncf.model.weight.v1.gguf".to_owned();
    sample.config["config"]["format"] = Value::Null;
    assert_eq!(sample.ask("docker-model-runner").1, Works, "its own media types of weights contain the format");
}

#[test]
fn docker_model_runner_finds_weights_in_these_places() {
    let mut sample = flat();
    rename(&mut sample, WEIGHT, "sub/model.gguf");
    assert_eq!(sample.ask("docker-model-runner").1, Works, "a GGUF file in a subdirectory is found if the top directory has none");
    sample.add("weight", "sub/z.gguf");
    assert_eq!(sample.ask("docker-model-runner").1, Works, "the first weight layer is also the first by name");
    let mut sample = flat();
    in_safetensors(&mut sample);
    sample.add("weight", "a/model.safetensors");
    assert_eq!(sample.ask("docker-model-runner").1, Works, "the first weight layer is in the top directory");
}

#[test]
fn ramalama_selects_this_file_with_podman() {
    let mut sample = flat();
    without(annotation::TITLE)(&mut sample);
    sample.annotate("LICENSE", annotation::FILE_METADATA, Some("{}"));
    assert_eq!(sample.ask("ramalama").1, Works, "titles of other files and metadata besides a path are not checked");
    let mut sample = flat();
    sample.manifest.layers.truncate(1);
    sample.annotate(WEIGHT, annotation::TITLE, Some("model.gguf"));
    assert_eq!(sample.ask("ramalama").1, Works, "the only file is mounted at the path of the directory");
    let image = flat().in_image();
    assert_eq!([image.ask("ramalama").1, image.ask("ramalama-docker").1], [Works; 2], "a container image is pulled as an image");
}

#[test]
fn llmman_selects_this_model() {
    let mut sample = flat();
    in_safetensors(&mut sample);
    sample.add("weight.config", "1_Pooling/config.json");
    sample.add("weight", "2_Dense/model.safetensors");
    assert_eq!(sample.ask("llmman").1, Works, "the config of the model comes first");
    let mut sample = flat();
    rename(&mut sample, WEIGHT, "sub/model.safetensors");
    sample.add("weight.config", "sub/config.json");
    assert_eq!(sample.ask("llmman").1, Works, "the whole model is in one directory");
    for encoding in ["tar", "raw"] {
        let mut sample = flat();
        retype(&mut sample, WEIGHT, "raw", encoding);
        sample.annotate(WEIGHT, annotation::FILEPATH, None);
        sample.add("code", "a.py");
        assert_eq!(sample.ask("llmman").1, Works, "a GGUF file in {encoding}, named by its title");
    }
    assert_eq!([of_docker("0.1").ask("llmman").1, of_docker("0.2").ask("llmman").1], [Works; 2], "Docker's GGUF needs no name");
}

#[test]
fn kserve_supports_docker_layers_and_uncompressed_image_layers() {
    let mut sample = flat().in_image();
    sample.manifest.layers[0].media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned();
    sample.manifest.layers[1].media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
    assert_eq!(sample.ask("kserve").1, Works);
}
