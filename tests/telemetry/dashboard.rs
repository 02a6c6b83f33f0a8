//! The dashboard, read from its file.

use serde_json::Value;

/// Returns the panels of the dashboard, rows included.
pub(crate) fn panels() -> Vec<Value> {
    let panels = model()["panels"].as_array().expect("panels").clone();
    assert!(!panels.is_empty(), "a dashboard without panels");
    panels
}

/// Returns the whole file.
pub(crate) fn model() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/charts/amplify-operator/files/dashboard.json"
    );
    let text = std::fs::read_to_string(path).expect("the dashboard");
    serde_json::from_str(&text).expect("JSON")
}

/// Returns each query with the title of its panel.
pub(crate) fn queries() -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let panels = panels();
    let queries = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (text(&panel["title"]), text(&target["expr"])))
    });
    queries.collect()
}
