//! The certificate authorities of the image: the operator's connections to AWS trust them and no others.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use amplify_testkit::stage::{Kind, Stage, World, environment, ready};

use crate::container::{Container, NAME, output, podman};

amplify_testkit::tests! {
    aws_is_trusted_by_the_certificate_authorities_of_the_image_and_by_no_others,
}

/// The image's file with all certificate authorities.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Creates a certificate authority, and an acceptor with a certificate of it for 127.0.0.1.
fn authority() -> (String, TlsAcceptor) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let ca = Issuer::new(ca, ca_key);
    let serving = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let certificate = serving.signed_by(&key, &ca).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a server");
    (pem, TlsAcceptor::from(Arc::new(config)))
}

/// Serves the simulator over HTTPS, and directs the stage's operator to it.
async fn https(stage: &mut Stage, acceptor: TlsAcceptor) -> JoinHandle<()> {
    let simulator = stage.simulator.address();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("a port").port();
    stage.set("AWS_ENDPOINT_URL", &format!("https://127.0.0.1:{port}"));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate closes the connection.
                if let Ok(mut client) = acceptor.accept(connection).await {
                    let mut simulator = TcpStream::connect(simulator).await.expect("the simulator");
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut simulator).await;
                }
            });
        }
    })
}

/// Returns the image's certificate authorities, as PEM.
async fn authorities() -> String {
    let podman = podman().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("authorities");
    let container = output(Command::new(&podman).args(["create", NAME])).await;
    let container = container.trim();
    let mut copy = Command::new(&podman);
    copy.arg("cp").arg(format!("{container}:{AUTHORITIES}")).arg(&file);
    output(&mut copy).await;
    output(Command::new(&podman).args(["rm", container])).await;
    fs::read_to_string(file).expect("certificates")
}

async fn aws_is_trusted_by_the_certificate_authorities_of_the_image_and_by_no_others(world: Arc<World>) {
    let (pem, acceptor) = authority();
    let authorities = authorities().await;
    assert!(authorities.matches("BEGIN CERTIFICATE").count() > 100, "{authorities}");
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("a folder that all may enter");
    let more = folder.path().join("authorities");
    fs::write(&more, authorities + &pem).expect("a file");
    for trusted in [true, false] {
        let mount = format!("--volume={}:{AUTHORITIES}:ro", more.display());
        let mounts = if trusted { vec![mount] } else { Vec::new() };
        let container = Container::new("65532:65532", &mounts).await;
        let mut stage = container.stage(world.clone()).await;
        let server = https(&mut stage, acceptor.clone()).await;
        stage.start();
        stage.create(Kind::Environment, "dev", environment("dev")).await;
        if trusted {
            stage.wait_until_ready(Kind::Environment, "dev").await;
        } else {
            let object = stage.wait_for_reason(Kind::Environment, "dev", "AwsUnavailable").await;
            let message = ready(&object)["message"].as_str().unwrap_or_default();
            assert!(message.contains("certificate"), "{message}");
            assert!(
                stage.simulator.history().all().is_empty(),
                "nothing is said to strangers"
            );
        }
        server.abort();
    }
}
