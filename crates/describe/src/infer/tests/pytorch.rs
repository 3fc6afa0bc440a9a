//! Parameters and precision from PyTorch's pickles.

use super::{inferred, source, value};
use modelpack_testkit::{TorchTensor, torch_archive, torch_pickle, zip_of};
use serde_json::{Value, json};

fn tensor<'a>(name: &'a str, class: &'a str, storage: u32, shape: &'a [u32]) -> TorchTensor<'a> {
    TorchTensor { name, storage_class: class, storage, storage_elements: shape.iter().product(), offset: 0, shape }
}

/// An archive of these tensors, with storages of the right lengths.
fn archive(tensors: &[TorchTensor<'_>]) -> Vec<u8> {
    let size = |class: &str| match class {
        "DoubleStorage" | "LongStorage" => 8,
        "HalfStorage" | "BFloat16Storage" => 2,
        "ByteStorage" | "CharStorage" | "BoolStorage" => 1,
        _ => 4,
    };
    let mut storages: Vec<_> = tensors.iter().map(|t| (t.storage, t.storage_elements as usize * size(t.storage_class))).collect();
    storages.dedup();
    torch_archive(&torch_pickle(tensors), &storages)
}

fn numbers(file: &[u8]) -> (Value, Value) {
    let inferred = inferred(&[("pytorch_model.bin", file)]);
    (value(&inferred, "config.paramSize"), value(&inferred, "config.precision"))
}

const NOTHING: (Value, Value) = (Value::Null, Value::Null);

#[test]
fn tensors_are_counted_and_their_storages_give_the_precision() {
    let tensors = [
        tensor("a", "HalfStorage", 0, &[100, 10]),
        tensor("b", "FloatStorage", 1, &[100]),
        tensor("position_ids", "LongStorage", 2, &[512]),
    ];
    assert_eq!(numbers(&archive(&tensors)), (json!("1.1K"), json!("float16,float32")));
    for (class, word) in [("DoubleStorage", "float64"), ("BFloat16Storage", "bfloat16"), ("CharStorage", "int8"), ("ByteStorage", "uint8")]
    {
        assert_eq!(numbers(&archive(&[tensor("a", class, 0, &[1000])])), (json!("1K"), json!(word)), "{class}");
    }
}

#[test]
fn tied_weights_are_counted_once() {
    let tied = [tensor("embedding", "FloatStorage", 0, &[100, 10]), tensor("head", "FloatStorage", 0, &[100, 10])];
    assert_eq!(numbers(&archive(&tied)).0, "1K");
    let turned = [tensor("embedding", "FloatStorage", 0, &[100, 10]), tensor("head", "FloatStorage", 0, &[10, 100])];
    assert_eq!(numbers(&archive(&turned)).0, "1K");
    let half = |name, offset| TorchTensor { storage_elements: 2000, offset, ..tensor(name, "FloatStorage", 0, &[1000]) };
    assert_eq!(numbers(&archive(&[half("first", 0), half("second", 1000)])).0, "2K");
}

#[test]
fn all_shards_are_counted_and_a_missing_one_leaves_the_size_out() {
    let (first, second) = (archive(&[tensor("a", "HalfStorage", 0, &[1500])]), archive(&[tensor("b", "HalfStorage", 0, &[700])]));
    let both = inferred(&[("pytorch_model-00001-of-00002.bin", &first), ("pytorch_model-00002-of-00002.bin", &second)]);
    assert_eq!(value(&both, "config.paramSize"), "2.2K");
    assert_eq!(source(&both, "config.paramSize"), "pytorch_model-00001-of-00002.bin and 1 more: tensor shapes");
    assert_eq!(value(&inferred(&[("pytorch_model-00001-of-00002.bin", &first)]), "config.paramSize"), Value::Null);
}

#[test]
fn other_files_beside_the_model_are_not_counted() {
    let model = archive(&[tensor("a", "FloatStorage", 0, &[1000])]);
    let other = archive(&[tensor("a", "FloatStorage", 0, &[5000])]);
    let inferred = inferred(&[("pytorch_model.bin", &model), ("optimizer.pt", &other)]);
    assert_eq!(value(&inferred, "config.paramSize"), "1K");
}

#[test]
fn a_legacy_file_is_read_too() {
    let preface = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    let pickle = torch_pickle(&[tensor("a", "FloatStorage", 0, &[1000])]);
    assert_eq!(numbers(&[&preface[..], &pickle, b"\x80\x02]."].concat()), (json!("1K"), json!("float32")));
}

#[test]
fn other_pickles_than_state_dictionaries_give_no_metadata() {
    let one = [tensor("a", "FloatStorage", 0, &[1000])];
    let pickle = torch_pickle(&one);
    // A dictionary with the weights in one item and unknown content in others.
    let nested = [b"\x80\x02}X\x05\x00\x00\x00model", &pickle[2..pickle.len() - 1], b"s."].concat();
    let sparse = [&pickle[..pickle.len() - 1], b"ctorch._utils\n_rebuild_sparse_tensor\n)R0."].concat();
    for (file, why) in [
        (torch_archive(&nested, &[(0, 4000)]), "nested"),
        (torch_archive(&sparse, &[(0, 4000)]), "sparse"),
        (torch_archive(&pickle, &[(0, 3999)]), "a storage of another size"),
        (torch_archive(&pickle, &[]), "no storage"),
        (torch_archive(&pickle[..pickle.len() - 2], &[(0, 4000)]), "truncated"),
        (archive(&[TorchTensor { offset: 1, ..one[0] }]), "beyond its storage"),
        (archive(&[tensor("a", "ComplexDoubleStorage", 0, &[1000])]), "a type without a name in the specification"),
        (zip_of(&[("other.pkl", &pickle)]), "no pickle"),
        (pickle.clone(), "bare"),
        (Vec::new(), "empty"),
    ] {
        assert_eq!(numbers(&file), NOTHING, "{why}");
    }
}

#[test]
fn quantized_weights_are_counted_as_in_safetensors() {
    let tensors = [
        tensor("l.qweight", "IntStorage", 0, &[1000]),
        tensor("l.scales", "HalfStorage", 1, &[500]),
        tensor("norm.weight", "HalfStorage", 2, &[1000]),
    ];
    let config = json!({"model_type": "x", "quantization_config": {"quant_method": "gptq", "bits": 4}}).to_string();
    let inferred = inferred(&[("config.json", config.as_bytes()), ("pytorch_model.bin", &archive(&tensors))]);
    assert_eq!(value(&inferred, "config.paramSize"), "9K");
}
