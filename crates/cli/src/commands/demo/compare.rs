//! The comparison at the end of the demo: the packed files with the unpacked ones.

use crate::failure::{Failure, Kind};
use modelpack::InspectedLayer;
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Compares the files that `layers` list in two directories: names, bytes and executable bits. The
/// second directory must not contain other files.
///
/// Returns the number of files and their size. Files that packing leaves out are not in `layers`,
/// so they are not differences.
pub async fn compare(packed: PathBuf, unpacked: PathBuf, layers: Vec<InspectedLayer>) -> Result<(usize, u64), Failure> {
    let compared = tokio::task::spawn_blocking(move || {
        for path in layers.iter().filter_map(|layer| layer.path.as_ref()) {
            compare_files(&packed.join(path.as_str()), &unpacked.join(path.as_str()))?;
        }
        let found = count_files(&unpacked).map_err(|e| cannot_read(&unpacked, &e))?;
        if found != layers.len() {
            return Err(differs(format!("{} files were packed, but {found} are in {}", layers.len(), unpacked.display())));
        }
        Ok((found, layers.iter().map(|layer| layer.size).sum()))
    });
    compared.await.unwrap_or_else(|panic| Err(Failure::new(Kind::Other, panic.to_string())))
}

fn compare_files(one: &Path, other: &Path) -> Result<(), Failure> {
    let open = |path: &Path| {
        let open = || Ok((File::open(path)?, fs::metadata(path)?.permissions().mode() & 0o100 != 0));
        open().map_err(|e| cannot_read(path, &e))
    };
    let ((one_file, one_executable), (other_file, other_executable)) = (open(one)?, open(other)?);
    let (mut one_file, mut other_file) = (BufReader::with_capacity(1 << 18, one_file), BufReader::with_capacity(1 << 18, other_file));
    if one_executable != other_executable {
        return Err(differs(format!("the executable bits of {} and {} differ", one.display(), other.display())));
    }
    loop {
        let a = one_file.fill_buf().map_err(|e| cannot_read(one, &e))?;
        let b = other_file.fill_buf().map_err(|e| cannot_read(other, &e))?;
        let len = a.len().min(b.len());
        if a[..len] != b[..len] || (len == 0 && a.len() != b.len()) {
            return Err(differs(format!("the bytes of {} and {} differ", one.display(), other.display())));
        }
        if len == 0 {
            return Ok(());
        }
        one_file.consume(len);
        other_file.consume(len);
    }
}

fn count_files(directory: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(count)
}

fn differs(message: String) -> Failure {
    Failure::new(Kind::Verification, message)
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Kind::Io, format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_between_two_files_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8], mode| {
            let path = directory.path().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let long = vec![7; (1 << 18) + 1];
        let one = write("one", &long, 0o644);
        assert!(compare_files(&one, &write("same", &long, 0o664)).is_ok());
        for (bytes, mode) in [(&long[..], 0o744), (&long[1..], 0o644), (&[&long[1..], &[8][..]].concat()[..], 0o644), (&[], 0o644)] {
            let other = write("other", bytes, mode);
            assert!(compare_files(&one, &other).is_err());
            assert!(compare_files(&other, &one).is_err());
        }
    }
}
