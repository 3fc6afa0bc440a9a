//! `modelpack prune`: removes blobs that no artifact of the store needs.

use super::{ls::ASK_OWNER, verify::name_of};
use crate::{args::RegistryArgs, context::Context, failure::Failure, text};
use modelpack::PruneOptions;

/// Remove blobs from the store that no artifact needs
#[derive(clap::Args)]
pub struct Args {
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let pruned = context.modelpack(&RegistryArgs::default()).prune(&PruneOptions::default().dry_run(args.dry_run)).await?;
    for name in &pruned.busy {
        context.output.note(&format!("{name} is in use, so it was skipped"));
    }
    for broken in &pruned.broken {
        let advice = match (broken.is_denied, &broken.name) {
            (true, _) => ASK_OWNER,
            (false, Some(_)) => "`modelpack verify --repair` repairs the store",
            (false, None) => "rename it or move it away",
        };
        context.output.warn(&format!("{} cannot be read, so nothing of it was removed: {}; {advice}", name_of(broken), broken.why));
    }
    let freed = if args.dry_run { "would be freed" } else { "freed" };
    let (blobs, abandoned) = (text::count(pruned.blobs.len(), "blob"), text::count(pruned.abandoned.len(), "abandoned file"));
    let text = format!("{} {freed}: {blobs}, {abandoned}", text::bytes(pruned.bytes));
    context.output.result(&text, &pruned)
}
