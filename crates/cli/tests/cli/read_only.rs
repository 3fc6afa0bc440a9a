//! A read-only store: all reading commands work, and writing commands report why they fail.

use crate::harness::{Registry, cli_with_model, fails, json, ok};
use modelpack_testkit::{Cli, Output, TinyDisk, assert_same_tree};
use serde_json::json;
use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
};

fn reading() -> Vec<String> {
    let mut lines: Vec<_> =
        ["ls", "inspect tiny", "verify tiny", "scan tiny", "lint tiny", "validate tiny", "diff tiny tiny"].map(str::to_owned).into();
    lines.push("prune --dry-run".to_owned());
    lines.extend(["cp tiny oci:layout:v1", "cp tiny oci-archive:model.tar:v1", "unpack tiny -o out"].map(str::to_owned));
    lines
}

const WRITING: [&str; 6] =
    ["pack model -t new", "tag tiny new", "rm tiny", "prune", "verify --repair tiny", "attach model/config.json -s tiny -t new"];

#[test]
fn a_store_on_a_read_only_disk() {
    let Some(disk) = TinyDisk::mount(8 << 20) else {
        eprintln!("SKIPPED: this process cannot mount a file system");
        return;
    };
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    let store = format!("--store {}", disk.path().join("store").display());
    ok(&cli, &format!("pack model -t tiny {store}"));
    ok(&cli, &format!("tag tiny {reference} {store}"));
    // No lease was held before.
    fs::remove_file(disk.path().join("store/repositories/tiny/_lease")).unwrap();
    disk.make_read_only();

    for line in reading() {
        ok(&cli, &format!("{line} {store}"));
    }
    assert_same_tree(&model, &cli.home().join("out"));
    let digest = ok(&cli, &format!("push {reference} {store}"));
    assert_eq!(ok(&cli, &format!("pull {reference} -o pulled {store}")), digest);
    for line in WRITING.into_iter().chain([format!("pull {reference}").as_str()]) {
        fails(&cli, &format!("{line} {store}"), 6, &["the store ", "is read-only: Read-only file system", "hint: use `--store DIR`"]);
    }
    let root = disk.path().join("store");
    fails(&cli, &format!("serve --listen 127.0.0.1:0 --root {}", root.display()), 6, &["is read-only", "hint: use `--root DIR`"]);
    assert_eq!(json(&cli, &format!("ls {store}")).as_array().unwrap().len(), 2);
}

#[test]
fn the_store_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: this process cannot become another user");
        return;
    }
    const NOBODY: u32 = 65534;
    let (cli, model) = cli_with_model();
    ok(&cli, "pack model -t tiny --store store");
    fs::set_permissions(cli.home(), Permissions::from_mode(0o755)).unwrap();
    let program = cli.home().join("modelpack");
    fs::copy(env!("CARGO_BIN_EXE_modelpack"), &program).unwrap();
    let theirs = Cli::at(program.to_str().unwrap());
    std::os::unix::fs::chown(theirs.home(), Some(NOBODY), Some(NOBODY)).unwrap();
    let store = cli.home().join("store");
    let run = |line: &str| {
        let mut command = theirs.command();
        command.args(line.replace("model/", &format!("{}/", model.display())).split_whitespace()).arg("--store").arg(&store);
        Output::from(command.uid(NOBODY).gid(NOBODY).output().unwrap())
    };
    for line in reading() {
        run(&line).expect_code(0);
    }
    assert_same_tree(&model, &theirs.home().join("out"));
    for line in WRITING.iter().filter(|line| !line.contains("pack model")) {
        let output = run(line).expect_code(6);
        assert!(output.stderr.contains("is read-only: Permission denied"), "{line}: {}", output.stderr);
    }
    // Only the owner can repair the store, so a user without read permission gets no hint to repair
    // it.
    for closed in ["repositories/tiny/index.json", "blobs"] {
        let closed = store.join(closed);
        let mode = fs::metadata(&closed).unwrap().permissions();
        fs::set_permissions(&closed, Permissions::from_mode(0o600)).unwrap();
        let printed = run("ls").expect_code(0).stderr;
        assert!(printed.contains("Permission denied") && printed.contains("its owner") && !printed.contains("--repair"), "{printed}");
        fs::set_permissions(&closed, mode).unwrap();
    }
    let untouched = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(untouched(&store.join("repositories/tiny/index.json")), 0o644);
    ok(&cli, "verify tiny --store store");
}

#[test]
fn reading_does_not_create_a_missing_store() {
    let (cli, _) = cli_with_model();
    assert_eq!(ok(&cli, "ls --store nowhere --json"), "[]");
    assert_eq!(json(&cli, "prune --dry-run --store nowhere")["blobs"], json!([]));
    fails(&cli, "inspect tiny --store nowhere", 3, &["tiny"]);
    assert!(!cli.home().join("nowhere").exists());
}
