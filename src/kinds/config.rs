//! Shared by kinds with a configuration: the reference to a ConfigMap, the hash of a configuration, and the comparison
//! with the configuration that AWS shows. Pure.

use serde::Serialize;
use serde_json::Value;

use crate::{
    api::text::digest,
    lifecycle::{Echo, Equality},
};

/// Length of a configuration's hash, in hexadecimal digits.
const HASH_DIGITS: usize = 32;

/// A configuration that an update can change.
pub trait Config: Clone + std::fmt::Debug + Default + Serialize + Send + Sync + 'static {
    /// Its path in the resource.
    const PATH: &'static str = "spec.resourceConfig";
    /// Fields that AWS changes by itself: sent, but never compared.
    const NOT_COMPARED: &'static [&'static str] = &[];

    /// Whether each update replaces the whole configuration. Then a field that AWS does not show counts as different,
    /// because sending it again is harmless.
    const IS_SENT_WHOLE: bool = false;

    /// Whether a long part is missing because the cache does not hold it.
    fn is_left_out(&self) -> bool {
        false
    }

    /// Removes and returns the reference to a ConfigMap. [`fill`](Self::fill) inserts the ConfigMap's text in its
    /// place.
    fn take_reference(&mut self) -> Option<Reference> {
        None
    }

    /// Inserts the text of the ConfigMap.
    fn fill(&mut self, _text: String) {}

    /// Brings it into the canonical form that is hashed, sent and compared.
    fn settle(&mut self) {}

    /// Returns why it cannot be sent although the API server accepted it, and what to do.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// The configuration of a kind that has none.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Nothing {}

impl Config for Nothing {}

/// A reference to a key of a ConfigMap in the resource's namespace.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The ConfigMap.
    pub name: String,
    /// Its key.
    pub key: String,
    /// The field that refers to it.
    pub field: &'static str,
    /// Returns the problem of a text, as words that complete "the value …", and what to put there instead.
    pub problem: fn(&str) -> Option<String>,
}

/// Returns the hash of a resolved configuration.
pub fn hash(config: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(config).unwrap_or_default();
    let mut digits = digest(&bytes);
    digits.truncate(HASH_DIGITS);
    digits
}

/// Compares the wanted fields with the fields that AWS shows. `is_resolved`: the wanted configuration is complete.
pub fn echo<C: Config>(wanted: &C, there: &impl Serialize, is_resolved: bool) -> Echo {
    let (fields, there) = (serde_json::json!(wanted), serde_json::json!(there));
    Echo {
        hash: hash(&project(C::NOT_COMPARED, &fields, &there)),
        equality: is_resolved.then(|| match equality(C::NOT_COMPARED, &fields, &there) {
            Equality::Unknown if C::IS_SENT_WHOLE => Equality::Different,
            equality => equality,
        }),
        differs: if is_resolved {
            differing(C::NOT_COMPARED, &fields, &there, C::PATH)
        } else {
            Vec::new()
        },
    }
}

/// Returns the part of `there` whose fields are also in `fields`.
fn project(not_compared: &[&str], fields: &Value, there: &Value) -> Value {
    let project = |fields, there| project(not_compared, fields, there);
    match (fields, there) {
        (Value::Object(fields), Value::Object(there)) => fields
            .iter()
            .filter(|(name, _)| !not_compared.contains(&name.as_str()))
            .map(|(name, field)| {
                (
                    name.clone(),
                    there.get(name).map_or(Value::Null, |value| project(field, value)),
                )
            })
            .collect(),
        (Value::Array(fields), Value::Array(values)) if fields.len() == values.len() => fields
            .iter()
            .zip(values)
            .map(|(field, value)| project(field, value))
            .collect(),
        (_, Value::String(text)) => Value::String(text.trim_end().to_owned()),
        _ => there.clone(),
    }
}

fn equality(not_compared: &[&str], wanted: &Value, there: &Value) -> Equality {
    let equality = |wanted, there| equality(not_compared, wanted, there);
    let worst = |all: &mut dyn Iterator<Item = Equality>| {
        all.fold(Equality::Equal, |sum, each| match (sum, each) {
            (Equality::Different, _) | (_, Equality::Different) => Equality::Different,
            (Equality::Unknown, _) | (_, Equality::Unknown) => Equality::Unknown,
            _ => Equality::Equal,
        })
    };
    match (wanted, there) {
        (_, Value::Null) => Equality::Unknown,
        (Value::Object(fields), Value::Object(there)) => worst(&mut fields.iter().map(|(name, field)| {
            match there.get(name) {
                None => Equality::Unknown,
                // Not comparable: an edit of this field alone must still be sent.
                Some(value) if not_compared.contains(&name.as_str()) && field != value => Equality::Unknown,
                Some(value) => equality(field, value),
            }
        })),
        (Value::Array(fields), Value::Array(values)) if fields.len() == values.len() => {
            worst(&mut fields.iter().zip(values).map(|(field, value)| equality(field, value)))
        }
        (Value::String(wanted), Value::String(there)) if wanted.trim_end() == there.trim_end() => Equality::Equal,
        _ if wanted == there => Equality::Equal,
        _ => Equality::Different,
    }
}

/// Returns the paths of the fields that differ, as deep as possible.
fn differing(not_compared: &[&str], wanted: &Value, there: &Value, path: &str) -> Vec<String> {
    match (wanted, there) {
        (Value::Object(fields), Value::Object(there)) => fields
            .iter()
            .filter(|(name, _)| !not_compared.contains(&name.as_str()))
            .filter_map(|(name, field)| Some((name, field, there.get(name)?)))
            .flat_map(|(name, field, there)| differing(not_compared, field, there, &format!("{path}.{name}")))
            .collect(),
        _ if equality(not_compared, wanted, there) == Equality::Different => vec![path.to_owned()],
        _ => Vec::new(),
    }
}
