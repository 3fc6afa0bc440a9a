use super::*;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::{Arc, Mutex},
};
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
        assert_eq!(credentials.get(registry, "", &Notices::default()).await.unwrap(), expected, "{registry}");
    }
}

#[tokio::test]
async fn a_file_that_is_missing_has_no_logins_and_one_that_is_broken_is_an_error() {
    let directory = TempDir::new().unwrap();
    assert_eq!(Credentials::in_file(directory.path().join("none")).get("a.b", "", &Notices::default()).await.unwrap(), None);
    assert_eq!(Credentials::default().get("a.b", "", &Notices::default()).await.unwrap(), None);
    for broken in ["[]", "{", r#"{"auths":{"a.b":{"auth":"%%%"}}}"#, r#"{"auths":{"a.b":{"auth":"eA=="}}}"#] {
        let (_directory, credentials) = in_file(broken);
        let error = credentials.get("a.b", "", &Notices::default()).await.unwrap_err().to_string();
        assert!(error.contains("config.json"), "{broken}: {error}");
    }
}

#[tokio::test]
async fn a_stored_login_is_private_and_leaves_the_rest_of_the_file_alone() {
    let (directory, credentials) = in_file(r#"{"psFormat":"table","auths":{"https://a.b/v1/":{"auth":"YTpi"},"c.d":{"x":1}}}"#);
    credentials.store("a.b", "user", "secret", &Notices::default()).await.unwrap();
    assert_eq!(credentials.get("a.b", "", &Notices::default()).await.unwrap(), basic("user", "secret"));
    let expected = json!({"psFormat": "table", "auths": {"a.b": {"auth": STANDARD.encode("user:secret")}, "c.d": {"x": 1}}});
    assert_eq!(config(&directory), expected);
    let mode = fs::metadata(directory.path().join("config.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left behind");

    assert!(credentials.erase("a.b", &Notices::default()).await.unwrap());
    assert!(!credentials.erase("a.b", &Notices::default()).await.unwrap());
    assert_eq!(config(&directory), json!({"psFormat": "table", "auths": {"c.d": {"x": 1}}}));
}

#[tokio::test]
async fn the_first_login_makes_the_file_and_its_directory() {
    let directory = TempDir::new().unwrap();
    let credentials = Credentials::in_file(directory.path().join("new/config.json"));
    credentials.store("docker.io", "u", "p", &Notices::default()).await.unwrap();
    assert_eq!(credentials.get("docker.io", "", &Notices::default()).await.unwrap(), basic("u", "p"));
    let text = fs::read_to_string(directory.path().join("new/config.json")).unwrap();
    assert!(text.contains("https://index.docker.io/v1/"), "{text}");
}

#[tokio::test]
async fn a_link_to_the_file_stays_a_link() {
    let (directory, _) = in_file("{}");
    let link = directory.path().join("link.json");
    std::os::unix::fs::symlink(directory.path().join("config.json"), &link).unwrap();
    Credentials::in_file(&link).store("a.b", "u", "p", &Notices::default()).await.unwrap();
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
    let test = format!("credentials::tests::{name}");
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
    assert_eq!(credentials.get("a.b", "", &Notices::default()).await.unwrap(), None);
    credentials.store("a.b", "user", "secret", &Notices::default()).await.unwrap();
    assert_eq!(credentials.get("a.b", "", &Notices::default()).await.unwrap(), basic("user", "secret"));
    assert!(config(&directory).get("auths").is_none(), "the login is in the helper only");
    credentials.store("a.b", "<token>", "id", &Notices::default()).await.unwrap();
    assert_eq!(credentials.get("a.b", "", &Notices::default()).await.unwrap(), Some(Login::IdentityToken("id".into())));
    assert!(credentials.erase("a.b", &Notices::default()).await.unwrap());
    assert!(!credentials.erase("a.b", &Notices::default()).await.unwrap());
    let error = credentials.get("broken.example.com", "", &Notices::default()).await.unwrap_err().to_string();
    assert!(error.contains("docker-credential-broken") && error.contains("the keychain is locked"), "{error}");
}

/// Where notices are kept, and the notices.
fn noted() -> (Notices, Arc<Mutex<Vec<String>>>) {
    let kept: Arc<Mutex<Vec<String>>> = Arc::default();
    let keeping = kept.clone();
    (Notices::to(move |notice| keeping.lock().unwrap().push(notice.to_string())), kept)
}

#[tokio::test]
async fn a_helper_that_cannot_be_run_is_told_and_passed_over() {
    for helper in ["no-such-helper-is-installed", "../helper"] {
        let (directory, credentials) = in_file(&format!(r#"{{"credsStore": "{helper}", "auths": {{"a.b": {{"auth": "YTpi"}}}}}}"#));
        let (notices, told) = noted();
        assert_eq!(credentials.get("a.b", "", &notices).await.unwrap(), basic("a", "b"), "auths come next");
        assert_eq!(credentials.get("c.d", "", &notices).await.unwrap(), None, "and then nothing");
        credentials.store("c.d", "u", "p", &notices).await.unwrap();
        assert_eq!(config(&directory)["auths"]["c.d"]["auth"], STANDARD.encode("u:p"));
        assert!(credentials.erase("c.d", &notices).await.unwrap());
        let told = told.lock().unwrap();
        let expected = format!("the credential helper docker-credential-{helper} cannot be used for logins: ");
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|notice| notice.starts_with(&expected)), "{told:?}");
    }
}

#[tokio::test]
async fn the_login_with_the_longest_key_that_covers_the_repository_counts() {
    let (_directory, credentials) = in_file(
        r#"{"auths": {
            "a.b/team/model": {"auth": "bW9kZWw6eA=="},
            "a.b/team": {"auth": "dGVhbTp4"},
            "a.b/team/empty": {},
            "https://a.b/v1/": {"auth": "aG9zdDp4"},
            "c.d/team": {"auth": "dGVhbTp4"}
        }}"#,
    );
    for (registry, repository, user) in [
        ("a.b", "team/model", Some("model")),
        ("a.b", "team/model/deeper", Some("model")),
        ("a.b", "team/models", Some("team")),
        ("a.b", "team", Some("team")),
        ("a.b", "team/empty", Some("team")),
        ("a.b", "teams/model", Some("host")),
        ("a.b", "", Some("host")),
        ("c.d", "team/model", Some("team")),
        ("c.d", "other", None),
    ] {
        let found = credentials.get(registry, repository, &Notices::default()).await.unwrap();
        assert_eq!(found, user.and_then(|user| basic(user, "x")), "{registry}/{repository}");
    }
}

#[tokio::test]
async fn a_login_for_a_registry_leaves_those_of_its_namespaces_alone() {
    let (directory, credentials) = in_file(r#"{"auths": {"a.b/team": {"auth": "dGVhbTp4"}, "http://a.b": {"auth": "aG9zdDp4"}}}"#);
    credentials.store("a.b", "u", "p", &Notices::default()).await.unwrap();
    let auths = json!({"a.b": {"auth": STANDARD.encode("u:p")}, "a.b/team": {"auth": "dGVhbTp4"}});
    assert_eq!(config(&directory)["auths"], auths);
    assert!(credentials.erase("a.b", &Notices::default()).await.unwrap());
    assert_eq!(config(&directory)["auths"], json!({"a.b/team": {"auth": "dGVhbTp4"}}));
}

#[tokio::test]
async fn a_user_called_token_has_an_identity_token() {
    let (_directory, credentials) = in_file(&json!({"auths": {"a.b": {"auth": STANDARD.encode("<token>:id")}}}).to_string());
    assert_eq!(credentials.get("a.b", "", &Notices::default()).await.unwrap(), Some(Login::IdentityToken("id".into())));
}

#[tokio::test]
async fn several_files_are_read_in_order_and_the_first_is_written() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("second"), r#"{"auths": {"a.b": {"auth": "c2Vjb25kOng="}, "c.d": {"auth": "c2Vjb25kOng="}}}"#).unwrap();
    let credentials = Credentials::in_files([path("first"), path("second"), path("first/none")]);
    let get = async |registry: &str| credentials.get(registry, "team", &Notices::default()).await.unwrap();
    assert_eq!(get("a.b").await, basic("second", "x"));
    credentials.store("a.b", "first", "x", &Notices::default()).await.unwrap();
    assert_eq!((get("a.b").await, get("c.d").await), (basic("first", "x"), basic("second", "x")));
    let (notices, told) = noted();
    assert!(credentials.erase("a.b", &notices).await.unwrap());
    assert_eq!(get("a.b").await, basic("second", "x"), "the login of another program stays");
    assert_eq!(*told.lock().unwrap(), [format!("{} still has a login for a.b", path("second").display())]);
}

#[tokio::test]
async fn logins_at_once_are_all_kept() {
    let (directory, credentials) = in_file(r#"{"psFormat": "table"}"#);
    let registries: Vec<_> = (0..40).map(|n| format!("r{n}.example.com")).collect();
    let notices = Notices::default();
    let stored = registries.iter().map(|registry| credentials.store(registry, "u", "p", &notices));
    futures_util::future::try_join_all(stored).await.unwrap();
    assert_eq!(config(&directory)["auths"].as_object().unwrap().len(), registries.len());
    let erased = registries.iter().map(|registry| credentials.erase(registry, &notices));
    assert!(futures_util::future::try_join_all(erased).await.unwrap().iter().all(|erased| *erased));
    assert_eq!(config(&directory), json!({"psFormat": "table", "auths": {}}));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left behind");
}

#[tokio::test]
async fn what_a_killed_login_left_behind_is_in_nobodys_way() {
    let (directory, credentials) = in_file("{}");
    fs::write(directory.path().join("config.json.lock"), "{\"auths\": {\"half").unwrap();
    credentials.store("a.b", "u", "p", &Notices::default()).await.unwrap();
    assert_eq!(config(&directory), json!({"auths": {"a.b": {"auth": STANDARD.encode("u:p")}}}));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_group_that_may_read_the_file_still_may_and_everybody_may_not() {
    for (before, after) in [(0o600, 0o600), (0o640, 0o640), (0o660, 0o660), (0o644, 0o600), (0o666, 0o600)] {
        let (directory, credentials) = in_file("{}");
        let path = directory.path().join("config.json");
        fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
        credentials.store("a.b", "u", "p", &Notices::default()).await.unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, after, "{before:o}");
    }
}

#[tokio::test]
async fn a_link_that_leads_nowhere_yet_stays_one() {
    let directory = TempDir::new().unwrap();
    let link = directory.path().join("config.json");
    std::os::unix::fs::symlink("elsewhere/real.json", &link).unwrap();
    Credentials::in_file(&link).store("a.b", "u", "p", &Notices::default()).await.unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(config(&directory)["auths"]["a.b"].is_object());
    std::os::unix::fs::symlink("circle.json", directory.path().join("circle.json")).unwrap();
    let circle = Credentials::in_file(directory.path().join("circle.json"));
    assert!(circle.store("a.b", "u", "p", &Notices::default()).await.is_err());
}
