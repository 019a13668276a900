//! The folder of CNI configuration files, and how a network is found in it.
//!
//! ```text
//!   10-web.conflist      a network: its name stands inside
//!   20-old.conf          a network of one plugin, in the form of before lists
//!   30-old.json          the same
//!   web/50-more.conf     a plugin that joins the chain of the network "web"
//! ```
//!
//! Where only root is trusted, files that others could change give no network, and a folder
//! that they could change gives none at all. What is masked by a link to a device, as to
//! `/dev/null`, is not there.
//!
//! Nothing is watched or remembered: every look reads the folder again.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::MOST_PLUGINS;
use super::list::Inlined;
use crate::cni::{ConfigError, NetworkConfigList, PluginConfig, lenient, name};
use crate::trust::{Judged, Trust, Untrusted};
use crate::whole;

/// A folder of CNI configuration files, `/etc/cni/net.d` for example.
#[derive(Debug, Clone)]
pub struct ConfDir {
    path: PathBuf,
    trust: Trust,
}

/// What a folder holds, in the order of the file names.
#[derive(Debug, Default)]
pub struct Listing {
    /// The networks that [`ConfDir::load`] can give.
    pub networks: Vec<Listed>,
    /// The files that give no network, each as a [`ConfigError::InFile`] or
    /// [`ConfigError::Hidden`]; or that the folder itself cannot be read.
    pub problems: Vec<ConfigError>,
}

/// A network, and the file that it stands in.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The file that was read.
    pub file: PathBuf,
    /// What it says, with the plugins of the network's folder.
    pub list: NetworkConfigList,
}

type Result<T> = std::result::Result<T, ConfigError>;

impl ConfDir {
    /// A folder; it need not exist, which is the same as if it were empty. Anybody's files are
    /// read: see [`ConfDir::trusting`].
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, trust: Trust::Anybody }
    }

    /// The same folder, of which only what these could change is read.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The network called `name`: of several, one in a `.conflist` before one in a `.conf`
    /// or `.json`, and then the first by file name, as with libcni.
    ///
    /// A file that cannot be read does not keep the networks in the other files from being
    /// found, unlike with libcni.
    ///
    /// # Errors
    ///
    /// [`ConfigError::NotFound`] lists the names that are there and the files that could not
    /// be read; [`ConfigError::Name`] where nothing can be called so; [`ConfigError::Untrusted`]
    /// where others could change the folder, or the only file that has it.
    pub fn load(&self, name: &str) -> Result<NetworkConfigList> {
        name::check_network(name)?;
        let Listing { networks, problems } = self.list();
        let mut known = Vec::new();
        for network in networks {
            if network.list.name() == name {
                return Ok(network.list);
            }
            known.push(network.list.name().to_owned());
        }
        // Said as such, where it is the reason.
        let by_anybody = self.clone().trusting(Trust::Anybody).list().networks;
        if let Some(found) = by_anybody.iter().find(|network| network.list.name() == name) {
            files_in(&self.path, &[], self.trust)?;
            read_network(&found.file, self.trust)?;
        }
        Err(ConfigError::NotFound {
            name: name.to_owned(),
            dir: self.path.clone(),
            known,
            problems,
        })
    }

    /// The default network: the first file that can be used, by file name, as kubelet's
    /// runtimes choose it. None when there is no configuration file at all.
    ///
    /// A file that cannot be used is skipped with a warning in the log; and so is, without one,
    /// a network that makes no interface, as the one of `loopback` that many hosts have.
    ///
    /// # Errors
    ///
    /// [`ConfigError::NoneUsable`]: there are files, and not one can be used.
    pub fn first(&self) -> Result<Option<NetworkConfigList>> {
        let mut problems = Vec::new();
        for found in self.read() {
            match found {
                Ok(found) if !found.list.makes_interface() => {}
                Ok(found) => return Ok(Some(found.list)),
                Err(problem) => {
                    tracing::warn!(%problem, "passing over a CNI configuration");
                    problems.push(problem);
                }
            }
        }
        if problems.is_empty() {
            return Ok(None);
        }
        Err(ConfigError::NoneUsable { dir: self.path.clone(), problems })
    }

    /// Everything in the folder.
    #[must_use]
    pub fn list(&self) -> Listing {
        let mut listing = Listing::default();
        for found in self.read() {
            match found {
                Ok(found) => listing.admit(found),
                Err(problem) => listing.problems.push(problem),
            }
        }
        listing
    }

    /// Every file with a network in it, read, by file name.
    fn read(&self) -> impl Iterator<Item = Result<Listed>> + '_ {
        let (files, problem) = match files_in(&self.path, &["conflist", "conf", "json"], self.trust)
        {
            Ok(files) => (files, None),
            Err(problem) => (Vec::new(), Some(Err(problem))),
        };
        problem.into_iter().chain(files.into_iter().map(|file| {
            let list = NetworkConfigList::from_file_trusting(&file, self.trust)?;
            Ok(Listed { file, list })
        }))
    }
}

impl Listing {
    /// Takes a network in, unless another of its name goes before it.
    fn admit(&mut self, found: Listed) {
        let rival = self.networks.iter_mut().find(|other| other.list.name() == found.list.name());
        let Some(rival) = rival else {
            self.networks.push(found);
            return;
        };
        let mut hidden = found;
        if is_conflist(&hidden.file) && !is_conflist(&rival.file) {
            std::mem::swap(rival, &mut hidden);
        }
        self.problems.push(ConfigError::Hidden {
            file: hidden.file,
            name: hidden.list.name().to_owned(),
            by: rival.file.clone(),
        });
    }
}

impl NetworkConfigList {
    /// Reads one configuration file: a single plugin if it ends in `.conf` or `.json`, else a
    /// list, with the plugins of the network's folder beside it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what is wrong, and in which file.
    pub fn from_file(file: &Path) -> Result<Self> {
        Self::from_file_trusting(file, Trust::Anybody)
    }

    /// As [`NetworkConfigList::from_file`], unless others than these could change a file of it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what is wrong, and in which file.
    pub fn from_file_trusting(file: &Path, trust: Trust) -> Result<Self> {
        read_network(file, trust).map_err(|problem| problem.in_file(file.to_owned()))
    }
}

fn is_conflist(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "conflist")
}

fn read_network(file: &Path, trust: Trust) -> Result<NetworkConfigList> {
    let bytes = read_file(file, trust)?;
    if file.extension().is_some_and(|extension| extension == "conf" || extension == "json") {
        return NetworkConfigList::up_convert(&bytes);
    }
    let Inlined { mut list, only } = NetworkConfigList::parse_inlined(&bytes)?;
    if !only {
        // The name was checked: it cannot lead out of the folder.
        let folder = file.with_file_name(list.name());
        for file in files_in(&folder, &["conf"], trust)? {
            let plugin = read_plugin(&file, trust).map_err(|problem| problem.in_file(file))?;
            list = list.with_plugin(plugin);
        }
    }
    match list.plugins().len() {
        0 => Err(ConfigError::NoPlugins),
        1..=MOST_PLUGINS => Ok(list),
        many => Err(ConfigError::TooManyPlugins(many)),
    }
}

fn read_plugin(file: &Path, trust: Trust) -> Result<PluginConfig> {
    PluginConfig::from_json(lenient::parse(&read_file(file, trust)?)?)
}

/// The files in `folder` that end in one of `extensions`, by file name. A folder that does
/// not exist has none.
fn files_in(folder: &Path, extensions: &[&str], trust: Trust) -> Result<Vec<PathBuf>> {
    let unreadable = |source| ConfigError::Unreadable { path: folder.to_owned(), source };
    // Before anything in it is looked at; each file is judged when it is read.
    judge(folder, trust)?;
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let wanted = path
            .extension()
            .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted));
        let is_passed_over = || {
            std::fs::metadata(&path)
                .map(|found| found.file_type())
                .is_ok_and(|kind| kind.is_dir() || kind.is_char_device() || kind.is_block_device())
        };
        if wanted && !is_passed_over() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A file whose permissions cannot be read is reported as unreadable, not as untrusted.
fn judge(path: &Path, trust: Trust) -> Result<Option<Judged>> {
    trust.judge(path).map_err(|problem| match problem {
        Untrusted::Io { path, source } => ConfigError::Unreadable { path, source },
        problem => problem.into(),
    })
}

/// Reads a file; never a pipe or a device, which could have no end.
fn read_file(file: &Path, trust: Trust) -> Result<Vec<u8>> {
    let judged = judge(file, trust)?;
    let read = || {
        let judged = judged.ok_or_else(|| io::Error::from(Errno::ENOENT))?;
        whole::all_of(judged.read()?, whole::SMALL)
    };
    read().map_err(|source| ConfigError::Unreadable { path: file.to_owned(), source })
}
