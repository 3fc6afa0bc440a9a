//! Texts that are code.

use crate::FileReport;

/// Extensions of scripts, and what they are.
const SCRIPTS: [(&str, &str); 8] = [
    ("py", "Python code"),
    ("pyc", "compiled Python code"),
    ("ipynb", "a notebook with code"),
    ("sh", "a shell script"),
    ("bash", "a shell script"),
    ("js", "JavaScript"),
    ("lua", "Lua code"),
    ("ps1", "a PowerShell script"),
];

/// Notes what a file's name says that it is run.
pub(crate) fn note_script(path: &str, report: &mut FileReport) {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    if let Some((_, what)) = SCRIPTS.iter().find(|(known, _)| *known == extension) {
        report.note(format!("{what}: whoever imports or starts it runs it; it was not judged"));
    } else if extension == "jinja" {
        note_chat_template(report);
    }
}

/// Notes that a file has a template of the kind that engines run, with more or less of Python at hand.
pub(crate) fn note_chat_template(report: &mut FileReport) {
    report.note("a chat template: run by a template engine; it was not judged");
}
