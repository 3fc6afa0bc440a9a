//! A small model: the files of the repository of a Llama on a model hub, with random weights. The
//! tests of the binary pack it too.

use serde_json::{Map, Value, json};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

const HIDDEN: usize = 128;
const INTERMEDIATE: usize = 384;
const LAYERS: usize = 4;
const HEADS: usize = 8;
const KEY_VALUE_HEADS: usize = 4;
const VOCABULARY: usize = 320;

/// Writes a Llama of 869,504 bfloat16 parameters, 1.7 MB in two shards, into `directory`, which is
/// created if it is missing.
///
/// It has the usual files of such a repository: tokenizer, configs, model card, licence, code. One
/// file is executable, one is empty, and some are in nested directories. The bytes are always the
/// same.
pub(crate) fn write_small_model(directory: &Path) -> io::Result<()> {
    let half = LAYERS / 2;
    let mut first = vec![("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN])];
    first.extend((0..half).flat_map(layer_tensors));
    let mut second: Vec<_> = (half..LAYERS).flat_map(layer_tensors).collect();
    second.push(("model.norm.weight".to_owned(), vec![HIDDEN]));
    second.push(("lm_head.weight".to_owned(), vec![VOCABULARY, HIDDEN]));

    fs::create_dir_all(directory.join("examples/prompts"))?;
    let mut weights = Weights(0x5eed);
    let mut weight_map = Map::new();
    let mut total_size = 0;
    for (name, tensors) in [("model-00001-of-00002.safetensors", first), ("model-00002-of-00002.safetensors", second)] {
        write(directory, name, safetensors(&tensors, &mut weights))?;
        for (tensor, shape) in tensors {
            total_size += bytes_of(&shape);
            weight_map.insert(tensor, name.into());
        }
    }
    let index = json!({ "metadata": { "total_size": total_size }, "weight_map": weight_map });
    write(directory, "model.safetensors.index.json", pretty(&index))?;
    write(directory, "config.json", pretty(&config()))?;
    write(directory, "generation_config.json", pretty(&json!({ "bos_token_id": 1, "eos_token_id": 2, "do_sample": false })))?;
    write(directory, "tokenizer.json", pretty(&tokenizer()))?;
    write(directory, "tokenizer_config.json", pretty(&tokenizer_config()))?;
    write(directory, "README.md", MODEL_CARD)?;
    write(directory, "LICENSE", LICENSE)?;
    write(directory, "examples/__init__.py", "")?;
    write(directory, "examples/generate.py", SCRIPT)?;
    fs::set_permissions(directory.join("examples/generate.py"), fs::Permissions::from_mode(0o755))?;
    write(directory, "examples/prompts/greeting.txt", "Hello, who are you?\n")
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644).open(directory.join(name))?.write_all(content.as_ref())
}

fn layer_tensors(layer: usize) -> Vec<(String, Vec<usize>)> {
    let key_value = HIDDEN / HEADS * KEY_VALUE_HEADS;
    let tensor = |name, shape: &[usize]| (format!("model.layers.{layer}.{name}.weight"), shape.to_vec());
    vec![
        tensor("input_layernorm", &[HIDDEN]),
        tensor("mlp.down_proj", &[HIDDEN, INTERMEDIATE]),
        tensor("mlp.gate_proj", &[INTERMEDIATE, HIDDEN]),
        tensor("mlp.up_proj", &[INTERMEDIATE, HIDDEN]),
        tensor("post_attention_layernorm", &[HIDDEN]),
        tensor("self_attn.k_proj", &[key_value, HIDDEN]),
        tensor("self_attn.o_proj", &[HIDDEN, HIDDEN]),
        tensor("self_attn.q_proj", &[HIDDEN, HIDDEN]),
        tensor("self_attn.v_proj", &[key_value, HIDDEN]),
    ]
}

fn bytes_of(shape: &[usize]) -> usize {
    2 * shape.iter().product::<usize>()
}

/// A safetensors file: the length of the header, the header padded to eight bytes, the tensors one after the other.
fn safetensors(tensors: &[(String, Vec<usize>)], weights: &mut Weights) -> Vec<u8> {
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut data = Vec::new();
    for (name, shape) in tensors {
        let begin = data.len();
        for _ in 0..bytes_of(shape) / 2 {
            data.extend(weights.next().to_le_bytes());
        }
        header.insert(name.clone(), json!({ "dtype": "BF16", "shape": shape, "data_offsets": [begin, data.len()] }));
    }
    let mut header = Value::Object(header).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// Pseudo-random bfloat16 numbers (SplitMix64). They are computed only with integers, so that they
/// are the same on every machine.
struct Weights(u64);

impl Weights {
    fn next(&mut self) -> u16 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Sign, last bit of the exponent and mantissa are random, so the magnitude is between 1/128
        // and 1/32.
        0x3c00 | ((mixed >> 48) as u16 & 0x80ff)
    }
}

fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": false,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 512,
        "model_type": "llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": false,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.40.0",
        "use_cache": true,
        "vocab_size": VOCABULARY,
    })
}

const SPECIAL_TOKENS: [&str; 3] = ["<unk>", "<s>", "</s>"];

/// One token per byte: byte-level BPE without merges. Invisible bytes are written as characters
/// from U+0100 on.
fn tokenizer() -> Value {
    let visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let hidden = (0x100..).filter_map(char::from_u32).take((0..=u8::MAX).filter(|byte| !visible(byte)).count());
    let bytes = (0..=u8::MAX).filter(visible).map(char::from).chain(hidden).map(String::from);
    let vocabulary = SPECIAL_TOKENS.map(str::to_owned).into_iter().chain(bytes);
    let vocabulary: Map<String, Value> = vocabulary.zip(0..).map(|(token, id)| (token, Value::from(id))).collect();
    let added: Vec<Value> = SPECIAL_TOKENS
        .iter()
        .zip(0..)
        .map(|(token, id)| {
            json!({ "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true })
        })
        .collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": "<unk>",
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "vocab": vocabulary,
            "merges": [],
        },
    })
}

fn tokenizer_config() -> Value {
    let [unknown, begin, end] = SPECIAL_TOKENS;
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": unknown,
        "bos_token": begin,
        "eos_token": end,
        "model_max_length": 512,
        "clean_up_tokenization_spaces": false,
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

const MODEL_CARD: &str = "---
license: apache-2.0
language:
- en
library_name: transformers
pipeline_tag: text-generation
tags:
- llama
---
# Small Llama

A decoder of four layers over a vocabulary of bytes. Its weights are random: it loads and runs like any Llama, and writes nonsense.

## Use

    ./examples/generate.py examples/prompts/greeting.txt
";

const LICENSE: &str = "                                 Apache License
                           Version 2.0, January 2004
                        http://www.apache.org/licenses/

   The whole text is at http://www.apache.org/licenses/LICENSE-2.0
";

const SCRIPT: &str = "#!/usr/bin/env python3
import pathlib
import sys

from transformers import pipeline

model = pathlib.Path(__file__).resolve().parent.parent
prompt = pathlib.Path(sys.argv[1]).read_text()
print(pipeline(\"text-generation\", model=str(model))(prompt))
";
