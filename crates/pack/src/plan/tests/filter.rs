//! The effects of includes, excludes and ignore files on a directory.

use super::*;
use crate::Patterns;
use proptest::{collection, prelude::*};
use std::os::unix::fs::symlink;

fn filter(include: &[&str], exclude: &[&str], only_included: bool) -> FileFilter {
    FileFilter {
        include: Patterns::new("--include", include).unwrap(),
        exclude: Patterns::new("--exclude", exclude).unwrap(),
        only_included,
    }
}

fn kept(directory: &TempDir, filter: &FileFilter) -> Vec<String> {
    let plan = plan(directory.path(), None, filter).unwrap_or_else(|e| panic!("{e}"));
    paths(&plan).into_iter().map(str::to_owned).collect()
}

fn only(directory: &TempDir, include: &[&str], exclude: &[&str]) -> Vec<String> {
    kept(directory, &filter(include, exclude, true))
}

fn also(directory: &TempDir, include: &[&str], exclude: &[&str]) -> Vec<String> {
    kept(directory, &filter(include, exclude, false))
}

fn ignore(directory: &TempDir, path: &str, text: &str) {
    fs::write(directory.path().join(path), text).unwrap();
}

fn modelfile(text: &str) -> Modelfile {
    Modelfile::parse(text).unwrap()
}

#[test]
fn an_ignore_file_excludes_files_and_is_not_packed() {
    let directory = tree(&["a.bin", "b.txt", "logs/x.txt", "sub/logs/keep.txt", "sub/a.bin"]);
    ignore(&directory, ".modelpackignore", "# not for others\r\n*.txt\r\n!keep.txt\r\n/logs/\r\n");
    assert_eq!(planned(directory.path()), ["a.bin", "sub/a.bin", "sub/logs/keep.txt"]);
    let everything = modelfile("CODE *\nCODE **/*");
    let plan = plan(directory.path(), Some(&everything), &FileFilter::default()).unwrap();
    assert_eq!(paths(&plan), ["a.bin", "sub/a.bin", "sub/logs/keep.txt"]);
}

#[test]
fn the_nearest_ignore_file_with_a_matching_pattern_decides() {
    let directory = tree(&["a.txt", "sub/a.txt", "sub/b.txt", "sub/deep/b.txt", "other/b.txt"]);
    ignore(&directory, ".modelpackignore", "a.txt\n");
    ignore(&directory, "sub/.modelpackignore", "!a.txt\n/b.txt\n");
    assert_eq!(planned(directory.path()), ["other/b.txt", "sub/a.txt", "sub/deep/b.txt"]);
}

#[test]
fn a_file_that_a_modelfile_names_must_not_be_ignored() {
    let directory = tree(&["a.bin", "d/x", "e/f/y"]);
    ignore(&directory, ".modelpackignore", "*.bin\n/d/\ne/f/\n");
    for (text, path, rule) in [("MODEL a.bin", "a.bin", ":1 \"*.bin\""), ("CODE d", "d", ":2"), ("CODE e/f/y", "e/f/y", ":3")] {
        let message = plan(directory.path(), Some(&modelfile(text)), &FileFilter::default()).unwrap_err().to_string();
        let ignored = directory.path().join(".modelpackignore");
        assert!(message.contains(&format!("{path:?} is left out by {}{rule}", ignored.display())), "{message}");
        let excluded = filter(&[], &[path.trim_end_matches("/f/y")], false);
        assert!(
            matches!(plan(directory.path(), Some(&modelfile(text)), &excluded), Err(Error::Empty { .. })),
            "an explicit exclude is not an error"
        );
    }
}

#[test]
fn an_invalid_ignore_file_is_refused() {
    let directory = tree(&["sub/a"]);
    ignore(&directory, "sub/.modelpackignore", "ok\n[z-a]\n");
    let message = refused(directory.path()).to_string();
    assert!(message.contains("sub/.modelpackignore:2 \"[z-a]\": invalid range"), "{message}");
    fs::write(directory.path().join("sub/.modelpackignore"), b"\xff").unwrap();
    assert!(refused(directory.path()).to_string().contains("not UTF-8"));
    fs::remove_file(directory.path().join("sub/.modelpackignore")).unwrap();
    fs::create_dir(directory.path().join("sub/.modelpackignore")).unwrap();
    assert!(matches!(refused(directory.path()), Error::NotAFile { .. }));
}

#[test]
fn only_included_files_are_packed_and_excludes_override_includes() {
    let directory = tree(&["a.json", "b.bin", "d/c.json", "d/e.txt", ".hidden.json", ".git/x.json"]);
    assert_eq!(only(&directory, &["*.json"], &[]), [".hidden.json", "a.json", "d/c.json"]);
    assert_eq!(only(&directory, &["*.json"], &["d/"]), [".hidden.json", "a.json"]);
    assert_eq!(only(&directory, &["/*.json", "!.*"], &[]), ["a.json"]);
    assert_eq!(only(&directory, &["d/"], &[]), ["d/c.json", "d/e.txt"]);
    assert_eq!(only(&directory, &[], &["*.json"]), ["b.bin", "d/e.txt"]);
    let config = modelfile("CONFIG a.json\nCODE **/*.txt");
    let plan = plan(directory.path(), Some(&config), &filter(&["*.txt"], &[], true)).unwrap();
    assert_eq!(paths(&plan), ["d/e.txt"], "files of a Modelfile are excluded like others");
}

#[test]
fn an_include_overrides_default_exclusions_that_it_names() {
    let directory = tree(&["a", ".env", ".github/w/x.yml", "src/.venv/x.py", "src/x.py", "src/x.pyc", "__pycache__/x.pyc", "d/Thumbs.db"]);
    ignore(&directory, ".modelpackignore", "src/\n");
    assert_eq!(only(&directory, &["*.py", ".github/w/*", ".e*"], &[]), [".github/w/x.yml", ".env", "src/x.py"]);
    assert_eq!(only(&directory, &["*"], &[]), ["a", "src/x.py"]);
    assert_eq!(only(&directory, &["src/", "d/"], &[]), ["src/x.py"]);
    assert_eq!(only(&directory, &["*.pyc"], &[]), ["src/x.pyc"]);
    assert_eq!(only(&directory, &["__pycache__/*.pyc"], &[]), ["__pycache__/x.pyc"]);
}

#[test]
fn an_include_may_also_add_files() {
    let directory = tree(&["a", "b.txt", ".env", ".github/w/x.yml", ".github/y", "logs/x.txt", "logs/y.log"]);
    ignore(&directory, ".modelpackignore", "logs/\nb.txt\n");
    assert_eq!(also(&directory, &[], &[]), ["a"]);
    assert_eq!(also(&directory, &[".env", ".github/w/"], &[]), [".github/w/x.yml", ".env", "a"]);
    assert_eq!(also(&directory, &["*.log", "logs/"], &[]), ["a"], "ignored files stay excluded");
    assert_eq!(also(&directory, &[".github/", ".env"], &["w/", ".env"]), ["a", ".github/y"]);
}

#[test]
fn excluded_directories_are_not_searched() {
    let directory = tree(&["a.json", "secret/x.json", "ignored/x", "d/x.json"]);
    ignore(&directory, ".modelpackignore", "ignored\n");
    symlink("nowhere", directory.path().join("dangling")).unwrap();
    symlink("/", directory.path().join("out")).unwrap();
    for name in ["secret", "ignored"] {
        fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    without_privileges(|| {
        assert_eq!(only(&directory, &[], &["secret", "dangling", "/out"]), ["a.json", "d/x.json"]);
        assert_eq!(
            only(&directory, &["/a.json", "/d/x.json"], &[]),
            ["a.json", "d/x.json"],
            "the other directories cannot contain included files"
        );
        assert!(
            plan(directory.path(), None, &filter(&["x.json"], &["dangling", "/out"], true)).is_err(),
            "the file could be in any directory"
        );
    });
}

#[test]
fn an_empty_plan_is_reported_with_its_patterns() {
    let directory = tree(&["a.txt"]);
    ignore(&directory, ".modelpackignore", "*.txt\n*.unused\n");
    let Error::Empty { rules, .. } = refused(directory.path()) else { panic!() };
    assert_eq!(rules, [format!("{} \"*.txt\"", directory.path().join(".modelpackignore:1").display())]);
    let error = plan(directory.path(), None, &filter(&["*.bin"], &["x"], true)).unwrap_err();
    assert!(matches!(error, Error::Empty { rules, .. } if rules == ["--include \"*.bin\"", "--exclude \"x\""]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_walk_selects_the_same_files_as_the_patterns_one_by_one(
        files in collection::btree_set("([ab]{1,2}d/){0,3}[ab]{1,2}f", 1..10),
        include in collection::vec("!?/?[ab*?]{1,3}[df]?(/[ab*]{1,2}f?){0,2}/?", 0..3),
        exclude in collection::vec("!?/?[ab*?]{1,3}[df]?(/[ab*]{1,2}f?){0,2}/?", 0..3),
        ignored in collection::vec("!?/?[ab*?]{1,3}[df]?(/[ab*]{1,2}f?){0,2}/?", 0..3),
    ) {
        let directory = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
        ignore(&directory, ".modelpackignore", &ignored.join("\n"));
        let ignored = Patterns::parse("ignored", &ignored.join("\n")).unwrap();
        let (include, exclude) = (Patterns::new("include", include).unwrap(), Patterns::new("exclude", exclude).unwrap());
        let takes = |file: &&String| {
            let path = Path::new(file.as_str());
            let included = if include.is_empty() { ignored.excludes(path, false).is_none() } else { include.includes(path, false) };
            included && exclude.excludes(path, false).is_none()
        };
        let expected: Vec<String> = files.iter().filter(takes).cloned().collect();
        let filter = FileFilter { include: include.clone(), exclude: exclude.clone(), only_included: true };
        let mut found = match plan(directory.path(), None, &filter) {
            Ok(plan) => paths(&plan).into_iter().map(str::to_owned).collect(),
            Err(Error::Empty { .. }) => Vec::new(),
            Err(error) => panic!("{error}"),
        };
        found.sort();
        prop_assert_eq!(found, expected);
    }
}
