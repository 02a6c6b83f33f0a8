//! The part of the spec that all kinds share whose AWS object is in a backend: the backend. Pure.
//!
//! The definitions replace the words in braces by the words of the kind, as in [`policies`](super::policies).

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{common::BackendRef, rules};

/// The backend that an AWS object belongs to: a reference, or an app and an environment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTarget {
    /// The AmplifyBackend that the {object} belongs to, in the same namespace. It must be Ready before the {object} is created. Unset: give `appId` and `backendEnvironmentName`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<BackendRef>,
    /// The ID of the Amplify app, such as `d1a2b3c4d5e6f7`, of a backend that has no AmplifyBackend in this namespace. Goes together with `backendEnvironmentName`. Unset: give `backendRef`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::app_id")]
    pub app_id: Option<String>,
    /// The name of the backend environment, such as `staging`. Goes together with `appId`. Unset: give `backendRef`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::aws_name")]
    pub backend_environment_name: Option<String>,
    /// The code of the AWS region, such as `eu-west-1`. Unset: the region in the namespace's entry of the operator's accounts file, otherwise the operator's own region. Not allowed together with `backendRef`: the region of that backend applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::region")]
    pub region: Option<String>,
}

/// The backend that the target stands for: once it is known, it stays.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedTarget {
    /// The app that the {object} belongs to, resolved from the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The backend environment that the {object} belongs to, resolved from the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_environment_name: Option<String>,
}

impl ResolvedTarget {
    /// Returns both names, if both are known.
    #[must_use]
    pub fn names(&self) -> Option<(&str, &str)> {
        Some((self.app_id.as_deref()?, self.backend_environment_name.as_deref()?))
    }
}

/// Returns the CEL rules about these fields: the rules that make them immutable, and the rules about which of them are
/// given.
pub(super) fn rules() -> [Vec<ValidationRule>; 2] {
    let all = |rules: &[(String, String)]| -> Vec<_> {
        let rules = rules.iter().map(|(rule, message)| ValidationRule {
            rule: rule.clone(),
            message: Some(message.clone()),
            ..ValidationRule::default()
        });
        rules.collect()
    };
    let stays = ["backendRef", "appId", "backendEnvironmentName"].map(|field| {
        (
            format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"),
            format!("{field} is immutable, also adding or removing it: delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another"),
        )
    });
    let which = [
        (
            "has(self.backendRef) || (has(self.appId) && has(self.backendEnvironmentName))",
            "give backendRef (an AmplifyBackend in this namespace), or both appId and backendEnvironmentName",
        ),
        (
            "!(has(self.backendRef) && (has(self.appId) || has(self.backendEnvironmentName)))",
            "backendRef excludes appId and backendEnvironmentName: keep backendRef, or the pair",
        ),
        (
            "!(has(self.region) && has(self.backendRef))",
            "region is inherited from backendRef: remove region",
        ),
    ];
    let which = which.map(|(rule, message)| (rule.to_owned(), message.to_owned()));
    [all(&stays), all(&which)]
}
