//! The metadata from the files of a model is the same for a directory and for an artifact in each
//! kind of place.

use modelpack::{LayerPolicy, Modelpack, Options, PackRequest, PackSource, Place, RegistryOptions, ServerOptions, serve};
use modelpack_pack::{Description, FileFilter, PackOptions, layers, pack, plan};
use modelpack_spec::{Selector, Tag};
use modelpack_store::Layout;
use proptest::{collection::btree_set, prelude::*, sample::select};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A safetensors file of these tensors.
fn safetensors(tensors: &[(&str, &str, usize)]) -> Vec<u8> {
    let mut at = 0;
    let mut header = json!({"__metadata__": {"format": "pt"}});
    for (name, dtype, elements) in tensors {
        let end = at + elements * if *dtype == "F32" { 4 } else { 2 };
        header[name] = json!({"dtype": dtype, "shape": [elements], "data_offsets": [at, end]});
        at = end;
    }
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![7; at]].concat()
}

/// A GGUF file with a name and without tensors.
fn gguf() -> Vec<u8> {
    let mut file = [b"GGUF", &3u32.to_le_bytes()[..], &0u64.to_le_bytes(), &3u64.to_le_bytes()].concat();
    for (key, value) in [("general.architecture", "llama"), ("general.name", "Tiny"), ("general.license", "apache-2.0")] {
        file.extend((key.len() as u64).to_le_bytes().iter().chain(key.as_bytes()).chain(&8u32.to_le_bytes()));
        file.extend((value.len() as u64).to_le_bytes().iter().chain(value.as_bytes()));
    }
    file
}

/// All files that a model of the test may have. Some contain metadata, some contain conflicting
/// metadata, and some are broken.
fn all_files() -> Vec<(&'static str, Vec<u8>)> {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "max_position_embeddings": 4096,
        "_name_or_path": "org/tiny",
    });
    let index = json!({"metadata": {"total_size": 40}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}});
    let card =
        "---\nlicense: mit\nlanguage: [en, de]\npipeline_tag: text-generation\nbase_model: org/base\n---\n# Tiny\n\nA model for tests.\n";
    vec![
        ("config.json", config.to_string().into_bytes()),
        ("generation_config.json", json!({"max_length": 77}).to_string().into_bytes()),
        ("model.safetensors.index.json", index.to_string().into_bytes()),
        ("model-00001-of-00002.safetensors", safetensors(&[("a", "BF16", 1_200_000)])),
        ("model-00002-of-00002.safetensors", safetensors(&[("b", "F32", 5)])),
        ("model.safetensors", safetensors(&[("a", "F16", 10), ("b", "F16", 300_000)])),
        ("tiny.gguf", gguf()),
        ("broken.safetensors", vec![0xff; 64]),
        ("README.md", card.as_bytes().to_vec()),
        ("LICENSE", b"MIT License\n\nPermission is hereby granted".to_vec()),
        ("tokenizer_config.json", json!({"chat_template": "{% if tools %}x{% endif %}"}).to_string().into_bytes()),
        ("broken.json", b"{".to_vec()),
        ("adapter/adapter_config.json", json!({"base_model_name_or_path": "org/base", "peft_type": "LORA"}).to_string().into_bytes()),
        ("src/run.py", b"print()".to_vec()),
        (".hidden/notes.txt", b"x".to_vec()),
    ]
}

struct Scene {
    _scratch: TempDir,
    /// The host and port of a registry.
    registry: SocketAddr,
    modelpack: Modelpack,
    layout: PathBuf,
    archive: PathBuf,
}

async fn scene() -> Scene {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let registry =
        serve(&at("registry"), (Ipv4Addr::LOCALHOST, 0).into(), RegistryOptions::default(), ServerOptions::default()).await.unwrap();
    let address = registry.address();
    tokio::spawn(registry.run(std::future::pending()));
    let modelpack = Modelpack::new(Options::new(at("store")));
    Scene { layout: at("layout"), archive: at("archive.tar"), registry: address, modelpack, _scratch: scratch }
}

fn write(directory: &Path, names: &BTreeSet<usize>) {
    for (at, (path, bytes)) in all_files().into_iter().enumerate() {
        if names.contains(&at) {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

/// Packs all files of `directory` without any given metadata, so that it comes only from the files.
async fn pack_without_config(directory: &Path, policy: &LayerPolicy, layout: &Layout) {
    let layers = layers(&plan(directory, None, &FileFilter::default()).unwrap(), policy).unwrap();
    let options = PackOptions { concurrency: 2, ..PackOptions::default() };
    let at = Selector::Tag(Tag::latest());
    pack(&layers, &Description::default(), layout, &at, &options).await.unwrap();
}

/// The plan: config, annotations, notes, warnings, gaps; without the sources of values, which
/// differ.
async fn told(modelpack: &Modelpack, source: PackSource) -> (serde_json::Value, Vec<String>) {
    let planned = modelpack.plan(&PackRequest::new(source)).await.unwrap();
    let said = planned.description;
    let gaps = planned.gaps.iter().map(ToString::to_string).collect();
    let findings: Vec<_> = said.findings.iter().map(|finding| json!([finding.field, finding.value, finding.source])).collect();
    let annotations = said.annotations;
    (json!([said.descriptor, said.config, annotations, findings, said.notes, said.warnings]), gaps)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_artifact_in_any_place_says_what_its_directory_says(
        names in btree_set(0..14usize, 1..14),
        rule in select(vec!["raw", "tar", "tar+gzip", "tar+zstd", "weight=tar+zstd", "config=tar"]),
        max_layers in select(vec![5usize, 512]),
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let Scene { registry, modelpack, layout, archive, _scratch } = scene().await;
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), &names);
            let max_layers = if rule == "raw" { 512 } else { max_layers };
            let policy = LayerPolicy::default().rules([rule.parse().unwrap()]).max_layers(max_layers);
            pack_without_config(directory.path(), &policy, &Layout::at(&layout)).await;
            let expected = told(&modelpack, directory.path().into()).await;

            let place = |text: String| text.parse::<Place>().unwrap();
            let from = place(format!("oci:{}", layout.display()));
            let remote = place(format!("docker://{}/tiny:v1", registry));
            let others = [place("store:tiny:v1".to_owned()), remote, place(format!("oci-archive:{}:v1", archive.display()))];
            for other in &others {
                modelpack.copy(&from, other).await.unwrap();
            }
            for source in [&[from][..], &others].concat() {
                let shown = source.to_string();
                assert_eq!(told(&modelpack, source.into()).await, expected, "{shown}, {rule}");
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_is_packed_is_that_artifact_and_its_layers_are_not_moved() {
    let Scene { registry, modelpack, _scratch, .. } = scene().await;
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &(0..14).collect());
    let place = |name: &str| format!("docker://{}/{name}", registry).parse::<Place>().unwrap();
    let packed = modelpack.pack(&PackRequest::new(directory.path()), &place("team/a:v1")).await.unwrap();
    let again = modelpack.pack(&PackRequest::new(place("team/a:v1")), &place("team/b:v2")).await.unwrap();
    assert_eq!(again.digest, packed.digest);
    assert_eq!((again.moved, again.present), (0, packed.bytes), "another repository of the registry mounts unchanged layers");
}
