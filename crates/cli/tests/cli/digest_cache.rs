//! Digests that are remembered: a file that is changed in any way is never taken for what it was.

use crate::harness::{Registry, cli, ok, run};
use modelpack_testkit::SharedMapping;
use std::fs;

const SIZE: usize = 1 << 20;

#[test]
fn what_was_stored_through_a_mapping_is_pushed_though_no_time_tells_of_it() {
    let (cli, registry) = (cli(), Registry::start());
    let (model, reference) = (cli.home().join("model"), registry.reference("mapped:v1"));
    fs::create_dir(&model).unwrap();
    let weights = model.join("weights.bin");
    fs::write(&weights, vec![0; SIZE]).unwrap();
    let mapping = SharedMapping::of(&weights);
    mapping.store(0, 1);
    for round in 0..20 {
        ok(&cli, &format!("push model {reference}"));
        // The page is dirty since before, so that neither size nor times change.
        mapping.store(0, 2 + round);
        ok(&cli, &format!("push model {reference}"));
        let out = format!("out{round}");
        ok(&cli, &format!("pull {reference} -o {out}"));
        let pulled = fs::read(cli.home().join(out).join("weights.bin")).unwrap();
        assert!(pulled == fs::read(&weights).unwrap(), "round {round}: what was pushed is not what is there");
    }
}

#[test]
fn what_was_stored_through_a_mapping_is_no_file_that_is_there_already() {
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
