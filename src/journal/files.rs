//! The files of the journal: `00000001.jsonl`, `00000002.jsonl`, and so on. The last one is written.
//!
//! A file never gets another name, so that who reads along cannot lose its place.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::FOLDER;
use crate::trust;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The size from which a file is followed by the next one, in bytes.
    pub(super) size: u64,
    /// How many files there are at most.
    pub(super) files: u64,
}

impl Default for Bounds {
    /// 16 MiB: some 25,000 events.
    fn default() -> Self {
        Self { size: 4 << 20, files: 4 }
    }
}

/// The files, to write to the last one.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    bounds: Bounds,
    number: u64,
    file: File,
    size: u64,
    /// The last line is whole.
    whole: bool,
}

/// The folder of the journal.
#[must_use]
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join(FOLDER)
}

/// The path of a file.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.jsonl"))
}

/// The numbers of the files that are there, in their order.
///
/// # Errors
/// The folder cannot be read. No folder is no files.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl Files {
    /// Opens the last file below `state_dir`, or makes the first one.
    ///
    /// # Errors
    /// The file system refuses, or what stands there is not this program's own.
    pub(super) fn open(state_dir: &Path, bounds: Bounds) -> io::Result<Self> {
        let folder = folder(state_dir);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !fs::symlink_metadata(&folder)?.is_dir() {
            return Err(io::Error::other(format!("{} is not a folder", folder.display())));
        }
        let number = numbers(&folder)?.last().copied().unwrap_or(1);
        let (file, size, whole) = open(&path(&folder, number))?;
        Ok(Self { folder, bounds, number, file, size, whole })
    }

    /// Appends whole lines.
    ///
    /// # Errors
    /// The file system refuses; then a part of the lines may have been written.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let room = self.bounds.size.saturating_sub(self.size);
        // Somebody may have removed the file.
        if (self.size > 0 && lines.len() as u64 > room) || self.file.metadata()?.nlink() == 0 {
            self.begin_next()?;
        }
        if !self.whole {
            self.file.write_all(b"\n")?;
            self.size += 1;
        }
        self.whole = false;
        self.file.write_all(lines)?;
        self.whole = true;
        self.size += lines.len() as u64;
        Ok(())
    }

    /// Begins the next file, and removes those that are too old.
    fn begin_next(&mut self) -> io::Result<()> {
        let number = self.number + 1;
        (self.file, self.size, self.whole) = open(&path(&self.folder, number))?;
        self.number = number;
        for old in numbers(&self.folder)? {
            if old + self.bounds.files <= number {
                fs::remove_file(path(&self.folder, old))?;
            }
        }
        Ok(())
    }
}

/// Opens a file to append to it: with its size, and whether its last line is whole.
fn open(path: &Path) -> io::Result<(File, u64, bool)> {
    let mut file = trust::open_own_to_append(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let size = file.seek(SeekFrom::End(0))?;
    let mut last = [b'\n'];
    if size > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, size, last == *b"\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const SMALL: Bounds = Bounds { size: 10, files: 3 };

    fn contents(state: &Path) -> Vec<String> {
        let folder = folder(state);
        let numbers = numbers(&folder).unwrap().into_iter();
        numbers.map(|number| fs::read_to_string(path(&folder, number)).unwrap()).collect()
    }

    #[test]
    fn a_full_file_is_followed_by_the_next_and_the_oldest_goes() {
        let state = tempfile::tempdir().unwrap();
        let mut files = Files::open(state.path(), SMALL).unwrap();
        for line in ["1234\n", "56\n", "longer than a file\n", "7\n", "8901234\n", "567\n"] {
            files.append(line.as_bytes()).unwrap();
        }
        assert_eq!(contents(state.path()), ["longer than a file\n", "7\n8901234\n", "567\n"]);
        // The next driver goes on where this one has ended.
        drop(files);
        Files::open(state.path(), SMALL).unwrap().append(b"89\n").unwrap();
        assert_eq!(contents(state.path())[2], "567\n89\n");
    }

    #[test]
    fn a_line_that_was_not_finished_does_not_spoil_the_next() {
        let state = tempfile::tempdir().unwrap();
        Files::open(state.path(), SMALL).unwrap().append(b"half").unwrap();
        Files::open(state.path(), SMALL).unwrap().append(b"1\n").unwrap();
        assert_eq!(contents(state.path()), ["half\n1\n"]);
    }

    #[test]
    fn a_file_that_was_removed_is_made_again() {
        let state = tempfile::tempdir().unwrap();
        let mut files = Files::open(state.path(), SMALL).unwrap();
        files.append(b"1\n").unwrap();
        fs::remove_file(path(&folder(state.path()), 1)).unwrap();
        files.append(b"2\n").unwrap();
        assert_eq!(contents(state.path()), ["2\n"]);
    }

    #[test]
    fn the_files_are_for_root_alone_and_no_link_is_followed() {
        let state = tempfile::tempdir().unwrap();
        drop(Files::open(state.path(), SMALL).unwrap());
        let folder = folder(state.path());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&path(&folder, 1))), (0o700, 0o600));
        let precious = state.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, path(&folder, 2)).unwrap();
        let refused = Files::open(state.path(), SMALL).unwrap_err().to_string();
        assert!(refused.ends_with("00000002.jsonl: it is a link"), "{refused}");
        fs::rename(&folder, state.path().join("moved")).unwrap();
        std::os::unix::fs::symlink(state.path().join("moved"), &folder).unwrap();
        let refused = Files::open(state.path(), SMALL).unwrap_err().to_string();
        assert!(refused.ends_with("journal is not a folder"), "{refused}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }
}
