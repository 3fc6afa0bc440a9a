//! Text files that are code.

use crate::FileReport;

/// Extensions of scripts with their descriptions.
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

/// Adds a note if the file's name is that of a script.
pub(crate) fn note_script(path: &str, report: &mut FileReport) {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    if let Some((_, what)) = SCRIPTS.iter().find(|(known, _)| *known == extension) {
        report.note(format!("{what}: it runs when it is imported or started; it was not judged"));
    } else if extension == "jinja" {
        note_chat_template(report);
    }
}

/// Adds a note that the file has a chat template. Engines run templates, with access to more or
/// less of Python.
pub(crate) fn note_chat_template(report: &mut FileReport) {
    report.note("a chat template: run by a template engine; it was not judged");
}
