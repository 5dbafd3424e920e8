//! Namespaces that killed test runs left.

use std::fs;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::sync::OnceCell;

const LABEL: &str = "baton.dev/test-process";

/// Says which process a namespace belongs to: machine, process id, and when that process started, so
/// that a reused id is another.
pub(super) fn owner_label() -> (String, String) {
    (LABEL.to_owned(), owner(std::process::id()).unwrap_or_else(|| "unknown".to_owned()))
}

/// Deletes, once for each test process, what dead test processes of this machine left. Others' and
/// living ones' are left alone.
pub(super) async fn sweep_once(client: &Client) {
    static SWEPT: OnceCell<()> = OnceCell::const_new();
    SWEPT.get_or_init(|| sweep(client)).await;
}

/// Lets a namespace stay when its owner is dead.
pub(super) async fn keep(client: &Client, name: &str) -> kube::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let ownerless = json!({"metadata": {"labels": {LABEL: null}}});
    namespaces.patch(name, &PatchParams::default(), &Patch::Merge(ownerless)).await.map(drop)
}

async fn sweep(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let labelled = ListParams::default().labels(LABEL);
    let found = namespaces.list(&labelled).await.expect("namespaces can be listed");
    let dead = found.iter().filter(|namespace| {
        let label = namespace.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL));
        label.is_some_and(|label| is_dead(label))
    });
    let names: Vec<&str> =
        dead.filter_map(|namespace| namespace.metadata.name.as_deref()).collect();
    // Somebody else may delete them at the same time.
    join_all(
        names.iter().map(async |name| namespaces.delete(name, &DeleteParams::default()).await),
    )
    .await;
}

fn is_dead(label: &str) -> bool {
    let mut parts = label.rsplit('.');
    let (Some(_started), Some(process), Some(machine)) = (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    machine == self::machine()
        && process.parse().is_ok_and(|process| owner(process).as_deref() != Some(label))
}

/// `<machine>.<process>.<start>`, a valid label value.
fn owner(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // proc_pid_stat(5): the 22nd field is the start time; the 3rd follows the command.
    let started = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.to_owned();
    Some(format!("{}.{process}.{started}", machine()))
}

/// This boot of this machine.
fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.chars().filter(char::is_ascii_hexdigit).take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dead_processes_of_this_machine_are_dead() {
        let own = owner(std::process::id()).unwrap();
        assert!(!is_dead(&own));
        // Our id, but another start: a process that had the id before us.
        let reused = format!("{}.{}.1", machine(), std::process::id());
        assert!(is_dead(&reused));
        assert!(is_dead(&format!("{}.4194999.1", machine())));
        assert!(!is_dead("0123456789abcdef.4194999.1"));
        assert!(!is_dead("unknown"));
    }

    #[test]
    fn the_owner_is_a_label_value() {
        let (_, value) = owner_label();
        assert!(value.len() <= 63 && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '.'));
    }
}
