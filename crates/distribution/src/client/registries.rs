//! `registries.conf`, in which Podman, Skopeo and others describe registries: where they are, their mirrors, and short names
//! (containers-registries.conf(5), version 2).

use modelpack_spec::RepositoryName;
use modelpack_transfer::{Cause, Error, Result};
use serde::{Deserialize, de::IgnoredAny};
use std::{collections::BTreeMap, fs, ops::Range, path::PathBuf};
use toml::Spanned;

/// A file with the format of `registries.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistriesFile {
    /// The file. It must exist.
    pub path: PathBuf,
    /// What names the file, such as an environment variable, for the error that it cannot be read.
    pub named_by: Option<String>,
}

impl RegistriesFile {
    /// A file at one of the usual places.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), named_by: None }
    }
}

/// What is known of registries.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    entries: Vec<Entry>,
    aliases: BTreeMap<String, RepositoryName>,
}

/// The repositories whose names begin in the same way.
#[derive(Clone, Debug)]
struct Entry {
    prefix: Prefix,
    /// What replaces the prefix; `None` to replace nothing.
    location: Option<String>,
    is_insecure: bool,
    is_blocked: bool,
    mirrors: Vec<Mirror>,
    /// File and line, for messages.
    place: String,
}

#[derive(Clone, Debug)]
struct Mirror {
    location: String,
    is_insecure: bool,
    pulls: Pulls,
}

/// How a manifest must be named, so that a mirror is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulls {
    All,
    ByDigest,
    ByTag,
}

/// A repository, and how its registry is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) name: RepositoryName,
    /// Whether any certificate is accepted, and plain HTTP.
    pub(crate) is_insecure: bool,
}

/// Where a repository is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Locations {
    /// In the order in which they are asked.
    pub(crate) mirrors: Vec<(Location, Pulls)>,
    pub(crate) registry: Location,
}

impl Registries {
    /// Reads files. What a later file says of a prefix or a short name replaces what an earlier one says. Blocks.
    ///
    /// Fails with [`Error::Setting`], which names the file, and the line if the content is wrong.
    pub fn read(files: &[RegistriesFile]) -> Result<Self> {
        let mut registries = Self::default();
        for RegistriesFile { path, named_by } in files {
            let shown = path.display().to_string();
            let text = fs::read_to_string(path).map_err(|e| match named_by {
                Some(setting) => wrong(setting, format!("{shown} cannot be read: {e}"), Some(e.into())),
                None => wrong(&shown, format!("it cannot be read: {e}"), Some(e.into())),
            })?;
            registries.add(&text, &shown)?;
        }
        Ok(registries)
    }

    /// Adds what the text of a file says. `file` is its name in an error. Keys that concern other tools are ignored.
    ///
    /// Fails with [`Error::Setting`], whose setting is `FILE:LINE`.
    pub fn add(&mut self, text: &str, file: &str) -> Result<()> {
        let place = |at: usize| format!("{file}:{}", 1 + text[..at.min(text.len())].matches('\n').count());
        let content: Content = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start);
            wrong(&place(at), e.message().trim().to_owned(), Some(e.into()))
        })?;
        if let Some(old) = content.registries {
            let why = "this is version 1 of the format, which is not supported; version 2 has [[registry]] tables".to_owned();
            return Err(wrong(&place(old.span().start), why, None));
        }
        for table in content.registry {
            let Range { start, .. } = table.span();
            let entry = Entry::new(table.into_inner(), place(start), &place)?;
            self.entries.retain(|other| other.prefix != entry.prefix);
            self.entries.push(entry);
        }
        for (alias, name) in content.aliases {
            let at = place(name.span().start);
            if !alias.parse::<RepositoryName>().is_ok_and(|alias| alias.host().is_none()) {
                return Err(wrong(&at, format!("`{alias}` is not a short name, such as `model` or `team/model`"), None));
            }
            let text = name.into_inner();
            // An empty name takes back what another file says.
            if text.is_empty() {
                self.aliases.remove(&alias);
                continue;
            }
            let name = text.parse::<RepositoryName>().ok().filter(|name| name.host().is_some());
            let why = || format!("`{text}` is not the full name of a repository, such as `registry.example.com/team/model`");
            self.aliases.insert(alias, name.ok_or_else(|| wrong(&at, why(), None))?);
        }
        Ok(())
    }

    /// The full name for a short name, which has no host.
    pub fn alias(&self, name: &RepositoryName) -> Option<&RepositoryName> {
        self.aliases.get(name.as_str())
    }

    /// Where a repository is, whose name has a host. Fails with [`Error::Setting`] if its registry is blocked.
    pub(crate) fn locate(&self, name: &RepositoryName) -> Result<Locations> {
        let itself = Location { name: name.clone(), is_insecure: false };
        let Some((entry, matched)) = self.find(name.as_str()) else { return Ok(Locations { mirrors: Vec::new(), registry: itself }) };
        if entry.is_blocked {
            return Err(wrong(&entry.place, format!("it blocks {name}"), None));
        }
        let rest = &name.as_str()[matched..];
        let at = |location: &str, is_insecure: bool| {
            let text = format!("{location}{rest}");
            let name = text.parse::<RepositoryName>().ok().filter(|name| name.host().is_some());
            let why = || format!("`{text}`, which it makes of {name}, is not the full name of a repository", name = itself.name);
            name.map(|name| Location { name, is_insecure }).ok_or_else(|| wrong(&entry.place, why(), None))
        };
        let registry = match &entry.location {
            Some(location) => at(location, entry.is_insecure)?,
            None => Location { is_insecure: entry.is_insecure, ..itself.clone() },
        };
        let mirrors = entry.mirrors.iter().map(|mirror| Ok((at(&mirror.location, mirror.is_insecure)?, mirror.pulls)));
        Ok(Locations { mirrors: mirrors.collect::<Result<_>>()?, registry })
    }

    /// Whether a registry, which is named by its host and port, may be spoken to without security.
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        self.find(host).is_some_and(|(entry, _)| entry.is_insecure)
    }

    /// The entry with the longest prefix of a name, and the length of what the prefix matches.
    fn find(&self, name: &str) -> Option<(&Entry, usize)> {
        let matching = self.entries.iter().filter_map(|entry| Some((entry, entry.prefix.match_beginning(name)?)));
        matching.max_by_key(|(entry, _)| entry.prefix.text().len())
    }
}

impl Entry {
    fn new(table: RegistryTable, at: String, place: &impl Fn(usize) -> String) -> Result<Self> {
        let location = table.location.map(|text| location(text, place)).transpose()?;
        let prefix = match table.prefix.filter(|prefix| !prefix.get_ref().is_empty()) {
            Some(prefix) => Prefix::parse(prefix, place)?,
            None => {
                let none = || wrong(&at, "the registry has neither a `location` nor a `prefix`".to_owned(), None);
                Prefix::Exact(location.clone().ok_or_else(none)?)
            }
        };
        let mirrors = table.mirror.into_iter().map(|mirror| {
            let pulls = match mirror.pull_from_mirror {
                None if table.mirror_by_digest_only => Pulls::ByDigest,
                None => Pulls::All,
                Some(text) => match text.get_ref().as_str() {
                    "all" => Pulls::All,
                    "digest-only" => Pulls::ByDigest,
                    "tag-only" => Pulls::ByTag,
                    other => {
                        let why = format!("`pull-from-mirror` is `all`, `digest-only` or `tag-only`, and not `{other}`");
                        return Err(wrong(&place(text.span().start), why, None));
                    }
                },
            };
            Ok(Mirror { location: self::location(mirror.location, place)?, is_insecure: mirror.insecure, pulls })
        });
        let mirrors = mirrors.collect::<Result<_>>()?;
        Ok(Self { prefix, location, is_insecure: table.insecure, is_blocked: table.blocked, mirrors, place: at })
    }
}

/// The beginning of the names of repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Prefix {
    /// A host, or a namespace or a repository of it.
    Exact(String),
    /// `*.example.com`: the hosts below a domain. Kept without the `*`.
    Below(String),
}

impl Prefix {
    fn parse(text: Spanned<String>, place: &impl Fn(usize) -> String) -> Result<Self> {
        let at = text.span().start;
        match text.get_ref().strip_prefix("*.") {
            Some(domain) if !domain.is_empty() && !domain.contains(['*', '/']) => Ok(Self::Below(format!(".{domain}"))),
            _ if text.get_ref().contains('*') => Err(wrong(
                &place(at),
                format!("`{}` may have a `*` only in place of all subdomains, as in `*.example.com`", text.get_ref()),
                None,
            )),
            _ => location(text, place).map(Self::Exact),
        }
    }

    /// The length of the beginning of `name` that matches.
    fn match_beginning(&self, name: &str) -> Option<usize> {
        match self {
            Self::Exact(prefix) => name.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/')).map(|_| prefix.len()),
            Self::Below(domain) => {
                let host = name.split('/').next().unwrap_or_default();
                host.strip_suffix(domain).filter(|sub| !sub.is_empty()).map(|_| host.len())
            }
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Below(text) => text,
        }
    }
}

/// A host, or a namespace or a repository of it.
fn location(text: Spanned<String>, place: &impl Fn(usize) -> String) -> Result<String> {
    let at = text.span().start;
    let location = text.get_ref().trim_end_matches('/');
    let wrong = |why: &str| wrong(&place(at), format!("`{}` {why}", text.get_ref()), None);
    if location.contains("://") {
        return Err(wrong("has a scheme; it is a host, or a namespace or repository of a host"));
    }
    // The name of any repository there must be valid.
    let is_valid = format!("{location}/x").parse::<RepositoryName>().is_ok_and(|name| name.host().is_some());
    if is_valid { Ok(location.to_owned()) } else { Err(wrong("is not a host, or a namespace or repository of a host")) }
}

fn wrong(setting: &str, why: String, source: Option<Cause>) -> Error {
    Error::Setting { setting: setting.to_owned(), why, source }
}

/// The content of a file. Unknown keys are for other tools.
#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    registry: Vec<Spanned<RegistryTable>>,
    #[serde(default)]
    aliases: BTreeMap<String, Spanned<String>>,
    /// The tables of version 1.
    registries: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegistryTable {
    prefix: Option<Spanned<String>>,
    location: Option<Spanned<String>>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    location: Spanned<String>,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<Spanned<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Registries {
        let mut registries = Registries::default();
        for (number, text) in texts.iter().enumerate() {
            registries.add(text, &format!("{number}.conf")).unwrap();
        }
        registries
    }

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    /// The places of a repository in the order in which they are asked; `!` marks those that may be insecure.
    fn located(registries: &Registries, repository: &str) -> Vec<String> {
        let Locations { mirrors, registry } = registries.locate(&name(repository)).unwrap();
        let shown = |location: &Location| format!("{}{}", location.name, if location.is_insecure { "!" } else { "" });
        mirrors.iter().map(|(location, _)| shown(location)).chain([shown(&registry)]).collect()
    }

    #[test]
    fn the_longest_prefix_says_where_a_repository_is() {
        let registries = parsed(&[r#"
unqualified-search-registries = ["docker.io"]
short-name-mode = "enforcing"
[[registry]]
location = "registry.example.com"
[[registry.mirror]]
location = "mirror.example.com:5000/copies"
insecure = true
[[registry.mirror]]
location = "other.example.com/"

[[registry]]
prefix = "registry.example.com/team"
location = "10.0.0.5:5000/moved/team"
insecure = true

[[registry]]
prefix = "*.example.org"
[[registry.mirror]]
location = "mirror.example.com/org"
"#]);
        for (repository, expected) in [
            ("registry.example.com/a/b", &["mirror.example.com:5000/copies/a/b!", "other.example.com/a/b", "registry.example.com/a/b"][..]),
            ("registry.example.com/team/model", &["10.0.0.5:5000/moved/team/model!"]),
            (
                "registry.example.com/teams/model",
                &["mirror.example.com:5000/copies/teams/model!", "other.example.com/teams/model", "registry.example.com/teams/model"],
            ),
            ("registry.example.com:5000/a", &["registry.example.com:5000/a"]),
            ("a.b.example.org/c/d", &["mirror.example.com/org/c/d", "a.b.example.org/c/d"]),
            ("example.org/c", &["example.org/c"]),
            ("elsewhere.example.com/c", &["elsewhere.example.com/c"]),
        ] {
            assert_eq!(located(&registries, repository), expected, "{repository}");
        }
        assert!(!registries.is_insecure("registry.example.com") && !registries.is_insecure("10.0.0.5:5000"));
    }

    #[test]
    fn a_later_file_replaces_what_an_earlier_one_says() {
        let registries = parsed(&[
            "[[registry]]\nlocation = \"a.example.com\"\ninsecure = true\n[aliases]\none = \"a.example.com/one\"\n\"team/two\" = \"a.example.com/two\"",
            "[[registry]]\nlocation = \"a.example.com\"\n[aliases]\none = \"b.example.com/one\"\n\"team/two\" = \"\"",
        ]);
        assert_eq!(located(&registries, "a.example.com/x"), ["a.example.com/x"]);
        assert_eq!(registries.alias(&name("one")), Some(&name("b.example.com/one")));
        assert_eq!((registries.alias(&name("team/two")), registries.alias(&name("three"))), (None, None));
    }

    #[test]
    fn a_mirror_may_be_for_digests_or_tags_only() {
        let registries = parsed(&[
            "[[registry]]\nlocation = \"a.example.com\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"m.example.com\"",
            "[[registry]]\nlocation = \"b.example.com\"\n\
             [[registry.mirror]]\nlocation = \"m.example.com\"\npull-from-mirror = \"tag-only\"\n\
             [[registry.mirror]]\nlocation = \"n.example.com\"\npull-from-mirror = \"digest-only\"",
        ]);
        let pulls =
            |repository| registries.locate(&name(repository)).unwrap().mirrors.into_iter().map(|(_, pulls)| pulls).collect::<Vec<_>>();
        assert_eq!((pulls("a.example.com/x"), pulls("b.example.com/x")), (vec![Pulls::ByDigest], vec![Pulls::ByTag, Pulls::ByDigest]));
    }

    #[test]
    fn what_is_blocked_is_refused_with_the_line_that_blocks_it() {
        let registries = parsed(&["\n[[registry]]\nprefix = \"a.example.com/bad\"\nblocked = true\n"]);
        let error = registries.locate(&name("a.example.com/bad/model")).unwrap_err();
        assert_eq!(error.to_string(), "0.conf:2: it blocks a.example.com/bad/model");
        assert!(registries.locate(&name("a.example.com/good")).is_ok());
    }

    #[test]
    fn an_error_names_the_line() {
        for (text, expected) in [
            ("a = [\n", "f:1: "),
            ("\n[[registry]]\nlocation = 5", "f:3: invalid type: integer `5`, expected a string"),
            ("[[registry]]\nlocation = \"a.b\"\ninsecure = \"yes\"", "f:3: invalid type: string \"yes\", expected a boolean"),
            ("[[registry]]\n[[registry]]\ninsecure = true", "f:1: the registry has neither a `location` nor a `prefix`"),
            ("[[registry]]\nlocation = \"https://a.b\"", "f:2: `https://a.b` has a scheme; "),
            ("[[registry]]\nlocation = \"two words\"", "f:2: `two words` is not a host, "),
            ("[[registry]]\nprefix = \"a.*.b\"", "f:2: `a.*.b` may have a `*` only "),
            ("[[registry]]\nlocation = \"a.b\"\n[[registry.mirror]]\ninsecure = true", "f:3: missing field `location`"),
            (
                "[[registry]]\nlocation = \"a.b\"\n[[registry.mirror]]\nlocation = \"c.d\"\npull-from-mirror = \"never\"",
                "f:5: `pull-from-mirror` is `all`, `digest-only` or `tag-only`, and not `never`",
            ),
            ("[aliases]\n\nmodel = \"team/model\"", "f:3: `team/model` is not the full name of a repository, "),
            ("[aliases]\n\"a.b/model\" = \"c.d/model\"", "f:2: `a.b/model` is not a short name, "),
            ("\n[registries.search]\nregistries = ['a.b']", "f:2: this is version 1 of the format"),
        ] {
            let error = Registries::default().add(text, "f").expect_err(text).to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
