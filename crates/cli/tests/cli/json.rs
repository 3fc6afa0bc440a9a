//! Compares the JSON of every command with `docs/reference/json.md`. Each field of a real result
//! must be documented with its type, and each documented field must occur in a real result.

use crate::harness::{Registry, cli_with_model, ok, run, store};
use modelpack::spec::{Digest, media_type};
use modelpack_testkit::{Cli, Output};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    time::SystemTime,
};

/// The documentation of a field.
#[derive(Debug)]
struct Field {
    kind: Kind,
    is_nullable: bool,
    is_optional: bool,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Any,
    String,
    Integer,
    Boolean,
    /// An object whose fields are not documented here.
    Object,
    /// An object with its own table, by the heading of the table.
    Documented(String),
    Array(Box<Kind>),
}

impl Field {
    fn parse(text: &str) -> Self {
        let (text, is_optional) = text.strip_suffix(", optional").map_or((text, false), |text| (text, true));
        let (text, is_nullable) = text.strip_suffix(" or null").map_or((text, false), |text| (text, true));
        Self { kind: Kind::parse(text), is_nullable, is_optional }
    }
}

impl Kind {
    fn parse(text: &str) -> Self {
        if let Some(item) = text.strip_prefix("array of ") {
            return Self::Array(Box::new(Self::parse(item)));
        }
        match text {
            "any" => Self::Any,
            "string" => Self::String,
            "integer" => Self::Integer,
            "boolean" => Self::Boolean,
            "object" => Self::Object,
            link => Self::Documented(linked(link).unwrap_or_else(|| panic!("{link:?} is no type"))),
        }
    }
}

/// The heading of the target of the first link in `text`.
fn linked(text: &str) -> Option<String> {
    let (_, target) = text.split_once("](#")?;
    Some(target.split_once(')')?.0.replace('-', " "))
}

/// A table of the document.
#[derive(Debug, Default)]
struct Object {
    fields: BTreeMap<String, Field>,
    /// Whether it may have fields that the document does not list.
    is_open: bool,
}

/// The document, and its fields that have occurred in real results.
struct Document {
    /// The type of each command's output, by its name in the table of commands.
    commands: BTreeMap<String, Kind>,
    objects: BTreeMap<String, Object>,
    seen: BTreeSet<String>,
}

impl Document {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/json.md");
        Self::parse(&fs::read_to_string(path).unwrap())
    }

    fn parse(text: &str) -> Self {
        let mut document = Self { commands: BTreeMap::new(), objects: BTreeMap::new(), seen: BTreeSet::new() };
        let mut heading = String::new();
        let mut shared = Vec::new();
        for line in text.lines() {
            if let Some(next) = line.strip_prefix("## ") {
                next.clone_into(&mut heading);
            }
            if let Some(of) = line.strip_prefix("It has all fields of ") {
                shared.push((heading.clone(), linked(of).unwrap()));
            }
            let object = document.objects.entry(heading.clone()).or_default();
            object.is_open |= line.contains("Other fields are kept as they are.");
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            match cells[..] {
                ["command" | "field", ..] | ["---", ..] => {}
                [commands, result] if heading == "Commands" => {
                    let names = commands.split(", ").map(|name| name.trim_matches('`').to_owned());
                    document.commands.extend(names.map(|name| (name, Kind::parse(result))));
                }
                [name, kind, _] => {
                    let before = object.fields.insert(name.trim_matches('`').to_owned(), Field::parse(kind));
                    assert!(before.is_none(), "{heading} has {name} twice");
                }
                _ => {}
            }
        }
        document.objects.retain(|_, object| !object.fields.is_empty());
        for (to, from) in shared {
            let fields: Vec<_> = document.objects[&from].fields.keys().cloned().collect();
            for name in fields {
                let Field { kind, is_nullable, is_optional } = &document.objects[&from].fields[&name];
                let field = Field { kind: kind.clone(), is_nullable: *is_nullable, is_optional: *is_optional };
                document.objects.get_mut(&to).unwrap().fields.insert(name, field);
            }
        }
        document
    }

    /// Compares what a command printed with the document.
    #[track_caller]
    fn check(&mut self, command: &str, value: &Value) {
        let kind = self.commands.get(command).unwrap_or_else(|| panic!("`{command}` is not in the table of commands")).clone();
        self.seen.insert(command.to_owned());
        self.check_value(command, &kind, value);
    }

    #[track_caller]
    fn check_value(&mut self, at: &str, kind: &Kind, value: &Value) {
        match (kind, value) {
            (Kind::Any, _) | (Kind::String, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) | (Kind::Object, Value::Object(_)) => {}
            (Kind::Integer, Value::Number(number)) if number.is_u64() => {}
            (Kind::Array(item), Value::Array(values)) => values.iter().for_each(|value| self.check_value(at, item, value)),
            (Kind::Documented(name), Value::Object(fields)) => self.check_object(at, name, fields),
            _ => panic!("{at} is not {kind:?}: {value}"),
        }
    }

    #[track_caller]
    fn check_object(&mut self, at: &str, name: &str, fields: &Map<String, Value>) {
        let object = self.objects.remove(name).unwrap_or_else(|| panic!("the document has no table for {name:?}, or it is in itself"));
        for (key, value) in fields {
            let at = format!("{at}, {key} of {name}");
            match object.fields.get(key) {
                None => assert!(object.is_open, "{at} is not in the document: {value}"),
                Some(field) if value.is_null() => assert!(field.is_nullable, "{at} is null"),
                Some(field) => {
                    self.seen.insert(format!("{name}.{key}"));
                    self.check_value(&at, &field.kind, value);
                }
            }
        }
        for (key, field) in &object.fields {
            assert!(field.is_optional || fields.contains_key(key), "{at}: {name} has no {key}");
        }
        self.objects.insert(name.to_owned(), object);
    }

    /// The commands that were not run, and the fields that no result had.
    fn unseen(&self) -> Vec<String> {
        let fields = self.objects.iter().flat_map(|(name, object)| {
            object.fields.iter().filter(|(_, field)| !field.is_optional).map(move |(key, _)| format!("{name}.{key}"))
        });
        self.commands.keys().cloned().chain(fields).filter(|name| !self.seen.contains(name)).collect()
    }
}

/// Compares one result with the document, for tests that produce rare results.
#[track_caller]
pub(crate) fn expect_documented(command: &str, result: &Value) {
    Document::read().check(command, result);
}

/// The last JSON document that a command printed.
#[track_caller]
fn result(output: &Output) -> Value {
    let line = output.stdout.lines().last().unwrap_or_else(|| panic!("no result: {}", output.stderr));
    serde_json::from_str(line).unwrap()
}

/// A layout `odd` with a ModelPack artifact whose config has values that the specification does not
/// allow.
fn write_odd_layout(cli: &Cli) {
    let layout = cli.home().join("odd");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    };
    let mut layer = put("application/vnd.cncf.model.doc.v1.raw", b"x");
    layer["annotations"] = json!({ "org.cncf.model.filepath": "README.md" });
    let config = json!({
        "descriptor": {}, "config": { "paramSize": "8x7B" }, "modelfs": { "type": "layers", "diffIds": [layer["digest"]] },
    });
    let config = put(media_type::CONFIG, config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::IMAGE_MANIFEST, "artifactType": media_type::ARTIFACT, "config": config,
        "layers": [layer],
    });
    let entry = put(media_type::IMAGE_MANIFEST, manifest.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[test]
fn every_field_of_a_result_is_documented_and_every_documented_field_is_in_a_result() {
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let host = registry.address();
    let mut document = Document::read();
    let mut prints = |command: &str, code: i32, line: &str| {
        let output = run(&cli, &format!("{line} --json")).expect_code(code);
        document.check(command, &result(&output));
        for said in output.stderr.lines() {
            let said: Value = serde_json::from_str(said).unwrap();
            let kind = ["error", "warning", "log"].into_iter().find(|kind| said.get(kind).is_some()).unwrap();
            document.check(&format!("{kind} on stderr"), &said);
        }
    };

    // A pickle that imports `os.system`, as a file and in an archive; and a model without one of
    // its shards.
    let pickle = b"cos\nsystem\n(S'true'\ntR.";
    fs::write(model.join("loader.pkl"), pickle).unwrap();
    fs::write(model.join("more.zip"), modelpack_testkit::zip_of(&[("loader.pkl", pickle)])).unwrap();
    let cut = cli.home().join("cut");
    crate::small_model::write_small_model(&cut).unwrap();
    fs::remove_file(cut.join("model-00002-of-00002.safetensors")).unwrap();
    fs::write(cli.home().join("NOTES.md"), "Notes.").unwrap();
    fs::write(cli.home().join("config.json"), r#"{"descriptor":{"authors":"me"}}"#).unwrap();
    write_odd_layout(&cli);

    prints("pack", 0, "pack model -t tiny:v1 --family mine --created-at 2025-01-31");
    prints("pack", 0, "pack cut -t cut:v1");
    prints("build", 0, "build model -t tiny:v2");
    prints("push DIR", 0, &format!("push model {host}/tiny:v1"));
    prints("pack --dry-run", 0, "pack model --dry-run --layer code=tar+gzip --family mine");
    prints("pack --dry-run", 0, "pack cut --dry-run");
    prints("tag", 0, &format!("tag tiny:v1 {host}/other:v1"));
    prints("push", 0, &format!("push {host}/other:v1"));
    prints("pull", 0, &format!("pull {host}/tiny:v1 -v"));
    prints("cp", 0, "cp tiny:v1 oci:layout:v1");
    prints("cp", 0, "cp tiny:v1 oci-archive:tiny.tar:v1");
    prints("cp --to modelpack", 0, "cp --to modelpack oci:odd store:odd:v1");
    prints("cp --to image", 0, "cp --to image tiny:v1 oci:image:v1");
    prints("unpack", 0, "unpack tiny:v1 -o out --preset weights");
    prints("pull --output", 0, &format!("pull {host}/tiny:v1 --output pulled"));
    prints("fetch", 0, &format!("fetch {host}/tiny:v1 -o fetched --patterns *.json"));
    prints("attach", 0, "attach NOTES.md -s tiny:v1 -t tiny:v3");
    prints("modelfile generate", 0, "modelfile generate model -O generated");
    prints("init", 0, "init cut");
    prints("inspect", 0, "inspect tiny:v1");
    prints("diff", 1, "diff tiny:v1 tiny:v2");
    prints("diff", 1, "diff tiny:v1 tiny:v3");
    prints("diff", 1, "diff tiny:v3 tiny:v1");
    prints("lint", 0, "lint tiny:v1");
    prints("lint", 0, "lint cut");
    prints("validate", 5, "validate tiny:v1 config.json store:absent:v1 cut");
    prints("scan", 10, "scan model");
    prints("scan", 10, "scan tiny:v1");
    prints("verify", 0, "verify tiny:v1");
    prints("ls oci:PATH", 0, "ls oci:layout");
    prints("ls oci-archive:FILE", 0, "ls oci-archive:tiny.tar");
    prints("ls HOST/NAME", 0, &format!("ls {host}/tiny"));
    prints("ls HOST/", 0, &format!("ls {host}/"));
    prints("login", 0, &format!("login {host} -u me -p secret"));
    prints("logout", 0, &format!("logout {host}"));
    prints("version", 0, "version");
    prints("demo", 0, "demo");
    prints("rm", 0, "rm tiny:v2");
    fs::write(store(&cli).join("ingest/.ingest-dead"), "half a blob").unwrap();
    prints("prune", 0, "prune");
    prints("cache pull", 0, &format!("cache pull {host}/tiny:v1"));
    prints("cache pin", 0, &format!("cache pin {host}/tiny:v1"));
    prints("cache unpin", 0, &format!("cache unpin {host}/tiny:v1"));
    // What a mount does with each blob that it reads.
    for blob in fs::read_dir(cli.home().join(".local/share/modelpack-cache/blobs/sha256")).unwrap() {
        let file = fs::File::open(blob.unwrap().path()).unwrap();
        file.set_times(fs::FileTimes::new().set_accessed(SystemTime::now())).unwrap();
    }
    prints("cache ls", 0, "cache ls --cache-size 1GB");
    prints("cache rm", 0, &format!("cache rm {host}/tiny:v1"));

    // An unreadable index, in a repository that its registry has too.
    let repositories = store(&cli).join("repositories");
    let pulled = repositories.join(format!("{host}/tiny").replace(':', "+"));
    fs::write(pulled.join("index.json"), "").unwrap();
    prints("ls", 0, "ls");
    prints("prune", 0, "prune");
    let layer = ok(&cli, "inspect --raw tiny:v1");
    let layer = serde_json::from_str::<Value>(&layer).unwrap()["layers"][0]["digest"].as_str().unwrap().replace(':', "/");
    fs::write(store(&cli).join("blobs").join(&layer), "damaged").unwrap();
    prints("verify --repair REFERENCE", 0, &format!("verify --repair {host}/tiny:v1"));

    // The same without a registry, and a directory that is not a repository.
    fs::write(repositories.join("cut/index.json"), "").unwrap();
    fs::create_dir_all(repositories.join("Not A Name/_links/sha256")).unwrap();
    fs::write(store(&cli).join("blobs").join(&layer), "damaged").unwrap();
    prints("verify --repair", 5, "verify --repair");
    prints("ls NAME", 0, "ls tiny");

    // `serve` prints its output while it runs.
    let mut child = cli.command().args(["serve", "--json", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    child.kill().and_then(|()| child.wait()).unwrap();
    document.check("serve", &serde_json::from_str(&line).unwrap());

    // Only files without read permission cannot be repaired: see `damage.rs`.
    let unseen: Vec<_> = document.unseen().into_iter().filter(|name| !name.starts_with("unrepaired blob.")).collect();
    assert!(unseen.is_empty(), "in the document, and in no result: {unseen:?}");
}

#[test]
fn a_result_that_differs_from_the_document_is_noticed() {
    let text = "## Commands\n| command | result |\n|---|---|\n| `x` | [a](#a) |\n\
        ## a\n| field | type | meaning |\n|---|---|---|\n| `n` | integer or null | - |\n| `o` | string, optional | - |\n\
        | `l` | array of [b](#b) | - |\n## b\n| field | type | meaning |\n|---|---|---|\n| `s` | string | - |\n";
    let is_documented = |value: Value| std::panic::catch_unwind(|| Document::parse(text).check("x", &value)).is_ok();
    assert!(is_documented(json!({ "n": 1, "l": [{ "s": "" }] })) && is_documented(json!({ "n": null, "o": "", "l": [] })));
    for wrong in [
        json!({ "n": 1 }),
        json!({ "n": "1", "l": [] }),
        json!({ "n": -1, "l": [] }),
        json!({ "n": 1, "l": null }),
        json!({ "n": 1, "l": [], "more": 1 }),
        json!({ "n": 1, "l": [{}] }),
        json!({ "n": 1, "l": [{ "s": null }] }),
        json!([]),
    ] {
        assert!(!is_documented(wrong.clone()), "{wrong}");
    }
    let mut document = Document::parse(text);
    document.check("x", &json!({ "n": null, "l": [] }));
    assert_eq!(document.unseen(), ["a.n", "b.s"]);
}
