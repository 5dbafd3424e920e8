//! The node's view of the file system: the machine's own, but for the folders that daemons write to.

use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
};

use super::NodeSpec;

/// The folders in which daemons keep state, each with its place in the node's own folder. They exist
/// on every Linux system, so that nothing has to be made on the machine to be covered.
const COVERED: [(&str, &str); 3] = [("/run", "run"), ("/var/lib", "lib"), ("/var/log", "log")];

/// Folders that daemons want to find.
const WANTED: [&str; 2] = ["/run/netns", "/var/lib/cni"];

/// Kernel-wide settings that a kubelet writes. The node gets copies, so that the machine keeps its
/// own.
const PRIVATE_SETTINGS: [&str; 6] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

pub(super) fn prepare(spec: &NodeSpec) -> io::Result<()> {
    rustix::system::sethostname(spec.hostname.as_bytes())?;
    // The pid namespace is new: the old /proc shows other processes.
    mount("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NODEV, None)
        .map_err(at("mount /proc"))?;
    cover_settings(&spec.folder)?;

    // Whatever the covers would hide is brought below the state folder first: the cache with the
    // programs may lie in a home below /var/lib.
    let programs = spec.folder.join("bin");
    bind(&spec.programs, &programs)?;
    let state_in_cover = spec.folder.join("lib").join(spec.state.file_name().unwrap_or_default());
    bind(&spec.state, &state_in_cover)?;
    for (place, own) in COVERED {
        bind(&spec.folder.join(own), Path::new(place))?;
    }
    for folder in WANTED {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    // Containers' volumes are mounted by the kubelet and seen through the runtime: both need shared
    // mounts. They stay within this mount namespace, which was made a slave of the machine's before.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .map_err(at("share mounts"))
}

fn cover_settings(folder: &Path) -> io::Result<()> {
    let copies = folder.join("settings");
    fs::create_dir_all(&copies)?;
    for setting in PRIVATE_SETTINGS {
        let real = Path::new("/proc/sys").join(setting);
        // Not every kernel has each of them.
        let Ok(value) = fs::read(&real) else { continue };
        let copy = copies.join(setting.replace('/', "."));
        fs::write(&copy, value)?;
        mount_bind(&copy, &real).map_err(at(setting))?;
    }
    Ok(())
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    for folder in [from, to] {
        fs::create_dir_all(folder).map_err(at(&folder.to_string_lossy()))?;
    }
    mount_bind_recursive(from, to).map_err(at(&format!(
        "bind {} to {}",
        from.display(),
        to.display()
    )))
}

/// An error that says where it happened.
fn at<E: Into<io::Error>>(what: &str) -> impl FnOnce(E) -> io::Error {
    move |error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{what}: {error}"))
    }
}
