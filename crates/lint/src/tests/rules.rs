//! Each rule, by an artifact that breaks it alone.

use super::{Sample, flat};
use crate::{CONSUMERS, Verdict};
use modelpack_spec::{Digest, annotation};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const OLDER_FILEPATH: &str = "org.cnai.model.filepath";
const WEIGHT: &str = "0-model.gguf";

/// A rule, and what is done to an artifact that the consumer can use so that this rule is broken and no other.
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
        "containerd" | "kserve" => flat().in_image(),
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

    case("docker-model-runner", "config-type", InPart, |s| s.manifest.config.media_type = "application/x+json".into()),
    case("docker-model-runner", "artifact-type", InPart, |s| s.manifest.artifact_type = None),
    case("docker-model-runner", "filepath-missing", InPart, |s| without(annotation::FILEPATH)(s)),
    case("docker-model-runner", "archive-layer", InPart, |s| retype(s, "README.md", "raw", "tar")),
    case("docker-model-runner", "no-weights", Cannot, |s| retype(s, WEIGHT, "weight", "code")),
    case("docker-model-runner", "weight-archive", Cannot, |s| { s.add("weight", "b.safetensors"); retype(s, "b.safetensors", "raw", "tar") }),
    case("docker-model-runner", "diff-id", Cannot, |s| s.config["modelfs"]["diffIds"][1] = json!(Digest::of(b"other").to_string())),
    case("docker-model-runner", "first-shard", Cannot, |s| rename(s, WEIGHT, "m-00002-of-00003.gguf")),
    case("docker-model-runner", "gguf-not-first-by-name", InPart, |s| s.add("weight", "0-before.gguf")),
    case("docker-model-runner", "gguf-not-first-by-name", InPart, |s| rename(s, WEIGHT, "sub/model.gguf")),
    case("docker-model-runner", "several-templates", Cannot, |s| s.add("weight.config", "other.jinja")),
    case("docker-model-runner", "several-projectors", Cannot, |s| { s.add("weight", "mmproj-a.gguf"); s.add("weight", "mmproj-b.gguf") }),
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
    case("kserve", "not-an-image", Cannot, |s| *s = flat()),

    case("podman", "title-has-directory", Cannot, |s| rename(s, "README.md", "docs/README.md")),
    case("podman", "title-missing", InPart, |s| without(annotation::TITLE)(s)),
    case("podman", "archive-layer", InPart, |s| retype(s, "README.md", "raw", "tar")),

    case("ramalama", "unknown-artifact", Cannot, |s| *s = flat().in_older_names()),
    case("ramalama", "metadata-incomplete", Cannot, |s| s.annotate("README.md", annotation::FILE_METADATA, Some(r#"{"name":"README.md"}"#))),
    case("ramalama", "metadata-incomplete", Cannot, |s| {
        let odd = r#"{"name":"x","mode":420,"uid":0,"gid":0,"size":1,"mtime":"t","typeflag":"0"}"#;
        s.annotate("README.md", annotation::FILE_METADATA, Some(odd));
    }),
    case("ramalama", "filepath-missing", Cannot, |s| { without(annotation::FILE_METADATA)(s); without(annotation::FILEPATH)(s) }),
    case("ramalama", "filepath-outside", Cannot, |s| s.annotate("README.md", annotation::FILEPATH, Some("../README.md"))),
    case("ramalama", "untested-value", Cannot, |s| s.annotate("README.md", annotation::MEDIATYPE_UNTESTED, Some("no"))),
    case("ramalama", "archive-layer", InPart, |s| retype(s, "README.md", "raw", "tar")),
    case("ramalama", "entry-point", InPart, |s| s.add("weight.config", "0-config.json")),

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
    case("modctl", "filepath-missing", Cannot, |s| without(annotation::FILEPATH)(s)),
    case("modctl", "metadata-unreadable", Cannot, |s| s.annotate("README.md", annotation::FILE_METADATA, Some(r#"{"mtime":"now"}"#))),
    case("modctl", "config-time", InPart, |s| s.config["descriptor"]["createdAt"] = json!(1)),
    case("modctl", "config-time", InPart, |s| s.config["descriptor"]["createdAt"] = json!("2025-01-31t00:00:00z")),
    case("modctl", "config-time", InPart, |s| s.config["descriptor"]["createdAt"] = json!("2016-12-31T23:59:60Z")),
    case("modctl-0.0", "unreadable-layer", Cannot, |s| retype(s, "README.md", "raw", "tar+zstd")),
    case("modctl-0.0", "older-filepath-missing", Cannot, |s| without(OLDER_FILEPATH)(s)),
    case("model-csi-driver", "unreadable-layer", Cannot, |s| retype(s, "README.md", "raw", "tar+gzip")),
    case("model-csi-driver", "filepath-missing", Cannot, |s| without(annotation::FILEPATH)(s)),
];

#[test]
fn each_rule_is_broken_alone_and_satisfied() {
    for case in CASES {
        let mut sample = satisfying(case.consumer);
        let (broken, verdict) = sample.ask(case.consumer);
        assert!(broken.is_empty() && verdict == Works, "{} at first: {broken:?}", case.consumer);
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
fn what_looks_like_a_breach_and_is_none() {
    let mut sample = flat();
    sample.manifest.layers.iter_mut().for_each(|layer| layer.annotations.retain(|key, _| key != annotation::FILE_METADATA));
    sample.config["modelfs"] = json!({});
    for consumer in ["docker-model-runner", "kitops", "ramalama", "modctl"] {
        assert_eq!(sample.ask(consumer).1, Works, "{consumer} needs no metadata and no diffIds");
    }
    let mut sample = flat();
    oras_directory(&mut sample, "tar+gzip");
    assert_eq!(sample.ask("oras").1, Works, "oras unpacks what it marked");
    let mut sample = flat();
    rename(&mut sample, WEIGHT, "0-00001-of-00002.gguf");
    sample.add("weight", "0-00002-of-00002.gguf");
    sample.add("weight", "mmproj.gguf");
    assert_eq!(sample.ask("docker-model-runner").1, Works, "shards in order, and one projector");
    let twice = sample.manifest.layers[2].clone();
    sample.manifest.layers.push(twice);
    assert_eq!(sample.ask("oras").1, Works, "one layer twice has one content");
}
