//! The effect of a definition's schema on an object: unknown fields and nulls are dropped, defaults are filled in, and
//! the rest is validated. Pure.
//!
//! Only these CEL rules are evaluated: `self.matches(r'…')`, `self.x == oldSelf.x`, `has(self.x) == has(oldSelf.x)`,
//! and the latter with `&& (!has(self.x) || self.x == oldSelf.x)`. A write that breaks only another rule is accepted
//! here, so users of the model must not make such writes.

use jiff::Timestamp;
use regex_lite::Regex;
use serde_json::{Map, Value};

/// The structural schema of a kind.
pub(crate) struct Schema(Node);

/// One level of a schema.
struct Node {
    kind: Option<String>,
    properties: Vec<(String, Self)>,
    additional: Option<Box<Self>>,
    items: Option<Box<Self>>,
    preserve: bool,
    nullable: bool,
    default: Option<Value>,
    required: Vec<String>,
    one_of: Option<Vec<Value>>,
    map_keys: Vec<String>,
    length: (u64, u64),
    count: (u64, u64),
    bounds: (f64, f64),
    is_time: bool,
    rules: Vec<Rule>,
}

/// A CEL rule.
enum Rule {
    Matches(Box<Regex>),
    /// The field must not change.
    Immutable(String),
    /// The field must stay present or absent.
    StaysPut(String),
}

impl Schema {
    pub(crate) fn new(schema: &Value) -> Self {
        let mut root = Node::new(schema);
        // Every object has these fields, whatever the schema contains.
        for field in ["apiVersion", "kind", "metadata"] {
            root.properties.retain(|(name, _)| name != field);
            let mut node = Node::new(&Value::Null);
            node.preserve = true;
            root.properties.push((field.to_owned(), node));
        }
        Self(root)
    }

    /// Drops fields that the schema does not contain, and fills in its defaults.
    pub(crate) fn form(&self, object: &mut Value) {
        self.0.prune(object);
        self.0.fill(object);
    }

    /// Returns the errors of an object, given its former version.
    pub(crate) fn problems(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut problems = Vec::new();
        self.0.check(object, old, "", &mut problems);
        problems
    }
}

impl Node {
    fn new(schema: &Value) -> Self {
        let text = |field: &str| schema.get(field).and_then(Value::as_str);
        let flag = |field: &str| schema.get(field).and_then(Value::as_bool).unwrap_or_default();
        let least = |field: &str| schema.get(field).and_then(Value::as_u64).unwrap_or_default();
        let most = |field: &str| schema.get(field).and_then(Value::as_u64).unwrap_or(u64::MAX);
        let bound = |field: &str| schema.get(field).and_then(Value::as_f64);
        let child = |field: &str| {
            schema
                .get(field)
                .filter(|it| it.is_object())
                .map(|it| Box::new(Self::new(it)))
        };
        let texts = |field: &str| {
            let all = schema.get(field).and_then(Value::as_array).into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let rules = schema
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        Self {
            kind: text("type").map(str::to_owned),
            properties: properties
                .map(|(name, schema)| (name.clone(), Self::new(schema)))
                .collect(),
            additional: child("additionalProperties"),
            items: child("items"),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            nullable: flag("nullable"),
            default: schema.get("default").cloned(),
            required: texts("required"),
            one_of: schema.get("enum").and_then(Value::as_array).cloned(),
            map_keys: texts("x-kubernetes-list-map-keys"),
            length: (least("minLength"), most("maxLength")),
            count: (
                least("minItems").max(least("minProperties")),
                most("maxItems").min(most("maxProperties")),
            ),
            bounds: (
                bound("minimum").unwrap_or(f64::NEG_INFINITY),
                bound("maximum").unwrap_or(f64::INFINITY),
            ),
            is_time: text("format") == Some("date-time"),
            rules: rules
                .filter_map(|rule| rule.get("rule").and_then(Value::as_str))
                .filter_map(Rule::parse)
                .collect(),
        }
    }

    fn property(&self, name: &str) -> Option<&Self> {
        let found = self.properties.iter().find(|(known, _)| known == name);
        found.map(|(_, node)| node).or(self.additional.as_deref())
    }

    fn prune(&self, value: &mut Value) {
        if self.preserve {
            return;
        }
        match value {
            Value::Object(fields) => {
                fields.retain(|name, value| match self.property(name) {
                    None => false,
                    // The default replaces a null.
                    Some(node) => !value.is_null() || node.nullable,
                });
                for (name, value) in fields {
                    if let Some(node) = self.property(name) {
                        node.prune(value);
                    }
                }
            }
            Value::Array(all) => {
                if let Some(items) = &self.items {
                    for value in all {
                        items.prune(value);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, node) in &self.properties {
                    if let Some(default) = &node.default
                        && !fields.contains_key(name)
                    {
                        fields.insert(name.clone(), default.clone());
                    }
                }
                for (name, value) in fields {
                    if let Some(node) = self.property(name) {
                        node.fill(value);
                    }
                }
            }
            Value::Array(all) => {
                if let Some(items) = &self.items {
                    for value in all {
                        items.fill(value);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn check(&self, value: &Value, old: Option<&Value>, at: &str, problems: &mut Vec<String>) {
        let before = problems.len();
        let mut say = |what: String| problems.push(format!("{}: {what}", at.trim_start_matches('.')));
        if let Some(kind) = &self.kind
            && !is_of(value, kind)
        {
            say(format!("must be of type {kind}"));
            return;
        }
        if self.one_of.as_ref().is_some_and(|one_of| !one_of.contains(value)) {
            say(format!("Unsupported value: {value}"));
        }
        if let Some(number) = value.as_f64()
            && !(self.bounds.0..=self.bounds.1).contains(&number)
        {
            say("out of bounds".to_owned());
        }
        if let Some(text) = value.as_str() {
            let length = text.chars().count() as u64;
            if !(self.length.0..=self.length.1).contains(&length) {
                say(format!("has a length of {length}"));
            }
            if self.is_time && text.parse::<Timestamp>().is_err() {
                say("must be of type date-time".to_owned());
            }
        }
        let count = value
            .as_object()
            .map(Map::len)
            .or_else(|| value.as_array().map(Vec::len));
        if let Some(count) = count
            && !(self.count.0..=self.count.1).contains(&(count as u64))
        {
            say(format!("has {count} elements"));
        }
        for name in &self.required {
            if value.get(name).is_none() {
                say(format!("{name}: Required value"));
            }
        }
        if let (Some(all), false) = (value.as_array(), self.map_keys.is_empty()) {
            let keys: Vec<_> = all
                .iter()
                .map(|it| self.map_keys.iter().map(|key| it.get(key)).collect::<Vec<_>>())
                .collect();
            if keys.iter().enumerate().any(|(at, key)| keys[..at].contains(key)) {
                say("Duplicate value".to_owned());
            }
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            if let Some(node) = self.property(name) {
                node.check(
                    value,
                    old.and_then(|old| old.get(name)),
                    &format!("{at}.{name}"),
                    problems,
                );
            }
        }
        if let Some(items) = &self.items {
            for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                items.check(value, None, &format!("{at}[{index}]"), problems);
            }
        }
        // Rules are evaluated only on values of the right form.
        if problems.len() == before {
            let broken = self.rules.iter().filter(|rule| !rule.holds(value, old)).count();
            problems.extend((0..broken).map(|_| format!("{}: a rule is broken", at.trim_start_matches('.'))));
        }
    }
}

impl Rule {
    fn parse(rule: &str) -> Option<Self> {
        let rule = rule.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(pattern) = rule
            .strip_prefix("self.matches(r'")
            .and_then(|rest| rest.strip_suffix("')"))
        {
            return Regex::new(pattern).ok().map(|regex| Self::Matches(Box::new(regex)));
        }
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric());
        if let Some((name, _)) = rule.strip_prefix("self.").and_then(|rest| rest.split_once(" == "))
            && is_name(name)
            && rule == format!("self.{name} == oldSelf.{name}")
        {
            return Some(Self::Immutable(name.to_owned()));
        }
        let (name, _) = rule.strip_prefix("has(self.")?.split_once(") == has(oldSelf.")?;
        let stays = format!("has(self.{name}) == has(oldSelf.{name})");
        if rule == stays {
            return Some(Self::StaysPut(name.to_owned()));
        }
        (rule == format!("{stays} && (!has(self.{name}) || self.{name} == oldSelf.{name})"))
            .then(|| Self::Immutable(name.to_owned()))
    }

    fn holds(&self, value: &Value, old: Option<&Value>) -> bool {
        match self {
            Self::Matches(regex) => value.as_str().is_none_or(|text| regex.is_match(text)),
            Self::Immutable(name) => old.is_none_or(|old| old.get(name) == value.get(name)),
            Self::StaysPut(name) => old.is_none_or(|old| old.get(name).is_some() == value.get(name).is_some()),
        }
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}
