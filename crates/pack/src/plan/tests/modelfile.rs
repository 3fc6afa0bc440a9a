//! Plans with a Modelfile.

use super::*;
use std::os::unix::fs::symlink;

fn try_with(directory: &TempDir, text: &str) -> Result<Plan> {
    plan(directory.path(), Some(&Modelfile::parse(text).unwrap_or_else(|e| panic!("{e}"))), &FileFilter::default())
}

/// The plan as `kind path` lines.
fn with(directory: &TempDir, text: &str) -> Vec<String> {
    let plan = try_with(directory, text).unwrap_or_else(|e| panic!("{text}: {e}"));
    plan.files.iter().map(|f| format!("{} {}", f.kind.name(), f.path)).collect()
}

/// Line, column and message of an error.
fn refused_with(directory: &TempDir, text: &str) -> (usize, usize, String) {
    match try_with(directory, text).expect_err(text) {
        Error::Modelfile { source: e, .. } => (e.line, e.column, e.problem.to_string()),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn only_named_files_are_planned_with_the_given_kinds() {
    let directory = tree(&["config.json", "train.json", "model.bin", "notes.txt", "src/run.py"]);
    let plan = try_with(&directory, "NAME x\nDATASET train.json\nDOC *.bin\nCODE src/run.py").unwrap();
    let files: Vec<_> = plan.files.iter().map(|f| (f.path.as_str(), f.kind, f.inferred)).collect();
    assert_eq!(files, [("src/run.py", Code, false), ("train.json", Dataset, false), ("model.bin", Doc, false)]);
}

#[test]
fn a_modelfile_without_file_commands_leaves_the_kinds_to_the_names() {
    let directory = tree(&["model.bin", ".hidden", "Modelfile"]);
    assert_eq!(with(&directory, "NAME x"), ["weight model.bin"]);
    assert!(try_with(&directory, "NAME x").unwrap().files[0].inferred);
}

#[test]
fn the_first_kind_that_names_a_file_wins() {
    let directory = tree(&["a.json", "b.json"]);
    let expected = ["weight.config a.json", "weight b.json"];
    assert_eq!(with(&directory, "DOC *\nDATASET *.json\nCODE a.json\nMODEL ?.json\nMODEL b.json\nCONFIG a.*"), expected);
}

#[test]
fn wildcards_stay_in_their_directory() {
    let directory = tree(&["a.py", "src/b.py", "src/x/c.py", "lib/d.py"]);
    assert_eq!(with(&directory, "CODE *.py"), ["code a.py"]);
    assert_eq!(with(&directory, "CODE */*.py"), ["code lib/d.py", "code src/b.py"]);
    assert_eq!(with(&directory, "CODE s[r]c/?.py"), ["code src/b.py"]);
    assert_eq!(with(&directory, "CODE **/*.py"), ["code a.py", "code lib/d.py", "code src/b.py", "code src/x/c.py"]);
    assert_eq!(with(&directory, "CODE src/**/*.py"), ["code src/b.py", "code src/x/c.py"]);
    assert_eq!(with(&directory, "CODE **/x/**"), ["code src/x/c.py"]);
    assert_eq!(with(&directory, "CODE */x"), ["code src/x/c.py"]);
    assert_eq!(with(&directory, "CODE [sl]*/"), ["code lib/d.py", "code src/b.py", "code src/x/c.py"]);
}

#[test]
fn a_directory_selects_all_files_below() {
    let directory = tree(&["w/a.bin", "w/x/b.bin", "w/.git/config", "w/.env", "w/x.pyc", "other"]);
    for text in ["MODEL w", "MODEL ./w/", "MODEL w/**", "MODEL **/w/"] {
        assert_eq!(with(&directory, text), ["weight w/a.bin", "weight w/x/b.bin"], "{text}");
    }
    assert_eq!(with(&directory, "MODEL ."), ["weight other", "weight w/a.bin", "weight w/x/b.bin"]);
}

#[test]
fn wildcards_match_hidden_files_but_not_default_exclusions() {
    let directory = tree(&["a.json", ".b.json", "._a.json", ".git/c.json", ".hid/c.json", ".cache/d.json", "x.pyc", "Modelfile"]);
    assert_eq!(with(&directory, "CONFIG *.json"), ["weight.config .b.json", "weight.config a.json"]);
    assert_eq!(with(&directory, "CONFIG */*.json"), ["weight.config .hid/c.json"]);
    assert_eq!(with(&directory, "CONFIG **/c.json\nDOC a.json"), ["doc a.json"]);
    assert_eq!(with(&directory, "CODE *"), ["code .b.json", "code a.json"]);
}

#[test]
fn files_named_without_wildcards_are_always_planned() {
    let directory = tree(&[".env", ".git/config", "x.pyc", "Modelfile", "a[1].bin", "a1.bin", "b c.bin"]);
    assert_eq!(
        with(&directory, "CODE .env\nCODE .git/config\nCODE x.pyc\nDOC Modelfile"),
        ["code .env", "code x.pyc", "code .git/config", "doc Modelfile"]
    );
    assert_eq!(with(&directory, "CODE .git"), ["code .git/config"]);
    assert_eq!(with(&directory, r"MODEL a\[1\].bin"), ["weight a[1].bin"]);
    assert_eq!(with(&directory, "MODEL a[1].bin"), ["weight a1.bin", "weight a[1].bin"]);
    assert_eq!(with(&directory, "MODEL \"b c.bin\""), ["weight b c.bin"]);
}

#[test]
fn a_path_without_wildcards_must_exist() {
    let directory = tree(&["a.bin", "dir/b.bin"]);
    assert_eq!(refused_with(&directory, "MODEL a.bin\n  DOC none.md"), (2, 7, "\"none.md\" does not exist".to_owned()));
    assert_eq!(refused_with(&directory, "MODEL a.bin/x").2, "\"a.bin/x\" does not exist");
    assert_eq!(refused_with(&directory, "MODEL a.bin/").2, "\"a.bin/\" does not exist");
    assert_eq!(refused_with(&directory, "MODEL dir/B.bin").2, "\"dir/B.bin\" does not exist");
    // A file named twice, an empty directory, and a wildcard without a match are not errors.
    fs::create_dir(directory.path().join("empty")).unwrap();
    assert_eq!(with(&directory, "MODEL a.bin\nDOC a.bin\nDOC empty\nDOC *.md\nDOC none/*"), ["weight a.bin"]);
    assert!(matches!(try_with(&directory, "DOC *.md"), Err(Error::Empty { .. })));
}

#[test]
fn a_wildcard_that_matches_only_directories_is_refused() {
    let directory = tree(&["a.txt", "step-1/a.bin", "step-2/a.bin"]);
    let (line, column, message) = refused_with(&directory, "DOC *\nMODEL step-*");
    assert_eq!((line, column), (2, 7));
    assert_eq!(message, "\"step-*\" matches directories only; to take the files below them, end the pattern with `/`");
    assert_eq!(with(&directory, "DOC *\nMODEL step-*/").len(), 3);
}

#[test]
fn files_that_no_command_names_are_not_checked() {
    let directory = tree(&["a.bin", "sub/b.bin", "A.bin"]);
    symlink("/usr", directory.path().join("usr")).unwrap();
    symlink("nowhere", directory.path().join("dangling")).unwrap();
    symlink(".", directory.path().join("loop")).unwrap();
    write(directory.path(), Path::new(OsStr::from_bytes(b"b\xff")));
    assert_eq!(with(&directory, "MODEL a.*"), ["weight a.bin"]);
    assert_eq!(with(&directory, "MODEL sub"), ["weight sub/b.bin"]);
    assert!(matches!(try_with(&directory, "MODEL usr"), Err(Error::LinkOutside { .. })));
    assert!(matches!(try_with(&directory, "MODEL usr/bin"), Err(Error::LinkOutside { .. })));
    assert!(matches!(try_with(&directory, "MODEL dangling"), Err(Error::LinkDangling { .. })));
    assert!(matches!(try_with(&directory, "MODEL *.bin"), Err(Error::InvalidPath { .. })));
    assert!(matches!(try_with(&directory, "MODEL b*"), Err(Error::NotUtf8 { .. })));
}

#[test]
fn an_error_contains_the_path_of_the_modelfile() {
    let directory = tree(&["a.bin", "packing/my.modelfile"]);
    let path = directory.path().join("packing/my.modelfile");
    fs::write(&path, "MODEL a.bin\nMODEL b.bin\n").unwrap();
    let error = plan(directory.path(), Some(&Modelfile::read(&path).unwrap()), &FileFilter::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("{}, line 2, column 7: \"b.bin\" does not exist", path.display()));
}

/// The plan with a Kitfile, as `kind path` lines, marked if the kind was inferred from the name.
fn with_kitfile(directory: &TempDir, text: &str) -> Vec<String> {
    let kitfile = Modelfile::parse_kitfile(text).unwrap_or_else(|e| panic!("{e}"));
    let plan = plan(directory.path(), Some(&kitfile), &FileFilter::default()).unwrap_or_else(|e| panic!("{text}: {e}"));
    plan.files.iter().map(|f| format!("{} {}{}", f.kind.name(), f.path, if f.inferred { " ?" } else { "" })).collect()
}

#[test]
fn in_a_kitfile_the_longer_path_wins() {
    let directory = tree(&["Kitfile", "m.bin", "src/run.py", "src/docs/how.txt", "README.md", ".hidden"]);
    let kitfile = "docs: [{path: src/docs}]\ncode: [{path: ./src}]\ndatasets: [{path: .}]";
    assert_eq!(with_kitfile(&directory, kitfile), ["code src/run.py", "dataset README.md", "dataset m.bin", "doc src/docs/how.txt"]);
    assert_eq!(with_kitfile(&directory, "package: {name: x}").len(), 4, "a Kitfile without files leaves the kinds to the names");
}

#[test]
fn kinds_below_a_kitfiles_model_are_inferred_from_names() {
    let directory = tree(&["model/a.json", "model/b.safetensors", "model/c.odd", "model/README.md", "x.json", "y.json"]);
    let kitfile = "model: {path: model, parts: [{path: x.json, type: weight}, {path: y.json}]}";
    let expected = [
        "weight.config y.json",
        "weight.config model/a.json ?",
        "weight x.json",
        "weight model/b.safetensors ?",
        "weight model/c.odd ?",
        "doc model/README.md ?",
    ];
    assert_eq!(with_kitfile(&directory, kitfile), expected);
    assert_eq!(with_kitfile(&directory, "model: {path: model/a.json}"), ["weight model/a.json"]);
}

#[test]
fn files_that_a_kitfile_names_must_exist() {
    let directory = tree(&["a*"]);
    let kitfile = Modelfile::parse_kitfile("code:\n  - path: 'a*'\n  - path: none").unwrap();
    match plan(directory.path(), Some(&kitfile), &FileFilter::default()).unwrap_err() {
        Error::Modelfile { source, .. } => {
            assert_eq!((source.line, source.column, source.problem.to_string().as_str()), (3, 11, "\"none\" does not exist"));
        }
        other => panic!("{other:?}"),
    }
}
