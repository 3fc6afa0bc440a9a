//! `modelpack scan`: whether loading a model's files could run code, and which content was not
//! judged.

use crate::{
    args::{TransferArgs, place},
    context::Context,
    failure::{Failure, Kind},
    output::Output,
    text::{Align, bytes, count, printable, shortened, table},
};
use modelpack::{FileReport, ScanOptions, ScanReport, ScanTarget, Scanned, Severity};
use std::path::PathBuf;

/// The number of findings that are warnings when packing; `scan` shows all.
const WARNED: usize = 5;

/// The number of characters of a line that are shown, because names come from the files.
const LINE: usize = 300;

/// Show whether loading the files of an artifact or of a directory could run code; no file is
/// executed
///
/// Headers of weights are checked against their files. Pickles are walked opcode by opcode, also in
/// archives, and their imports are judged by a list of harmless globals. A file that pickle loaders
/// open and that cannot be read is also a finding. Formats whose loaders run no code from the file
/// are listed and not judged. The exit code is 10 if there are findings.
#[derive(clap::Args)]
#[command(after_help = "Example: modelpack scan ./tiny")]
pub struct Args {
    /// The artifact, or a model's directory
    #[arg(value_name = "PLACE|DIR")]
    target: PathBuf,
    #[command(flatten)]
    transfer: TransferArgs,
}

pub async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let target = target(&args)?;
    let options = ScanOptions::default().scratch(&context.settings.scratch);
    let scanned = context.transfer("scanning", &args.transfer, async |m| m.scan(&target, &options).await).await?;
    context.output.result(&for_people(&scanned), &scanned)?;
    match scanned.report.count() {
        0 => Ok(()),
        found => Err(Failure::new(Kind::Unsafe, format!("{} in {}", count(found, "finding"), args.target.display()))),
    }
}

/// An existing directory, or else a place.
fn target(args: &Args) -> Result<ScanTarget, Failure> {
    if args.target.is_dir() {
        return Ok(ScanTarget::Directory(args.target.clone()));
    }
    Ok(ScanTarget::Place(place(&args.target)?))
}

/// Prints warnings about the findings of a packed model.
pub fn warn(report: &ScanReport, output: &Output) {
    for (file, finding) in report.findings().take(WARNED) {
        output.warn(&line(&format!("{}: {finding} ({})", file.path, finding.severity)));
    }
    if report.count() > WARNED {
        output.warn(&format!("{} more; `modelpack scan` shows all", count(report.count() - WARNED, "finding")));
    }
}

fn for_people(Scanned { report, not_looked_at, .. }: &Scanned) -> String {
    let header = ["FILE", "SIZE", "FOUND", "LOOKED AT"].map(str::to_owned);
    let rows = report.files.iter().map(|file| {
        let found = match file.findings.len() + file.more_findings {
            0 => "-".to_owned(),
            found => found.to_string(),
        };
        [shortened(&printable(&file.path), 80), bytes(file.size), found, looked_at(file)]
    });
    let align = [Align::Left, Align::Right, Align::Right, Align::Left];
    let mut parts = vec![table(align, &[header].into_iter().chain(rows).collect::<Vec<_>>())];
    parts.extend(section("Findings", report, |file| {
        let mut lines: Vec<_> = file.findings.iter().map(|finding| format!("[{}] {finding}", finding.severity)).collect();
        lines.extend((file.more_findings > 0).then(|| format!("and {} more", file.more_findings)));
        lines
    }));
    parts.extend(section("Not judged", report, |file| file.not_judged.clone()));
    parts.extend(section("Notes", report, |file| file.notes.clone()));
    let not_at = not_looked_at.iter().map(|what| format!("; not at {what}"));
    parts.push(summary(report) + &not_at.collect::<String>());
    parts.join("\n\n")
}

/// The scanned parts of a file, for one cell.
fn looked_at(file: &FileReport) -> String {
    let looked = shortened(&printable(&file.looked_at.join("; ")), 100);
    match (looked.is_empty(), is_whole(file)) {
        (false, true) => looked,
        (false, false) => format!("in part: {looked}"),
        (true, _) => "no".to_owned(),
    }
}

/// Whether the whole file was read and judged.
fn is_whole(file: &FileReport) -> bool {
    file.not_judged.is_empty() && file.findings.iter().all(|finding| finding.severity != Severity::Unread)
}

/// A heading, and the lines of each file that has any.
fn section(heading: &str, report: &ScanReport, lines: impl Fn(&FileReport) -> Vec<String>) -> Option<String> {
    let lines: Vec<_> =
        report.files.iter().flat_map(|file| lines(file).into_iter().map(|text| line(&format!("  {}: {text}", file.path)))).collect();
    (!lines.is_empty()).then(|| format!("{heading}:\n{}", lines.join("\n")))
}

fn summary(report: &ScanReport) -> String {
    let files = |wanted: fn(&&FileReport) -> bool| report.files.iter().filter(wanted).count();
    let whole = files(|file| is_whole(file) && !file.looked_at.is_empty());
    let none = files(|file| file.looked_at.is_empty());
    let part = report.files.len() - whole - none;
    format!(
        "{}; of {}, {whole} scanned, {part} in part, {none} not",
        match report.count() {
            0 => "no findings in the scanned content".to_owned(),
            found => count(found, "finding"),
        },
        count(report.files.len(), "file"),
    )
}

fn line(text: &str) -> String {
    match text.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", printable(&text[..end])),
        None => printable(text).into_owned(),
    }
}
