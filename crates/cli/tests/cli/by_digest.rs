//! References with a tag and a digest: the digest decides.

use crate::harness::{Registry, cli_with_model, fails, json, ok, run};
use serde_json::Value;
use std::fs;

/// Every command that reads an artifact, without the artifact argument.
const READERS: [&str; 8] = [
    "inspect",
    "verify",
    "scan",
    "lint",
    "validate",
    "cp {} oci:copied:v9",
    "unpack {} -o out --force",
    "attach model/README.md -s {} -t localhost/attached:v1 --force",
];

fn line(reader: &str, artifact: &str) -> String {
    if reader.contains("{}") { reader.replace("{}", artifact) } else { format!("{reader} {artifact}") }
}

#[test]
fn a_moved_or_missing_tag_gives_a_warning_and_the_digest_is_used() {
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let name = registry.reference("tiny");
    let first = ok(&cli, &format!("push model {name}:v1"));
    fs::write(model.join("more.txt"), "more").unwrap();
    let second = ok(&cli, &format!("push model {name}:v1"));
    ok(&cli, &format!("cp {name}@{first} store:{name}:old"));
    ok(&cli, &format!("cp {name}:v1 store:{name}:v1"));
    ok(&cli, &format!("cp {name}@{first} oci:layout:old"));

    for place in ["docker://", "store:"] {
        for reader in READERS {
            let agrees = run(&cli, &line(reader, &format!("{place}{name}:v1@{second}")));
            assert!(agrees.code == 0 && !agrees.stderr.contains("warning: the tag"), "{reader}: {}", agrees.stderr);
            let moved = run(&cli, &line(reader, &format!("{place}{name}:v1@{first}"))).expect_code(0);
            let warning = format!("warning: the tag v1 of {name} now points to {second}; {first} is used, as the reference says");
            assert_eq!(moved.stderr.matches(&warning).count(), 1, "{reader}: {}", moved.stderr);
            let gone = run(&cli, &line(reader, &format!("{place}{name}:gone@{first}"))).expect_code(0);
            let warning = format!("warning: {name} has no tag gone; {first} is used, as the reference says");
            assert_eq!(gone.stderr.matches(&warning).count(), 1, "{reader}: {}", gone.stderr);
        }
        assert_eq!(json(&cli, &format!("inspect {place}{name}:v1@{first}"))["digest"], *first);
        let never = format!("sha256:{}", "0".repeat(64));
        fails(&cli, &format!("inspect {place}{name}:v1@{never}"), 3, &["was not found"]);
    }
    ok(&cli, &format!("cp {name}@{first} oci-archive:archive.tar:old"));
    for place in ["oci:layout", "oci-archive:archive.tar"] {
        let agrees = run(&cli, &format!("inspect {place}:old@{first}")).expect_code(0);
        assert!(!agrees.stderr.contains("warning"), "{}", agrees.stderr);
        let gone = run(&cli, &format!("inspect {place}:gone@{first}")).expect_code(0);
        assert!(gone.stderr.contains(&format!("has no tag gone; {first} is used")), "{}", gone.stderr);
    }
    let output = run(&cli, &format!("inspect --json {name}:v1@{first}")).expect_code(0);
    let printed: Value = serde_json::from_str(&output.stderr).unwrap();
    assert!(printed["warning"]["message"].as_str().unwrap().contains(&second), "{printed}");

    assert_eq!(ok(&cli, &format!("pull {name}:v1@{first}")), first);
    assert_eq!(json(&cli, &format!("inspect store:{name}:v1"))["digest"], *first, "the requested tag is set");
}

#[test]
fn a_tag_and_a_digest_in_one_reference_are_written_together() {
    let (cli, model) = cli_with_model();
    let first = ok(&cli, "pack model -t tiny:v1");
    ok(&cli, "tag tiny:v1 tiny:kept");
    fs::write(model.join("more.txt"), "more").unwrap();
    let second = ok(&cli, "pack model -t tiny:v2");
    assert_eq!(ok(&cli, &format!("tag tiny:v2@{first} tiny:again")), first, "the digest is tagged, not the target of v2");
    assert_eq!(json(&cli, "inspect tiny:again")["digest"], *first);
    fails(&cli, &format!("tag tiny:v2 tiny:other@{first}"), 5, &["does not have the digest"]);
    fails(&cli, "inspect tiny:other", 3, &[]);

    fails(&cli, &format!("rm tiny:v2@{first}"), 3, &["the tag v2 points to", &second]);
    assert_eq!(json(&cli, "inspect tiny:v2")["digest"], *second, "a tag with another target stays");
    assert_eq!(ok(&cli, &format!("rm tiny:kept@{first}")), first);
    assert_eq!(json(&cli, "inspect tiny:v1")["digest"], *first, "the other tags stay");
}
