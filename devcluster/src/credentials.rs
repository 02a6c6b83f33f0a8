//! The keys, certificates and tokens of one cluster, in files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use uuid::Uuid;

use crate::{Error, Result};

#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) ca_pem: String,
    pub(crate) ca_file: PathBuf,
    pub(crate) serving_certificate: PathBuf,
    pub(crate) serving_key: PathBuf,
    pub(crate) service_account_key: PathBuf,
    pub(crate) service_account_public_key: PathBuf,
    pub(crate) token_file: PathBuf,
    pub(crate) admin_token: String,
    pub(crate) controller_manager_token: String,
}

impl Credentials {
    /// Creates the credentials and writes them into `dir`, which only its owner can read.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let file = |name: &str, content: &str| {
            let path = dir.join(name);
            fs::write(&path, content).map_err(Error::path("write", &path))?;
            Ok::<_, Error>(path)
        };

        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        ca.distinguished_name.push(DnType::CommonName, "devcluster CA");
        let ca_key = KeyPair::generate()?;
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let ca = Issuer::new(ca, ca_key);

        let mut serving = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let serving_key = KeyPair::generate()?;
        let certificate = serving.signed_by(&serving_key, &ca)?;

        let service_accounts = KeyPair::generate()?;

        let admin_token = Uuid::new_v4().to_string();
        let controller_manager_token = Uuid::new_v4().to_string();
        // Each is a user of its own, so that the audit log distinguishes the controllers' requests from the admin's.
        let tokens = format!(
            "{admin_token},admin,admin,system:masters\n\
             {controller_manager_token},system:kube-controller-manager,controller-manager,system:masters\n"
        );

        Ok(Self {
            ca_file: file("ca.crt", &ca_pem)?,
            ca_pem,
            serving_certificate: file("serving.crt", &certificate.pem())?,
            serving_key: file("serving.key", &serving_key.serialize_pem())?,
            service_account_key: file("service-accounts.key", &service_accounts.serialize_pem())?,
            service_account_public_key: file("service-accounts.pub", &service_accounts.public_key_pem())?,
            token_file: file("tokens.csv", &tokens)?,
            admin_token,
            controller_manager_token,
        })
    }
}

/// Returns a kubeconfig for one bearer token.
pub(crate) fn kubeconfig(url: &str, ca_pem: &str, token: &str) -> String {
    let ca = BASE64_STANDARD.encode(ca_pem);
    format!(
        "\
apiVersion: v1
kind: Config
clusters:
- name: devcluster
  cluster:
    server: {url}
    certificate-authority-data: {ca}
users:
- name: devcluster
  user:
    token: \"{token}\"
contexts:
- name: devcluster
  context:
    cluster: devcluster
    user: devcluster
current-context: devcluster
"
    )
}
