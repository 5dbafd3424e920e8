//! A real Kubernetes cluster in network, mount and pid namespaces of one Linux machine.
//!
//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kube-proxy are the real
//! ones, built from their Go modules into one program ([`kube_program`]); the container runtime is
//! the distribution's. What is emulated is what lies outside Kubernetes: the network between the
//! machines, a load balancer, home routers with NAT, and things going wrong.
//!
//! One **supervisor** process ([`supervisor`]) owns it all: it is the ancestor of every daemon, so its
//! death ends them, and it holds the lock on the state folder, so there is one cluster at a time.
//! Everything else, the `baton-cluster` command and the tests alike, talks to it over a Unix socket
//! ([`control`]).

pub mod address;
pub mod cgroup;
pub mod control;
pub mod kube_program;
pub mod leftovers;
pub mod names;
pub mod netns;
pub mod node_init;
pub mod preflight;
pub mod run;
pub mod supervisor;

mod lock;
mod pki;
