//! What a file is, by its first bytes.

/// What a file is, as far as its first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Empty,
    Zip,
    Tar,
    Gzip,
    Zlib,
    Zstd,
    /// A container or compression that is not opened.
    Closed(&'static str),
    Numpy,
    Gguf,
    Safetensors,
    /// As every program writes it, its version first; other protobuf messages begin like this too.
    Onnx,
    /// With the opcode that says which protocol it is of.
    Pickle,
    /// A program or library.
    Native,
    Text,
    Unknown,
}

/// How many bytes are wanted to tell.
pub(crate) const NEEDED: u64 = 4096;

/// Formats that are not opened, by their first bytes.
const CLOSED: [(&[u8], &str); 9] = [
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"\x5d\0\0", "compressed with lzma"),
    (b"BZh", "compressed with bzip2"),
    (b"\x04\x22\x4d\x18", "compressed with lz4"),
    (b"LZIP", "compressed with lzip"),
    (b"\x89HDF\r\n\x1a\n", "HDF5, which may hold Lambda layers of Keras"),
    (b"\xd0\xcf\x11\xe0", "a compound document"),
];

const NATIVE: [&[u8]; 7] =
    [b"\x7fELF", b"MZ", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"];

impl Format {
    /// The format of a file with these first bytes, at least [`NEEDED`] of them if it has so many.
    pub(crate) fn of(first: &[u8]) -> Self {
        let closed = || CLOSED.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, what)| Self::Closed(what));
        match first {
            [] => Self::Empty,
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x78, second, ..] if u16::from_be_bytes([0x78, *second]).is_multiple_of(31) => Self::Zlib,
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Self::Numpy,
            [b'G', b'G', b'U', b'F', ..] => Self::Gguf,
            [0x80, 0..=5, ..] => Self::Pickle,
            _ if first.get(257..262) == Some(b"ustar") => Self::Tar,
            _ if first.len() > 8 && first[8] == b'{' && first[4..8] == [0; 4] => Self::Safetensors,
            [0x08, 1..=0x7f, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42 | 0x72, ..] => Self::Onnx,
            _ if NATIVE.iter().any(|magic| first.starts_with(magic)) => Self::Native,
            _ => closed().unwrap_or(if is_text(first) { Self::Text } else { Self::Unknown }),
        }
    }
}

/// Whether these are the first bytes of a text.
fn is_text(first: &[u8]) -> bool {
    let is_control = |b: &u8| *b < b'\t' || (0x0e..0x20).contains(b) && *b != 0x1b;
    let valid = match str::from_utf8(first) {
        Ok(_) => true,
        // The last character may be cut.
        Err(error) => error.error_len().is_none() && first.len() as u64 >= NEEDED,
    };
    valid && !first.iter().any(is_control)
}
