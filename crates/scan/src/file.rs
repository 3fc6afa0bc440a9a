//! Scans a file: detects its format from its bytes and selects the checks.

use crate::{
    FileReport, Finding, container,
    format::{Format, NEEDED, by_name, of_cut_zlib},
    input::{Forward, Input, ReadSeek, beginning},
    json, keras_objects, onnx,
    pickle::{self, Suspicion},
    text,
};
use modelpack_formats::{
    Fault, Malformed,
    compressed::{Allowance, Compression},
    gguf,
    json::begins_like_json,
    safetensors, zip,
};
use std::{
    io::{Cursor, Read, Seek, SeekFrom},
    path::Path,
};

/// The maximum nesting of archives. Deeper ones are not opened.
const MAX_DEPTH: usize = 4;
/// The largest header of a NumPy array.
const MAX_NUMPY_HEADER: u64 = 1 << 20;

/// State that all files of a scan share.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The directory for entries of compressed archives that must be extracted to be read.
    pub(crate) scratch: Option<&'a Path>,
    /// The number of bytes that may still be decompressed.
    pub(crate) allowance: &'a Allowance,
    /// Whether the file is in a TorchScript archive.
    pub(crate) is_torch_script: bool,
    depth: usize,
}

impl<'a> Context<'a> {
    pub(crate) fn new(scratch: Option<&'a Path>, allowance: &'a Allowance) -> Self {
        Self { scratch, allowance, is_torch_script: false, depth: 0 }
    }

    /// The context for the content of a container; `None` if it is nested too deep.
    pub(crate) fn deeper(self) -> Option<Self> {
        (self.depth < MAX_DEPTH).then_some(Self { depth: self.depth + 1, is_torch_script: false, ..self })
    }
}

/// Scans a file of `size` bytes, which has the path `path` in the model. This call blocks.
///
/// Headers and pickles are read, weights are not; long strings in pickles are skipped. Compressed
/// files are read to their end. Entries of compressed archives that must be read from their end are
/// extracted to a nameless file in `scratch`; without `scratch` they are not read, which is a
/// finding.
pub fn scan_file(path: &str, size: u64, mut file: impl Read + Seek, scratch: Option<&Path>) -> FileReport {
    scan(path, Input::File(&mut file, size), Context::new(scratch, &Allowance::of(size)))
}

pub(crate) fn scan(path: &str, input: Input<'_>, context: Context<'_>) -> FileReport {
    match input {
        Input::File(file, size) => {
            let mut report = FileReport::new(path, size);
            let mut first = || {
                file.rewind()?;
                let first = beginning(&mut *file, NEEDED)?;
                file.rewind().map(|()| first)
            };
            match first() {
                Ok(first) => Scan { first: &first, file, size: Some(size), is_file: true, context, report: &mut report }.run(),
                Err(error) => report.unread(format!("cannot be read: {error}")),
            }
            report
        }
        Input::Stream(stream, size) => {
            let mut report = FileReport::new(path, size.unwrap_or(0));
            match beginning(&mut *stream, NEEDED) {
                Ok(first) => {
                    let mut file = Forward::new(first.clone(), stream);
                    Scan { first: &first, file: &mut file, size, is_file: false, context, report: &mut report }.run();
                }
                Err(error) => report.unread(format!("cannot be read: {error}")),
            }
            report
        }
    }
}

/// A file to be scanned, positioned at its beginning.
struct Scan<'a> {
    first: &'a [u8],
    file: &'a mut dyn ReadSeek,
    size: Option<u64>,
    /// Whether it can be read at any position.
    is_file: bool,
    context: Context<'a>,
    report: &'a mut FileReport,
}

impl Scan<'_> {
    fn run(mut self) {
        let path = self.report.path.clone();
        text::note_script(&path, self.report);
        let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let extension = name.rsplit_once('.').map(|(_, extension)| extension).unwrap_or_default();
        let format = Format::of(self.first, extension);
        let named = [("safetensors", Format::Safetensors), ("gguf", Format::Gguf), ("onnx", Format::Onnx)];
        let named = named.into_iter().find(|(known, _)| *known == extension);
        if let Some((known, of_name)) = named.filter(|(_, of_name)| *of_name != format) {
            let error = match of_name {
                Format::Gguf => gguf::check(Cursor::new(self.first), self.first.len() as u64).err(),
                Format::Onnx => None,
                _ => safetensors::check(self.first, self.size.unwrap_or(u64::MAX)).err(),
            };
            let why = error.map(|error| format!(": {error}")).unwrap_or_default();
            self.report.find(Finding::malformed(format!("is named like a {known} file, but is not one{why}")));
        }
        match format {
            Format::Empty => self.report.looked("an empty file"),
            Format::Zip => self.zip(),
            // The loader finds this file by its name, and accepts any fields before those that it
            // knows.
            _ if name == keras_objects::METADATA => {
                keras_objects::scan_metadata(&mut *self.file, self.report);
                self.hidden_pickle();
                self.zip_behind();
            }
            // A pickle cannot begin like this, and a tar archive only if it was made to be both.
            Format::Text | Format::Unknown | Format::Tar if extension == "json" && begins_like_json(self.first) => {
                json::scan(&mut *self.file, self.report);
                if format != Format::Text {
                    self.zip_behind();
                }
                if format == Format::Tar && self.is_file && self.file.rewind().is_ok() {
                    container::scan_tar_file(self.file, self.context, self.report);
                }
            }
            Format::Tar => container::scan_tar_file(self.file, self.context, self.report),
            Format::Zfile(header) => match self.file.read_exact(&mut vec![0; header]) {
                Ok(()) => container::scan_compressed(Compression::Zlib, self.file, self.context, self.report),
                Err(error) => self.report.unread(format!("cannot be read: {error}")),
            },
            Format::Compressed(how) => container::scan_compressed(how, self.file, self.context, self.report),
            Format::Hdf5 => keras_objects::scan_hdf5(&mut *self.file, self.report),
            Format::Numpy => self.numpy(),
            Format::Safetensors => {
                self.header("safetensors", &name, |scan, size| safetensors::check(&mut *scan.file, size));
            }
            Format::Gguf => self.header("GGUF", &name, |scan, size| {
                let header = gguf::Header::read(&mut *scan.file, size, |_| {})?;
                if header.chat_template.is_some() {
                    text::note_chat_template(scan.report);
                }
                if let Some(why) = header.refused_by_llama_cpp {
                    scan.report.note(format!("llama.cpp cannot load it: {why}"));
                }
                Ok(())
            }),
            Format::Onnx => {
                self.header("ONNX", &name, |scan, size| onnx::scan(&mut *scan.file, size, scan.report));
                self.zip_behind();
            }
            Format::Pickle => {
                let suspicion = if has_pickle_name(extension) { Suspicion::Named } else { Suspicion::Marked };
                self.pickle(suspicion);
                self.zip_behind();
            }
            Format::Passive(what) => {
                if is_pickle_only(extension) {
                    self.report.unread(format!("is named like a pickle, but was not recognised as one: {what}"));
                }
                self.report.not_judged(what);
                self.hidden_pickle();
                self.zip_behind();
            }
            Format::Native => {
                self.report.note("a native program or library: loading it runs it; it was not judged");
                self.report.not_judged("machine code");
                self.hidden_pickle();
                self.zip_behind();
            }
            Format::Text | Format::Unknown => {
                pickle::scan(Cursor::new(of_cut_zlib(self.first)), None, Suspicion::None, self.context, self.report);
                let suspicion = if has_pickle_name(extension) { Suspicion::NamedOnly } else { Suspicion::None };
                let is_pickle = self.pickle(suspicion);
                if !is_pickle && format == Format::Text {
                    self.report.looked("a text that is not a pickle");
                } else if !is_pickle {
                    self.report.not_judged(format!("{}, not a pickle", by_name(&name)));
                }
                self.zip_behind();
            }
        }
    }

    /// Checks the header of weights.
    fn header(&mut self, format: &str, name: &str, check: impl FnOnce(&mut Self, u64) -> Result<(), Malformed>) {
        let Some(size) = self.size else {
            return self.report.not_judged(format!("{format}, compressed, so its size is only known at its end"));
        };
        match check(self, size) {
            Ok(()) => self.report.looked(format!("{format}: the header, checked against the file")),
            Err(error) if error.fault == Fault::UnknownVersion => self.report.not_judged(format!("{format}: {error}")),
            Err(error) if name.ends_with(&format!(".{}", format.to_ascii_lowercase())) => {
                self.report.find(Finding::malformed(format!("is not a valid {format} file: {error}")));
            }
            Err(_) => self.report.not_judged(by_name(name)),
        }
        self.hidden_pickle();
    }

    /// Looks for a pickle whose first bytes are also those of another format.
    fn hidden_pickle(&mut self) {
        if self.is_file && self.file.seek(SeekFrom::Start(0)).is_ok() {
            self.pickle(Suspicion::None);
        } else {
            pickle::scan(Cursor::new(self.first), self.size, Suspicion::None, self.context, self.report);
        }
    }

    /// Looks for pickles from the current position. Returns whether there was one.
    fn pickle(&mut self, suspicion: Suspicion) -> bool {
        pickle::scan(&mut *self.file, self.size, suspicion, self.context, self.report)
    }

    fn zip(&mut self) {
        if self.is_file {
            container::scan_zip(self.file, self.size.unwrap_or(0), self.context, self.report);
        } else {
            container::scan_zip_put_aside(self.file, self.context, self.report);
        }
    }

    /// Looks for a zip archive, which loaders find from the end of the file, whatever precedes it.
    fn zip_behind(&mut self) {
        let Some(size) = self.size.filter(|size| self.is_file && *size > 22) else { return };
        if zip::Archive::read(&mut *self.file, size).is_ok_and(|archive| !archive.entries.is_empty()) {
            self.report.find(Finding::malformed("is also a zip archive when it is read from its end"));
            container::scan_zip(self.file, size, self.context, self.report);
        }
    }

    /// A NumPy array. Its elements are pickled if they are objects.
    fn numpy(&mut self) {
        let Some(header) = numpy_header(&mut *self.file) else {
            return self.report.find(Finding::malformed("begins like a NumPy array, but has no valid header"));
        };
        let elements = Elements::of(&header);
        if elements == Elements::Numbers {
            return self.report.looked("a NumPy array of numbers: its header");
        }
        let size_left = self.size.map(|size| size.saturating_sub(10 + header.len() as u64));
        let suspicion = if elements == Elements::Objects { Suspicion::Named } else { Suspicion::NamedOnly };
        if !pickle::scan(&mut *self.file, size_left, suspicion, self.context, self.report) {
            self.report.looked("a NumPy array of records: its header, and the bytes after it for a pickle");
        }
    }
}

/// Whether files with this extension are usually pickles.
fn has_pickle_name(extension: &str) -> bool {
    matches!(extension, "pkl" | "pickle" | "p" | "pk" | "joblib" | "bin" | "pt" | "pth" | "pt2" | "ckpt" | "tar" | "dill" | "model" | "sav")
}

/// Whether files with this extension are almost always pickles.
fn is_pickle_only(extension: &str) -> bool {
    matches!(extension, "pkl" | "pickle" | "joblib" | "pt" | "pth" | "ckpt" | "dill")
}

/// Reads the header of an array. The elements follow it.
fn numpy_header(mut file: impl Read) -> Option<Vec<u8>> {
    let mut start = [0; 10];
    file.read_exact(&mut start).ok()?;
    let length = match start[6] {
        1 => u64::from(u16::from_le_bytes([start[8], start[9]])),
        _ => {
            let mut high = [0; 2];
            file.read_exact(&mut high).ok()?;
            u64::from(u32::from_le_bytes([start[8], start[9], high[0], high[1]]))
        }
    };
    let header = beginning(&mut file, length.min(MAX_NUMPY_HEADER)).ok()?;
    (header.len() as u64 == length).then_some(header)
}

/// The elements of an array, according to its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Elements {
    Numbers,
    /// Pickled Python objects.
    Objects,
    /// Records, or a header that NumPy does not write: the elements may include objects.
    Maybe,
}

impl Elements {
    /// Reads the header, which is a Python dictionary whose `descr` is a type.
    fn of(header: &[u8]) -> Self {
        let text = String::from_utf8_lossy(header);
        let descr = text.split_once("'descr'").and_then(|(_, rest)| rest.trim_start().strip_prefix(':')).map(str::trim_start);
        // The array must have a single type, and `descr` must be the first entry. Otherwise Python
        // may parse another text here.
        let kind = descr.and_then(|descr| descr.strip_prefix('\'')).and_then(|kind| kind.split_once('\''));
        let Some((kind, _)) = kind.filter(|(_, rest)| rest.trim_start().starts_with(',') && text.matches("descr").count() == 1) else {
            return Self::Maybe;
        };
        let kind = kind.trim_start_matches(['|', '<', '>', '=']);
        let (code, size) = kind.split_at_checked(1).unwrap_or_default();
        // The types of dates have a unit after the size.
        let (digits, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()));
        let is_plain = unit.is_empty() || "mM".contains(code) && unit.starts_with('[') && !unit.contains(',');
        match code {
            "b" | "B" | "i" | "u" | "f" | "c" | "S" | "U" | "V" | "m" | "M" | "?" if is_plain && !digits.is_empty() => Self::Numbers,
            "O" if is_plain => Self::Objects,
            _ => Self::Maybe,
        }
    }
}
