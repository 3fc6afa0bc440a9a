//! Memory use of a registry and of its readers with hostile documents, with clients that do not
//! read, and with many connections.

use crate::harness::{Registry, cli, ok, wait_until};
use modelpack::spec::{Digest, MAX_MANIFEST_BYTES};
use modelpack_testkit::{Cli, Output};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Sends a request on a separate connection, and returns the status and the body.
fn request(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {MANIFEST}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, answer.split_off(end + 4))
}

fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..count)
            .map(|i| {
                scope.spawn({
                    let work = &work;
                    move || work(i)
                })
            })
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// A manifest of the largest size, which consists almost completely of an unknown field.
fn manifest_of_many_small_objects(number: usize) -> Vec<u8> {
    let config = Digest::of(b"{}");
    let mut text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"x/x","digest":"{config}","size":2}},"layers":[],"number":{number},"x":["#
    );
    let item = r#"{"":0},"#;
    text.push_str(&item.repeat((MAX_MANIFEST_BYTES - text.len() - 4) / item.len()));
    text.push_str("0]}");
    text.into_bytes()
}

fn push_config(registry: &Registry) {
    let path = format!("/v2/a/b/blobs/uploads/?digest={}", Digest::of(b"{}"));
    assert_eq!(request(registry.address(), "POST", &path, b"{}").0, 201);
}

#[test]
fn a_registry_uses_little_memory_for_manifests_of_many_small_objects() {
    let registry = Registry::start();
    push_config(&registry);
    let manifests: Vec<_> = (0..4).map(manifest_of_many_small_objects).collect();
    let address = registry.address();
    let put = |i: usize| request(address, "PUT", &format!("/v2/a/b/manifests/t{i}"), &manifests[i % 4]).0;
    assert_eq!(at_once(32, put), [201; 32]);
    let peak = registry.peak_memory();
    assert!(peak < 160, "32 concurrent manifests used {peak} MiB");

    let registry = registry.restart();
    let address = registry.address();
    let get = |i: usize| {
        let path = format!("/v2/a/b/manifests/t{}", i % 32);
        let (status, body) = request(address, if i < 32 { "GET" } else { "HEAD" }, &path, b"");
        status == 200 && (i >= 32 && body.is_empty() || body == manifests[i % 4])
    };
    assert_eq!(at_once(64, get), [true; 64]);
    let peak = registry.peak_memory();
    assert!(peak < 64, "64 readers used {peak} MiB");
}

#[test]
fn a_registry_uses_little_memory_for_requests_for_manifests_of_many_layers() {
    let registry = Registry::start();
    push_config(&registry);
    let named = format!(r#"{{"mediaType":"","size":2,"digest":"{}"}}"#, Digest::of(b"{}"));
    let layers = format!("{named},").repeat(36_000);
    for number in 0..4 {
        let manifest =
            format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{named},"layers":[{layers}{named}],"number":{number}}}"#);
        assert_eq!(request(registry.address(), "PUT", &format!("/v2/a/b/manifests/t{number}"), manifest.as_bytes()).0, 201);
    }
    let registry = registry.restart();
    let address = registry.address();
    let head = |i: usize| request(address, "HEAD", &format!("/v2/a/b/manifests/t{}", i % 4), b"").0;
    assert_eq!(at_once(64, head), [200; 64]);
    let peak = registry.peak_memory();
    assert!(peak < 64, "64 requests used {peak} MiB");
}

#[test]
fn a_registry_uses_little_memory_for_referrers_with_many_annotations() {
    let registry = Registry::start();
    push_config(&registry);
    let config = format!(r#"{{"mediaType":"x/x","digest":"{}","size":2}}"#, Digest::of(b"{}"));
    let subject = Digest::of(b"a subject need not be there");
    let referrer = |number: usize| {
        let annotations: String = (0..350_000).map(|i| format!(r#""{i:x}":"","#)).collect();
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[],"subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":27}},"annotations":{{{annotations}"number":"{number}"}}}}"#
        )
    };
    for number in 0..8 {
        let put = request(registry.address(), "PUT", &format!("/v2/a/b/manifests/r{number}"), referrer(number).as_bytes());
        assert_eq!(put.0, 201, "{}", String::from_utf8_lossy(&put.1));
    }
    let registry = registry.restart();
    let address = registry.address();
    let listed = at_once(8, |_| request(address, "GET", &format!("/v2/a/b/referrers/{subject}"), b""));
    assert!(listed.iter().all(|(status, list)| *status == 200 && list.len() > 3_500_000 && *list == listed[0].1));
    let peak = registry.peak_memory();
    assert!(peak < 80, "eight lists of large referrers used {peak} MiB");
}

#[test]
fn a_reader_uses_little_memory_for_a_manifest_of_many_small_objects() {
    let registry = Registry::start();
    push_config(&registry);
    assert_eq!(request(registry.address(), "PUT", "/v2/a/b/manifests/v1", &manifest_of_many_small_objects(0)).0, 201);
    let reference = registry.reference("a/b:v1");
    let cli = cli();
    for line in [format!("pull {reference}"), format!("inspect {reference}"), format!("cp {reference} oci:layout:v1"), "ls".to_owned()] {
        run_with_little_memory(&cli, &line).expect_code(0);
    }
}

/// Runs a command line whose process is limited to 200 MB of data. Without bounds, these tests
/// would use 400 to 780 MiB.
fn run_with_little_memory(cli: &Cli, line: &str) -> Output {
    let limited = format!("ulimit -d 200000; exec {} {line}", env!("CARGO_BIN_EXE_modelpack"));
    let home = cli.home();
    Command::new("/bin/sh").args(["-c", &limited]).env_clear().env("HOME", home).current_dir(home).output().unwrap().into()
}

#[test]
fn a_reader_uses_little_memory_for_a_config_of_many_small_objects() {
    let registry = Registry::start();
    let many = format!("[{}0]", r#"{"":0},"#.repeat(590_000));
    let artifact = "application/vnd.cncf.model.manifest.v1+json";
    let cli = cli();
    fs::write(cli.home().join("README.md"), "words").unwrap();
    for (tag, config) in [
        ("unknown", format!(r#"{{"descriptor":{{}},"config":{{}},"modelfs":{{"type":"layers","diffIds":[]}},"x":{many}}}"#)),
        ("known", format!(r#"{{"descriptor":{{"name":{many}}},"config":{{}},"modelfs":{{"type":"layers","diffIds":[]}}}}"#)),
    ] {
        let (digest, size) = (Digest::of(config.as_bytes()), config.len());
        let path = format!("/v2/a/b/blobs/uploads/?digest={digest}");
        assert_eq!(request(registry.address(), "POST", &path, config.as_bytes()).0, 201);
        let config = format!(r#"{{"mediaType":"application/vnd.cncf.model.config.v1+json","digest":"{digest}","size":{size}}}"#);
        let manifest =
            format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"{artifact}","config":{config},"layers":[]}}"#);
        assert_eq!(request(registry.address(), "PUT", &format!("/v2/a/b/manifests/{tag}"), manifest.as_bytes()).0, 201);
        let reference = registry.reference(&format!("a/b:{tag}"));
        run_with_little_memory(&cli, &format!("pull {reference}")).expect_code(0);
        for line in ["inspect {}", "lint {}", "diff {} {}", "attach README.md -s {} -t local/x:v1"] {
            let refused = run_with_little_memory(&cli, &line.replace("{}", &reference)).expect_code(5);
            assert!(refused.stderr.contains("it has more than 100000 values"), "{line}: {}", refused.stderr);
        }
        run_with_little_memory(&cli, "ls").expect_code(0);
    }
}

#[test]
fn the_index_of_a_layout_uses_no_more_memory_than_its_entries() {
    let registry = Registry::start();
    push_config(&registry);
    let small = format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"x/x","digest":"{}","size":2}},"layers":[]}}"#, Digest::of(b"{}"));
    assert_eq!(request(registry.address(), "PUT", "/v2/a/b/manifests/v1", small.as_bytes()).0, 201);
    let index = registry.root().join("repositories/a/b/index.json");
    let text = fs::read_to_string(&index).unwrap();
    let padding = format!(r#"{{"x":"{}",{}"#, "x".repeat(96 << 20), &text[1..]);
    fs::write(&index, padding).unwrap();
    let registry = registry.restart();
    assert_eq!(request(registry.address(), "GET", "/v2/a/b/manifests/v1", b""), (200, small.into_bytes()));
    let peak = registry.peak_memory();
    assert!(peak < 64, "an index of 96 MiB with one entry used {peak} MiB");
}

#[test]
fn a_too_large_index_entry_is_never_in_memory() {
    let registry = Registry::start();
    push_config(&registry);
    let small = format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"x/x","digest":"{}","size":2}},"layers":[]}}"#, Digest::of(b"{}"));
    assert_eq!(request(registry.address(), "PUT", "/v2/a/b/manifests/v1", small.as_bytes()).0, 201);
    let layout = registry.root().join("repositories/a/b");
    let text = fs::read_to_string(layout.join("index.json")).unwrap();
    let (before, after) = text.split_once("\"digest\"").unwrap();
    let large = format!(r#"{before}"x":[{}0],"digest"{after}"#, r#"{"":0},"#.repeat(14 << 20));
    fs::write(layout.join("index.json"), large).unwrap();
    let registry = registry.restart();
    let (status, answer) = request(registry.address(), "GET", "/v2/a/b/manifests/v1", b"");
    assert_eq!(status, 500, "{}", String::from_utf8_lossy(&answer));
    let peak = registry.peak_memory();
    assert!(peak < 64, "an entry of 98 MiB used {peak} MiB");

    let cli = cli();
    let why = "entry 1 of its manifests has more than 4194304 bytes";
    let refused = run_with_little_memory(&cli, &format!("ls oci:{}", layout.display())).expect_code(5);
    assert!(refused.stderr.contains(why) && refused.stderr.contains("index.json"), "{}", refused.stderr);
    let store = registry.root();
    let listed = run_with_little_memory(&cli, &format!("ls --store {}", store.display())).expect_code(0);
    assert!(listed.stderr.contains(why) && listed.stderr.contains("verify --repair"), "{}", listed.stderr);
    run_with_little_memory(&cli, &format!("verify --repair --store {}", store.display())).expect_code(0);
    assert_eq!(request(registry.address(), "GET", &format!("/v2/a/b/manifests/{}", Digest::of(small.as_bytes())), b"").0, 200);
}

#[test]
fn a_registry_uses_little_memory_for_clients_that_do_not_read() {
    let registry = Registry::start();
    let cli = cli();
    fs::create_dir(cli.home().join("model")).unwrap();
    fs::write(cli.home().join("model/model.bin"), vec![7; 64 << 20]).unwrap();
    ok(&cli, &format!("push model {}", registry.reference("a/b:v1")));
    let layer = Digest::of(&vec![7; 64 << 20]);
    let mut readers: Vec<_> = (0..500).map(|_| TcpStream::connect(registry.address()).unwrap()).collect();
    for reader in &mut readers {
        write!(reader, "GET /v2/a/b/blobs/{layer} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    // Each response has been sent as far as the system buffers it.
    for reader in &mut readers {
        reader.read_exact(&mut [0; 15]).unwrap();
    }
    thread::sleep(Duration::from_secs(1));
    let peak = registry.peak_memory();
    assert!(peak < 96, "500 readers used {peak} MiB");
}

/// What the program itself needs, in MiB, if it is built with optimisation. In a build for tests it
/// is larger, so it is not measured.
const PROGRAM: u64 = 13;

/// The peak memory in MiB of a pull of one large file while this many connections fetch, without
/// the program itself.
fn memory_of_a_pull(registry: &Registry, size: u64, connections: usize) -> u64 {
    let proxy = registry.behind(vec![]);
    // Slow connections, so that more of them help.
    proxy.set_rate(Some(1_000_000));
    let (cli, limit) = (cli(), connections.to_string());
    let reference = format!("{}/a/b:v1", proxy.address());
    let pull = cli.start(["pull", &reference, "-o", "out", "--connections", &limit]);
    wait_until("all connections fetch", || proxy.most_bodies() >= connections);
    // Now as fast as possible, so that their buffers are full, until shortly before the end.
    proxy.hold_after(Some(size - proxy.traffic().total().to_client - (16 << 20)));
    proxy.set_rate(None);
    wait_until("almost all bytes have passed", || proxy.is_holding());
    let peak = pull.peak_data();
    proxy.hold_after(None);
    pull.wait().expect_code(0);
    peak >> 10
}

#[test]
fn each_connection_of_a_pull_uses_little_memory() {
    // Long enough that each of 32 connections gets a range.
    const SIZE: u64 = 640 << 20;
    let registry = Registry::start();
    let cli = cli();
    fs::create_dir(cli.home().join("model")).unwrap();
    fs::File::create(cli.home().join("model/model.bin")).unwrap().set_len(SIZE).unwrap();
    ok(&cli, &format!("push model {}", registry.reference("a/b:v1")));
    let few = memory_of_a_pull(&registry, SIZE, 16);
    assert!(PROGRAM + few <= 28, "16 connections used {few} MiB");
    let many = memory_of_a_pull(&registry, SIZE, 32);
    assert!(many <= few + 12, "16 connections used {few} MiB, and 32 used {many} MiB");
}
