//! Small random models, determined by a seed.

use modelpack_testkit::Random;
use std::{fs, path::Path};

/// The files of a model. Its next version changes some of them.
const FILES: [&str; 7] = [
    "config.json",
    "tokenizer.json",
    "README.md",
    "code/model.py",
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
];

/// Writes a model of at most 3 MB.
pub fn write(directory: &Path, random: &mut Random) {
    FILES.iter().for_each(|name| write_file(&directory.join(name), random));
}

/// Writes a later version of the model in `old`: one weight file is different, and perhaps other
/// files are too.
pub fn write_next(old: &Path, directory: &Path, random: &mut Random) {
    let changed = FILES[4 + usize::try_from(random.below(3)).expect("there are three files of weights")];
    for name in FILES {
        let (from, to) = (old.join(name), directory.join(name));
        if name == changed || random.once_in(3) {
            write_file(&to, random);
        } else {
            make_parent(&to);
            fs::copy(&from, &to).unwrap_or_else(|e| panic!("cannot copy {from:?}: {e}"));
        }
    }
}

fn write_file(path: &Path, random: &mut Random) {
    let content = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => format!(r#"{{"model_type":"llama","revision":{}}}"#, random.number()).into_bytes(),
        Some("safetensors") => safetensors(200_000 + random.below(800_000), random),
        _ => {
            format!("# {:x}\n", random.number()).repeat(1 + usize::try_from(random.below(2000)).expect("the number is small")).into_bytes()
        }
    };
    make_parent(path);
    fs::write(path, content).unwrap_or_else(|e| panic!("cannot write {path:?}: {e}"));
}

fn safetensors(len: u64, random: &mut Random) -> Vec<u8> {
    let header = format!(r#"{{"weights":{{"dtype":"U8","shape":[{len}],"data_offsets":[0,{len}]}}}}"#);
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &random.bytes(len)].concat()
}

fn make_parent(path: &Path) {
    let parent = path.parent().expect("a name was joined to the directory");
    fs::create_dir_all(parent).unwrap_or_else(|e| panic!("cannot create {parent:?}: {e}"));
}
