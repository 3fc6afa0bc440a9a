//! Ctrl-C or another signal at any moment: the command ends at once, leaves no incomplete files,
//! and continues when it is run again.

use crate::harness::{Registry, cli, cli_with_model, count_files, expect_sound, fails, json, ok, store, wait_until};
use modelpack_testkit::{Cli, Failure, Fault, FaultProxy, Signal, assert_same_tree};
use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::Path,
};

/// Starts a command line, and interrupts it while the proxy does not answer its request with
/// `path`.
fn interrupt_at(cli: &Cli, proxy: &FaultProxy, line: &str, path: &str, signal: Signal, code: i32) {
    let running = cli.start(line.split_whitespace());
    wait_until("the request is made", || proxy.requests().iter().any(|request| request.path.contains(path)));
    running.signal(signal);
    let output = running.wait();
    assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{line} at {path}: {}", output.stderr);
    assert!(output.stderr.contains("interrupted; run the same command again to continue"), "{}", output.stderr);
}

fn stall(registry: &Registry, method: &'static str, path: &str) -> FaultProxy {
    registry.behind(vec![Fault::on(method, path, Failure::Stall).times(1)])
}

#[test]
fn a_pull_can_be_interrupted_at_several_moments_and_continues() {
    let (packer, model) = cli_with_model();
    let registry = Registry::start();
    ok(&packer, &format!("push model {}", registry.reference("tiny:v1")));
    let inspected = json(&packer, &format!("inspect {}", registry.reference("tiny:v1")));
    let digest_of = |layer: usize| inspected["layers"][layer]["digest"].as_str().unwrap().to_owned();
    let moments = [("/manifests/".to_owned(), Signal::INT, 130), (digest_of(0), Signal::HUP, 129), (digest_of(6), Signal::TERM, 143)];
    for (path, signal, code) in &moments {
        let cli = cli();
        let proxy = stall(&registry, "GET", path);
        let line = format!("pull {}/tiny:v1", proxy.address());
        interrupt_at(&cli, &proxy, &line, path, *signal, *code);
        assert_eq!(count_files(&store(&cli).join("ingest")), 0, "no incomplete blob remains");
        ok(&cli, &line);
        expect_sound(&cli, &format!("{}/tiny:v1", proxy.address()));
    }
    for (path, signal, code) in &moments {
        let cli = cli();
        let proxy = stall(&registry, "GET", path);
        let line = format!("pull {}/tiny:v1 -o out", proxy.address());
        interrupt_at(&cli, &proxy, &line, path, *signal, *code);
        let out = cli.home().join("out");
        let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
        let left = out.read_dir().into_iter().flatten().filter(|entry| hidden(&entry.as_ref().unwrap().file_name()));
        assert_eq!(left.count(), 0, "no incomplete file remains");
        ok(&cli, &line);
        assert_same_tree(&model, &out);
    }
}

#[test]
fn a_push_can_be_interrupted_at_several_moments_and_continues() {
    let (cli, model) = cli_with_model();
    for (method, path) in [("HEAD", "/blobs/"), ("POST", "/blobs/uploads/"), ("PUT", "/manifests/")] {
        let registry = Registry::start();
        let proxy = stall(&registry, method, path);
        let line = format!("push model {}/tiny:v1", proxy.address());
        interrupt_at(&cli, &proxy, &line, path, Signal::INT, 130);
        fails(&cli, &format!("inspect {}", registry.reference("tiny:v1")), 3, &[]);
        ok(&cli, &line);
        ok(&cli, &format!("pull {} -o {}", registry.reference("tiny:v1"), path.replace('/', "")));
        assert_same_tree(&model, &cli.home().join(path.replace('/', "")));
    }
}

#[test]
fn packing_can_be_interrupted_and_continues() {
    let (cli, model) = cli_with_model();
    // Large enough that the signal arrives while it is read; sparse, so that it is created quickly.
    let large = File::create(model.join("large.bin")).unwrap();
    large.set_len(4 << 30).unwrap();
    let running = cli.start(["pack", "model", "-t", "tiny"]);
    let ingest = store(&cli).join("ingest");
    wait_until("a blob is being written", || count_files(&ingest) > 0);
    running.signal(Signal::INT);
    let output = running.wait();
    assert_eq!((output.code, output.stdout.as_str()), (130, ""), "{}", output.stderr);
    assert_eq!(count_files(&ingest), 0, "no incomplete blob remains");
    large.set_len(1000).unwrap();
    ok(&cli, "pack model -t tiny");
    expect_sound(&cli, "tiny");
    ok(&cli, "unpack tiny -o out");
    assert_same_tree(&model, &cli.home().join("out"));
}

#[test]
fn files_of_a_killed_process_are_removed_by_the_next_one() {
    let (cli, model) = cli_with_model();
    // Large enough that the process is killed while it reads the file.
    let large = File::create(model.join("large.bin")).unwrap();
    let left = |directory: &Path| {
        let entries = directory.read_dir().into_iter().flatten().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.as_encoded_bytes().starts_with(b".")).count()
    };
    // A small blob is complete before a signal comes.
    let is_large = |directory: &Path| {
        let entries = directory.read_dir().into_iter().flatten().map(|entry| entry.unwrap());
        let mut hidden = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."));
        hidden.any(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() >= 64 << 20))
    };
    for (line, ingest) in [("pack model -t tiny", store(&cli).join("ingest")), ("pack model -t oci:layout:v1", cli.home().join("layout"))] {
        large.set_len(4 << 30).unwrap();
        let running = cli.start(line.split_whitespace());
        wait_until("the large blob is being written", || is_large(&ingest));
        running.signal(Signal::KILL);
        assert_eq!(running.wait().code, 128 + 9);
        assert!(left(&ingest) > 0, "a killed process cannot remove it");
        large.set_len(1000).unwrap();
        ok(&cli, line);
        assert_eq!(left(&ingest), 0, "{line}");
    }

    let root = cli.home().join("registry");
    let registry = Registry::start_in(&root);
    let _client = upload_in_flight(&registry);
    let left = || root.join("partials").read_dir().map_or(0, Iterator::count);
    wait_until("an upload has begun", || left() > 0);
    registry.end(Signal::KILL);
    assert!(left() > 0);
    // No byte has come, so the upload has nothing that could continue.
    let _again = Registry::start_in(&root);
    wait_until("the registry has removed it", || left() == 0);
}

/// Starts an upload. The registry has asked for the bytes, but they are not sent.
fn upload_in_flight(registry: &Registry) -> TcpStream {
    let mut client = TcpStream::connect(registry.address()).unwrap();
    let mut lines = BufReader::new(client.try_clone().unwrap()).lines().map(Result::unwrap);
    client.write_all(b"POST /v2/x/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").unwrap();
    let location = lines.find_map(|line| line.to_lowercase().strip_prefix("location: ").map(str::to_owned)).unwrap();
    let path = location.split_once("/v2/").unwrap().1;
    let head = format!("PATCH /v2/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    assert!(lines.any(|line| line == "HTTP/1.1 100 Continue"));
    client
}

#[test]
fn a_registry_shuts_down_gracefully_on_any_signal() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let output = Registry::start().end(signal);
        assert_eq!((output.code, output.stdout.as_str()), (0, ""), "{}", output.stderr);
    }
}

#[test]
fn a_program_started_with_sighup_ignored_ignores_it() {
    let shell = Cli::at("/bin/sh");
    let script = format!("trap '' HUP; exec {} serve --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_modelpack"));
    let mut running = shell.start(["-c", &script]);
    let line = running.wait_for_line("serving http://");
    let address = line.trim_start_matches("serving http://").split_whitespace().next().unwrap().to_owned();
    running.signal(Signal::HUP);
    let (packer, _) = cli_with_model();
    for n in 0..3 {
        ok(&packer, &format!("push model {address}/tiny:v{n}"));
    }
    running.signal(Signal::TERM);
    running.wait().expect_code(0);
}

#[test]
fn a_second_interrupt_ends_the_process_at_once() {
    let registry = Registry::start();
    let _client = upload_in_flight(&registry);
    registry.signal(Signal::INT);
    wait_until("it listens no more", || !registry.listens());
    let output = registry.end(Signal::INT);
    assert_eq!(output.code, 130, "{}", output.stderr);
}
