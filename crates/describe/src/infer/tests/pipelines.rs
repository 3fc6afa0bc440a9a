//! Diffusers pipelines.

use super::{inferred, safetensors_of, source, value};
use serde_json::{Value, json};

const INDEX: &[u8] = br#"{"_class_name":"StableDiffusionXLPipeline","_diffusers_version":"0.30.0","_name_or_path":"org/tiny-sdxl",
    "unet":["diffusers","UNet2DConditionModel"],"vae":["diffusers","AutoencoderKL"],"text_encoder":["transformers","CLIPTextModel"],
    "scheduler":["diffusers","EulerDiscreteScheduler"],"safety_checker":[null,null],"force_zeros":true}"#;

fn pipeline<'a>(more: &[(&'a str, &'a [u8])], index: &'a [u8]) -> super::Inferred {
    let half = safetensors_of(&[("a", "F16", 16, &[1000])]);
    let full = safetensors_of(&[("a", "F32", 32, &[1000])]);
    let mut files: Vec<(&str, &[u8])> = vec![
        ("model_index.json", index),
        ("unet/config.json", br#"{"_class_name":"UNet2DConditionModel"}"#),
        ("unet/diffusion_pytorch_model-00001-of-00002.safetensors", &half),
        ("unet/diffusion_pytorch_model-00002-of-00002.safetensors", &half),
        ("vae/diffusion_pytorch_model.safetensors", &full),
        ("vae/diffusion_pytorch_model.fp16.safetensors", &half),
        ("text_encoder/config.json", br#"{"model_type":"clip_text_model"}"#),
        ("text_encoder/model.safetensors", &half),
        ("scheduler/scheduler_config.json", b"{}"),
    ];
    files.extend_from_slice(more);
    inferred(&files)
}

#[test]
fn the_parts_of_a_pipeline_are_counted_together() {
    let inferred = pipeline(&[], INDEX);
    let descriptor = json!({"family": "stable-diffusion-xl", "name": "tiny-sdxl"});
    let config = json!({
        "architecture": "unet", "format": "safetensors", "paramSize": "4K", "precision": "float16,float32",
        "capabilities": {"inputTypes": ["text"], "outputTypes": ["image"]},
    });
    assert_eq!(serde_json::to_value(&inferred.descriptor).unwrap(), descriptor);
    assert_eq!(serde_json::to_value(&inferred.config).unwrap(), config);
    assert_eq!(source(&inferred, "config.paramSize"), "text_encoder/model.safetensors and 3 more: tensor shapes");
}

#[test]
fn a_single_file_model_beside_its_parts_is_not_counted() {
    let whole = safetensors_of(&[("a", "F16", 16, &[4000])]);
    assert_eq!(value(&pipeline(&[("sd_xl_base.safetensors", &whole)], INDEX), "config.paramSize"), "4K");
}

#[test]
fn an_unreadable_part_leaves_the_size_out() {
    let with = |path, content| {
        let index = String::from_utf8(INDEX.to_vec()).unwrap().replace(r#""safety_checker":[null,null]"#, r#""safety_checker":["x","Y"]"#);
        value(&pipeline(&[(path, content)], index.as_bytes()), "config.paramSize")
    };
    let sound = safetensors_of(&[("a", "F16", 16, &[500])]);
    assert_eq!(with("safety_checker/model.safetensors", &sound), "4.5K");
    assert_eq!(with("safety_checker/model.safetensors", b"broken"), Value::Null);
    assert_eq!(with("safety_checker/pytorch_model.bin", b"of another format"), Value::Null);
}

#[test]
fn nested_parts_and_parts_without_names_are_not_counted_twice() {
    let index = br#"{"_class_name":"X","a":["x","Y"],"a/b":["x","Y"],"":["x","Y"]}"#;
    let weights = safetensors_of(&[("a", "F16", 16, &[1000])]);
    let inferred = inferred(&[
        ("model_index.json", index),
        ("a/a.safetensors", &weights),
        ("a/b/model.safetensors", &weights),
        ("a/config.json", b"{}"),
        ("model.safetensors", &weights),
    ]);
    assert_eq!(value(&inferred, "config.paramSize"), "2K");
}

#[test]
fn the_pipelines_class_gives_input_and_output_types() {
    for (class, inputs, output) in [
        ("StableDiffusionImg2ImgPipeline", json!(["image", "text"]), json!(["image"])),
        ("FluxPipeline", json!(["text"]), json!(["image"])),
        ("WanImageToVideoPipeline", json!(["image", "text"]), json!(["video"])),
        ("StableVideoDiffusionPipeline", json!(["image"]), json!(["video"])),
        ("SomethingNewPipeline", Value::Null, Value::Null),
    ] {
        let index = json!({"_class_name": class}).to_string();
        let inferred = inferred(&[("model_index.json", index.as_bytes())]);
        assert_eq!(value(&inferred, "config.capabilities.inputTypes"), inputs, "{class}");
        assert_eq!(value(&inferred, "config.capabilities.outputTypes"), output, "{class}");
    }
}

#[test]
fn the_quantization_of_a_part_applies_to_the_pipeline() {
    let quantized = safetensors_of(&[("w", "U8", 8, &[1000]), ("w.absmax", "F32", 32, &[10])]);
    let index =
        br#"{"_class_name":"FluxPipeline","transformer":["diffusers","FluxTransformer2DModel"],"vae":["diffusers","AutoencoderKL"]}"#;
    let inferred = inferred(&[
        ("model_index.json", index),
        ("transformer/config.json", br#"{"quantization_config":{"quant_method":"bitsandbytes","load_in_4bit":true}}"#),
        ("transformer/diffusion_pytorch_model.safetensors", &quantized),
        ("vae/config.json", b"{}"),
        ("vae/diffusion_pytorch_model.safetensors", &safetensors_of(&[("a", "BF16", 16, &[1000])])),
    ]);
    assert_eq!(value(&inferred, "config.quantization"), "bitsandbytes");
    assert_eq!(value(&inferred, "config.paramSize"), "3K");
    assert_eq!(value(&inferred, "config.precision"), "bfloat16");
    assert_eq!(value(&inferred, "config.architecture"), "transformer");
}
