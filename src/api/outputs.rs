//! `status.outputs`: IDs and names of what AWS has deployed, for pods, scripts and other tools.
//!
//! An allow list of AmplifyMetaConfig, which also holds secrets: API keys and client secrets are never among them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rules;

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

/// Where the outputs are written in addition to `status.outputs`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputsTo {
    /// The name of a ConfigMap in the same namespace. The operator creates it, owned by this resource, and never writes to a ConfigMap that somebody else has made. Its keys are names of environment variables such as `USER_POOL_ID`, for `envFrom` of a pod. The administrator must allow it for the namespace (chart value `outputs.namespaces`).
    #[schemars(schema_with = "rules::object_name")]
    pub config_map_name: String,
}

/// Every variable that [`variables`] returns.
pub const VARIABLES: [&str; 10] = [
    "APP_CLIENT_ID",
    "APP_CLIENT_ID_WEB",
    "BUCKET_NAME",
    "DEPLOYMENT_BUCKET_NAME",
    "GRAPHQL_API_ENDPOINT",
    "GRAPHQL_API_ID",
    "HOSTED_UI_DOMAIN",
    "IDENTITY_POOL_ID",
    "STACK_NAME",
    "USER_POOL_ID",
];

/// Returns outputs as environment variables: `graphqlApiId` is `GRAPHQL_API_ID`. `outputs` is `status.outputs` as stored; a value
/// that no output has is left out, whoever wrote it there.
#[must_use]
pub fn variables(outputs: &Value) -> BTreeMap<String, String> {
    let values = outputs.as_object().into_iter().flatten();
    values
        .filter_map(|(name, value)| Some((variable(name), checked(value.as_str()?)?.into())))
        .filter(|(name, _): &(String, String)| VARIABLES.contains(&name.as_str()))
        .collect()
}

/// Returns the name of a variable for this field: a word begins with a capital, and several capitals are one word.
fn variable(field: &str) -> String {
    let letters: Vec<char> = field.chars().collect();
    let mut name = String::with_capacity(field.len() + 4);
    for (place, letter) in letters.iter().enumerate() {
        let is_lower = |place: Option<usize>| {
            place
                .and_then(|place| letters.get(place))
                .is_some_and(|c| c.is_lowercase())
        };
        let begins = letter.is_uppercase() && (is_lower(place.checked_sub(1)) || is_lower(Some(place + 1)));
        if begins && place > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
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
    fn each_output_is_an_environment_variable() {
        let all = BackendOutputs {
            user_pool_id: Some("1".into()),
            app_client_id: Some("2".into()),
            app_client_id_web: Some("3".into()),
            identity_pool_id: Some("4".into()),
            hosted_ui_domain: Some("5".into()),
            bucket_name: Some("6".into()),
            graphql_api_id: Some("7".into()),
            graphql_api_endpoint: Some("8".into()),
            stack_name: Some("9".into()),
            deployment_bucket_name: Some("10".into()),
        };
        let variables = variables(&serde_json::json!(all));
        let names: Vec<_> = variables.keys().map(String::as_str).collect();
        assert_eq!(names, VARIABLES);
        assert_eq!(variables["GRAPHQL_API_ENDPOINT"], "8");
        assert!(super::variables(&Value::Null).is_empty());
        let odd = serde_json::json!({ "stackName": "two words", "path": "/bin", "bucketName": 1 });
        assert!(super::variables(&odd).is_empty());
    }

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
