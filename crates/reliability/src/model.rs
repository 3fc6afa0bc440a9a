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

/// Writes a model of at most 8 MB. Some of its files are large enough to be fetched in ranges.
pub fn write(directory: &Path, random: &mut Random) {
    FILES.iter().for_each(|name| write_file(&directory.join(name), random));
}

/// Writes a later version of the model in `old`: one weight file is different, and perhaps other
/// files are too. That weight file has as many bytes as `large` says.
pub fn write_next(old: &Path, directory: &Path, large: Option<u64>, random: &mut Random) {
    let changed = FILES[4 + usize::try_from(random.below(3)).expect("there are three files of weights")];
    for name in FILES {
        let (from, to) = (old.join(name), directory.join(name));
        if let Some(len) = large.filter(|_| name == changed) {
            make_parent(&to);
            fs::write(&to, large_safetensors(len, random)).unwrap_or_else(|e| panic!("cannot write {to:?}: {e}"));
        } else if name == changed || random.once_in(3) {
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
        Some("safetensors") => safetensors(200_000 + random.below(2_300_000), random),
        _ => {
            format!("# {:x}\n", random.number()).repeat(1 + usize::try_from(random.below(2000)).expect("the number is small")).into_bytes()
        }
    };
    make_parent(path);
    fs::write(path, content).unwrap_or_else(|e| panic!("cannot write {path:?}: {e}"));
}

fn safetensors(len: u64, random: &mut Random) -> Vec<u8> {
    [header_of(len), random.bytes(len)].concat()
}

/// Many bytes at little cost: random blocks that repeat, each with its own number, so that no two
/// places are the same.
fn large_safetensors(len: u64, random: &mut Random) -> Vec<u8> {
    const BLOCK: usize = 4096;
    let mut content = header_of(len);
    let block = random.bytes(BLOCK as u64);
    let end = content.len() + usize::try_from(len).expect("models here are small");
    while content.len() < end {
        let number = content.len() as u64;
        content.extend_from_slice(&number.to_le_bytes());
        content.extend_from_slice(&block);
    }
    content.truncate(end);
    content
}

fn header_of(len: u64) -> Vec<u8> {
    let header = format!(r#"{{"weights":{{"dtype":"U8","shape":[{len}],"data_offsets":[0,{len}]}}}}"#);
    [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
}

fn make_parent(path: &Path) {
    let parent = path.parent().expect("a name was joined to the directory");
    fs::create_dir_all(parent).unwrap_or_else(|e| panic!("cannot create {parent:?}: {e}"));
}
