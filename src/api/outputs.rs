//! `status.outputs`: IDs and names of what AWS has deployed, for pods, scripts and other tools.
//!
//! An allow list of AmplifyMetaConfig, which also holds secrets: API keys and client secrets are never among them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Values of a backend and of everything in it. A value that AWS does not show is absent.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendOutputs {
    /// The ID of the Cognito user pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_pool_id: Option<Box<str>>,
    /// The ID of the user pool's app client for native apps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_client_id: Option<Box<str>>,
    /// The ID of the user pool's app client for web apps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_client_id_web: Option<Box<str>>,
    /// The ID of the Cognito identity pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_pool_id: Option<Box<str>>,
    /// The domain of the hosted sign-in pages.
    #[serde(rename = "hostedUIDomain", skip_serializing_if = "Option::is_none")]
    pub hosted_ui_domain: Option<Box<str>>,
    /// The name of the storage's S3 bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket_name: Option<Box<str>>,
    /// The ID of the GraphQL API in AppSync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphql_api_id: Option<Box<str>>,
    /// The URL of the GraphQL API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphql_api_endpoint: Option<Box<str>>,
    /// The name of the root CloudFormation stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_name: Option<Box<str>>,
    /// The name of the S3 bucket with the deployment's artifacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_bucket_name: Option<Box<str>>,
}

/// Values of a GraphQL API. A value that AWS does not show is absent.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiOutputs {
    /// The ID of the GraphQL API in AppSync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphql_api_id: Option<Box<str>>,
    /// The URL of the GraphQL API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphql_api_endpoint: Option<Box<str>>,
}

/// Values of an S3 storage. A value that AWS does not show is absent.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageOutputs {
    /// The name of the S3 bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket_name: Option<Box<str>>,
}

/// The longest value, in bytes.
pub const LONGEST: usize = 256;

/// Returns the text if it is a value of this list: 1 to 256 bytes of the characters that IDs, names and URLs of AWS have.
#[must_use]
pub fn checked(text: &str) -> Option<Box<str>> {
    let is_of_one = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    let is_value = (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_of_one);
    is_value.then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_aws_gives_as_an_id_a_name_or_a_url_is_a_value() {
        for text in [
            "eu-west-1_AbC123",
            "eu-west-1:00000000-0000-4000-8000-000000000000",
            "https://abc.appsync-api.eu-west-1.amazonaws.com/graphql",
            "shop-photos-1234.example",
            &"x".repeat(256),
        ] {
            assert_eq!(checked(text).as_deref(), Some(text));
        }
        for text in [
            "",
            "two words",
            "line\nbreak",
            "grün",
            "\u{1b}[31m",
            "a;b",
            "$(id)",
            &"x".repeat(257),
        ] {
            assert_eq!(checked(text), None, "{text:?}");
        }
    }
}
