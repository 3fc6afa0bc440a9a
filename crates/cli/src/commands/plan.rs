//! `--dry-run` of all commands that pack: the planned layers.

use super::pack::{explain, warn};
use crate::{
    args::TransferArgs,
    context::Context,
    failure::Failure,
    text::{self, Align, printable, table},
};
use modelpack::{PackRequest, Planned, PlannedLayer};

/// Prints the plan and writes nothing.
pub async fn show(request: &PackRequest, explained: bool, transfer: &TransferArgs, context: &Context) -> Result<(), Failure> {
    let planned = context.modelpack(&transfer.registry).plan(request).await?;
    warn(&planned.description, context);
    if explained {
        explain(&planned.description, context);
    }
    context.output.result(&for_people(&planned), &planned)
}

fn for_people(planned: &Planned) -> String {
    let header = ["SIZE", "KIND", "ENCODING", "PATH"].map(str::to_owned);
    let total = format!("{}, {}", text::count(planned.layers.len(), "layer"), text::count(planned.files, "file"));
    let total = [text::bytes(planned.bytes), String::new(), String::new(), total];
    let rows: Vec<_> = [header].into_iter().chain(planned.layers.iter().map(row)).chain([total]).collect();
    table([Align::Right, Align::Left, Align::Left, Align::Left], &rows)
}

fn row(layer: &PlannedLayer) -> [String; 4] {
    let path = printable(layer.path.as_str());
    let path = if layer.files.len() == 1 { path.into_owned() } else { format!("{path} ({})", text::count(layer.files.len(), "file")) };
    [text::bytes(layer.bytes()), layer.kind.name().to_owned(), layer.encoding.name().to_owned(), path]
}
