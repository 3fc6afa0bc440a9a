//! The cache of a node: pulling into it, listing, pinning and removing, and who may.

use crate::harness::{Registry, cli, cli_with_model, count_files, fails, json, ok, run, wait_until};
use modelpack_testkit::{Cli, Failure, Fault, Signal};
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

/// The default cache of the program.
fn cache(cli: &Cli) -> PathBuf {
    cli.home().join(".local/share/modelpack-cache")
}

/// A registry with the small model as `tiny:v1`, and one with another side file as `other:v1`.
fn registry() -> (Registry, String) {
    let (packer, model) = cli_with_model();
    let registry = Registry::start();
    let digest = ok(&packer, &format!("push model {}", registry.reference("tiny:v1")));
    fs::write(model.join("NOTES.md"), "Notes.").unwrap();
    ok(&packer, &format!("push model {}", registry.reference("other:v1")));
    (registry, digest)
}

#[test]
fn an_artifact_is_pulled_once_listed_and_removed() {
    let (cli, (registry, digest)) = (cli(), registry());
    let (tiny, other) = (registry.reference("tiny:v1"), registry.reference("other:v1"));
    assert_eq!(json(&cli, "cache ls"), json!({ "cache": cache(&cli), "artifacts": [], "used": 0, "limit": null }));
    assert!(!cache(&cli).exists(), "a list makes nothing");
    fails(&cli, &format!("cache rm {tiny}"), 3, &[&tiny, &cache(&cli).display().to_string()]);

    assert_eq!(ok(&cli, &format!("cache pull {tiny}")), digest);
    assert_eq!(fs::metadata(cache(&cli)).unwrap().permissions().mode() & 0o777, 0o700);
    let again = json(&cli, &format!("cache pull docker://{tiny}"));
    assert_eq!((&again["moved"], &again["reference"], &again["pinned"]), (&json!(0), &json!(tiny), &json!(false)));
    let second = json(&cli, &format!("cache pull {other} --pin"));
    assert!(second["moved"].as_u64().unwrap() < 10_000, "only what differs is moved: {second}");

    let listed = json(&cli, "cache ls --cache-size 1GB");
    assert_eq!(listed["limit"], 1_000_000_000);
    assert!(listed["used"].as_u64().unwrap() > 1_700_000);
    let artifacts = listed["artifacts"].as_array().unwrap();
    assert_eq!(artifacts.iter().map(|artifact| &artifact["reference"]).collect::<Vec<_>>(), [&json!(other), &json!(tiny)]);
    assert_eq!((&artifacts[1]["digest"], &artifacts[1]["size"]), (&json!(digest), &artifacts[1]["present"]));
    assert_eq!((&artifacts[0]["pinned"], &artifacts[0]["lastUse"]), (&json!(true), &json!(null)));
    let table = ok(&cli, "cache ls");
    assert!(table.starts_with("REFERENCE") && table.contains(&digest[7..19]) && table.ends_with(" used"), "{table}");

    let removed = json(&cli, &format!("cache rm {tiny}"));
    assert!(removed["freed"].as_u64().unwrap() < 100_000, "the other artifact needs nearly all: {removed}");
    let removed = json(&cli, &format!("cache rm {other}"));
    assert!(removed["freed"].as_u64().unwrap() > 1_700_000, "{removed}");
    assert_eq!(json(&cli, "cache ls")["used"], 0);
    assert_eq!(count_files(&cache(&cli).join("blobs")), 0);
}

#[test]
fn the_flag_or_the_environment_names_the_cache() {
    let (cli, (registry, _)) = (cli(), registry());
    let tiny = registry.reference("tiny:v1");
    let in_environment = |arguments: &[&str]| {
        let output = cli.command().env("MODELPACK_CACHE", cli.home().join("environment")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    in_environment(&["cache", "pull", &tiny]);
    in_environment(&["cache", "pull", &tiny, "--cache", "flag"]);
    assert!(cli.home().join("environment/version").is_file() && cli.home().join("flag/version").is_file());
    assert_eq!(json(&cli, "cache ls --cache flag")["artifacts"][0]["reference"], tiny);
    assert!(!cache(&cli).exists());
}

#[test]
fn who_may_not_read_an_artifact_gets_nothing_from_the_cache() {
    let (cli, (registry, _)) = (cli(), registry());
    let failure = Failure::RequireBasic { user: "me".into(), password: "secret".into() };
    let proxy = registry.behind(vec![Fault::on("", "", failure)]);
    let guarded = format!("{}/tiny:v1", proxy.address());
    ok(&cli, &format!("cache pull {}", registry.reference("tiny:v1")));
    fails(&cli, &format!("cache pull {guarded}"), 4, &["hint: log in with"]);
    assert_eq!(json(&cli, "cache ls")["artifacts"].as_array().unwrap().len(), 1);
    ok(&cli, &format!("login {} -u me -p secret", proxy.address()));
    assert_eq!(json(&cli, &format!("cache pull {guarded}"))["moved"], 0, "who may gets it without moving it again");
}

#[test]
fn the_limit_is_kept_and_pinned_artifacts_stay() {
    let (cli, (registry, _)) = (cli(), registry());
    let (tiny, other) = (registry.reference("tiny:v1"), registry.reference("other:v1"));
    fails(&cli, &format!("cache pull {tiny} --cache-size 1MB"), 6, &["may use only 1000000", "hint: `modelpack cache ls`"]);
    fails(&cli, &format!("cache pull {tiny} --cache-size much"), 2, &["--cache-size"]);
    ok(&cli, &format!("cache pull {tiny} --cache-size 3MB"));
    assert_eq!(run(&cli, &format!("cache pin {tiny}")).expect_code(0).stderr, "");
    // A model of the same size with other weights.
    let (packer, model) = cli_with_model();
    let weights = model.join("model-00001-of-00002.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    bytes.last_mut().into_iter().for_each(|byte| *byte ^= 1);
    fs::write(&weights, bytes).unwrap();
    fs::remove_file(model.join("model-00002-of-00002.safetensors")).unwrap();
    fs::write(model.join("more.bin"), vec![7; 1_500_000]).unwrap();
    let large = registry.reference("large:v1");
    ok(&packer, &format!("push model {large}"));
    fails(&cli, &format!("cache pull {large} --cache-size 3MB"), 6, &["may use 3000000", "are pinned", "hint: `modelpack cache ls`"]);
    fails(&cli, &format!("cache pin {other}"), 3, &[&other]);
    assert_eq!(json(&cli, &format!("cache unpin {tiny}"))["pinned"], false);
    fails(&cli, &format!("cache pull {large} --cache-size 3MB"), 6, &["were pulled and not used yet"]);
    ok(&cli, &format!("cache rm {tiny}"));
    ok(&cli, &format!("cache pull {large} --cache-size 3MB"));
    assert!(json(&cli, "cache ls")["used"].as_u64().unwrap() <= 3_000_000);
}

#[test]
fn a_pull_that_is_killed_continues_and_two_pulls_at_once_move_the_bytes_once() {
    let (packer, model) = cli_with_model();
    let large: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(model.join("large.bin"), large).unwrap();
    let (cli, registry) = (cli(), Registry::start());
    ok(&packer, &format!("push model {}", registry.reference("tiny:v1")));
    let proxy = registry.behind(Vec::new());
    let reference = format!("{}/tiny:v1", proxy.address());
    proxy.hold_after(Some(5_000_000));
    let start = || cli.start(["cache", "pull", &reference]);
    let killed = start();
    wait_until("most bytes are there", || proxy.is_holding());
    killed.signal(Signal::KILL);
    killed.wait();
    assert_eq!(json(&cli, "cache ls")["artifacts"], json!([]), "it is not there before it is whole");
    proxy.hold_after(None);
    proxy.cut();
    let [one, other] = [start(), start()];
    one.wait().expect_code(0);
    other.wait().expect_code(0);
    assert_eq!(json(&cli, &format!("cache pull {reference}"))["moved"], 0);
    let listed = json(&cli, "cache ls");
    assert_eq!(listed["artifacts"][0]["size"], listed["artifacts"][0]["present"]);
    assert_eq!(count_files(&cache(&cli).join("partials")), 0);
}

#[test]
fn only_artifacts_of_registries_are_cached_and_a_newer_cache_is_refused() {
    let (cli, (registry, _)) = (cli(), registry());
    fails(&cli, "cache pull oci:layout:v1", 2, &["oci:layout:v1"]);
    fails(&cli, "cache pin tiny:v1", 3, &["tiny:v1"]);
    ok(&cli, &format!("cache pull {}", registry.reference("tiny:v1")));
    fs::write(cache(&cli).join("version"), "2\n").unwrap();
    for line in ["cache ls".to_owned(), format!("cache pull {}", registry.reference("other:v1"))] {
        fails(&cli, &line, 6, &["cannot open the cache", "format version 2", "or another cache"]);
    }
}
