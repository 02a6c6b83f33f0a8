//! AmplifyMetaConfig: which GraphQL APIs a backend has. Pure.
//!
//! The text comes from whoever deployed the backend. It may be absent, cut off, huge or hostile; none of that may do
//! more than leave the APIs unknown, and none of it is repeated in a message.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

/// Longer ones are not read. Those of large projects have some hundred kilobytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// An Amplify project has one GraphQL API; each named here costs a call.
const MAX_APIS: usize = 100;

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    api: Value,
}

/// The resource names of the GraphQL APIs, or why they are not known.
pub(super) fn graphql_apis(text: Option<&str>) -> Result<BTreeSet<String>, String> {
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
    let meta: Meta = serde_json::from_str(text).map_err(|_| unreadable())?;
    let resources = match meta.api {
        Value::Null => return Ok(BTreeSet::new()),
        Value::Object(resources) => resources,
        _ => return Err(unreadable()),
    };
    let is_graphql = |resource: &Value| {
        let service = resource.get("service").and_then(Value::as_str);
        service.is_some_and(|service| service.eq_ignore_ascii_case("AppSync"))
    };
    let names: BTreeSet<String> = resources
        .into_iter()
        .filter(|(_, resource)| is_graphql(resource))
        .map(|(name, _)| name)
        .collect();
    if names.len() > MAX_APIS {
        return Err(format!(
            "AWS's AmplifyMetaConfig names more than {MAX_APIS} GraphQL APIs"
        ));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        graphql_apis(Some(text)).map(|names| names.into_iter().collect())
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
    fn metadata_that_says_nothing_leaves_the_apis_unknown_and_is_not_repeated() {
        assert!(graphql_apis(None).unwrap_err().contains("no AmplifyMetaConfig"));
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
