//! `modelpack prune`: removes blobs that no artifact of the store needs.

use super::{ls::ASK_OWNER, verify::name_of};
use crate::{args::RegistryArgs, context::Context, failure::Failure, text};
use modelpack::{PruneOptions, spec::parse_size};
use std::time::Duration;

/// Remove blobs from the store that no artifact needs
#[derive(clap::Args)]
pub struct Args {
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Remove the incomplete files of interrupted transfers if they were not written to for this
    /// many days
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    partial_age: u64,
    /// Remove the oldest incomplete files until the others have at most this many bytes, such as
    /// 50GB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    partial_quota: Option<u64>,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let age = Duration::from_secs(args.partial_age.saturating_mul(24 * 3600));
    let options = PruneOptions::default().dry_run(args.dry_run).partial_age(age).partial_quota(args.partial_quota);
    let pruned = context.modelpack(&RegistryArgs::default()).prune(&options).await?;
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
    let partial = text::count(pruned.partial.len(), "incomplete file");
    let text = format!("{} {freed}: {blobs}, {partial}, {abandoned}", text::bytes(pruned.bytes));
    context.output.result(&text, &pruned)
}
