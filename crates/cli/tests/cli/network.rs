//! Failing networks and registries: nothing unverified is kept, and the same command succeeds when
//! the cause is gone.

use crate::harness::{Registry, cli, cli_with_model, expect_nothing_visible, expect_sound, fails, json, ok, run, store};
use modelpack::spec::Digest;
use modelpack_testkit::{Cli, Failure, Fault, Output, assert_same_tree};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
};

/// The model in a registry, and a new home directory to pull into.
fn pushed() -> (Registry, Cli, PathBuf, Cli) {
    let (packer, model) = cli_with_model();
    let registry = Registry::start();
    ok(&packer, &format!("push model {}", registry.reference("tiny:v1")));
    (registry, packer, model, cli())
}

/// The digest of a large layer.
fn weights(cli: &Cli, reference: &str) -> String {
    let inspected = json(cli, &format!("inspect docker://{reference}"));
    let layers = inspected["layers"].as_array().unwrap();
    let layer = layers.iter().find(|layer| layer["path"] == "model-00001-of-00002.safetensors").unwrap();
    layer["digest"].as_str().unwrap().to_owned()
}

#[test]
fn no_server() {
    let (cli, _) = cli_with_model();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lines = [format!("pull {address}/tiny:v1"), format!("push model {address}/tiny:v1"), format!("login {address} -u a -p b")];
    std::thread::scope(|scope| {
        for line in &lines {
            scope.spawn(|| fails(&cli, line, 7, &[&address.to_string(), "no server listens there"]));
        }
    });
    expect_nothing_visible(&cli);
}

#[test]
fn a_server_with_another_protocol() {
    let (cli, _) = cli_with_model();
    // The server reads nothing and closes the connection, as servers do for a protocol that they do
    // not expect.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let registry = Registry::start();
    let redirect = Failure::Status {
        code: 307,
        headers: vec![("Location", format!("https://localhost:{}/v2/", address.port()))],
        body: String::new(),
    };
    let proxy = registry.behind(vec![Fault::on("GET", "/v2/", redirect)]);
    std::thread::scope(|scope| {
        for line in [format!("pull {address}/tiny:v1"), format!("pull --plain-http {address}/tiny:v1"), format!("ls {address}/tiny")] {
            let cli = &cli;
            scope.spawn(move || fails(cli, &line, 7, &["may speak TLS", "hint: if it does, omit `--plain-http`"]));
        }
        let line = format!("pull {}/tiny:v1", proxy.address());
        let cli = &cli;
        scope.spawn(move || fails(cli, &line, 7, &["may speak plain http", "hint: `--plain-http` uses a registry without TLS"]));
    });
    let said = Failure::Status { code: 400, headers: Vec::new(), body: "Client sent an HTTP request to an HTTPS server.\n".to_owned() };
    let proxy = registry.behind(vec![Fault::on("GET", "/v2/", said)]);
    let line = format!("pull --plain-http {}/tiny:v1", proxy.address());
    fails(&cli, &line, 7, &["HTTPS server", "hint: if it does, omit `--plain-http`"]);
}

#[test]
fn an_interrupted_pull_keeps_nothing_and_succeeds_later() {
    let (registry, _packer, model, cli) = pushed();
    let digest = weights(&cli, &registry.reference("tiny:v1"));
    let blob = format!("/blobs/{digest}");
    let half_way = Fault::on("GET", &blob, Failure::CutAfter(400_000)).times(1);
    let always = Fault::on("GET", &blob, Failure::CutAfter(0));
    let proxy = registry.behind(vec![half_way, always]);
    let broken = format!("{}/tiny:v1", proxy.address());
    fails(&cli, &format!("pull {broken}"), 7, &["http://"]);
    expect_nothing_visible(&cli);
    fails(&cli, &format!("pull {broken} -o out"), 7, &["http://"]);
    assert!(!cli.home().join("out/model-00001-of-00002.safetensors").exists());
    let hidden = fs::read_dir(cli.home().join("out")).unwrap().filter(|e| e.as_ref().unwrap().file_name().as_encoded_bytes()[0] == b'.');
    assert_eq!(hidden.count(), 0, "no incomplete file remains");

    let whole = registry.reference("tiny:v1");
    ok(&cli, &format!("pull {whole}"));
    expect_sound(&cli, &whole);
    ok(&cli, &format!("pull {whole} -o out"));
    assert_same_tree(&model, &cli.home().join("out"));
}

#[test]
fn a_pull_with_one_lost_connection_resumes() {
    let (registry, _packer, model, cli) = pushed();
    let blob = format!("/blobs/{}", weights(&cli, &registry.reference("tiny:v1")));
    let proxy = registry.behind(vec![Fault::on("GET", &blob, Failure::CutAfter(400_000)).times(1)]);
    ok(&cli, &format!("pull {}/tiny:v1 -o out", proxy.address()));
    assert_same_tree(&model, &cli.home().join("out"));
    let ranges: Vec<_> = proxy.requests().into_iter().filter(|r| r.path.contains(&blob)).filter_map(|r| r.range).collect();
    assert!(ranges.iter().any(|range| !range.starts_with("bytes=0-")), "{ranges:?}");
}

#[test]
fn a_registry_that_is_silent_or_busy_is_waited_for_and_the_reason_is_shown() {
    let (registry, _packer, model, cli) = pushed();
    let blob = format!("/blobs/{}", weights(&cli, &registry.reference("tiny:v1")));
    let busy = Failure::Status { code: 429, headers: vec![("Retry-After", "3".to_owned())], body: "slower".to_owned() };
    for (number, failure, options, told) in [
        (1, Failure::Stall, "--timeout 2500ms", "trying again (attempt 2 of 5): "),
        (2, busy, "", "trying again in 3 s (attempt 2 of 5): "),
    ] {
        let proxy = registry.behind(vec![Fault::on("GET", &blob, failure).times(1)]);
        let output = run(&cli, &format!("pull {}/tiny:v1 -o out-{number} {options}", proxy.address())).expect_code(0);
        assert_same_tree(&model, &cli.home().join(format!("out-{number}")));
        let why = output.stderr.lines().find(|line| line.contains(told)).unwrap_or_else(|| panic!("{told} not in:\n{}", output.stderr));
        assert!(why.contains(&blob) && (why.contains("nothing came for 2.5 s") || why.contains("answered 429: slower")), "{why}");
    }
    let proxy = registry.behind(vec![Fault::on("GET", &blob, Failure::Stall)]);
    fails(&cli, &format!("pull {}/tiny:v1 -o out --timeout 0.3", proxy.address()), 7, &["nothing came for 0.3 s"]);
    fails(&cli, "pull registry.example.com/tiny:v1 --timeout 5x", 2, &["`ms`, `s`, `m` or `h`"]);
}

#[test]
fn a_pull_with_one_lost_connection_succeeds_without_range_support() {
    let (registry, _packer, model, cli) = pushed();
    let blob = format!("/blobs/{}", weights(&cli, &registry.reference("tiny:v1")));
    for code in [403, 404, 500] {
        let refused = Failure::Status { code, headers: vec![("Retry-After", "0".to_owned())], body: String::new() };
        let cut = Fault::on("GET", &blob, Failure::CutAfter(400_000)).times(1);
        let proxy = registry.behind(vec![Fault::on("GET", &blob, refused).ranged(), cut]);
        ok(&cli, &format!("pull {}/tiny:v1 -o out-{code}", proxy.address()));
        assert_same_tree(&model, &cli.home().join(format!("out-{code}")));
        assert!(proxy.requests().iter().any(|request| request.path.contains(&blob) && request.range.is_some()), "{code}");
    }
}

#[test]
fn a_file_that_the_registry_lacks_or_refuses_is_an_error_at_once() {
    let (registry, packer, model, cli) = pushed();
    fs::write(model.join("large.bin"), vec![7; 3 << 20]).unwrap();
    ok(&packer, &format!("push model {}", registry.reference("tiny:v2")));
    let blob = format!("/blobs/{}", Digest::of(&vec![7; 3 << 20]));
    for (code, exit) in [(404, 3), (403, 4)] {
        let refused = Failure::Status { code, headers: Vec::new(), body: String::new() };
        let proxy = registry.behind(vec![Fault::on("GET", &blob, refused)]);
        for line in [format!("pull {}/tiny:v2", proxy.address()), format!("pull {}/tiny:v2 -o out", proxy.address())] {
            fails(&cli, &line, exit, &[&blob[7..]]);
        }
    }
}

#[test]
fn a_push_to_a_registry_that_does_not_report_existing_blobs() {
    let (cli, model) = cli_with_model();
    for code in [403, 405] {
        let registry = Registry::start();
        let refused = Failure::Status { code, headers: Vec::new(), body: String::new() };
        let proxy = registry.behind(vec![Fault::on("HEAD", "/v2/", refused)]);
        ok(&cli, &format!("push model {}/tiny:v1", proxy.address()));
        ok(&cli, &format!("pull {}/tiny:v1 -o out-{code}", proxy.address()));
        assert_same_tree(&model, &cli.home().join(format!("out-{code}")));
    }
}

#[test]
fn an_archive_is_produced_and_sent_again_after_a_lost_connection() {
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let digest = ok(&cli, "pack model -t tiny --layer tar");
    let layers = json(&cli, "inspect tiny")["layers"].clone();
    let large = layers.as_array().unwrap().iter().max_by_key(|layer| layer["size"].as_u64()).unwrap()["digest"].clone();
    let large = large.as_str().unwrap().replace(':', "%3A");
    let proxy = registry.behind(vec![Fault::on("PUT", &large, Failure::CutRequestAfter(400_000)).times(1)]);
    assert_eq!(ok(&cli, &format!("push model {}/tiny:v1 --layer tar", proxy.address())), digest);
    let sent = proxy.requests().iter().filter(|request| request.method == "PUT" && request.path.contains(&large)).count();
    assert_eq!(sent, 2);
    ok(&cli, &format!("pull {} -o out", registry.reference("tiny:v1")));
    assert_same_tree(&model, &cli.home().join("out"));
}

#[test]
fn an_interrupted_push_leaves_no_tag_and_succeeds_later() {
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let always = ["PATCH", "PUT"].map(|method| Fault::on(method, "/blobs/uploads/", Failure::CutRequestAfter(0)));
    let proxy = registry.behind(always.to_vec());
    fails(&cli, &format!("push model {}/tiny:v1", proxy.address()), 7, &["http://"]);
    let whole = registry.reference("tiny:v1");
    fails(&cli, &format!("inspect {whole}"), 3, &[]);
    ok(&cli, &format!("push model {whole}"));

    let once = ["PATCH", "PUT"].map(|method| Fault::on(method, "/blobs/uploads/", Failure::CutRequestAfter(100_000)).times(1));
    let proxy = Registry::start();
    let proxy = (proxy.behind(once.to_vec()), proxy);
    let reference = format!("{}/tiny:v1", proxy.0.address());
    ok(&cli, &format!("push model {reference}"));
    ok(&cli, &format!("pull {reference} -o out"));
    assert_same_tree(&model, &cli.home().join("out"));
}

#[test]
fn a_wrong_byte_is_never_kept() {
    let (registry, _packer, model, cli) = pushed();
    let digest = weights(&cli, &registry.reference("tiny:v1"));
    let proxy = registry.behind(vec![Fault::on("GET", format!("/blobs/{digest}"), Failure::FlipByte(500_000))]);
    let broken = format!("{}/tiny:v1", proxy.address());
    fails(&cli, &format!("pull {broken}"), 5, &[&digest]);
    expect_nothing_visible(&cli);
    fails(&cli, &format!("pull {broken} -o out"), 5, &[&digest]);
    assert!(!cli.home().join("out/model-00001-of-00002.safetensors").exists());
    fails(&cli, &format!("cp {broken} oci-archive:a.tar"), 5, &[&digest]);
    assert!(!cli.home().join("a.tar").exists());
    fails(&cli, &format!("verify {broken}"), 5, &[&digest]);
    ok(&cli, &format!("pull {} -o out", registry.reference("tiny:v1")));
    assert_same_tree(&model, &cli.home().join("out"));
}

#[test]
fn a_wrong_byte_in_the_store_is_found() {
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t tiny");
    let blobs = store(&cli).join("blobs/sha256");
    let largest = fs::read_dir(blobs).unwrap().map(|e| e.unwrap().path()).max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[1000] ^= 1;
    fs::remove_file(&largest).unwrap();
    fs::write(&largest, bytes).unwrap();
    for line in ["verify tiny", "unpack tiny -o out", "cp tiny oci:layout:v1"] {
        fails(&cli, line, 5, &["does not have the digest"]);
    }
    assert!(!cli.home().join("out/model-00002-of-00002.safetensors").exists());
    fails(&cli, "inspect oci:layout:v1", 3, &[]);
}

#[test]
fn a_manifest_that_is_too_large_is_refused() {
    let (registry, _, _, cli) = pushed();
    let body = format!("{{\"schemaVersion\":2,\"padding\":\"{}\"}}", "x".repeat(4 << 20));
    let media_type = ("Content-Type", "application/vnd.oci.image.manifest.v1+json".to_owned());
    let large = Failure::Status { code: 200, headers: vec![media_type], body };
    let proxy = registry.behind(vec![Fault::on("GET", "/manifests/", large)]);
    fails(&cli, &format!("pull {}/tiny:v1", proxy.address()), 5, &["more than 4194304 bytes"]);
    expect_nothing_visible(&cli);
    ok(&cli, &format!("pull {}", registry.reference("tiny:v1")));
}

#[test]
fn requests_that_a_registry_does_not_allow() {
    let (registry, packer, _, _) = pushed();
    let denied =
        Failure::Status { code: 403, headers: Vec::new(), body: r#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#.into() };
    let proxy = registry.behind(vec![Fault::on("POST", "/blobs/uploads/", denied)]);
    fails(&packer, &format!("push model {}/other:v1", proxy.address()), 4, &["not for you", "hint: "]);
}

/// Pulls `line` with an environment variable, and expects a failure with `words` and without the
/// password.
#[track_caller]
fn fails_with(cli: &Cli, (name, value): (&str, &str), line: &str, code: i32, words: &[&str]) {
    let output = Output::from(cli.command().args(line.split_whitespace()).env(name, value).output().unwrap()).expect_code(code);
    let told = &output.stderr;
    assert!(words.iter().all(|word| told.contains(word)) && !told.contains("hidden"), "{name}={value}: {words:?} not all in:\n{told}");
}

#[test]
fn a_proxy_that_is_wrong_is_told_with_the_variable_that_names_it() {
    let cli = cli();
    let pull = "pull registry.example.com/tiny:v1";
    for (name, value, why) in [
        ("HTTPS_PROXY", "http://[", "HTTPS_PROXY: it is not the URL of a proxy, such as http://"),
        ("https_proxy", "http://user:hidden@", "https_proxy: it is not the URL of a proxy"),
        ("HTTP_PROXY", "two words", "HTTP_PROXY: it is not the URL of a proxy"),
        // The HTTP library would ignore a proxy of an unknown kind.
        ("HTTPS_PROXY", "ftp://user:hidden@proxy.example.com", "HTTPS_PROXY: `ftp://proxy.example.com/` is not the URL of a proxy"),
    ] {
        fails_with(&cli, (name, value), pull, 2, &["error: ", why, "hint: set it as in "]);
    }
    // A name of this kind (RFC 6761) is never found, and its lookup needs no network.
    fails_with(&cli, ("HTTPS_PROXY", "nonsense.invalid"), pull, 2, &["HTTPS_PROXY: the proxy http://nonsense.invalid cannot be used"]);
    ok(&cli, "ls");
}

#[test]
fn a_file_with_certificates_that_is_wrong_is_told_with_the_variable_that_names_it() {
    let cli = cli();
    let pull = "pull registry.example.com/tiny:v1";
    let (text, empty) = (cli.home().join("text.pem"), cli.home().join("empty"));
    fs::write(&text, "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n").unwrap();
    fs::create_dir(&empty).unwrap();
    let (text, empty) = (text.display().to_string(), empty.display().to_string());
    for (name, value, why) in [
        ("SSL_CERT_FILE", "/absent/ca.pem".to_owned(), "SSL_CERT_FILE: /absent/ca.pem cannot be read: No such file".to_owned()),
        ("SSL_CERT_FILE", text.clone(), format!("SSL_CERT_FILE: no certificate in PEM format is in {text}")),
        ("SSL_CERT_DIR", format!("{empty}:/absent"), "SSL_CERT_DIR: /absent cannot be read: No such file".to_owned()),
        ("SSL_CERT_DIR", empty.clone(), format!("SSL_CERT_DIR: no certificate in PEM format is in {empty}")),
    ] {
        fails_with(&cli, (name, &value), pull, 2, &["error: ", &why, &format!("hint: correct {name}, or unset it")]);
    }
    // An empty variable counts as unset, and no other command reads the files.
    let output = cli.command().args(["ls"]).env("SSL_CERT_FILE", "/absent").env("SSL_CERT_DIR", "").output().unwrap();
    Output::from(output).expect_code(0);
}

#[test]
fn a_proxy_that_does_not_do_its_work_is_named() {
    let cli = cli();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (name, flag) in [("HTTPS_PROXY", ""), ("HTTP_PROXY", "--plain-http")] {
        let line = format!("pull registry.example.com/tiny:v1 {flag}");
        let named = format!("through the proxy http://{closed} ({name})");
        fails_with(&cli, (name, &format!("http://user:hidden@{closed}")), &line, 7, &["no server listens there", &named]);

        for (status, code, why) in [
            ("407 Proxy Authentication Required", 2, format!("{name}: the proxy http://PROXY asks for a user name and a password")),
            ("403 Forbidden", if flag.is_empty() { 7 } else { 4 }, String::new()),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            std::thread::spawn(move || {
                for connection in listener.incoming() {
                    let mut connection = connection.unwrap();
                    let mut head = BufReader::new(&connection).lines();
                    while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                    let _ = write!(connection, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                }
            });
            let why = if flag.is_empty() && code == 7 {
                format!("the proxy refused to open a connection, through the proxy http://{address} ({name})")
            } else {
                why.replace("PROXY asks", &format!("{address} asks"))
            };
            fails_with(&cli, (name, &address), &line, code, &[&why]);
        }
    }
}
