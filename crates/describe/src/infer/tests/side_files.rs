//! Metadata from config, model card, chat template and licence.

use super::{annotation, inferred, source, value};
use serde_json::{Value, json};

fn of_config(config: Value, field: &str) -> Value {
    value(&inferred(&[("config.json", config.to_string().as_bytes())]), field)
}

fn of_card(card: &str, field: &str) -> Value {
    value(&inferred(&[("README.md", card.as_bytes())]), field)
}

#[test]
fn the_family_is_that_of_the_text_model() {
    let config = json!({"model_type": "llava", "text_config": {"model_type": "llama"}});
    assert_eq!(of_config(config, "descriptor.family"), "llama");
    assert_eq!(of_config(json!({"model_type": "bert"}), "descriptor.family"), "bert");
    assert_eq!(of_config(json!({"model_type": 7}), "descriptor.family"), Value::Null);
    assert_eq!(of_config(json!({"model_type": " "}), "descriptor.family"), Value::Null);
    assert_eq!(of_config(json!({"model_type": "x".repeat(10_000)}), "descriptor.family"), Value::Null);
}

#[test]
fn the_architecture_comes_from_the_family_or_else_the_library() {
    for (config, expected) in [
        (json!({"model_type": "mamba2", "transformers_version": "4"}), json!("mamba")),
        (json!({"model_type": "rwkv6"}), json!("rwkv")),
        (json!({"model_type": "resnet", "transformers_version": "4"}), json!("cnn")),
        (json!({"model_type": "new", "transformers_version": "4"}), json!("transformer")),
        (json!({"model_type": "new", "architectures": ["NewForCausalLM"]}), json!("transformer")),
        (json!({"model_type": "timm_wrapper", "transformers_version": "4"}), Value::Null),
        (json!({"model_type": "new"}), Value::Null),
    ] {
        assert_eq!(of_config(config.clone(), "config.architecture"), expected, "{config}");
    }
}

#[test]
fn the_config_gives_precision_and_quantization_if_no_header_does() {
    for (config, expected) in [
        (json!({"torch_dtype": "float16"}), json!("float16")),
        (json!({"dtype": "bfloat16", "torch_dtype": "float32"}), json!("bfloat16")),
        (json!({"text_config": {"torch_dtype": "torch.bfloat16"}}), json!("bfloat16")),
        (json!({"torch_dtype": "auto"}), Value::Null),
        (json!({"torch_dtype": 16}), Value::Null),
    ] {
        assert_eq!(of_config(config.clone(), "config.precision"), expected, "{config}");
    }
    assert_eq!(of_config(json!({"quantization_config": {"quant_method": "AWQ"}}), "config.quantization"), "awq");
    assert_eq!(of_config(json!({"quantization_config": []}), "config.quantization"), Value::Null);
}

#[test]
fn input_and_output_types_come_from_the_task_or_else_the_files() {
    let types = |files: &[(&str, &[u8])]| {
        let inferred = inferred(files);
        (value(&inferred, "config.capabilities.inputTypes"), value(&inferred, "config.capabilities.outputTypes"))
    };
    let task: (&str, &[u8]) = ("README.md", b"---\npipeline_tag: text-to-image\n---\n");
    let unknown: (&str, &[u8]) = ("README.md", b"---\npipeline_tag: any-to-any\n---\n");
    let modules: (&str, &[u8]) = ("modules.json", br#"[{"type":"sentence_transformers.models.Transformer"}]"#);
    let causal: (&str, &[u8]) = ("config.json", br#"{"architectures":["XForCausalLM"]}"#);
    let seeing: (&str, &[u8]) = ("config.json", br#"{"architectures":["XForConditionalGeneration"],"vision_config":{},"audio_config":{}}"#);
    let speech: (&str, &[u8]) = ("config.json", br#"{"architectures":["WhisperForConditionalGeneration"]}"#);
    let headless: (&str, &[u8]) = ("config.json", br#"{"architectures":["BertModel"]}"#);
    for (files, expected) in [
        (&[task, modules, causal][..], (json!(["text"]), json!(["image"]))),
        (&[unknown, modules], (json!(["text"]), json!(["embedding"]))),
        (&[modules, causal], (json!(["text"]), json!(["embedding"]))),
        (&[causal], (json!(["text"]), json!(["text"]))),
        (&[seeing], (json!(["audio", "image", "text"]), json!(["text"]))),
        (&[speech], (Value::Null, Value::Null)),
        (&[headless], (Value::Null, Value::Null)),
    ] {
        assert_eq!(types(files), expected, "{files:?}");
    }
}

#[test]
fn a_reward_model_has_the_tag_and_the_head() {
    let reward = |tag: &str, class: &str| {
        let card = format!("---\ntags: [{tag}]\n---\n");
        let config = json!({"architectures": [class]}).to_string();
        value(&inferred(&[("README.md", card.as_bytes()), ("config.json", config.as_bytes())]), "config.capabilities.reward")
    };
    assert_eq!(reward("reward-model", "XForSequenceClassification"), true);
    assert_eq!(reward("reward-model", "XForCausalLM"), Value::Null);
    assert_eq!(reward("toxic", "XForSequenceClassification"), Value::Null);
}

#[test]
fn the_card_gives_name_licence_languages_and_data_sets() {
    let card = "---\nlicense: other\nlicense_name: My Own!\nlanguage: no\ndatasets: org/set\nmodel_name: B\nmodel-index:\n- name: A\n---\n";
    assert_eq!(of_card(card, "descriptor.name"), "A");
    assert_eq!(of_card(card, "descriptor.licenses"), json!(["LicenseRef-my-own-"]));
    assert_eq!(of_card(card, "config.capabilities.languages"), json!(["no"]));
    assert_eq!(of_card(card, "descriptor.datasetsURL"), json!(["org/set"]));
    assert_eq!(of_card("---\nmodel_name: B\n---\n", "descriptor.name"), "B");
    assert_eq!(of_card("---\nlanguage: [zh-CN, en, multilingual, yue]\n---\n", "config.capabilities.languages"), json!(["zh", "en"]));
    assert_eq!(of_card("---\nlicense: [mit, cc-by-4.0]\n---\n", "descriptor.licenses"), json!(["MIT", "CC-BY-4.0"]));
    assert_eq!(of_card("---\nlicense: {a: b}\nlanguage: 7\ndatasets:\n---\n", "descriptor.licenses"), Value::Null);
}

#[test]
fn a_broken_card_still_has_its_text() {
    let card = "---\nlicense: [unclosed\n---\n# Title\n\nThis is the text of it.\n";
    assert_eq!(of_card(card, "descriptor.licenses"), Value::Null);
    assert_eq!(of_card(card, "descriptor.description"), "This is the text of it.");
}

#[test]
fn scalars_of_a_card_are_texts() {
    let card = "---\nversion: 1.10\nlanguage: no\nmodel_name: 1e3\nbase_model: 007\nlicense: mit\ntags: [1.0, on]\n---\n";
    assert_eq!(of_card(card, "descriptor.version"), "1.10");
    assert_eq!(of_card(card, "config.capabilities.languages"), json!(["no"]));
    assert_eq!(of_card(card, "descriptor.name"), "1e3");
    let inferred = inferred(&[("README.md", card.as_bytes())]);
    assert_eq!(annotation(&inferred, "dev.modelpack.base-model").map(|(base, _)| base), Some("007"));
    assert_eq!(inferred.warnings, [""; 0]);
}

#[test]
fn a_malformed_card_gives_a_warning_and_is_read_in_part() {
    let read = |card: &str| inferred(&[("README.md", card.as_bytes())]);
    let broken = read("---\nlicense: mit\ntitle: Tiny: a model\nversion: 1.10\n---\n# Tiny\n\nThis is the text of it.\n");
    assert_eq!(value(&broken, "descriptor.licenses"), json!(["MIT"]));
    assert_eq!(value(&broken, "descriptor.version"), "1.10");
    assert_eq!(value(&broken, "descriptor.title"), "Tiny");
    assert_eq!(value(&broken, "descriptor.description"), "This is the text of it.");
    let [warning] = &broken.warnings[..] else { panic!("{:?}", broken.warnings) };
    assert!(warning.starts_with("README.md is read in part: line 3, column 12: its front matter does not parse: "), "{warning}");
    let open = read("---\nlicense: mit\nversion: 2\n\n# Tiny\n\nThis is the text of it.\n");
    assert_eq!(open.warnings, ["README.md is read in part: its front matter has no end, another line `---`"]);
    assert_eq!((value(&open, "descriptor.licenses"), value(&open, "descriptor.title")), (json!(["MIT"]), json!("Tiny")));
    for honest in ["", "# Tiny\n", "---\n---\n# Tiny\n", "---\nA rule stands above this text.\n---\n", "---\nlicense: mit\n---\n"] {
        assert_eq!(read(honest).warnings, [""; 0], "{honest}");
    }
    assert_eq!(value(&read("---\nA rule stands above this text.\n---\n"), "descriptor.description"), Value::Null);
}

#[test]
fn the_licence_file_is_used_if_the_card_has_no_licence() {
    let text: (&str, &[u8]) = ("License.txt", b"Apache License\nVersion 2.0, January 2004");
    let licences = |card: &[u8]| inferred(&[text, ("README.md", card)]);
    let silent = licences(b"---\nlicense: other\n---\n");
    assert_eq!(value(&silent, "descriptor.licenses"), json!(["Apache-2.0"]));
    assert_eq!(source(&silent, "descriptor.licenses"), "License.txt");
    assert_eq!(value(&licences(b"---\nlicense: mit\n---\n"), "descriptor.licenses"), json!(["MIT"]));
}

#[test]
fn the_chat_template_shows_tools_and_reasoning() {
    let capabilities = |files: &[(&str, &[u8])]| {
        let inferred = inferred(files);
        (value(&inferred, "config.capabilities.toolUsage"), value(&inferred, "config.capabilities.reasoning"))
    };
    let own: (&str, &[u8]) = ("chat_template.jinja", b"{%- if tools %}{{ tools | tojson }}{% endif %}");
    let in_config: (&str, &[u8]) = ("tokenizer_config.json", br#"{"added":[1],"chat_template":"{% if enable_thinking %}{% endif %}"}"#);
    let named: (&str, &[u8]) = (
        "tokenizer_config.json",
        br#"{"chat_template":[{"name":"default","template":"<think>"},{"name":"tool_use","template":"{{tools}}"}]}"#,
    );
    let prose: (&str, &[u8]) = ("chat_template.jinja", b"You may use tools. {{ 'tools' }}");
    let yes = json!(true);
    assert_eq!(capabilities(&[own, in_config]), (yes.clone(), Value::Null));
    assert_eq!(capabilities(&[in_config]), (Value::Null, yes.clone()));
    assert_eq!(capabilities(&[named]), (yes.clone(), yes));
    assert_eq!(capabilities(&[prose]), (Value::Null, Value::Null));
    assert_eq!(capabilities(&[("tokenizer_config.json", br#"{"chat_template":7}"#)]), (Value::Null, Value::Null));
}

#[test]
fn reasoning_markers_of_each_family_are_recognised() {
    let reasoning = |template: &str| value(&inferred(&[("chat_template.jinja", template.as_bytes())]), "config.capabilities.reasoning");
    for template in
        ["{% if thinking %}", "{{ reasoning_effort }}", "<seed:think>", "[THINK]", "<|START_THINKING|>", "{{ thinking_budget }}"]
    {
        assert_eq!(reasoning(template), json!(true), "{template}");
    }
    for template in ["You are thinking.", "{{ content.split('</think>')[-1] }}", "{{ 'reasoning_effort' }}"] {
        assert_eq!(reasoning(template), Value::Null, "{template}");
    }
}

#[test]
fn the_name_is_the_loaded_name_unless_that_is_the_base_model() {
    let name = |id: &str, card: &str| {
        let config = json!({ "_name_or_path": id }).to_string();
        value(&inferred(&[("config.json", config.as_bytes()), ("README.md", card.as_bytes())]), "descriptor.name")
    };
    assert_eq!(name("org/tiny-llama", ""), "tiny-llama");
    assert_eq!(name("org/tiny-llama", "# Tiny Llama v2\n"), "tiny-llama");
    assert_eq!(name("org/base", "# Tiny Llama\n"), Value::Null);
    assert_eq!(name("org/base", "---\nbase_model: org/base\n---\n"), Value::Null);
    assert_eq!(name("/home/me/checkpoint-500", ""), Value::Null);
    assert_eq!(name("org/tiny-llama", "---\nmodel_name: Other\n---\n"), "Other");
    let trained = inferred(&[("config.json", br#"{"_name_or_path":"org/base"}"#), ("modules.json", b"[]")]);
    assert_eq!(value(&trained, "descriptor.name"), Value::Null);
}

#[test]
fn the_card_gives_title_version_and_base() {
    let card = "---\nversion: 1.5\nbase_model:\n- org/base\n- /home/me/other\n- org/second\n---\n# Model card for Tiny\n";
    let inferred = inferred(&[("README.md", card.as_bytes())]);
    assert_eq!(value(&inferred, "descriptor.title"), "Tiny");
    assert_eq!(value(&inferred, "descriptor.version"), "1.5");
    assert_eq!(annotation(&inferred, "dev.modelpack.base-model"), Some(("org/base,org/second", "README.md: `base_model`")));
}

#[test]
fn tags_give_the_task_if_they_agree() {
    let outputs = |tags: &str| of_card(&format!("---\ntags: [{tags}]\n---\n"), "config.capabilities.outputTypes");
    assert_eq!(outputs("feature-extraction, sentence-similarity, bert"), json!(["embedding"]));
    assert_eq!(outputs("feature-extraction, text-generation"), Value::Null);
    assert_eq!(outputs("bert"), Value::Null);
}

#[test]
fn the_context_length_is_the_effective_limit() {
    let config: (&str, &[u8]) = ("config.json", br#"{"max_position_embeddings":512,"text_config":{"max_position_embeddings":2048}}"#);
    let cut: (&str, &[u8]) = ("sentence_bert_config.json", br#"{"max_seq_length":256}"#);
    let tokenizer: (&str, &[u8]) = ("tokenizer_config.json", br#"{"model_max_length":128}"#);
    let endless: (&str, &[u8]) = ("tokenizer_config.json", br#"{"model_max_length":1000000000000000019884624838656}"#);
    for (files, expected) in [
        (&[config, cut, tokenizer][..], Some("256")),
        (&[config, tokenizer], Some("2048")),
        (&[tokenizer], Some("128")),
        (&[endless], None),
    ] {
        let inferred = inferred(files);
        assert_eq!(annotation(&inferred, "dev.modelpack.context-length").map(|(tokens, _)| tokens), expected, "{files:?}");
    }
}

#[test]
fn a_speech_model_gives_its_languages_and_inputs() {
    let generation = br#"{"lang_to_id":{"<|en|>":1,"<|de|>":2,"<|haw|>":3},"task_to_id":{"transcribe":4}}"#;
    let inferred = inferred(&[("generation_config.json", generation)]);
    assert_eq!(value(&inferred, "config.capabilities.inputTypes"), json!(["audio"]));
    assert_eq!(value(&inferred, "config.capabilities.outputTypes"), json!(["text"]));
    let languages = value(&inferred, "config.capabilities.languages");
    assert!(languages == json!(["de", "en"]) || languages == json!(["en", "de"]), "{languages}");
}

#[test]
fn mlx_has_its_own_key() {
    let config = json!({"quantization": {"bits": 4, "group_size": 64}, "quantization_config": {"bits": 4, "group_size": 64}});
    assert_eq!(of_config(config, "config.quantization"), "mlx");
}

#[test]
fn too_large_side_files_give_no_metadata_and_a_warning() {
    let many = format!("{{\"model_type\":\"bert\",\"x\":[{}0]}}", "0,".repeat(1_000_000));
    let nested = format!("{{\"model_type\":\"bert\",\"x\":{}", "[".repeat(1_000_000));
    for (config, why) in [(many, "more than 64 MiB"), (nested, "nested more than")] {
        let inferred = inferred(&[("config.json", config.as_bytes())]);
        assert_eq!(value(&inferred, "descriptor.family"), Value::Null);
        assert!(inferred.warnings.len() == 1 && inferred.warnings[0].contains(why), "{:?}", inferred.warnings);
    }
}
