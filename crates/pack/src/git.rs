//! The commit and the origin of a model's directory that is a git work tree, read from git's own
//! files.
//!
//! Only `.git` in the directory itself counts, because a repository above it need not belong to the
//! model. No program is run, and no link is followed. A `.git` that points elsewhere is used only
//! if its target points back and its repository lists it, so that a directory cannot borrow the
//! history of another one.

use crate::directory::Directory;
use modelpack_describe::public_url;
use modelpack_transfer::{Origin, Stated};
use std::{
    fs::{self, Metadata},
    io::{BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
};

/// The limit for `HEAD`, refs, `commondir` and `gitdir`, which have one line.
const MAX_LINE_BYTES: u64 = 8 << 10;
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// The limit for `packed-refs`. Some repositories have a hundred thousand refs.
const MAX_PACKED_REFS_BYTES: u64 = 64 << 20;
/// The maximum number of refs that point to one another, as in git.
const MAX_REFS: usize = 5;

/// Services with one public URL per repository, whatever the method of cloning.
const SERVICES: [&str; 6] = ["github.com", "gitlab.com", "huggingface.co", "hf.co", "bitbucket.org", "codeberg.org"];

/// The source text of a commit in findings.
pub(crate) const CHECKED_OUT: &str = "git: the commit that is checked out";

/// Where the files of `directory` were published: the commit that is checked out, and the URL from
/// which the repository was cloned.
pub(crate) fn origin(directory: &Directory) -> Origin {
    let Some(repository) = Repository::of(directory) else { return Origin::default() };
    Origin {
        url: repository.origin().map(|value| Stated { value, by: "git: the remote `origin`" }),
        revision: repository.commit().map(|value| Stated { value, by: CHECKED_OUT }),
    }
}

struct Repository {
    /// The directory for this work tree, with `HEAD`.
    own: Arc<Directory>,
    /// The directory that all work trees of the repository share, with refs and `config`.
    common: Arc<Directory>,
}

impl Repository {
    fn of(directory: &Directory) -> Option<Self> {
        let dot_git = directory.look(Path::new(".git")).ok()?;
        if dot_git.is_dir() {
            let own = Arc::new(directory.directory(Path::new(".git")).ok()?);
            return Some(Self { common: own.clone(), own });
        }
        // A linked work tree, or a submodule.
        let own = Directory::open(&directory.path().join(line(directory, ".git")?.strip_prefix("gitdir: ")?)).ok()?;
        if let Some(common) = line(&own, "commondir") {
            let common = Directory::open(&own.path().join(common)).ok()?;
            let known = common.look(&Path::new("worktrees").join(own.path().file_name()?)).ok()?;
            let is_known = is_same(&known, &own.look(Path::new("")).ok()?) && is_at(&dot_git, &own.path().join(line(&own, "gitdir")?));
            return is_known.then(|| Self { own: Arc::new(own), common: Arc::new(common) });
        }
        let back = value(&text(&own, "config", MAX_CONFIG_BYTES)?, "core", None, "worktree")?;
        let own = is_at(&directory.look(Path::new("")).ok()?, &own.path().join(back)).then(|| Arc::new(own))?;
        Some(Self { common: own.clone(), own })
    }

    /// The commit of `HEAD`.
    fn commit(&self) -> Option<String> {
        let mut head = line(&self.own, "HEAD")?;
        for _ in 0..MAX_REFS {
            let Some(name) = head.strip_prefix("ref: ").map(str::trim).filter(|name| is_ref(name)) else {
                return is_commit(&head).then_some(head);
            };
            head = match line(&self.common, name) {
                Some(line) => line,
                None => self.packed(name)?,
            };
        }
        None
    }

    /// The commit of a packed ref.
    fn packed(&self, name: &str) -> Option<String> {
        let refs = BufReader::new(self.common.file(Path::new("packed-refs")).ok()?.take(MAX_PACKED_REFS_BYTES));
        let commit = |line: String| line.split_once(' ').filter(|(_, other)| *other == name).map(|(commit, _)| commit.to_owned());
        refs.lines().map_while(Result::ok).find_map(commit)
    }

    /// The URL from which it was cloned, without secrets. For known services it does not depend on
    /// the method of cloning.
    fn origin(&self) -> Option<String> {
        address(&value(&text(&self.common, "config", MAX_CONFIG_BYTES)?, "remote", Some("origin"), "url")?)
    }
}

/// The public URL of a remote; `None` for a local path.
fn address(url: &str) -> Option<String> {
    // `git@host:path` is short for `ssh://git@host/path`.
    let short = || url.split_once(':').filter(|(host, path)| !host.contains('/') && !path.starts_with("//") && host.len() > 1);
    let long = short().map(|(host, path)| format!("ssh://{host}/{}", path.trim_start_matches('/')));
    let url = long.as_deref().unwrap_or(url);
    let rest = url.strip_prefix("ssh://").or_else(|| url.strip_prefix("git+ssh://"));
    let address = public_url(&rest.map_or_else(|| url.to_owned(), |rest| format!("https://{rest}")))?;
    let host = address.split('/').nth(2).unwrap_or_default();
    let is_known = SERVICES.iter().any(|known| known.eq_ignore_ascii_case(host));
    match rest {
        _ if is_known => Some(address.trim_end_matches('/').trim_end_matches(".git").to_owned()),
        // The user name `git` is not a secret, and it is needed.
        Some(rest) => Some(format!("ssh://{}{}", if rest.starts_with("git@") { "git@" } else { "" }, address.strip_prefix("https://")?)),
        None => Some(address),
    }
}

/// The first line of the file `name`, trimmed.
fn line(directory: &Directory, name: &str) -> Option<String> {
    Some(text(directory, name, MAX_LINE_BYTES)?.lines().next()?.trim().to_owned())
}

/// The content of the file `name`, unless it is longer than `limit` bytes.
fn text(directory: &Directory, name: &str, limit: u64) -> Option<String> {
    let mut text = String::new();
    directory.file(Path::new(name)).ok()?.take(limit + 1).read_to_string(&mut text).ok()?;
    (text.len() as u64 <= limit).then_some(text)
}

/// Whether `path` is this file or directory.
fn is_at(this: &Metadata, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| is_same(this, &found))
}

/// Whether both are the same file or directory.
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Whether the text is an object id, SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether the text is the name of a ref below `refs`.
fn is_ref(name: &str) -> bool {
    name.starts_with("refs/") && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.')) && !name.contains(['\\', '\0'])
}

/// The last value of `key` in a section of a git config, with names in any case. Included files are
/// ignored.
fn value(config: &str, section: &str, subsection: Option<&str>, key: &str) -> Option<String> {
    let mut is_inside = false;
    let mut found = None;
    for line in config.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            let (name, sub) =
                header.split_once(char::is_whitespace).map_or((header, None), |(name, sub)| (name, Some(sub.trim().trim_matches('"'))));
            is_inside = name.eq_ignore_ascii_case(section) && sub == subsection;
        } else if let Some((_, value)) = line.split_once('=').filter(|(name, _)| is_inside && name.trim().eq_ignore_ascii_case(key)) {
            found = Some(value.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    mod work_tree;

    #[test]
    fn an_origin_is_one_url_without_secrets() {
        for (url, expected) in [
            ("https://github.com/org/repo.git", Some("https://github.com/org/repo")),
            ("https://user:secret@huggingface.co/org/model", Some("https://huggingface.co/org/model")),
            ("git@github.com:org/repo.git", Some("https://github.com/org/repo")),
            ("git@hf.co:org/model", Some("https://hf.co/org/model")),
            ("ssh://git@gitlab.com/org/repo.git", Some("https://gitlab.com/org/repo")),
            ("ssh://git@example.com:2222/org/repo.git", Some("ssh://git@example.com:2222/org/repo.git")),
            ("ssh://me:secret@example.com/repo", Some("ssh://example.com/repo")),
            ("me@example.com:repo.git", Some("ssh://example.com/repo.git")),
            ("https://example.com/repo.git?token=x", Some("https://example.com/repo.git")),
            ("/home/me/repo", None),
            ("../repo", None),
            ("file:///home/me/repo", None),
            ("C:/repo", None),
            ("ext::sh -c x", None),
            ("", None),
        ] {
            assert_eq!(address(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn values_of_a_config_are_found_in_their_section() {
        let config = "[core]\n\tbare = false\n[Remote \"up\"]\n\turl = a\n[remote \"origin\"]\n\tfetch = +x\n\tURL = \"b\"\n; url = c\n[branch \"origin\"]\n\turl = d\n";
        assert_eq!(value(config, "remote", Some("origin"), "url").as_deref(), Some("b"));
        assert_eq!(value(config, "core", None, "worktree"), None);
        assert_eq!(value("[remote \"origin\"", "remote", Some("origin"), "url"), None);
        assert_eq!(value("url = x", "remote", Some("origin"), "url"), None);
    }

    #[test]
    fn only_refs_below_refs_are_followed() {
        assert!(is_ref("refs/heads/a/b") && is_ref("refs/heads/main"));
        for name in ["HEAD", "refs/../../etc/passwd", "refs//x", "/etc/passwd", "refs/heads/", "refs/heads/.x"] {
            assert!(!is_ref(name), "{name}");
        }
    }
}
