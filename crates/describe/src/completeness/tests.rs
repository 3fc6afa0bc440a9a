//! Directories of small models: what is told of each, and of whole ones that nothing is.

use super::{Gap, MAX_GAPS, gaps};
use crate::model_files::with_model;
use serde_json::{Map, Value, json};

type Files<'a> = &'a [(&'a str, Vec<u8>)];

/// What is told of these files.
fn told(files: Files<'_>) -> Vec<String> {
    let found = with_model(files, gaps);
    let reversed: Vec<_> = files.iter().rev().cloned().collect();
    assert_eq!(with_model(&reversed, gaps), found, "the order of the files changes what is told");
    for Gap { path, message } in &found {
        assert!(message.starts_with(path.as_str()), "{message}");
    }
    found.iter().map(Gap::to_string).collect()
}

#[track_caller]
fn nothing_told(files: Files<'_>) {
    assert_eq!(told(files), [""; 0]);
}

/// A safetensors file with these tensors, a byte each.
fn weights(names: &[&str]) -> Vec<u8> {
    weights_with(names, Value::Null)
}

/// The same, with these notes in its header.
fn weights_with(names: &[&str], notes: Value) -> Vec<u8> {
    let entries = names.iter().enumerate();
    let mut header: Map<String, Value> =
        entries.map(|(at, name)| ((*name).to_owned(), json!({"dtype": "U8", "shape": [1], "data_offsets": [at, at + 1]}))).collect();
    header.insert("__metadata__".to_owned(), notes);
    let header = Value::from(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; names.len()]].concat()
}

/// An index that has these tensors in these files.
fn index(of: &[(&str, &str)]) -> Vec<u8> {
    let map: Map<String, Value> = of.iter().map(|(tensor, file)| ((*tensor).to_owned(), (*file).into())).collect();
    json!({"metadata": {"total_size": 2}, "weight_map": map}).to_string().into_bytes()
}

/// A GGUF file with so many tensors of one number, split as `split` says: number, count and tensors of all.
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
fn models_that_are_whole() {
    nothing_told(&whole());
    nothing_told(&without(INDEX));
    nothing_told(&with(whole(), "model.safetensors", weights(&["a", "b", "c"])));
    nothing_told(&with(whole(), "consolidated.safetensors", weights(&["x"])));
    nothing_told(&[("adapter_model.safetensors", weights(&["x"])), ("adapter_config.json", b"{}".to_vec())]);
    nothing_told(&[("README.md", Vec::new()), ("src/__init__.py", Vec::new())]);
    nothing_told(&[("model-00000-of-00002.safetensors", weights(&["a"])), ("model-00001-of-00002.safetensors", weights(&["b"]))]);
    let nested: Vec<_> = whole().into_iter().map(|(path, content)| (format!("original/{path}"), content)).collect();
    let nested: Vec<_> = nested.iter().map(|(path, content)| (path.as_str(), content.clone())).collect();
    nothing_told(&nested);
    // Who converts weights leaves out what is tied, and notes it where the index has it.
    let tied = index(&[("a", FIRST), ("b", FIRST), ("c", SECOND), ("lm_head", SECOND)]);
    let second = |notes: Value| with(with(whole(), INDEX, tied.clone()), SECOND, weights_with(&["c"], notes));
    nothing_told(&second(json!({"format": "pt", "lm_head": "c"})));
    for notes in [json!({"format": "pt", "lm_head": "nothing"}), json!({"lm_head": {"lm_head": "c"}}), json!(["lm_head", {}]), json!("c")] {
        assert_eq!(told(&second(notes)), [format!("{INDEX} names 1 tensor that is not in its file: lm_head")]);
    }
    nothing_told(&with(whole(), INDEX, index(&[("a", "./model-00001-of-00002.safetensors"), ("b", FIRST), ("c", SECOND)])));
}

#[test]
fn an_index_beside_the_weights_of_another_kind_is_none_of_theirs() {
    let index = || index(&[("a", FIRST), ("b", SECOND)]);
    // One file in the place of the shards.
    nothing_told(&[(INDEX, index()), ("model.safetensors", weights(&["a", "b"]))]);
    nothing_told(&[("model.safetensors.index.fp16.json", index()), ("model.fp16.safetensors", weights(&["a"]))]);
    // Of another format.
    nothing_told(&with(whole(), "pytorch_model.bin.index.json", super::tests::index(&[("a", "pytorch_model-00001-of-00001.bin")])));
    nothing_told(&with(whole(), "tf_model.h5.index.json", super::tests::index(&[("a", "tf_model-00001-of-00001.h5")])));
    nothing_told(&[(INDEX, index()), ("a.Q4_K_M.gguf", gguf(1, None))]);
    // Of another variant.
    nothing_told(&with(
        whole(),
        "model.safetensors.index.fp16.json",
        super::tests::index(&[("a", "model.fp16-00001-of-00002.safetensors")]),
    ));
    nothing_told(&[(INDEX, index()), ("model.fp16.safetensors", weights(&["a"]))]);
    // Transformers asks for safetensors first, and finds the index.
    let stale = told(&[(INDEX, index()), ("pytorch_model.bin", vec![1])]);
    assert_eq!(stale, [format!("{INDEX} names 2 files that are not there: {FIRST}, {SECOND}")]);
}

#[test]
fn shards_that_an_index_names_and_nobody_has() {
    assert_eq!(told(&without(SECOND)), [format!("{INDEX} names 1 file that is not there: {SECOND}")]);
    let none = [(INDEX, index(&[("a", "a"), ("b", "../b"), ("c", "/c"), ("d", "x/d")]))];
    assert_eq!(told(&none), [format!("{INDEX} names 4 files that are not there: ../b, /c, a and 1 more")]);
    let pytorch = told(&[
        ("p/pytorch_model.bin.index.json", index(&[("a", "pytorch_model-00001-of-00002.bin"), ("b", "pytorch_model-00002-of-00002.bin")])),
        ("p/pytorch_model-00001-of-00002.bin", vec![1]),
    ]);
    assert_eq!(pytorch, ["p/pytorch_model.bin.index.json names 1 file that is not there: p/pytorch_model-00002-of-00002.bin"]);
    let variant = told(&[
        ("diffusion_pytorch_model.safetensors.index.fp16.json", index(&[("a", "x-1-of-2.safetensors"), ("b", "x-2-of-2.safetensors")])),
        ("x-1-of-2.safetensors", weights(&["a"])),
    ]);
    assert_eq!(variant, ["diffusion_pytorch_model.safetensors.index.fp16.json names 1 file that is not there: x-2-of-2.safetensors"]);
}

#[test]
fn tensors_that_are_not_where_the_index_has_them() {
    let of = |map: &[(&str, &str)]| told(&with(whole(), INDEX, index(map)));
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
    // What cannot be read is no reason to say more.
    let broken = with(whole(), SECOND, b"no header".to_vec());
    nothing_told(&broken);
    // In Python the last of two counts.
    let twice = format!(r#"{{"weight_map":{{"a":"{SECOND}","a":"{FIRST}","b":"{FIRST}","c":"{SECOND}"}}}}"#);
    nothing_told(&with(whole(), INDEX, twice.into_bytes()));
    // One that is in both files is in the right one.
    nothing_told(&with(whole(), SECOND, weights(&["c", "a"])));
}

#[test]
fn an_index_that_cannot_be_read() {
    for content in
        ["", "{", "[]", "{}", r#"{"weight_map":[]}"#, r#"{"weight_map":{"a":1}}"#, r#"{"weight_map":{},"weight_map":{}}"#, "{}{}"]
    {
        let told = told(&with(whole(), INDEX, content.as_bytes().to_vec()));
        assert!(told.len() == 1 && told[0].starts_with(&format!("{INDEX} cannot be read")), "{content}: {told:?}");
    }
    // Beside the file that has all, it is read all the same if that is the one it names.
    nothing_told(&[(INDEX, index(&[("a", "model.safetensors")])), ("model.safetensors", weights(&["a"]))]);
    let named = told(&[(INDEX, index(&[("a", "model.safetensors")])), ("model.safetensors", weights(&["b"]))]);
    assert_eq!(
        named,
        [format!("{INDEX} names 1 tensor that is not in its file: a"), format!("{INDEX} does not name 1 tensor of its files: b")]
    );
    // Others are called like that too.
    nothing_told(&[("search.index.json", b"[]".to_vec())]);
}

#[test]
fn sets_of_shards_by_their_names() {
    assert_eq!(told(&[(SECOND, weights(&["c"]))]), [format!("{SECOND} is one of 2 files, of which 1 is missing: number 1")]);
    let two_sets = told(&[("model-00001-of-00003.safetensors", weights(&["a"])), (SECOND, weights(&["c"]))]);
    assert_eq!(
        two_sets,
        [
            format!("{SECOND} is one of 2 files, of which 1 is missing: number 1"),
            "model-00001-of-00003.safetensors is one of 3 files, of which 2 are missing: number 2, 3".to_owned(),
            format!("{SECOND} and model-00001-of-00003.safetensors are shards of different sets"),
        ]
    );
    // One is left over of the set before.
    let left = told(&with(whole(), "model-00003-of-00003.safetensors", weights(&["a"])));
    assert_eq!(left.len(), 2, "{left:?}");
    // A data set's files may be parts of more.
    nothing_told(&[("data/train-00000-of-00010.parquet", vec![1])]);
    let variants = [("model-00001-of-00001.safetensors", weights(&["a"])), ("model.fp16-00001-of-00001.safetensors", weights(&["a"]))];
    nothing_told(&variants);
}

#[test]
fn files_that_a_gguf_model_was_split_into() {
    let (first, second) = ("x-00001-of-00002.gguf", "x-00002-of-00002.gguf");
    let split = |number, tensors| gguf(tensors, Some((number, 2, 3)));
    nothing_told(&[(first, split(0, 1)), (second, split(1, 2))]);
    nothing_told(&[("a.Q4_K_M.gguf", gguf(1, None)), ("a.Q8_0.gguf", gguf(1, None)), ("mmproj.gguf", gguf(1, Some((0, 1, 1))))]);
    nothing_told(&[("a/x-00001-of-00001.gguf", gguf(1, None)), ("b/x-00001-of-00001.gguf", gguf(1, None))]);
    // What only splits bytes says nothing of it.
    nothing_told(&[(first, gguf(1, None)), (second, gguf(1, None))]);
    assert_eq!(told(&[(first, split(0, 1))]), [format!("{first} is one of 2 files, of which 1 is missing: number 2")]);
    let short = told(&[(first, split(0, 1)), (second, split(1, 1))]);
    assert_eq!(short, [format!("{first} says that the 2 files have 3 tensors together, and they have 2")]);
    assert_eq!(
        told(&[("model.gguf", split(1, 2))]),
        ["model.gguf is file 2 of 2 by its header, so that its name should end in -00002-of-00002.gguf"]
    );
    let swapped = told(&[(first, split(1, 2)), (second, split(0, 1))]);
    assert!(swapped.len() == 2 && swapped[0].starts_with(&format!("{first} is file 2 of 2 by its header")), "{swapped:?}");
}

#[test]
fn pointers_in_the_place_of_files() {
    let files = |names: &[&'static str]| names.iter().map(|name| (*name, POINTER.to_vec())).collect::<Vec<_>>();
    let one = |rest: &str| format!("model.safetensors is a pointer of {rest}");
    let lfs = "git LFS, not the file itself; `git lfs pull` fetches it";
    assert_eq!(told(&files(&["model.safetensors"])), [one(lfs)]);
    assert_eq!(
        told(&files(&["a.md", "tokenizer.json", "x/y.onnx"])),
        ["a.md and 2 other files are pointers of git LFS, not the files themselves; `git lfs pull` fetches them"]
    );
    assert_eq!(
        told(&files(&["a.bin", "b.bin"])),
        ["a.bin and another file are pointers of git LFS, not the files themselves; `git lfs pull` fetches them"]
    );
    for (start, rest) in [
        ("version https://hawser.github.com/spec/v1\n", lfs),
        ("# xet version 0\nfilesize = 1\n", "git-xet, not the file itself; `git xet checkout` fetches it"),
        ("/annex/objects/SHA256E-s1--a.bin\n", "git-annex, not the file itself; `git annex get` fetches it"),
    ] {
        assert_eq!(told(&[("model.safetensors", start.as_bytes().to_vec())]), [one(rest)]);
    }
    // Of a shard that is a pointer no more is told, nor of an index.
    let shard = told(&with(whole(), SECOND, POINTER.to_vec()));
    assert_eq!(shard, [format!("{SECOND} is a pointer of {lfs}")]);
    assert_eq!(told(&with(whole(), INDEX, POINTER.to_vec())), [format!("{INDEX} is a pointer of {lfs}")]);
    // What begins so and goes on is a text about pointers.
    nothing_told(&[("lfs.md", [POINTER, &[b'x'; 1024]].concat()), ("spec.md", b"see version https://git-lfs.github.com/spec/v1".to_vec())]);
}

#[test]
fn weights_that_are_cut() {
    let mut cut = weights(&["a", "b"]);
    let whole = cut.len();
    cut.pop();
    let told_of = |path: &'static str, cut: &[u8]| told(&[(path, cut.to_vec())]);
    let why = format!("model.safetensors is not whole: its tensors end at byte {whole}, but the file has only {} bytes", whole - 1);
    assert_eq!(told_of("model.safetensors", &cut), [why]);
    let mut cut = gguf(2, None);
    cut.truncate(cut.len() - 32);
    assert!(told_of("a.gguf", &cut)[0].starts_with("a.gguf is not whole: its tensors end at byte "));
    // What has no sound header is another matter.
    for content in [&b"GGUF"[..], b"GGUF\x03\0\0\0", &u64::MAX.to_le_bytes(), b"{}"] {
        nothing_told(&[("model.safetensors", content.to_vec()), ("a.gguf", content.to_vec())]);
    }
}

#[test]
fn weights_without_a_byte() {
    assert_eq!(told(&[("model.safetensors", Vec::new())]), ["model.safetensors is empty, and should be weights"]);
    let two = told(&[("a.gguf", Vec::new()), ("b.bin", Vec::new())]);
    assert_eq!(two, ["a.gguf and another file are empty, and should be weights"]);
    assert_eq!(told(&with(whole(), FIRST, Vec::new())), [format!("{FIRST} is empty, and should be weights")]);
}

#[test]
fn tensors_of_an_onnx_model_in_files_beside_it() {
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8], content].concat();
    let place = |key: &str, value: &str| field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
    // A tensor of 8 numbers: its shape, type, places, and that its bytes are elsewhere.
    let tensor =
        |location: &str| [vec![8, 8, 16, 1], field(8, b"w"), place("location", location), place("offset", "8"), vec![112, 1]].concat();
    let model = |location: &str| [vec![8, 8], field(7, &field(5, &tensor(location)))].concat();
    nothing_told(&[("m/model.onnx", model("w.onnx_data")), ("m/w.onnx_data", vec![0; 40])]);
    assert_eq!(told(&[("m/model.onnx", model("w.onnx_data"))]), ["m/model.onnx has tensors in files that are not there: w.onnx_data"]);
    let short = told(&[("model.onnx", model("w.onnx_data")), ("w.onnx_data", vec![0; 39])]);
    assert_eq!(short, ["model.onnx has tensors in files that are too short: w.onnx_data"]);
}

#[test]
fn a_hostile_directory_is_told_of_in_few_words() {
    let names: Vec<String> = (2..200).map(|total| format!("m-1-of-{total}.gguf")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), b"x".to_vec())).collect();
    assert_eq!(told(&files).len(), MAX_GAPS);
    let long = "x".repeat(100_000);
    let told = told(&[(INDEX, index(&[("a", &long), ("b", &format!("y{long}"))]))]);
    assert!(told.len() == 1 && told[0].len() < 1000, "{}", told[0].len());
}

#[test]
fn many_tensors_are_found() {
    let names: Vec<String> = (0..20_000).map(|at| format!("model.layers.{at}.weight")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let named: Vec<(&str, &str)> = names.iter().map(|name| (*name, "m.safetensors")).collect();
    nothing_told(&[(INDEX, index(&named)), ("m.safetensors", weights(&names))]);
    let found = told(&[(INDEX, index(&named)), ("m.safetensors", weights(&names[1..]))]);
    assert_eq!(found, [format!("{INDEX} names 1 tensor that is not in its file: model.layers.0.weight")]);
}
