//! The schemas of fields that people write: the length and the form of a text. Pure.
//!
//! Each is a CEL rule with a sentence instead of a `pattern`: for a pattern, the API server prints the regular
//! expression, and prints it first. The schema also bounds the length, because CEL rules have a cost budget. If the
//! rule's own bound is short, the schema's bound is larger: a text over `maxLength` is refused before any rule runs.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Longest text of a field whose rule has its own bound on the length.
pub(super) const LONG: u32 = 512;
/// Longest name of a Kubernetes object, and longest key of a ConfigMap.
pub(super) const KUBERNETES_NAME: u32 = 253;
/// Longest `transformSchema`, in bytes. Kubernetes stores no object above 1.5 MiB, and the operator holds several at a
/// time.
pub const MAX_SCHEMA_BYTES: u32 = 512 * 1024;

/// Returns the schema of a text that matches this regular expression (RE2). Other texts are refused with this sentence.
pub(super) fn text(most: u32, pattern: &str, sentence: &str) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": most,
        "x-kubernetes-validations": [{ "rule": format!("self.matches(r'{pattern}')"), "message": sentence }],
    })
}

/// Returns the schema of an Amplify app's ID.
pub(super) fn app_id(_: &mut SchemaGenerator) -> Schema {
    let sentence = "not the ID of an Amplify app: give d and 1 to 19 lowercase letters and digits, such as d1a2b3c4d5e6f7 (the last part of the app's ARN; not the ARN, not the app's name)";
    text(LONG, "^d[a-z0-9]{1,19}$", sentence)
}

/// Returns the schema of a name in the URL of an AWS request.
pub(super) fn aws_name(_: &mut SchemaGenerator) -> Schema {
    let sentence = "not a name that AWS takes here: give 1 to 255 letters, digits, _ and -, a letter or digit first, such as staging";
    text(255, "^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$", sentence)
}

/// Returns the schema of an AWS region's code.
pub(super) fn region(_: &mut SchemaGenerator) -> Schema {
    let sentence = "not the code of an AWS region: give a code such as eu-west-1 (not the region's name, such as Ireland, and no URL)";
    text(LONG, "^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$", sentence)
}

/// Returns the schema of a duration with the units h, m and s in the usual order: 1h30m15s.
pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    let sentence = "not a duration: give hours, minutes and seconds as whole numbers with h, m and s, in this order and beginning above zero, such as 45s, 90m or 1h30m";
    let pattern = "^([1-9][0-9]{0,5}h([0-9]{1,4}m)?([0-9]{1,4}s)?|[1-9][0-9]{0,5}m([0-9]{1,4}s)?|[1-9][0-9]{0,6}s)$";
    text(LONG, pattern, sentence)
}

/// Returns the schema of a Kubernetes object's name: a DNS subdomain.
pub(super) fn object_name(_: &mut SchemaGenerator) -> Schema {
    let sentence = "not the name of a Kubernetes object: give lowercase letters, digits, - and ., with a letter or digit at both ends and on both sides of each ., such as storefront-staging";
    let pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
    text(KUBERNETES_NAME, pattern, sentence)
}

/// Returns the schema of a key of a ConfigMap, by the rule of the API server.
pub(super) fn config_map_key(_: &mut SchemaGenerator) -> Schema {
    let sentence = "not a key of a ConfigMap: give letters, digits, -, _ and ., not . alone and not .. at the beginning, such as schema.graphql";
    let pattern = "^([-_a-zA-Z0-9]|[.][-_a-zA-Z0-9])[-._a-zA-Z0-9]*$";
    text(KUBERNETES_NAME, pattern, sentence)
}

/// Returns the schema of a GraphQL schema with more than blanks, commas and comments. [`schema_problem`] applies the
/// same rule to a GraphQL schema from a ConfigMap.
pub(super) fn transform_schema(_: &mut SchemaGenerator) -> Schema {
    let sentence = "empty: it holds nothing but blanks, commas and comments. Give a GraphQL schema, or leave transformSchema out so that the operator does not manage it";
    let pattern = r"^([\s,\x{feff}]|#[^\r\n]*[\r\n])*[^\s,\x{feff}#]";
    text(MAX_SCHEMA_BYTES, pattern, sentence)
}

/// Whether the text can be the name of a Kubernetes object. Needed for resources that were stored before the
/// definitions had this rule: other texts would change the path of a request to the API server.
#[must_use]
pub fn is_object_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(is_inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= KUBERNETES_NAME as usize && text.split('.').all(is_part)
}

/// Whether the text can be the name of a namespace: a DNS label
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names>).
#[must_use]
pub fn is_namespace(text: &str) -> bool {
    text.len() <= 63 && !text.contains('.') && is_object_name(text)
}

/// Whether the text can be a key of a ConfigMap. Needed for the same reason as [`is_object_name`].
#[must_use]
pub fn is_config_map_key(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty()
        && text.len() <= KUBERNETES_NAME as usize
        && text.bytes().all(is_inner)
        && text != "."
        && !text.starts_with("..")
}

/// Returns why this `transformSchema` cannot be sent to AWS, in words that complete "the value …". None: it can be
/// sent.
///
/// AWS accepts a schema that defines nothing, and deletes the tables of all models that are no longer in it. The
/// definition refuses such a text in the spec. No definition checks a text from a ConfigMap.
#[must_use]
pub fn schema_problem(text: &str) -> Option<String> {
    if text.len() > MAX_SCHEMA_BYTES as usize {
        return Some(format!(
            "has {} bytes, and at most {} (512 KiB) are allowed",
            text.len(),
            MAX_SCHEMA_BYTES
        ));
    }
    // The characters that GraphQL ignores:
    // https://spec.graphql.org/October2021/#sec-Language.Source-Text.Ignored-Tokens
    let is_ignored = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | '\u{feff}');
    let is_nothing = |line: &str| line.split('#').next().is_none_or(|code| code.chars().all(is_ignored));
    let is_empty = text.split(['\n', '\r']).all(is_nothing);
    match (text.is_empty(), is_empty) {
        (true, _) => Some("is empty".to_owned()),
        (false, true) => Some("is empty: it holds nothing but blanks, commas and comments".to_owned()),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use regex_lite::Regex;

    use super::*;

    #[test]
    fn a_namespace_is_a_dns_label() {
        let long = "a".repeat(63);
        for name in ["a", "team-a", "1", &long] {
            assert!(is_namespace(name), "{name}");
        }
        let longer = "a".repeat(64);
        for name in ["", "-a", "a-", "A", "a.b", "a_b", "../a", "a b", "é", &longer] {
            assert!(!is_namespace(name), "{name}");
        }
    }

    /// Whether the schema accepts this text: its length and its rule, as the API server reads them.
    pub(crate) fn takes(schema: fn(&mut SchemaGenerator) -> Schema, text: &str) -> bool {
        let schema = schema(&mut SchemaGenerator::default());
        let rule = schema.as_value()["x-kubernetes-validations"][0]["rule"]
            .as_str()
            .unwrap();
        let pattern = rule
            .strip_prefix("self.matches(r'")
            .and_then(|rule| rule.strip_suffix("')"))
            .unwrap();
        let most = usize::try_from(schema.as_value()["maxLength"].as_u64().unwrap()).unwrap();
        text.chars().count() <= most && Regex::new(pattern).unwrap().is_match(text)
    }

    #[test]
    fn the_names_of_objects_and_keys_are_those_of_kubernetes_in_the_definitions_and_in_the_code() {
        let long = "x".repeat(253);
        let too_long = "x".repeat(254);
        for (text, is_name, is_key) in [
            ("schema", true, true),
            ("schema.graphql", true, true),
            ("a-b.c-1", true, true),
            (&long, true, true),
            (&too_long, false, false),
            ("Schema_1", false, true),
            ("-a", false, true),
            ("a-", false, true),
            (".a", false, true),
            ("a..b", false, true),
            ("a.", false, true),
            ("-", false, true),
            ("_", false, true),
            ("", false, false),
            (".", false, false),
            ("..", false, false),
            ("...", false, false),
            ("..a", false, false),
            ("a/b", false, false),
            ("../secrets/x", false, false),
            ("?limit=1", false, false),
            ("a?limit=1", false, false),
            ("a#b", false, false),
            ("a%2fb", false, false),
            ("a b", false, false),
            ("a\n", false, false),
            ("ä", false, false),
        ] {
            assert_eq!(takes(object_name, text), is_name, "name {text:?}");
            assert_eq!(is_object_name(text), is_name, "name {text:?}");
            assert_eq!(takes(config_map_key, text), is_key, "key {text:?}");
            assert_eq!(is_config_map_key(text), is_key, "key {text:?}");
        }
    }

    #[test]
    fn a_schema_in_the_spec_and_one_in_a_config_map_are_empty_by_the_same_rule() {
        for (text, is_taken) in [
            ("type A @model { id: ID! }", true),
            ("# a comment\r\ntype A", true),
            ("# one\r# two\r type A", true),
            ("\u{feff}\n,type A", true),
            ("\"\"\"# not a comment\"\"\" type A", true),
            ("", false),
            ("\u{feff}", false),
            (" \t\r\n", false),
            (" , ,\n", false),
            ("# only a comment", false),
            ("# only\n\u{feff}# comments ,\n  ", false),
        ] {
            assert_eq!(takes(transform_schema, text), is_taken, "{text:?}");
            assert_eq!(schema_problem(text).is_none(), is_taken, "{text:?}");
        }
    }
}
