//! Writes a Modelfile with the found files and metadata, for the user to edit.

use super::{COMMANDS, Command};
use crate::{Finding, Plan, git::CHECKED_OUT};
use serde_json::Value;
use std::fmt::Write;

const HEADER: &str = "\
# The files of this model, and its metadata. A line is a command, a space, and one argument.
# What stands here wins over what the files say; a line that is removed leaves it to them.
";

/// The text of a Modelfile with the files of `plan`, their kinds, and `findings`.
///
/// The checked-out commit is left out, because it changes when the Modelfile itself is committed.
pub fn generate(plan: &Plan, findings: &[Finding]) -> String {
    let mut text = HEADER.to_owned();
    let mut line = |command: &str, argument: &str| writeln!(text, "{command} {argument}").expect("writing to a string succeeds");
    for (command, values) in COMMANDS.iter().filter_map(|(command, does)| Some((command, values(does, findings)?))) {
        for value in &values {
            line(command, &quoted(value, false));
        }
    }
    for file in &plan.files {
        let command = COMMANDS.iter().find(|(_, does)| matches!(does, Command::Files(kind) if *kind == file.kind));
        let (command, _) = command.expect("each kind has a command");
        line(command, &quoted(file.path.as_str(), true));
    }
    text
}

/// The values of `findings` for a command that names no files.
fn values(command: &Command, findings: &[Finding]) -> Option<Vec<String>> {
    let name = match command {
        Command::Files(_) => return None,
        Command::Value(field) => field.name,
        Command::Annotation => "annotations",
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let values =
        findings.iter().filter(|finding| finding.field == name && finding.source != CHECKED_OUT).flat_map(|finding| match &finding.value {
            Value::Array(values) => values.iter().map(text).collect(),
            other => vec![text(other)],
        });
    Some(values.collect())
}

/// An argument that is parsed as `text`, quoted if necessary.
fn quoted(text: &str, is_path: bool) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "._-+/:=@%,~".contains(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '\n' => quoted.extend(['\\', c]),
            '*' | '?' | '[' if is_path => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Description, Field, FileFilter, Metadata, Modelfile, plan};
    use proptest::{collection, prelude::*};
    use std::fs;

    /// Arbitrary text with a high share of characters that have a meaning in Modelfiles.
    const VALUE: &str = "(?s)(.|[ \"\\\\#\r\n\t*?\\[]){0,20}";

    #[test]
    fn unusual_names_are_parsed_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        modelpack_testkit::write_odd_names(directory.path());
        let planned = plan(directory.path(), None, &FileFilter::default()).unwrap();
        let modelfile = Modelfile::parse(&generate(&planned, &[])).unwrap();
        let again = plan(directory.path(), Some(&modelfile), &FileFilter::default()).unwrap();
        let files = |plan: &Plan| plan.files.iter().map(|file| (file.path.clone(), file.kind)).collect::<Vec<_>>();
        assert_eq!(files(&again), files(&planned));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_names_are_parsed_unchanged(names in collection::vec("n[ -~é\t\r\n\u{b}模]{0,12}", 1..6)) {
            let directory = tempfile::tempdir().unwrap();
            for name in names {
                fs::write(directory.path().join(name.replace(['/', '\\'], "_")), "x").unwrap();
            }
            // Names that differ only in case are refused; other tests cover this.
            if let Ok(planned) = plan(directory.path(), None, &FileFilter::default()) {
                let modelfile = Modelfile::parse(&generate(&planned, &[])).unwrap();
                let again = plan(directory.path(), Some(&modelfile), &FileFilter::default()).unwrap();
                let files = |plan: &Plan| plan.files.iter().map(|file| (file.path.clone(), file.kind)).collect::<Vec<_>>();
                prop_assert_eq!(files(&again), files(&planned));
            }
        }

        #[test]
        fn any_values_are_parsed_unchanged(name in VALUE, authors in collection::vec(VALUE, 0..4), value in VALUE, reward: bool) {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("a.bin"), "x").unwrap();
            let planned = plan(directory.path(), None, &FileFilter::default()).unwrap();
            let mut metadata = Metadata::default();
            let _ = metadata.say(Field::NAME, &name, "here");
            authors.iter().for_each(|author| drop(metadata.say(Field::AUTHORS, author, "here")));
            metadata.say(Field::REWARD, &reward.to_string(), "here").unwrap();
            metadata.annotate(&format!("org.example.key={value}"), "here").unwrap();
            let description = Description::of([metadata]);
            let modelfile = Modelfile::parse(&generate(&planned, &description.findings)).unwrap();
            let read = Description::of([modelfile.metadata().clone()]);
            prop_assert_eq!((read.descriptor, read.config, read.annotations), (description.descriptor, description.config, description.annotations));
        }
    }
}
