//! Files that control packing are trusted no more than the directory: links out of the directory
//! are refused, and the content of their targets is not shown.

use crate::harness::{cli_with_model, fails, ok, run};
use modelpack_testkit::Cli;
use rustix::fs::{CWD, FileType, mknodat};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

const SECRET: &str = "root:$6$c0rrecth0rse:19000:0:99999:7:::\n[not a pattern\n";

/// The files that control packing. For the last one, the Kitfile that it applies to is also given.
const SAYING: [&str; 6] = ["Modelfile", "Kitfile", "kitfile", ".kitfile", ".modelpackignore", ".kitignore"];

/// A model without a Modelfile, and a secret file outside it.
fn scene() -> (Cli, PathBuf, PathBuf) {
    let (cli, model) = cli_with_model();
    let secret = cli.home().join("secret");
    fs::write(&secret, SECRET).unwrap();
    (cli, model, secret)
}

/// Prepares the model for a file with this name, and returns its path.
fn place(model: &Path, name: &str) -> PathBuf {
    if name == ".kitignore" {
        fs::write(model.join("Kitfile"), "manifestVersion: 1.0.0\nmodel:\n  path: config.json\n").unwrap();
    }
    model.join(name)
}

#[test]
fn a_link_out_of_the_directory_is_refused_and_its_target_is_not_shown() {
    for name in SAYING {
        let (cli, model, secret) = scene();
        symlink(&secret, place(&model, name)).unwrap();
        for line in
            ["pack model -t tiny", "pack model -t tiny --json", "pack model --dry-run", "lint model", "validate model", "diff model model"]
        {
            let output = run(&cli, line).expect_code(9);
            assert!(output.stderr.contains(&format!("model/{name} is a link to")), "{name}, {line}: {}", output.stderr);
            for word in SECRET.split(&[':', '\n', ' ']).filter(|part| part.len() > 3) {
                assert!(!output.stderr.contains(word) && !output.stdout.contains(word), "{name}, {line} shows {word}:\n{}", output.stderr);
            }
        }
        // `scan` of a directory does not read the files that control packing.
        ok(&cli, "scan model");

        let outside = cli.home().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::remove_file(model.join(name)).unwrap();
        symlink(&outside, model.join(name)).unwrap();
        fails(&cli, "pack model -t tiny", 9, &[name]);
    }
}

#[test]
fn special_files_are_refused_without_waiting_for_them() {
    for name in SAYING {
        for (kind, dev, what) in [(FileType::Fifo, 0, "named pipe"), (FileType::CharacterDevice, rustix::fs::makedev(1, 5), "device")] {
            let (cli, model, _) = scene();
            if let Err(error) = mknodat(CWD, place(&model, name), kind, 0o600.into(), dev) {
                eprintln!("SKIPPED: this process cannot create a {what}: {error}");
                continue;
            }
            fails(&cli, "pack model -t tiny", 9, &[&format!("model/{name} is a {what}")]);
        }
        let (cli, model, _) = scene();
        symlink("/dev/zero", place(&model, name)).unwrap();
        fails(&cli, "pack model -t tiny", 9, &[&format!("model/{name} is a link to /dev/zero")]);
        let (cli, model, _) = scene();
        symlink("nowhere", place(&model, name)).unwrap();
        fails(&cli, "pack model -t tiny", 9, &[&format!("model/{name} is a link to nowhere, which does not exist")]);
    }
}

#[test]
fn a_link_to_a_file_of_the_model_is_followed_and_a_given_modelfile_may_be_anywhere() {
    let (cli, model, _) = scene();
    fs::write(model.join("said"), "NAME said\nCONFIG config.json\n").unwrap();
    symlink("said", model.join("Modelfile")).unwrap();
    let printed = run(&cli, "pack model -t tiny --explain").expect_code(0).stderr;
    assert!(printed.contains("using model/Modelfile") && printed.contains("packed 1 file"), "{printed}");
    fs::write(cli.home().join("elsewhere"), "NAME elsewhere\nCONFIG config.json\n").unwrap();
    symlink("elsewhere", cli.home().join("link")).unwrap();
    for named in ["elsewhere", "link"] {
        let printed = run(&cli, &format!("pack model -t tiny -f {named} --explain")).expect_code(0).stderr;
        assert!(printed.contains("elsewhere") && !printed.contains("using"), "{printed}");
    }
    fs::remove_file(model.join("Modelfile")).unwrap();
    fs::write(model.join("ignored"), "*.safetensors\n").unwrap();
    symlink("ignored", model.join(".modelpackignore")).unwrap();
    ok(&cli, "pack model -t tiny");
    assert!(!ok(&cli, "inspect tiny --json").contains("model-00001"));
}
