//! The client of the API server: by a kubeconfig, or with what every pod is given.

use kube::Client;
use kube::config::{Config, InClusterError, KubeConfigOptions, KubeconfigError};

/// There is no API server to talk to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a pod's credentials.
    #[error(
        "no Kubernetes to talk to: run in a pod, or set KUBECONFIG to a file that can be used; here {kubeconfig}, and this is \
         no pod: {in_cluster}"
    )]
    Config {
        /// What is wrong with the kubeconfig.
        kubeconfig: String,
        /// Why this is no pod.
        in_cluster: Box<InClusterError>,
    },
    /// They were found, and cannot be used.
    #[error("no Kubernetes to talk to: the credentials that were found cannot be used")]
    Client(#[source] kube::Error),
}

/// The client.
///
/// # Errors
/// When nothing says where the API server is. That it answers is not asked.
pub async fn connect() -> Result<Client, ConnectError> {
    // As `Config::infer` does, which keeps the two faults to itself and tells them together.
    let config = match Config::from_kubeconfig(&KubeConfigOptions::default()).await {
        Ok(config) => config,
        Err(fault) => Config::incluster().map_err(|in_cluster| ConnectError::Config {
            kubeconfig: told(&fault),
            in_cluster: Box::new(in_cluster),
        })?,
    };
    Client::try_from(config).map_err(ConnectError::Client)
}

/// A kubeconfig's fault, in one line. Its parser would show the lines around the fault, and there are secrets in them.
fn told(error: &KubeconfigError) -> String {
    let KubeconfigError::Parse(fault) = error else { return error.to_string() };
    let file = std::env::var("KUBECONFIG").unwrap_or_else(|_| "~/.kube/config".to_owned());
    match fault.location() {
        Some(at) => {
            format!("{file} is no kubeconfig, by line {}, column {}", at.line(), at.column())
        }
        None => format!("{file} is no kubeconfig"),
    }
}
