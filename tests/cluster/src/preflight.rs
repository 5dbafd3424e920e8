//! What the machine must have, checked all at once before anything is started.

use std::fmt;
use std::path::Path;

use crate::cgroup::{CgroupError, Cgroups};
use crate::run;

/// The programs that are run, and the Debian package that has each.
const PROGRAMS: [(&str, &str); 11] = [
    ("conntrack", "conntrack"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("sysctl", "procps"),
    ("runc", "runc"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// The CNI plugins that are used, and where distributions put them.
const CNI_PLUGINS: [&str; 3] = ["host-local", "loopback", "ptp"];
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
const CNI_PACKAGE: &str = "containernetworking-plugins";

/// What was found.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The control group hierarchies.
    pub cgroups: Cgroups,
    /// The folder with the CNI plugins.
    pub cni_folder: &'static str,
}

/// Everything that is wrong with the machine.
#[derive(Debug, thiserror::Error)]
pub struct PreflightError {
    /// Must this be done by root, and is not?
    pub not_root: bool,
    /// Debian packages that are missing.
    pub packages: Vec<&'static str>,
    /// What is wrong with the control groups.
    pub cgroups: Option<CgroupError>,
}

impl fmt::Display for PreflightError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut problems = Vec::new();
        if self.not_root {
            problems.push("namespaces need root: run it as root".to_owned());
        }
        if !self.packages.is_empty() {
            problems.push(format!(
                "packages are missing: apt-get install --no-install-recommends {}",
                self.packages.join(" ")
            ));
        }
        if let Some(error) = &self.cgroups {
            problems.push(error.to_string());
        }
        f.write_str(&problems.join("; "))
    }
}

/// Looks at the machine.
///
/// # Errors
/// Everything that is missing, at once.
pub fn check() -> Result<Machine, PreflightError> {
    let mut packages = missing_packages();
    let cni_folder = CNI_FOLDERS
        .into_iter()
        .find(|folder| CNI_PLUGINS.iter().all(|plugin| Path::new(folder).join(plugin).exists()));
    if cni_folder.is_none() {
        packages.push(CNI_PACKAGE);
    }
    let not_root = !rustix::process::geteuid().is_root();
    match (Cgroups::detect(), cni_folder) {
        (Ok(cgroups), Some(cni_folder)) if packages.is_empty() && !not_root => {
            Ok(Machine { cgroups, cni_folder })
        }
        (cgroups, _) => Err(PreflightError { not_root, packages, cgroups: cgroups.err() }),
    }
}

fn missing_packages() -> Vec<&'static str> {
    let missing = PROGRAMS.iter().filter(|(program, _)| !run::is_installed(program));
    let mut packages: Vec<&str> = missing.map(|&(_, package)| package).collect();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_is_said_in_one_line() {
        let error = PreflightError {
            not_root: true,
            packages: vec!["containerd", "nftables"],
            cgroups: Some(CgroupError::None),
        };
        let said = error.to_string();
        assert!(said.contains("root") && said.contains("containerd nftables"), "{said}");
        assert!(said.contains("control groups") && !said.contains('\n'), "{said}");
    }
}
