//! Detection of a file's format from its first bytes.

use modelpack_formats::{
    compressed::{Allowance, Compression, decompressed},
    tar,
};
use std::io::{self, Read};

/// The format of a file, according to its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Empty,
    Zip,
    Tar,
    Compressed(Compression),
    /// The compressed format of joblib's first versions: a header of this length, then a zlib
    /// stream.
    Zfile(usize),
    /// A format whose loaders do not run code from the file.
    Passive(&'static str),
    Hdf5,
    Numpy,
    Gguf,
    Safetensors,
    /// An ONNX file that begins with its version, as every program writes it. Other protobuf
    /// messages begin like this too.
    Onnx,
    /// A pickle that begins with the protocol opcode.
    Pickle,
    /// A native program or library.
    Native,
    Text,
    Unknown,
}

/// How many bytes are needed for the detection.
pub(crate) const NEEDED: u64 = 4096;

/// Formats that are not judged, by their bytes at an offset.
#[rustfmt::skip]
const PASSIVE: [(usize, &[u8], &str); 20] = [
    (4, b"TFL3", "a tflite model"),
    (0, b"\x89PNG\r\n\x1a\n", "an image"),
    (0, b"\xff\xd8\xff", "an image"),
    (0, b"GIF8", "an image"),
    (0, b"II*\0", "an image"),
    (0, b"MM\0*", "an image"),
    (8, b"WEBP", "an image"),
    (8, b"WAVE", "sound"),
    (0, b"OggS", "sound"),
    (0, b"fLaC", "sound"),
    (0, b"ID3", "sound"),
    (4, b"ftyp", "an image, sound or video"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"ARROW1", "an Arrow table"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"LZIP", "compressed with lzip"),
    (0, b"\xd0\xcf\x11\xe0", "a compound document"),
];

/// Formats without magic bytes, by the ends of file names.
const PASSIVE_NAMES: [(&str, &str); 8] = [
    ("saved_model.pb", "the graph of a TensorFlow SavedModel"),
    (".pb", "a TensorFlow graph or another protobuf message"),
    (".mlmodel", "a Core ML model"),
    (".data-00000-of-00001", "the variables of a TensorFlow checkpoint"),
    ("variables.index", "the names of the variables of a TensorFlow checkpoint"),
    (".engine", "a TensorRT engine"),
    (".mnn", "an MNN model"),
    (".msgpack", "Flax weights"),
];

/// The description of a file with this name whose format is not recognised from its bytes.
pub(crate) fn by_name(name: &str) -> &'static str {
    PASSIVE_NAMES.iter().find(|(end, _)| name.ends_with(end)).map_or("an unknown format", |(_, what)| what)
}

const NATIVE: [&[u8]; 7] =
    [b"\x7fELF", b"MZ", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"];

impl Format {
    /// The format of a file with these first bytes: at least [`NEEDED`] of them, if the file has so
    /// many.
    ///
    /// Some loaders treat a file with the extension of xz or lzma as either format, whatever the
    /// stream's properties are.
    pub(crate) fn of(first: &[u8], extension: &str) -> Self {
        let passive = || PASSIVE.iter().find(|(at, magic, _)| first.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
        match first {
            [] => Self::Empty,
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip,
            [0x1f, 0x8b, ..] => Self::Compressed(Compression::Gzip),
            // The second pattern is a skippable frame before the data.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Compressed(Compression::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Compressed(Compression::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Compressed(Compression::Xz),
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Self::Compressed(Compression::Lz4),
            [0x78, second, ..] if u16::from_be_bytes([0x78, *second]).is_multiple_of(31) && is_zlib(first) => {
                Self::Compressed(Compression::Zlib)
            }
            [properties, ..] if is_lzma(first) && (*properties == 0x5d || matches!(extension, "xz" | "lzma")) => {
                Self::Compressed(Compression::Lzma)
            }
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Self::Numpy,
            [b'G', b'G', b'U', b'F', ..] => Self::Gguf,
            [0x80, 0..=5, ..] => Self::Pickle,
            [0x89, b'H', b'D', b'F', b'\r', b'\n', 0x1a, b'\n', ..] => Self::Hdf5,
            _ if first.get(257..262) == Some(b"ustar") || tar::is_header(first) => Self::Tar,
            _ if first.len() > 8 && first[8] == b'{' && first[4..8] == [0; 4] => Self::Safetensors,
            [0x08, 1..=0x7f, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42 | 0x72, ..] => Self::Onnx,
            _ if NATIVE.iter().any(|magic| first.starts_with(magic)) => Self::Native,
            _ => match (zfile_header(first), passive()) {
                (Some(length), _) => Self::Zfile(length),
                (None, Some((_, _, what))) => Self::Passive(what),
                (None, None) if is_text(first) => Self::Text,
                (None, None) => Self::Unknown,
            },
        }
    }
}

/// Whether a zlib stream begins here. Texts and numbers may begin with the same two bytes.
///
/// Its only loader, joblib's, decompresses the first 8 KiB before it returns any byte, so a stream
/// with an error before that gives no data. A complete but truncated stream gives some bytes. A
/// text may look like one by chance; then [`of_cut_zlib`] returns all the bytes that it gives.
fn is_zlib(first: &[u8]) -> bool {
    let is_whole_text = is_text(first) && (first.len() as u64) < NEEDED;
    match inflate(first).1 {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => !is_whole_text,
        // More data was decompressed than is needed here.
        Err(error) => error.kind() == io::ErrorKind::Other,
    }
}

/// The bytes that a text gives if it begins like a zlib stream and is truncated.
pub(crate) fn of_cut_zlib(first: &[u8]) -> Vec<u8> {
    if first.first() == Some(&0x78) { inflate(first).0 } else { Vec::new() }
}

fn inflate(first: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let mut content = Vec::new();
    let read = decompressed(Compression::Zlib, first, &Allowance::bytes(1 << 20)).and_then(|mut stream| stream.read_to_end(&mut content));
    (content, read.map(drop))
}

/// The length of the header of a file of joblib's first versions: magic bytes, and a length as
/// text, to which some versions add a space.
fn zfile_header(first: &[u8]) -> Option<usize> {
    let is_zlib_at = |at: usize| match first.get(at..) {
        Some(stream @ [method, flags, ..]) => {
            method & 0xf == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31) && is_zlib(stream)
        }
        _ => false,
    };
    [21, 22].into_iter().find(|at| first.starts_with(b"ZF") && is_zlib_at(*at))
}

/// Whether the header of the older lzma format is here, by the same checks as its library: a
/// dictionary of 2^n or 2^n + 2^(n-1) bytes, and a length that is unknown or less than 2^38.
fn is_lzma(first: &[u8]) -> bool {
    let Some(([properties, header @ ..], _)) = first.split_first_chunk::<13>() else { return false };
    let (dictionary, length) = header.split_at(4);
    let dictionary = dictionary.try_into().map_or(0, u32::from_le_bytes);
    let length = length.try_into().map_or(0, u64::from_le_bytes);
    let is_usual =
        dictionary == u32::MAX || dictionary.count_ones() <= 1 || dictionary.count_ones() == 2 && dictionary & (dictionary << 1) != 0;
    *properties < 225 && is_usual && (length == u64::MAX || (1..1 << 38).contains(&length))
}

/// Whether these are the first bytes of a text.
fn is_text(first: &[u8]) -> bool {
    let is_control = |b: &u8| *b < b'\t' || (0x0e..0x20).contains(b) && *b != 0x1b;
    let valid = match str::from_utf8(first) {
        Ok(_) => true,
        // The last character may be truncated.
        Err(error) => error.error_len().is_none() && first.len() as u64 >= NEEDED,
    };
    valid && !first.iter().any(is_control)
}
