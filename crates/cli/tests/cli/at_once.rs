//! Concurrent unpacking into one directory: all processes succeed, and report that they wait.

use crate::harness::{Registry, cli, cli_with_model, fails, json, ok, wait_until};
use modelpack_testkit::{Cli, Failure, Fault, Running, Signal, assert_same_tree};
use std::{collections::HashMap, fs, path::Path};

/// Files of the unpacking itself in a directory.
fn left_behind(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".modelpack-")).collect()
}

#[test]
fn ten_concurrent_unpacks_into_one_directory_succeed() {
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    let digest = ok(&cli, &format!("push model {reference}"));
    ok(&cli, "pack model -t tiny --layer doc=tar+gzip --layer code=tar");
    for round in 0..3 {
        let out = format!("out{round}");
        let line = |number: usize| match number % 3 {
            0 => format!("pull {reference} -o {out}"),
            1 => format!("unpack tiny -o {out}"),
            _ => format!("fetch {reference} --patterns * -o {out}"),
        };
        let running: Vec<Running> = (0..10).map(|number| cli.start(line(number).split_whitespace())).collect();
        for (number, running) in running.into_iter().enumerate() {
            let output = running.wait().expect_code(0);
            assert!(number % 3 == 1 || output.stdout.trim_end() == digest, "{}", output.stdout);
        }
        assert_same_tree(&model, &cli.home().join(&out));
        assert_eq!(left_behind(&cli.home().join(out)), Vec::<String>::new());
    }
}

#[test]
fn a_waiting_unpack_reports_it_can_be_interrupted_and_continues_when_the_other_is_killed() {
    let (packer, model) = cli_with_model();
    let (cli, registry) = (cli(), Registry::start());
    let reference = registry.reference("tiny:v1");
    ok(&packer, &format!("push model {reference}"));
    let proxy = registry.behind(vec![Fault::on("GET", "/blobs/", Failure::Stall)]);
    let out = cli.home().join("out");
    let stalled = cli.start(["pull", &format!("{}/tiny:v1", proxy.address()), "-o", "out"]);
    wait_until("it has the turn", || out.is_dir() && left_behind(&out).len() == 2);

    let start = || {
        let mut running = cli.start(["pull", &reference, "-o", "out"]);
        let printed = running.wait_for_line("waiting");
        assert_eq!(printed, "out is being written by another process; waiting for it");
        running
    };
    let (interrupted, waiting) = (start(), start());
    interrupted.signal(Signal::INT);
    assert_eq!(interrupted.wait().expect_code(130).stdout, "");
    assert_eq!(left_behind(&out).len(), 2, "it removed no files of the other process");

    stalled.signal(Signal::KILL);
    stalled.wait();
    waiting.wait().expect_code(0);
    assert_same_tree(&model, &out);
}

/// Starts a pull, and another one while the first waits for bytes. Both must succeed, and together
/// they move each byte of each layer once. `check` gets the home directory, the reference and the
/// model. The second pull says that it `waits`.
#[track_caller]
fn bytes_are_moved_once(arguments: &[&str], waits: &str, check: impl FnOnce(&Cli, &str, &Path)) {
    let (packer, model) = cli_with_model();
    let large: Vec<u8> = (0..6_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(model.join("large.bin"), large).unwrap();
    let (cli, registry) = (cli(), Registry::start());
    let proxy = registry.behind(Vec::new());
    let reference = format!("{}/tiny:v1", proxy.address());
    ok(&packer, &format!("push model {}", registry.reference("tiny:v1")));
    let layers = json(&packer, &format!("inspect {}", registry.reference("tiny:v1")))["layers"].clone();
    let sizes: HashMap<_, _> =
        layers.as_array().unwrap().iter().map(|layer| (layer["digest"].as_str(), layer["size"].as_u64().unwrap())).collect();

    proxy.hold_after(Some(10 << 20));
    let start = || cli.start(["pull", &reference].iter().chain(arguments));
    let asked = || proxy.requests().iter().filter(|request| request.path.ends_with("/manifests/v1")).count();
    let first = start();
    wait_until("the first pull waits for bytes", || proxy.is_holding());
    let mut second = start();
    wait_until("the second pull has the manifest", || asked() == 2);
    let said = second.wait_for_line("waiting");
    assert!(said.split("; ").any(|part| part == waits), "{said}");
    proxy.hold_after(None);
    first.wait().expect_code(0);
    second.wait().expect_code(0);

    let traffic = proxy.traffic();
    for (digest, size) in sizes {
        assert_eq!(traffic.of_blob(digest.unwrap()).to_client, size, "{digest:?}");
    }
    check(&cli, &reference, &model);
}

#[test]
fn two_pulls_into_one_store_move_the_bytes_once() {
    bytes_are_moved_once(&[], "waiting: another process writes large.bin", |cli, reference, model| {
        ok(cli, &format!("unpack store:{reference} -o out"));
        assert_same_tree(model, &cli.home().join("out"));
    });
}

#[test]
fn two_pulls_into_one_directory_move_the_bytes_once() {
    bytes_are_moved_once(&["-o", "out"], "waiting for it", |cli, _, model| {
        assert_same_tree(model, &cli.home().join("out"));
        assert_eq!(left_behind(&cli.home().join("out")), Vec::<String>::new());
    });
}

#[test]
fn of_two_conflicting_artifacts_one_is_complete_and_the_other_is_refused() {
    let (cli, model) = cli_with_model();
    let other = cli.home().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("README.md"), "another").unwrap();
    fs::write(other.join("a-weight.bin"), "another").unwrap();
    ok(&cli, "pack model -t one");
    ok(&cli, "pack other -t two");
    for round in 0..10 {
        let out = format!("out{round}");
        let line = |tag: &str| cli.start(["unpack", tag, "-o", &out]);
        let running = if round % 2 == 0 { [line("one"), line("two")] } else { [line("two"), line("one")] };
        let mut outputs = running.map(Running::wait);
        outputs.sort_by_key(|output| output.code);
        assert_eq!(outputs.each_ref().map(|output| output.code), [0, 8], "{outputs:?}");
        assert!(outputs[1].stderr.contains("README.md is in the way: it differs from the file in the artifact"), "{}", outputs[1].stderr);
        let is_other = fs::read_to_string(cli.home().join(&out).join("README.md")).unwrap() == "another";
        assert_same_tree(if is_other { &other } else { &model }, &cli.home().join(&out));
    }
}

#[test]
fn another_file_with_the_name_of_the_lock_is_a_conflict() {
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t tiny");
    fs::create_dir_all(cli.home().join("out/.modelpack-lock")).unwrap();
    fails(&cli, "unpack tiny -o out", 8, &["out/.modelpack-lock", "it is not a regular file"]);
    fs::remove_dir(cli.home().join("out/.modelpack-lock")).unwrap();
    fs::write(cli.home().join("elsewhere"), "kept").unwrap();
    std::os::unix::fs::symlink("../elsewhere", cli.home().join("out/.modelpack-lock")).unwrap();
    fails(&cli, "unpack tiny -o out", 8, &["out/.modelpack-lock", "it is not a regular file"]);
    assert_eq!(fs::read_to_string(cli.home().join("elsewhere")).unwrap(), "kept");
}
