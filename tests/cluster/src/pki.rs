//! The cluster's certificates, keys and kubeconfig files, made anew at each start.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::address::{API_PORT, API_SERVICE, CONTROL_PLANE, NodeId};

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A certificate or key could not be made.
    #[error("certificate of {name}")]
    Certificate {
        /// Whose.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A file could not be written.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The files, by the names that the components' flags want.
#[derive(Debug, Clone)]
pub(crate) struct Pki {
    folder: PathBuf,
}

impl Pki {
    /// Makes everything in `folder`. The administrator's kubeconfig points at `127.0.0.1:api_port`,
    /// the others at the API server's own address.
    pub(crate) fn create(folder: &Path, nodes: u8, api_port: u16) -> Result<Self, PkiError> {
        let pki = Self { folder: folder.to_owned() };
        let authority = pki.authority()?;
        pki.leaf(&authority, "apiserver", "kube-apiserver", "", Role::Server)?;
        let masters = "system:masters";
        pki.leaf(
            &authority,
            "kubelet-client",
            "kube-apiserver-kubelet-client",
            masters,
            Role::Client,
        )?;

        let inside = format!("https://{CONTROL_PLANE}:{API_PORT}");
        let outside = format!("https://127.0.0.1:{api_port}");
        pki.user(&authority, "admin", "admin", masters, &outside)?;
        // For use from inside the emulated network, where 127.0.0.1 is another machine.
        pki.kubeconfig("admin-inside", "admin", &inside)?;
        for component in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
            pki.user(&authority, component, &format!("system:{component}"), "", &inside)?;
        }
        for node in NodeId::first(nodes) {
            let name = format!("system:node:{node}");
            pki.user(&authority, &format!("kubelet-{node}"), &name, "system:nodes", &inside)?;
        }

        let service_accounts = generate("service accounts")?;
        pki.write("service-accounts.key", &service_accounts.serialize_pem())?;
        pki.write("service-accounts.pub", &service_accounts.public_key_pem())?;
        Ok(pki)
    }

    /// The path of one of the files, as a flag's value.
    pub(crate) fn path(&self, file: &str) -> String {
        self.folder.join(file).to_string_lossy().into_owned()
    }

    fn authority(&self) -> Result<Issuer<'static, KeyPair>, PkiError> {
        let name = "the authority";
        let key = generate(name)?;
        let mut params = params(name, "baton-cluster", "")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params.self_signed(&key).map_err(certificate_error(name))?;
        self.write("ca.crt", &certificate.pem())?;
        self.write("ca.key", &key.serialize_pem())?;
        Ok(Issuer::new(params, key))
    }

    fn leaf(
        &self,
        authority: &Issuer<'static, KeyPair>,
        file: &str,
        common_name: &str,
        organisation: &str,
        role: Role,
    ) -> Result<(), PkiError> {
        let key = generate(file)?;
        let mut params = params(file, common_name, organisation)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match role {
            Role::Client => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Role::Server => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.subject_alt_names = server_names(file)?;
            }
        }
        let certificate = params.signed_by(&key, authority).map_err(certificate_error(file))?;
        self.write(&format!("{file}.crt"), &certificate.pem())?;
        self.write(&format!("{file}.key"), &key.serialize_pem())
    }

    fn user(
        &self,
        authority: &Issuer<'static, KeyPair>,
        file: &str,
        common_name: &str,
        organisation: &str,
        server: &str,
    ) -> Result<(), PkiError> {
        self.leaf(authority, file, common_name, organisation, Role::Client)?;
        self.kubeconfig(file, file, server)
    }

    /// A kubeconfig is YAML, and JSON is YAML.
    fn kubeconfig(&self, file: &str, user: &str, server: &str) -> Result<(), PkiError> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "baton-cluster", "cluster": {
                "server": server,
                "certificate-authority": self.path("ca.crt"),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate": self.path(&format!("{user}.crt")),
                "client-key": self.path(&format!("{user}.key")),
            }}],
            "contexts": [{"name": "baton-cluster", "context": {
                "cluster": "baton-cluster",
                "user": user,
            }}],
            "current-context": "baton-cluster",
        });
        self.write(&format!("{file}.kubeconfig"), &format!("{config:#}\n"))
    }

    fn write(&self, file: &str, content: &str) -> Result<(), PkiError> {
        let path = self.folder.join(file);
        let write = || {
            fs::create_dir_all(&self.folder)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&path)?.write_all(content.as_bytes())
        };
        write().map_err(|source| PkiError::Io { path: path.clone(), source })
    }
}

#[derive(Clone, Copy)]
enum Role {
    Client,
    Server,
}

fn generate(name: &str) -> Result<KeyPair, PkiError> {
    KeyPair::generate().map_err(certificate_error(name))
}

fn params(name: &str, common: &str, organisation: &str) -> Result<CertificateParams, PkiError> {
    let mut params =
        CertificateParams::new(Vec::<String>::new()).map_err(certificate_error(name))?;
    params.distinguished_name.push(DnType::CommonName, common);
    if !organisation.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, organisation);
    }
    Ok(params)
}

fn server_names(name: &str) -> Result<Vec<SanType>, PkiError> {
    let mut names = vec![
        SanType::IpAddress(API_SERVICE.into()),
        SanType::IpAddress(CONTROL_PLANE.into()),
        SanType::IpAddress([127, 0, 0, 1].into()),
    ];
    for host in [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ] {
        names.push(SanType::DnsName(host.try_into().map_err(certificate_error(name))?));
    }
    Ok(names)
}

fn certificate_error(name: &str) -> impl FnOnce(rcgen::Error) -> PkiError {
    let name = name.to_owned();
    |source| PkiError::Certificate { name, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn every_user_has_a_kubeconfig_that_names_existing_files_only_root_can_read() {
        let scratch = tempfile::tempdir().unwrap();
        let pki = Pki::create(scratch.path(), 2, 16443).unwrap();
        for (user, server) in [
            ("admin", "https://127.0.0.1:16443"),
            ("kube-scheduler", "https://10.200.0.10:6443"),
            ("kubelet-n2", "https://10.200.0.10:6443"),
        ] {
            let content = fs::read(pki.path(&format!("{user}.kubeconfig"))).unwrap();
            let config: serde_json::Value = serde_json::from_slice(&content).unwrap();
            assert_eq!(config["clusters"][0]["cluster"]["server"], server);
            for file in ["client-certificate", "client-key"] {
                let path = config["users"][0]["user"][file].as_str().unwrap();
                let mode = fs::metadata(path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{path}");
            }
        }
        assert!(!Path::new(&pki.path("kubelet-n3.kubeconfig")).exists());
    }
}
