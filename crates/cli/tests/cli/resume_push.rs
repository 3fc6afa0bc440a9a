//! A push that was killed or interrupted while it sent a large file: the next one sends only the rest.

use crate::harness::{Registry, cli_with_model, count_files, ok, store, wait_until};
use modelpack_testkit::{Failure, Fault, FaultProxy, SeenRequest, Signal, assert_same_tree};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

const MIB: u64 = 1 << 20;
const LARGE: u64 = 20 * MIB;
const ARRIVED: u64 = 12 * MIB;

/// Adds a large file to the model.
fn write_large_file(model: &Path) {
    let content: Vec<u8> = (0..LARGE).map(|i| (i % 251) as u8 ^ (i >> 16) as u8).collect();
    fs::write(model.join("large.bin"), content).unwrap();
}

/// The bytes of all requests to upload sessions that are so long that they are of the large file.
fn bytes_of_large_file(proxy: &FaultProxy) -> u64 {
    proxy.requests().iter().map(|request| request.received).filter(|received| *received >= 2 * MIB).sum()
}

#[test]
fn a_push_that_was_ended_in_the_middle_of_a_file_sends_the_rest() {
    for (line, signal) in [("push model", Signal::KILL), ("push model", Signal::INT), ("push model --layer tar", Signal::KILL)] {
        let (cli, model) = cli_with_model();
        write_large_file(&model);
        let registry = Registry::start();
        let proxy = registry.behind(vec![Fault::on("PUT", "/uploads/", Failure::StallRequestAfter(ARRIVED))]);
        let line = line.replace("model", &format!("model {}/tiny:v1", proxy.address()));
        let running = cli.start(line.split_whitespace());
        wait_until("a part of the file has arrived", || bytes_of_large_file(&proxy) >= ARRIVED);
        running.signal(signal);
        running.wait();
        let uploads = store(&cli).join("uploads");
        let entries: Vec<_> = fs::read_dir(&uploads).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);

        proxy.set_faults(Vec::new());
        ok(&cli, &line);
        let bytes = bytes_of_large_file(&proxy);
        // An archive has headers and small files besides the large one.
        assert!((LARGE..=LARGE + MIB + MIB).contains(&bytes) && bytes - ARRIVED < LARGE, "{bytes} bytes, {:#?}", proxy.requests());
        let path = |request: &SeenRequest| request.path.split('?').next().unwrap_or_default().to_owned();
        let kept: Vec<_> = proxy.requests().iter().filter(|request| request.received >= 2 * MIB).map(path).collect();
        let ended = |request: &SeenRequest| request.method == "DELETE" && kept.contains(&path(request));
        assert!(!proxy.requests().iter().any(ended), "its session was kept");
        assert_eq!(count_files(&uploads), 0, "nothing is left to continue");
        ok(&cli, &format!("pull {} -o out", registry.reference("tiny:v1")));
        assert_same_tree(&model, &cli.home().join("out"));
    }
}

#[test]
fn a_push_whose_registry_was_ended_sends_the_rest() {
    for signal in [Signal::KILL, Signal::TERM] {
        let (cli, model) = cli_with_model();
        write_large_file(&model);
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let registry = Registry::start_in(root);
        let address = registry.address();
        let proxy = registry.behind(vec![Fault::on("PUT", "/uploads/", Failure::StallRequestAfter(ARRIVED))]);
        let line = format!("push model {}/tiny:v1", proxy.address());
        let running = cli.start(line.split_whitespace());
        wait_until("a part of the file has arrived", || bytes_of_large_file(&proxy) >= ARRIVED);
        let received =
            || fs::read_dir(root.join("partials")).map_or(0, |files| files.map(|file| file.unwrap().metadata().unwrap().len()).sum());
        wait_until("the registry has it", || received() >= ARRIVED);
        running.signal(Signal::KILL);
        running.wait();
        registry.end(signal);

        proxy.set_faults(Vec::new());
        let registry = Registry::start_at(address, root);
        ok(&cli, &line);
        let bytes = bytes_of_large_file(&proxy);
        assert!((LARGE..=LARGE + 2 * MIB).contains(&bytes), "{signal:?}: {bytes} bytes, {:#?}", proxy.requests());
        ok(&cli, &format!("pull {} -o out", registry.reference("tiny:v1")));
        assert_same_tree(&model, &cli.home().join("out"));
    }
}

#[test]
fn a_push_over_a_link_that_is_cut_again_and_again_ends() {
    let (cli, model) = cli_with_model();
    write_large_file(&model);
    let registry = Registry::start();
    let proxy = registry.behind(vec![Fault::on("", "/uploads/", Failure::CutRequestAfter(3 * MIB))]);
    ok(&cli, &format!("push model {}/tiny:v1", proxy.address()));
    let cuts = proxy.requests().iter().filter(|request| request.received == 3 * MIB).count() as u64;
    let bytes = bytes_of_large_file(&proxy);
    assert!(cuts >= 6 && bytes <= LARGE + cuts * MIB, "{bytes} bytes, {cuts} cuts");
    ok(&cli, &format!("pull {} -o out", registry.reference("tiny:v1")));
    assert_same_tree(&model, &cli.home().join("out"));
}
