//! The way to a file, from `/`, one name after another.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::geteuid;

use super::judged::{Judged, LOOK, kind};
use super::untrusted::Untrusted;

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// The way from `/` to a file, as far as it has been judged.
pub(super) struct Walk {
    asked: PathBuf,
    /// The folders, each in the one before; the last may be the file.
    way: Vec<Step>,
}

struct Step {
    file: OwnedFd,
    path: PathBuf,
    stat: FileStat,
}

impl Walk {
    pub(super) fn along(asked: PathBuf) -> Result<Option<Judged>, Untrusted> {
        let mut walk = Self { asked, way: Vec::new() };
        walk.enter(Step::open(PathBuf::from("/"), || open("/", LOOK, Mode::empty()))?)?;
        let mut ahead = parts(&walk.asked);
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                walk.way.truncate(walk.way.len().saturating_sub(1).max(1));
                continue;
            }
            let Some(step) = walk.look(&name)? else { return Ok(None) };
            if kind(&step.stat) != SFlag::S_IFLNK {
                walk.enter(step)?;
                continue;
            }
            links += 1;
            let target = match readlinkat(&step.file, "") {
                Ok(target) if links <= MOST_LINKS => target,
                Ok(_) => return Err(step.failed(Errno::ELOOP)),
                Err(errno) => return Err(step.failed(errno)),
            };
            let mut further = parts(Path::new(&target));
            if Path::new(&target).is_absolute() {
                walk.way.truncate(1);
            }
            further.append(&mut ahead);
            ahead = further;
        }
        // The root folder is never taken away.
        let Some(last) = walk.way.pop() else { return Ok(None) };
        Ok(Some(Judged::new(last.file, last.path, &last.stat)))
    }

    /// Finds the next name on the way, in a folder where others cannot swap it.
    fn look(&self, name: &OsStr) -> Result<Option<Step>, Untrusted> {
        let Some(folder) = self.way.last() else { return Ok(None) };
        let shared = folder.is_writable();
        if shared && !folder.is_sticky() {
            return Err(self.writable(folder));
        }
        let looked = Step::open(folder.path.join(name), || {
            openat(&folder.file, name, LOOK | OFlag::O_NOFOLLOW, Mode::empty())
        });
        match looked {
            Ok(step) if shared && !step.is_trusted() => Err(self.owned(&step)),
            Ok(step) => Ok(Some(step)),
            Err(Untrusted::Io { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                // Others could put it there.
                if shared { Err(self.writable(folder)) } else { Ok(None) }
            }
            Err(error) => Err(error),
        }
    }

    fn enter(&mut self, step: Step) -> Result<(), Untrusted> {
        let is_device = matches!(kind(&step.stat), SFlag::S_IFCHR | SFlag::S_IFBLK);
        if !is_device && !step.is_trusted() {
            return Err(self.owned(&step));
        }
        self.way.push(step);
        Ok(())
    }

    fn owned(&self, step: &Step) -> Untrusted {
        let (asked, path) = (self.asked.clone(), step.path.clone());
        Untrusted::Owner { asked, path, owner: step.stat.st_uid }
    }

    fn writable(&self, step: &Step) -> Untrusted {
        let (asked, path) = (self.asked.clone(), step.path.clone());
        Untrusted::Writable { asked, path, mode: step.stat.st_mode & 0o7777 }
    }
}

impl Step {
    fn open(path: PathBuf, open: impl FnOnce() -> nix::Result<OwnedFd>) -> Result<Self, Untrusted> {
        let opened = open().and_then(|file| Ok((fstat(&file)?, file)));
        match opened {
            Ok((stat, file)) => Ok(Self { file, path, stat }),
            Err(errno) => Err(Untrusted::Io { path, source: errno.into() }),
        }
    }

    fn failed(&self, errno: Errno) -> Untrusted {
        Untrusted::Io { path: self.path.clone(), source: errno.into() }
    }

    fn is_trusted(&self) -> bool {
        [0, geteuid().as_raw()].contains(&self.stat.st_uid)
    }

    fn is_writable(&self) -> bool {
        self.stat.st_mode & 0o022 != 0
    }

    fn is_sticky(&self) -> bool {
        self.stat.st_mode & 0o1000 != 0
    }
}

/// The names to walk along.
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}
