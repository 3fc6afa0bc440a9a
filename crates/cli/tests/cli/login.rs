//! Logging in and out, with a registry that wants a name and a password.

use crate::harness::{Registry, cli, cli_with_model, fails, ok};
use modelpack_testkit::{Cli, Failure, Fault, FaultProxy, Output, assert_same_tree};
use serde_json::Value;
use std::{fs, io::Write, os::unix::fs::PermissionsExt, process::Stdio};

fn guarded(registry: &Registry) -> FaultProxy {
    let failure = Failure::RequireBasic { user: "me".into(), password: "secret word".into() };
    registry.behind(vec![Fault::on("", "", failure)])
}

fn login(cli: &Cli, registry: impl ToString, password: &str) -> Output {
    let mut command = cli.command();
    command.args(["login", &registry.to_string(), "-u", "me", "--password-stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn credentials_are_tried_before_they_are_kept_and_used_from_then_on() {
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let proxy = guarded(&registry);
    let reference = format!("{}/tiny:v1", proxy.address());
    let config = cli.home().join(".docker/config.json");

    let hint = format!("hint: log in with `modelpack login {}`", proxy.address());
    fails(&cli, &format!("push model {reference}"), 4, &[&hint]);
    let wrong = login(&cli, proxy.address(), "guess\n").expect_code(4);
    assert!(wrong.stderr.contains("hint: check user name and password"), "{}", wrong.stderr);
    assert!(!config.exists(), "what the registry refuses is not kept");

    login(&cli, proxy.address(), "secret word\n").expect_code(0);
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    let digest = ok(&cli, &format!("push model {reference}"));
    assert_eq!(ok(&cli, &format!("pull {reference} -o out")), digest);
    assert_same_tree(&model, &cli.home().join("out"));

    ok(&cli, &format!("logout {}", proxy.address()));
    let kept: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    assert!(kept["auths"].as_object().is_none_or(|auths| auths.is_empty()), "{kept}");
    fails(&cli, &format!("inspect {reference}"), 4, &[&hint]);
}

#[test]
fn a_failed_login_keeps_the_one_that_was_there() {
    let cli = cli();
    let registry = Registry::start();
    let proxy = guarded(&registry);
    login(&cli, proxy.address(), "secret word").expect_code(0);
    let before = fs::read(cli.home().join(".docker/config.json")).unwrap();
    login(&cli, proxy.address(), "wrong").expect_code(4);
    assert_eq!(fs::read(cli.home().join(".docker/config.json")).unwrap(), before);
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let cli = cli();
    fails(&cli, "login localhost:1 -u me", 2, &["a password is needed", "--password-stdin"]);
    fails(&cli, "login localhost:1", 2, &["a user name is needed", "--username"]);
    fails(&cli, "login localhost:1 --password-stdin", 2, &["user name"]);
    fails(&cli, "login not/a/host -u me -p secret", 2, &["HOST[:PORT]"]);
    ok(&cli, "logout localhost:1");
}
