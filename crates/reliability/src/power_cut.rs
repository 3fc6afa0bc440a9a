//! What a power failure leaves of partial blobs. After a kill, bytes that were not synced are still
//! there, so they are taken away here.

use crate::scene::{Violation, below};
use modelpack_testkit::Random;
use std::{
    fs,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Rewrites the journals below `home` as if the machine had been started again, with some of the
/// written bytes on the disk and zeros in the place of the others. Returns how many bytes of
/// partial blobs and uploads are lost.
///
/// A disk may also lie, and lose bytes of a partial blob that it said were synced. That shows in
/// the digest when all other bytes have come, so the whole blob is lost as well.
pub fn simulate(home: &Path, random: &mut Random) -> Result<u64, Violation> {
    let mut journals: Vec<_> = below(home).into_iter().filter(|path| path.extension().is_some_and(|name| name == "journal")).collect();
    journals.sort();
    journals.iter().try_fold(0, |lost, journal| Ok(lost + lose(journal, random)?))
}

fn lose(journal: &Path, random: &mut Random) -> Result<u64, Violation> {
    let text = fs::read_to_string(journal).map_err(|e| format!("cannot read {}: {e}", journal.display()))?;
    // The last line of a killed process may be incomplete.
    let lines: Vec<&str> = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).collect();
    let ranges: Vec<Range<u64>> = lines.iter().filter_map(|line| range(line)).collect();
    let synced = usize::try_from(random.below(ranges.len() as u64 + 1)).expect("it is not larger than a length");
    let (kept, others) = ranges.split_at(synced);
    let mut after: Vec<String> = Vec::new();
    for line in &lines {
        match (line.split_once(' '), range(line)) {
            (Some(("boot", _)), _) => {
                after.push("boot 00000000-0000-0000-0000-000000000000".to_owned());
                after.extend(kept.iter().map(|range| format!("synced {} {}", range.start, range.end)));
            }
            (_, Some(range)) if kept.contains(&range) => {}
            _ => after.push((*line).to_owned()),
        }
    }
    let blob = lines.iter().find_map(|line| line.strip_prefix("blob ")?.split_once(' ')?.1.parse::<u64>().ok());
    let lies = blob.filter(|_| !kept.is_empty() && random.once_in(4));
    let zeroed = if lies.is_some() { &ranges[..] } else { others };
    zero(&journal.with_extension(""), zeroed).map_err(|e| format!("cannot change the blob of {}: {e}", journal.display()))?;
    fs::write(journal, after.join("\n") + "\n").map_err(|e| format!("cannot write {}: {e}", journal.display()))?;
    Ok(zeroed.iter().map(|range| range.end - range.start).sum::<u64>() + lies.unwrap_or_default())
}

/// The bytes that a line of a journal says are there.
fn range(line: &str) -> Option<Range<u64>> {
    let (start, end) = line.strip_prefix("synced ").or_else(|| line.strip_prefix("have "))?.split_once(' ')?;
    Some(start.parse().ok()?..end.parse().ok()?)
}

fn zero(blob: &PathBuf, ranges: &[Range<u64>]) -> std::io::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(blob)?;
    ranges.iter().try_for_each(|range| {
        let len = usize::try_from(range.end - range.start).expect("models here are small");
        file.write_all_at(&vec![0; len], range.start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_were_not_synced_are_zero_and_the_boot_is_another() {
        let directory = std::env::temp_dir().join(format!("power-cut-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (blob, journal) = (directory.join("blob"), directory.join("blob.journal"));
        let mut seen = [false; 2];
        for seed in 0..20 {
            fs::write(&blob, [1; 30]).unwrap();
            fs::write(&journal, "head\nblob sha256:12 30\nboot now\nhave 0 10\nhave 20 30\nhave 1").unwrap();
            let lost = simulate(&directory, &mut Random::new(seed, 0)).unwrap();
            let (bytes, text) = (fs::read(&blob).unwrap(), fs::read_to_string(&journal).unwrap());
            let zeros = bytes.iter().filter(|byte| **byte == 0).count() as u64;
            assert!(lost == zeros || lost == zeros + 30, "{lost} {zeros}");
            assert!(text.starts_with("head\nblob sha256:12 30\nboot 0000") && text.ends_with(" 30\n"), "{text}");
            seen[usize::from(text.contains("synced 0 10"))] = true;
            assert!(text.contains("synced 0 10") || text.contains("have 0 10"));
        }
        assert_eq!(seen, [true; 2]);
        fs::remove_dir_all(directory).unwrap();
    }
}
