//! Failures of the program: exit codes, messages, and hints.
//!
//! | code | kind | meaning |
//! |---|---|---|
//! | 0 | | done |
//! | 1 | `other` | anything else; `diff` found a difference, which is no failure |
//! | 2 | `usage` | the arguments: a flag, a reference or place that does not parse; or a setting: an environment variable, a file with logins, a credential helper |
//! | 3 | `notFound` | a directory, tag, manifest or blob is not there |
//! | 4 | `unauthorized` | the registry wants credentials, or other ones, or does not allow it |
//! | 5 | `verification` | a wrong digest or size, an artifact that is invalid or hostile |
//! | 6 | `io` | a file or disk: not readable, not writable, full |
//! | 7 | `network` | no server, a connection that broke, an answer that the protocol does not foresee |
//! | 8 | `conflict` | something is in the way |
//! | 9 | `input` | what is packed: a Modelfile, an empty directory, a link that leaves it, a file that changed |
//! | 10 | `unsafe` | loading a file could run code, or the file is not what its format wants, or could not be read |
//! | 11 | `notWhole` | something is missing of a model that `--strict` packs whole or not at all |
//! | 129, 130, 143 | `hungUp`, `interrupted`, `terminated` | `SIGHUP`, `SIGINT`, `SIGTERM` |

use crate::{
    output::Output,
    text::{self, printable},
};
use modelpack::{
    InvalidPlace, ModelfileError, ModelfileProblem, PackError, StoreError,
    spec::{Reference, json::to_line},
};
use serde::{Serialize, Serializer};
use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

/// The kind of a failure, for scripts.
pub use modelpack::ErrorKind as Kind;

/// The reason why the program ends without a complete result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Failed(Kind),
    HungUp,
    Interrupted,
    Terminated,
    /// The compared targets differ. Only the result and the exit code show it.
    Difference,
    /// The reader of stdout has closed it, which is not an error.
    OutputClosed,
}

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Self::Failed(kind) => kind.name(),
            Self::HungUp => "hungUp",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
            Self::Difference => "difference",
            Self::OutputClosed => "outputClosed",
        }
    }

    pub fn exit_code(self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Difference => 1,
            Self::Failed(kind) => match kind {
                Kind::Usage => 2,
                Kind::NotFound => 3,
                Kind::Unauthorized => 4,
                Kind::Verification => 5,
                Kind::Io => 6,
                Kind::Network => 7,
                Kind::Conflict => 8,
                Kind::Input => 9,
                Kind::Unsafe => 10,
                Kind::NotWhole => 11,
                _ => 1,
            },
            Self::HungUp => 128 + 1,
            Self::Interrupted => 128 + 2,
            Self::Terminated => 128 + 15,
        }
    }
}

/// All kinds, in the order of their exit codes.
#[cfg(any(test, feature = "mount"))]
const KINDS: [Kind; 11] = [
    Kind::Other,
    Kind::Usage,
    Kind::NotFound,
    Kind::Unauthorized,
    Kind::Verification,
    Kind::Io,
    Kind::Network,
    Kind::Conflict,
    Kind::Input,
    Kind::Unsafe,
    Kind::NotWhole,
];

impl Ending {
    /// The kind of a failure of another process of this program.
    #[cfg(feature = "mount")]
    pub fn kind_of(exit_code: i32) -> Kind {
        KINDS.into_iter().find(|kind| i32::from(Self::Failed(*kind).exit_code()) == exit_code).unwrap_or(Kind::Other)
    }
}

impl From<Kind> for Ending {
    fn from(kind: Kind) -> Self {
        Self::Failed(kind)
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        ending.exit_code().into()
    }
}

/// A failure: the operation, its object, the reason, and a hint.
#[derive(Debug)]
pub struct Failure {
    ending: Ending,
    message: String,
    /// The wrong line, with a mark.
    excerpt: Option<String>,
    hint: Option<String>,
}

impl Failure {
    pub fn new(ending: impl Into<Ending>, message: impl Into<String>) -> Self {
        Self { ending: ending.into(), message: text::brief(&message.into()).into_owned(), excerpt: None, hint: None }
    }

    /// The message, for a list of results.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Adds a hint.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The compared targets differ, as the result shows.
    pub fn difference() -> Self {
        Self::new(Ending::Difference, "there are differences")
    }

    /// Writing to stdout failed.
    pub fn output(error: io::Error) -> Self {
        let ending = if error.kind() == ErrorKind::BrokenPipe { Ending::OutputClosed } else { Kind::Io.into() };
        Self::new(ending, format!("cannot write the result: {error}"))
    }

    /// Whether it is a failure of this kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.ending == Ending::Failed(kind)
    }

    /// Prints the failure to stderr, with `--json` as one JSON object.
    pub fn report(&self, output: &Output) -> ExitCode {
        let shown = match self.ending {
            Ending::OutputClosed | Ending::Difference => return self.ending.into(),
            _ if output.json => to_line(&Printed { error: self }),
            Ending::HungUp | Ending::Interrupted | Ending::Terminated => self.message.clone(),
            _ => {
                let mut text = format!("error: {}", printable(&self.message));
                text.extend(self.excerpt.iter().flat_map(|excerpt| ["\n", excerpt]));
                text.extend(self.hint.iter().flat_map(|hint| ["\nhint: ".into(), printable(&text::brief(hint)).into_owned()]));
                text
            }
        };
        // If stderr is closed, only the exit code shows the failure.
        let _ = writeln!(io::stderr(), "{shown}");
        self.ending.into()
    }
}

/// A failure as JSON.
#[derive(Serialize)]
struct Printed<'a> {
    error: &'a Failure,
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields<'a> {
            kind: &'a str,
            message: &'a str,
            hint: Option<&'a str>,
            exit_code: u8,
        }
        let (kind, exit_code) = (self.ending.name(), self.ending.exit_code());
        Fields { kind, message: &self.message, hint: self.hint.as_deref(), exit_code }.serialize(serializer)
    }
}

impl From<modelpack::Error> for Failure {
    fn from(error: modelpack::Error) -> Self {
        use modelpack::Error;
        let (hint, excerpt) = match &error {
            Error::Store(error) => (hint_for_store(error), None),
            Error::Damaged { reference, .. } => (Some(hint_for_damage(reference)), None),
            Error::Pack(error) => {
                let excerpt = if let PackError::Modelfile { source, .. } = error { Some(excerpt(source)) } else { None };
                (hint_for_pack(error), excerpt)
            }
            Error::Place(InvalidPlace::Unknown(_)) => {
                (Some("`modelpack ls` lists the artifacts of the store; for a registry, put its host before the name".into()), None)
            }
            Error::UnknownDocument { .. } => {
                let hint = "use `--type` to give its type; an index is validated with its manifests, so give the layout or reference that contains it";
                (Some(hint.to_owned()), None)
            }
            Error::Unsafe(_) => {
                (Some("`modelpack scan DIR` shows all findings; leave the file out, or omit `--require-safe`".into()), None)
            }
            Error::NotWhole(_) => {
                (Some("`modelpack lint DIR` shows all missing parts; without `--strict` the incomplete model is packed".into()), None)
            }
            _ => (None, None),
        };
        let message = match &error {
            Error::Pack(PackError::Modelfile { path, source }) => {
                format!("{}:{}:{}: {}", path.display(), source.line, source.column, source.problem)
            }
            error => error.to_string(),
        };
        Self { excerpt, hint, ..Self::new(error.kind(), message) }
    }
}

impl From<modelpack::InvalidPattern> for Failure {
    fn from(invalid: modelpack::InvalidPattern) -> Self {
        Self::new(Kind::Usage, invalid.to_string())
    }
}

impl From<modelpack::InvalidValue> for Failure {
    fn from(invalid: modelpack::InvalidValue) -> Self {
        Self::new(Kind::Usage, invalid.to_string())
    }
}

fn hint_for_store(error: &StoreError) -> Option<String> {
    let hint = match error {
        StoreError::Unauthorized { registry, .. } => return Some(format!("log in with `modelpack login {registry}`")),
        StoreError::Setting { setting, .. } if setting.to_lowercase().ends_with("_proxy") => {
            return Some(format!(
                "set it as in {setting}=http://proxy.example.com:3128, or unset it; NO_PROXY names the hosts that are reached directly"
            ));
        }
        StoreError::Setting { setting, .. } if setting.starts_with("SSL_CERT_") => {
            return Some(format!("correct {setting}, or unset it to trust the authorities that the operating system trusts"));
        }
        StoreError::CredentialsFile { .. } => "correct the file, or name another one with REGISTRY_AUTH_FILE",
        StoreError::CredentialHelper { helper, named_by, .. } => {
            let file = named_by.display();
            return Some(format!("test it with `echo REGISTRY | {helper} get`, or remove its name from {file}"));
        }
        StoreError::Denied { .. } => "log in as a user with this permission, with `modelpack login`",
        StoreError::Ambiguous { .. } => {
            "put one of these after the path, as in `oci:PATH:NAME` or `oci:PATH@DIGEST`; `modelpack ls` lists all of them"
        }
        StoreError::Referrers { source, .. } => {
            let without = || "`modelpack cp --referrers=false` copies the artifact without what refers to it".to_owned();
            return hint_for_store(source).or_else(|| Some(without()));
        }
        StoreError::Conflict { .. } => "move it away, or choose another directory; `--force` replaces files, but not directories or links",
        StoreError::Damaged { .. } => "`modelpack verify --repair` repairs the store, and reports losses",
        StoreError::ReadOnly { .. } => "use `--store DIR` with another store; commands that only read can use this one",
        StoreError::Changed { .. } => "run the same command again when no program writes to it",
        StoreError::Network { url, why, .. } if url.starts_with("https:") && why.contains("may speak plain http") => {
            "`--plain-http` uses a registry without TLS"
        }
        StoreError::Network { url, why, .. } if url.starts_with("https:") && why.starts_with("TLS ") => {
            "`--ca-file FILE` trusts an authority of your own, or the certificate of the server itself; `--insecure` accepts any certificate"
        }
        StoreError::Network { url, why, .. } | StoreError::Protocol { url, why, .. }
            if url.starts_with("http:") && why.contains("may speak TLS") =>
        {
            "if it does, omit `--plain-http`; for a registry on this machine, make the directory `~/.config/containers/certs.d/HOST:PORT`"
        }
        StoreError::Io { action: "make room in the cache", .. } => {
            "`modelpack cache ls` lists artifacts that were pulled; remove one with `modelpack cache rm`, unpin one, end what uses the cache, or give a larger `--cache-size`"
        }
        StoreError::Io { source, .. } if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            "free some space, for instance with `modelpack prune`, and run the same command again"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn hint_for_damage(reference: &Reference) -> String {
    let command = format!("`modelpack verify --repair {reference}`");
    match reference.repository.host() {
        Some(registry) => format!("{command} fetches damaged blobs again from {registry}"),
        None => {
            format!("its name has no registry to fetch it from, so pack the same files again; then {command} checks that it is complete")
        }
    }
}

fn hint_for_pack(error: &PackError) -> Option<String> {
    let hint = match error {
        PackError::Empty { rules, .. } if !rules.is_empty() => {
            return Some(format!("check the patterns that leave files out: {}", rules.join(", ")));
        }
        PackError::Modelfile { source, .. } if matches!(source.problem, ModelfileProblem::Ignored { .. }) => {
            "remove this line or that pattern, or include the file again with a later pattern that begins with `!`"
        }
        PackError::Pattern(_) => "the grammar is that of .gitignore; `\\` before a character makes it literal",
        PackError::NothingSelected { .. } => "`modelpack inspect` lists all files; a pattern with a slash is anchored at the top",
        PackError::Empty { .. } => "hidden files are left out, unless a Modelfile names them",
        PackError::LinkOutside { .. } => {
            "replace the link by the file, or leave the link out with `--exclude`; `-f` accepts a Modelfile in any place"
        }
        PackError::LinkDangling { .. } | PackError::LinkCycle { .. } | PackError::NotAFile { .. } => {
            "remove it, or leave it out with `--exclude`, or with a Modelfile that names the files to pack"
        }
        PackError::LayerRule { .. } => "a kind is weight, config, code, dataset or doc; a pattern with `*` may match nothing",
        PackError::TooManyLayers { raw: 0, .. } => {
            "`--max-layers` allows more, which not every registry accepts; files of more than 64 MiB or of different kinds are not bundled"
        }
        PackError::TooManyLayers { raw, .. } => {
            return Some(format!(
                "{raw} files must be raw because of `--layer`: match fewer files with that rule, or allow more layers with `--max-layers`"
            ));
        }
        PackError::Config(_) => "change the value in the Modelfile, or remove it",
        PackError::NotModelPack { .. } => "`modelpack cp --to modelpack` converts other artifacts, so that files can be attached",
        PackError::Attached { .. } => "`--force` replaces it",
        PackError::InArchive { .. } => "unpack the artifact, change the file in it and pack it again",
        PackError::NotUtf8 { .. } | PackError::InvalidPath { .. } => "rename the file",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The number of characters that are shown before and after the error in a line.
const EXCERPT: usize = 100;

/// The line of a Modelfile, or a part of a long one, with a mark under the column.
fn excerpt(error: &ModelfileError) -> String {
    let skipped = (error.column - 1).saturating_sub(EXCERPT);
    // Each character is replaced by one character, so that the mark is under the right column.
    let shown = |c: char| if printable(c.encode_utf8(&mut [0; 4])).len() == c.len_utf8() { c } else { ' ' };
    let line: String = error.text.chars().skip(skipped).take(2 * EXCERPT).map(shown).collect();
    let number = error.line.to_string();
    let (margin, indent) = (" ".repeat(number.len()), " ".repeat(error.column - 1 - skipped));
    format!("{margin} |\n{number} | {line}\n{margin} | {indent}^")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_a_code_of_its_own() {
        assert_eq!(KINDS.map(|kind| Ending::from(kind).exit_code()), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn the_mark_is_under_the_column_for_any_line() {
        let error =
            ModelfileError { line: 12, column: 5, text: "A\tÄ\u{1b}x".into(), problem: modelpack::ModelfileProblem::UnclosedQuote };
        assert_eq!(excerpt(&error), "   |\n12 | A Ä x\n   |     ^");
    }
}
