//! The configuration files of a node's daemons.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use super::Setup;
use crate::address::{NodeId, PODS};
use crate::cgroup::Cgroups;

pub(super) const CONTAINERD: &str = "containerd.toml";
pub(super) const KUBELET: &str = "kubelet.json";
pub(super) const KUBE_PROXY: &str = "kube-proxy.json";
const CNI_FOLDER: &str = "cni";

/// The image of the process that holds a pod's namespaces; the supervisor loads it into each node.
pub(super) const PAUSE_IMAGE: &str = "registry.local/baton/pause:1";

/// Its archive, in the state folder.
pub(super) const PAUSE_ARCHIVE: &str = "pause.tar";

/// Writes every file into the node's folder.
pub(super) fn write(setup: &Setup, node: NodeId, folder: &Path) -> io::Result<()> {
    let cni = folder.join(CNI_FOLDER);
    fs::create_dir_all(&cni)?;
    fs::write(folder.join(CONTAINERD), containerd(setup.machine.cni_folder, &cni))?;
    fs::write(folder.join("resolv.conf"), "")?;
    let config = |name: &str, content: serde_json::Value| {
        fs::write(folder.join(name), format!("{content:#}\n"))
    };
    config(KUBELET, kubelet(setup, node, folder))?;
    config(KUBE_PROXY, kube_proxy(setup, node))?;
    config(&format!("{CNI_FOLDER}/10-baton.conflist"), network(node))
}

fn containerd(plugins: &str, cni: &Path) -> String {
    let cni = cni.display();
    // `restrict_oom_score_adj`: without CAP_SYS_RESOURCE every sandbox would die otherwise.
    // The `opt` plugin would make /opt/containerd on the machine.
    format!(
        r#"version = 2
disabled_plugins = [
  "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
disable_apparmor = true
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{cni}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}

fn kubelet(setup: &Setup, node: NodeId, folder: &Path) -> serde_json::Value {
    // The nodes share one disk and one memory: a full disk is nothing that evicting pods would mend.
    let never = json!({
        "memory.available": "0%",
        "nodefs.available": "0%",
        "nodefs.inodesFree": "0%",
        "imagefs.available": "0%",
        "imagefs.inodesFree": "0%",
    });
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": setup.pki.path("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": Cgroups::node_root(&node.to_string()),
        "cgroupsPerQOS": true,
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "enforceNodeAllocatable": ["pods"],
        "evictionHard": never,
        "failCgroupV1": false,
        "failSwapOn": false,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "makeIPTablesUtilChains": false,
        "maxPods": 60,
        "nodeLeaseDurationSeconds": 16,
        "nodeStatusUpdateFrequency": "4s",
        "oomScoreAdj": 0,
        "protectKernelDefaults": false,
        "readOnlyPort": 0,
        "resolvConf": folder.join("resolv.conf"),
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
    })
}

fn kube_proxy(setup: &Setup, node: NodeId) -> serde_json::Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": setup.shape.proxy_mode.to_string(),
        "clientConnection": {"kubeconfig": setup.pki.path("kube-proxy.kubeconfig")},
        "clusterCIDR": PODS,
        // Zero: leave the kernel's settings alone. They are read-only in a namespace.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpCloseWaitTimeout": "0s",
            "tcpEstablishedTimeout": "0s",
        },
        "detectLocalMode": "ClusterCIDR",
        "healthzBindAddress": "0.0.0.0:10256",
        "hostnameOverride": node.to_string(),
        "iptables": {"minSyncPeriod": "100ms"},
        "metricsBindAddress": "127.0.0.1:10249",
        "nftables": {"minSyncPeriod": "100ms"},
        "nodePortAddresses": ["primary"],
    })
}

/// Every pod hangs on a cable of its own: all its traffic passes the node's routing, where a Service's
/// translation is undone. On a bridge, an answer between two pods of one node would bypass it.
fn network(node: NodeId) -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "baton",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": node.pod_subnet()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}
