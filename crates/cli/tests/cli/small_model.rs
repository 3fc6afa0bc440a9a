//! Checks the small model of `modelpack demo`, which most tests here pack.

#[path = "../../src/commands/demo/model.rs"]
mod model;

pub(crate) use model::write_small_model;
use modelpack_testkit::assert_same_tree;
use serde_json::{Map, Value};
use std::{collections::HashMap, fs, os::unix::fs::PermissionsExt, path::Path};

/// The size in bytes of a tensor of bfloat16 numbers.
fn bytes_of(shape: &[usize]) -> usize {
    2 * shape.iter().product::<usize>()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn written() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_small_model(directory.path()).unwrap();
    directory
}

/// The tensors of a shard with their shapes, after checking that they fill the file without a gap.
fn tensors(shard: &Path) -> HashMap<String, Vec<usize>> {
    let bytes = fs::read(shard).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!(header_len % 8, 0);
    let mut header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    header.remove("__metadata__").unwrap();
    let offset = |tensor: &Value, i: usize| tensor["data_offsets"][i].as_u64().unwrap() as usize;
    let mut tensors: Vec<_> = header.into_iter().collect();
    tensors.sort_by_key(|(_, tensor)| offset(tensor, 0));
    let mut end = 0;
    let shapes = tensors.into_iter().map(|(name, tensor)| {
        let shape: Vec<usize> = tensor["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        assert_eq!((offset(&tensor, 0), offset(&tensor, 1)), (end, end + bytes_of(&shape)), "{name}");
        end = offset(&tensor, 1);
        (name, shape)
    });
    let shapes = shapes.collect();
    assert_eq!(8 + header_len + end, bytes.len());
    shapes
}

#[test]
fn the_same_model_is_written_every_time() {
    assert_same_tree(written().path(), written().path());
}

#[test]
fn the_index_names_every_tensor_of_every_shard() {
    let model = written();
    let index = read_json(&model.path().join("model.safetensors.index.json"));
    let mut total = 0;
    let mut named = index["weight_map"].as_object().unwrap().clone();
    for shard in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        for (tensor, shape) in tensors(&model.path().join(shard)) {
            assert_eq!(named.remove(&tensor), Some(shard.into()), "{tensor}");
            total += bytes_of(&shape);
        }
    }
    assert!(named.is_empty());
    assert_eq!(index["metadata"]["total_size"], total);
    assert_eq!(total, 2 * 869_504);
}

#[test]
fn the_config_says_the_shapes_of_the_tensors() {
    let model = written();
    let config = read_json(&model.path().join("config.json"));
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    let tensors = tensors(&model.path().join("model-00001-of-00002.safetensors"));
    assert_eq!(tensors["model.embed_tokens.weight"], [number("vocab_size"), number("hidden_size")]);
    let key_value = number("hidden_size") / number("num_attention_heads") * number("num_key_value_heads");
    assert_eq!(tensors["model.layers.0.self_attn.k_proj.weight"], [key_value, number("hidden_size")]);
}

#[test]
fn one_file_is_executable_and_one_is_empty() {
    let model = written();
    let metadata = |name| fs::metadata(model.path().join(name)).unwrap();
    assert_eq!(metadata("examples/generate.py").permissions().mode() & 0o111, 0o111);
    assert_eq!(metadata("README.md").permissions().mode() & 0o111, 0);
    assert_eq!(metadata("examples/__init__.py").len(), 0);
}
