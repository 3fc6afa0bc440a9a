//! Notices: what a caller should know although nothing failed.

use modelpack_spec::Digest;
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// Something that is probably not as the user expects, or that explains how the work goes on. Its text is a sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A manifest was named by tag and digest, and the tag does not point to it. The manifest with the digest was taken.
    TagMoved {
        /// The repository, as an error names it.
        repository: String,
        /// The tag, or the whole name of an entry of a layout.
        tag: String,
        /// The digest that was named.
        digest: Digest,
        /// What the tag points to; `None` if there is no such tag.
        now: Option<Digest>,
    },
    /// A registry lists names that nothing there can have. They were left out.
    Misnamed {
        /// The list, as an error names it.
        list: String,
        /// How many there are.
        count: usize,
        /// The first of them, without control characters, and shortened to what fits into a sentence.
        examples: Vec<String>,
    },
    /// A credential helper or file cannot be read. The other ones were read.
    LoginsUnavailable {
        /// The credential helper or file.
        what: String,
        /// Why it cannot be read.
        why: String,
    },
    /// The login for a registry was removed, but the file of another program has a login for it too.
    LoginRemains {
        /// Host and port.
        registry: String,
        /// The file.
        file: PathBuf,
    },
    /// A model that is packed lacks something.
    Missing {
        /// What it lacks, and which file says so.
        what: String,
    },
    /// A mirror of a registry failed. The next mirror is asked, or else the registry itself.
    MirrorFailed {
        /// The repository at the mirror, as an error names it.
        mirror: String,
        /// Why it failed: an error as it is shown.
        why: String,
    },
    /// Another process writes to this file or directory. The work goes on when that process has finished.
    Waiting {
        /// The file or directory.
        path: PathBuf,
    },
    /// A request failed, and is sent again.
    Retrying {
        /// Why it failed: an error as it is shown.
        why: String,
        /// The time until it is sent again.
        pause: Duration,
        /// The number of the next attempt. It starts again at 1 when there was progress.
        attempt: u32,
        /// The number of attempts without progress, at most.
        attempts: u32,
    },
    /// A server has all bytes of an upload, and takes its time to answer. It may be reading them again.
    WaitingForAnswer {
        /// Host and port.
        server: String,
        /// What was sent, as an error names it.
        what: String,
        /// How long the answer may take.
        patience: Duration,
    },
}

impl Notice {
    /// Whether something is probably not as the user expects. If not, the notice explains how the work goes on.
    pub fn is_warning(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Retrying { .. } | Self::WaitingForAnswer { .. })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TagMoved { repository, tag, digest, now: Some(now) } => {
                write!(f, "the tag {tag} of {repository} now points to {now}; {digest} is used, as the reference says")
            }
            Self::TagMoved { repository, tag, digest, now: None } => {
                write!(f, "{repository} has no tag {tag}; {digest} is used, as the reference says")
            }
            Self::Misnamed { list, count, examples } => {
                let names = if *count == 1 { "a malformed name, which is" } else { "malformed names, which are" };
                let more = if *count > examples.len() { format!(" and {} more", count - examples.len()) } else { String::new() };
                write!(f, "{list} has {names} left out: {}{more}", examples.join(", "))
            }
            Self::LoginsUnavailable { what, why } => write!(f, "{what} cannot be used for logins: {why}"),
            Self::MirrorFailed { mirror, why } => write!(f, "the mirror {mirror} is not used any more: {why}"),
            Self::Missing { what } => f.write_str(what),
            Self::Waiting { path } => write!(f, "{} is being written by another process; waiting for it", path.display()),
            Self::Retrying { why, pause, attempt, attempts } => {
                let time = if *pause < Duration::from_secs(1) { String::new() } else { format!(" in {} s", pause.as_secs()) };
                write!(f, "trying again{time} (attempt {attempt} of {attempts}): {why}")
            }
            Self::WaitingForAnswer { server, what, patience } => {
                write!(f, "{server} has all bytes of {what}; waiting for its answer, for up to {} s", patience.as_secs())
            }
            Self::LoginRemains { registry, file } => write!(f, "{} still has a login for {registry}", file.display()),
        }
    }
}

/// Where notices are sent at once when something happens. By default they are dropped.
#[derive(Clone, Default)]
pub struct Notices(Option<Arc<Take>>);

type Take = dyn Fn(&Notice) + Send + Sync;

impl Notices {
    /// Calls `take` with every notice, from several threads at the same time if need be.
    pub fn to(take: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(take)))
    }

    /// Sends a notice.
    pub fn give(&self, notice: &Notice) {
        if let Some(take) = &self.0 {
            take(notice);
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notices").field(&self.0.is_some()).finish()
    }
}
