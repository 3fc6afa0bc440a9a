//! Archives of the packed artifact that are kept unchanged.

use super::{BundleNames, PlannedLayer};
use crate::{Plan, PlannedFile, StoredArchive};
use modelpack_spec::{Encoding, FilePath, LayerKind};
use std::collections::HashMap;

/// The layers of a plan that are already stored: archives whose files are all planned with one kind
/// and without a rule for another encoding. `rules` has the encoding that the policy's rules give
/// for each file.
pub(super) fn layers(plan: &Plan, rules: &[Option<Encoding>]) -> Vec<PlannedLayer> {
    if plan.archives.is_empty() {
        return Vec::new();
    }
    let planned: HashMap<&FilePath, (usize, &PlannedFile)> =
        plan.files.iter().enumerate().map(|(at, file)| (&file.path, (at, file))).collect();
    let named = plan.archives.iter().filter_map(|archive| archive.path.as_ref());
    let mut names = BundleNames::beside(plan.files.iter().map(|file| &file.path).chain(named));
    let layer = |archive: &StoredArchive| {
        let mut files: Vec<(usize, &PlannedFile)> = archive.files.iter().map(|path| planned.get(path).copied()).collect::<Option<_>>()?;
        files.sort_unstable_by_key(|(at, _)| *at);
        let kind: LayerKind = files.first()?.1.kind;
        let is_wanted = |at: usize| rules[at].is_none_or(|encoding| encoding == archive.encoding);
        let stays = files.iter().all(|(at, file)| file.kind == kind && is_wanted(*at));
        let path = archive.path.clone().filter(|_| stays).or_else(|| names.next(kind, archive.encoding))?;
        let files = files.into_iter().map(|(_, file)| file.clone()).collect();
        stays.then(|| PlannedLayer { kind, encoding: archive.encoding, path, files, stored: Some(archive.clone()) })
    };
    plan.archives.iter().filter_map(layer).collect()
}
