//! Metadata from the command line. It overrides the Modelfile, and both override the values from
//! the files.

use crate::failure::Failure;
use modelpack::{Field, Metadata};

/// Metadata of the model.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Metadata of the model (overrides the Modelfile and the values from its files)")]
pub struct MetadataArgs {
    /// The name
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// The version
    #[arg(long, value_name = "VERSION")]
    model_version: Option<String>,
    /// The family, such as llama3
    #[arg(long, value_name = "FAMILY")]
    family: Option<String>,
    /// The architecture, such as transformer
    #[arg(long, value_name = "ARCHITECTURE")]
    arch: Option<String>,
    /// The format of the weights, such as safetensors
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The number of parameters, such as 6.7B
    #[arg(long, value_name = "SIZE")]
    param_size: Option<String>,
    /// The numeric types, such as bfloat16
    #[arg(long, value_name = "TYPES")]
    precision: Option<String>,
    /// The quantization technique, such as awq
    #[arg(long, value_name = "TECHNIQUE")]
    quantization: Option<String>,
    /// An author; repeatable, like all options below with "..."
    #[arg(long = "author", value_name = "AUTHOR...")]
    authors: Vec<String>,
    /// The distributor
    #[arg(long, value_name = "VENDOR")]
    vendor: Option<String>,
    /// The licence, as an SPDX expression
    #[arg(long = "license", value_name = "LICENCE...")]
    licenses: Vec<String>,
    /// A title for display
    #[arg(long, value_name = "TITLE")]
    title: Option<String>,
    /// A description for display
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The URL of the documentation
    #[arg(long, value_name = "URL")]
    doc_url: Option<String>,
    /// The URL of the source
    #[arg(long, value_name = "URL")]
    source_url: Option<String>,
    /// The revision in source control
    #[arg(long, visible_alias = "source-revision", value_name = "REVISION")]
    revision: Option<String>,
    /// The URL of a training data set
    #[arg(long = "dataset-url", value_name = "URL...")]
    datasets: Vec<String>,
    /// A supported language, such as en
    #[arg(long = "language", value_name = "CODE...")]
    languages: Vec<String>,
    /// An input type: text, image, audio, video, embedding, other
    #[arg(long = "input-type", value_name = "TYPE...")]
    input_types: Vec<String>,
    /// An output type: text, image, audio, video, embedding, other
    #[arg(long = "output-type", value_name = "TYPE...")]
    output_types: Vec<String>,
    /// Whether the model calls tools
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tool_usage: Option<String>,
    /// Whether the model reasons
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    reasoning: Option<String>,
    /// Whether the model is a reward model
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    reward: Option<String>,
    /// The date of the newest training data
    #[arg(long, value_name = "TIME")]
    knowledge_cutoff: Option<String>,
    /// The time of creation; default SOURCE_DATE_EPOCH
    #[arg(long, value_name = "TIME")]
    pub created_at: Option<String>,
    /// An annotation of the manifest
    #[arg(long = "annotation", value_name = "KEY=VALUE...")]
    annotations: Vec<String>,
}

impl MetadataArgs {
    /// The values, after validation.
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
