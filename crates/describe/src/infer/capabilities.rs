//! Input and output modalities of a model, and whether it is a reward model.

use super::{
    findings::{Findings, field},
    folder::Folder,
    model_card::ModelCard,
    transformers::TransformersConfig,
};

/// The tasks of model cards with their input and output types. A label or an answer is text. A
/// score, a box, a table, an action, and everything else without a type in the specification, is
/// `other`.
#[rustfmt::skip]
const TASKS: [(&str, &[&str], &[&str]); 52] = [
    ("text-generation", &["text"], &["text"]),
    ("text2text-generation", &["text"], &["text"]),
    ("conversational", &["text"], &["text"]),
    ("translation", &["text"], &["text"]),
    ("summarization", &["text"], &["text"]),
    ("question-answering", &["text"], &["text"]),
    ("fill-mask", &["text"], &["text"]),
    ("text-classification", &["text"], &["text"]),
    ("token-classification", &["text"], &["text"]),
    ("zero-shot-classification", &["text"], &["text"]),
    ("multiple-choice", &["text"], &["text"]),
    ("text-ranking", &["text"], &["other"]),
    ("table-question-answering", &["other", "text"], &["text"]),
    ("sentence-similarity", &["text"], &["embedding"]),
    ("feature-extraction", &["text"], &["embedding"]),
    ("image-classification", &["image"], &["text"]),
    ("zero-shot-image-classification", &["image", "text"], &["text"]),
    ("object-detection", &["image"], &["other"]),
    ("zero-shot-object-detection", &["image", "text"], &["other"]),
    ("keypoint-detection", &["image"], &["other"]),
    ("image-segmentation", &["image"], &["image"]),
    ("mask-generation", &["image"], &["image"]),
    ("depth-estimation", &["image"], &["image"]),
    ("image-to-image", &["image"], &["image"]),
    ("image-text-to-image", &["image", "text"], &["image"]),
    ("text-to-image", &["text"], &["image"]),
    ("image-to-text", &["image"], &["text"]),
    ("image-text-to-text", &["image", "text"], &["text"]),
    ("visual-question-answering", &["image", "text"], &["text"]),
    ("document-question-answering", &["image", "text"], &["text"]),
    ("visual-document-retrieval", &["image", "text"], &["embedding"]),
    ("image-feature-extraction", &["image"], &["embedding"]),
    ("image-to-video", &["image"], &["video"]),
    ("image-text-to-video", &["image", "text"], &["video"]),
    ("image-to-3d", &["image"], &["other"]),
    ("text-to-3d", &["text"], &["other"]),
    ("text-to-video", &["text"], &["video"]),
    ("video-to-video", &["video"], &["video"]),
    ("video-classification", &["video"], &["text"]),
    ("video-text-to-text", &["text", "video"], &["text"]),
    ("text-to-speech", &["text"], &["audio"]),
    ("text-to-audio", &["text"], &["audio"]),
    ("automatic-speech-recognition", &["audio"], &["text"]),
    ("audio-text-to-text", &["audio", "text"], &["text"]),
    ("audio-to-audio", &["audio"], &["audio"]),
    ("audio-classification", &["audio"], &["text"]),
    ("voice-activity-detection", &["audio"], &["other"]),
    ("tabular-classification", &["other"], &["text"]),
    ("tabular-regression", &["other"], &["other"]),
    ("time-series-forecasting", &["other"], &["other"]),
    ("reinforcement-learning", &["other"], &["other"]),
    ("robotics", &["other"], &["other"]),
];

/// Records the types of the card's task, or else those that the files show.
pub(super) fn describe(folder: &Folder<'_>, card: Option<&ModelCard>, config: Option<&TransformersConfig>, found: &mut Findings) {
    if let Some((inputs, outputs, source)) = task(folder, card, config) {
        let mut inputs = inputs.to_vec();
        // A text model with a vision or audio part also takes images or audio, whatever task its
        // card names.
        let senses = [("image", "vision_config"), ("audio", "audio_config")];
        for (sense, part) in senses.into_iter().filter(|_| outputs == ["text"]) {
            if config.is_some_and(|config| config.has_part(part)) && !inputs.contains(&sense) {
                inputs.push(sense);
            }
        }
        inputs.sort_unstable();
        found.say(field::INPUT_TYPES, Some(inputs), source.as_str());
        found.say(field::OUTPUT_TYPES, Some(outputs.to_vec()), source.as_str());
    }
    if let (Some(card), Some(config)) = (card, config) {
        let judges = config.head() == Some("ForSequenceClassification") && card.has_tag(|tag| tag.to_ascii_lowercase().contains("reward"));
        found.say(field::REWARD, judges.then_some(true), card.at("tags"));
    }
}

type Task = (&'static [&'static str], &'static [&'static str], String);

fn task(folder: &Folder<'_>, card: Option<&ModelCard>, config: Option<&TransformersConfig>) -> Option<Task> {
    if let Some((_, inputs, outputs)) = card.and_then(ModelCard::task).and_then(|task| TASKS.iter().find(|(known, ..)| *known == task)) {
        return Some((inputs, outputs, card?.at("pipeline_tag")));
    }
    if let Some((modules, path)) = folder.json("modules.json") {
        let kinds = || modules.as_array().into_iter().flatten().filter_map(|module| module["type"].as_str());
        if kinds().any(|kind| kind.starts_with("sentence_transformers.")) {
            let sees = kinds().any(|kind| kind.ends_with("CLIPModel"));
            return Some((if sees { &["image", "text"] } else { &["text"] }, &["embedding"], path));
        }
    }
    if let Some(card) = card {
        let tags = card.tags();
        let mut tagged =
            TASKS.iter().filter(|(task, ..)| tags.iter().any(|tag| tag == task)).map(|(_, inputs, outputs)| (*inputs, *outputs));
        if let Some((inputs, outputs)) = tagged.next().filter(|first| tagged.all(|other| other == *first)) {
            return Some((inputs, outputs, card.at("tags")));
        }
    }
    let config = config?;
    let generates = match config.head()? {
        "ForCausalLM" | "LMHeadModel" => true,
        // The class alone may belong to a speech model; with a vision part it is a model of text
        // and images.
        "ForConditionalGeneration" => config.has_part("vision_config"),
        _ => false,
    };
    generates.then(|| (&["text"][..], &["text"][..], config.at("architectures")))
}
