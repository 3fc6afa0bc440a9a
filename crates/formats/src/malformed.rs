//! Why a file does not conform to its format.

/// A file does not conform to its format. Values that were read from it before the error must not
/// be trusted either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Malformed {
    why: String,
    /// The kind of fault.
    pub fault: Fault,
}

/// The kind of fault in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file is malformed.
    Unsound,
    /// The only fault is that the file ends before its tensors do, as after an incomplete copy.
    Cut,
    /// The file has an unknown version, so it may be well-formed.
    UnknownVersion,
}

impl Malformed {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), fault: Fault::Unsound }
    }

    /// The tensors of a well-formed header end at byte `end`, but the file has only `size` bytes.
    pub(crate) fn cut(end: u64, size: u64) -> Self {
        Self { why: format!("its tensors end at byte {end}, but the file has only {size} bytes"), fault: Fault::Cut }
    }

    pub(crate) fn unknown_version(why: impl Into<String>) -> Self {
        Self { why: why.into(), fault: Fault::UnknownVersion }
    }

    pub(crate) fn io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::new("the file ends inside its header"),
            _ => Self::new(format!("it cannot be read: {error}")),
        }
    }
}

/// A name from a file, for an error message: its beginning, with control characters escaped.
pub(crate) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(100).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
