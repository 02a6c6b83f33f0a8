//! A certificate authority of its own, and HTTPS in front of a simulator of AWS.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// A certificate authority that nobody knows yet.
pub struct Authority {
    /// Its certificate.
    pub pem: String,
    /// Serves with a certificate of it, for `amplify.test` and 127.0.0.1.
    acceptor: TlsAcceptor,
}

impl Authority {
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().expect("a key");
        let pem = ca.self_signed(&ca_key).expect("a certificate").pem();
        let ca = Issuer::new(ca, ca_key);
        let names = ["amplify.test".to_owned(), "127.0.0.1".to_owned()];
        let serving = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = serving.signed_by(&key, &ca).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a server");
        Self {
            pem,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    /// Serves a simulator over HTTPS.
    pub async fn serve(&self, simulator: SocketAddr) -> Https {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let acceptor = self.acceptor.clone();
        let serving = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not trust the certificate closes the connection.
                    if let Ok(mut client) = acceptor.accept(connection).await {
                        let mut simulator = TcpStream::connect(simulator).await.expect("the simulator");
                        let _ = copy_bidirectional(&mut client, &mut simulator).await;
                    }
                });
            }
        });
        Https { address, serving }
    }
}

/// A server, until dropped.
pub struct Https {
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Https {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
