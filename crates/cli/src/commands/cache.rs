//! `modelpack cache`: the cache of this node, which its mounts share.

use crate::{
    args::{CacheArgs, CacheDirectoryArgs, RegistryArgs, TransferArgs},
    context::Context,
    failure::Failure,
    text::{self, Align, printable},
};
use modelpack::{CachedModel, NodeCache, Place};
use std::path::PathBuf;

/// Manage the cache of this node, which its mounts share
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Pull(Pull),
    /// Keep artifacts that were pulled until they are unpinned
    Pin(Named),
    /// Let pinned artifacts be removed when room is needed
    Unpin(Named),
    Ls(Ls),
    /// Remove artifacts that were pulled, pinned or not, except for what is in use
    Rm(Named),
}

/// Fetch an artifact from its registry into the cache, before it is mounted
///
/// Until it is used for the first time, it is removed last when room is needed.
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack cache pull registry.example.com/team/tiny:v1")]
struct Pull {
    /// The artifact in its registry
    reference: Place,
    /// Keep it until it is unpinned, whether it is used or not
    #[arg(long)]
    pin: bool,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    transfer: TransferArgs,
}

#[derive(clap::Args)]
struct Named {
    /// The artifacts, as they were pulled
    #[arg(value_name = "REFERENCE", required = true)]
    references: Vec<Place>,
    #[command(flatten)]
    cache: CacheDirectoryArgs,
}

/// List the artifacts that were pulled, and how much the cache uses
#[derive(clap::Args)]
struct Ls {
    #[command(flatten)]
    cache: CacheArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.command {
        Command::Pull(args) => pull(args, context).await,
        Command::Pin(args) => set_pinned(args, context, async |cache, place| cache.pin(place).await).await,
        Command::Unpin(args) => set_pinned(args, context, async |cache, place| cache.unpin(place).await).await,
        Command::Ls(args) => list(args, context).await,
        Command::Rm(args) => remove(args, context).await,
    }
}

async fn pull(args: Pull, context: &Context) -> Result<(), Failure> {
    let directory = directory(&args.cache.directory, context);
    let limit = args.cache.cache_size;
    let pulled =
        context.transfer("pulling", &args.transfer, async |m| m.cache(directory, limit).pull(&args.reference, args.pin).await).await?;
    let (moved, present) = (text::bytes(pulled.moved), text::bytes(pulled.present));
    context.output.note(&format!("{} to {}: {moved} moved, {present} already present", pulled.reference, pulled.cache.display()));
    context.output.result(&pulled.digest.to_string(), &pulled)
}

async fn set_pinned(
    args: Named,
    context: &Context,
    set: impl AsyncFn(&NodeCache, &Place) -> modelpack::Result<CachedModel>,
) -> Result<(), Failure> {
    let cache = existing(&args.cache, context);
    for place in &args.references {
        let model = set(&cache, place).await?;
        if model.present < model.size {
            let (present, size) = (text::bytes(model.present), text::bytes(model.size));
            let reference = &model.reference;
            context
                .output
                .note(&format!("{present} of {size} of {reference} are here; `modelpack cache pull {reference}` fetches the rest"));
        }
        context.output.result(&model.digest.to_string(), &model)?;
    }
    Ok(())
}

async fn list(args: Ls, context: &Context) -> Result<(), Failure> {
    let modelpack = context.modelpack(&RegistryArgs::default());
    let listing = modelpack.cache(directory(&args.cache.directory, context), args.cache.cache_size).list().await?;
    let mut rows = vec![["REFERENCE", "DIGEST", "SIZE", "HERE", "PINNED", "LAST USE"].map(str::to_owned)];
    rows.extend(listing.artifacts.iter().map(|model| {
        [
            printable(&model.reference).into_owned(),
            model.digest.short().to_owned(),
            text::bytes(model.size),
            text::bytes(model.present),
            if model.is_pinned { "yes" } else { "no" }.to_owned(),
            model.last_use.clone().unwrap_or_else(|| "-".into()),
        ]
    }));
    let table = text::table([Align::Left, Align::Left, Align::Right, Align::Right, Align::Left, Align::Left], &rows);
    let used = match listing.limit {
        Some(limit) => format!("{} of {} used", text::bytes(listing.used), text::bytes(limit)),
        None => format!("{} used", text::bytes(listing.used)),
    };
    context.output.result(&format!("{table}\n{used}"), &listing)
}

async fn remove(args: Named, context: &Context) -> Result<(), Failure> {
    let cache = existing(&args.cache, context);
    for place in &args.references {
        let removed = cache.remove(place).await?;
        let in_use = match removed.in_use {
            0 => String::new(),
            in_use => format!(", {} stay because they are in use", text::bytes(in_use)),
        };
        context.output.note(&format!("{}: {} freed{in_use}", removed.reference, text::bytes(removed.freed)));
        context.output.result(&removed.digest.to_string(), &removed)?;
    }
    Ok(())
}

/// The cache for commands that add nothing to it, so that no limit is needed.
fn existing(args: &CacheDirectoryArgs, context: &Context) -> NodeCache {
    context.modelpack(&RegistryArgs::default()).cache(directory(args, context), None)
}

fn directory(args: &CacheDirectoryArgs, context: &Context) -> PathBuf {
    args.cache.clone().unwrap_or_else(|| context.settings.cache.clone())
}
