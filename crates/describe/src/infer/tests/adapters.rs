//! PEFT adapters.

use super::{annotation, inferred, safetensors_of, value};
use serde_json::{Value, json};

const CONFIG: &[u8] = br#"{"base_model_name_or_path":"org/base","peft_type":"LORA","task_type":"CAUSAL_LM","r":8}"#;

#[test]
fn an_adapter_gives_its_base_model_and_kind() {
    let weights = safetensors_of(&[("a.lora_A.weight", "F32", 32, &[8, 100]), ("a.lora_B.weight", "F32", 32, &[100, 8])]);
    let inferred = inferred(&[("adapter_config.json", CONFIG), ("adapter_model.safetensors", &weights)]);
    assert_eq!(annotation(&inferred, "dev.modelpack.base-model"), Some(("org/base", "adapter_config.json: `base_model_name_or_path`")));
    assert_eq!(annotation(&inferred, "dev.modelpack.adapter"), Some(("lora", "adapter_config.json: `peft_type`")));
    assert_eq!(value(&inferred, "config.paramSize"), "1.6K");
    assert_eq!(value(&inferred, "config.precision"), "float32");
    assert_eq!(value(&inferred, "config.capabilities.outputTypes"), json!(["text"]));
}

#[test]
fn an_adapter_beside_a_model_does_not_describe_the_model() {
    let weights = safetensors_of(&[("a", "F32", 32, &[1000])]);
    let inferred = inferred(&[("adapter_config.json", CONFIG), ("adapter_model.safetensors", &weights), ("model.safetensors", &weights)]);
    assert!(inferred.annotations.is_empty());
    assert_eq!(value(&inferred, "config.capabilities.outputTypes"), Value::Null);
}

#[test]
fn a_local_path_is_not_a_base_model() {
    let weights = safetensors_of(&[("a", "F32", 32, &[1000])]);
    let config = br#"{"base_model_name_or_path":"/home/me/secret/base","peft_type":7}"#;
    assert!(inferred(&[("adapter_config.json", config), ("adapter_model.safetensors", &weights)]).annotations.is_empty());
}
