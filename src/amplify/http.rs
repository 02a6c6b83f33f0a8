//! The way of all calls to AWS: certificates, proxies, and HTTPS instead of plain HTTP. May do: HTTPS, and read the
//! environment and the file that it names.
//!
//! An answer is read up to [`ANSWER_LIMIT`]. A longer answer counts as unreadable.

use std::{path::PathBuf, sync::Arc, time::Duration};

use aws_config::{AppName, BehaviorVersion, ConfigLoader, Region, SdkConfig};
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
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{
    api::text::clean,
    proxy::{Proxies, gives_credentials, is_loopback},
};

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
/// The services that are called: their names in the SDK, and the variables of their endpoints.
const SERVICES: [(&str, &str); 3] = [
    ("amplifybackend", "AWS_ENDPOINT_URL_AMPLIFYBACKEND"),
    ("amplify", "AWS_ENDPOINT_URL_AMPLIFY"),
    ("sts", "AWS_ENDPOINT_URL_STS"),
];

/// Why there is no way to AWS.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// The file of `AWS_CA_BUNDLE` cannot be used.
    #[error("{CA_BUNDLE} is {}: {why}. Name a file of certificates in PEM form, or unset it", .file.display())]
    CaBundle {
        /// Its path.
        file: PathBuf,
        /// The problem.
        why: String,
    },
    /// The endpoint of a service is plain HTTP.
    #[error("the endpoint of {service} (AWS_ENDPOINT_URL, {variable}, or endpoint_url of the AWS profile): {refused}")]
    Endpoint {
        /// The service.
        service: &'static str,
        /// The service's own variable.
        variable: &'static str,
        /// The refused address.
        refused: PlainHttp,
    },
}

/// A request that is not sent, because others on the way could read and change it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "http://{0} is plain HTTP, so others on the way can read and change the requests: give an https:// endpoint, or, on a network that you trust, set --allow-plain-http"
)]
pub struct PlainHttp(String);

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
    /// The file of `AWS_CA_BUNDLE` cannot be used, or an endpoint is plain HTTP and that is not allowed.
    pub async fn of_machine(proxies: Arc<Proxies>, plain_http: bool) -> Result<Self, NoWay> {
        let named = std::env::var_os(CA_BUNDLE).filter(|path| !path.is_empty());
        let trust = match named.map(PathBuf::from) {
            Some(file) => {
                let pem = std::fs::read(&file).map_err(|error| error.to_string());
                let trusted = pem.and_then(|pem| trust(&pem));
                trusted.map_err(|why| NoWay::CaBundle { file, why })?
            }
            None => TlsContext::default(),
        };
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
            if let Err(refused) = named.map_or(Ok(()), |url| self.check(&url)) {
                return Err(NoWay::Endpoint {
                    service,
                    variable,
                    refused,
                });
            }
        }
        Ok(())
    }

    /// Refuses a request in plain HTTP to another machine, unless that is allowed. Where AWS gives credentials, it is
    /// always plain HTTP, and the SDK itself accepts only certain addresses.
    fn check(&self, url: &str) -> Result<(), PlainHttp> {
        let Ok(uri) = url.parse::<Uri>() else {
            // The SDK refuses it.
            return Ok(());
        };
        let host = uri.host().unwrap_or_default();
        let is_allowed =
            self.plain_http || uri.scheme_str() != Some("http") || is_loopback(host) || gives_credentials(host);
        if is_allowed {
            Ok(())
        } else {
            // No more of the URL: it may hold a password.
            Err(PlainHttp(clean(host)))
        }
    }

    /// Returns a loader of the SDK's configuration that goes this way, under this program's name.
    pub(super) fn loader(&self) -> ConfigLoader {
        let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(self.client());
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

/// Returns the certificate authorities of the system and those of this file. All are checked here: the SDK panics on a
/// certificate that it cannot use.
fn trust(pem: &[u8]) -> Result<TlsContext, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
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
        if let Err(refused) = self.route.check(request.uri()) {
            return HttpConnectorFuture::ready(Err(ConnectorError::user(refused.into())));
        }
        let goes_through = |uri: Uri| self.route.proxies.through(&uri).is_some();
        let connector = match &self.proxied {
            Some(proxied) if request.uri().parse().is_ok_and(goes_through) => proxied,
            _ => &self.direct,
        };
        let answer = connector.call(request);
        HttpConnectorFuture::new(async move {
            let bounded = |body| SdkBody::from_body_1_x(Limited::new(body, ANSWER_LIMIT));
            Ok(answer.await?.map(bounded))
        })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn plain_http_stays_on_the_machine_unless_it_is_allowed() {
        let route = Route::default();
        let allowing = Route {
            plain_http: true,
            ..Route::default()
        };
        for (url, is_allowed) in [
            ("https://amplify.eu-west-1.amazonaws.com/apps", true),
            ("http://127.0.0.1:4601", true),
            ("http://127.1.2.3", true),
            ("http://[::1]:4601/x", true),
            ("http://localhost:4601", true),
            ("HTTP://LOCALHOST", true),
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://169.254.169.254/latest/api/token", true),
            ("http://amplify-simulator:4601", false),
            ("HTTP://aws.test", false),
            ("http://localhost.test", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0:4601", false),
            ("http://127.0.0.1.evil.test", false),
            ("http://me:s3cret@aws.test/x", false),
        ] {
            let checked = route.check(url);
            assert_eq!(checked.is_ok(), is_allowed, "{url}");
            assert_eq!(allowing.check(url), Ok(()), "{url}");
            let said = checked.err().map(|refused| refused.to_string()).unwrap_or_default();
            assert!(!said.contains("s3cret"), "{said}");
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
