//! Why a file is not of its format.

/// A file is not what its format wants, and why. Whatever was read of it before is not to be believed either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Malformed {
    why: String,
    /// Whether all that is wrong is that the file ends before its tensors do, as one does that was not copied to its end.
    pub is_cut: bool,
}

impl Malformed {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_cut: false }
    }

    /// The tensors of a sound header end at byte `end` of a file that has only `size`.
    pub(crate) fn cut(end: u64, size: u64) -> Self {
        Self { why: format!("its tensors end at byte {end}, and the file has {size}"), is_cut: true }
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
