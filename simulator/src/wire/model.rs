//! The service models' rules for the members of requests, and the check of a request against them. Pure.
//!
//! A member is written as its name. `!` after it means required. `?` before it means that it is sent in the query. `=`
//! and a type follow if it is not text: `integer`, `number`, `boolean`, `{}` (an object without members), `[…]` (a
//! list), words separated by `|`, or the name of a shape below.

use serde_json::{Map, Value, json};

use super::{
    input::{Input, missing},
    operation::Operation,
    reply::AwsError,
};

/// The shapes. Their names exist only in this project.
const SHAPES: &[(&str, &str)] = &[
    (
        "Api",
        "additionalAuthTypes=[AuthType] apiName conflictResolution=ConflictResolution defaultAuthType=AuthType service transformSchema",
    ),
    (
        "AuthType",
        "mode=API_KEY|AWS_IAM|AMAZON_COGNITO_USER_POOLS|OPENID_CONNECT settings=AuthSettings",
    ),
    (
        "AuthSettings",
        "cognitoUserPoolId description expirationTime=number openIDAuthTTL openIDClientId openIDIatTTL openIDIssueURL openIDProviderName",
    ),
    (
        "ConflictResolution",
        "resolutionStrategy=OPTIMISTIC_CONCURRENCY|LAMBDA|AUTOMERGE|NONE",
    ),
    ("NewStorage", "bucketName permissions!=Permissions serviceName!=S3"),
    ("ChangedStorage", "permissions!=Permissions serviceName!=S3"),
    (
        "Permissions",
        "authenticated!=[READ|CREATE_AND_UPDATE|DELETE] unAuthenticated=[READ|CREATE_AND_UPDATE|DELETE]",
    ),
];

/// A member of a request or a shape.
struct Member<'a> {
    name: &'a str,
    is_required: bool,
    in_query: bool,
    /// Its type; empty: text.
    kind: &'a str,
}

fn members(text: &str) -> impl Iterator<Item = Member<'_>> {
    text.split_whitespace().map(|member| {
        let (name, kind) = member.split_once('=').unwrap_or((member, ""));
        let in_query = name.starts_with('?');
        Member {
            name: name.trim_matches(['?', '!']),
            is_required: name.ends_with('!'),
            in_query,
            kind,
        }
    })
}

fn shape(name: &str) -> Option<&'static str> {
    SHAPES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, members)| *members)
}

/// Checks that a request's body has all required members and that each member has its type. Unknown members at the top
/// are ignored, as AWS ignores them. Unknown inner members are refused, so that a misspelt member is noticed.
pub(crate) fn check(operation: Operation, input: &Input) -> Result<(), AwsError> {
    for member in members(operation.members()).filter(|member| !member.in_query) {
        let given = input.get(member.name);
        match given {
            None => {
                if member.is_required {
                    return Err(missing(member.name));
                }
            }
            Some(Value::String(text)) if member.kind.is_empty() => {
                if member.is_required && text.is_empty() {
                    return Err(missing(member.name));
                }
            }
            Some(value) => check_value(&member, value, true)?,
        }
    }
    Ok(())
}

fn check_value(member: &Member<'_>, value: &Value, is_top: bool) -> Result<(), AwsError> {
    let wrong = |wanted: &str| {
        if is_top {
            AwsError::bad_request(format!("Invalid type for parameter {}: must be {wanted}.", member.name))
        } else {
            AwsError::bad_request(format!("Invalid value for resourceConfig member {}.", member.name))
        }
    };
    let is = |right: bool, wanted: &str| if right { Ok(()) } else { Err(wrong(wanted)) };
    match member.kind {
        "" => is(value.is_string(), "a string"),
        "integer" => is(value.is_i64(), "an integer"),
        "number" => is(value.is_number(), "a number"),
        "boolean" => is(value.is_boolean(), "a boolean"),
        "{}" => is(value.is_object(), "an object"),
        kind => {
            if let Some(of) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
                let values = value.as_array().ok_or_else(|| wrong("a list"))?;
                let item = Member { kind: of, ..*member };
                return values.iter().try_for_each(|value| check_value(&item, value, false));
            }
            match shape(kind) {
                Some(shape) => check_object(shape, value.as_object().ok_or_else(|| wrong("an object"))?),
                None => is(
                    value
                        .as_str()
                        .is_some_and(|word| kind.split('|').any(|known| known == word)),
                    "one of the known words",
                ),
            }
        }
    }
}

fn check_object(shape: &str, object: &Map<String, Value>) -> Result<(), AwsError> {
    for member in members(shape) {
        match object.get(member.name) {
            None if member.is_required => return Err(missing(member.name)),
            None => {}
            Some(value) => check_value(&member, value, false)?,
        }
    }
    let strange = object
        .keys()
        .find(|name| members(shape).all(|member| member.name != name.as_str()));
    match strange {
        Some(name) => Err(AwsError::bad_request(format!(
            "Invalid value for resourceConfig member {name}."
        ))),
        None => Ok(()),
    }
}

/// Returns the table as JSON, for a comparison with the service models.
#[must_use]
pub fn table() -> Value {
    let operations = Operation::ALL.iter().filter(|operation| !operation.route().is_empty());
    let all = operations.map(|operation| {
        let (method, path) = operation.route().split_once(' ').unwrap_or_default();
        json!({
            "service": operation.service(), "name": operation.as_str(), "method": method, "path": path,
            "members": as_json(operation.members()),
        })
    });
    all.collect()
}

fn as_json(shape: &str) -> Value {
    let all = members(shape).map(|member| {
        let described = json!({
            "required": member.is_required, "query": member.in_query, "kind": kind_as_json(member.kind),
        });
        (member.name.to_owned(), described)
    });
    Value::Object(all.collect())
}

fn kind_as_json(kind: &str) -> Value {
    match kind {
        "" => json!("string"),
        "integer" | "number" | "boolean" => json!(kind),
        "{}" => json!({ "members": {} }),
        kind => match (
            kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')),
            shape(kind),
        ) {
            (Some(of), _) => json!({ "list": kind_as_json(of) }),
            (None, Some(shape)) => json!({ "members": as_json(shape) }),
            (None, None) => json!({ "words": kind.split('|').collect::<Vec<_>>() }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_types_and_words_are_enforced() {
        for (value, valid) in [
            (json!({}), true),
            (
                json!({ "apiName": "a", "service": "AppSync", "transformSchema": "type A" }),
                true,
            ),
            (
                json!({ "defaultAuthType": { "mode": "API_KEY", "settings": { "expirationTime": 7.5 } } }),
                true,
            ),
            (
                json!({ "additionalAuthTypes": [{ "mode": "OPENID_CONNECT", "settings": { "openIDAuthTTL": "1" } }] }),
                true,
            ),
            (
                json!({ "conflictResolution": { "resolutionStrategy": "LAMBDA" } }),
                true,
            ),
            (
                json!({ "conflictResolution": { "resolutionStrategy": "lambda" } }),
                false,
            ),
            (json!({ "defaultAuthType": { "mode": "KEY" } }), false),
            (
                json!({ "defaultAuthType": { "settings": { "openIdAuthTtl": "1" } } }),
                false,
            ),
            (
                json!({ "defaultAuthType": { "settings": { "expirationTime": "7" } } }),
                false,
            ),
            (json!({ "additionalAuthTypes": {} }), false),
            (json!({ "apiname": "a" }), false),
            (json!({ "apiName": 1 }), false),
        ] {
            let body = json!({ "backendEnvironmentName": "dev", "resourceName": "api", "resourceConfig": value });
            let input = Input::parse(body.to_string().as_bytes()).unwrap();
            assert_eq!(check(Operation::CreateBackendApi, &input).is_ok(), valid, "{value}");
        }
    }

    #[test]
    fn a_storage_says_who_may_do_what() {
        for (config, valid) in [
            (
                json!({ "serviceName": "S3", "permissions": { "authenticated": ["READ"] } }),
                true,
            ),
            (
                json!({ "serviceName": "S3", "permissions": { "authenticated": [], "unAuthenticated": [] } }),
                true,
            ),
            (json!({ "permissions": { "authenticated": [] } }), false),
            (json!({ "serviceName": "S3", "permissions": {} }), false),
            (
                json!({ "serviceName": "S3", "permissions": { "authenticated": ["WRITE"] } }),
                false,
            ),
            (
                json!({ "serviceName": "EFS", "permissions": { "authenticated": [] } }),
                false,
            ),
        ] {
            let body = json!({ "backendEnvironmentName": "dev", "resourceName": "photos", "resourceConfig": config });
            let input = Input::parse(body.to_string().as_bytes()).unwrap();
            assert_eq!(
                check(Operation::CreateBackendStorage, &input).is_ok(),
                valid,
                "{config}"
            );
        }
    }
}
