//! `--dry-run` of all commands that pack: the planned layers.

use super::pack::{explain, missing, warn};
use crate::{
    args::TransferArgs,
    context::Context,
    failure::Failure,
    text::{self, Align, printable, table},
};
use modelpack::{PackRequest, Planned, PlannedLayer};
use serde_json::{Value, json};

/// Prints the plan and writes nothing.
pub async fn show(request: &PackRequest, explained: bool, transfer: &TransferArgs, context: &Context) -> Result<(), Failure> {
    let planned = context.modelpack(&transfer.registry).plan(request).await?;
    let mut value = for_programs(&planned);
    warn(&planned.description, context);
    if explained {
        explain(&planned.description, &mut value, context);
    }
    context.output.result(&for_people(&planned), &value)
}

fn files(planned: &Planned) -> usize {
    planned.layers.iter().map(|layer| layer.files.len()).sum()
}

fn bytes(planned: &Planned) -> u64 {
    planned.layers.iter().map(PlannedLayer::bytes).sum()
}

fn for_people(planned: &Planned) -> String {
    let header = ["SIZE", "KIND", "ENCODING", "PATH"].map(str::to_owned);
    let total = format!("{}, {}", text::count(planned.layers.len(), "layer"), text::count(files(planned), "file"));
    let total = [text::bytes(bytes(planned)), String::new(), String::new(), total];
    let rows: Vec<_> = [header].into_iter().chain(planned.layers.iter().map(row)).chain([total]).collect();
    table([Align::Right, Align::Left, Align::Left, Align::Left], &rows)
}

fn row(layer: &PlannedLayer) -> [String; 4] {
    let path = printable(layer.path.as_str());
    let path = if layer.files.len() == 1 { path.into_owned() } else { format!("{path} ({})", text::count(layer.files.len(), "file")) };
    [text::bytes(layer.bytes()), layer.kind.name().to_owned(), layer.encoding.name().to_owned(), path]
}

fn for_programs(planned: &Planned) -> Value {
    let layers = planned.layers.iter().map(|layer| {
        let files = layer.files.iter().map(|file| json!({ "path": file.path, "size": file.size, "executable": file.executable }));
        json!({
            "path": layer.path,
            "kind": layer.kind.name(),
            "encoding": layer.encoding.name(),
            "mediaType": layer.layer_type().to_string(),
            // The size of compressed layers is not known in advance.
            "size": layer.size(),
            "files": files.collect::<Vec<_>>(),
        })
    });
    let layers: Vec<Value> = layers.collect();
    json!({
        "layers": layers, "files": files(planned), "bytes": bytes(planned),
        "warnings": planned.description.warnings, "missing": missing(&planned.gaps),
    })
}
