//! Files that are read as a whole: regular ones, up to a bound.
//!
//! Users, variables and configurations name files. A pipe or a device may have no end, or wait for one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// More than any setting, lease or configuration of other programs has, in bytes.
pub(crate) const SMALL: u64 = 4 << 20;

/// The content of a regular file, of at most `most` bytes.
///
/// # Errors
/// It cannot be read, is no regular file, or is larger.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // A device may do something when it is opened.
    check(&fs::metadata(path)?)?;
    // Some files of the kernel wait for more, as /proc/kmsg.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    check(&file.metadata()?)?;
    all_of(file, most)
}

/// The same as text.
///
/// # Errors
/// As [`read`], or it is not UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let not_utf8 = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    String::from_utf8(read(path, most)?).map_err(not_utf8)
}

/// What is left of an open file, at most `most` bytes.
///
/// # Errors
/// It cannot be read, or there is more.
pub(crate) fn all_of(file: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match (bytes.len() as u64 > most, most >> 20) {
        (true, 0) => Err(io::Error::other(format!("it is larger than {most} bytes"))),
        (true, mib) => Err(io::Error::other(format!("it is larger than {mib} MiB"))),
        (false, _) => Ok(bytes),
    }
}

fn check(found: &fs::Metadata) -> io::Result<()> {
    match found.is_file() {
        true => Ok(()),
        false if found.is_dir() => Err(Errno::EISDIR.into()),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn what_has_no_end_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let [file, fifo] = ["file", "fifo"].map(|name| folder.path().join(name));
        fs::write(&file, "four").unwrap();
        nix::unistd::mkfifo(&fifo, Mode::S_IRUSR).unwrap();
        let said = |path: &Path| read(path, 4).unwrap_err().to_string();
        assert_eq!(read_text(&file, 4).unwrap(), "four");
        assert_eq!(said(&fifo), "it is not a regular file");
        assert_eq!(said(Path::new("/dev/zero")), "it is not a regular file");
        assert!(said(folder.path()).starts_with("Is a directory"));
        assert_eq!(read(Path::new("/nope"), 4).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&file, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert_eq!(said(&file), "it is larger than 4 bytes");
        let error = read(&file, 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 1 MiB");
    }
}
