//! What is said of a model on the command line. It wins over the Modelfile, and both over what the files say.

use crate::failure::Failure;
use modelpack::{Field, Metadata};

/// What is said of the model.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "What is said of the model (over the Modelfile, and over what its files say)")]
pub struct MetadataArgs {
    /// Its name
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// Its version
    #[arg(long, value_name = "VERSION")]
    model_version: Option<String>,
    /// Its lineage, such as llama3
    #[arg(long, value_name = "FAMILY")]
    family: Option<String>,
    /// Its architecture, such as transformer
    #[arg(long, value_name = "ARCHITECTURE")]
    arch: Option<String>,
    /// The format of its weights, such as safetensors
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// How many parameters it has, such as 6.7B
    #[arg(long, value_name = "SIZE")]
    param_size: Option<String>,
    /// The types of its numbers, such as bfloat16
    #[arg(long, value_name = "TYPES")]
    precision: Option<String>,
    /// How it was quantized, such as awq
    #[arg(long, value_name = "TECHNIQUE")]
    quantization: Option<String>,
    /// Who made it; may be repeated, as all that follow with "..." may
    #[arg(long = "author", value_name = "AUTHOR...")]
    authors: Vec<String>,
    /// Who distributes it
    #[arg(long, value_name = "VENDOR")]
    vendor: Option<String>,
    /// Under which SPDX licence expression
    #[arg(long = "license", value_name = "LICENCE...")]
    licenses: Vec<String>,
    /// A title for people
    #[arg(long, value_name = "TITLE")]
    title: Option<String>,
    /// A description for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Where to read more
    #[arg(long, value_name = "URL")]
    doc_url: Option<String>,
    /// Where its source is
    #[arg(long, value_name = "URL")]
    source_url: Option<String>,
    /// Its revision in source control
    #[arg(long, visible_alias = "source-revision", value_name = "REVISION")]
    revision: Option<String>,
    /// What it was trained on
    #[arg(long = "dataset-url", value_name = "URL...")]
    datasets: Vec<String>,
    /// A language that it speaks, such as en
    #[arg(long = "language", value_name = "CODE...")]
    languages: Vec<String>,
    /// What it takes: text, image, audio, video, embedding, other
    #[arg(long = "input-type", value_name = "TYPE...")]
    input_types: Vec<String>,
    /// What it gives, in the same words
    #[arg(long = "output-type", value_name = "TYPE...")]
    output_types: Vec<String>,
    /// Whether it calls tools
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tool_usage: Option<String>,
    /// Whether it reasons
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    reasoning: Option<String>,
    /// Whether it is a reward model
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    reward: Option<String>,
    /// The date of its newest training data
    #[arg(long, value_name = "TIME")]
    knowledge_cutoff: Option<String>,
    /// When it was created; default SOURCE_DATE_EPOCH
    #[arg(long, value_name = "TIME")]
    pub created_at: Option<String>,
    /// An annotation of the manifest
    #[arg(long = "annotation", value_name = "KEY=VALUE...")]
    annotations: Vec<String>,
}

impl MetadataArgs {
    /// The values, checked.
    pub fn read(&self) -> Result<Metadata, Failure> {
        let once = [
            ("--name", Field::NAME, &self.name),
            ("--model-version", Field::VERSION, &self.model_version),
            ("--family", Field::FAMILY, &self.family),
            ("--arch", Field::ARCHITECTURE, &self.arch),
            ("--format", Field::FORMAT, &self.format),
            ("--param-size", Field::PARAM_SIZE, &self.param_size),
            ("--precision", Field::PRECISION, &self.precision),
            ("--quantization", Field::QUANTIZATION, &self.quantization),
            ("--vendor", Field::VENDOR, &self.vendor),
            ("--title", Field::TITLE, &self.title),
            ("--description", Field::DESCRIPTION, &self.description),
            ("--doc-url", Field::DOC_URL, &self.doc_url),
            ("--source-url", Field::SOURCE_URL, &self.source_url),
            ("--revision", Field::REVISION, &self.revision),
            ("--tool-usage", Field::TOOL_USAGE, &self.tool_usage),
            ("--reasoning", Field::REASONING, &self.reasoning),
            ("--reward", Field::REWARD, &self.reward),
            ("--knowledge-cutoff", Field::KNOWLEDGE_CUTOFF, &self.knowledge_cutoff),
            ("--created-at", Field::CREATED_AT, &self.created_at),
        ];
        let repeated = [
            ("--author", Field::AUTHORS, &self.authors),
            ("--license", Field::LICENSES, &self.licenses),
            ("--dataset-url", Field::DATASETS, &self.datasets),
            ("--language", Field::LANGUAGES, &self.languages),
            ("--input-type", Field::INPUT_TYPES, &self.input_types),
            ("--output-type", Field::OUTPUT_TYPES, &self.output_types),
        ];
        let once = once.into_iter().flat_map(|(flag, field, value)| value.iter().map(move |value| (flag, field, value)));
        let repeated = repeated.into_iter().flat_map(|(flag, field, values)| values.iter().map(move |value| (flag, field, value)));
        let mut metadata = Metadata::default();
        once.chain(repeated).try_for_each(|(flag, field, value)| metadata.say(field, value, flag))?;
        self.annotations.iter().try_for_each(|annotation| metadata.annotate(annotation, "--annotation"))?;
        Ok(metadata)
    }
}
