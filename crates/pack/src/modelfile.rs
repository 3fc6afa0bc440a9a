//! The Modelfile: which files of a directory make a model, and what they are to it.

mod error;
mod line;
mod pattern;

use crate::{Error, Result};
use modelpack_spec::LayerKind;
use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

pub use error::{ModelfileError, ModelfileProblem};
use line::Line;
pub(crate) use pattern::{Component, Glob, Pattern};

/// A Modelfile that is larger than this is something else, such as a weight file given by mistake.
const MAX_BYTES: u64 = 64 << 20;

/// What a Modelfile says: which files of a directory make a model, and what they are to it.
///
/// ```text
/// # A comment is a line of its own.
/// NAME "tiny llama"
/// MODEL *.safetensors
/// CODE src/**/*.py
/// ```
///
/// A line is a command, a space, and exactly one argument. Commands are the same in upper and lower case; white space around a
/// line does not count. In an argument, double quotes keep white space together and `\` makes the next character literal.
///
/// `CONFIG`, `MODEL`, `CODE`, `DATASET` and `DOC` name files by a path below the directory and may be repeated; all others stand
/// at most once, and all may be absent. In each component of a path, `*` matches any characters, `?` one character, and `[a-z]`,
/// `[^a-z]` or `[!a-z]` one of a class or none of it. A component `**` matches any number of directories. What a path takes is
/// for [`plan`](crate::plan) to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modelfile {
    /// `NAME`: the model's name.
    pub name: Option<String>,
    /// `ARCH`: its architecture, such as `transformer`.
    pub architecture: Option<String>,
    /// `FAMILY`: its lineage, such as `llama3`.
    pub family: Option<String>,
    /// `FORMAT`: the format of its weights, such as `safetensors`.
    pub format: Option<String>,
    /// `PARAMSIZE`: how many parameters it has, such as `7B`.
    pub param_size: Option<String>,
    /// `PRECISION`: the type of its numbers, such as `bfloat16`.
    pub precision: Option<String>,
    /// `QUANTIZATION`: how it was quantised, such as `awq`.
    pub quantization: Option<String>,
    path: PathBuf,
    files: Vec<FileCommand>,
}

/// A command that names files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileCommand {
    pub(crate) kind: LayerKind,
    pub(crate) pattern: Pattern,
    line: usize,
    column: usize,
    text: String,
}

/// What a command does with its argument. A new command is a new row of [`COMMANDS`].
#[derive(Clone, Copy)]
enum Command {
    Files(LayerKind),
    Value(fn(&mut Modelfile) -> &mut Option<String>),
}

const COMMANDS: [(&str, Command); 12] = [
    ("CONFIG", Command::Files(LayerKind::WeightConfig)),
    ("MODEL", Command::Files(LayerKind::Weight)),
    ("CODE", Command::Files(LayerKind::Code)),
    ("DATASET", Command::Files(LayerKind::Dataset)),
    ("DOC", Command::Files(LayerKind::Doc)),
    ("NAME", Command::Value(|m| &mut m.name)),
    ("ARCH", Command::Value(|m| &mut m.architecture)),
    ("FAMILY", Command::Value(|m| &mut m.family)),
    ("FORMAT", Command::Value(|m| &mut m.format)),
    ("PARAMSIZE", Command::Value(|m| &mut m.param_size)),
    ("PRECISION", Command::Value(|m| &mut m.precision)),
    ("QUANTIZATION", Command::Value(|m| &mut m.quantization)),
];

impl Modelfile {
    /// Reads the file `path`, which errors will name. Blocks.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |action| modelpack_store::Error::io(action, path);
        let mut bytes = Vec::new();
        File::open(path).map_err(io("open"))?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io("read"))?;
        if bytes.len() as u64 > MAX_BYTES {
            let why = format!("it has more than {MAX_BYTES} bytes, so it is no Modelfile");
            return Err(modelpack_store::Error::Invalid { what: path.display().to_string(), why }.into());
        }
        let parsed = match str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text),
            Err(e) => Err(ModelfileError::not_utf8(&bytes, e.valid_up_to())),
        };
        let modelfile = parsed.map_err(|source| Error::Modelfile { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), ..modelfile })
    }

    /// Parses the text of a Modelfile.
    pub fn parse(text: &str) -> Result<Self, ModelfileError> {
        let mut modelfile = Self { path: "Modelfile".into(), ..Self::default() };
        let mut given: HashMap<&str, usize> = HashMap::new();
        for (index, text) in text.lines().enumerate() {
            let Some(line) = Line::parse(index + 1, text)? else { continue };
            let Some((name, command)) = COMMANDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(line.command)) else {
                return Err(line.error(line.command_column, ModelfileProblem::UnknownCommand { command: line.command.to_owned() }));
            };
            let argument = line.argument(name)?;
            match command {
                Command::Files(kind) => {
                    let pattern = Pattern::new(&argument.characters).map_err(|problem| line.error(argument.column, problem))?;
                    let command = FileCommand { kind: *kind, pattern, line: line.number, column: argument.column, text: text.to_owned() };
                    modelfile.files.push(command);
                }
                Command::Value(field) => {
                    if let Some(first) = given.insert(name, line.number) {
                        return Err(line.error(line.command_column, ModelfileProblem::Repeated { command: name, first }));
                    }
                    *field(&mut modelfile) = Some(argument.text());
                }
            }
        }
        Ok(modelfile)
    }

    /// The commands that name files, as they stand.
    pub(crate) fn files(&self) -> &[FileCommand] {
        &self.files
    }

    /// `problem` with the argument of `command`.
    pub(crate) fn error(&self, command: &FileCommand, problem: ModelfileProblem) -> Error {
        let source = ModelfileError { line: command.line, column: command.column, text: command.text.clone(), problem };
        Error::Modelfile { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses text that must be refused: line, column and message.
    fn refused(text: &str) -> (usize, usize, String) {
        let error = Modelfile::parse(text).expect_err(text);
        assert_eq!(error.text, text.lines().nth(error.line - 1).unwrap());
        (error.line, error.column, error.problem.to_string())
    }

    fn name(text: &str) -> String {
        Modelfile::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).name.unwrap()
    }

    #[test]
    fn every_command_is_understood() {
        let text = "\n# comment FOO\n  NAME tiny\r\narch transformer\nFamily llama\nFORMAT safetensors\nPARAMSIZE 7.5K\n\
                    PRECISION float16\nQUANTIZATION awq\n\tMODEL *.bin \t\nCONFIG *.json\nDOC   README.md\nCODE a\nDATASET d\nDATASET d";
        let modelfile = Modelfile::parse(text).unwrap();
        let values = [
            (&modelfile.name, "tiny"),
            (&modelfile.architecture, "transformer"),
            (&modelfile.family, "llama"),
            (&modelfile.format, "safetensors"),
            (&modelfile.param_size, "7.5K"),
            (&modelfile.precision, "float16"),
            (&modelfile.quantization, "awq"),
        ];
        for (value, expected) in values {
            assert_eq!(value.as_deref(), Some(expected));
        }
        let kinds: Vec<_> = modelfile.files.iter().map(|f| (f.kind, f.line, f.column)).collect();
        assert_eq!(
            kinds,
            [
                (LayerKind::Weight, 10, 8),
                (LayerKind::WeightConfig, 11, 8),
                (LayerKind::Doc, 12, 7),
                (LayerKind::Code, 13, 6),
                (LayerKind::Dataset, 14, 9),
                (LayerKind::Dataset, 15, 9),
            ]
        );
    }

    #[test]
    fn nothing_is_required() {
        assert_eq!(Modelfile::parse("").unwrap(), Modelfile::parse("\n  \n# only a comment").unwrap());
    }

    #[test]
    fn quotes_and_backslashes() {
        assert_eq!(name("NAME \"tiny  llama\""), "tiny  llama");
        assert_eq!(name("NAME a\" b \"c"), "a b c");
        assert_eq!(name(r"NAME a\ b"), "a b");
        assert_eq!(name(r#"NAME "say \"hi\" \\""#), r#"say "hi" \"#);
        assert_eq!(name("NAME it's"), "it's");
        assert_eq!(name("NAME \"a\tb\""), "a\tb");
        assert_eq!(name("NAME a#b"), "a#b");
        assert_eq!(name("NAME #1"), "#1");
        assert_eq!(name("NAME 模型"), "模型");
    }

    #[test]
    fn a_line_may_have_any_length() {
        let long = "x".repeat(200_000);
        let modelfile = Modelfile::parse(&format!("NAME {long}\nFAMILY f")).unwrap();
        assert_eq!((modelfile.name, modelfile.family.as_deref()), (Some(long), Some("f")));
    }

    #[test]
    fn errors_say_where_and_what_was_expected() {
        let commands = "CONFIG, MODEL, CODE, DATASET, DOC, NAME, ARCH, FAMILY, FORMAT, PARAMSIZE, PRECISION, QUANTIZATION";
        let expected = [
            ("NAME a\n\n  FOO bar", 3, 3, &*format!("unknown command \"FOO\"; expected one of {commands}")),
            ("MODELS x", 1, 1, &*format!("unknown command \"MODELS\"; expected one of {commands}")),
            ("MODEL", 1, 6, "expected an argument after MODEL"),
            ("  model  ", 1, 8, "expected an argument after MODEL"),
            ("MODEL\tx", 1, 6, "expected a space after MODEL, found '\\t'"),
            ("MODEL a.bin b.bin", 1, 13, "expected one argument, found a second; put quotes around an argument with white space"),
            ("MODEL a\tb", 1, 9, "expected one argument, found a second; put quotes around an argument with white space"),
            ("MODEL a.bin # weights", 1, 13, "expected the end of the line, found a comment; a comment stands on a line of its own"),
            ("NAME \"\"", 1, 6, "the argument is empty"),
            ("DOC é\"a b", 1, 6, "the quote is not closed"),
            ("DOC \"a\"\"b", 1, 8, "the quote is not closed"),
            ("DOC a\\", 1, 6, "expected a character after `\\`"),
            ("NAME a\nDOC x\nname b", 3, 1, "NAME stands on line 1 already, and may stand only once"),
            ("MODEL /etc/passwd", 1, 7, "the path is absolute; expected one below the model's directory"),
            ("MODEL a/../../b", 1, 7, "the path contains `..`; expected one below the model's directory"),
            ("MODEL \\..", 1, 7, "the path contains `..`; expected one below the model's directory"),
            ("MODEL a\\\\b", 1, 7, "the path contains a backslash; directories are separated by `/`"),
        ];
        for (text, line, column, message) in expected {
            assert_eq!(refused(text), (line, column, message.to_owned()), "{text:?}");
        }
        let error = Modelfile::parse("#\n# é\nMODEL \"\"").unwrap_err();
        assert_eq!(error.to_string(), "line 3, column 7: the argument is empty");
    }

    #[test]
    fn a_file_that_is_no_text_is_refused_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("Modelfile");
        std::fs::write(&path, b"NAME a\nDOC \xc3\xa9\xff\n").unwrap();
        let error = Modelfile::read(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("{}, line 2, column 6: the text is not UTF-8", path.display()));
        let huge = File::create(&path).unwrap();
        huge.set_len(MAX_BYTES + 1).unwrap();
        assert!(Modelfile::read(&path).unwrap_err().to_string().contains("no Modelfile"));
        let missing = Modelfile::read(&directory.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }
}
