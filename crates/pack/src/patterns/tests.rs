//! The rules of gitignore(5), in their order.

use super::*;
use proptest::prelude::*;

fn patterns(text: &str) -> Patterns {
    Patterns::parse("ignore", text).unwrap_or_else(|e| panic!("{e}"))
}

/// Whether the lines exclude the path. A path with a final slash is a directory.
fn excludes(text: &str, path: &str) -> bool {
    patterns(text).excludes(Path::new(path.trim_end_matches('/')), path.ends_with('/')).is_some()
}

#[track_caller]
fn check(text: &str, matched: &[&str], not_matched: &[&str]) {
    matched.iter().for_each(|path| assert!(excludes(text, path), "{text:?} does not match {path:?}"));
    not_matched.iter().for_each(|path| assert!(!excludes(text, path), "{text:?} matches {path:?}"));
}

#[test]
fn a_blank_line_and_a_comment_match_nothing() {
    assert!(patterns("\n  \n\t\n# *\n#\n").is_empty());
    check("a #b", &["a #b"], &["a"]);
    check("\\#a", &["#a"], &["a"]);
}

#[test]
fn spaces_at_the_end_are_ignored_unless_they_are_escaped() {
    check("a  ", &["a"], &["a  "]);
    check("a\\ ", &["a "], &["a"]);
    check(" a", &[" a"], &["a"]);
    check("a b", &["a b"], &["a"]);
}

#[test]
fn line_ends_of_every_system_are_accepted() {
    check("a\r\nb\r\n", &["a", "b"], &["a\r"]);
    check("\u{feff}a\nb", &["a", "b"], &[]);
    check("a", &["a"], &[]);
}

#[test]
fn the_last_matching_pattern_decides_and_an_exclamation_mark_negates() {
    check("*.bin\n!keep.bin", &["a.bin"], &["keep.bin", "d/keep.bin"]);
    check("!keep.bin\n*.bin", &["keep.bin"], &[]);
    check("*.bin\n!keep.bin\nkeep.bin", &["keep.bin"], &[]);
    check("\\!a", &["!a"], &["a"]);
}

#[test]
fn content_of_an_excluded_directory_cannot_be_included_again() {
    check("d/\n!d/keep", &["d/keep"], &[]);
    check("d/*\n!d/keep", &["d/a"], &["d/keep"]);
    check("/*\n!/foo\n/foo/*\n!/foo/bar", &["a", "foo/a", "b/c"], &["foo/bar", "foo/bar/x"]);
}

#[test]
fn a_slash_at_the_beginning_or_in_the_middle_anchors() {
    check("/a", &["a", "a/x"], &["d/a"]);
    check("d/a", &["d/a"], &["e/d/a", "a"]);
    check("/d/a", &["d/a"], &["e/d/a"]);
    check("a", &["a", "d/a", "d/e/a", "a/x"], &["ab", "ba"]);
    check("doc/frotz/", &["doc/frotz/", "doc/frotz/x"], &["a/doc/frotz/"]);
    check("frotz/", &["frotz/", "a/frotz/", "a/frotz/x"], &[]);
}

#[test]
fn a_slash_at_the_end_means_directories_only() {
    check("a/", &["a/", "a/x", "d/a/"], &["a", "d/a"]);
    check("a", &["a", "a/"], &[]);
}

#[test]
fn wildcards_stay_within_a_name() {
    check("*.bin", &["a.bin", ".bin", "d/a.bin"], &["a.bin2"]);
    check("/*.bin", &["a.bin"], &["d/a.bin"]);
    check("foo/*", &["foo/a", "foo/bar/hello.c"], &["foo/"]);
    check("d/*.bin", &["d/a.bin"], &["d/e/a.bin"]);
    check("a?c", &["abc"], &["ac", "abbc"]);
    check("d?a", &["dxa"], &["d/a"]);
    check("[a-c]x", &["ax", "cx"], &["dx", "[a-c]x"]);
    check("[!a-c]x", &["dx"], &["ax"]);
    check("[^a-c]x", &["dx"], &["ax"]);
    check("[]x]", &["]", "x"], &["a"]);
    check("[[:digit:]]x", &["1x"], &["ax"]);
    check("\\*", &["*"], &["a"]);
    check("\\[a]", &["[a]"], &["a"]);
    check("*", &["a", ".hidden", "d/e"], &[]);
}

#[test]
fn two_asterisks_match_directories() {
    check("**/foo", &["foo", "d/foo", "d/e/foo/"], &["xfoo"]);
    check("**/foo/bar", &["foo/bar", "d/foo/bar"], &["bar", "foo/d/bar"]);
    check("abc/**", &["abc/x", "abc/d/x"], &["abc/", "d/abc/x"]);
    check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "b", "a/x"]);
    check("a**b", &["ab", "axyb", "d/axb"], &["a/b"]);
    check("**", &["a", "d/e"], &[]);
}

#[test]
fn braces_and_commas_are_ordinary_characters() {
    check("{a,b}", &["{a,b}"], &["a", "b"]);
    check("*.{bin", &["x.{bin"], &["x.bin"]);
    check("}", &["}"], &["a"]);
    check("[{,]", &["{", ","], &["}", "\\"]);
    check("[[:alpha:]{]", &["a", "{"], &["1"]);
    check("\\{a}", &["{a}"], &["a"]);
}

#[test]
fn patterns_are_case_sensitive() {
    check("A", &["A"], &["a"]);
}

#[test]
fn invalid_patterns_are_refused_with_their_line() {
    for (text, line) in [("a\n[z-a]", 2), ("# a\n\na\\", 3), ("a[b", 1), ("[\\]]", 1), ("a\\/", 1), ("[", 1)] {
        let error = Patterns::parse("dir/.modelpackignore", text).unwrap_err();
        assert!(error.rule.starts_with(&format!("dir/.modelpackignore:{line} ")), "{error}");
    }
}

#[test]
fn a_single_pattern_must_have_a_meaning() {
    for empty in ["", "  ", "!", "/", "# a", "a\nb"] {
        let error = Patterns::new("--exclude", [empty]).unwrap_err();
        assert!(error.to_string().starts_with("--exclude \""), "{error}");
    }
    assert!(Patterns::new("--exclude", [r"\#a", "!a"]).is_ok());
    assert!(Patterns::new("--exclude", [""; 0]).unwrap().is_empty());
}

#[test]
fn the_deciding_rule_is_reported() {
    let patterns = patterns("*.bin\n\n/d/ \n!d.bin");
    let rule = |path: &str, is_directory| patterns.decide(Path::new(path), is_directory).map(|decision| (decision.is_match, decision.rule));
    assert_eq!(rule("d", true), Some((true, "ignore:3 \"/d/ \"".to_owned())));
    assert_eq!(rule("d.bin", false), Some((false, "ignore:4 \"!d.bin\"".to_owned())));
    assert_eq!(rule("d", false), None);
    assert_eq!(patterns.excludes(Path::new("d/x.bin"), false), Some("ignore:3 \"/d/ \"".to_owned()), "the directory is excluded");
}

#[test]
fn an_include_selects_content_of_a_directory_and_can_exclude_some() {
    let includes = |text: &str, path: &str| patterns(text).includes(Path::new(path), false);
    assert!(includes("d/", "d/e/x") && !includes("d/", "x"));
    assert!(includes("d/\n!*.bin", "d/x") && !includes("d/\n!*.bin", "d/e/x.bin"));
    assert!(!includes("!x", "x") && !includes("!x", "y"));
}

#[test]
fn a_directory_is_skipped_only_if_nothing_below_it_can_match() {
    let may = |text: &str, directory: &str| patterns(text).may_include_below(Path::new(directory));
    for pattern in ["x", "*.bin", "d/", "d/e/x", "/d/e/", "d/*/x", "**/x", "d/**", "?/*/x", "d/e/x/y", "/d", "[d]/e/x", "d/**/y"] {
        assert!(may(pattern, "d/e"), "{pattern}");
    }
    for pattern in ["/x", "/x/", "e/x", "d/x", "d/x/y", "?/x", "!x"] {
        assert!(!may(pattern, "d/e"), "{pattern}");
    }
}

#[test]
fn only_components_with_other_characters_than_asterisks_name_a_file_specifically() {
    let name = |text: &str, name: &str| patterns(text).name(Path::new(name));
    for pattern in [".cache", ".cache/x", "a/.cache/**", ".c*", "/.cache/", "*che/x"] {
        assert!(name(pattern, ".cache"), "{pattern}");
    }
    for pattern in ["*", "**", "**/*", "*.json", "x/*", "!.cache", "a/!.cache"] {
        assert!(!name(pattern, ".cache"), "{pattern}");
    }
    assert!(name("a/!b", "!b") && name("a/#b", "#b"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_patterns_or_an_error(text in "(\\PC|[\\[\\]{}*?!/\\\\\n:^-]){0,40}", path in "[a-c/\\[{]{1,12}", directory: bool) {
        if let Ok(patterns) = Patterns::parse("ignore", &text) {
            let path = Path::new(path.trim_matches('/'));
            let excluded = patterns.excludes(path, directory).is_some();
            prop_assert!(!excluded || !patterns.is_empty());
            // A directory with included content must not be skipped.
            for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
                prop_assert!(!patterns.includes(path, directory) || patterns.may_include_below(above), "{above:?}");
            }
        }
    }
}
