//! The comparison of two artifacts by their manifests and configs.

use crate::InspectedLayer;
use modelpack_spec::{Artifact, Config, Digest, FileMetadata, Layer, LayerType, annotation};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::Hash,
};

/// The data of an artifact that is compared.
pub(super) struct Side {
    target: String,
    digest: Digest,
    /// Each field of the config by its path, such as `config.paramSize`, and the type of the
    /// artifact.
    metadata: BTreeMap<String, Value>,
    annotations: BTreeMap<String, Value>,
    layers: Vec<Layer>,
}

/// The differences between two artifacts, A and B.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Diff {
    /// The side A.
    pub a: DiffSide,
    /// The side B.
    pub b: DiffSide,
    /// Whether there is no difference except in form, such as the order of layers.
    pub equal: bool,
    /// Fields of the config by their paths, such as `config.paramSize`, and `artifactType`.
    pub metadata: Vec<ValueChange>,
    /// Annotations of the manifests.
    pub annotations: Vec<ValueChange>,
    /// Layers that differ, by their paths in A, or in B if A has none. A raw layer is a file; the
    /// content of archives is not compared.
    pub layers: Vec<LayerChange>,
    /// The identical layers.
    pub same: DiffSize,
    /// The layers that a client with A must fetch to have B.
    pub to_fetch: DiffSize,
}

/// A side of the comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DiffSide {
    /// The name of the artifact or directory, as given.
    pub target: String,
    /// The digest of its manifest; for a directory, of the manifest that it would be packed to.
    pub digest: Digest,
}

/// A number of layers and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffSize {
    /// The number of layers.
    pub layers: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// A value that differs between A and B.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ValueChange {
    /// The name of the value.
    #[serde(rename = "field")]
    pub name: String,
    /// In A.
    pub old: Option<Value>,
    /// In B.
    pub new: Option<Value>,
}

/// A layer that differs between A and B.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LayerChange {
    /// The kind of change.
    pub change: Change,
    /// The aspects in which the layer differs, if it is in A and B.
    #[serde(rename = "differs")]
    pub aspects: Vec<Aspect>,
    /// The layer in A; `None` if it is added.
    pub old: Option<InspectedLayer>,
    /// The layer in B; `None` if it is removed.
    pub new: Option<InspectedLayer>,
}

/// The kinds of change of a layer from A to B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Change {
    /// The layer is only in B.
    Added,
    /// The layer is only in A.
    Removed,
    /// The layer has another path, and may differ in other aspects too.
    Renamed,
    /// The layer has the same path, but differs in other aspects.
    Changed,
}

impl Change {
    /// The name in JSON output: `added`, `removed`, `renamed` or `changed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Renamed => "renamed",
            Self::Changed => "changed",
        }
    }
}

impl LayerChange {
    fn new(old: Option<&Layer>, new: Option<&Layer>, aspects: Vec<Aspect>) -> Self {
        let change = match (old, new) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            _ if aspects.contains(&Aspect::Path) => Change::Renamed,
            _ => Change::Changed,
        };
        let summary = |layer: &Layer| InspectedLayer::from(layer.clone());
        Self { change, aspects, old: old.map(summary), new: new.map(summary) }
    }
}

/// An aspect in which a layer differs between A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Aspect {
    /// The path: the layer is renamed.
    Path,
    /// The bytes.
    Content,
    /// The kind of the layer, or its encoding.
    Type,
    /// Whether the owner may execute the file.
    Executable,
    /// Other annotations.
    Annotations,
}

impl Aspect {
    /// The name in JSON output: `path`, `content`, `type`, `executable` or `annotations`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Content => "content",
            Self::Type => "type",
            Self::Executable => "executable",
            Self::Annotations => "annotations",
        }
    }
}

impl DiffSize {
    fn add(&mut self, layer: &Layer) {
        self.layers += 1;
        self.bytes = self.bytes.saturating_add(layer.descriptor.size);
    }
}

impl Side {
    pub(super) fn new(target: String, digest: Digest, artifact: Artifact, config: &Config, annotations: BTreeMap<String, String>) -> Self {
        let mut metadata = BTreeMap::new();
        let mut config = serde_json::to_value(config).expect("a config has string keys only");
        if let Some(fields) = config.as_object_mut() {
            // The layers contain the same information.
            fields.remove("modelfs");
        }
        collect(String::new(), config, &mut metadata);
        metadata.extend(artifact.artifact_type.map(|value| ("artifactType".to_owned(), value.into())));
        let annotations = annotations.into_iter().map(|(key, value)| (key, value.into())).collect();
        Self { target, digest, metadata, annotations, layers: artifact.layers }
    }
}

/// Collects the fields of an object by their paths. The recursion is bounded, because the parser
/// bounds the depth of documents.
fn collect(path: String, value: Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                collect(if path.is_empty() { key } else { format!("{path}.{key}") }, value, fields);
            }
        }
        value => {
            fields.insert(path, value);
        }
    }
}

pub(super) fn compare(a: Side, b: Side) -> Diff {
    let held: HashSet<&Digest> = a.layers.iter().map(|layer| &layer.descriptor.digest).collect();
    let mut fetched = HashSet::new();
    let mut to_fetch = DiffSize::default();
    for layer in &b.layers {
        let digest = &layer.descriptor.digest;
        if !held.contains(digest) && fetched.insert(digest) {
            to_fetch.add(layer);
        }
    }
    let (layers, same) = compare_layers(&a.layers, &b.layers);
    let (metadata, annotations) = (compare_values(a.metadata, b.metadata), compare_values(a.annotations, b.annotations));
    Diff {
        equal: metadata.is_empty() && annotations.is_empty() && layers.is_empty(),
        a: DiffSide { target: a.target, digest: a.digest },
        b: DiffSide { target: b.target, digest: b.digest },
        metadata,
        annotations,
        layers,
        same,
        to_fetch,
    }
}

fn compare_values(mut a: BTreeMap<String, Value>, b: BTreeMap<String, Value>) -> Vec<ValueChange> {
    let mut changes = Vec::new();
    for (name, new) in b {
        match a.remove(&name) {
            Some(old) if old == new => {}
            old => changes.push(ValueChange { name, old, new: Some(new) }),
        }
    }
    changes.extend(a.into_iter().map(|(name, old)| ValueChange { name, old: Some(old), new: None }));
    changes.sort_by(|one, other| one.name.cmp(&other.name));
    changes
}

fn compare_layers(a: &[Layer], b: &[Layer]) -> (Vec<LayerChange>, DiffSize) {
    let (mut a, mut b): (Vec<&Layer>, Vec<&Layer>) = (a.iter().collect(), b.iter().collect());
    let mut pairs = take_pairs(&mut a, &mut b, |layer| Some((layer.path.clone(), layer.descriptor.digest.clone())));
    pairs.extend(take_pairs(&mut a, &mut b, |layer| layer.path.clone()));
    // Empty files are all equal, so they are not matched by digest.
    pairs.extend(take_pairs(&mut a, &mut b, |layer| (layer.descriptor.size > 0).then(|| layer.descriptor.digest.clone())));

    let mut same = DiffSize::default();
    let mut changes = Vec::new();
    for (old, new) in pairs {
        let aspects = aspects(old, new);
        if aspects.is_empty() {
            same.add(old);
        } else {
            changes.push(LayerChange::new(Some(old), Some(new), aspects));
        }
    }
    changes.extend(a.into_iter().map(|old| LayerChange::new(Some(old), None, Vec::new())));
    changes.extend(b.into_iter().map(|new| LayerChange::new(None, Some(new), Vec::new())));
    let place = |change: &LayerChange| change.old.as_ref().or(change.new.as_ref()).map(|layer| (layer.path.clone(), layer.digest.clone()));
    changes.sort_by_cached_key(place);
    (changes, same)
}

/// Removes layers with equal keys from both lists and returns them as pairs, in their order.
fn take_pairs<'a, K: Eq + Hash>(
    a: &mut Vec<&'a Layer>,
    b: &mut Vec<&'a Layer>,
    key: impl Fn(&Layer) -> Option<K>,
) -> Vec<(&'a Layer, &'a Layer)> {
    let mut waiting: HashMap<K, VecDeque<usize>> = HashMap::new();
    for (index, layer) in a.iter().enumerate() {
        if let Some(key) = key(layer) {
            waiting.entry(key).or_default().push_back(index);
        }
    }
    let (mut pairs, mut taken) = (Vec::new(), HashSet::new());
    b.retain(|&new| match key(new).and_then(|key| waiting.get_mut(&key)?.pop_front()) {
        Some(index) => {
            pairs.push((a[index], new));
            taken.insert(index);
            false
        }
        None => true,
    });
    let mut index = 0..;
    a.retain(|_| index.next().is_some_and(|index| !taken.contains(&index)));
    pairs
}

fn aspects(old: &Layer, new: &Layer) -> Vec<Aspect> {
    let differs = [
        (Aspect::Path, old.path != new.path),
        (Aspect::Content, old.descriptor.digest != new.descriptor.digest),
        (Aspect::Type, layer_type(old) != layer_type(new)),
        (Aspect::Executable, old.is_executable() != new.is_executable()),
        (Aspect::Annotations, attributes(old) != attributes(new)),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(aspect, _)| aspect).collect()
}

/// The type of a layer; current and older names are equal.
fn layer_type(layer: &Layer) -> Result<LayerType, &str> {
    layer.descriptor.media_type.parse().map_err(|_| layer.descriptor.media_type.as_str())
}

/// The annotations, except path, size and executable bit.
fn attributes(layer: &Layer) -> (BTreeMap<&str, &str>, Option<FileMetadata>) {
    let compared_separately = [".model.filepath", ".model.file.metadata+json", annotation::TITLE];
    let others = layer.descriptor.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let others = others.filter(|(key, _)| !compared_separately.iter().any(|known| key.ends_with(known))).collect();
    let rest = |metadata: &FileMetadata| FileMetadata { name: String::new(), size: 0, mode: metadata.mode & !0o100, ..metadata.clone() };
    (others, layer.metadata.as_ref().map(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::{Descriptor, ImageManifest, Manifest};
    use proptest::{collection, prelude::*};

    /// Type, path and content.
    type File<'a> = (&'a str, &'a str, &'a str);

    fn layer((kind, path, bytes): File<'_>) -> Descriptor {
        let media_type = format!("application/vnd.cncf.model.{kind}");
        let mut layer = Descriptor::new(media_type, Digest::of(bytes.as_bytes()), bytes.len() as u64);
        layer.annotations.insert(annotation::FILEPATH.to_owned(), path.to_owned());
        layer
    }

    fn side(config: &str, layers: Vec<Descriptor>, annotations: &[(&str, &str)]) -> Side {
        let annotations: BTreeMap<String, String> = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let image = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: Descriptor::of("application/vnd.cncf.model.config.v1+json", b"{}"),
            layers,
            subject: None,
            annotations: annotations.clone(),
            other: Default::default(),
        };
        let manifest = Manifest::from_image(image).unwrap();
        let artifact = Artifact::read(manifest.image().unwrap()).unwrap();
        Side::new(String::new(), manifest.digest().clone(), artifact, &Config::parse(config.as_bytes()).unwrap(), annotations)
    }

    fn files(a: &[File<'_>], b: &[File<'_>]) -> Diff {
        let layers = |files: &[File<'_>]| files.iter().map(|file| layer(*file)).collect();
        compare(side("{}", layers(a), &[]), side("{}", layers(b), &[]))
    }

    /// Each change as a line: old path, new path, aspects.
    fn changes(diff: &Diff) -> Vec<String> {
        let path = |layer: &Option<InspectedLayer>| layer.as_ref().map_or("-".to_owned(), |layer| layer.path.as_ref().unwrap().to_string());
        let line = |change: &LayerChange| {
            let words = [path(&change.old), path(&change.new)].into_iter().chain(change.aspects.iter().map(|a| a.name().to_owned()));
            words.collect::<Vec<_>>().join(" ")
        };
        diff.layers.iter().map(line).collect()
    }

    const RAW: &str = "weight.v1.raw";

    #[test]
    fn files_are_added_removed_changed_and_renamed() {
        let a = [(RAW, "same", "s"), (RAW, "old", "moved"), (RAW, "gone", "g"), (RAW, "changed", "1"), (RAW, "kind", "k")];
        let b = [("doc.v1.raw", "kind", "k"), (RAW, "same", "s"), (RAW, "changed", "22"), (RAW, "new", "moved"), (RAW, "more", "m")];
        let diff = files(&a, &b);
        assert_eq!(changes(&diff), ["changed changed content", "gone -", "kind kind type", "- more", "old new path"]);
        assert_eq!((diff.same, diff.to_fetch), (DiffSize { layers: 1, bytes: 1 }, DiffSize { layers: 2, bytes: 3 }));
        assert!(!diff.equal);
    }

    #[test]
    fn swapped_files_and_empty_files_are_not_renamed() {
        let diff = files(&[(RAW, "a", "1"), (RAW, "b", "2")], &[(RAW, "a", "2"), (RAW, "b", "1")]);
        assert_eq!(changes(&diff), ["a a content", "b b content"]);
        assert_eq!(diff.to_fetch, DiffSize::default());
        assert_eq!(changes(&files(&[(RAW, "a", "")], &[(RAW, "b", "")])), ["a -", "- b"]);
        // Each file matches one file with the same content.
        let diff = files(&[(RAW, "a", "1"), (RAW, "b", "1")], &[(RAW, "c", "1"), (RAW, "d", "1"), (RAW, "e", "1")]);
        assert_eq!(changes(&diff), ["a c path", "b d path", "- e"]);
        assert_eq!(files(&[], &[(RAW, "a", "1"), (RAW, "b", "1")]).to_fetch, DiffSize { layers: 1, bytes: 1 }, "a blob is fetched once");
    }

    #[test]
    fn an_archive_is_compared_like_other_layers() {
        let tar = "code.v1.tar+gzip";
        let diff = files(&[(tar, "src", "1"), (tar, "src", "2")], &[(tar, "src", "2"), (tar, "src", "3"), (RAW, "x", "1")]);
        assert_eq!(changes(&diff), ["src src content", "- x"]);
        assert_eq!(changes(&files(&[(RAW, "x", "1")], &[("weight.v1.tar", "x", "2")])), ["x x content type"]);
    }

    #[test]
    fn older_names_and_a_different_order_are_equal() {
        let mut old = layer((RAW, "x", "1"));
        old.media_type = old.media_type.replace("cncf", "cnai");
        old.annotations = [("org.cnai.model.filepath".to_owned(), "x".to_owned())].into();
        let a = side("{}", vec![old, layer((RAW, "y", "2"))], &[]);
        let diff = compare(a, side("{}", vec![layer((RAW, "y", "2")), layer((RAW, "x", "1"))], &[]));
        assert!(diff.equal && diff.a.digest != diff.b.digest, "{diff:?}");
    }

    #[test]
    fn attributes_are_compared_separately() {
        let with = |mode: u32, mtime: &str, other: &str| {
            let mut layer = layer((RAW, "x", "1"));
            let metadata = format!(r#"{{"name":"x","mode":{mode},"uid":0,"gid":0,"size":1,"mtime":"{mtime}","typeflag":0}}"#);
            layer.annotations.insert(annotation::FILE_METADATA.to_owned(), metadata);
            layer.annotations.insert("org.example".to_owned(), other.to_owned());
            side("{}", vec![layer], &[])
        };
        for (b, expected) in [
            (with(0o644, "t", "a"), vec![]),
            (with(0o744, "t", "a"), vec!["x x executable"]),
            (with(0o644, "u", "a"), vec!["x x annotations"]),
            (with(0o644, "t", "b"), vec!["x x annotations"]),
        ] {
            assert_eq!(changes(&compare(with(0o644, "t", "a"), b)), expected);
        }
    }

    #[test]
    fn every_field_of_the_config_is_compared() {
        let a =
            r#"{"descriptor":{"name":"a","authors":["x"]},"config":{"precision":"float16","capabilities":{"reasoning":true}},"more":1}"#;
        let b =
            r#"{"descriptor":{"name":"b","authors":["x"],"version":"1"},"config":{"capabilities":{"reasoning":false}},"more":{"x":[]}}"#;
        let diff = compare(side(a, vec![], &[("k", "1"), ("same", "")]), side(b, vec![], &[("k", "2"), ("same", "")]));
        let names: Vec<&str> = diff.metadata.iter().map(|change| change.name.as_str()).collect();
        let expected = ["config.capabilities.reasoning", "config.precision", "descriptor.name", "descriptor.version", "more", "more.x"];
        assert_eq!(names, expected);
        assert_eq!((&diff.metadata[2].old, &diff.metadata[2].new), (&Some("a".into()), &Some("b".into())));
        assert_eq!(diff.annotations, [ValueChange { name: "k".into(), old: Some("1".into()), new: Some("2".into()) }]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn swapped_sides_give_the_opposite_diff(
            a in collection::btree_map("[a-d]", "[x-z]{0,1}", 0..5),
            b in collection::btree_map("[a-d]", "[x-z]{0,1}", 0..5),
        ) {
            let list = |files: &BTreeMap<String, String>| -> Vec<Descriptor> {
                files.iter().map(|(path, bytes)| layer((RAW, path, bytes))).collect()
            };
            let (there, back) = (
                compare(side("{}", list(&a), &[]), side("{}", list(&b), &[])),
                compare(side("{}", list(&b), &[]), side("{}", list(&a), &[])),
            );
            prop_assert_eq!(there.equal, a == b);
            prop_assert_eq!(there.same, back.same);
            let count = |diff: &Diff, has: fn(&LayerChange) -> bool| diff.layers.iter().filter(|change| has(change)).count();
            prop_assert_eq!(count(&there, |c| c.old.is_some()) + there.same.layers, a.len());
            prop_assert_eq!(count(&there, |c| c.new.is_some()) + there.same.layers, b.len());
            prop_assert_eq!(count(&there, |c| c.old.is_none()), count(&back, |c| c.new.is_none()));
        }
    }
}
