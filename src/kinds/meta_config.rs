//! AmplifyMetaConfig: what a backend has in it, as `GetBackend` tells. Pure.
//!
//! The text comes from whoever deployed the backend. It may be absent, cut off, huge or hostile; none of that may do
//! more than leave unknown what is there, and none of it is repeated in a message. It holds secrets (API keys, client
//! secrets): what is not named here is dropped while it is read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, de::IgnoredAny};

use crate::api::{conditions::truncated, text};

/// Longer ones are not read. Those of large projects have some hundred kilobytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// An Amplify project has one GraphQL API; each named here costs a call.
const MAX_APIS: usize = 100;
/// How much of a name is kept, in bytes.
const NAME_KEPT: usize = 255;

/// What a backend has in it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct MetaConfig {
    api: Category,
    storage: Category,
    auth: Category,
}

/// The resources of a category, by name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(transparent)]
struct Category(Option<BTreeMap<String, Resource>>);

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Resource {
    Of(Of),
    Odd(IgnoredAny),
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Of {
    service: String,
    service_type: Option<String>,
    output: Option<Output>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "PascalCase")]
struct Output {
    bucket_name: Option<String>,
}

/// An S3 storage, as the backend names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Storage {
    /// Its name in the backend.
    pub name: String,
    /// Whether its bucket was there before.
    pub is_imported: bool,
    /// The name of its bucket, where it is said.
    pub bucket: Option<String>,
}

impl Category {
    /// The resources of this service.
    fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = (&'a str, &'a Of)> {
        self.0
            .iter()
            .flatten()
            .filter_map(move |(name, resource)| match resource {
                Resource::Of(of) if of.service.eq_ignore_ascii_case(service) => Some((name.as_str(), of)),
                Resource::Of(_) | Resource::Odd(_) => None,
            })
    }
}

impl MetaConfig {
    /// What the text says, or why it says nothing.
    pub fn parse(text: Option<&str>) -> Result<Self, String> {
        let text = text.unwrap_or_default().trim();
        if text.is_empty() {
            return Err("AWS's answer has no AmplifyMetaConfig".to_owned());
        }
        if text.len() > MAX_BYTES {
            return Err(format!("AWS's AmplifyMetaConfig is longer than {MAX_BYTES} bytes"));
        }
        let unreadable = || "AWS's AmplifyMetaConfig cannot be read".to_owned();
        if !text.starts_with('{') {
            return Err(unreadable());
        }
        serde_json::from_str(text).map_err(|_| unreadable())
    }

    /// The resource names of the GraphQL APIs, or why they are not known.
    pub fn graphql_apis(&self) -> Result<BTreeSet<String>, String> {
        let names: BTreeSet<String> = self.api.of("AppSync").map(|(name, _)| name.to_owned()).collect();
        if names.len() > MAX_APIS {
            return Err(format!(
                "AWS's AmplifyMetaConfig names more than {MAX_APIS} GraphQL APIs"
            ));
        }
        Ok(names)
    }

    /// The S3 storage; a backend has one at most. (DynamoDB tables are of the same category.)
    #[must_use]
    pub fn storage(&self) -> Option<Storage> {
        let kept = |text: &str| truncated(&text::clean(text), NAME_KEPT).to_owned();
        self.storage.of("S3").next().map(|(name, of)| Storage {
            name: kept(name),
            is_imported: of.service_type.as_deref() == Some("imported"),
            bucket: of
                .output
                .as_ref()
                .and_then(|output| output.bucket_name.as_deref())
                .map(kept),
        })
    }

    /// Whether the backend has an auth: user pools.
    #[must_use]
    pub fn has_auth(&self) -> bool {
        self.auth.of("Cognito").next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let meta = MetaConfig::parse(Some(text))?;
        Ok(meta.graphql_apis()?.into_iter().collect())
    }

    #[test]
    fn graphql_apis_are_the_resources_of_the_category_api_with_the_service_appsync() {
        let meta = r#"{"providers": {"awscloudformation": {}}, "auth": {"pool": {"service": "AppSync"}},
            "api": {"shop": {"service": "AppSync", "output": {"GraphQLAPIIdOutput": "x"}},
                    "rest": {"service": "API Gateway"}, "blog": {"service": "AppSync"}, "odd": 1, "none": {}}}"#;
        assert_eq!(names(meta).unwrap(), ["blog", "shop"]);
        for without in [r"{}", r#"{"api": {}}"#, r#"{"api": null}"#] {
            assert_eq!(names(without).unwrap(), [""; 0], "{without}");
        }
    }

    #[test]
    fn a_storage_is_of_s3_and_an_auth_of_cognito_and_nothing_else_is_kept() {
        let meta = MetaConfig::parse(Some(
            r#"{"storage": {"table": {"service": "DynamoDB"},
                            "photos": {"service": "S3", "serviceType": "imported", "output": {"BucketName": "b", "Region": "r"}}},
                "auth": {"pool": {"service": "Cognito", "output": {"AppClientSecret": "hidden"}}}}"#,
        ))
        .unwrap();
        let storage = meta.storage().unwrap();
        assert_eq!((storage.name.as_str(), storage.is_imported), ("photos", true));
        assert_eq!(storage.bucket.as_deref(), Some("b"));
        assert!(meta.has_auth());
        assert!(!format!("{meta:?}").contains("hidden"));
        for (text, has_auth) in [
            ("{}", false),
            (
                r#"{"storage": {"table": {"service": "DynamoDB"}}, "auth": {"userPoolGroups": {"service": "Cognito-UserPool-Groups"}}}"#,
                false,
            ),
            (
                r#"{"auth": {"pool": {"service": "Cognito", "serviceType": "imported"}}}"#,
                true,
            ),
        ] {
            let meta = MetaConfig::parse(Some(text)).unwrap();
            assert_eq!((meta.storage(), meta.has_auth()), (None, has_auth), "{text}");
        }
    }

    #[test]
    fn metadata_that_says_nothing_leaves_the_apis_unknown_and_is_not_repeated() {
        assert!(MetaConfig::parse(None).unwrap_err().contains("no AmplifyMetaConfig"));
        assert!(names("  ").unwrap_err().contains("no AmplifyMetaConfig"));
        let deep = "[".repeat(10_000);
        let nested = format!(r#"{{"api": {}"#, r#"{"a":"#.repeat(10_000));
        for broken in [
            "secret",
            "\"{}\"",
            "[]",
            r#"[{"a": {"service": "AppSync"}}]"#,
            "null",
            r#"{"api": []}"#,
            r#"{"api": "x"}"#,
            r#"{"api": {"shop": {"service": "AppSync"#,
            r#"{"api": {}, "api": {}}"#,
            &deep,
            &nested,
        ] {
            let start = broken.chars().take(40).collect::<String>();
            assert_eq!(
                names(broken).unwrap_err(),
                "AWS's AmplifyMetaConfig cannot be read",
                "{start}"
            );
        }
        let long = format!("{{\"x\": \"{}\"}}", "x".repeat(MAX_BYTES));
        assert!(names(&long).unwrap_err().contains("longer than"));
        let many: Vec<_> = (0..=MAX_APIS)
            .map(|n| format!(r#""a{n}": {{"service": "AppSync"}}"#))
            .collect();
        let many = format!(r#"{{"api": {{{}}}}}"#, many.join(","));
        assert!(names(&many).unwrap_err().contains("more than 100"));
    }
}
