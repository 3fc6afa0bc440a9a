//! What says how a directory is packed is as little trusted as the directory: links that lead out of it are refused, and nothing that
//! they lead to is shown.

use crate::harness::{cli_with_model, fails, ok, run};
use modelpack_testkit::Cli;
use rustix::fs::{CWD, FileType, mknodat};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

const SECRET: &str = "root:$6$c0rrecth0rse:19000:0:99999:7:::\n[not a pattern\n";

/// The files that say what is packed, and for the last the Kitfile beside which it counts.
const SAYING: [&str; 6] = ["Modelfile", "Kitfile", "kitfile", ".kitfile", ".modelpackignore", ".kitignore"];

/// A model without a Modelfile of its own, and a secret beside it.
fn scene() -> (Cli, PathBuf, PathBuf) {
    let (cli, model) = cli_with_model();
    let secret = cli.home().join("secret");
    fs::write(&secret, SECRET).unwrap();
    (cli, model, secret)
}

/// Makes room for a file of this name in the model, and gives its path.
fn place(model: &Path, name: &str) -> PathBuf {
    if name == ".kitignore" {
        fs::write(model.join("Kitfile"), "manifestVersion: 1.0.0\nmodel:\n  path: config.json\n").unwrap();
    }
    model.join(name)
}

#[test]
fn a_link_out_of_the_directory_is_refused_and_not_a_line_of_what_it_leads_to_is_shown() {
    for name in SAYING {
        let (cli, model, secret) = scene();
        symlink(&secret, place(&model, name)).unwrap();
        for line in
            ["pack model -t tiny", "pack model -t tiny --json", "pack model --dry-run", "lint model", "validate model", "diff model model"]
        {
            let output = run(&cli, line).expect_code(9);
            assert!(output.stderr.contains(&format!("model/{name} is a link to")), "{name}, {line}: {}", output.stderr);
            for said in SECRET.split(&[':', '\n', ' ']).filter(|word| word.len() > 3) {
                assert!(!output.stderr.contains(said) && !output.stdout.contains(said), "{name}, {line} shows {said}:\n{}", output.stderr);
            }
        }
        // A directory that is only scanned is not planned as anybody says.
        ok(&cli, "scan model");

        let outside = cli.home().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::remove_file(model.join(name)).unwrap();
        symlink(&outside, model.join(name)).unwrap();
        fails(&cli, "pack model -t tiny", 9, &[name]);
    }
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    for name in SAYING {
        for (kind, dev, what) in [(FileType::Fifo, 0, "named pipe"), (FileType::CharacterDevice, rustix::fs::makedev(1, 5), "device")] {
            let (cli, model, _) = scene();
            if let Err(error) = mknodat(CWD, place(&model, name), kind, 0o600.into(), dev) {
                eprintln!("SKIPPED: this process may not make a {what}: {error}");
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
fn a_link_to_a_file_of_the_model_counts_and_a_modelfile_that_is_named_may_be_anywhere() {
    let (cli, model, _) = scene();
    fs::write(model.join("said"), "NAME said\nCONFIG config.json\n").unwrap();
    symlink("said", model.join("Modelfile")).unwrap();
    let said = run(&cli, "pack model -t tiny --explain").expect_code(0).stderr;
    assert!(said.contains("using model/Modelfile") && said.contains("packed 1 file"), "{said}");
    fs::write(cli.home().join("elsewhere"), "NAME elsewhere\nCONFIG config.json\n").unwrap();
    symlink("elsewhere", cli.home().join("link")).unwrap();
    for named in ["elsewhere", "link"] {
        let said = run(&cli, &format!("pack model -t tiny -f {named} --explain")).expect_code(0).stderr;
        assert!(said.contains("elsewhere") && !said.contains("using"), "{said}");
    }
    fs::remove_file(model.join("Modelfile")).unwrap();
    fs::write(model.join("ignored"), "*.safetensors\n").unwrap();
    symlink("ignored", model.join(".modelpackignore")).unwrap();
    ok(&cli, "pack model -t tiny");
    assert!(!ok(&cli, "inspect tiny --json").contains("model-00001"));
}
