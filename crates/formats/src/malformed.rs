//! Why a file is not of its format.

/// A file is not what its format wants, and why. Whatever was read of it before is not to be believed either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Malformed {
    why: String,
    /// What kind of fault it is.
    pub fault: Fault,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not sound.
    Unsound,
    /// All that is wrong is that it ends before its tensors do, as one does that was not copied to its end.
    Cut,
    /// It may be sound: it is of a version that is not known.
    UnknownVersion,
}

impl Malformed {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), fault: Fault::Unsound }
    }

    /// The tensors of a sound header end at byte `end` of a file that has only `size`.
    pub(crate) fn cut(end: u64, size: u64) -> Self {
        Self { why: format!("its tensors end at byte {end}, and the file has {size}"), fault: Fault::Cut }
    }

    pub(crate) fn unknown_version(why: impl Into<String>) -> Self {
        Self { why: why.into(), fault: Fault::UnknownVersion }
    }

    pub(crate) fn io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::new("it ends within the header"),
            _ => Self::new(format!("it cannot be read: {error}")),
        }
    }
}

/// A name from a file as an error shows it: its beginning, with control characters escaped.
pub(crate) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(100).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
