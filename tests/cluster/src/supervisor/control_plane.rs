//! etcd, the API server, the controllers and the scheduler, on a machine of their own.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::daemon::{Daemon, DaemonEnded};
use crate::address::{API_PORT, CONTROL_PLANE, PODS, SERVICES};
use crate::control::Component;
use crate::kube_program::KubeProgram;
use crate::names;
use crate::node_init::{Act, DaemonState};
use crate::pki::Pki;

const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEER: &str = "http://127.0.0.1:2380";

/// The control plane's daemons.
#[derive(Debug)]
pub(super) struct ControlPlane(BTreeMap<Component, Daemon>);

impl ControlPlane {
    pub(super) fn new(programs: &KubeProgram, pki: &Pki, state: &Path) -> Self {
        let namespace = names::control_plane_namespace();
        let daemons = Component::ALL.map(|component| {
            let name = component.to_string();
            let mut command = vec![programs.component(&name).to_string_lossy().into_owned()];
            command.extend(match component {
                Component::Etcd => etcd(state),
                Component::KubeApiserver => api_server(pki),
                Component::KubeControllerManager => controller_manager(pki),
                Component::KubeScheduler => follower("kube-scheduler", pki),
            });
            (component, Daemon::new(&name, &namespace, command, &names::log_dir()))
        });
        Self(daemons.into_iter().collect())
    }

    pub(super) async fn act(&mut self, component: Component, act: Act) -> io::Result<()> {
        match self.0.get_mut(&component) {
            Some(daemon) => daemon.act(act).await,
            None => Err(io::Error::other(format!("there is no {component}"))),
        }
    }

    pub(super) fn states(&mut self) -> BTreeMap<Component, DaemonState> {
        self.0.iter_mut().map(|(component, daemon)| (*component, daemon.state())).collect()
    }

    /// Has any daemon ended by itself?
    pub(super) fn check(&mut self) -> Result<(), DaemonEnded> {
        self.0.values_mut().try_for_each(Daemon::check)
    }
}

fn etcd(state: &Path) -> Vec<String> {
    flags([
        ("name", "baton".to_owned()),
        ("data-dir", state.join("etcd").to_string_lossy().into_owned()),
        ("listen-client-urls", ETCD.to_owned()),
        ("advertise-client-urls", ETCD.to_owned()),
        ("listen-peer-urls", ETCD_PEER.to_owned()),
        ("initial-advertise-peer-urls", ETCD_PEER.to_owned()),
        ("initial-cluster", format!("baton={ETCD_PEER}")),
        // The data does not outlive the cluster: nothing is gained by waiting for the disk.
        ("unsafe-no-fsync", "true".to_owned()),
        ("log-level", "warn".to_owned()),
    ])
}

fn api_server(pki: &Pki) -> Vec<String> {
    flags([
        ("etcd-servers", ETCD.to_owned()),
        ("bind-address", "0.0.0.0".to_owned()),
        ("secure-port", API_PORT.to_string()),
        ("advertise-address", CONTROL_PLANE.to_string()),
        ("service-cluster-ip-range", SERVICES.to_owned()),
        ("client-ca-file", pki.path("ca.crt")),
        ("tls-cert-file", pki.path("apiserver.crt")),
        ("tls-private-key-file", pki.path("apiserver.key")),
        ("kubelet-client-certificate", pki.path("kubelet-client.crt")),
        ("kubelet-client-key", pki.path("kubelet-client.key")),
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
        ("service-account-key-file", pki.path("service-accounts.pub")),
        ("service-account-signing-key-file", pki.path("service-accounts.key")),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        // A webhook's Service leads to its pods without a kube-proxy beside the API server.
        ("enable-aggregator-routing", "true".to_owned()),
        ("default-not-ready-toleration-seconds", "15".to_owned()),
        ("default-unreachable-toleration-seconds", "15".to_owned()),
        ("allow-privileged", "true".to_owned()),
        ("profiling", "false".to_owned()),
    ])
}

fn controller_manager(pki: &Pki) -> Vec<String> {
    let mut command = follower("kube-controller-manager", pki);
    let volume_plugins = names::state_dir().join("volume-plugins");
    command.extend(flags([
        ("use-service-account-credentials", "true".to_owned()),
        ("service-account-private-key-file", pki.path("service-accounts.key")),
        ("root-ca-file", pki.path("ca.crt")),
        ("cluster-signing-cert-file", pki.path("ca.crt")),
        ("cluster-signing-key-file", pki.path("ca.key")),
        ("cluster-cidr", PODS.to_owned()),
        ("allocate-node-cidrs", "false".to_owned()),
        // It makes this folder, by default below /usr/libexec, and leaves it.
        ("flex-volume-plugin-dir", volume_plugins.display().to_string()),
        // A silent node is given up after 16 s; the default is 50 s. Tests wait for it.
        ("node-monitor-period", "2s".to_owned()),
        ("node-monitor-grace-period", "16s".to_owned()),
        // At the default rate a new namespace's ServiceAccount comes four seconds later.
        ("kube-api-qps", "300".to_owned()),
        ("kube-api-burst", "600".to_owned()),
    ]));
    command
}

/// What the API server's single-instance clients have in common.
fn follower(name: &str, pki: &Pki) -> Vec<String> {
    let config = pki.path(&format!("{name}.kubeconfig"));
    flags([
        ("kubeconfig", config.clone()),
        ("authentication-kubeconfig", config.clone()),
        ("authorization-kubeconfig", config),
        ("bind-address", "127.0.0.1".to_owned()),
        ("leader-elect", "false".to_owned()),
    ])
}

fn flags<const N: usize>(flags: [(&str, String); N]) -> Vec<String> {
    flags.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}
