//! KitOps' Kitfile, read like a Modelfile with the same meaning.

use super::{FileCommand, Kind, Modelfile, ModelfileError, ModelfileProblem, Pattern, Place, pattern::Component};
use crate::{Field, InvalidValue};
use modelpack_spec::{FilePath, LayerKind, ModelKit, Reference};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::{Error, Location, Spanned};
use std::{collections::HashMap, path::Path};

/// A larger file is not a Kitfile.
const MAX_BYTES: usize = 1 << 20;
/// The maximum nesting of values. The sections need four levels; `parameters` may have any.
const MAX_DEPTH: usize = 64;
/// The maximum number of values in a Kitfile.
const MAX_NODES: usize = 100_000;
/// The maximum number of values that aliases may repeat.
const MAX_REPEATED: usize = 10_000;
/// The longest type of a model part, in bytes.
const MAX_TYPE: usize = 64;
/// The top-level keys of a Kitfile.
const SECTIONS: [&str; 8] = ["manifestVersion", "package", "model", "code", "datasets", "docs", "prompts", "mcpServers"];

type Text = Option<Spanned<String>>;
type Entries<T> = Option<Vec<Spanned<T>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kitfile {
    manifest_version: Text,
    package: Option<Package>,
    model: Option<Model>,
    code: Entries<Entry>,
    datasets: Entries<Dataset>,
    docs: Entries<Entry>,
    prompts: Entries<Entry>,
    mcp_servers: Entries<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Package {
    name: Text,
    version: Text,
    description: Text,
    license: Text,
    authors: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: Text,
    path: Text,
    license: Text,
    framework: Text,
    format: Text,
    version: Text,
    description: Text,
    parts: Entries<Part>,
    parameters: Option<Spanned<serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "an artifact has no place for a name")]
struct Part {
    name: Option<String>,
    path: Text,
    license: Text,
    #[serde(rename = "type")]
    type_: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "an artifact has no place for names and descriptions of files")]
struct Entry {
    name: Option<String>,
    path: Text,
    description: Option<String>,
    license: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "an artifact has no place for the description of a data set")]
struct Dataset {
    name: Option<String>,
    path: Text,
    remote_path: Text,
    remote_hash: Text,
    description: Option<String>,
    license: Text,
    parameters: Option<IgnoredAny>,
}

/// Whether the file is a Kitfile: its name begins like one, or its first line begins with a
/// section.
pub(super) fn is_kitfile(path: &Path, text: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    // No Modelfile command is followed by a colon, or begins like a YAML directive, document or
    // object.
    let has_section = |line: &str| line.split_once(':').is_some_and(|(key, _)| SECTIONS.contains(&key.trim_end()));
    name.trim_start_matches('.').starts_with("kitfile")
        || lines.next().is_some_and(|line| line.trim_end() == "---" || line.starts_with(['%', '{']) || has_section(line))
}

/// Parses the text of a Kitfile with the path `path`.
pub(super) fn parse(text: &str, path: &Path) -> Result<Modelfile, ModelfileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let modelfile = Modelfile { path: path.to_owned(), is_kitfile: true, ..Modelfile::default() };
    let mut reader = Reader { text, name, paths: HashMap::new(), modelfile };
    if text.len() > MAX_BYTES {
        return Err(reader.error(Location::UNKNOWN, ModelfileProblem::Yaml(format!("it has more than {MAX_BYTES} bytes"))));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_nodes: MAX_NODES, max_events: 4 * MAX_NODES },
        // A small document with nested aliases could expand to a large one.
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED, max_replay_stack_depth: MAX_DEPTH },
        // `no` is a text.
        strict_booleans: true,
    };
    let kitfile: Kitfile = serde_saphyr::from_str_with_options(text, options).map_err(|error| reader.syntax(&error))?;
    reader.describe(&kitfile)?;
    reader.name_files(&kitfile)?;
    Ok(reader.modelfile)
}

struct Reader<'a> {
    text: &'a str,
    name: String,
    /// The line that names each path.
    paths: HashMap<String, usize>,
    modelfile: Modelfile,
}

impl Reader<'_> {
    /// Records the metadata: the fields that [`ModelKit`] reads from the config of a ModelKit.
    fn describe(&mut self, kitfile: &Kitfile) -> Result<(), ModelfileError> {
        if let Some(version) = &kitfile.manifest_version
            && version.value.trim_start_matches('v').split('.').next() != Some("1")
        {
            return Err(self.error(version.referenced, ModelfileProblem::ManifestVersion(version.value.clone())));
        }
        if let Some(package) = &kitfile.package {
            self.say(Field::NAME, &package.name)?;
            self.say(Field::VERSION, &package.version)?;
            self.say(Field::DESCRIPTION, &package.description)?;
            self.say(Field::LICENSES, &package.license)?;
            package.authors.iter().flatten().try_for_each(|author| self.say_text(Field::AUTHORS, author))?;
        }
        if let Some(model) = &kitfile.model {
            self.say(Field::NAME, &model.name)?;
            self.say(Field::TITLE, &model.name)?;
            self.say(Field::VERSION, &model.version)?;
            self.say(Field::DESCRIPTION, &model.description)?;
            self.say(Field::FORMAT, &model.format)?;
            self.say(Field::LICENSES, &model.license)?;
            model.parts.iter().flatten().try_for_each(|part| self.say(Field::LICENSES, &part.value.license))?;
            if let Some(framework) = model.framework.as_ref().filter(|text| !text.value.trim().is_empty()) {
                self.annotate(ModelKit::FRAMEWORK, &framework.value, framework.referenced)?;
            }
            if let Some(parameters) = model.parameters.as_ref().filter(|parameters| !parameters.value.is_null()) {
                self.annotate(ModelKit::PARAMETERS, &parameters.value.to_string(), parameters.referenced)?;
            }
        }
        kitfile.code.iter().flatten().try_for_each(|code| self.say(Field::LICENSES, &code.value.license))?;
        kitfile.datasets.iter().flatten().try_for_each(|dataset| self.say(Field::LICENSES, &dataset.value.license))
    }

    /// Records the files that it names, with the kinds of their sections.
    fn name_files(&mut self, kitfile: &Kitfile) -> Result<(), ModelfileError> {
        if let Some(model) = &kitfile.model {
            if let Some(path) = model.path.as_ref().filter(|path| !path.value.trim().is_empty()) {
                self.name(Kind::Model(LayerKind::Weight), Some(path), path.referenced)?;
            }
            for part in model.parts.iter().flatten() {
                if let Some(type_) = &part.value.type_ {
                    self.check_type(type_)?;
                }
                let kind = |path: &Spanned<String>| path.value.trim().parse::<FilePath>().ok();
                let type_ = part.value.type_.as_ref().map(|type_| type_.value.as_str()).filter(|type_| !type_.is_empty());
                let kind = part.value.path.as_ref().and_then(kind).map_or(LayerKind::Weight, |path| ModelKit::kind_of_part(type_, &path));
                self.name(Kind::Model(kind), part.value.path.as_ref(), part.referenced)?;
            }
        }
        for dataset in kitfile.datasets.iter().flatten() {
            if let Some(remote) = dataset.value.remote_path.as_ref().or(dataset.value.remote_hash.as_ref()) {
                return Err(self.error(remote.referenced, ModelfileProblem::RemoteDataset));
            }
            self.name(Kind::Fixed(LayerKind::Dataset), dataset.value.path.as_ref(), dataset.referenced)?;
        }
        // Prompts and servers are code: the specification has no closer layer type, and KitOps also
        // treats prompts as code.
        for (kind, entries) in [
            (LayerKind::Code, &kitfile.code),
            (LayerKind::Doc, &kitfile.docs),
            (LayerKind::Code, &kitfile.prompts),
            (LayerKind::Code, &kitfile.mcp_servers),
        ] {
            for entry in entries.iter().flatten() {
                self.name(Kind::Fixed(kind), entry.value.path.as_ref(), entry.referenced)?;
            }
        }
        Ok(())
    }

    fn say(&mut self, field: Field, text: &Text) -> Result<(), ModelfileError> {
        match text {
            // For a single text, the first value wins: `package` before `model`.
            Some(text) if field.is_list || self.modelfile.metadata.get(field).is_none() => self.say_text(field, text),
            _ => Ok(()),
        }
    }

    fn say_text(&mut self, field: Field, text: &Spanned<String>) -> Result<(), ModelfileError> {
        if text.value.trim().is_empty() {
            return Ok(());
        }
        let source = format!("{}:{}", self.name, text.referenced.line());
        let result = self.modelfile.metadata.say(field, &text.value, &source);
        result.map_err(|invalid| self.invalid(text.referenced, invalid))
    }

    fn annotate(&mut self, key: &str, value: &str, at: Location) -> Result<(), ModelfileError> {
        let source = format!("{}:{}", self.name, at.line());
        let result = self.modelfile.metadata.annotate(&format!("{key}={value}"), &source);
        result.map_err(|invalid| self.invalid(at, invalid))
    }

    /// Names the file or directory of an entry. Without a path, this is the whole directory.
    fn name(&mut self, kind: Kind, path: Option<&Spanned<String>>, entry: Location) -> Result<(), ModelfileError> {
        let at = path.map_or(entry, |path| path.referenced);
        let text = path.map_or(".", |path| path.value.trim());
        let text = if text.is_empty() { "." } else { text };
        if text.contains("://") {
            return Err(self.error(at, ModelfileProblem::Url(text.to_owned())));
        }
        if text.contains([':', '@']) && text.parse::<Reference>().is_ok() {
            return Err(self.error(at, ModelfileProblem::OtherModelKit(text.to_owned())));
        }
        // KitOps has no wildcards.
        let literal: Vec<(char, bool)> = text.chars().map(|c| (c, true)).collect();
        let pattern = Pattern::new(&literal).map_err(|problem| self.error(at, problem))?;
        let names = pattern.components.iter().filter_map(|component| match component {
            Component::Name(name) => Some(name.as_str()),
            Component::Glob(_) | Component::Below => None,
        });
        let names: Vec<&str> = names.collect();
        let place = self.place(at);
        if let Some(first) = self.paths.insert(names.join("/"), place.line) {
            return Err(place.error(ModelfileProblem::RepeatedPath { first }));
        }
        let depth = names.len();
        self.modelfile.files.push(FileCommand { kind, depth, pattern, place });
        Ok(())
    }

    fn check_type(&self, type_: &Spanned<String>) -> Result<(), ModelfileError> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let text = &type_.value;
        let is_type = text.len() <= MAX_TYPE && !text.starts_with(['.', '-']) && text.chars().all(|c| is_word(c) || ".-".contains(c));
        if is_type { Ok(()) } else { Err(self.error(type_.referenced, ModelfileProblem::PartType(text.clone()))) }
    }

    fn invalid(&self, at: Location, invalid: InvalidValue) -> ModelfileError {
        self.error(at, ModelfileProblem::Value(invalid))
    }

    /// The message of the YAML parser, without text about its settings and the position.
    fn syntax(&self, error: &Error) -> ModelfileError {
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let message = match error.without_snippet() {
            Error::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate key {key}"),
            Error::DuplicateMappingKey { .. } => "duplicate key".to_owned(),
            Error::MultipleDocuments { .. } => "a second document begins here; a Kitfile has only one".to_owned(),
            other => other.to_string().replace("mapping start", "a mapping").replace("sequence start", "a list"),
        };
        let place = format!(" at line {}, column {}", at.line(), at.column());
        let message = message.lines().next().unwrap_or_default().trim_end_matches(&place).to_owned();
        self.error(at, ModelfileProblem::Yaml(message))
    }

    fn error(&self, at: Location, problem: ModelfileProblem) -> ModelfileError {
        self.place(at).error(problem)
    }

    /// A position in the text, which may be its end.
    fn place(&self, at: Location) -> Place {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
        let line = number(at.line()).min(self.text.lines().count().max(1));
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        let column = number(at.column()).min(text.chars().count() + 1);
        Place { line, column, text: text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Description;
    use serde_json::{Value, json};

    const WHOLE: &str = "\
manifestVersion: 1.0
package:
  name: pack
  version: 1.50
  description: >-
    Two
    lines
  license: apache-2.0
  authors: [somebody, 'O''Neill']
model:
  name: tiny
  path: ./tiny.safetensors
  license: MIT
  framework: PyTorch
  format: safetensors
  version: 2
  description: of the model
  parts:
    - {name: second, path: more.safetensors, type: weight, license: ISC}
    - path: config.json
  parameters: {temperature: 0.5, stop: [no, \"yes\"]}
code:
  - {path: src/, description: runs it, license: BSD-3-Clause}
datasets:
  - {name: d, path: data.csv, description: d, license: CC0-1.0, parameters: {rows: 3}}
docs:
  - {path: README.md, description: read it}
prompts:
  - {name: p, path: skills, description: p}
mcpServers:
  - {name: s, path: s.mcpb, description: s}
";

    fn parsed(text: &str) -> Modelfile {
        Modelfile::parse_kitfile(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// The error for an invalid text: line, column and message.
    fn refused(text: &str) -> (usize, usize, String) {
        let error = Modelfile::parse_kitfile(text).expect_err(text);
        assert_eq!(error.text, text.lines().nth(error.line - 1).unwrap_or_default());
        (error.line, error.column, error.problem.to_string())
    }

    #[test]
    fn every_section_is_parsed() {
        let kitfile = parsed(WHOLE);
        let files: Vec<_> = kitfile.files.iter().map(|file| (file.kind, file.pattern.text.as_str(), file.place.line)).collect();
        let (model, fixed) = (Kind::Model, Kind::Fixed);
        assert_eq!(
            files,
            [
                (model(LayerKind::Weight), "./tiny.safetensors", 12),
                (model(LayerKind::Weight), "more.safetensors", 19),
                (model(LayerKind::WeightConfig), "config.json", 20),
                (fixed(LayerKind::Dataset), "data.csv", 25),
                (fixed(LayerKind::Code), "src/", 23),
                (fixed(LayerKind::Doc), "README.md", 27),
                (fixed(LayerKind::Code), "skills", 29),
                (fixed(LayerKind::Code), "s.mcpb", 31),
            ]
        );
        let description = Description::of([kitfile.metadata.clone()]);
        assert_eq!(
            json!({ "descriptor": description.descriptor, "config": description.config }),
            json!({
                "descriptor": {
                    "authors": ["somebody", "O'Neill"], "name": "pack", "version": "1.50", "title": "tiny", "description": "Two lines",
                    "licenses": ["Apache-2.0", "MIT", "ISC", "BSD-3-Clause", "CC0-1.0"],
                },
                "config": { "format": "safetensors" },
            })
        );
        assert_eq!(description.annotations[ModelKit::FRAMEWORK], "PyTorch");
        let parameters: Value = serde_json::from_str(&description.annotations[ModelKit::PARAMETERS]).unwrap();
        assert_eq!(parameters, json!({ "temperature": 0.5, "stop": ["no", "yes"] }));
        let name = description.findings.iter().find(|finding| finding.field == Field::NAME.name).unwrap();
        assert_eq!(name.source, "Kitfile:3");
    }

    #[test]
    fn a_kitfile_gives_the_same_metadata_as_the_config_of_its_modelkit() {
        let value: Value = serde_saphyr::from_str(&WHOLE.replace("1.50", "'1.50'").replace("[no,", "['no',")).unwrap();
        let kit = ModelKit::parse(value.to_string().replace("apache-2.0", "Apache-2.0").as_bytes()).unwrap();
        let description = Description::of([parsed(WHOLE).metadata]);
        let config = kit.config();
        assert_eq!((description.descriptor, description.config), (config.descriptor, config.config));
        assert_eq!(description.annotations, kit.annotations());
    }

    #[test]
    fn few_fields_are_required() {
        assert_eq!(parsed("").files, []);
        assert_eq!(parsed("manifestVersion: 1.0.0").files, []);
        let empty = parsed("manifestVersion: 1.0.0\npackage: {}\nmodel:\ncode: []\ndocs: ~\n");
        assert_eq!((empty.files.len(), empty.metadata), (0, crate::Metadata::default()));
        let named = parsed("model: {name: only}\ncode: [{description: all of it}]");
        assert!(named.files[0].pattern.components.is_empty(), "an entry without a path is the whole directory");
        assert_eq!(Description::of([named.metadata]).descriptor.name.as_deref(), Some("only"));
    }

    #[test]
    fn wildcards_are_ordinary_characters() {
        let kitfile = parsed("code: [{path: 'a*[b]?.py'}]");
        assert_eq!(kitfile.files[0].pattern.components, [Component::Name("a*[b]?.py".into())]);
    }

    #[test]
    fn errors_have_a_position_and_the_expected_content() {
        let expected: [(&str, usize, usize, &str); 14] = [
            ("package:\n  colour: red", 2, 3, "unknown field `colour`"),
            ("models: {}", 1, 1, "unknown field `models`"),
            ("model:\n  path: [a]", 2, 9, "string"),
            ("code: {path: a}", 1, 7, "expected"),
            ("package: {name: a, name: b}", 1, 20, "duplicate key name"),
            ("code:\n  - path: /etc/passwd", 2, 11, "the path is absolute; expected one below the model's directory"),
            ("code:\n  - path: a/../b", 2, 11, "the path contains `..`; expected one below the model's directory"),
            ("docs:\n  - path: a\\b", 2, 11, "the path contains a backslash; directories are separated by `/`"),
            ("code:\n  - path: ./a/\ndocs:\n  - path: a", 4, 11, "the path was already named on line 2; it may be named only once"),
            ("model:\n  path: ghcr.io/org/base:v1", 2, 9, "is a reference to another ModelKit"),
            ("code: [{path: 's3://bucket/key'}]", 1, 15, "is a URL"),
            ("datasets: [{path: d, remotePath: 's3://b/k', remoteHash: x}]", 1, 34, "are not fetched"),
            ("model: {parts: [{path: a, type: 'lo ra'}]}", 1, 33, "is not the type of a part"),
            ("manifestVersion: 2.0.0", 1, 18, "expected 1.0.0"),
        ];
        for (text, line, column, words) in expected {
            let (at_line, at_column, message) = refused(text);
            assert_eq!((at_line, at_column), (line, column), "{text:?}: {message}");
            assert!(message.contains(words), "{text:?}: {message}");
        }
        let (_, _, message) = refused("package: [");
        assert!(message.starts_with("the Kitfile cannot be read: ") && !message.contains("line"), "{message}");
    }

    #[test]
    fn hostile_documents_are_refused_and_not_expanded() {
        let levels = ('a'..='j').collect::<Vec<_>>();
        let mut laughs = "model:\n  parameters:\n    a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for pair in levels.windows(2) {
            laughs.push_str(&format!("    {}: &{} [{}]\n", pair[1], pair[1], vec![format!("*{}", pair[0]); 9].join(", ")));
        }
        let deep = format!("model: {{parameters: {}{}}}", "[".repeat(5000), "]".repeat(5000));
        let many = format!("package: {{authors: [{}]}}", "a, ".repeat(300_000));
        let large = format!("package: {{name: {}}}", "a".repeat(MAX_BYTES));
        for hostile in [laughs, deep, many, large, "model: &a {parameters: *a}".to_owned(), "\0".to_owned()] {
            let (line, _, message) = refused(&hostile);
            assert!(line >= 1 && message.starts_with("the Kitfile cannot be read: "), "{message}");
        }
    }

    #[test]
    fn a_kitfile_is_recognised_by_its_name_or_its_first_line() {
        let is = |name: &str, text: &str| is_kitfile(Path::new(name), text);
        for name in ["Kitfile", "dir/kitfile", ".kitfile", "Kitfile.yaml"] {
            assert!(is(name, ""), "{name}");
        }
        assert!(is("pack.yaml", "\n# comment\npackage:\n  name: x") && is("x", "---\nmodel: {}") && is("x", "manifestVersion : 1"));
        assert!(!is("Modelfile", "NAME a:b\npackage:") && !is("x", "MODEL: x") && !is("x", ""));
    }
}
