//! Makes the report from the inventory: what each environment has, and the rows of the matrix for it. Pure.
//!
//! The types are the JSON output; docs/report.md lists the fields. `None` (null) is unknown, an empty list is none.
//! Every text of AWS is cleaned and cut here, once for all forms of the output. May not: take more of an answer than
//! the fields below. The answers hold names of buckets, keys and settings that nobody asked for.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use super::{
    fetch::Jobs,
    matrix::{self, Feature, Verdict},
};
use crate::{
    amplify::EnvironmentName,
    api::{
        ResourceConfig,
        backend_api::{AuthMode, AuthType, ResolutionStrategy},
        conditions::truncated,
        text::clean,
    },
    inventory::{self, Answer, Backend, Inventory},
    kinds::{
        backend_storage::{Shown, Storage},
        overview::{self, Overview},
    },
    lifecycle::facts::JobSeen,
};

/// How many bytes of a text of AWS are printed.
const TEXT_KEPT: usize = 255;
/// How many bytes of a reason are printed.
const REASON_KEPT: usize = 1024;
/// The limits of the report.
const NOT_SEEN: &str = "Not seen, and therefore not judged: overrides, read and write attributes of user pool clients, the code and the settings of functions, the content of custom resources, custom resolvers, and data.";
/// The next step. AWS's own tool sees the project.
const NEXT_STEP: &str =
    "Next step: amplify pull each environment, then amplify gen2-migration assess in its project folder.";

/// The whole report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) account: String,
    pub(super) region: String,
    pub(super) date: Date,
    pub(super) end_of_life: Date,
    pub(super) days_left: i32,
    pub(super) matrix_date: Date,
    pub(super) matrix_source: &'static str,
    /// Whether nothing is unknown.
    pub(super) complete: bool,
    pub(super) apps: Vec<App>,
    pub(super) not_seen: &'static str,
    pub(super) next_step: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct App {
    #[serde(rename = "appId")]
    pub(super) id: String,
    pub(super) name: String,
    pub(super) locked_environment: Option<String>,
    pub(super) environments: Option<Vec<Environment>>,
    pub(super) not_known: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Environment {
    pub(super) name: String,
    pub(super) locked: bool,
    pub(super) has_backend: Option<bool>,
    pub(super) pending_jobs: Option<Vec<Job>>,
    pub(super) graphql_apis: Option<Vec<Api>>,
    pub(super) auths: Option<Vec<Auth>>,
    pub(super) storages: Option<Vec<Bucket>>,
    pub(super) other_categories: Option<Vec<Category>>,
    pub(super) findings: Vec<Finding>,
    pub(super) not_known: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    pub(super) operation: String,
    pub(super) status: String,
    pub(super) create_time: Option<Timestamp>,
}

/// A GraphQL API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Api {
    pub(super) name: String,
    pub(super) configuration: Option<ApiConfiguration>,
}

/// A mode that this version does not know is null.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiConfiguration {
    pub(super) api_name: Option<String>,
    pub(super) default_auth_mode: Option<AuthMode>,
    pub(super) additional_auth_modes: Vec<Option<AuthMode>>,
    pub(super) conflict_resolution: Option<ResolutionStrategy>,
}

/// An auth, in the Amplify CLI's words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Auth {
    pub(super) name: String,
    pub(super) imported: bool,
    pub(super) hosted_ui: bool,
    pub(super) social_providers: Option<Vec<String>>,
    pub(super) username_attributes: Option<Vec<String>>,
    pub(super) verification_mechanisms: Option<Vec<String>>,
    pub(super) mfa: Option<String>,
    pub(super) mfa_types: Option<Vec<String>>,
    pub(super) password_min_length: Option<u64>,
    pub(super) password_characters: Option<Vec<String>>,
}

/// An S3 storage.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bucket {
    pub(super) name: String,
    pub(super) imported: Option<bool>,
    pub(super) permissions: Option<Shown>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Category {
    pub(super) category: String,
    pub(super) count: usize,
}

/// What the matrix says of one feature of the environment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    pub(super) feature: &'static str,
    /// The resource, or the category and the number of its resources.
    pub(super) of: String,
    pub(super) verdict: Verdict,
    pub(super) to_do: &'static str,
}

/// Returns the report about this inventory.
pub(super) fn report(inventory: &Inventory, jobs: &Jobs, today: Date) -> Report {
    let apps: Vec<_> = inventory.apps.iter().map(|(id, seen)| app(id, seen, jobs)).collect();
    let is_complete = |app: &App| {
        let mut environments = app.environments.iter().flatten();
        app.not_known.is_empty() && environments.all(|environment| environment.not_known.is_empty())
    };
    Report {
        account: shown(&inventory.account),
        region: shown(&inventory.region),
        date: today,
        end_of_life: matrix::END_OF_LIFE,
        days_left: matrix::days_left(today),
        matrix_date: matrix::DATE,
        matrix_source: matrix::SOURCE,
        complete: apps.iter().all(is_complete),
        apps,
        not_seen: NOT_SEEN,
        next_step: NEXT_STEP,
    }
}

fn app(id: &str, seen: &inventory::App, jobs: &Jobs) -> App {
    let locked = seen.locked.as_ref().map(EnvironmentName::as_str);
    let mut not_known = Vec::new();
    let environments = match &seen.environments {
        Answer::There(environments) => {
            let each = environments.iter().map(|(name, seen)| {
                let jobs = jobs.get(&(id.to_owned(), name.clone()));
                Environment::of(name, seen, locked == Some(name), jobs)
            });
            Some(each.collect())
        }
        Answer::Absent => {
            not_known.push("the environments: AWS no longer shows the app".to_owned());
            None
        }
        Answer::Unknown(why) => {
            not_known.push(reason("the environments", why));
            None
        }
    };
    App {
        id: shown(id),
        name: shown(&seen.name),
        locked_environment: locked.map(shown),
        environments,
        not_known,
    }
}

impl Environment {
    fn of(
        name: &str,
        seen: &inventory::Environment,
        locked: bool,
        jobs: Option<&Result<Vec<JobSeen>, String>>,
    ) -> Self {
        let mut environment = Self {
            name: shown(name),
            locked,
            has_backend: None,
            pending_jobs: None,
            graphql_apis: None,
            auths: None,
            storages: None,
            other_categories: None,
            findings: Vec::new(),
            not_known: Vec::new(),
        };
        match &seen.backend {
            Answer::There(backend) => environment.fill(backend),
            Answer::Absent => environment.holds_nothing(),
            Answer::Unknown(why) => environment.lacks("the backend and its contents", why),
        }
        match jobs {
            Some(Ok(jobs)) => environment.pending_jobs = Some(pending(jobs)),
            Some(Err(why)) => environment.lacks("the pending jobs", why),
            None => environment.lacks("the pending jobs", "they were not listed"),
        }
        // The worst comes first.
        environment.findings.sort_by_key(|finding| finding.verdict);
        environment
    }

    /// An environment without a backend has only its record.
    fn holds_nothing(&mut self) {
        self.has_backend = Some(false);
        self.graphql_apis = Some(Vec::new());
        self.auths = Some(Vec::new());
        self.storages = Some(Vec::new());
        self.other_categories = Some(Vec::new());
    }

    fn fill(&mut self, backend: &Backend) {
        self.has_backend = Some(true);
        match &backend.apis {
            Ok(apis) => {
                self.graphql_apis = Some(apis.iter().map(|(name, answer)| self.api(name, answer)).collect());
            }
            Err(why) => self.lacks("the GraphQL APIs", why),
        }
        match &backend.storage {
            Ok(Some((name, answer))) => self.storages = Some(vec![self.storage(name, answer)]),
            Ok(None) => self.storages = Some(Vec::new()),
            Err(why) => self.lacks("the S3 storage", why),
        }
        match &backend.overview {
            Ok(overview) => {
                let auths = overview.auths.iter().map(|(name, seen)| self.auth(name, seen));
                self.auths = Some(auths.collect());
                self.other_categories = Some(self.categories(overview));
            }
            Err(why) => self.lacks("the auth and the other categories", why),
        }
    }

    fn api(&mut self, name: &str, answer: &Answer<ResourceConfig>) -> Api {
        let name = shown(name);
        if !matches!(answer, Answer::Absent) {
            self.found(Feature::GraphqlApi, &name);
        }
        let configuration = match answer {
            Answer::There(config) => Some(self.configuration(&name, config)),
            Answer::Absent => {
                self.lacks(
                    &format!("GraphQL API {name}"),
                    "AmplifyMetaConfig names it, and GetBackendAPI does not find it",
                );
                None
            }
            Answer::Unknown(why) => {
                self.lacks(&format!("the configuration of GraphQL API {name}"), why);
                None
            }
        };
        Api { name, configuration }
    }

    fn configuration(&mut self, name: &str, config: &ResourceConfig) -> ApiConfiguration {
        let mode = |auth: &AuthType| auth.mode;
        let additional: Vec<_> = config.additional_auth_types.iter().flatten().map(mode).collect();
        let default = config.default_auth_type.as_ref().and_then(mode);
        for mode in std::iter::once(default).chain(additional.iter().copied()) {
            self.found(mode.map_or(Feature::OtherMode, feature_of_mode), name);
        }
        let strategy = config.conflict_resolution.as_ref();
        let strategy = strategy.map(|resolution| resolution.resolution_strategy);
        if let Some(feature) = strategy.and_then(feature_of_resolution) {
            self.found(feature, name);
        }
        match &config.transform_schema {
            Some(schema) => {
                for directive in matrix::directives(schema) {
                    self.found(directive, name);
                }
            }
            None => self.found(Feature::SchemaNotShown, name),
        }
        ApiConfiguration {
            api_name: config.api_name.as_deref().map(shown),
            default_auth_mode: default,
            additional_auth_modes: additional,
            conflict_resolution: strategy.flatten(),
        }
    }

    fn storage(&mut self, name: &str, answer: &Answer<Storage>) -> Bucket {
        let name = shown(name);
        let storage = match answer {
            Answer::There(storage) => Some(storage),
            Answer::Absent => {
                self.lacks(
                    &format!("S3 storage {name}"),
                    "AmplifyMetaConfig names it, and GetBackendStorage does not find it",
                );
                None
            }
            Answer::Unknown(why) => {
                self.lacks(&format!("S3 storage {name}"), why);
                None
            }
        };
        match storage {
            Some(storage) if storage.is_imported => self.found(Feature::ImportedStorage, &name),
            Some(_) => {
                self.found(Feature::Storage, &name);
                self.found(Feature::StorageAccess, &name);
            }
            None => self.found(Feature::StorageNotShown, &name),
        }
        Bucket {
            name,
            imported: storage.map(|storage| storage.is_imported),
            permissions: storage.map(|storage| storage.permissions.clone()),
        }
    }

    fn auth(&mut self, name: &str, seen: &overview::Auth) -> Auth {
        let name = shown(name);
        self.found(
            if seen.is_imported {
                Feature::ImportedAuth
            } else {
                Feature::Auth
            },
            &name,
        );
        if seen.has_hosted_ui {
            self.found(Feature::HostedUi, &name);
        }
        if seen.sign_in.is_none() {
            self.found(Feature::SignInNotShown, &name);
        }
        let sign_in = seen.sign_in.clone().unwrap_or_default();
        for provider in sign_in.social_providers.iter().flatten() {
            self.found(matrix::provider(provider), &format!("{name}: {provider}"));
        }
        let verified = sign_in.verification_mechanisms.iter().flatten();
        let has_email = verified.into_iter().any(|by| by.eq_ignore_ascii_case("email"));
        for (is_there, feature) in [
            (sign_in.username_attributes.is_some(), Feature::UsernameAttributes),
            (sign_in.mfa.is_some(), Feature::Mfa),
            (sign_in.password_min_length.is_some(), Feature::PasswordPolicy),
            (has_email, Feature::EmailVerification),
        ] {
            if is_there {
                self.found(feature, &name);
            }
        }
        Auth {
            name,
            imported: seen.is_imported,
            hosted_ui: seen.has_hosted_ui,
            social_providers: sign_in.social_providers,
            username_attributes: sign_in.username_attributes,
            verification_mechanisms: sign_in.verification_mechanisms,
            mfa: sign_in.mfa,
            mfa_types: sign_in.mfa_types,
            password_min_length: sign_in.password_min_length,
            password_characters: sign_in.password_characters,
        }
    }

    fn categories(&mut self, overview: &Overview) -> Vec<Category> {
        let mut sums: BTreeMap<&str, usize> = BTreeMap::new();
        for ((category, service), count) in &overview.counts {
            if let Some(feature) = matrix::category(category, *service) {
                self.found(feature, &format!("{}: {count}", shown(category)));
                *sums.entry(category).or_default() += count;
            }
        }
        let sums = sums.into_iter().map(|(category, count)| Category {
            category: shown(category),
            count,
        });
        sums.collect()
    }

    fn found(&mut self, feature: Feature, of: &str) {
        let row = feature.row();
        self.findings.push(Finding {
            feature: row.name,
            of: of.to_owned(),
            verdict: row.verdict,
            to_do: row.to_do,
        });
    }

    fn lacks(&mut self, what: &str, why: &str) {
        self.not_known.push(reason(what, why));
    }
}

const fn feature_of_mode(mode: AuthMode) -> Feature {
    match mode {
        AuthMode::ApiKey => Feature::ApiKey,
        AuthMode::AwsIam => Feature::Iam,
        AuthMode::AmazonCognitoUserPools => Feature::UserPools,
        AuthMode::OpenidConnect => Feature::OpenIdConnect,
    }
}

/// Returns the feature of a conflict resolution. `None` as its strategy: AWS's word is not known.
const fn feature_of_resolution(strategy: Option<ResolutionStrategy>) -> Option<Feature> {
    match strategy {
        Some(
            ResolutionStrategy::OptimisticConcurrency | ResolutionStrategy::Lambda | ResolutionStrategy::Automerge,
        ) => Some(Feature::ConflictResolution),
        Some(ResolutionStrategy::None) => None,
        None => Some(Feature::OtherResolution),
    }
}

fn pending(jobs: &[JobSeen]) -> Vec<Job> {
    let pending = jobs.iter().filter(|job| !job.is_terminal());
    let shown = pending.map(|job| Job {
        operation: shown(&job.operation),
        status: shown(&job.status),
        create_time: job.create_time,
    });
    shown.collect()
}

/// Returns a text of AWS as it is printed.
fn shown(text: &str) -> String {
    truncated(&clean(text), TEXT_KEPT).to_owned()
}

fn reason(what: &str, why: &str) -> String {
    truncated(&clean(&format!("{what}: {why}")), REASON_KEPT).to_owned()
}
