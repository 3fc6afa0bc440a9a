//! Damage in the store: only the damaged part is lost, errors contain the command that repairs it,
//! and that command, or a transfer of the right bytes, repairs it.

use crate::{
    harness::{Registry, cli_with_model, fails, json, ok, run, store},
    json::expect_documented,
};
use modelpack_testkit::{Cli, Output, assert_same_tree};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};
use std::{
    fs::{self, OpenOptions, Permissions},
    os::unix::{
        fs::{FileExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
};

const DAMAGES: [&str; 4] = ["flip", "truncate", "empty", "remove"];
/// Kinds of damage that file times do not reveal, and names that are not regular files.
const HIDDEN: [&str; 3] = ["flip unnoticed", "truncate unnoticed", "extend unnoticed"];
const NO_FILE: [&str; 4] = ["a pipe", "a link to nowhere", "a directory", "a full directory"];

fn damage(path: &Path, how: &str) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let metadata = file.metadata().unwrap();
    let (how, is_unnoticed) = how.strip_suffix(" unnoticed").map_or((how, false), |how| (how, true));
    match how {
        "flip" => file.write_all_at(b"~", metadata.len() / 2).unwrap(),
        "truncate" => file.set_len(metadata.len() - 1).unwrap(),
        "extend" => file.set_len(metadata.len() + 1).unwrap(),
        "empty" => file.set_len(0).unwrap(),
        _ => fs::remove_file(path).unwrap(),
    }
    match how {
        "a pipe" => mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap(),
        "a link to nowhere" => symlink("/nowhere/at/all", path).unwrap(),
        "a directory" => fs::create_dir(path).unwrap(),
        "a full directory" => fs::create_dir_all(path.join("of somebody")).unwrap(),
        _ if is_unnoticed => file.set_modified(metadata.modified().unwrap()).unwrap(),
        _ => {}
    }
}

fn blob(root: &Path, digest: &str) -> PathBuf {
    root.join("blobs").join(digest.replace(':', "/"))
}

/// The digests of the manifest, the config, and a layer that is not empty.
fn parts(cli: &Cli, reference: &str) -> [String; 3] {
    let digest = json(cli, &format!("inspect {reference}"))["digest"].as_str().unwrap().to_owned();
    let manifest: Value = serde_json::from_str(&ok(cli, &format!("inspect --raw {reference}"))).unwrap();
    let largest = manifest["layers"].as_array().unwrap().iter().max_by_key(|layer| layer["size"].as_u64()).unwrap();
    [digest, manifest["config"]["digest"].as_str().unwrap().to_owned(), largest["digest"].as_str().unwrap().to_owned()]
}

#[test]
fn a_transfer_of_the_right_bytes_repairs_any_damage() {
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&cli, &format!("push model {reference}"));
    ok(&cli, &format!("pull {reference}"));
    let commands = [format!("pull {reference}"), format!("pack model -t {reference}"), format!("verify --repair {reference}")];
    // Unpacking does not need the config.
    let readers = ["unpack -o not-written", "inspect", "unpack -o not-written"];
    for (digest, reader) in parts(&cli, &reference).iter().zip(readers) {
        for how in DAMAGES.into_iter().chain(HIDDEN).chain(NO_FILE) {
            for command in &commands {
                damage(&blob(&store(&cli), digest), how);
                let hint = format!("hint: `modelpack verify --repair {reference}`");
                for reader in ["verify", reader] {
                    fails(&cli, &format!("{reader} {reference}"), 5, &[&hint]);
                }
                ok(&cli, command);
                ok(&cli, &format!("verify store:{reference}"));
            }
        }
    }
    ok(&cli, &format!("unpack {reference} -o out"));
    assert_same_tree(&model, &cli.home().join("out"));
    assert_eq!(json(&cli, &format!("verify --repair {reference}"))["fetched"], json!([]));
}

#[test]
fn a_push_repairs_a_registry() {
    let (cli, _) = cli_with_model();
    let root = cli.home().join("registry");
    let registry = Registry::start_in(&root);
    let reference = registry.reference("tiny:v1");
    ok(&cli, &format!("push model {reference}"));
    for digest in parts(&cli, &reference) {
        for how in DAMAGES.into_iter().chain(HIDDEN).chain(["a pipe", "a full directory"]) {
            damage(&blob(&root, &digest), how);
            assert_ne!(run(&cli, &format!("verify {reference}")).code, 0, "{digest} {how}");
            ok(&cli, &format!("push model {reference}"));
            ok(&cli, &format!("verify {reference}"));
        }
    }
}

#[test]
fn an_artifact_without_a_registry_is_repaired_by_packing_again() {
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t tiny");
    let [_, _, layer] = parts(&cli, "tiny");
    damage(&blob(&store(&cli), &layer), "flip");
    for line in ["verify tiny", "verify --repair tiny"] {
        fails(&cli, line, 5, &[&layer, "hint: ", "pack the same files again", "`modelpack verify --repair tiny:latest`"]);
    }
    ok(&cli, "pack model -t tiny");
    ok(&cli, "verify --repair tiny");
    fails(&cli, "verify --repair absent", 3, &["absent"]);
    fails(&cli, "verify --repair oci:layout", 2, &["is not in the store"]);
    fails(&cli, "verify", 2, &[]);
}

/// A store with two artifacts. `hit` damages one of them; it gets the directory of its repository
/// and the digest of its manifest.
#[track_caller]
fn with_a_broken_repository(hit: impl FnOnce(&Path, &str)) -> Cli {
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t sound:v1");
    ok(&cli, "pack model -t gone:v1 --exclude *.json");
    let digest = ok(&cli, "pack model -t hit:v1 --exclude *.md");
    ok(&cli, "rm gone:v1");
    hit(&store(&cli).join("repositories/hit"), &digest);
    cli
}

#[test]
fn a_broken_repository_does_not_affect_others_and_is_repaired() {
    for content in ["", "{\"schemaVersion\"", "[]", "a pipe", "a directory"] {
        let cli = with_a_broken_repository(|directory, _| {
            let index = directory.join("index.json");
            fs::remove_file(&index).unwrap();
            match content {
                "a pipe" => mkfifoat(CWD, &index, Mode::RUSR | Mode::WUSR).unwrap(),
                "a directory" => fs::create_dir(&index).unwrap(),
                _ => fs::write(&index, content).unwrap(),
            }
        });
        let pruned = json(&cli, "prune");
        assert!(!pruned["blobs"].as_array().unwrap().is_empty());
        assert_eq!((&pruned["repositories"], &pruned["broken"][0]["repository"]), (&json!(["gone"]), &json!("hit")));
        assert!(pruned["broken"][0]["reason"].as_str().unwrap().contains("index.json"));
        let printed = run(&cli, "prune").expect_code(0).stderr;
        assert!(
            printed.contains("warning: hit cannot be read, so nothing of it was removed")
                && printed.contains("`modelpack verify --repair`"),
            "{printed}"
        );

        let printed = run(&cli, "ls").expect_code(0);
        assert!(printed.stdout.contains("sound") && printed.stderr.contains("warning: hit cannot be read"), "{printed:?}");
        let listed = json(&cli, "ls");
        assert_eq!((&listed[0]["repository"], &listed[1]["repository"]), (&json!("sound"), &json!("hit")));
        assert!(listed[1]["error"].as_str().is_some_and(|why| why.contains("index.json")));
        for line in ["rm hit:v1", "pack model -t hit:v2", "inspect hit:v1", "tag sound:v1 hit:v2"] {
            fails(&cli, line, 5, &["the repository hit of the store is damaged", "index.json", "hint: ", "`modelpack verify --repair"]);
        }
        ok(&cli, "pack model -t another");
        ok(&cli, "rm another");
        ok(&cli, "verify sound:v1");

        let repaired = json(&cli, "verify --repair");
        assert_eq!((&repaired["removed"], &repaired["repositories"][0]["repository"]), (&json!([]), &json!("hit")));
        let manifest = json(&cli, "ls")[0]["digest"].as_str().unwrap().to_owned();
        ok(&cli, &format!("verify hit@{manifest}"));
        ok(&cli, &format!("tag hit@{manifest} hit:v1"));
        assert_eq!(json(&cli, "prune")["broken"], json!([]));
        ok(&cli, "verify hit:v1");
    }
}

#[test]
fn a_damaged_manifest_is_listed_removed_and_repaired() {
    for how in DAMAGES {
        let cli = with_a_broken_repository(|directory, digest| damage(&directory.join("blobs").join(digest.replace(':', "/")), how));
        let pruned = json(&cli, "prune");
        assert_eq!((&pruned["repositories"], &pruned["broken"][0]["repository"]), (&json!(["gone"]), &json!("hit")));
        let listed = json(&cli, "ls");
        assert_eq!((&listed[1]["repository"], &listed[1]["tag"]), (&json!("hit"), &json!("v1")));
        assert!(listed[1]["error"].is_string() && run(&cli, "ls").stderr.contains("warning: hit:v1 cannot be read"));
        ok(&cli, "verify sound:v1");
        if how == "flip" {
            ok(&cli, "rm hit:v1");
        } else {
            let repaired = json(&cli, "verify --repair");
            assert_eq!(repaired["removed"].as_array().unwrap().len(), if how == "remove" { 0 } else { 1 });
            assert_eq!(repaired["repositories"][0]["lostTags"], json!(["v1"]));
            let again = ok(&cli, "verify --repair");
            assert!(again.ends_with("0 damaged and removed"), "{again}");
        }
        assert_eq!(json(&cli, "ls").as_array().unwrap().len(), 1);
        assert_eq!(json(&cli, "prune")["broken"], json!([]));
    }
}

#[test]
fn a_registry_works_despite_a_broken_repository_and_its_root_is_repaired() {
    let (cli, _) = cli_with_model();
    let root = cli.home().join("registry");
    let registry = Registry::start_in(&root);
    ["a:v1", "b/c:v1"].iter().for_each(|name| drop(ok(&cli, &format!("push model {}", registry.reference(name)))));
    let index = root.join("repositories/a/index.json");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, &text[..text.len() - 3]).unwrap();
    fs::create_dir_all(root.join("repositories/Not A Name/_links/sha256")).unwrap();
    assert_eq!(registry.request("GET", "_catalog"), 200);
    assert_eq!(registry.request("GET", "a/manifests/v1"), 500);
    ok(&cli, &format!("push model {}", registry.reference("b/c:v2")));
    ok(&cli, &format!("verify {}", registry.reference("b/c:v1")));
    let pruned = json(&cli, "prune --store registry");
    assert_eq!(pruned["broken"].as_array().unwrap().len(), 1, "{pruned}");

    let output = run(&cli, "verify --repair --store registry").expect_code(5);
    let words = ["error: 1 repository could not be repaired; everything else was", "hint: ", "renamed or moved away"];
    assert!(words.iter().all(|word| output.stderr.contains(word)), "{output:?}");
    assert!(output.stdout.contains("a: the index was recreated"), "{output:?}");
    assert!(output.stderr.contains("Not A Name could not be repaired"), "{output:?}");
    ok(&cli, &format!("verify {}", registry.reference("a:v1")));
}

#[test]
fn a_tag_that_was_lost_with_its_index_is_fetched_again() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&cli, &format!("push model {reference}"));
    let digest = ok(&cli, &format!("pull {reference}"));
    let listed = json(&cli, "ls");
    fs::write(Path::new(listed[0]["layout"].as_str().unwrap()).join("index.json"), "").unwrap();
    fails(&cli, &format!("pull {reference}"), 5, &["hint: ", "`modelpack verify --repair"]);
    assert_eq!(ok(&cli, &format!("verify --repair {reference}")), digest);
    assert_eq!(ok(&cli, &format!("verify store:{reference}")), digest);
}

#[test]
fn names_that_are_not_files_are_reported_and_removed_by_a_store_repair() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&cli, &format!("push model {reference}"));
    ok(&cli, &format!("pull {reference}"));
    for digest in parts(&cli, &reference) {
        for how in NO_FILE {
            let path = blob(&store(&cli), &digest);
            damage(&path, how);
            let repaired = json(&cli, "verify --repair");
            let named = if how == "a full directory" { &repaired["movedAside"] } else { &repaired["removed"] };
            assert!(named.to_string().contains(path.file_name().unwrap().to_str().unwrap()), "{how}: {repaired}");
            assert!(path.symlink_metadata().is_err(), "{how}");
            assert!(repaired["repositories"][0].to_string().contains(&digest), "{how}: {repaired}");
            assert_eq!(json(&cli, "prune")["broken"], json!([]));
            if repaired["repositories"][0]["lostTags"] == json!([]) {
                fails(&cli, &format!("verify {reference}"), 5, &[&digest, &format!("hint: `modelpack verify --repair {reference}`")]);
            }
            ok(&cli, &format!("pull {reference}"));
            ok(&cli, &format!("verify store:{reference}"));
        }
    }
    assert!(ok(&cli, "verify --repair").ends_with("0 damaged and removed"));
}

#[test]
fn the_lost_end_of_a_large_layer_is_restored() {
    let (cli, model) = cli_with_model();
    fs::write(model.join("large.bin"), vec![7; 5 << 20]).unwrap();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&cli, &format!("push model {reference}"));
    ok(&cli, &format!("pull {reference}"));
    let [.., layer] = parts(&cli, &reference);
    let path = blob(&store(&cli), &layer);
    for how in ["truncate unnoticed", "extend unnoticed"] {
        for command in [format!("pull {reference}"), format!("pack model -t {reference}"), format!("verify --repair {reference}")] {
            damage(&path, how);
            ok(&cli, &command);
            ok(&cli, &format!("verify store:{reference}"));
        }
    }
    // A layer with the right size and time is only read by `verify`.
    damage(&path, "flip unnoticed");
    fails(&cli, &format!("verify store:{reference}"), 5, &["`modelpack verify --repair"]);
    ok(&cli, &format!("verify --repair {reference}"));
    ok(&cli, &format!("verify store:{reference}"));
}

#[test]
fn a_blob_that_its_owner_cannot_read_counts_as_damaged() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: this process cannot become another user");
        return;
    }
    const NOBODY: u32 = 65534;
    let (root, model) = cli_with_model();
    fs::set_permissions(root.home(), Permissions::from_mode(0o755)).unwrap();
    let program = root.home().join("modelpack");
    fs::copy(env!("CARGO_BIN_EXE_modelpack"), &program).unwrap();
    let theirs = Cli::at(program.to_str().unwrap());
    std::os::unix::fs::chown(theirs.home(), Some(NOBODY), Some(NOBODY)).unwrap();
    let run = |line: &str| {
        let mut command = theirs.command();
        command.args(line.replace("model ", &format!("{} ", model.display())).split_whitespace());
        Output::from(command.uid(NOBODY).gid(NOBODY).output().unwrap())
    };
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&root, &format!("push model {reference}"));
    let all = parts(&root, &reference);
    run(&format!("pull {reference}")).expect_code(0);
    run("pack model -t other --exclude *.json").expect_code(0);
    let commands = [format!("pull {reference}"), format!("pack model -t {reference}"), format!("verify --repair {reference}")];
    for digest in &all {
        let path = blob(&store(&theirs), digest);
        for command in &commands {
            fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
            let refused = run(&format!("verify store:{reference}")).expect_code(5).stderr;
            assert!(refused.contains("Permission denied") && refused.contains(&format!("verify --repair {reference}")), "{refused}");

            let repaired = run("verify --repair --json").expect_code(5);
            let result: Value = serde_json::from_str(&repaired.stdout).unwrap();
            assert_eq!(result["unrepaired"][0]["digest"], **digest, "{repaired:?}");
            expect_documented("verify --repair", &result);
            assert!(repaired.stderr.contains("could not be repaired") && path.exists(), "{repaired:?}");

            run(command).expect_code(0);
            run(&format!("verify store:{reference}")).expect_code(0);
        }
    }
    // Other damage is repaired all the same.
    fs::set_permissions(blob(&store(&theirs), &all[2]), Permissions::from_mode(0o000)).unwrap();
    damage(&blob(&store(&theirs), &all[1]), "flip");
    let repaired = run("verify --repair").expect_code(5);
    assert!(repaired.stdout.contains(&format!("removed {}", all[1])), "{repaired:?}");
}

#[test]
fn a_repository_with_an_index_exists_and_its_other_files_are_recreated() {
    let (cli, _) = cli_with_model();
    let root = cli.home().join("registry");
    let registry = Registry::start_in(&root);
    ok(&cli, &format!("push model {}", registry.reference("a:v1")));
    let path = root.join("repositories/a/oci-layout");
    for how in ["remove", "a directory", "a full directory"] {
        damage(&path, how);
        for path in ["a/tags/list", "a/manifests/v1"] {
            assert_eq!(registry.request("GET", path), 200, "{how}: {path}");
        }
        let repaired = json(&cli, "verify --repair --store registry");
        assert_eq!(repaired["repositories"][0]["completed"], json!(true), "{how}: {repaired}");
        assert!(path.is_file());
    }
}

#[test]
fn an_artifact_whose_digest_changed_in_the_index_is_requested_by_its_tag() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&cli, &format!("push model {reference}"));
    let digest = ok(&cli, &format!("pull {reference}"));
    let index = PathBuf::from(json(&cli, "ls")[0]["layout"].as_str().unwrap()).join("index.json");
    let change = || {
        let other = if digest.ends_with('0') { "1" } else { "0" };
        let changed = format!("{}{other}", &digest[..digest.len() - 1]);
        fs::write(&index, fs::read_to_string(&index).unwrap().replace(&digest, &changed)).unwrap();
    };
    change();
    assert_eq!(ok(&cli, &format!("verify --repair {reference}")), digest);
    assert_eq!(ok(&cli, &format!("verify store:{reference}")), digest);

    change();
    let repaired = json(&cli, "verify --repair");
    assert_eq!(repaired["repositories"][0]["kept"], json!([digest]), "{repaired}");
    ok(&cli, "prune");
    let name = reference.strip_suffix(":v1").unwrap();
    ok(&cli, &format!("verify store:{name}@{digest}"));
}
