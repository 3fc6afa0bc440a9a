//! Diffusers pipelines: `model_index.json` contains the pipeline's class and its parts, each in its
//! own directory.

use super::{
    findings::{Findings, field},
    folder::Folder,
    hub,
};
use serde_json::Value;

/// The largest number of parts. Some pipelines have a dozen.
const MAX_PARTS: usize = 64;

/// Prefixes of pipeline names, with their families and their input and output types. The first
/// match wins.
#[rustfmt::skip]
const FAMILIES: [(&str, &str, &[&str], &str); 32] = [
    ("StableDiffusion3", "stable-diffusion-3", &["text"], "image"),
    ("StableDiffusionXL", "stable-diffusion-xl", &["text"], "image"),
    ("StableDiffusion", "stable-diffusion", &["text"], "image"),
    ("StableVideoDiffusion", "stable-video-diffusion", &["image"], "video"),
    ("StableCascade", "stable-cascade", &["text"], "image"),
    ("StableAudio", "stable-audio", &["text"], "audio"),
    ("LatentConsistency", "latent-consistency", &["text"], "image"),
    ("Wuerstchen", "wuerstchen", &["text"], "image"),
    ("Flux2", "flux2", &["text"], "image"),
    ("FluxKontext", "flux", &["image", "text"], "image"),
    ("Flux", "flux", &["text"], "image"),
    ("PixArt", "pixart", &["text"], "image"),
    ("Sana", "sana", &["text"], "image"),
    ("AuraFlow", "auraflow", &["text"], "image"),
    ("Lumina", "lumina", &["text"], "image"),
    ("Chroma", "chroma", &["text"], "image"),
    ("HiDream", "hidream", &["text"], "image"),
    ("OmniGen", "omnigen", &["image", "text"], "image"),
    ("QwenImage", "qwen-image", &["text"], "image"),
    ("HunyuanDiT", "hunyuan-dit", &["text"], "image"),
    ("HunyuanVideo", "hunyuan-video", &["text"], "video"),
    ("Kandinsky", "kandinsky", &["text"], "image"),
    ("CogView", "cogview", &["text"], "image"),
    ("CogVideo", "cogvideo", &["text"], "video"),
    ("AnimateDiff", "animatediff", &["text"], "video"),
    ("TextToVideo", "text-to-video", &["text"], "video"),
    ("Mochi", "mochi", &["text"], "video"),
    ("LTX", "ltx-video", &["text"], "video"),
    ("Wan", "wan", &["text"], "video"),
    ("AudioLDM", "audioldm", &["text"], "audio"),
    ("MusicLDM", "musicldm", &["text"], "audio"),
    ("IF", "deepfloyd-if", &["text"], "image"),
];

/// Words in the names of pipelines that also take an image.
const FROM_IMAGES: [&str; 8] = ["Img2Img", "ImageToImage", "ImageToVideo", "Inpaint", "Pix2Pix", "Upscale", "Edit", "ControlNet"];

/// A pipeline.
pub(super) struct Pipeline {
    json: Value,
    path: String,
}

impl Pipeline {
    pub(super) fn read(folder: &Folder<'_>) -> Option<Self> {
        let (json, path) = folder.json_in("", "model_index.json")?;
        json["_class_name"].is_string().then_some(Self { json, path })
    }

    /// The names of its parts, which are also the names of their directories.
    pub(super) fn parts(&self) -> Vec<&str> {
        let parts = self.json.as_object().into_iter().flatten().filter(|(name, class)| class[1].is_string() && !name.is_empty());
        parts.map(|(name, _)| name.as_str()).take(MAX_PARTS).collect()
    }

    /// Records the information from its class and from the class of its main part.
    pub(super) fn describe(&self, found: &mut Findings) {
        let at = |key: &str| format!("{}: `{key}`", self.path);
        let class = self.json["_class_name"].as_str().unwrap_or_default();
        let id = self.json["_name_or_path"].as_str().filter(|id| hub::is_id(id));
        found.say(field::NAME, id.and_then(|id| id.rsplit('/').next()), at("_name_or_path"));
        for (part, architecture) in [("transformer", "transformer"), ("unet", "unet")] {
            let is_there = self.json[part][1].is_string();
            found.say(field::ARCHITECTURE, is_there.then_some(architecture), at(part));
        }
        let Some((_, family, inputs, output)) = FAMILIES.iter().find(|(begin, ..)| class.starts_with(begin)) else { return };
        found.say(field::FAMILY, Some(*family), at("_class_name"));
        let mut inputs = inputs.to_vec();
        if FROM_IMAGES.iter().any(|word| class.contains(word)) && !inputs.contains(&"image") {
            inputs.insert(0, "image");
        }
        found.say(field::INPUT_TYPES, Some(inputs), at("_class_name"));
        found.say(field::OUTPUT_TYPES, Some(vec![*output]), at("_class_name"));
    }
}
