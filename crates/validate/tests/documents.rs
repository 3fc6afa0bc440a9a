//! Checks every JSON example in the documents of this repository against the media type in its
//! fence. A fence without a media type is an error.

use modelpack_spec::{Config, Manifest, annotation, media_type};
use modelpack_validate::{RULES, Report, validate_artifact, validate_config, validate_file_metadata, validate_manifest};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A fenced block of a document.
struct Fence {
    /// Its first line, after the marks.
    info: String,
    text: String,
    line: usize,
}

impl Fence {
    fn is_json(&self) -> bool {
        self.info.split_whitespace().next().is_some_and(|language| language.to_lowercase().starts_with("json"))
    }

    /// Checks the block against its media type, which is the second word of its first line. Returns
    /// the media type.
    fn check(&self) -> Result<&str, String> {
        let media_type = self.info.split_whitespace().nth(1).ok_or("the fence has no media type")?;
        let valid = |report: Report| if report.is_valid() { Ok(()) } else { Err(format!("{:#?}", report.problems)) };
        let metadata = format!("application/json;annotation={}", annotation::FILE_METADATA);
        match media_type {
            media_type::CONFIG => valid(validate_config(self.text.as_bytes()))?,
            media_type::IMAGE_MANIFEST => valid(validate_manifest(self.text.as_bytes()))?,
            media_type::IMAGE_INDEX => {
                Manifest::parse(self.text.clone().into_bytes(), Some(media_type)).map_err(|e| e.to_string())?;
            }
            "application/json" => {
                serde_json::from_str::<serde_json::Value>(&self.text).map_err(|e| e.to_string())?;
            }
            other if other == metadata => valid(validate_file_metadata(self.text.as_bytes()))?,
            other => return Err(format!("there is no check for the media type {other}")),
        }
        Ok(media_type)
    }
}

/// The fenced blocks of a Markdown text (CommonMark, "fenced code blocks").
fn fences(markdown: &str) -> Vec<Fence> {
    let mut fences: Vec<Fence> = Vec::new();
    let mut open: Option<(char, usize)> = None;
    for (index, line) in markdown.lines().enumerate() {
        let trimmed = line.trim_start();
        let mark = trimmed.chars().next().filter(|c| matches!(c, '`' | '~'));
        let length = mark.map_or(0, |mark| trimmed.chars().take_while(|c| *c == mark).count());
        let rest = trimmed[length..].trim();
        match open {
            Some((opened, least)) if mark == Some(opened) && length >= least && rest.is_empty() => open = None,
            Some(_) => {
                let fence = fences.last_mut().expect("a block is open");
                fence.text.push_str(line);
                fence.text.push('\n');
            }
            None if length >= 3 => {
                open = mark.map(|mark| (mark, length));
                fences.push(Fence { info: rest.to_owned(), text: String::new(), line: index + 1 });
            }
            None => {}
        }
    }
    fences
}

/// The documentation comments of a Rust file. Other lines are replaced by empty lines.
fn comments(rust: &str) -> String {
    let comment = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix("///").or(line.strip_prefix("//!")).unwrap_or_default().to_owned()
    };
    rust.lines().map(comment).collect::<Vec<_>>().join("\n")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Adds the files of this repository to `files`, without build output, hidden files and test
/// models.
fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if name.starts_with('.') || matches!(&*name, "target" | "fixtures" | "seeds" | "corpus") {
            continue;
        }
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[test]
fn every_json_example_matches_its_media_type() {
    let mut files = Vec::new();
    walk(&root(), &mut files);
    let (mut documents, mut types, mut wrong) = (0, BTreeSet::new(), Vec::new());
    for file in files {
        let text = match file.extension().and_then(|extension| extension.to_str()) {
            Some("md") => fs::read_to_string(&file).unwrap(),
            Some("rs") => comments(&fs::read_to_string(&file).unwrap()),
            _ => continue,
        };
        documents += 1;
        for fence in fences(&text).iter().filter(|fence| fence.is_json()) {
            match fence.check() {
                Ok(media_type) => drop(types.insert(media_type.to_owned())),
                Err(why) => wrong.push(format!("{}:{}: {why}", file.display(), fence.line)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(documents > 10, "{documents} documents");
    for shown in [media_type::CONFIG, media_type::IMAGE_MANIFEST] {
        assert!(types.contains(shown), "no document shows a {shown}");
    }
}

#[test]
fn the_examples_of_the_specification_are_one_artifact() {
    let text = fs::read_to_string(root().join("docs/reference/specification.md")).unwrap();
    let all = fences(&text);
    let of = |media_type: &str| &all.iter().find(|fence| fence.info.ends_with(media_type)).expect(media_type).text;
    // The stored form has no white space.
    let config = Config::parse(of(media_type::CONFIG).as_bytes()).unwrap().to_bytes();
    let report = validate_artifact(of(media_type::IMAGE_MANIFEST).as_bytes(), Some(&config), &BTreeMap::new());
    assert!(report.is_valid() && report.unread.is_empty(), "{report:#?}");
}

#[test]
fn every_rule_is_documented() {
    let text = fs::read_to_string(root().join("docs/reference/specification.md")).unwrap();
    for (name, what) in RULES {
        assert!(text.contains(&format!("\n| `{name}` | {what} |\n")), "{name}: {what}");
    }
}

#[test]
fn a_fence_with_a_wrong_or_missing_media_type_is_an_error() {
    let check = |markdown: &str| fences(markdown)[0].check().map(str::to_owned);
    assert!(check("```json\n{}\n```").unwrap_err().contains("no media type"));
    assert!(check("```json application/vnd.cncf.model.config.v1+json\n{}\n```").unwrap_err().contains("required"));
    assert!(check("```json application/vnd.oci.image.manifest.v1+json\n{}\n```").unwrap_err().contains("required"));
    assert!(check("```json application/vnd.oci.image.index.v1+json\n{}\n```").is_err());
    assert!(check("~~~~json application/json\n{\"a\":\n~~~\n1}\n~~~~").is_err());
    assert!(check("```json application/x\n{}\n```").unwrap_err().contains("application/x"));
    assert_eq!(check("```json application/json\n{}\n```"), Ok("application/json".to_owned()));
    let found = fences("text\n\n   ```JSON\n{}\n   ```\n```sh\njson\n```\n");
    assert_eq!(found.iter().map(|fence| (fence.line, fence.is_json())).collect::<Vec<_>>(), [(3, true), (6, false)]);
    assert_eq!(fences(&comments("//! ```json\n//! {}\n//! ```\nfn x() {}\n"))[0].text.trim(), "{}");
}
