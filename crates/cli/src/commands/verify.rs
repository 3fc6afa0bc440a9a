//! `modelpack verify`: reads every byte of an artifact and compares it with its digest, and repairs
//! damage in the store.

use crate::{
    args::TransferArgs,
    context::Context,
    failure::{Failure, Kind},
    text,
};
use modelpack::{BrokenRepository, Place, Repaired, RepairedArtifact, RepairedRepository};
use serde_json::{Value, json};
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
    let (verified, _) = context.transfer("verifying", transfer, async |m| m.verify(place).await).await?;
    context.output.note(&format!("verified {}, {}", text::count(verified.blobs, "blob"), text::bytes(verified.bytes)));
    let value = json!({ "digest": verified.digest.to_string(), "blobs": verified.blobs, "bytes": verified.bytes });
    context.output.result(&verified.digest.to_string(), &value)
}

async fn repair_artifact(place: &Place, transfer: &TransferArgs, context: &Context) -> Result<(), Failure> {
    let (repaired, _) = context.transfer("verifying", transfer, async |m| m.repair(place).await).await?;
    let RepairedArtifact { digest, blobs, bytes, fetched, repository } = repaired;
    for line in repository.iter().flat_map(lines) {
        context.output.note(&line);
    }
    for blob in &fetched {
        context.output.note(&format!("fetched {} again, {}", blob.digest, text::bytes(blob.size)));
    }
    context.output.note(&format!("verified {}, {}", text::count(blobs, "blob"), text::bytes(bytes)));
    let value = json!({
        "digest": digest.to_string(),
        "blobs": blobs,
        "bytes": bytes,
        "fetched": fetched.iter().map(|blob| json!({ "digest": blob.digest.to_string(), "size": blob.size })).collect::<Vec<_>>(),
        "repository": repository.as_ref().map(value),
    });
    context.output.result(&digest.to_string(), &value)
}

async fn repair_store(transfer: &TransferArgs, context: &Context) -> Result<(), Failure> {
    let (repaired, _) = context.transfer("verifying", transfer, async |m| m.repair_store().await).await?;
    let Repaired { blobs, bytes, removed, moved_aside, unrepaired, repositories, broken } = &repaired;
    let mut report = vec![format!("{} read, {}; {} damaged and removed", text::count(*blobs, "blob"), text::bytes(*bytes), removed.len())];
    report.extend(removed.iter().map(|(digest, size)| format!("removed {digest}, {}", text::bytes(*size))));
    report.extend(moved_aside.iter().map(|path| moved(path)));
    report.extend(repositories.iter().flat_map(lines));
    for (digest, why) in unrepaired {
        context.output.warn(&format!("blob {digest} could not be repaired: {why}"));
    }
    for repository in broken {
        context.output.warn(&format!("{} could not be repaired: {}", name_of(repository), repository.why));
    }
    let value = json!({
        "blobs": blobs,
        "bytes": bytes,
        "removed": removed.iter().map(|(digest, size)| json!({ "digest": digest.to_string(), "size": size })).collect::<Vec<_>>(),
        "movedAside": moved_aside.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "unrepaired": unrepaired.iter().map(|(digest, why)| json!({ "digest": digest.to_string(), "reason": why })).collect::<Vec<_>>(),
        "repositories": repositories.iter().map(value).collect::<Vec<_>>(),
        "broken": broken.iter().map(broken_value).collect::<Vec<_>>(),
    });
    context.output.result(&report.join("\n"), &value)?;
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
    let RepairedRepository { name, rebuilt, completed, moved_aside, kept, lost_tags, lost_manifests, incomplete } = repository;
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

fn value(repository: &RepairedRepository) -> Value {
    let strings = |items: &[_]| items.iter().map(|digest: &modelpack::spec::Digest| digest.to_string()).collect::<Vec<_>>();
    let tags = |tags: &[modelpack::spec::Tag]| tags.iter().map(ToString::to_string).collect::<Vec<_>>();
    let incomplete = repository.incomplete.iter().map(
        |manifest| json!({ "digest": manifest.manifest.to_string(), "tags": tags(&manifest.tags), "missing": strings(&manifest.missing) }),
    );
    json!({
        "repository": repository.name.to_string(),
        "rebuilt": repository.rebuilt,
        "completed": repository.completed,
        "movedAside": repository.moved_aside.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "kept": strings(&repository.kept),
        "lostTags": tags(&repository.lost_tags),
        "lostManifests": strings(&repository.lost_manifests),
        "incomplete": incomplete.collect::<Vec<_>>(),
    })
}

/// The name of a repository that cannot be read, or its directory.
pub fn name_of(broken: &BrokenRepository) -> String {
    broken.name.as_ref().map_or_else(|| broken.directory.display().to_string(), ToString::to_string)
}

pub fn broken_value(broken: &BrokenRepository) -> Value {
    json!({
        "repository": broken.name.as_ref().map(ToString::to_string),
        "directory": broken.directory.to_string_lossy(),
        "reason": broken.why,
    })
}
