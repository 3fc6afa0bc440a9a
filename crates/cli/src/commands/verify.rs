//! `modelpack verify`: reads every byte of an artifact and compares it with its digest, and repairs
//! damage in the store.

use crate::{
    args::TransferArgs,
    context::Context,
    failure::{Failure, Kind},
    text,
};
use modelpack::{BrokenRepository, Place, RepairedRepository, RepairedStore, UnrepairedBlob};
use std::path::Path;

/// Read every byte of an artifact and compare it with its digest
///
/// With `--repair`, damaged or missing blobs of an artifact in the store are fetched again from its
/// registry. Without an artifact, `--repair` reads every blob of the store. Damaged blobs are
/// removed, so that the next pull, pack or push restores them; an unreadable index.json is
/// recreated from the existing manifests; tags whose manifests are missing are removed. It reports
/// these changes, and fetches nothing. If something cannot be repaired, it continues with the rest
/// and fails at the end. With `--store DIR` it repairs the directory of a registry.
#[derive(clap::Args)]
pub struct Args {
    /// The artifact; with `--repair` a reference, or nothing for the whole store
    #[arg(value_name = "PLACE", required_unless_present = "repair")]
    place: Option<Place>,
    /// Repair damage in the store
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    transfer: TransferArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match (args.place, args.repair) {
        (Some(place), false) => verify(&place, &args.transfer, context).await,
        (Some(place), true) => repair_artifact(&place, &args.transfer, context).await,
        (None, _) => repair_store(&args.transfer, context).await,
    }
}

async fn verify(place: &Place, transfer: &TransferArgs, context: &Context) -> Result<(), Failure> {
    let verified = context.transfer("verifying", transfer, async |m| m.verify(place).await).await?;
    context.output.note(&format!("verified {}, {}", text::count(verified.blobs, "blob"), text::bytes(verified.bytes)));
    context.output.result(&verified.digest.to_string(), &verified)
}

async fn repair_artifact(place: &Place, transfer: &TransferArgs, context: &Context) -> Result<(), Failure> {
    let repaired = context.transfer("verifying", transfer, async |m| m.repair(place).await).await?;
    for line in repaired.repository.iter().flat_map(lines) {
        context.output.note(&line);
    }
    for blob in &repaired.fetched {
        context.output.note(&format!("fetched {} again, {}", blob.digest, text::bytes(blob.size)));
    }
    context.output.note(&format!("verified {}, {}", text::count(repaired.blobs, "blob"), text::bytes(repaired.bytes)));
    context.output.result(&repaired.digest.to_string(), &repaired)
}

async fn repair_store(transfer: &TransferArgs, context: &Context) -> Result<(), Failure> {
    let repaired = context.transfer("verifying", transfer, async |m| m.repair_store().await).await?;
    let RepairedStore { blobs, bytes, removed, moved_aside, unrepaired, repositories, broken, .. } = &repaired;
    let mut report = vec![format!("{} read, {}; {} damaged and removed", text::count(*blobs, "blob"), text::bytes(*bytes), removed.len())];
    report.extend(removed.iter().map(|blob| format!("removed {}, {}", blob.digest, text::bytes(blob.size))));
    report.extend(moved_aside.iter().map(|path| moved(path)));
    report.extend(repositories.iter().flat_map(lines));
    for UnrepairedBlob { digest, why, .. } in unrepaired {
        context.output.warn(&format!("blob {digest} could not be repaired: {why}"));
    }
    for repository in broken {
        context.output.warn(&format!("{} could not be repaired: {}", name_of(repository), repository.why));
    }
    context.output.result(&report.join("\n"), &repaired)?;
    let repositories = if broken.len() == 1 { "repository" } else { "repositories" };
    let what = match (unrepaired.len(), broken.len()) {
        (0, 0) => return Ok(()),
        (blobs, 0) => text::count(blobs, "blob"),
        (0, broken) => format!("{broken} {repositories}"),
        (blobs, broken) => format!("{} and {broken} {repositories}", text::count(blobs, "blob")),
    };
    Err(Failure::new(Kind::Verification, format!("{what} could not be repaired; everything else was")).hint(
        "the warnings name them with the reasons: unreadable files need the permission or, for a blob, the next pull or pack of an artifact that needs it; \
         a directory with a wrong name must be renamed or moved away",
    ))
}

fn moved(path: &Path) -> String {
    format!("a directory with the name of a file was moved to {}", path.display())
}

/// The changes to a repository, and its missing blobs, one per line.
fn lines(repository: &RepairedRepository) -> Vec<String> {
    let RepairedRepository { name, rebuilt, completed, moved_aside, kept, lost_tags, lost_manifests, incomplete, .. } = repository;
    let mut lines = Vec::new();
    if let Some(why) = rebuilt {
        lines.push(format!("{name}: the index was recreated from the existing manifests: {why}"));
        lines.push(format!("{name}: tags that only the old index contained may be lost; manifests without tags are kept by their digests"));
    }
    if *completed {
        lines.push(format!("{name}: oci-layout was recreated"));
    }
    lines.extend(moved_aside.iter().map(|path| format!("{name}: {}", moved(path))));
    lines.extend(lost_manifests.iter().map(|digest| format!("{name}: the manifest {digest} is missing")));
    lines.extend(lost_tags.iter().map(|tag| format!("{name}: the tag {tag} is lost")));
    lines.extend(kept.iter().map(|digest| format!("{name}: the manifest {digest} had no entry and is kept by its digest")));
    for manifest in incomplete {
        let which = manifest.tags.first().map_or_else(|| format!("{name}@{}", manifest.manifest), |tag| format!("{name}:{tag}"));
        lines.extend(manifest.missing.iter().map(|digest| format!("{which} lacks {digest}: pull, push or pack it again")));
    }
    lines
}

/// The name of a repository that cannot be read, or its directory.
pub fn name_of(broken: &BrokenRepository) -> String {
    broken.name.as_ref().map_or_else(|| broken.directory.display().to_string(), ToString::to_string)
}
