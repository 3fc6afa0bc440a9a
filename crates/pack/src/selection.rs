//! Selection of files of an artifact.

use crate::{Patterns, classify};
use modelpack_describe::is_of_tokenizer;
use modelpack_spec::{FilePath, Layer, LayerKind};
use std::{fmt, path::Path, str::FromStr, sync::LazyLock};

/// A selection of files: those that an include or a preset matches (all files if there is neither),
/// without those that are excluded.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Selection {
    /// Selects files by their paths.
    pub include: Patterns,
    /// Selects files by their kinds.
    pub presets: Vec<Preset>,
    /// Excludes files in any case.
    pub exclude: Patterns,
}

impl Selection {
    /// Includes the files that match, in addition to those of a preset.
    pub fn include(self, include: Patterns) -> Self {
        Self { include, ..self }
    }

    /// Includes the files of these presets, in addition to those that match `include`.
    pub fn presets(self, presets: impl IntoIterator<Item = Preset>) -> Self {
        Self { presets: presets.into_iter().collect(), ..self }
    }

    /// Leaves out the files that match, even if `include` or a preset selects them.
    pub fn exclude(self, exclude: Patterns) -> Self {
        Self { exclude, ..self }
    }
}

/// A predefined group of a model's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Weight layers.
    Weights,
    /// Weight config layers, including the tokenizer: the files that an engine reads besides the
    /// weights.
    Config,
    /// The files of a tokenizer, by their names.
    Tokenizer,
    /// Documentation layers.
    Docs,
}

/// Names of tokenizer files, in lower case, besides those that [`is_of_tokenizer`] recognises.
static TOKENIZER: LazyLock<Patterns> = LazyLock::new(|| Patterns::new("tokenizer", TOKENIZER_NAMES).expect("these are patterns"));

const TOKENIZER_NAMES: [&str; 13] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "*tokenizer.model*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "sentencepiece*.model",
    "*.tiktoken",
    "tiktoken.model",
    "chat_template.*",
    "chat_templates/",
];

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 4] = [Self::Weights, Self::Config, Self::Tokenizer, Self::Docs];

    /// Its name: `weights`, `config`, `tokenizer` or `docs`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Config => "config",
            Self::Tokenizer => "tokenizer",
            Self::Docs => "docs",
        }
    }

    /// The kind of its layers, if it is defined by a kind.
    fn kind(self) -> Option<LayerKind> {
        match self {
            Self::Weights => Some(LayerKind::Weight),
            Self::Config => Some(LayerKind::WeightConfig),
            Self::Docs => Some(LayerKind::Doc),
            Self::Tokenizer => None,
        }
    }

    /// Whether it may match a file in `layer`.
    fn may_be_in(self, layer: &Layer) -> bool {
        match (self.kind(), layer.kind) {
            (Some(wanted), Some(kind)) => kind == wanted,
            // Some tools pack a whole model as one archive of weights.
            _ => true,
        }
    }

    fn takes(self, path: &FilePath, size: u64, layer: &Layer) -> bool {
        match self.kind() {
            // Artifacts of other tools may not contain the kind of a file.
            Some(wanted) => layer.kind.unwrap_or_else(|| classify(path, size).0) == wanted,
            None => {
                TOKENIZER.includes(Path::new(&path.as_str().to_lowercase()), false) || is_of_tokenizer(&path.file_name().to_lowercase())
            }
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = NotAPreset;

    fn from_str(text: &str) -> Result<Self, NotAPreset> {
        Self::ALL.into_iter().find(|preset| preset.name() == text).ok_or_else(|| NotAPreset { name: text.to_owned() })
    }
}

/// The text is not the name of a preset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no preset {name:?}; expected {}", Preset::ALL.map(Preset::name).join(", "))]
pub struct NotAPreset {
    /// The text.
    pub name: String,
}

/// The paths of the files in an archive layer, according to its annotations.
enum Scope<'a> {
    File(&'a FilePath, u64),
    Below(&'a FilePath),
    Unknown,
}

impl<'a> Scope<'a> {
    fn of(layer: &'a Layer) -> Self {
        match (&layer.path, &layer.metadata) {
            // A directory that oras packed.
            (Some(path), _) if layer.kind.is_none() => Self::Below(path),
            (Some(path), Some(metadata)) if matches!(metadata.typeflag, 5 | b'5') => Self::Below(path),
            // modctl packs a single file into an archive.
            (Some(path), Some(metadata)) if matches!(metadata.typeflag, 0 | b'0') && metadata.name == path.file_name() => {
                Self::File(path, metadata.size)
            }
            _ => Self::Unknown,
        }
    }
}

impl Selection {
    /// Whether no file is left out.
    pub fn is_everything(&self) -> bool {
        self.takes_all() && self.exclude.is_empty()
    }

    fn takes_all(&self) -> bool {
        self.include.is_empty() && self.presets.is_empty()
    }

    /// Whether the file `path` of `size` bytes is selected. It is `layer` itself or in `layer`.
    pub fn selects(&self, path: &FilePath, size: u64, layer: &Layer) -> bool {
        let at = Path::new(path.as_str());
        let is_taken =
            || self.takes_all() || self.include.includes(at, false) || self.presets.iter().any(|preset| preset.takes(path, size, layer));
        self.exclude.excludes(at, false).is_none() && is_taken()
    }

    /// Whether the archive `layer` may contain a selected file, according to its kind and
    /// annotations.
    pub(crate) fn may_select_in(&self, layer: &Layer) -> bool {
        let by_preset = || self.presets.iter().any(|preset| preset.may_be_in(layer));
        match Scope::of(layer) {
            Scope::File(path, size) => self.selects(path, size, layer),
            Scope::Below(path) => {
                let at = Path::new(path.as_str());
                self.exclude.excludes(at, true).is_none() && (self.takes_all() || by_preset() || self.include.may_include_below(at))
            }
            Scope::Unknown => self.takes_all() || !self.include.is_empty() || by_preset(),
        }
    }

    /// The rules of the selection, as the user gave them.
    pub(crate) fn rules(&self) -> Vec<String> {
        let presets = self.presets.iter().map(|preset| format!("preset {preset}"));
        self.include.rules().map(str::to_owned).chain(presets).chain(self.exclude.rules().map(str::to_owned)).collect()
    }
}
