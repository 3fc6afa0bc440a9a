//! The digest cache: a cached digest is never used for a file that has changed in any way.

use crate::harness::{Registry, cli, ok, run};
use modelpack_testkit::SharedMapping;
use std::fs;

const SIZE: usize = 1 << 20;

#[test]
fn a_change_through_a_memory_mapping_is_pushed_although_no_file_time_changes() {
    let (cli, registry) = (cli(), Registry::start());
    let (model, reference) = (cli.home().join("model"), registry.reference("mapped:v1"));
    fs::create_dir(&model).unwrap();
    let weights = model.join("weights.bin");
    fs::write(&weights, vec![0; SIZE]).unwrap();
    let mapping = SharedMapping::of(&weights);
    mapping.store(0, 1);
    for round in 0..20 {
        ok(&cli, &format!("push model {reference}"));
        // The page was already dirty, so neither size nor times change.
        mapping.store(0, 2 + round);
        ok(&cli, &format!("push model {reference}"));
        let out = format!("out{round}");
        ok(&cli, &format!("pull {reference} -o {out}"));
        let pulled = fs::read(cli.home().join(out).join("weights.bin")).unwrap();
        assert!(pulled == fs::read(&weights).unwrap(), "round {round}: the pushed bytes differ from the file");
    }
}

#[test]
fn a_file_changed_through_a_memory_mapping_does_not_count_as_present() {
    let (cli, registry) = (cli(), Registry::start());
    let reference = registry.reference("mapped:v1");
    fs::create_dir(cli.home().join("model")).unwrap();
    fs::write(cli.home().join("model/weights.bin"), vec![0; SIZE]).unwrap();
    ok(&cli, &format!("push model {reference}"));
    ok(&cli, &format!("pull {reference} -o out"));
    let mapping = SharedMapping::of(&cli.home().join("out/weights.bin"));
    mapping.store(0, 1);
    mapping.store(0, 0);
    ok(&cli, &format!("pull {reference} -o out"));
    mapping.store(0, 1);
    run(&cli, &format!("pull {reference} -o out")).expect_code(8);
}
