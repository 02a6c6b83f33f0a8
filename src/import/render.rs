//! Writes parts as YAML with comments. Pure.
//!
//! AWS returns text that others wrote. In values, the serializer quotes it. In comments, every character that a YAML
//! reader could take for a line end is escaped.

use serde::Serialize;
use serde_json::Value;

use super::plan::{Part, Resource};
use crate::api::{self, text::escaped};

/// A manifest with its fields in the usual order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    api_version: String,
    kind: &'a str,
    metadata: Metadata<'a>,
    spec: &'a Value,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
}

/// Returns a part as YAML: a document, or only comments.
pub(super) fn part(part: &Part, namespace: Option<&str>) -> Result<String, serde_saphyr::ser::Error> {
    Ok(match part {
        Part::Manifest { resource, notes } => {
            let notes: String = notes.iter().map(|note| comment(note)).collect();
            notes + &yaml(resource, namespace)?
        }
        Part::Refused { resource, why } => {
            let lines = yaml(resource, namespace)?;
            let lines: Vec<_> = lines
                .lines()
                .map(|line| escaped(line))
                .map(|line| format!("# {line}").trim_end().to_owned() + "\n")
                .collect();
            comment(&format!("Not imported: {why}.")) + &lines.concat()
        }
        Part::Unanswered(text) | Part::Remark(text) => comment(text),
    })
}

/// Returns a one-line comment.
pub(super) fn comment(text: &str) -> String {
    format!("# {}\n", escaped(text))
}

fn yaml(resource: &Resource, namespace: Option<&str>) -> Result<String, serde_saphyr::ser::Error> {
    let yaml = api::to_yaml(&Manifest {
        api_version: format!("{}/v1alpha1", api::GROUP),
        kind: resource.kind.name(),
        metadata: Metadata {
            name: &resource.name,
            namespace,
        },
        spec: &resource.spec,
    })?;
    Ok(yaml.trim_end().to_owned() + "\n")
}
