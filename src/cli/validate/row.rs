//! A network that was judged, as a row of a table and as JSON.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::output::line;
use crate::cli::table::{Cell, Style, Table};
use crate::cni::{ConfigError, NetworkConfigList, Outlook, ValidatedPlugin};
use crate::lifecycle::{self, Judgement};
use crate::translate::{Prospects, TakesAddress};

/// A network, or why a file contains none.
pub(super) struct Row {
    /// Its file; none if it is built in, or was not found.
    pub(super) file: Option<PathBuf>,
    pub(super) content: Result<Network, Unread>,
    /// A Docker network without `-o conflist=NAME` uses it.
    pub(super) is_default: bool,
    /// It makes no interface, and was not asked for by its name.
    pub(super) is_passed_over: bool,
}

pub(super) struct Network {
    pub(super) list: NetworkConfigList,
    pub(super) judgement: Judgement,
}

pub(super) struct Unread {
    /// Its name from the user or the folder.
    pub(super) name: String,
    pub(super) problem: String,
}

/// The file that a problem is about.
pub(super) fn file_of(problem: &ConfigError) -> Option<&Path> {
    match problem {
        ConfigError::InFile { path, .. } | ConfigError::Unreadable { path, .. } => Some(path),
        ConfigError::Hidden { file, .. } => Some(file),
        _ => None,
    }
}

impl Unread {
    pub(super) fn new(problem: ConfigError) -> Self {
        let name = file_of(&problem).and_then(Path::file_name).unwrap_or_default();
        Self { name: name.to_string_lossy().into_owned(), problem: problem.to_string() }
    }
}

impl Row {
    pub(super) fn name(&self) -> &str {
        match &self.content {
            Ok(network) => network.list.name(),
            Err(unread) => &unread.name,
        }
    }

    pub(super) fn is_built_in(&self) -> bool {
        self.file.is_none() && self.content.is_ok()
    }

    /// Why CreateNetwork refuses it, a sentence each.
    fn refused(&self) -> Vec<String> {
        match &self.content {
            Ok(network) => network.judgement.refused(),
            Err(unread) => vec![unread.problem.clone()],
        }
    }

    /// What its plugins have that means this for ADD.
    fn of_plugins(&self, outlook: Outlook) -> Vec<String> {
        let network = self.content.as_ref().ok();
        network.map(|it| it.judgement.of_plugins(outlook)).unwrap_or_default()
    }

    /// Why no container can be on it, or not yet.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.refused();
        problems.extend(self.of_plugins(Outlook::FailsNow));
        problems
    }

    /// A cell for each column of [`table`].
    fn cells(&self) -> [Cell; 10] {
        let result = match (self.problems().is_empty(), self.refused().is_empty()) {
            (true, _) => Cell::from("ok"),
            _ if self.is_passed_over => Cell::from("passed over"),
            (false, true) => Cell::from("not ready").bad(),
            (false, false) => Cell::from("failed").bad(),
        };
        let none = || "-".to_owned();
        let Ok(Network { list, judgement: Judgement { validation, prospects, .. } }) =
            &self.content
        else {
            let mut cells = std::array::from_fn(|_| none().into());
            cells[0] = self.name().into();
            cells[7] = result;
            return cells;
        };
        let capabilities = capabilities(list);
        [
            list.name().into(),
            chain(&validation.plugins).into(),
            if prospects.publishes_ports { "yes" } else { "no" }.into(),
            takes_address(prospects).into(),
            families(prospects).into(),
            if lifecycle::exempts_by_default(list) { "exempt" } else { "policy" }.into(),
            match &validation.status {
                None => none().into(),
                Some(Ok(())) => "ready".into(),
                Some(Err(error)) => Cell::from(match error.code() {
                    Some(code) => format!("not ready ({code})"),
                    None => "not ready".to_owned(),
                })
                .bad(),
            },
            result,
            list.cni_version().to_string().into(),
            if capabilities.is_empty() { none() } else { capabilities.join(",") }.into(),
        ]
    }

    pub(super) fn json(&self) -> Value {
        let problems = self.problems();
        let mut json = json!({
            "name": self.content.as_ref().ok().map(|network| network.list.name()),
            "file": self.file,
            "ok": problems.is_empty(),
            "problems": problems,
            "warnings": self.of_plugins(Outlook::Unknown),
            "default": self.is_default,
            "passed_over": self.is_passed_over,
        });
        let Ok(Network { list, judgement: Judgement { validation, prospects, .. } }) =
            &self.content
        else {
            return json;
        };
        json["cni_version"] = json!(list.cni_version());
        json["plugins"] = validation.plugins.iter().map(plugin_json).collect();
        json["capabilities"] = json!(capabilities(list));
        json["status"] = match &validation.status {
            None => Value::Null,
            Some(Ok(())) => json!({ "ready": true }),
            Some(Err(error)) => {
                json!({ "ready": false, "code": error.code(), "message": error.to_string() })
            }
        };
        json["needs_docker_ipam"] = json!(prospects.needs_docker_ipam);
        json["docker"] = json!({
            "publishes_ports": prospects.publishes_ports,
            "fixed_addresses": takes_address(prospects),
            "subnets": prospects.subnets,
            "dual_stack": has_families(prospects).map(|(ipv4, ipv6)| ipv4 && ipv6),
            "forward_exempt": lifecycle::exempts_by_default(list),
            "isolated": self.is_built_in(),
        });
        json
    }
}

fn plugin_json(plugin: &ValidatedPlugin) -> Value {
    json!({
        "type": plugin.plugin_type,
        "ipam_of": plugin.ipam_of,
        "path": plugin.program,
        "supported_versions": plugin.versions,
        "capabilities": plugin.capabilities,
        "problem": plugin.problem.as_ref().map(ToString::to_string),
    })
}

/// `bridge/host-local portmap`.
fn chain(plugins: &[ValidatedPlugin]) -> String {
    plugins.iter().fold(String::new(), |chain, plugin| match (&plugin.ipam_of, chain.as_str()) {
        (Some(_), _) => format!("{chain}/{}", plugin.plugin_type),
        (None, "") => plugin.plugin_type.clone(),
        (None, _) => format!("{chain} {}", plugin.plugin_type),
    })
}

/// What the chain's plugins declare, each once.
pub(in crate::cli) fn capabilities(list: &NetworkConfigList) -> Vec<&str> {
    let mut names: Vec<_> = list.plugins().iter().flat_map(|it| it.capabilities()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn takes_address(prospects: &Prospects) -> &'static str {
    match prospects.takes_address {
        TakesAddress::Several => "several",
        TakesAddress::One => "one",
        TakesAddress::Maybe => "maybe",
    }
}

/// Whether there are addresses of IPv4, and of IPv6.
fn has_families(prospects: &Prospects) -> Option<(bool, bool)> {
    let has = |ipv4| prospects.subnets.iter().any(|subnet| subnet.addr().is_ipv4() == ipv4);
    (!prospects.subnets.is_empty()).then(|| (has(true), has(false)))
}

fn families(prospects: &Prospects) -> String {
    match has_families(prospects) {
        None => "?",
        Some((true, true)) => "IPv4+IPv6",
        Some((true, false)) => "IPv4",
        Some((false, _)) => "IPv6",
    }
    .to_owned()
}

/// The rows, then the note, and the problems.
pub(super) fn table(rows: &[Row], note: &str, style: Style) -> String {
    let head =
        ["NETWORK", "PLUGINS", "PORTS", "FIXED IP", "FAMILIES", "FORWARD", "STATUS", "RESULT"];
    let mut table = Table::new(head).and_wide(["VERSION", "CAPABILITIES"]);
    rows.iter().for_each(|row| table.row(row.cells()));
    let text = table.text(style) + note;
    let problems = rows.iter().flat_map(|row| {
        let warnings = row.of_plugins(Outlook::Unknown).into_iter();
        let warnings = warnings.map(|warning| {
            format!(
                "{warning}; whether it supports the network's version is not known, and it is used"
            )
        });
        row.problems().into_iter().chain(warnings).map(|problem| match &row.content {
            Ok(network) => line(&format!("{}: {problem}", network.list.name())),
            // It contains the name or the file.
            Err(_) => line(&problem),
        })
    });
    let of_docker = rows.iter().filter_map(|row| row.content.as_ref().ok());
    let of_docker = of_docker.filter(|it| it.judgement.prospects.needs_docker_ipam).map(|it| {
        format!(
            "{}: Docker chooses its addresses, so not with --ipam-driver null\n",
            it.list.name()
        )
    });
    let problems: String = problems.chain(of_docker).collect();
    if problems.is_empty() { text } else { text + "\n" + &problems }
}
