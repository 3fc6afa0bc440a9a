//! The Modelfile: the files of a model, their kinds, and metadata.

mod error;
mod kitfile;
mod line;
mod pattern;
mod write;

use crate::{Error, Field, Metadata, Result, classify, plan::open_in};
use modelpack_spec::{FilePath, LayerKind};
use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use error::Place;
pub use error::{ModelfileError, ModelfileProblem};
use line::{Line, lines};
pub(crate) use pattern::{Component, Glob, Pattern};
pub use write::generate;

/// A larger file is not a Modelfile, but for example a weight file given by mistake.
const MAX_BYTES: u64 = 64 << 20;
/// How many characters of an unknown command are shown.
const MAX_COMMAND: usize = 40;

/// The content of a Modelfile: the files of a model, their kinds, and metadata.
///
/// ```text
/// # A comment is a line of its own.
/// NAME "tiny llama"
/// MODEL *.safetensors
/// CODE src/**/*.py
/// ```
///
/// A line is a command, a space, and exactly one argument. Commands are case-insensitive; white
/// space around a line is ignored. In an argument, double quotes keep white space together, and `\`
/// makes the next character literal, including a line break.
///
/// `CONFIG`, `MODEL`, `CODE`, `DATASET` and `DOC` name files by a path below the directory and may
/// be repeated. In each component of a path, `*` matches any characters, `?` one character, `[a-z]`
/// a character of a class, and `[^a-z]` or `[!a-z]` a character outside it. A component `**`
/// matches any number of directories. [`plan`](crate::plan) describes which files a path selects.
///
/// All other commands give metadata: `NAME`, `ARCH`, `FAMILY`, `FORMAT`, `PARAMSIZE`, `PRECISION`,
/// `QUANTIZATION` as in modctl; `VENDOR`, `VERSION`, `TITLE`, `DESCRIPTION`, `DOCURL`, `SOURCEURL`,
/// `REVISION`, `CREATEDAT`, `KNOWLEDGECUTOFF`, `TOOLUSAGE`, `REASONING`, `REWARD`, each at most
/// once; `AUTHOR`, `LICENSE`, `DATASETURL`, `LANGUAGE`, `INPUT`, `OUTPUT` and `ANNOTATION
/// KEY=VALUE`, which may be repeated. All are optional.
///
/// A Kitfile of KitOps is read like a Modelfile with the same meaning: see
/// [`parse_kitfile`](Self::parse_kitfile).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modelfile {
    path: PathBuf,
    files: Vec<FileCommand>,
    metadata: Metadata,
    is_kitfile: bool,
}

/// A command that names files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileCommand {
    pub(crate) kind: Kind,
    /// If several commands name a file, the one with the greatest depth wins, and among equal
    /// depths the first kind. In a Modelfile only kinds decide; in a Kitfile the path with the most
    /// components wins.
    pub(crate) depth: usize,
    pub(crate) pattern: Pattern,
    /// The position of the command.
    place: Place,
}

/// The kinds of the files of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All files have this kind.
    Fixed(LayerKind),
    /// The file that the command names has this kind. If the command names a directory, the kinds
    /// of the files below it are inferred from their names, with weights as the default.
    Model(LayerKind),
}

impl FileCommand {
    /// The kind that decides among commands of the same depth.
    pub(crate) fn layer_kind(&self) -> LayerKind {
        let (Kind::Fixed(kind) | Kind::Model(kind)) = self.kind;
        kind
    }

    /// The kind of a file of this command, and whether it was inferred from the file's name.
    pub(crate) fn kind_of(&self, path: &FilePath, size: u64) -> (LayerKind, bool) {
        match self.kind {
            Kind::Fixed(kind) => (kind, false),
            Kind::Model(kind) if path.components().count() == self.depth => (kind, false),
            Kind::Model(_) => {
                let (kind, is_known) = classify(path, size);
                (if is_known { kind } else { LayerKind::Weight }, true)
            }
        }
    }
}

/// The action of a command. A new command is a new row of [`COMMANDS`].
#[derive(Clone, Copy)]
enum Command {
    Files(LayerKind),
    Value(Field),
    Annotation,
}

const COMMANDS: [(&str, Command); 31] = [
    ("CONFIG", Command::Files(LayerKind::WeightConfig)),
    ("MODEL", Command::Files(LayerKind::Weight)),
    ("CODE", Command::Files(LayerKind::Code)),
    ("DATASET", Command::Files(LayerKind::Dataset)),
    ("DOC", Command::Files(LayerKind::Doc)),
    ("NAME", Command::Value(Field::NAME)),
    ("ARCH", Command::Value(Field::ARCHITECTURE)),
    ("FAMILY", Command::Value(Field::FAMILY)),
    ("FORMAT", Command::Value(Field::FORMAT)),
    ("PARAMSIZE", Command::Value(Field::PARAM_SIZE)),
    ("PRECISION", Command::Value(Field::PRECISION)),
    ("QUANTIZATION", Command::Value(Field::QUANTIZATION)),
    ("AUTHOR", Command::Value(Field::AUTHORS)),
    ("VENDOR", Command::Value(Field::VENDOR)),
    ("VERSION", Command::Value(Field::VERSION)),
    ("LICENSE", Command::Value(Field::LICENSES)),
    ("TITLE", Command::Value(Field::TITLE)),
    ("DESCRIPTION", Command::Value(Field::DESCRIPTION)),
    ("DOCURL", Command::Value(Field::DOC_URL)),
    ("SOURCEURL", Command::Value(Field::SOURCE_URL)),
    ("DATASETURL", Command::Value(Field::DATASETS)),
    ("REVISION", Command::Value(Field::REVISION)),
    ("CREATEDAT", Command::Value(Field::CREATED_AT)),
    ("LANGUAGE", Command::Value(Field::LANGUAGES)),
    ("INPUT", Command::Value(Field::INPUT_TYPES)),
    ("OUTPUT", Command::Value(Field::OUTPUT_TYPES)),
    ("TOOLUSAGE", Command::Value(Field::TOOL_USAGE)),
    ("REASONING", Command::Value(Field::REASONING)),
    ("REWARD", Command::Value(Field::REWARD)),
    ("KNOWLEDGECUTOFF", Command::Value(Field::KNOWLEDGE_CUTOFF)),
    ("ANNOTATION", Command::Annotation),
];

impl Modelfile {
    /// Reads the file `path`, a Modelfile or a Kitfile. Errors contain this path. The user gave it,
    /// so it may be anywhere. This call blocks.
    ///
    /// A Kitfile is recognised by a name that begins with `Kitfile`, or by a first line that begins
    /// with one of its sections.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_file(File::open(path).map_err(modelpack_transfer::Error::io("open", path))?, path)
    }

    /// Reads the file `name` in `directory`. This call blocks.
    ///
    /// The file is trusted no more than the files that it names, and errors show its lines. So a
    /// link out of the directory is refused, and so are special files.
    pub fn read_in(directory: &Path, name: &str) -> Result<Self> {
        let path = directory.join(name);
        Self::read_file(open_in(directory, name, &path)?, &path)
    }

    fn read_file(file: File, path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(modelpack_transfer::Error::io("read", path))?;
        if bytes.len() as u64 > MAX_BYTES {
            let why = format!("it has more than {MAX_BYTES} bytes, so it is not a Modelfile");
            return Err(Error::RulesFile { path: path.to_owned(), why });
        }
        // A byte order mark is not part of the first line.
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
        let parsed = match str::from_utf8(bytes) {
            Ok(text) if kitfile::is_kitfile(path, text) => kitfile::parse(text, path),
            Ok(text) => Self::parse_named(text, path),
            Err(e) => Err(ModelfileError::not_utf8(bytes, e.valid_up_to())),
        };
        parsed.map_err(|source| Error::Modelfile { path: path.to_owned(), source })
    }

    /// Parses the text of a Modelfile.
    pub fn parse(text: &str) -> Result<Self, ModelfileError> {
        Self::parse_named(text, Path::new("Modelfile"))
    }

    /// Parses the text of a Kitfile, KitOps' YAML format with the content of a Modelfile.
    ///
    /// `model`, `parts`, `code`, `datasets`, `docs`, `prompts` and `mcpServers` name files or
    /// directories, without wildcards. If two entries name a file, the longer path wins. A part is
    /// a weight, unless its `type` or name shows that it is a config. The kinds of files below a
    /// directory of the model are inferred from their names. Prompts and servers are code. Values
    /// of `package` override those of `model`. The licences of all sections apply to the artifact;
    /// `model.framework` and `model.parameters` become annotations of the manifest. Names and
    /// descriptions of single files are dropped, because an artifact has no place for them.
    ///
    /// Refused are unknown fields, absolute and repeated paths, `..`, a base model that is another
    /// ModelKit, and remote data sets.
    pub fn parse_kitfile(text: &str) -> Result<Self, ModelfileError> {
        kitfile::parse(text, Path::new("Kitfile"))
    }

    fn parse_named(text: &str, path: &Path) -> Result<Self, ModelfileError> {
        let mut modelfile = Self { path: path.to_owned(), ..Self::default() };
        let path_name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut given: HashMap<&str, usize> = HashMap::new();
        for (number, text) in lines(text) {
            let Some(line) = Line::parse(number, text)? else { continue };
            let Some((name, command)) = COMMANDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(line.command)) else {
                let command = line.command.chars().take(MAX_COMMAND).collect();
                return Err(line.error(line.command_column, ModelfileProblem::UnknownCommand { command }));
            };
            let argument = line.argument(name)?;
            match command {
                Command::Files(kind) => {
                    let pattern = Pattern::new(&argument.characters).map_err(|problem| line.error(argument.column, problem))?;
                    modelfile.files.push(FileCommand { kind: Kind::Fixed(*kind), depth: 0, pattern, place: line.place(argument.column) });
                }
                Command::Value(field) => {
                    if let (false, Some(first)) = (field.is_list, given.insert(name, line.number)) {
                        return Err(line.error(line.command_column, ModelfileProblem::Repeated { command: name, first }));
                    }
                    let result = modelfile.metadata.say(*field, &argument.text(), &format!("{path_name}:{}", line.number));
                    result.map_err(|invalid| line.error(argument.column, ModelfileProblem::Value(invalid)))?;
                }
                Command::Annotation => {
                    let result = modelfile.metadata.annotate(&argument.text(), &format!("{path_name}:{}", line.number));
                    result.map_err(|invalid| line.error(argument.column, ModelfileProblem::Value(invalid)))?;
                }
            }
        }
        Ok(modelfile)
    }

    /// The metadata, each value with its line.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Whether it was read from a Kitfile.
    pub(crate) fn is_kitfile(&self) -> bool {
        self.is_kitfile
    }

    /// The commands that name files, in their order.
    pub(crate) fn files(&self) -> &[FileCommand] {
        &self.files
    }

    /// An error with `problem` at the argument of `command`.
    pub(crate) fn error(&self, command: &FileCommand, problem: ModelfileProblem) -> Error {
        Error::Modelfile { path: self.path.clone(), source: command.place.clone().error(problem) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The error for an invalid text: line, column and message.
    fn refused(text: &str) -> (usize, usize, String) {
        let error = Modelfile::parse(text).expect_err(text);
        assert_eq!(error.text, text.lines().nth(error.line - 1).unwrap());
        (error.line, error.column, error.problem.to_string())
    }

    fn value_of(modelfile: &Modelfile, field: Field) -> Option<&serde_json::Value> {
        modelfile.metadata.get(field)
    }

    fn name(text: &str) -> String {
        let modelfile = Modelfile::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        value_of(&modelfile, Field::NAME).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn every_command_is_parsed() {
        let text = "\n# comment FOO\n  NAME tiny\r\narch transformer\nFamily llama\nFORMAT safetensors\nPARAMSIZE 7.5K\n\
                    PRECISION float16\nQUANTIZATION awq\n\tMODEL *.bin \t\nCONFIG *.json\nDOC   README.md\nCODE a\nDATASET d\nDATASET d";
        let modelfile = Modelfile::parse(text).unwrap();
        let values = [
            (Field::NAME, "tiny"),
            (Field::ARCHITECTURE, "transformer"),
            (Field::FAMILY, "llama"),
            (Field::FORMAT, "safetensors"),
            (Field::PARAM_SIZE, "7.5K"),
            (Field::PRECISION, "float16"),
            (Field::QUANTIZATION, "awq"),
        ];
        for (field, expected) in values {
            assert_eq!(value_of(&modelfile, field).unwrap(), expected);
        }
        let kinds: Vec<_> = modelfile.files.iter().map(|f| (f.layer_kind(), f.place.line, f.place.column)).collect();
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
    fn commands_beyond_modctls_are_parsed() {
        let text = "AUTHOR \"A. <a@example.com>\"\nAUTHOR B\nVENDOR v\nVERSION 3.1\nLICENSE apache-2.0\nTITLE \"A title\"\nDESCRIPTION d\n\
                    DOCURL https://d\nSOURCEURL https://s\nDATASETURL https://one\nDATASETURL https://two\nREVISION abc\n\
                    CREATEDAT 2025-01-31\nLANGUAGE en\nlanguage zh\nINPUT text\nINPUT image\nOUTPUT text\nTOOLUSAGE true\n\
                    REASONING false\nREWARD FALSE\nKNOWLEDGECUTOFF 2024-05-21T00:00:00Z\nPRECISION bf16\nANNOTATION org.example.a=b=c";
        let modelfile = Modelfile::parse(text).unwrap();
        let description = crate::Description::of([modelfile.metadata.clone()]);
        let config = serde_json::json!({ "descriptor": description.descriptor, "config": description.config });
        assert_eq!(
            config,
            serde_json::json!({
                "descriptor": {
                    "createdAt": "2025-01-31T00:00:00Z", "authors": ["A. <a@example.com>", "B"], "vendor": "v", "version": "3.1",
                    "title": "A title", "description": "d", "docURL": "https://d", "sourceURL": "https://s",
                    "datasetsURL": ["https://one", "https://two"], "revision": "abc", "licenses": ["Apache-2.0"],
                },
                "config": {
                    "precision": "bfloat16",
                    "capabilities": {
                        "inputTypes": ["text", "image"], "outputTypes": ["text"], "knowledgeCutoff": "2024-05-21T00:00:00Z",
                        "reasoning": false, "toolUsage": true, "reward": false, "languages": ["en", "zh"],
                    },
                },
            })
        );
        assert_eq!(description.annotations["org.example.a"], "b=c");
        let authors = description.findings.iter().find(|finding| finding.field == Field::AUTHORS.name).unwrap();
        assert_eq!(authors.source, "Modelfile:1, Modelfile:2");
    }

    #[test]
    fn invalid_values_are_refused_with_their_position() {
        for (text, column, words) in [
            ("PRECISION int4", 11, "config.precision"),
            ("PARAMSIZE  8x7B", 12, "6.7B"),
            ("LANGUAGE english", 10, "two-letter"),
            ("INPUT smell", 7, "video"),
            ("REWARD maybe", 8, "`true` or `false`"),
            ("ANNOTATION org.cncf.model.filepath=x", 12, "KEY=VALUE"),
        ] {
            let (_, found, message) = refused(text);
            assert_eq!(found, column, "{text}");
            assert!(message.contains(words), "{message}");
        }
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
        assert_eq!(name("NAME \"a\\\nb\"\nDOC x"), "a\nb");
        assert_eq!(name("# ends here \\\nNAME a\\\n\\\nb\\\\\nDOC x"), "a\n\nb\\");
    }

    #[test]
    fn inputs_of_modctls_tests_are_accepted_and_refused_alike() {
        for text in [
            "\n# This is a comment\nMODEL model1\nNAME foo\n",
            "\n# This is a comment\n",
            "\n\nMODEL model1\n",
            "  # indented comment",
            "CONFIG        config1\nMODEL\u{20}        model1\nCODE code1\nCODE code1\nDATASET dataset1\nDOC doc1\n\t\t",
            "CONFIG \"nested dir/config.json\"",
            "NAME \"model \\\"v2\\\"\"\nARCH arch1\nFAMILY family1\nFORMAT onnx\nPRECISION bf16\nQUANTIZATION awq",
        ] {
            assert!(Modelfile::parse(text).is_ok(), "{text:?}");
        }
        for text in [
            "# c\nINVALID command",
            "invalid",
            "MODEL",
            "MODEL \"unclosed",
            "NAME \"\"",
            "NAME foo\nNAME bar",
            "DOC README.md \"user guide.pdf\"",
        ] {
            assert!(Modelfile::parse(text).is_err(), "{text:?}");
        }
        // modctl accepts these, but a config or an artifact cannot contain them.
        for text in ["PARAMSIZE 100", "PRECISION precision1", "MODEL /etc/passwd", "MODEL ../x"] {
            assert!(Modelfile::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_line_may_have_any_length() {
        let long = "x".repeat(200_000);
        let modelfile = Modelfile::parse(&format!("NAME {long}\nFAMILY f")).unwrap();
        assert_eq!(value_of(&modelfile, Field::NAME).unwrap(), &long);
        assert_eq!(value_of(&modelfile, Field::FAMILY).unwrap(), "f");
    }

    #[test]
    fn errors_have_a_position_and_the_expected_content() {
        let commands = COMMANDS.map(|(name, _)| name).join(", ");
        let expected = [
            ("NAME a\n\n  FOO bar", 3, 3, &*format!("unknown command \"FOO\"; expected one of {commands}")),
            ("MODELS x", 1, 1, &*format!("unknown command \"MODELS\"; expected one of {commands}")),
            ("MODEL", 1, 6, "expected an argument after MODEL"),
            ("  model  ", 1, 8, "expected an argument after MODEL"),
            ("MODEL\tx", 1, 6, "expected a space after MODEL, found '\\t'"),
            ("MODEL a.bin b.bin", 1, 13, "expected one argument, found a second; put quotes around an argument with white space"),
            ("MODEL a\tb", 1, 9, "expected one argument, found a second; put quotes around an argument with white space"),
            ("MODEL a.bin # weights", 1, 13, "expected the end of the line, found a comment; a comment must be on a separate line"),
            ("NAME \"\"", 1, 6, "the argument is empty"),
            ("DOC é\"a b", 1, 6, "the quote is not closed"),
            ("DOC \"a\"\"b", 1, 8, "the quote is not closed"),
            ("DOC a\\", 1, 6, "expected a character after `\\`"),
            ("DOC a\\\n", 1, 6, "expected a character after `\\`"),
            ("DOC a\\\r\nDOC b", 1, 6, "expected a character after `\\`"),
            ("DOC \"a\\\nb\" c", 2, 4, "expected one argument, found a second; put quotes around an argument with white space"),
            ("DOC a\\\nb\nFOO x", 3, 1, &*format!("unknown command \"FOO\"; expected one of {commands}")),
            ("NAME a\nDOC x\nname b", 3, 1, "NAME was already given on line 1, and may be given only once"),
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
    fn a_byte_order_mark_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pack");
        for text in [
            "NAME tiny\r\nMODEL a\r\n",
            "package: {name: tiny}\nmodel: {path: a}\n",
            "{\"package\": {\"name\": \"tiny\"}}",
            "%YAML 1.2\n---\npackage: {name: tiny}",
        ] {
            fs::write(&path, format!("\u{feff}{text}")).unwrap();
            let modelfile = Modelfile::read(&path).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(value_of(&modelfile, Field::NAME).unwrap(), "tiny");
        }
    }

    #[test]
    fn a_file_that_is_not_text_is_refused_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("Modelfile");
        fs::write(&path, b"NAME a\nDOC \xc3\xa9\xff\n").unwrap();
        let error = Modelfile::read(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("{}, line 2, column 6: the text is not UTF-8", path.display()));
        let huge = File::create(&path).unwrap();
        huge.set_len(MAX_BYTES + 1).unwrap();
        assert!(Modelfile::read(&path).unwrap_err().to_string().contains("not a Modelfile"));
        fs::write(&path, "package:\n  name: [x]\n").unwrap();
        let kitfile = Modelfile::read(&path).unwrap_err();
        assert!(kitfile.to_string().starts_with(&format!("{}, line 2, column 9: ", path.display())), "{kitfile}");
        let missing = Modelfile::read(&directory.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }
}
