//! What is mounted, and where: `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// The kernel's list of what this process sees mounted.
pub(crate) const FILE: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// What of its file system is mounted: `/`, a path, or a namespace such as `net:[4026531840]`.
    pub(crate) root: String,
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// Whether it receives what is mounted in a peer group that it does not belong to
    /// (mount_namespaces(7)).
    pub(crate) slave: bool,
}

/// What this process sees mounted. Of several mounts on one point the last one is on top.
///
/// # Errors
/// [`FILE`] cannot be read.
pub(crate) fn seen() -> io::Result<Vec<Mount>> {
    Ok(read(&fs::read_to_string(FILE)?))
}

/// The mounts in the text of [`FILE`]: `ID PARENT DEVICE ROOT POINT OPTIONS TAG… - …`.
pub(crate) fn read(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (before, _) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let slave = fields.skip(1).any(|tag| tag.starts_with("master:"));
        Some(Mount { root: root.to_owned(), point: unescaped(point), slave })
    };
    text.lines().filter_map(mount).collect()
}

/// A path in the kernel's tables, where white space and backslashes are octal: `a\040b`.
fn unescaped(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let octal = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[3..]);
            }
            // The kernel writes no such thing.
            None => bytes.extend(part.as_bytes()),
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_mount_is_read_with_what_it_receives() {
        let text = "\
            90 80 0:1 / / rw,relatime shared:7 master:1 - overlay overlay rw\n\
            91 90 0:4 net:[4026531840] /run/netns/a\\040b rw shared:3 - nsfs nsfs rw\n\
            92 90 0:2 / /run rw,nosuid - tmpfs tmpfs rw,mode=755\n";
        let mount = |root: &str, point: &str, slave| Mount {
            root: root.to_owned(),
            point: point.into(),
            slave,
        };
        let mounts = [
            mount("/", "/", true),
            mount("net:[4026531840]", "/run/netns/a b", false),
            mount("/", "/run", false),
        ];
        assert_eq!(read(text), mounts);
    }

    #[test]
    fn the_kernels_way_to_write_a_path_is_read() {
        for (written, path) in
            [("/run/a", "/run/a"), (r"/run/a\040b\134c", r"/run/a b\c"), (r"/run/\11", r"/run/11")]
        {
            assert_eq!(unescaped(written), Path::new(path), "{written}");
        }
    }
}
