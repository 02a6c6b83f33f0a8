//! The fields of the spec that all kinds share, written once. Pure.
//!
//! The definitions replace the words in braces by the words of the kind: see [`Nouns`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::Ledger;

/// What happens to the AWS object when the resource is deleted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DeletionPolicy {
    /// The AWS object is deleted too.
    Delete,
    /// The AWS object stays as it is.
    Retain,
}

/// What happens when the AWS object already exists and this resource did not create it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum AdoptionPolicy {
    /// The AWS object does not change; the resource becomes Stalled with the reason `AlreadyExists`.
    #[default]
    Never,
    /// The resource takes over the AWS object. Requires an explicit `deletionPolicy`.
    IfExists,
}

/// Whether AWS gets writes for a resource.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ManagementPolicy {
    /// The operator creates, changes and deletes the AWS object as the resource says.
    #[default]
    Manage,
    /// The operator reads and reports the AWS object. AWS gets no write.
    Observe,
}

/// What a resource may do to its AWS object.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policies {
    /// What happens in AWS when this resource is deleted. `Delete`: the {object} is deleted too. `Retain`: the {object} stays. Unset: {an object} that this resource created is deleted. Required with `adoptionPolicy: IfExists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DeletionPolicy")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What happens when the {object} already exists in AWS and this resource did not create it. `Never`: nothing in AWS changes, and the resource becomes Stalled with the reason AlreadyExists. `IfExists`: this resource takes it over{and then}.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// `Manage`: the operator creates, changes and deletes the {object} as this resource says. `Observe`: the operator reads the {object}, compares it with the spec and reports it in `status`, but sends no write to AWS, not even when this resource is deleted. You can change this field at any time. After a change back to `Manage`, this resource owns the {object} again if it owned it before.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// True: the operator makes no AWS call for this resource, not even when it is deleted, until this is false again.{its job} Unset: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

impl Policies {
    /// Whether a status with this ledger may show values of the AWS object: it is the resource's own, or is observed.
    #[must_use]
    pub fn shows_values(&self, ledger: &Ledger) -> bool {
        ledger.origin.is_some() || self.is_observed()
    }

    /// Whether AWS gets no write for the resource.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.management_policy == ManagementPolicy::Observe
    }

    /// Whether the operator makes no AWS call for the resource.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspend.unwrap_or_default()
    }
}

/// The words for a kind's AWS object in the descriptions of the shared fields.
#[derive(Clone, Copy, Debug)]
pub struct Nouns {
    /// Replaces `{object}`: for example `backend`.
    pub object: &'static str,
    /// Replaces `{an object}`: for example `a backend`.
    pub an_object: &'static str,
    /// Replaces `{and then}`: the next action after an adoption, for example ` and updates it`.
    pub and_then: &'static str,
    /// Replaces `{its job}`: the fate of a job that AWS already runs. Empty for kinds without jobs.
    pub its_job: &'static str,
}

impl Nouns {
    /// The text for a kind whose objects are made and removed by jobs.
    pub const ITS_JOB: &'static str = " A job that AWS already runs continues.";

    /// Returns the text with this kind's words.
    #[must_use]
    pub fn put_into(&self, text: &str) -> String {
        [
            ("{object}", self.object),
            ("{an object}", self.an_object),
            ("{and then}", self.and_then),
            ("{its job}", self.its_job),
        ]
        .iter()
        .fold(text.to_owned(), |text, (mark, word)| text.replace(mark, word))
    }
}

/// A kind whose definition has its own words for its AWS object.
pub trait HasNouns {
    /// The kind's words.
    const NOUNS: Nouns;
}
