//! Checks a manifest: its schema, and whether the annotations of its layers match the layers.

use crate::{
    Document, Report, json,
    report::{escape, quoted},
    rule::{
        FILEPATH_CLASH, FILEPATH_INVALID, FILEPATH_MISSING, METADATA, METADATA_NAME, METADATA_SIZE, METADATA_TYPEFLAG, OLDER_NAME,
        READABLE, TITLE, UNTESTED,
    },
    schema, validate_file_metadata,
};
use modelpack_spec::{Artifact, Encoding, FilePath, LayerType, Manifest, PathSet, annotation, media_type};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const OLDER_KEYS: &str = "org.cnai.model.";
const CURRENT_KEYS: &str = "org.cncf.model.";

/// Reports the problems of the manifest `bytes`, and returns the manifest if it is JSON.
pub(crate) fn check_manifest(bytes: &[u8], report: &mut Report) -> Option<Value> {
    let before = report.problems.len();
    let value = json::parse(Document::Manifest, bytes, report)?;
    schema::MANIFEST.check(Document::Manifest, &value, report);
    let mut paths = Paths::default();
    for (index, layer) in value["layers"].as_array().into_iter().flatten().enumerate() {
        Layer::of(index, layer).check(&mut paths, report);
    }
    if report.problems.len() == before
        && let Some(why) = unreadable(bytes)
    {
        report.add(Document::Manifest, "", why, "a manifest that can be read", READABLE);
    }
    Some(value)
}

/// The reason why even a lenient reader rejects the manifest, if it does.
fn unreadable(bytes: &[u8]) -> Option<String> {
    match Manifest::parse(bytes.to_vec(), Some(media_type::IMAGE_MANIFEST)) {
        Ok(manifest) => Artifact::read(manifest.image()?).err().map(|e| e.to_string()),
        Err(e) => Some(e.to_string()),
    }
}

/// The paths of the earlier layers.
#[derive(Default)]
struct Paths {
    /// The paths of raw layers, which are files.
    files: PathSet,
    /// The paths of all layers, each with the first layer that has it.
    all: BTreeMap<FilePath, usize>,
}

struct Layer<'a> {
    index: usize,
    encoding: Option<Encoding>,
    size: Option<u64>,
    annotations: Option<&'a Map<String, Value>>,
}

impl<'a> Layer<'a> {
    fn of(index: usize, layer: &'a Value) -> Self {
        let layer_type = layer["mediaType"].as_str().and_then(|text| text.parse::<LayerType>().ok());
        let encoding = layer_type.map(|layer_type| layer_type.encoding);
        Self { index, encoding, size: layer["size"].as_u64(), annotations: layer["annotations"].as_object() }
    }

    fn is_raw(&self) -> bool {
        self.encoding == Some(Encoding::Raw)
    }

    fn pointer(&self, key: &str) -> String {
        format!("/layers/{}/annotations/{}", self.index, escape(key))
    }

    /// The key and the value of an annotation, with its current name or else with its older name.
    fn annotation(&self, key: &'static str) -> Option<(String, &'a str)> {
        let older = || format!("{OLDER_KEYS}{}", key.strip_prefix(CURRENT_KEYS).unwrap_or(key));
        let named = |key: String| Some((self.annotations?.get(&key)?.as_str()?, key)).map(|(value, key)| (key, value));
        named(key.to_owned()).or_else(|| named(older()))
    }

    fn check(&self, paths: &mut Paths, report: &mut Report) {
        for key in self.annotations.into_iter().flatten().map(|(key, _)| key) {
            if let Some(rest) = key.strip_prefix(OLDER_KEYS) {
                let current = format!("{CURRENT_KEYS}{rest}");
                report.add(Document::Manifest, self.pointer(key), "a key of an older version of the specification", current, OLDER_NAME);
            }
        }
        let path = self.check_path(paths, report);
        self.check_title(report);
        if let Some((key, value)) = self.annotation(annotation::MEDIATYPE_UNTESTED)
            && !matches!(value, "true" | "false")
        {
            report.add(Document::Manifest, self.pointer(&key), quoted(value), "\"true\" or \"false\"", UNTESTED);
        }
        if let Some((key, value)) = self.annotation(annotation::FILE_METADATA) {
            self.check_metadata(&self.pointer(&key), value, path.as_ref(), report);
        }
    }

    fn check_path(&self, paths: &mut Paths, report: &mut Report) -> Option<FilePath> {
        let Some((key, text)) = self.annotation(annotation::FILEPATH) else {
            if self.is_raw() && self.annotations.is_none_or(|annotations| !annotations.contains_key(annotation::FILEPATH)) {
                let allowed = "the path of the file, because the layer is raw";
                report.add(Document::Manifest, self.pointer(annotation::FILEPATH), "nothing", allowed, FILEPATH_MISSING);
            }
            return None;
        };
        let at = self.pointer(&key);
        let path: FilePath = match text.parse() {
            Ok(path) => path,
            Err(e) => {
                let allowed = "a relative path, separated by /, that does not leave the model's directory";
                report.add(Document::Manifest, at, format!("{} ({})", quoted(text), e.reason()), allowed, FILEPATH_INVALID);
                return None;
            }
        };
        if let Some(other) = paths.all.get(&path) {
            let found = format!("{}, which is also the path of layer {other}", quoted(text));
            report.add(Document::Manifest, at, found, "a path that no other layer has", FILEPATH_CLASH);
            return Some(path);
        }
        paths.all.insert(path.clone(), self.index);
        if self.is_raw()
            && let Err(e) = paths.files.insert(&path)
        {
            let found = format!("{} ({})", quoted(text), e.reason());
            report.add(
                Document::Manifest,
                at,
                found,
                "a path that can exist in one directory with the paths of the earlier layers",
                FILEPATH_CLASH,
            );
        }
        Some(path)
    }

    fn check_title(&self, report: &mut Report) {
        // The title of an archive may be the name of the archive, because its files have paths of
        // their own.
        if self.is_raw()
            && let (Some((_, path)), Some((key, title))) = (self.annotation(annotation::FILEPATH), self.annotation(annotation::TITLE))
            && path != title
        {
            report.add(Document::Manifest, self.pointer(&key), quoted(title), format!("the path of the layer: {}", quoted(path)), TITLE);
        }
    }

    fn check_metadata(&self, at: &str, json: &str, path: Option<&FilePath>, report: &mut Report) {
        let inner = validate_file_metadata(json.as_bytes());
        for problem in &inner.problems {
            let inside = if problem.pointer.is_empty() { String::new() } else { format!("at {} in the metadata: ", problem.pointer) };
            report.add(Document::Manifest, at, format!("{inside}{}", problem.found), problem.allowed.clone(), METADATA);
        }
        let Ok(metadata) = serde_json::from_str::<Value>(json) else { return };
        if let (Some(path), Some(name)) = (path, metadata["name"].as_str())
            && name != path.as_str()
            && name != path.file_name()
        {
            let found = format!("the name {}", Value::from(name));
            report.add(
                Document::Manifest,
                at,
                found,
                format!("{:?}, the file name of the path, or the whole path", path.file_name()),
                METADATA_NAME,
            );
        }
        if !self.is_raw() {
            return;
        }
        if let (Some(size), Some(found)) = (self.size, metadata["size"].as_u64())
            && size != found
        {
            report.add(Document::Manifest, at, format!("the size {found}"), format!("the size of the layer, {size}"), METADATA_SIZE);
        }
        if let Some(found) = metadata["typeflag"].as_u64().filter(|flag| !matches!(flag, 0 | 48)) {
            report.add(
                Document::Manifest,
                at,
                format!("the typeflag {found}"),
                "the typeflag of a regular file, 0 or 48",
                METADATA_TYPEFLAG,
            );
        }
    }
}
