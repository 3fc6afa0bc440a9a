//! User errors: each failure reports what, where and why, and the same command succeeds when its
//! cause is gone.

use crate::{
    harness::{Registry, cli, cli_with_model, expect_nothing_visible, fails, json, ok, run},
    small_model::write_small_model,
};
use modelpack_testkit::Cli;
use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        process::CommandExt,
    },
    path::Path,
};

/// Expects `pack model -t tiny` to fail, and to succeed after `repair`.
#[track_caller]
fn fails_until(cli: &Cli, code: i32, words: &[&str], repair: impl FnOnce()) {
    fails(cli, "pack model -t tiny", code, words);
    expect_nothing_visible(cli);
    repair();
    ok(cli, "pack model -t tiny");
    ok(cli, "verify tiny");
}

#[test]
fn a_missing_directory() {
    let cli = cli();
    let model = cli.home().join("model");
    fails_until(&cli, 3, &["the directory model was not found"], || write_small_model(&model).unwrap());
}

#[test]
fn a_file_instead_of_a_directory() {
    let cli = cli();
    let model = cli.home().join("model");
    fs::write(&model, "x").unwrap();
    fails_until(&cli, 9, &["model is not a directory"], || {
        fs::remove_file(&model).unwrap();
        write_small_model(&model).unwrap();
    });
}

#[test]
fn an_empty_directory() {
    let cli = cli();
    let model = cli.home().join("model");
    fs::create_dir(&model).unwrap();
    fs::write(model.join(".hidden"), "x").unwrap();
    fails_until(&cli, 9, &["model has no file to pack", "hint: ", "hidden"], || write_small_model(&model).unwrap());
}

#[test]
fn an_unreadable_file() {
    let (cli, model) = cli_with_model();
    let secret = model.join("config.json");
    fs::set_permissions(&secret, Permissions::from_mode(0o000)).unwrap();
    if !rustix::process::geteuid().is_root() {
        fails_until(&cli, 6, &["cannot read", "model/config.json", "ermission denied"], || {
            fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
        });
        return;
    }
    // Root can read everything, so another user runs a copy of the program in their own home.
    const NOBODY: u32 = 65534;
    let program = cli.home().join("modelpack");
    fs::copy(env!("CARGO_BIN_EXE_modelpack"), &program).unwrap();
    give_away(cli.home(), NOBODY);
    let theirs = Cli::at(program.to_str().unwrap());
    let pack = || {
        let mut command = theirs.command();
        command.env("HOME", cli.home()).env_remove("XDG_DATA_HOME").current_dir(cli.home());
        command.args(["pack", "model", "-t", "tiny"]).uid(NOBODY).gid(NOBODY);
        modelpack_testkit::Output::from(command.output().unwrap())
    };
    let output = pack().expect_code(6);
    assert!(output.stderr.contains("model/config.json") && output.stderr.contains("ermission denied"), "{}", output.stderr);
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    pack().expect_code(0);
}

fn give_away(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path(), user));
    }
}

#[test]
fn a_link_that_leaves_the_directory() {
    let (cli, model) = cli_with_model();
    symlink("/etc/passwd", model.join("passwd.txt")).unwrap();
    fails_until(&cli, 9, &["model/passwd.txt is a link to /etc/passwd", "outside", "hint: "], || {
        fs::remove_file(model.join("passwd.txt")).unwrap();
    });
}

#[test]
fn a_modelfile_error_is_shown_with_line_column_and_mark() {
    let (cli, model) = cli_with_model();
    fs::write(model.join("Modelfile"), "NAME tiny\nMODEL\tnope.bin\n").unwrap();
    let output = fails(&cli, "pack model -t tiny", 9, &["error: model/Modelfile:2:6: "]);
    assert!(output.stderr.contains("\n2 | MODEL nope.bin\n  |      ^"), "{}", output.stderr);
    fails_until(&cli, 9, &["model/Modelfile:2:6: "], || fs::write(model.join("Modelfile"), "NAME tiny\nMODEL *.safetensors\n").unwrap());
}

#[test]
fn a_part_of_a_long_line_is_shown() {
    let (cli, model) = cli_with_model();
    let long = "x".repeat(500_000);
    for (text, mark) in [(format!("{long} y"), "\n1 | xxx"), (format!("DOC {long} y"), "xxx y\n  | ")] {
        fs::write(model.join("Modelfile"), text).unwrap();
        let failed = fails(&cli, "pack model -t tiny", 9, &["model/Modelfile:1:", mark]);
        assert!(failed.stderr.len() < 2000, "{} bytes", failed.stderr.len());
        let lines: Vec<&str> = failed.stderr.lines().collect();
        let marked = lines.iter().position(|line| line.ends_with('^')).unwrap();
        assert!(lines[marked].len() <= lines[marked - 1].len(), "{}", failed.stderr);
    }
}

#[test]
fn a_value_that_the_specification_does_not_allow() {
    let (cli, model) = cli_with_model();
    fs::write(model.join("Modelfile"), "PRECISION int4\n").unwrap();
    fails_until(&cli, 9, &["model/Modelfile:1:11: ", "\"int4\"", "`config.precision`"], || {
        fs::write(model.join("Modelfile"), "PRECISION bf16\n").unwrap()
    });
}

#[test]
fn a_modelfile_that_names_a_missing_file() {
    let (cli, model) = cli_with_model();
    fs::write(cli.home().join("my-modelfile"), "MODEL weights.bin\n").unwrap();
    let line = "pack model -t tiny -f my-modelfile";
    fails(&cli, line, 9, &["my-modelfile:1:7: \"weights.bin\" does not exist"]);
    fails(&cli, "pack model -t tiny -f absent", 3, &["absent"]);
    fs::write(model.join("weights.bin"), "x").unwrap();
    ok(&cli, line);
}

#[test]
fn the_modelfile_in_the_directory_is_used_and_reported() {
    let (cli, model) = cli_with_model();
    let all = ok(&cli, "pack model -t tiny");
    fs::write(model.join("Modelfile"), "NAME chosen\nMODEL *.safetensors\n").unwrap();
    let registry = Registry::start();
    let reference = registry.reference("tiny");
    let lines = ["pack model -t tiny".to_owned(), "build model -t tiny".to_owned(), format!("push model {reference}")];
    let digests = lines.each_ref().map(|line| {
        let output = run(&cli, line).expect_code(0);
        assert!(output.stderr.contains("using model/Modelfile"), "{line}: {}", output.stderr);
        output.stdout
    });
    assert!(digests.iter().all(|digest| *digest == digests[0] && digest.trim_end() != all));
    assert_eq!(json(&cli, "inspect tiny")["config"]["descriptor"]["name"], "chosen");
}

#[test]
fn invalid_arguments() {
    let (cli, _) = cli_with_model();
    for line in [
        "pack model -t Upper/Case:v1",
        "unpack a@sha256:12 -o out",
        "cp oci: x",
        "inspect docker://",
        "tag tiny:v1 tiny:",
        "pull -o out",
        "pull x --force",
        "pack model",
        "frobnicate",
        "ls a b",
        "ls a:v1",
        "pack model -t tiny -c 0",
        "serve --listen nowhere",
        "push",
        "push a b c",
        "push Upper",
        "build model -t tiny --layer zip",
    ] {
        fails(&cli, line, 2, &[]);
    }
    fails(&cli, "push model", 2, &["model is a directory", "hint: modelpack push model "]);
    ok(&cli, "pack model -t tiny:v1");
    fails(&cli, "push tiny:v1", 2, &["has no registry"]);
    fails(&cli, "push tiny:v1 -f Modelfile", 2, &["hint: "]);
    fails(&cli, "pull oci:layout", 2, &["`cp` copies"]);
    fails(&cli, "pull oci:layout -o out", 2, &["`cp` copies"]);
    fails(&cli, "push tiny:v1 localhost:1/x", 7, &["http://localhost:1/v2/x/"]);
    fails(&cli, "push tiny:v2 localhost:1/x", 3, &["the directory tiny:v2 was not found, and tiny:v2 is not in the store"]);
}

#[test]
fn an_absent_tag() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    for line in
        [format!("pull {reference}"), format!("inspect {reference}"), format!("unpack {reference} -o out"), format!("push {reference}")]
    {
        fails(&cli, &line, 3, &["tiny"]);
    }
    fails(&cli, "unpack tiny:v1 -o out", 3, &["tiny:v1 is not in the store", "hint: `modelpack ls`"]);
    fails(&cli, "unpack oci:layout -o out", 3, &["layout"]);
    fails(&cli, "unpack oci-archive:model.tar -o out", 3, &["model.tar"]);
    assert!(!cli.home().join("out").exists());
    ok(&cli, &format!("pack model -t {reference}"));
    fails(&cli, &format!("pull {reference}"), 3, &["tiny"]);
    ok(&cli, &format!("push {reference}"));
    ok(&cli, &format!("pull {reference} -o out"));
}

#[test]
fn a_file_of_rules_that_is_none_is_bad_input() {
    let (cli, model) = cli_with_model();
    fs::File::create(model.join("Modelfile")).unwrap().set_len((64 << 20) + 1).unwrap();
    fails(&cli, "pack model -t tiny", 9, &["Modelfile: it has more than 67108864 bytes"]);
    fs::remove_file(model.join("Modelfile")).unwrap();
    fs::write(model.join(".modelpackignore"), b"\xff").unwrap();
    fails(&cli, "pack model -t tiny", 9, &[".modelpackignore: its text is not UTF-8"]);
}
