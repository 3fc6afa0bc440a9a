//! Logging in to and out of a registry that requires a name and a password.

use crate::harness::{Registry, cli, cli_with_model, fails, ok};
use modelpack_testkit::{Cli, Failure, Fault, FaultProxy, Output, assert_same_tree};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Stdio,
    thread,
};

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
fn credentials_are_checked_before_they_are_stored_and_used_afterwards() {
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let proxy = guarded(&registry);
    let reference = format!("{}/tiny:v1", proxy.address());
    let config = cli.home().join(".docker/config.json");

    let hint = format!("hint: log in with `modelpack login {}`", proxy.address());
    fails(&cli, &format!("push model {reference}"), 4, &[&hint]);
    let wrong = login(&cli, proxy.address(), "guess\n").expect_code(4);
    assert!(wrong.stderr.contains("hint: check user name and password"), "{}", wrong.stderr);
    assert!(!config.exists(), "refused credentials are not stored");

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
fn a_failed_login_keeps_the_earlier_credentials() {
    let cli = cli();
    let registry = Registry::start();
    let proxy = guarded(&registry);
    login(&cli, proxy.address(), "secret word").expect_code(0);
    let before = fs::read(cli.home().join(".docker/config.json")).unwrap();
    login(&cli, proxy.address(), "wrong").expect_code(4);
    assert_eq!(fs::read(cli.home().join(".docker/config.json")).unwrap(), before);
}

#[test]
fn without_a_terminal_there_is_no_prompt() {
    let cli = cli();
    fails(&cli, "login localhost:1 -u me", 2, &["a password is required", "--password-stdin"]);
    fails(&cli, "login localhost:1", 2, &["a user name is required", "--username"]);
    fails(&cli, "login localhost:1 --password-stdin", 2, &["user name"]);
    fails(&cli, "login not/a/host -u me -p secret", 2, &["HOST[:PORT]"]);
    ok(&cli, "logout localhost:1");
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn fifty_concurrent_logins_and_logouts_lose_nothing() {
    let cli = cli();
    let registry = Registry::start();
    let proxies: Vec<_> = (0..50).map(|_| registry.behind(Vec::new())).collect();
    let config = cli.home().join(".docker/config.json");
    fs::create_dir_all(cli.home().join("elsewhere")).unwrap();
    fs::create_dir(cli.home().join(".docker")).unwrap();
    fs::write(cli.home().join("elsewhere/real.json"), r#"{"psFormat":"table","auths":{"kept.example.com":{"auth":"YTpi"}}}"#).unwrap();
    symlink("../elsewhere/real.json", &config).unwrap();

    let each = |line: &(dyn Fn(&FaultProxy) -> String + Sync)| {
        thread::scope(|scope| {
            for proxy in &proxies {
                let cli = &cli;
                scope.spawn(move || ok(cli, &line(proxy)));
            }
        });
    };
    each(&|proxy| format!("login {} -u me -p secret", proxy.address()));
    let kept = read_json(&config);
    let auths = kept["auths"].as_object().unwrap();
    let missing = proxies.iter().filter(|proxy| !auths.contains_key(&proxy.address().to_string())).count();
    assert_eq!((missing, auths.len(), &kept["psFormat"]), (0, 51, &json!("table")));

    each(&|proxy| format!("logout {}", proxy.address()));
    assert_eq!(read_json(&config), json!({"psFormat": "table", "auths": {"kept.example.com": {"auth": "YTpi"}}}));
    assert!(fs::symlink_metadata(&config).unwrap().is_symlink(), "the link stays a link");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    let left: Vec<_> = ["elsewhere", ".docker"].iter().flat_map(|name| fs::read_dir(cli.home().join(name)).unwrap()).collect();
    assert_eq!(left.len(), 2, "no other files remain: {left:?}");
}

#[test]
fn a_missing_helper_gives_a_warning_and_is_not_used() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let proxy = guarded(&registry);
    let config = cli.home().join(".docker/config.json");
    fs::create_dir(cli.home().join(".docker")).unwrap();
    let warning = "warning: the credential helper docker-credential-nowhere cannot be used for logins: there is no such program";

    fs::write(&config, r#"{"credsStore": "nowhere"}"#).unwrap();
    let open = ok(&cli, &format!("push model {}", registry.reference("tiny:v1")));
    let refused = fails(&cli, &format!("push model {}/tiny:v1", proxy.address()), 4, &[warning, "hint: log in"]);
    assert_eq!(refused.stderr.matches(warning).count(), 1, "{}", refused.stderr);

    let login = login(&cli, proxy.address(), "secret word").expect_code(0);
    assert!(login.stderr.contains(warning), "{}", login.stderr);
    let pushed = cli.run(["push", "model", &format!("{}/tiny:v1", proxy.address())]).expect_code(0);
    assert_eq!(pushed.stdout.trim_end(), open);
    assert!(pushed.stderr.contains(warning), "{}", pushed.stderr);
    let logout = cli.run(["logout", &proxy.address().to_string()]).expect_code(0);
    assert!(logout.stderr.contains(warning) && logout.stderr.contains("logged out of"), "{}", logout.stderr);
    assert_eq!(read_json(&config), json!({"credsStore": "nowhere", "auths": {}}));
}

#[test]
fn podmans_logins_are_used_and_dockers_take_precedence() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let proxy = guarded(&registry);
    let host = proxy.address().to_string();
    // `me:secret word`, and wrong credentials.
    let (right, wrong) = (r#"{"auth": "bWU6c2VjcmV0IHdvcmQ="}"#, r#"{"auth": "bWU6Z3Vlc3M="}"#);
    let write = |path: &str, key: &str, login: &str| {
        let path = cli.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!(r#"{{"auths": {{"{key}": {login}}}}}"#)).unwrap();
    };
    let push = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, below)| (name, cli.home().join(below)));
        Output::from(cli.command().args(["push", "model", &format!("{host}/team/tiny:v1")]).envs(variables).output().unwrap())
    };
    let runtime = [("XDG_RUNTIME_DIR", "run")];

    push(&runtime).expect_code(4);
    write("run/containers/auth.json", &host, right);
    push(&runtime).expect_code(0);
    push(&[]).expect_code(4);
    write(".config/containers/auth.json", &format!("{host}/team"), right);
    push(&[]).expect_code(0);
    write("run/containers/auth.json", &format!("{host}/team/tiny"), wrong);
    push(&runtime).expect_code(4);
    write(".docker/config.json", &host, right);
    push(&runtime).expect_code(0);
    write("own.json", &host, wrong);
    push(&[("REGISTRY_AUTH_FILE", "own.json")]).expect_code(4);
    push(&[("REGISTRY_AUTH_FILE", "none.json")]).expect_code(4);

    let own = cli.home().join("none.json");
    let mut login = cli.command();
    login.args(["login", &host, "-u", "me", "-p", "secret word"]).env("REGISTRY_AUTH_FILE", &own);
    Output::from(login.output().unwrap()).expect_code(0);
    assert!(read_json(&own)["auths"][&host].is_object(), "a login is stored in the file from which it is read");
    push(&[("REGISTRY_AUTH_FILE", "none.json")]).expect_code(0);
}

#[test]
fn a_file_of_logins_that_cannot_be_understood_is_named_and_is_no_bad_artifact() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let proxy = guarded(&registry);
    let host = proxy.address().to_string();
    let config = cli.home().join(".docker/config.json");
    fs::create_dir(cli.home().join(".docker")).unwrap();
    let name = config.display().to_string();
    let broken = [
        ("{\"auths\": {\n  \"x\": }".to_owned(), "it is not a JSON object: expected value at line 2 column 8"),
        ("\"secret word\"".to_owned(), "it is not a JSON object"),
        (format!(r#"{{"auths": {{"{host}": {{"auth": "secret word"}}}}}}"#), "is not the Base64 form of `user:password`"),
    ];
    for (content, why) in broken {
        fs::write(&config, &content).unwrap();
        let failed = fails(&cli, &format!("push model {host}/tiny:v1"), 2, &[&name, why, "hint: ", "REGISTRY_AUTH_FILE"]);
        assert!(!failed.stderr.contains("secret word"), "{}", failed.stderr);
    }
    fs::write(&config, "{").unwrap();
    login(&cli, &host, "secret word").expect_code(2);
    assert_eq!(fs::read_to_string(&config).unwrap(), "{", "it is left as it is");
    let json = cli.run(["push", "model", &format!("{host}/tiny:v1"), "--json"]).expect_code(2);
    let error: Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "usage");

    fs::remove_file(&config).unwrap();
    login(&cli, &host, "secret word").expect_code(0);
    ok(&cli, &format!("push model {host}/tiny:v1"));
}

#[test]
fn a_helper_that_fails_is_named_with_the_file_that_names_it() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let proxy = guarded(&registry);
    let host = proxy.address().to_string();
    let (config, helper) = (cli.home().join(".docker/config.json"), cli.home().join("docker-credential-vault"));
    fs::create_dir(cli.home().join(".docker")).unwrap();
    fs::write(&config, format!(r#"{{"credHelpers": {{"{host}": "vault"}}}}"#)).unwrap();
    let push = || {
        let path = format!("{}:{}", cli.home().display(), std::env::var("PATH").unwrap());
        let mut command = cli.command();
        command.args(["push", "model", &format!("{host}/tiny:v1")]).env("PATH", path);
        Output::from(command.output().unwrap())
    };
    let says = |script: &str| {
        fs::write(&helper, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for (script, why) in [
        ("echo 'the vault is sealed' >&2; exit 1", "the vault is sealed"),
        ("exit 3", "exit status: 3"),
        ("echo 'secret word'", "its answer is not the JSON object of a login"),
        (r#"echo '{"Username": "me", "Secret": ["secret word"]}'"#, "its answer is not the JSON object of a login"),
    ] {
        says(script);
        let failed = push().expect_code(2);
        let expected = format!("error: the credential helper docker-credential-vault: {why} ({} names it)\nhint: ", config.display());
        assert!(failed.stderr.contains(&expected) && !failed.stderr.contains("secret word"), "{}", failed.stderr);
    }
    says(r#"echo '{"ServerURL": "x", "Username": "me", "Secret": "secret word"}'"#);
    push().expect_code(0);
}
