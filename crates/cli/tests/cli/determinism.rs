//! The same files give the same digest, independent of user, place and time.

use crate::{
    harness::{cli, cli_with_model, json, ok},
    small_model::write_small_model,
};
use modelpack_testkit::Cli;
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

/// Runs the program with a umask and additional environment variables.
fn pack(cli: &Cli, umask: &str, environment: &[(&str, &str)], directory: &str) -> String {
    let program = env!("CARGO_BIN_EXE_modelpack");
    let mut command = Command::new("/bin/sh");
    let isolated: Vec<_> = cli.command().get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command.env_clear().envs(isolated).envs(environment.iter().copied()).current_dir(cli.home());
    let output = command.args(["-c", &format!("umask {umask}; exec {program} pack '{directory}' -t tiny")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Copies the files of `from` to `to` in another order, with other times and with other modes that
/// keep the executable bits.
fn rewrite(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut entries: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
    for entry in entries {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            rewrite(&source, &target);
            continue;
        }
        fs::write(&target, fs::read(&source).unwrap()).unwrap();
        let executable = fs::metadata(&source).unwrap().permissions().mode() & 0o100 != 0;
        fs::set_permissions(&target, Permissions::from_mode(if executable { 0o700 } else { 0o600 })).unwrap();
        File::options().append(true).open(&target).unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    }
}

#[test]
fn user_place_and_time_do_not_change_the_digest() {
    let (one, model) = cli_with_model();
    let digest = pack(&one, "022", &[("TZ", "UTC")], "model");
    let other = cli();
    rewrite(&model, &other.home().join("another name"));
    assert_eq!(pack(&other, "077", &[("TZ", "Asia/Tokyo"), ("LC_ALL", "tr_TR.UTF-8"), ("USER", "somebody")], "another name"), digest);
    assert_eq!(ok(&one, "pack model -t other/name:v2"), digest, "the name is not part of the artifact");
    assert_eq!(ok(&one, "pack model -t oci:layout:v1 -c 1"), digest, "neither is the place, nor the number of files read concurrently");
    assert_eq!(ok(&one, "pack ./model/../model/ -t tiny"), digest);
}

#[test]
fn only_source_date_epoch_sets_a_time() {
    let cli = cli();
    write_small_model(&cli.home().join("model")).unwrap();
    let without = pack(&cli, "022", &[], "model");
    assert_eq!(json(&cli, "inspect tiny")["config"]["descriptor"]["createdAt"], serde_json::Value::Null);
    let with = pack(&cli, "022", &[("SOURCE_DATE_EPOCH", "1735689600")], "model");
    assert_eq!(json(&cli, "inspect tiny")["config"]["descriptor"]["createdAt"], "2025-01-01T00:00:00Z");
    assert_ne!(without, with);
    assert_eq!(pack(&cli, "022", &[("SOURCE_DATE_EPOCH", "1735689600")], "model"), with);
    let refused = cli.command().args(["pack", "model", "-t", "tiny"]).env("SOURCE_DATE_EPOCH", "yesterday").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("SOURCE_DATE_EPOCH is \"yesterday\""));
}
