//! What a person may want to know while a verb works.

use std::{fmt, path::PathBuf, sync::Arc};

/// Something that happens while a verb works, and that explains how it goes; as text, a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Another process writes this archive, or unpacks into this directory, and the verb goes on when that process has finished.
    Waiting(PathBuf),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(path) => write!(f, "{} is being written by another process; waiting for it", path.display()),
        }
    }
}

/// Where notices go; by default, nowhere.
#[derive(Clone, Default)]
pub struct Notices(Option<Arc<dyn Fn(Notice) + Send + Sync>>);

impl Notices {
    /// Notices go to `receive`, which is called by whichever task the verb runs in, and should return at once.
    pub fn to(receive: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(receive)))
    }

    pub(crate) fn give(&self, notice: Notice) {
        self.0.iter().for_each(|receive| receive(notice.clone()));
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Notices(to a function)" } else { "Notices(nowhere)" })
    }
}
