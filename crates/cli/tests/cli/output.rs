//! Output: results on stdout, everything else on stderr, JSON for programs.

use crate::harness::{Registry, cli, cli_with_model, fails, json, ok, run};
use modelpack::spec::{Digest, media_type};
use modelpack_testkit::{Cli, Failure, Fault};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

#[test]
fn only_the_digest_is_on_stdout() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    for line in [
        format!("pack model -t {reference}"),
        format!("build model -t {reference}"),
        format!("push {reference}"),
        format!("pull {reference}"),
        format!("cp {reference} oci:layout:v1"),
        format!("tag {reference} other"),
        format!("unpack {reference} -o out"),
        format!("pull {reference} -o out"),
        format!("verify {reference}"),
        format!("rm {reference}"),
    ] {
        let output = run(&cli, &line).expect_code(0);
        let digest = output.stdout.strip_suffix('\n').unwrap();
        let hex = digest.strip_prefix("sha256:").unwrap_or_else(|| panic!("{line}: {digest}"));
        assert!(hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{line}: {digest}");
    }
}

#[test]
fn the_json_flag_works_before_and_after_every_command() {
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t one");
    ok(&cli, "pack model -t two");
    for line in [
        "pack model -t tiny",
        "ls",
        "inspect tiny",
        "verify tiny",
        "tag tiny other",
        "unpack tiny -o out",
        "prune",
        "logout localhost",
        "version",
    ] {
        let after = json(&cli, line);
        let before: Value = serde_json::from_str(&ok(&cli, &format!("--json {line}"))).unwrap();
        assert!(after.is_object() || after.is_array(), "{line}: {after}");
        assert_eq!(std::mem::discriminant(&before), std::mem::discriminant(&after), "{line}");
    }
    let removed = ok(&cli, "rm one two --json");
    let removed: Vec<Value> = removed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&removed[0]["reference"], &removed[1]["reference"]), (&json!("store:one:latest"), &json!("store:two:latest")));
}

#[test]
fn quiet_prints_only_results_and_errors() {
    let (cli, _) = cli_with_model();
    let output = run(&cli, "pack model -t tiny -q").expect_code(0);
    assert_eq!(output.stderr, "");
    assert!(output.stdout.starts_with("sha256:"));
    fails(&cli, "-q inspect nope", 3, &["nope"]);
}

#[test]
fn an_error_is_one_json_object_with_the_json_flag() {
    let cli = cli();
    for (line, kind, code) in
        [("inspect nope:v1", "notFound", 3), ("pack nope -t x", "notFound", 3), ("inspect UPPER", "usage", 2), ("frobnicate", "usage", 2)]
    {
        let output = run(&cli, &format!("--json {line}")).expect_code(code);
        assert_eq!(output.stdout, "");
        let error: Value = serde_json::from_str(&output.stderr).unwrap_or_else(|e| panic!("{e}: {}", output.stderr));
        assert_eq!((&error["error"]["kind"], &error["error"]["exitCode"]), (&json!(kind), &json!(code)), "{error}");
        assert!(!error["error"]["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_closed_output_pipe_is_not_an_error() {
    let cli = cli();
    let mut child = cli.command().args(["completion", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn serve_prints_its_address_as_json() {
    let cli = cli();
    let mut command = cli.command();
    let mut child = command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--root", "data"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let printed: Value = serde_json::from_str(&line).unwrap();
    let address: std::net::SocketAddr = printed["address"].as_str().unwrap().parse().unwrap();
    assert_ne!(address.port(), 0);
    assert_eq!(printed["root"], "data");
    std::net::TcpStream::connect(address).unwrap();
    child.kill().and_then(|()| child.wait()).unwrap();
}

#[test]
fn version_and_completion_need_no_store() {
    let cli = cli();
    let version = ok(&cli, "version");
    assert_eq!(version, format!("modelpack {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(ok(&cli, "--version"), version);
    assert_eq!(json(&cli, "version"), json!({ "name": "modelpack", "version": env!("CARGO_PKG_VERSION") }));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(ok(&cli, &format!("completion {shell}")).contains("modelpack"), "{shell}");
    }
    assert_eq!(crate::harness::count_files(cli.home()), 0, "nothing was written");
}

/// Whether the text contains characters that could affect a terminal.
fn steers(text: &str) -> bool {
    text.chars().any(|c| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

#[test]
fn no_output_can_affect_a_terminal() {
    let (cli, model) = cli_with_model();
    let odd = "\u{9b}31m\u{202e}\u{2066}\u{61c}";
    fs::write(model.join(format!("a{odd}.txt")), "a").unwrap();
    let run_safely = |arguments: &[&str]| {
        let output = cli.run(arguments);
        assert!(!steers(&output.stdout) && !steers(&output.stderr), "{arguments:?}:\n{}\n{}", output.stdout, output.stderr);
        output
    };
    run_safely(&["pack", "model", "-t", "tiny", "--description", odd]).expect_code(0);
    for line in
        ["pack model --dry-run -t tiny", "inspect tiny", "ls", "scan tiny", "scan model", "lint tiny", "validate tiny", "diff tiny model"]
    {
        let text: Vec<_> = line.split(' ').collect();
        run_safely(&text);
        let output = run_safely(&[&["--json"], &text[..]].concat());
        serde_json::from_str::<Value>(&output.stdout).unwrap_or_else(|e| panic!("{line}: {e}: {}", output.stdout));
    }
    let inspected = json(&cli, "inspect tiny");
    assert_eq!(inspected["config"]["descriptor"]["description"], odd, "the escaped text has the same value");
    run_safely(&["unpack", "tiny", "-o", "out"]).expect_code(0);
    fs::write(cli.home().join("out").join(format!("a{odd}.txt")), "b").unwrap();
    let escaped = r"a\u{9b}31m\u{202e}\u{2066}\u{61c}.txt";
    for arguments in [&["unpack", "tiny", "-o", "out"][..], &["inspect", odd], &[odd], &["pack", odd, "-t", "x"]] {
        let failed = run_safely(arguments);
        assert_ne!(failed.code, 0, "{arguments:?}");
        assert!(failed.stderr.contains(r"\u{202e}"), "{arguments:?}: {}", failed.stderr);
        let failed = run_safely(&[&["--json"], arguments].concat());
        serde_json::from_str::<Value>(&failed.stderr).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {}", failed.stderr));
    }
    let conflict = run_safely(&["unpack", "tiny", "-o", "out"]).expect_code(8);
    assert!(conflict.stderr.contains(escaped), "{}", conflict.stderr);
}

/// Writes a layout to `layout` with two manifests: one names a layer by `path`, the other has a
/// long text as its `schemaVersion`.
fn write_layout(cli: &Cli, path: &str) {
    let blobs = cli.home().join("layout/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    };
    let mut layer = put("application/vnd.cncf.model.doc.v1.raw", b"x");
    layer["annotations"] = json!({"org.cncf.model.filepath": path});
    let config = put("application/vnd.cncf.model.config.v1+json", b"{}");
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::IMAGE_MANIFEST, "config": config, "layers": [layer],
        "artifactType": "application/vnd.cncf.model.manifest.v1+json"});
    let entry = |tag: &str, manifest: &Value| {
        let mut entry = put(media_type::IMAGE_MANIFEST, manifest.to_string().as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        entry
    };
    let no_number = json!({"schemaVersion": path});
    let index = json!({"schemaVersion": 2, "manifests": [entry("path", &manifest), entry("version", &no_number)]});
    fs::write(cli.home().join("layout/index.json"), index.to_string()).unwrap();
    fs::write(cli.home().join("layout/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[test]
fn an_error_is_short_for_any_text_from_a_registry_or_an_artifact() {
    let cli = cli();
    write_layout(&cli, &format!("../{}", "x".repeat(100_000)));
    let registry = Registry::start();
    let long = Failure::Status { code: 400, headers: Vec::new(), body: "y\n".repeat(50_000) };
    let proxy = registry.behind(vec![Fault::on("GET", "/manifests/", long)]);
    let remote = format!("pull {}/tiny:v1", proxy.address());
    let typed = format!("inspect {}", "Z".repeat(100_000));
    for line in ["unpack oci:layout:path -o out", "inspect oci:layout:path", "inspect oci:layout:version", &remote, &typed] {
        for line in [line.to_owned(), format!("{line} --json")] {
            let failed = run(&cli, &line);
            assert_ne!(failed.code, 0);
            let longest = failed.stderr.lines().map(str::len).max().unwrap();
            assert!(longest < 2000, "{longest} bytes in a line: {}", &failed.stderr[..2000]);
        }
    }
    let failed = run(&cli, "inspect oci:layout:version").expect_code(5);
    assert!(failed.stderr.contains(" characters left out) "), "{}", failed.stderr);
}
