use super::*;
use std::{env, os::unix::fs::PermissionsExt, process::Command};
use tempfile::TempDir;

fn in_file(content: &str) -> (TempDir, Credentials) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("config.json");
    fs::write(&path, content).unwrap();
    (directory, Credentials::in_file(path))
}

fn config(directory: &TempDir) -> Value {
    serde_json::from_slice(&fs::read(directory.path().join("config.json")).unwrap()).unwrap()
}

fn basic(username: &str, password: &str) -> Option<Login> {
    Some(Login::Basic { username: username.into(), password: password.into() })
}

#[tokio::test]
async fn logins_are_found_in_every_form_that_docker_writes() {
    let (_directory, credentials) = in_file(
        r#"{"auths": {
            "plain.example.com": {"auth": "dXNlcjpwYTpzcw=="},
            "https://scheme.example.com": {"username": "u", "password": "p"},
            "http://path.example.com:5000/v2/": {"auth": "YTpi"},
            "https://index.docker.io/v1/": {"auth": "aHViOmh1Yg=="},
            "token.example.com": {"auth": "YTpi", "identitytoken": "id"},
            "empty.example.com": {}
        }}"#,
    );
    for (registry, expected) in [
        ("plain.example.com", basic("user", "pa:ss")),
        ("scheme.example.com", basic("u", "p")),
        ("path.example.com:5000", basic("a", "b")),
        ("path.example.com", None),
        ("docker.io", basic("hub", "hub")),
        ("registry-1.docker.io", basic("hub", "hub")),
        ("token.example.com", Some(Login::IdentityToken("id".into()))),
        ("empty.example.com", None),
        ("other.example.com", None),
    ] {
        assert_eq!(credentials.get(registry).await.unwrap(), expected, "{registry}");
    }
}

#[tokio::test]
async fn a_file_that_is_missing_has_no_logins_and_one_that_is_broken_is_an_error() {
    let directory = TempDir::new().unwrap();
    assert_eq!(Credentials::in_file(directory.path().join("none")).get("a.b").await.unwrap(), None);
    assert_eq!(Credentials::default().get("a.b").await.unwrap(), None);
    for broken in ["[]", "{", r#"{"auths":{"a.b":{"auth":"%%%"}}}"#, r#"{"auths":{"a.b":{"auth":"eA=="}}}"#] {
        let (_directory, credentials) = in_file(broken);
        let error = credentials.get("a.b").await.unwrap_err().to_string();
        assert!(error.contains("config.json"), "{broken}: {error}");
    }
}

#[tokio::test]
async fn a_stored_login_is_private_and_leaves_the_rest_of_the_file_alone() {
    let (directory, credentials) = in_file(r#"{"psFormat":"table","auths":{"https://a.b/v1/":{"auth":"YTpi"},"c.d":{"x":1}}}"#);
    credentials.store("a.b", "user", "secret").await.unwrap();
    assert_eq!(credentials.get("a.b").await.unwrap(), basic("user", "secret"));
    let expected = json!({"psFormat": "table", "auths": {"a.b": {"auth": STANDARD.encode("user:secret")}, "c.d": {"x": 1}}});
    assert_eq!(config(&directory), expected);
    let mode = fs::metadata(directory.path().join("config.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left behind");

    assert!(credentials.erase("a.b").await.unwrap());
    assert!(!credentials.erase("a.b").await.unwrap());
    assert_eq!(config(&directory), json!({"psFormat": "table", "auths": {"c.d": {"x": 1}}}));
}

#[tokio::test]
async fn the_first_login_makes_the_file_and_its_directory() {
    let directory = TempDir::new().unwrap();
    let credentials = Credentials::in_file(directory.path().join("new/config.json"));
    credentials.store("docker.io", "u", "p").await.unwrap();
    assert_eq!(credentials.get("docker.io").await.unwrap(), basic("u", "p"));
    let text = fs::read_to_string(directory.path().join("new/config.json")).unwrap();
    assert!(text.contains(DOCKER_HUB_KEY), "{text}");
}

#[tokio::test]
async fn a_link_to_the_file_stays_a_link() {
    let (directory, _) = in_file("{}");
    let link = directory.path().join("link.json");
    std::os::unix::fs::symlink(directory.path().join("config.json"), &link).unwrap();
    Credentials::in_file(&link).store("a.b", "u", "p").await.unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(config(&directory)["auths"]["a.b"].is_object());
}

#[test]
fn a_login_is_shown_without_its_secret() {
    let shown = format!("{:?} {:?}", basic("user", "hidden"), Login::IdentityToken("hidden".into()));
    assert!(shown.contains("user") && !shown.contains("hidden"), "{shown}");
}

/// A helper that keeps one login in a file beside it.
const HELPER: &str = r#"#!/bin/sh
kept="$(dirname "$0")/kept"
case "$1" in
store) cat > "$kept" ;;
get) read -r server; if [ -f "$kept" ]; then cat "$kept"; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) rm -f "$kept" ;;
esac
"#;

/// Runs the test `name` of this module in a process that finds the helpers `mem` and `broken`, because the search path is a process's own.
fn with_helpers(name: &str) {
    let directory = TempDir::new().unwrap();
    for (helper, script) in [("mem", HELPER), ("broken", "#!/bin/sh\necho 'the keychain is locked' >&2\nexit 1\n")] {
        let path = directory.path().join(format!("docker-credential-{helper}"));
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = env::join_paths([directory.path().to_owned()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap()))).unwrap();
    let test = format!("client::credentials::tests::{name}");
    let output = Command::new(env::current_exe().unwrap()).args(["--exact", &test, "--ignored"]).env("PATH", path).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[test]
fn a_helper_keeps_gives_and_forgets_logins() {
    with_helpers("with_a_helper_in_the_search_path");
}

#[tokio::test]
#[ignore = "run by another test, with a helper in the search path"]
async fn with_a_helper_in_the_search_path() {
    let (directory, credentials) = in_file(r#"{"credsStore": "mem", "credHelpers": {"broken.example.com": "broken"}}"#);
    assert_eq!(credentials.get("a.b").await.unwrap(), None);
    credentials.store("a.b", "user", "secret").await.unwrap();
    assert_eq!(credentials.get("a.b").await.unwrap(), basic("user", "secret"));
    assert!(config(&directory).get("auths").is_none(), "the login is in the helper only");
    credentials.store("a.b", "<token>", "id").await.unwrap();
    assert_eq!(credentials.get("a.b").await.unwrap(), Some(Login::IdentityToken("id".into())));
    assert!(credentials.erase("a.b").await.unwrap());
    assert!(!credentials.erase("a.b").await.unwrap());
    let error = credentials.get("broken.example.com").await.unwrap_err().to_string();
    assert!(error.contains("docker-credential-broken") && error.contains("the keychain is locked"), "{error}");
}

#[tokio::test]
async fn a_helper_that_cannot_be_run_is_an_error() {
    for helper in ["no-such-helper-is-installed", "../helper"] {
        let (_directory, credentials) = in_file(&format!(r#"{{"credsStore": "{helper}"}}"#));
        let error = credentials.get("a.b").await.unwrap_err().to_string();
        assert!(error.contains(helper), "{error}");
    }
}
