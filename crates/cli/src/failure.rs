//! How the program fails: the exit codes, what is printed, and hints at what can be done.
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

/// What kind of failure it is, for scripts.
pub use modelpack::ErrorKind as Kind;

/// How the program ends, if it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Failed(Kind),
    HungUp,
    Interrupted,
    Terminated,
    /// What was compared is not the same: the result says it, and the exit code.
    Difference,
    /// Whoever read stdout has closed it. They have read enough.
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

/// What failed, on what, why, and what can be done about it.
#[derive(Debug)]
pub struct Failure {
    ending: Ending,
    message: String,
    /// The line that is wrong, with a mark.
    excerpt: Option<String>,
    hint: Option<String>,
}

impl Failure {
    pub fn new(ending: impl Into<Ending>, message: impl Into<String>) -> Self {
        Self { ending: ending.into(), message: text::brief(&message.into()).into_owned(), excerpt: None, hint: None }
    }

    /// What failed, for a list of results.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Says what can be done.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// What was compared is not the same, as the result says.
    pub fn difference() -> Self {
        Self::new(Ending::Difference, "there are differences")
    }

    /// Stdout could not be written.
    pub fn output(error: io::Error) -> Self {
        let ending = if error.kind() == ErrorKind::BrokenPipe { Ending::OutputClosed } else { Kind::Io.into() };
        Self::new(ending, format!("cannot write the result: {error}"))
    }

    /// Whether it is a failure of this kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.ending == Ending::Failed(kind)
    }

    /// Prints the failure to stderr, as one JSON object if a program reads it.
    pub fn report(&self, output: &Output) -> ExitCode {
        let said = match self.ending {
            Ending::OutputClosed | Ending::Difference => return self.ending.into(),
            _ if output.json => to_line(&Printed { error: self }),
            Ending::HungUp | Ending::Interrupted | Ending::Terminated => self.message.clone(),
            _ => {
                let mut said = format!("error: {}", printable(&self.message));
                said.extend(self.excerpt.iter().flat_map(|excerpt| ["\n", excerpt]));
                said.extend(self.hint.iter().flat_map(|hint| ["\nhint: ".into(), printable(&text::brief(hint)).into_owned()]));
                said
            }
        };
        // If stderr is gone, the exit code still says it.
        let _ = writeln!(io::stderr(), "{said}");
        self.ending.into()
    }
}

/// A failure as a program reads it.
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
                (Some("`modelpack ls` shows what the store holds; a registry's host stands before the name".into()), None)
            }
            Error::UnknownDocument { .. } => {
                let hint = "`--type` says which it is; an index is judged with what it lists, so name the layout or reference that has it";
                (Some(hint.to_owned()), None)
            }
            Error::Unsafe(_) => {
                (Some("`modelpack scan DIR` shows all that is found; leave the file out, or `--require-safe`".into()), None)
            }
            Error::NotWhole(_) => {
                (Some("`modelpack lint DIR` shows all that is missing; without `--strict` it is packed as it is".into()), None)
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
        StoreError::CredentialsFile { .. } => "correct the file, or name another one with REGISTRY_AUTH_FILE",
        StoreError::CredentialHelper { helper, named_by, .. } => {
            let file = named_by.display();
            return Some(format!("try it with `echo REGISTRY | {helper} get`; without its name in {file} the program does without it"));
        }
        StoreError::Denied { .. } => "log in as somebody who may, with `modelpack login`",
        StoreError::Ambiguous { .. } => {
            "put one of these behind the path, as in `oci:PATH:NAME` or `oci:PATH@DIGEST`; `modelpack ls` shows all that is there"
        }
        StoreError::Conflict { .. } => "move it away, or choose another directory; `--force` replaces files, but no directories or links",
        StoreError::Damaged { .. } => "`modelpack verify --repair` repairs the store, and says what is lost",
        StoreError::ReadOnly { .. } => "`--store DIR` names another store; what only reads may use this one",
        StoreError::Changed { .. } => "run the same command again when nothing writes to it",
        StoreError::Network { url, why }
            if url.starts_with("https:") && (why.starts_with("TLS ") || why.contains("may speak plain http")) =>
        {
            "`--plain-http` speaks to a registry without TLS; `--insecure` takes any certificate"
        }
        StoreError::Network { url, why } | StoreError::Protocol { url, why, .. }
            if url.starts_with("http:") && why.contains("may speak TLS") =>
        {
            "if it does, leave `--plain-http` out; with this machine itself (localhost, 127.0.0.1) the program speaks plain HTTP only"
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
        Some(registry) => format!("{command} fetches what is damaged in the store from {registry} again"),
        None => {
            format!("its name has no registry to fetch it from, so pack the same files again; {command} says whether all is there then")
        }
    }
}

fn hint_for_pack(error: &PackError) -> Option<String> {
    let hint = match error {
        PackError::Empty { rules, .. } if !rules.is_empty() => {
            return Some(format!("look at what leaves files out: {}", rules.join(", ")));
        }
        PackError::Modelfile { source, .. } if matches!(source.problem, ModelfileProblem::Ignored { .. }) => {
            "remove the line here or the pattern there, or take the file back with a pattern after it that begins with `!`"
        }
        PackError::Pattern(_) => "the grammar is that of .gitignore; `\\` before a character makes it literal",
        PackError::NothingSelected { .. } => "`modelpack inspect` lists all files; a pattern with a slash is anchored at the top",
        PackError::Empty { .. } => "hidden files are left out, unless a Modelfile names them",
        PackError::LinkOutside { .. } => {
            "put the file itself in the place of the link, or leave the link out with `--exclude`; `-f` takes a Modelfile from anywhere"
        }
        PackError::LinkDangling { .. } | PackError::LinkCycle { .. } | PackError::NotAFile { .. } => {
            "remove it, or leave it out with `--exclude`, or with a Modelfile that names the files to pack"
        }
        PackError::LayerRule { .. } => "a kind is weight, config, code, dataset or doc; a pattern with `*` may match nothing",
        PackError::TooManyLayers { raw: 0, .. } => {
            "`--max-layers` allows more, which not every registry takes; files of more than 64 MiB or of different kinds are not bundled"
        }
        PackError::TooManyLayers { raw, .. } => {
            return Some(format!("{raw} files have to be raw by `--layer`: give fewer to that rule, or allow more with `--max-layers`"));
        }
        PackError::Config(_) => "change the value in the Modelfile, or leave it out",
        PackError::NotModelPack { .. } => "`modelpack cp --to modelpack` turns other artifacts into one that files can be attached to",
        PackError::Attached { .. } => "`--force` replaces it",
        PackError::InArchive { .. } => "unpack the artifact, change the file in it and pack it again",
        PackError::NotUtf8 { .. } | PackError::InvalidPath { .. } => "rename the file",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// How many characters of a line are shown before and after the place where something is wrong.
const EXCERPT: usize = 100;

/// The line of a Modelfile, or of a long one a part, and a mark under the column.
fn excerpt(error: &ModelfileError) -> String {
    let skipped = (error.column - 1).saturating_sub(EXCERPT);
    // Each character takes the place of one, so that the mark stands where it should.
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
        let kinds = [
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
        assert_eq!(kinds.map(|kind| Ending::from(kind).exit_code()), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn the_mark_stands_under_the_column_whatever_the_line_holds() {
        let error =
            ModelfileError { line: 12, column: 5, text: "A\tÄ\u{1b}x".into(), problem: modelpack::ModelfileProblem::UnclosedQuote };
        assert_eq!(excerpt(&error), "   |\n12 | A Ä x\n   |     ^");
    }
}
