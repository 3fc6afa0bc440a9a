//! Archives and compressed files: each entry is scanned as a file.

use crate::{
    FileReport, Finding, Severity,
    file::{Context, scan},
    input::{Input, ReadSeek},
};
use modelpack_formats::{
    compressed::{Compression, decompressed},
    tar::{Entries, Kind, Link},
    zip::{Archive, Entry},
};
use std::io::{self, BufReader, Read, Seek};

/// The largest number of entry names in a message.
const NAMED: usize = 3;

/// Extensions that only describe the compression of a file.
const COMPRESSED: [&str; 9] = ["gz", "gzip", "z", "zst", "bz2", "xz", "lzma", "lz4", "zlib"];

/// Scans a compressed file.
pub(crate) fn scan_compressed(how: Compression, file: &mut dyn ReadSeek, context: Context<'_>, report: &mut FileReport) {
    let Some(deeper) = context.deeper() else {
        return report.unread(format!("is compressed with {how}, nested too deep to be read"));
    };
    let mut stream = match decompressed(how, BufReader::new(file), context.allowance) {
        Ok(stream) => stream,
        Err(error) => return report.unread(format!("is compressed with {how}, but cannot be read: {error}")),
    };
    let inner = report.path.rsplit_once('.').filter(|(_, extension)| COMPRESSED.contains(&extension.to_ascii_lowercase().as_str()));
    let inner = inner.map_or(report.path.as_str(), |(path, _)| path).to_owned();
    let inner = scan(&inner, Input::Stream(&mut stream, None), deeper);
    inner.looked_at.into_iter().for_each(|looked| report.looked(format!("compressed with {how}: {looked}")));
    inner.not_judged.into_iter().for_each(|what| report.not_judged(format!("compressed with {how}: {what}")));
    inner.findings.into_iter().for_each(|finding| report.find(finding));
    report.more_findings += inner.more_findings;
    report.pickles += inner.pickles;
    inner.notes.into_iter().for_each(|note| report.note(note));
}

/// Scans a tar archive that is a file of the model.
pub(crate) fn scan_tar_file(file: &mut dyn ReadSeek, context: Context<'_>, report: &mut FileReport) {
    let Some(deeper) = context.deeper() else { return report.unread("is a tar archive, nested too deep to be read") };
    let mut entries = Vec::new();
    let mut count = 0;
    let read = scan_tar(file, deeper, &mut |entry| {
        count += 1;
        // Entries without findings are only counted, so that memory is bounded.
        if !entry.findings.is_empty() || !entry.not_judged.is_empty() || !entry.notes.is_empty() || entry.pickles > 0 {
            if entries.len() < 1000 { entries.push(entry) } else { report.take_entry(entry) }
        }
    });
    entries.into_iter().for_each(|entry| report.take_entry(entry));
    report.looked(format!("a tar archive of {}", counted(count, "file", "files")));
    if let Err(error) = read {
        let message = format!("is a tar archive that programs read differently or not at all: {error}. The rest of it was not read");
        report.find(Finding::malformed(message));
    }
}

/// Scans the files of an uncompressed tar archive in sequence.
pub(crate) fn scan_tar(reader: impl Read, context: Context<'_>, each: &mut dyn FnMut(FileReport)) -> io::Result<()> {
    let mut entries = Entries::new(BufReader::new(reader));
    while let Some(entry) = entries.next_and_links(|link| each(scan_link(&link)))? {
        if let Kind::File { size, .. } = entry.kind {
            each(scan(&entry.path, Input::Stream(&mut EntryData(&mut entries), Some(size)), context));
        }
    }
    Ok(())
}

/// A link has no content, but entries that are unpacked through a link out of the archive's
/// directory are written elsewhere.
fn scan_link(link: &Link) -> FileReport {
    let mut report = FileReport::new(&link.path, 0);
    let mut depth =
        if link.is_symbolic { link.path.split('/').filter(|part| !matches!(*part, "" | ".")).count().saturating_sub(1) } else { 0 };
    let stays = link.target.split(['/', '\\']).all(|part| {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ => depth += 1,
        }
        true
    });
    if link.target.starts_with(['/', '\\']) || link.path.split('/').any(|part| part == "..") || !stays {
        let target: String = link.target.chars().take(100).collect();
        report.find(Finding::malformed(format!("is a link to {target:?}, outside the archive's directory")));
    }
    report.looked("a link");
    report
}

/// The bytes of the current entry.
struct EntryData<'a, R>(&'a mut Entries<R>);

impl<R: Read> Read for EntryData<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_data(buffer)
    }
}

/// Scans a zip archive from a forward-only input. It is first extracted to a nameless file.
pub(crate) fn scan_zip_put_aside(file: &mut dyn ReadSeek, context: Context<'_>, report: &mut FileReport) {
    let Some(scratch) = context.scratch else {
        return report.unread("is a zip archive within another archive, and there is no scratch directory to extract it to");
    };
    let put = tempfile::tempfile_in(scratch).and_then(|mut aside| {
        let size = io::copy(file, &mut aside)?;
        aside.rewind()?;
        Ok((aside, size))
    });
    match put {
        Ok((mut aside, size)) => scan_zip(&mut aside, size, context, report),
        Err(error) => report.unread(format!("is a zip archive within another archive, and cannot be extracted: {error}")),
    }
}

/// Scans a zip archive. Files of PyTorch, NumPy and Keras are zip archives.
pub(crate) fn scan_zip(file: &mut dyn ReadSeek, size: u64, context: Context<'_>, report: &mut FileReport) {
    let Some(mut deeper) = context.deeper() else { return report.unread("is a zip archive, nested too deep to be read") };
    let archive = match Archive::read(&mut *file, size) {
        Ok(archive) => archive,
        Err(error) => {
            return report.find(Finding::malformed(format!("begins like a zip archive, but cannot be read as one: {error}")));
        }
    };
    archive.problems.iter().for_each(|problem| report.find(Finding::malformed(problem.clone())));
    let is_torch = archive.entries.iter().any(|entry| entry.name == "data.pkl" || entry.name.ends_with("/data.pkl"));
    let is_keras = report.path.to_ascii_lowercase().ends_with(".keras");
    let is_torch_script = is_torch_script(&archive);
    deeper.is_torch_script = is_torch_script;
    let (mut pickled, mut tensors) = (Vec::new(), 0);
    for entry in archive.entries.iter().filter(|entry| !entry.is_directory()) {
        let content = match entry.open(&mut *file) {
            Ok(content) => content,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                report.find(Finding { within: Some(entry.name.clone()), ..Finding::new(Severity::Unread, message) });
                continue;
            }
        };
        let mut content = context.allowance.limit(content);
        let mut found = scan(&entry.name, Input::Stream(&mut content, Some(entry.size)), deeper);
        // The Keras loader creates a model from this file, whatever it contains.
        if is_keras && entry.name == "config.json" && found.looked_at != ["JSON"] && found.findings.is_empty() {
            found.find(Finding::malformed("is the config of a Keras model, but not readable JSON"));
        }
        if found.pickles > 0 {
            pickled.push(entry.name.as_str());
        }
        if is_torch && found.findings.is_empty() && found.pickles == 0 && is_tensor(&entry.name) {
            tensors += 1;
        } else {
            report.take_entry(found);
        }
    }
    let mut how = format!(
        "a {} archive of {}",
        if is_torch_script {
            "TorchScript"
        } else if is_torch {
            "PyTorch"
        } else {
            "zip"
        },
        counted(archive.entries.len(), "entry", "entries")
    );
    if !pickled.is_empty() {
        let more = pickled.len().saturating_sub(NAMED);
        let names = pickled[..pickled.len().min(NAMED)].join(", ");
        how.push_str(&format!(": each opcode of the pickles in {names}"));
        if more > 0 {
            how.push_str(&format!(" and {more} more"));
        }
    }
    if tensors > 0 {
        how.push_str(&format!("; {} and no pickle", counted(tensors, "entry has tensor data", "entries have tensor data")));
    }
    report.looked(how);
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Whether PyTorch passes an archive to the TorchScript loader, which imports nothing from Python:
/// the archive has `constants.pkl` and its own code.
fn is_torch_script(archive: &Archive) -> bool {
    let root = archive.entries.iter().find_map(|entry| entry.name.strip_suffix("constants.pkl"));
    let is_code =
        |entry: &Entry, root: &str| entry.name.strip_prefix(root).is_some_and(|name| name.starts_with("code/") && name.ends_with(".py"));
    root.is_some_and(|root| (root.is_empty() || root.ends_with('/')) && archive.entries.iter().any(|entry| is_code(entry, root)))
}

/// Whether an entry of a PyTorch archive contains the data of a tensor: `NAME/data/0`.
fn is_tensor(name: &str) -> bool {
    let mut parts = name.rsplit('/');
    let number = parts.next().unwrap_or_default();
    matches!(parts.next(), Some("data" | "constants")) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}
