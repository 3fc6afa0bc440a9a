//! `modelpack inspect`: the description of an artifact.

use crate::{
    args::RegistryArgs,
    context::Context,
    failure::Failure,
    text::{self, Align, printable, table},
};
use modelpack::{
    InspectedLayer, Inspection, Place,
    spec::{Config, Descriptor, annotation},
};

/// The number of characters of a description that are shown.
const DESCRIPTION: usize = 100;

/// Show the metadata and files of an artifact
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack inspect tiny:v1 --json | jq -r '.layers[].path'")]
pub struct Args {
    /// The artifact
    #[arg(value_name = "PLACE")]
    place: Place,
    /// Print the manifest unchanged, byte for byte
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let inspection = context.modelpack(&args.registry).inspect(&args.place).await?;
    if args.raw {
        return context.output.bytes(inspection.manifest.bytes());
    }
    context.output.result(&for_people(&inspection), &inspection)
}

fn for_people(inspection: &Inspection) -> String {
    let mut parts = vec![table([Align::Left, Align::Left], &fields(inspection))];
    if !inspection.layers.is_empty() {
        let total = inspection.layers.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size));
        let header = ["SIZE", "KIND", "PATH"].map(str::to_owned);
        let total = [text::bytes(total), String::new(), text::count(inspection.layers.len(), "layer")];
        let rows: Vec<_> = [header].into_iter().chain(inspection.layers.iter().map(layer_row)).chain([total]).collect();
        parts.push(table([Align::Right, Align::Left, Align::Left], &rows));
    }
    if !inspection.manifests.is_empty() {
        let header = ["SIZE", "DIGEST", "TYPE"].map(str::to_owned);
        let rows: Vec<_> = [header].into_iter().chain(inspection.manifests.iter().map(manifest_row)).collect();
        parts.push(table([Align::Right, Align::Left, Align::Left], &rows));
    }
    parts.join("\n\n")
}

/// The known values, one per line. Absent values are left out.
fn fields(inspection: &Inspection) -> Vec<[String; 2]> {
    let nothing = Config::default();
    let config = inspection.config.as_ref().unwrap_or(&nothing);
    let (model, technical) = (&config.descriptor, &config.config);
    let capabilities = technical.capabilities.clone().unwrap_or_default();
    let name = model.name.clone().or_else(|| own_name(&inspection.place));
    let list = |words: &[String]| (!words.is_empty()).then(|| words.join(", "));
    let put = match (list(&capabilities.input_types), list(&capabilities.output_types)) {
        (None, None) => None,
        (from, to) => Some(format!("{} to {}", from.unwrap_or("?".into()), to.unwrap_or("?".into()))),
    };
    let noted = |key: &str| inspection.annotations.get(key).cloned();
    let kind = inspection.artifact_type.clone().unwrap_or_else(|| inspection.manifest.media_type().to_owned());
    let fields = [
        ("Reference", Some(inspection.place.to_string())),
        ("Digest", Some(inspection.manifest.digest().to_string())),
        ("Type", Some(kind)),
        ("Name", name),
        ("Title", model.title.clone()),
        ("Version", model.version.clone()),
        ("Family", model.family.clone()),
        ("Base model", noted(annotation::BASE_MODEL)),
        ("Adapter", noted(annotation::ADAPTER)),
        ("Architecture", technical.architecture.clone()),
        ("Format", technical.format.clone()),
        ("Parameters", technical.param_size.clone()),
        ("Precision", technical.precision.clone()),
        ("Quantization", technical.quantization.clone()),
        ("Context length", noted(annotation::CONTEXT_LENGTH)),
        ("Licences", list(&model.licenses)),
        ("Languages", list(&capabilities.languages)),
        ("Input/Output", put),
        ("Knowledge cutoff", capabilities.knowledge_cutoff.clone()),
        ("Reasoning", capabilities.reasoning.map(yes_or_no)),
        ("Tool usage", capabilities.tool_usage.map(yes_or_no)),
        ("Reward model", capabilities.reward.map(yes_or_no)),
        ("Authors", list(&model.authors)),
        ("Vendor", model.vendor.clone()),
        ("Source", model.source_url.clone()),
        ("Documentation", model.doc_url.clone()),
        ("Data sets", list(&model.datasets_url)),
        ("Revision", model.revision.clone()),
        ("Created", model.created_at.clone()),
        ("Description", model.description.as_deref().map(|text| text::shortened(text, DESCRIPTION))),
    ];
    fields.into_iter().filter_map(|(field, value)| Some([format!("{field}:"), printable(&value?).into_owned()])).collect()
}

fn yes_or_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

/// The last part of the repository's name.
fn own_name(place: &Place) -> Option<String> {
    match place {
        Place::Registry(reference) | Place::Store(reference) | Place::Reference(reference) => {
            reference.repository.path().rsplit('/').next().map(str::to_owned)
        }
        Place::Layout(..) | Place::Archive(..) => None,
    }
}

fn layer_row(layer: &InspectedLayer) -> [String; 3] {
    let kind = layer.kind.map_or("-", |kind| kind.name()).to_owned();
    let path = match &layer.path {
        Some(path) if layer.is_archive => format!("{} (archive)", printable(path.as_str())),
        Some(path) => printable(path.as_str()).into_owned(),
        None => format!("{} (no name)", layer.digest),
    };
    [text::bytes(layer.size), kind, path]
}

fn manifest_row(manifest: &Descriptor) -> [String; 3] {
    let kind = manifest.artifact_type.as_ref().unwrap_or(&manifest.media_type);
    [text::bytes(manifest.size), manifest.digest.to_string(), printable(kind).into_owned()]
}
