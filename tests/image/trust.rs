//! The certificate authorities of the image: the operator's connections to AWS trust them and no others.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
};

use tokio::process::Command;

use amplify_testkit::{
    https::Authority,
    stage::{Kind, World, environment, ready},
};

use crate::container::{Container, NAME, output, podman};

amplify_testkit::tests! {
    aws_is_trusted_by_the_certificate_authorities_of_the_image_and_by_no_others,
}

/// The image's file with all certificate authorities.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

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
    let authority = Authority::new();
    let authorities = authorities().await;
    assert!(authorities.matches("BEGIN CERTIFICATE").count() > 100, "{authorities}");
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("a folder that all may enter");
    let more = folder.path().join("authorities");
    fs::write(&more, authorities + &authority.pem).expect("a file");
    for trusted in [true, false] {
        let mount = format!("--volume={}:{AUTHORITIES}:ro", more.display());
        let mounts = if trusted { vec![mount] } else { Vec::new() };
        let container = Container::new("65532:65532", &mounts).await;
        let mut stage = container.stage(world.clone()).await;
        let aws = authority.serve(stage.simulator.address()).await;
        stage.set("AWS_ENDPOINT_URL", &format!("https://{}", aws.address));
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
    }
}
