//! The way of all calls to AWS: certificates, proxies, and HTTPS instead of plain HTTP. May do: HTTPS, and read the
//! environment and the file that it names.
//!
//! An answer is read up to [`ANSWER_LIMIT`]. A longer answer counts as unreadable.

use std::{error::Error, fmt, path::PathBuf, sync::Arc, time::Duration};

use aws_config::{AppName, BehaviorVersion, ConfigLoader, Region, SdkConfig, retry::RetryConfig};
use aws_smithy_http_client::{
    Builder, ConnectorBuilder,
    proxy::ProxyConfig,
    tls::{self, TlsContext, TrustStore},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        connector_metadata::ConnectorMetadata,
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::HttpRequest,
        result::ConnectorError,
        runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag};
use aws_types::service_config::ServiceConfigKey;
use http::Uri;
use http_body_util::Limited;
use hyper_util::client::legacy::Error as HttpError;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_native_certs::load_certs_from_paths;

use super::{
    errors::find,
    given::{BadEndpoint, BadVariable, check_url, check_variables, way},
};
use crate::proxy::Proxies;

/// Longest body of an answer, in bytes. AWS's longest are pages of a list, and an API's schema, which is under 1 MB.
pub(super) const ANSWER_LIMIT: usize = 8 << 20;
/// How long an unused connection is kept. AWS closes unused connections after about a minute. A write on a connection
/// that is being closed has an unknown outcome, so ours are closed earlier.
const IDLE: Duration = Duration::from_secs(20);
/// The variable that names a file with more certificate authorities, as in the AWS CLI. The SDK for Rust does not read
/// it.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The name of this program in AWS's logs.
const APP_NAME: &str = concat!("amplify-operator-", env!("CARGO_PKG_VERSION"));
/// The variable that names a file with the certificate authorities of the system.
const SYSTEM_BUNDLE: &str = "SSL_CERT_FILE";
/// The variable that names a folder with them.
const SYSTEM_FOLDER: &str = "SSL_CERT_DIR";
/// The services that are called: their names in the SDK, and the variables of their endpoints. The last three give
/// credentials to profiles.
const SERVICES: [(&str, &str); 6] = [
    ("amplifybackend", "AWS_ENDPOINT_URL_AMPLIFYBACKEND"),
    ("amplify", "AWS_ENDPOINT_URL_AMPLIFY"),
    ("sts", "AWS_ENDPOINT_URL_STS"),
    ("sso", "AWS_ENDPOINT_URL_SSO"),
    ("sso oidc", "AWS_ENDPOINT_URL_SSO_OIDC"),
    ("signin", "AWS_ENDPOINT_URL_SIGNIN"),
];
/// Why there is no way to AWS.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// A file of certificate authorities cannot be used.
    #[error("{variable} is {}: {why}. Name a file of certificates in PEM form, or unset it", .file.display())]
    CaBundle {
        /// The variable that names it.
        variable: &'static str,
        /// Its path.
        file: PathBuf,
        /// The problem.
        why: String,
    },
    /// A folder of certificate authorities has none.
    #[error("{SYSTEM_FOLDER} is {}: it holds no certificate. Name a folder of certificates in PEM form, or unset it", .0.display())]
    Folder(PathBuf),
    /// A variable cannot be used.
    #[error(transparent)]
    Variable(#[from] BadVariable),
    /// No request can be sent to the endpoint of a service.
    #[error("the endpoint of {service} (AWS_ENDPOINT_URL, {variable}, or endpoint_url of the AWS profile): {refused}")]
    Endpoint {
        /// The service.
        service: &'static str,
        /// The service's own variable.
        variable: &'static str,
        /// The problem.
        refused: BadEndpoint,
    },
}

/// The way of requests to AWS.
#[derive(Clone, Debug)]
pub struct Route {
    proxies: Arc<Proxies>,
    trust: TlsContext,
    plain_http: bool,
}

impl Route {
    /// Makes the way of this machine: through these proxies, with the certificate authorities of the system and of
    /// `AWS_CA_BUNDLE`, and with plain HTTP to other machines if that is allowed.
    ///
    /// # Errors
    ///
    /// A file of certificate authorities or a variable cannot be used, or an endpoint is plain HTTP and that is not
    /// allowed.
    pub async fn of_machine(proxies: Arc<Proxies>, plain_http: bool) -> Result<Self, NoWay> {
        let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        check_variables(variable)?;
        let trust = bundle(CA_BUNDLE, trust)?.unwrap_or_default();
        // The SDK would go on without any authority.
        if bundle(SYSTEM_BUNDLE, |pem| roots(pem, Unusable::Skipped))?.is_none() {
            folder()?;
        }
        let route = Self {
            proxies,
            trust,
            plain_http,
        };
        // Without a region and credentials, the SDK sends nothing to find them.
        let offline = route.loader().region(Region::from_static("us-east-1")).no_credentials();
        route.check_endpoints(&offline.load().await)?;
        Ok(route)
    }

    /// Checks the endpoints that the environment or the profile names.
    fn check_endpoints(&self, config: &SdkConfig) -> Result<(), NoWay> {
        for (service, variable) in SERVICES {
            let key = ServiceConfigKey::builder()
                .service_id(service)
                .env("AWS_ENDPOINT_URL")
                .profile("endpoint_url")
                .build();
            let own = key.ok().and_then(|key| config.service_config()?.load_config(key));
            let named = own.or_else(|| config.endpoint_url().map(str::to_owned));
            if let Err(refused) = named.map_or(Ok(()), |url| check_url(&url, self.plain_http)) {
                return Err(NoWay::Endpoint {
                    service,
                    variable,
                    refused,
                });
            }
        }
        Ok(())
    }

    /// Returns a loader of the SDK's configuration that goes this way, under this program's name. Each call sets its own
    /// retries. Those of the environment and of the profile are not read: the SDK panics if they make no sense.
    pub(super) fn loader(&self) -> ConfigLoader {
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.client())
            .retry_config(RetryConfig::standard());
        match AppName::new(APP_NAME) {
            Ok(name) => loader.app_name(name),
            Err(_) => loader,
        }
    }

    /// Makes the SDK's default HTTP client, but one for all clients, with a shorter lifetime of unused connections and
    /// a limit for long answers.
    pub(super) fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(Guarded {
            direct: self.with(ProxyConfig::disabled()),
            proxied: (!self.proxies.is_empty()).then(|| self.with(ProxyConfig::from_env())),
            route: self.clone(),
        })
    }

    fn with(&self, proxies: ProxyConfig) -> SharedHttpClient {
        let trust = self.trust.clone();
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = ConnectorBuilder::default()
                .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
                .tls_context(trust.clone())
                .pool_idle_timeout(IDLE)
                .proxy_config(proxies.clone());
            connector.set_connector_settings(settings.cloned());
            if let Some(components) = components {
                connector.set_sleep_impl(components.sleep_impl());
            }
            connector.build()
        })
    }
}

/// The way without proxies and with the certificate authorities of the system.
impl Default for Route {
    fn default() -> Self {
        Self {
            proxies: Arc::default(),
            trust: TlsContext::default(),
            plain_http: false,
        }
    }
}

/// Reads the file of certificates that this variable names, if it names one.
fn bundle<T>(variable: &'static str, parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<Option<T>, NoWay> {
    let named = std::env::var_os(variable).filter(|path| !path.is_empty());
    let Some(file) = named.map(PathBuf::from) else {
        return Ok(None);
    };
    let pem = std::fs::read(&file).map_err(|error| error.to_string());
    let parsed = pem.and_then(|pem| parse(&pem));
    parsed.map(Some).map_err(|why| NoWay::CaBundle { variable, file, why })
}

/// Checks that the folder of certificates, if the environment names one, has some.
fn folder() -> Result<(), NoWay> {
    let named = std::env::var_os(SYSTEM_FOLDER).filter(|path| !path.is_empty());
    let Some(folder) = named.map(PathBuf::from) else {
        return Ok(());
    };
    if load_certs_from_paths(None, Some(&folder)).certs.is_empty() {
        return Err(NoWay::Folder(folder));
    }
    Ok(())
}

/// How a certificate that cannot be used counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unusable {
    /// The whole file is refused.
    Refused,
    /// It is left out. The files of systems have old ones.
    Skipped,
}

/// Checks that a file holds certificate authorities.
fn roots(pem: &[u8], unusable: Unusable) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        if unusable == Unusable::Refused {
            added?;
        }
    }
    if roots.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(())
}

/// Returns the certificate authorities of the system and those of this file. All are checked here: the SDK panics on a
/// certificate that it cannot use.
fn trust(pem: &[u8]) -> Result<TlsContext, String> {
    roots(pem, Unusable::Refused)?;
    let store = TrustStore::default().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(store).build();
    context.map_err(|error| error.to_string())
}

/// The HTTP client: chooses the way of each request, and fails on answers that are too long.
#[derive(Debug)]
struct Guarded<T> {
    direct: T,
    /// For requests through a proxy, if there is one.
    proxied: Option<T>,
    route: Route,
}

impl HttpClient for Guarded<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let connector = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(Guarded {
            direct: connector(&self.direct),
            proxied: self.proxied.as_ref().map(connector),
            route: self.route.clone(),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.direct.validate_base_client_config(components, config)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, config: &ConfigBag) -> Result<(), BoxError> {
        self.direct.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.direct.connector_metadata()
    }
}

impl HttpConnector for Guarded<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if let Err(refused) = check_url(request.uri(), self.route.plain_http) {
            return HttpConnectorFuture::ready(Err(ConnectorError::user(refused.into())));
        }
        let uri = request.uri().parse::<Uri>().unwrap_or_default();
        let proxy = self.route.proxies.through(&uri);
        let connector = match &self.proxied {
            Some(proxied) if proxy.is_some() => proxied,
            _ => &self.direct,
        };
        let way = way(&uri, proxy);
        let answer = connector.call(request);
        HttpConnectorFuture::new(async move {
            let bounded = |body| SdkBody::from_body_1_x(Limited::new(body, ANSWER_LIMIT));
            let answer = answer.await.map_err(|error| with_way(error, way))?;
            Ok(answer.map(bounded))
        })
    }
}

/// An error of the HTTP client, with the host and the proxy.
#[derive(Debug)]
struct OnTheWay {
    way: String,
    source: BoxError,
}

impl fmt::Display for OnTheWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.way)
    }
}

impl Error for OnTheWay {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// Adds the host and the proxy to the error of a connection that was never made. The error keeps its kind, by which the
/// SDK repeats reads.
fn with_way(error: ConnectorError, way: String) -> ConnectorError {
    if !find::<HttpError>(&error).is_some_and(HttpError::is_connect) {
        return error;
    }
    let (is_timeout, is_io, is_user) = (error.is_timeout(), error.is_io(), error.is_user());
    let kind = error.as_other();
    let source = BoxError::from(OnTheWay {
        way,
        source: error.into_source(),
    });
    if is_timeout {
        ConnectorError::timeout(source)
    } else if is_io {
        ConnectorError::io(source)
    } else if is_user {
        ConnectorError::user(source)
    } else {
        ConnectorError::other(source, kind)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn the_systems_authorities_may_have_some_that_cannot_be_used_and_not_only_such() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
        let broken = certificate.replacen("MII", "AAA", 1);
        for (pem, is_usable) in [
            (format!("{broken}\n{certificate}"), true),
            (broken, false),
            ("a text".to_owned(), false),
        ] {
            assert_eq!(roots(pem.as_bytes(), Unusable::Skipped).is_ok(), is_usable, "{pem}");
        }
    }

    #[test]
    fn a_bundle_holds_certificates_and_nothing_that_cannot_be_used() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
        let two = format!("# Ours\n{certificate}\n{certificate}");
        let broken = certificate.replacen("MII", "AAA", 1);
        for (pem, said) in [
            (&*certificate, None),
            (&two, None),
            ("", Some("it holds no certificate")),
            ("certificates", Some("it holds no certificate")),
            (&key.serialize_pem(), Some("it holds no certificate")),
            (&broken, Some("")),
            (
                "-----BEGIN CERTIFICATE-----\n####\n-----END CERTIFICATE-----\n",
                Some(""),
            ),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", Some("")),
        ] {
            let made = trust(pem.as_bytes());
            match said {
                None => assert!(made.is_ok(), "{made:?}"),
                Some(said) => assert!(made.unwrap_err().contains(said), "{pem}"),
            }
        }
    }

    #[test]
    fn the_programs_name_is_one_that_the_sdk_takes() {
        assert!(AppName::new(APP_NAME).is_ok());
    }
}
