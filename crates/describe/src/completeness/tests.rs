//! Directories of small models with the gaps that are found in them. Complete models have none.

use super::{Gap, MAX_GAPS, gaps};
use crate::model_files::with_model;
use serde_json::{Map, Value, json};

type Files<'a> = &'a [(&'a str, Vec<u8>)];

/// The messages for these files.
fn messages(files: Files<'_>) -> Vec<String> {
    let found = with_model(files, gaps);
    let reversed: Vec<_> = files.iter().rev().cloned().collect();
    assert_eq!(with_model(&reversed, gaps), found, "the order of the files changes the messages");
    for Gap { path, message } in &found {
        assert!(message.starts_with(path.as_str()), "{message}");
    }
    found.iter().map(Gap::to_string).collect()
}

#[track_caller]
fn assert_complete(files: Files<'_>) {
    assert_eq!(messages(files), [""; 0]);
}

/// A safetensors file with these tensors, one byte each.
fn weights(names: &[&str]) -> Vec<u8> {
    weights_with(names, Value::Null)
}

/// A safetensors file with these tensors and these notes in its header.
fn weights_with(names: &[&str], notes: Value) -> Vec<u8> {
    let entries = names.iter().enumerate();
    let mut header: Map<String, Value> =
        entries.map(|(at, name)| ((*name).to_owned(), json!({"dtype": "U8", "shape": [1], "data_offsets": [at, at + 1]}))).collect();
    header.insert("__metadata__".to_owned(), notes);
    let header = Value::from(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; names.len()]].concat()
}

/// An index with these tensors in these files.
fn index(of: &[(&str, &str)]) -> Vec<u8> {
    let map: Map<String, Value> = of.iter().map(|(tensor, file)| ((*tensor).to_owned(), (*file).into())).collect();
    json!({"metadata": {"total_size": 2}, "weight_map": map}).to_string().into_bytes()
}

/// A GGUF file with this many tensors of one number. `split` gives the number of the file, the
/// number of files, and the total number of tensors.
fn gguf(tensors: u64, split: Option<(u16, u16, i32)>) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut pairs = vec![[text("general.architecture"), 8u32.to_le_bytes().to_vec(), text("llama")].concat()];
    if let Some((number, count, all)) = split {
        pairs.push([text("split.no"), 2u32.to_le_bytes().to_vec(), number.to_le_bytes().to_vec()].concat());
        pairs.push([text("split.count"), 2u32.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()].concat());
        pairs.push([text("split.tensors.count"), 5u32.to_le_bytes().to_vec(), all.to_le_bytes().to_vec()].concat());
    }
    let info = |at: u64| [text(&format!("t{at}")), 0u32.to_le_bytes().to_vec(), vec![0; 4], (at * 32).to_le_bytes().to_vec()].concat();
    let counts = [tensors.to_le_bytes(), (pairs.len() as u64).to_le_bytes()].concat();
    let mut file = [b"GGUF".to_vec(), 3u32.to_le_bytes().to_vec(), counts, pairs.concat(), (0..tensors).flat_map(info).collect()].concat();
    file.resize(file.len().next_multiple_of(32) + 32 * tensors as usize, 0);
    file
}

const POINTER: &[u8] =
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Two shards and their index.
fn whole() -> Vec<(&'static str, Vec<u8>)> {
    vec![(FIRST, weights(&["a", "b"])), (SECOND, weights(&["c"])), (INDEX, index(&[("a", FIRST), ("b", FIRST), ("c", SECOND)]))]
}

fn without(name: &str) -> Vec<(&'static str, Vec<u8>)> {
    whole().into_iter().filter(|(path, _)| *path != name).collect()
}

fn with(mut files: Vec<(&'static str, Vec<u8>)>, path: &'static str, content: Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    files.retain(|(other, _)| *other != path);
    files.push((path, content));
    files
}

#[test]
fn complete_models_have_no_gaps() {
    assert_complete(&whole());
    assert_complete(&without(INDEX));
    assert_complete(&with(whole(), "model.safetensors", weights(&["a", "b", "c"])));
    assert_complete(&with(whole(), "consolidated.safetensors", weights(&["x"])));
    assert_complete(&[("adapter_model.safetensors", weights(&["x"])), ("adapter_config.json", b"{}".to_vec())]);
    assert_complete(&[("README.md", Vec::new()), ("src/__init__.py", Vec::new())]);
    assert_complete(&[("model-00000-of-00002.safetensors", weights(&["a"])), ("model-00001-of-00002.safetensors", weights(&["b"]))]);
    let nested: Vec<_> = whole().into_iter().map(|(path, content)| (format!("original/{path}"), content)).collect();
    let nested: Vec<_> = nested.iter().map(|(path, content)| (path.as_str(), content.clone())).collect();
    assert_complete(&nested);
    // Converters leave out tied tensors, and note this in the header of the file in which the index
    // has them.
    let tied = index(&[("a", FIRST), ("b", FIRST), ("c", SECOND), ("lm_head", SECOND)]);
    let second = |notes: Value| with(with(whole(), INDEX, tied.clone()), SECOND, weights_with(&["c"], notes));
    assert_complete(&second(json!({"format": "pt", "lm_head": "c"})));
    for notes in [json!({"format": "pt", "lm_head": "nothing"}), json!({"lm_head": {"lm_head": "c"}}), json!(["lm_head", {}]), json!("c")] {
        assert_eq!(messages(&second(notes)), [format!("{INDEX} names 1 tensor that is not in its file: lm_head")]);
    }
    assert_complete(&with(whole(), INDEX, index(&[("a", "./model-00001-of-00002.safetensors"), ("b", FIRST), ("c", SECOND)])));
}

#[test]
fn an_index_is_ignored_beside_weights_of_another_format_or_variant() {
    let index = || index(&[("a", FIRST), ("b", SECOND)]);
    // A single file instead of the shards.
    assert_complete(&[(INDEX, index()), ("model.safetensors", weights(&["a", "b"]))]);
    assert_complete(&[("model.safetensors.index.fp16.json", index()), ("model.fp16.safetensors", weights(&["a"]))]);
    // An index of another format.
    assert_complete(&with(whole(), "pytorch_model.bin.index.json", super::tests::index(&[("a", "pytorch_model-00001-of-00001.bin")])));
    assert_complete(&with(whole(), "tf_model.h5.index.json", super::tests::index(&[("a", "tf_model-00001-of-00001.h5")])));
    assert_complete(&[(INDEX, index()), ("a.Q4_K_M.gguf", gguf(1, None))]);
    // An index of another variant.
    assert_complete(&with(
        whole(),
        "model.safetensors.index.fp16.json",
        super::tests::index(&[("a", "model.fp16-00001-of-00002.safetensors")]),
    ));
    assert_complete(&[(INDEX, index()), ("model.fp16.safetensors", weights(&["a"]))]);
    // Transformers looks for safetensors first, and finds the index.
    let stale = messages(&[(INDEX, index()), ("pytorch_model.bin", vec![1])]);
    assert_eq!(stale, [format!("{INDEX} names 2 missing files: {FIRST}, {SECOND}")]);
}

#[test]
fn missing_shards_of_an_index_are_found() {
    assert_eq!(messages(&without(SECOND)), [format!("{INDEX} names 1 missing file: {SECOND}")]);
    let none = [(INDEX, index(&[("a", "a"), ("b", "../b"), ("c", "/c"), ("d", "x/d")]))];
    assert_eq!(messages(&none), [format!("{INDEX} names 4 missing files: ../b, /c, a and 1 more")]);
    let pytorch = messages(&[
        ("p/pytorch_model.bin.index.json", index(&[("a", "pytorch_model-00001-of-00002.bin"), ("b", "pytorch_model-00002-of-00002.bin")])),
        ("p/pytorch_model-00001-of-00002.bin", vec![1]),
    ]);
    assert_eq!(pytorch, ["p/pytorch_model.bin.index.json names 1 missing file: p/pytorch_model-00002-of-00002.bin"]);
    let variant = messages(&[
        ("diffusion_pytorch_model.safetensors.index.fp16.json", index(&[("a", "x-1-of-2.safetensors"), ("b", "x-2-of-2.safetensors")])),
        ("x-1-of-2.safetensors", weights(&["a"])),
    ]);
    assert_eq!(variant, ["diffusion_pytorch_model.safetensors.index.fp16.json names 1 missing file: x-2-of-2.safetensors"]);
}

#[test]
fn misplaced_and_missing_tensors_of_an_index_are_found() {
    let of = |map: &[(&str, &str)]| messages(&with(whole(), INDEX, index(map)));
    let all = [("a", FIRST), ("b", FIRST), ("c", SECOND)];
    assert_eq!(
        of(&[&all[..], &[("d", FIRST), ("e", SECOND)]].concat()),
        [format!("{INDEX} names 2 tensors that are not in their files: d, e")]
    );
    assert_eq!(of(&[("a", FIRST), ("b", SECOND), ("c", SECOND)]), [format!("{INDEX} names 1 tensor that is in another of its files: b")]);
    assert_eq!(of(&[("a", FIRST), ("c", SECOND)]), [format!("{INDEX} does not name 1 tensor of its files: b")]);
    assert_eq!(
        of(&[("a", FIRST), ("b", FIRST)]),
        [format!("{FIRST} is named by an index that does not name others of the same set: {SECOND}")]
    );
    // An unreadable file does not lead to further messages.
    let broken = with(whole(), SECOND, b"no header".to_vec());
    assert_complete(&broken);
    // In Python the last of two duplicate keys wins.
    let twice = format!(r#"{{"weight_map":{{"a":"{SECOND}","a":"{FIRST}","b":"{FIRST}","c":"{SECOND}"}}}}"#);
    assert_complete(&with(whole(), INDEX, twice.into_bytes()));
    // A tensor that is in both files is in the right one.
    assert_complete(&with(whole(), SECOND, weights(&["c", "a"])));
}

#[test]
fn an_unreadable_index_is_reported() {
    for content in
        ["", "{", "[]", "{}", r#"{"weight_map":[]}"#, r#"{"weight_map":{"a":1}}"#, r#"{"weight_map":{},"weight_map":{}}"#, "{}{}"]
    {
        let messages = messages(&with(whole(), INDEX, content.as_bytes().to_vec()));
        assert!(messages.len() == 1 && messages[0].starts_with(&format!("{INDEX} cannot be read")), "{content}: {messages:?}");
    }
    // If a single file has all weights, the index is still checked if it names that file.
    assert_complete(&[(INDEX, index(&[("a", "model.safetensors")])), ("model.safetensors", weights(&["a"]))]);
    let named = messages(&[(INDEX, index(&[("a", "model.safetensors")])), ("model.safetensors", weights(&["b"]))]);
    assert_eq!(
        named,
        [format!("{INDEX} names 1 tensor that is not in its file: a"), format!("{INDEX} does not name 1 tensor of its files: b")]
    );
    // Other files have such names too.
    assert_complete(&[("search.index.json", b"[]".to_vec())]);
}

#[test]
fn incomplete_sets_of_shards_are_found_by_name() {
    assert_eq!(messages(&[(SECOND, weights(&["c"]))]), [format!("{SECOND} is one of 2 files, of which 1 is missing: number 1")]);
    let two_sets = messages(&[("model-00001-of-00003.safetensors", weights(&["a"])), (SECOND, weights(&["c"]))]);
    assert_eq!(
        two_sets,
        [
            format!("{SECOND} is one of 2 files, of which 1 is missing: number 1"),
            "model-00001-of-00003.safetensors is one of 3 files, of which 2 are missing: number 2, 3".to_owned(),
            format!("{SECOND} and model-00001-of-00003.safetensors are shards of different sets"),
        ]
    );
    // A leftover shard of an earlier set.
    let left = messages(&with(whole(), "model-00003-of-00003.safetensors", weights(&["a"])));
    assert_eq!(left.len(), 2, "{left:?}");
    // Files of a data set may be parts of a larger set.
    assert_complete(&[("data/train-00000-of-00010.parquet", vec![1])]);
    let variants = [("model-00001-of-00001.safetensors", weights(&["a"])), ("model.fp16-00001-of-00001.safetensors", weights(&["a"]))];
    assert_complete(&variants);
}

#[test]
fn missing_files_of_a_split_gguf_model_are_found() {
    let (first, second) = ("x-00001-of-00002.gguf", "x-00002-of-00002.gguf");
    let split = |number, tensors| gguf(tensors, Some((number, 2, 3)));
    assert_complete(&[(first, split(0, 1)), (second, split(1, 2))]);
    assert_complete(&[("a.Q4_K_M.gguf", gguf(1, None)), ("a.Q8_0.gguf", gguf(1, None)), ("mmproj.gguf", gguf(1, Some((0, 1, 1))))]);
    assert_complete(&[("a/x-00001-of-00001.gguf", gguf(1, None)), ("b/x-00001-of-00001.gguf", gguf(1, None))]);
    // A plain split into bytes leaves no information in the headers.
    assert_complete(&[(first, gguf(1, None)), (second, gguf(1, None))]);
    assert_eq!(messages(&[(first, split(0, 1))]), [format!("{first} is one of 2 files, of which 1 is missing: number 2")]);
    let short = messages(&[(first, split(0, 1)), (second, split(1, 1))]);
    assert_eq!(short, [format!("{first} declares 3 tensors for the 2 files, but they have 2")]);
    assert_eq!(
        messages(&[("model.gguf", split(1, 2))]),
        ["model.gguf is file 2 of 2 according to its header, so its name should end in -00002-of-00002.gguf"]
    );
    let swapped = messages(&[(first, split(1, 2)), (second, split(0, 1))]);
    assert!(swapped.len() == 2 && swapped[0].starts_with(&format!("{first} is file 2 of 2 according to its header")), "{swapped:?}");
}

#[test]
fn pointers_instead_of_files_are_found() {
    let files = |names: &[&'static str]| names.iter().map(|name| (*name, POINTER.to_vec())).collect::<Vec<_>>();
    let one = |rest: &str| format!("model.safetensors is a {rest}");
    let lfs = "git LFS pointer, not the file itself; `git lfs pull` fetches it";
    assert_eq!(messages(&files(&["model.safetensors"])), [one(lfs)]);
    assert_eq!(
        messages(&files(&["a.md", "tokenizer.json", "x/y.onnx"])),
        ["a.md and 2 other files are git LFS pointers, not the files themselves; `git lfs pull` fetches them"]
    );
    assert_eq!(
        messages(&files(&["a.bin", "b.bin"])),
        ["a.bin and another file are git LFS pointers, not the files themselves; `git lfs pull` fetches them"]
    );
    for (start, rest) in [
        ("version https://hawser.github.com/spec/v1\n", lfs),
        ("# xet version 0\nfilesize = 1\n", "git-xet pointer, not the file itself; `git xet checkout` fetches it"),
        ("/annex/objects/SHA256E-s1--a.bin\n", "git-annex pointer, not the file itself; `git annex get` fetches it"),
    ] {
        assert_eq!(messages(&[("model.safetensors", start.as_bytes().to_vec())]), [one(rest)]);
    }
    // No further messages are given for a shard or an index that is a pointer.
    let shard = messages(&with(whole(), SECOND, POINTER.to_vec()));
    assert_eq!(shard, [format!("{SECOND} is a {lfs}")]);
    assert_eq!(messages(&with(whole(), INDEX, POINTER.to_vec())), [format!("{INDEX} is a {lfs}")]);
    // A longer file with this beginning is a text about pointers.
    assert_complete(&[
        ("lfs.md", [POINTER, &[b'x'; 1024]].concat()),
        ("spec.md", b"see version https://git-lfs.github.com/spec/v1".to_vec()),
    ]);
}

#[test]
fn incomplete_weights_are_found() {
    let mut cut = weights(&["a", "b"]);
    let whole = cut.len();
    cut.pop();
    let messages_for = |path: &'static str, cut: &[u8]| messages(&[(path, cut.to_vec())]);
    let why = format!("model.safetensors is incomplete: its tensors end at byte {whole}, but the file has only {} bytes", whole - 1);
    assert_eq!(messages_for("model.safetensors", &cut), [why]);
    let mut cut = gguf(2, None);
    cut.truncate(cut.len() - 32);
    assert!(messages_for("a.gguf", &cut)[0].starts_with("a.gguf is incomplete: its tensors end at byte "));
    // A file without a valid header is not a gap.
    for content in [&b"GGUF"[..], b"GGUF\x03\0\0\0", &u64::MAX.to_le_bytes(), b"{}"] {
        assert_complete(&[("model.safetensors", content.to_vec()), ("a.gguf", content.to_vec())]);
    }
}

#[test]
fn empty_weights_are_found() {
    assert_eq!(messages(&[("model.safetensors", Vec::new())]), ["model.safetensors is empty, but should contain weights"]);
    let two = messages(&[("a.gguf", Vec::new()), ("b.bin", Vec::new())]);
    assert_eq!(two, ["a.gguf and another file are empty, but should contain weights"]);
    assert_eq!(messages(&with(whole(), FIRST, Vec::new())), [format!("{FIRST} is empty, but should contain weights")]);
}

#[test]
fn missing_external_files_of_an_onnx_model_are_found() {
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8], content].concat();
    let place = |key: &str, value: &str| field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
    // A tensor of 8 numbers: its shape, type and location, and the mark for external data.
    let tensor =
        |location: &str| [vec![8, 8, 16, 1], field(8, b"w"), place("location", location), place("offset", "8"), vec![112, 1]].concat();
    let model = |location: &str| [vec![8, 8], field(7, &field(5, &tensor(location)))].concat();
    assert_complete(&[("m/model.onnx", model("w.onnx_data")), ("m/w.onnx_data", vec![0; 40])]);
    assert_eq!(messages(&[("m/model.onnx", model("w.onnx_data"))]), ["m/model.onnx has tensors in missing files: w.onnx_data"]);
    let short = messages(&[("model.onnx", model("w.onnx_data")), ("w.onnx_data", vec![0; 39])]);
    assert_eq!(short, ["model.onnx has tensors in files that are too short: w.onnx_data"]);
}

#[test]
fn messages_for_a_hostile_directory_are_bounded() {
    let names: Vec<String> = (2..200).map(|total| format!("m-1-of-{total}.gguf")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), b"x".to_vec())).collect();
    assert_eq!(messages(&files).len(), MAX_GAPS);
    let long = "x".repeat(100_000);
    let messages = messages(&[(INDEX, index(&[("a", &long), ("b", &format!("y{long}"))]))]);
    assert!(messages.len() == 1 && messages[0].len() < 1000, "{}", messages[0].len());
}

#[test]
fn a_missing_tensor_is_found_among_many() {
    let names: Vec<String> = (0..20_000).map(|at| format!("model.layers.{at}.weight")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let named: Vec<(&str, &str)> = names.iter().map(|name| (*name, "m.safetensors")).collect();
    assert_complete(&[(INDEX, index(&named)), ("m.safetensors", weights(&names))]);
    let found = messages(&[(INDEX, index(&named)), ("m.safetensors", weights(&names[1..]))]);
    assert_eq!(found, [format!("{INDEX} names 1 tensor that is not in its file: model.layers.0.weight")]);
}
