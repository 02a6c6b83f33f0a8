//! The members of a request, checked against the service models. Pure.

use serde_json::{Map, Value};

use super::reply::AwsError;

/// The members of a JSON body.
#[derive(Debug, Default, Clone)]
pub(crate) struct Input(Map<String, Value>);

impl Input {
    /// Parses a body. An empty body has no members.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, AwsError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            _ => Err(AwsError::new(
                400,
                "SerializationException",
                "The request body is not a JSON object.",
            )),
        }
    }

    /// Returns an optional string. A null counts as absent, as in AWS.
    pub(crate) fn string(&self, member: &str) -> Result<Option<&str>, AwsError> {
        match self.0.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(member, "a string")),
        }
    }

    /// Returns a required string.
    pub(crate) fn required(&self, member: &str) -> Result<&str, AwsError> {
        match self.string(member)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(missing(member)),
        }
    }

    /// Returns an optional object.
    pub(crate) fn object(&self, member: &str) -> Result<Option<&Map<String, Value>>, AwsError> {
        match self.0.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(wrong_type(member, "an object")),
        }
    }

    /// Returns an integer within bounds.
    pub(crate) fn integer(&self, member: &str, least: i64, most: i64) -> Result<Option<i64>, AwsError> {
        match self.0.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => in_range(member, number, least, most).map(Some),
                None => Err(wrong_type(member, "an integer")),
            },
        }
    }

    /// Returns an optional boolean.
    pub(crate) fn boolean(&self, member: &str) -> Result<Option<bool>, AwsError> {
        match self.0.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong_type(member, "a boolean")),
        }
    }

    /// Returns a member of any type. A null counts as absent, as in AWS.
    pub(crate) fn get(&self, member: &str) -> Option<&Value> {
        self.0.get(member).filter(|value| !value.is_null())
    }

    /// Returns a string for the history, even if the request is invalid.
    pub(crate) fn peek(&self, member: &str) -> Option<&str> {
        self.0.get(member).and_then(Value::as_str)
    }
}

/// Query parameters.
#[derive(Debug, Default, Clone)]
pub(crate) struct Query(pub(crate) Vec<(String, String)>);

impl Query {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn integer(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>, AwsError> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => {
                let number = text.parse().map_err(|_| wrong_type(name, "an integer"))?;
                in_range(name, number, least, most).map(Some)
            }
        }
    }
}

/// Checks the length of a name against the `amplify` model.
pub(crate) fn check_length(member: &str, text: &str, most: usize) -> Result<(), AwsError> {
    let length = text.chars().count();
    if (1..=most).contains(&length) {
        return Ok(());
    }
    Err(AwsError::bad_request(format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length \
         between 1 and {most}"
    )))
}

/// Checks an app id against the `amplify` model: `d[a-z0-9]+`, at most 20 characters.
pub(crate) fn check_app_id(app: &str) -> Result<(), AwsError> {
    let mut letters = app.chars();
    let matches = letters.next() == Some('d')
        && app.len() > 1
        && app.len() <= 20
        && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    if matches {
        return Ok(());
    }
    Err(AwsError::bad_request(
        "1 validation error detected: Value at 'appId' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: d[a-z0-9]+",
    ))
}

/// Returns the refusal of a request without a required member.
pub(crate) fn missing(member: &str) -> AwsError {
    AwsError::bad_request(format!("Missing required parameter: {member}."))
}

fn wrong_type(member: &str, wanted: &str) -> AwsError {
    AwsError::bad_request(format!("Invalid type for parameter {member}: must be {wanted}."))
}

fn in_range(member: &str, number: i64, least: i64, most: i64) -> Result<i64, AwsError> {
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(AwsError::bad_request(format!(
        "Invalid value for parameter {member}: must be between {least} and {most}."
    )))
}
