//! The `demo` command.

use crate::harness::{cli, cli_with_model, count_files, ok, run};
use serde_json::Value;

#[test]
fn the_demo_shows_every_step_and_leaves_nothing_behind() {
    let cli = cli();
    let shown = run(&cli, "demo").expect_code(0).stdout;
    let commands: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("$ modelpack ")).collect();
    let verbs: Vec<&str> = commands.iter().map(|command| command.split(' ').next().unwrap()).collect();
    assert_eq!(verbs, ["serve", "pack", "push", "inspect", "pull", "verify", "unpack"]);
    assert_eq!(shown.lines().filter(|line| line.starts_with("sha256:")).count(), 5);
    assert!(shown.ends_with("# the same: names, bytes and executable bits of 12 files, 1.8 MB\n"), "{shown}");
    assert_eq!(count_files(cli.home()), 0);
}

#[test]
fn the_demo_accepts_a_directory_of_the_user() {
    let (cli, model) = cli_with_model();
    std::fs::write(model.join(".hidden"), "left out by rule").unwrap();
    std::fs::write(model.join("with space.txt"), "x").unwrap();
    let before = count_files(cli.home());
    let shown = ok(&cli, "demo model --json");
    let result: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!((&result["identical"], &result["files"]), (&true.into(), &13.into()));
    assert_eq!(count_files(cli.home()), before);
    assert!(run(&cli, "demo nowhere").expect_code(3).stderr.contains("nowhere"));
}
