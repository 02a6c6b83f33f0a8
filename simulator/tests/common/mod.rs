//! Clients of a simulator for the tests: the real SDKs, without retries.

use amplify_simulator::Simulator;
use aws_credential_types::Credentials;
use aws_sdk_amplifybackend::config::{BehaviorVersion, Region, retry::RetryConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) fn credentials(simulator: &Simulator) -> Credentials {
    let env = |name: &str| {
        let found = simulator.client_env().iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    Credentials::new(
        env("AWS_ACCESS_KEY_ID"),
        env("AWS_SECRET_ACCESS_KEY"),
        None,
        None,
        "test",
    )
}

pub(crate) fn amplifybackend(simulator: &Simulator) -> aws_sdk_amplifybackend::Client {
    aws_sdk_amplifybackend::Client::from_conf(
        aws_sdk_amplifybackend::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(simulator.url())
            .credentials_provider(credentials(simulator))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(RetryConfig::disabled())
            .build(),
    )
}

#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) fn amplify(simulator: &Simulator, credentials: Credentials) -> aws_sdk_amplify::Client {
    aws_sdk_amplify::Client::from_conf(
        aws_sdk_amplify::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(simulator.url())
            .credentials_provider(credentials)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(RetryConfig::disabled())
            .build(),
    )
}

/// Sends bytes and returns everything received until the connection ends.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) async fn raw(simulator: &Simulator, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(simulator.address()).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
