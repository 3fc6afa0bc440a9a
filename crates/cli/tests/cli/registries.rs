//! `registries.conf`: mirrors, short names, and mistakes in it.

use crate::harness::{Registry, cli, cli_with_model, fails, ok, run};
use modelpack_testkit::{Cli, Failure, Fault, Output, assert_same_tree};
use std::fs;

/// Writes a file below `~/.config/containers`.
fn configure(cli: &Cli, name: &str, text: &str) {
    let path = cli.home().join(".config/containers").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_pull_goes_to_a_mirror_and_past_one_that_fails() {
    let (packer, model) = cli_with_model();
    let (mirror, registry) = (Registry::start(), Registry::start());
    ok(&packer, &format!("push model {}", mirror.reference("copies/team/tiny:v1")));
    ok(&packer, &format!("push model {}", registry.reference("team/tiny:v2")));
    let down = mirror.behind(vec![Fault::on("GET", "/v2/", Failure::Status { code: 500, headers: Vec::new(), body: "down".into() })]);
    let cli = cli();
    configure(
        &cli,
        "registries.conf",
        &format!(
            "[[registry]]\nprefix = \"registry.example.com\"\nlocation = \"{}\"\n\
             [[registry.mirror]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}/copies\"\n",
            registry.address(),
            down.address(),
            mirror.address()
        ),
    );
    configure(&cli, "registries.conf.d/names.conf", "[aliases]\ntiny = \"registry.example.com/team/tiny\"\n");
    let pulled = run(&cli, "pull registry.example.com/team/tiny:v1 -o out").expect_code(0);
    assert_same_tree(&model, &cli.home().join("out"));
    let warning = format!("warning: the mirror {}/team/tiny is not used any more: ", down.address());
    assert!(pulled.stderr.contains(&warning) && pulled.stderr.contains("500: down"), "{}", pulled.stderr);
    ok(&cli, "pull registry.example.com/team/tiny:v2");
    ok(&cli, "verify store:registry.example.com/team/tiny:v2");

    // A short name is looked up in the store first, also under its full name.
    let pulled = run(&cli, "unpack tiny:v2 -o short").expect_code(0);
    assert!(!pulled.stderr.contains("warning: "), "{}", pulled.stderr);
    ok(&cli, "inspect docker://tiny:v1");
    ok(&cli, "pull tiny:v1");
    ok(&cli, "inspect store:tiny:v1");
    fails(&cli, "inspect other:v1", 3, &["other:v1"]);
    // What is written goes to the registry, and a short name is for reading only.
    ok(&packer, &format!("push model {}", registry.reference("team/tiny:v3")));
    ok(&cli, "cp registry.example.com/team/tiny:v3 registry.example.com/team/tiny:v4");
    ok(&cli, &format!("inspect docker://{}", registry.reference("team/tiny:v4")));
    fails(&cli, "push tiny:v1", 2, &[]);
}

#[test]
fn a_mistake_in_the_file_is_told_with_its_line() {
    let cli = cli();
    configure(&cli, "registries.conf", "[[registry]]\nlocation = \"https://registry.example.com\"\n");
    let file = cli.home().join(".config/containers/registries.conf");
    let pull = "pull registry.example.com/tiny:v1";
    fails(&cli, pull, 2, &[&format!("error: {}:2: `https://registry.example.com` has a scheme", file.display())]);
    ok(&cli, "ls");
    let with = |value: &str, words: &str| {
        let output = cli.command().args(pull.split(' ')).env("CONTAINERS_REGISTRIES_CONF", value).output().unwrap();
        let output = Output::from(output).expect_code(2);
        assert!(output.stderr.contains(words), "{}", output.stderr);
    };
    with("/absent.conf", "error: CONTAINERS_REGISTRIES_CONF: /absent.conf cannot be read: No such file");
    fs::write(cli.home().join("own.conf"), "[[registry]]\nlocation = \"registry.example.com\"\nblocked = true\n").unwrap();
    with("own.conf", "error: own.conf:1: it blocks registry.example.com/tiny");
}
