//! AmplifyMetaConfig: the contents of a backend, in the answer of `GetBackend`. Pure.
//!
//! The text comes from the person who deployed the backend. It may be absent, truncated, huge or hostile. In the worst
//! case the contents are unknown, and no message repeats the text. It holds secrets (API keys, client secrets): every
//! member that is not named here is dropped while the text is read.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    marker::PhantomData,
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::api::{
    conditions::truncated,
    outputs::{self, ApiOutputs, BackendOutputs},
    text,
};

/// Longer texts are not read. The text of a large project has some hundred kilobytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// An Amplify project has one GraphQL API. Each name costs one call.
const MAX_APIS: usize = 100;
/// A backend has one storage.
const MAX_STORAGES: usize = 10;
/// A backend has one auth.
pub(super) const MAX_AUTHS: usize = 10;
/// The categories that are read.
const API: &str = "api";
const AUTH: &str = "auth";
const STORAGE: &str = "storage";
const PROVIDERS: &str = "providers";
/// The provider that deploys everything.
const CLOUDFORMATION: &str = "awscloudformation";
/// How many bytes of a name are kept. A longer value is then recognized as too long for an output.
const NAME_KEPT: usize = outputs::LONGEST + 1;

/// The contents of a backend.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MetaConfig {
    /// The resource names of the GraphQL APIs; never more than one above [`MAX_APIS`].
    apis: BTreeSet<String>,
    /// The S3 storages, by name. Amplify itself makes only one.
    storages: BTreeMap<String, Storage>,
    has_auth: bool,
    /// The outputs of each GraphQL API, by name.
    api_outputs: BTreeMap<String, ApiOutputs>,
    /// The outputs of the first auth, and the names of what holds the deployment.
    others: BackendOutputs,
    /// The categories with a resource whose service is missing: the contents of such a category are unknown.
    unclear: BTreeSet<&'static str>,
}

/// An S3 storage, as the backend names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Storage {
    /// Its name in the backend.
    pub name: String,
    /// Whether its bucket existed before the storage.
    pub is_imported: bool,
    /// The name of its bucket, if the text has it.
    pub bucket: Option<String>,
}

impl MetaConfig {
    /// Parses the text. Returns an error if the text is missing, too long or unreadable.
    pub fn parse(text: Option<&str>) -> Result<Self, String> {
        let text = readable(text)?;
        serde_json::from_str(text).map_err(|_| "AWS's AmplifyMetaConfig cannot be read".to_owned())
    }

    /// Returns the resource names of the GraphQL APIs, or why they are unknown.
    pub fn graphql_apis(&self) -> Result<&BTreeSet<String>, String> {
        self.is_clear(API)?;
        if self.apis.len() > MAX_APIS {
            return Err(format!(
                "AWS's AmplifyMetaConfig names more than {MAX_APIS} GraphQL APIs"
            ));
        }
        Ok(&self.apis)
    }

    /// Returns the S3 storages, or why they are unknown. A backend has at most one. (DynamoDB tables are in the same
    /// category.)
    pub fn storages(&self) -> Result<impl Iterator<Item = &Storage>, String> {
        self.is_clear(STORAGE)?;
        Ok(self.storages.values())
    }

    /// Returns the outputs of a GraphQL API. They are empty if the text does not have them.
    #[must_use]
    pub fn api_outputs(&self, name: &str) -> ApiOutputs {
        self.api_outputs.get(name).cloned().unwrap_or_default()
    }

    /// Returns the outputs of the backend and of everything in it: of the first resource of each category, by name.
    #[must_use]
    pub fn outputs(&self) -> BackendOutputs {
        let api = self.api_outputs.values().next().cloned().unwrap_or_default();
        let storage = self.storages.values().next();
        BackendOutputs {
            graphql_api_id: api.graphql_api_id,
            graphql_api_endpoint: api.graphql_api_endpoint,
            bucket_name: storage.and_then(|storage| outputs::checked(storage.bucket.as_deref()?)),
            ..self.others.clone()
        }
    }

    fn is_clear(&self, category: &str) -> Result<(), String> {
        if self.unclear.contains(category) {
            return Err(format!(
                "AWS's AmplifyMetaConfig does not say what each resource of the category {category} is"
            ));
        }
        Ok(())
    }

    /// Whether the backend has an auth, that is, user pools.
    #[must_use]
    pub const fn has_auth(&self) -> bool {
        self.has_auth
    }

    /// Keeps the needed parts of a resource.
    fn keep(&mut self, category: &'static str, name: String, resource: &Resource) {
        let Some(service) = resource.service.as_deref() else {
            self.unclear.insert(category);
            return;
        };
        let is_of = |known: &str| service.eq_ignore_ascii_case(known);
        match category {
            API if is_of("AppSync") && self.apis.len() <= MAX_APIS => {
                let outputs = ApiOutputs {
                    graphql_api_id: resource.values.value("GraphQLAPIIdOutput"),
                    graphql_api_endpoint: resource.values.value("GraphQLAPIEndpointOutput"),
                };
                self.api_outputs.insert(name.clone(), outputs);
                self.apis.insert(name);
            }
            AUTH if is_of("Cognito") => {
                // Amplify makes one auth. Of several, the text has the first one first.
                if !self.has_auth {
                    self.others.user_pool_id = resource.values.value("UserPoolId");
                    self.others.app_client_id = resource.values.value("AppClientID");
                    self.others.app_client_id_web = resource.values.value("AppClientIDWeb");
                    self.others.identity_pool_id = resource.values.value("IdentityPoolId");
                    self.others.hosted_ui_domain = resource.values.value("HostedUIDomain");
                }
                self.has_auth = true;
            }
            STORAGE if is_of("S3") => {
                if self.storages.len() >= MAX_STORAGES {
                    self.unclear.insert(category);
                    return;
                }
                let name = kept(&name);
                let storage = Storage {
                    name: name.clone(),
                    is_imported: resource.service_type.as_deref() == Some("imported"),
                    bucket: resource.values.0.get("BucketName").cloned(),
                };
                self.storages.insert(name, storage);
            }
            _ => {}
        }
    }
}

/// Returns the text, or an error if it is missing or too long.
pub(super) fn readable(text: Option<&str>) -> Result<&str, String> {
    let text = text.unwrap_or_default().trim();
    if text.is_empty() {
        return Err("AWS's answer has no AmplifyMetaConfig".to_owned());
    }
    if text.len() > MAX_BYTES {
        return Err(format!("AWS's AmplifyMetaConfig is longer than {MAX_BYTES} bytes"));
    }
    Ok(text)
}

/// Returns the text as it is kept: on one line, without control characters, and cut.
pub(super) fn kept(text: &str) -> String {
    truncated(&text::clean(text), NAME_KEPT).to_owned()
}

impl<'de> Deserialize<'de> for MetaConfig {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Categories)
    }
}

/// The whole text: a map of categories. A category that is there twice is an error.
struct Categories;

impl<'de> Visitor<'de> for Categories {
    type Value = MetaConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of categories")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MetaConfig, A::Error> {
        let mut meta = MetaConfig::default();
        let mut read = BTreeSet::new();
        while let Some(category) = map.next_key::<Cow<'de, str>>()? {
            if category == PROVIDERS {
                let deployment = map.next_value::<Tolerant<Providers>>()?.0.0;
                meta.others.stack_name = deployment.value("StackName");
                meta.others.deployment_bucket_name = deployment.value("DeploymentBucketName");
                continue;
            }
            let Some(category) = [API, AUTH, STORAGE].into_iter().find(|known| *known == category) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if !read.insert(category) {
                return Err(A::Error::custom("a category is there twice"));
            }
            map.next_value_seed(Category {
                category,
                meta: &mut meta,
            })?;
        }
        Ok(meta)
    }
}

/// The resources of a category, by name.
struct Category<'a> {
    category: &'static str,
    meta: &'a mut MetaConfig,
}

impl<'de> DeserializeSeed<'de> for Category<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Category<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of resources")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let resource = map.next_value::<Tolerant<Resource>>()?;
            self.meta.keep(self.category, name, &resource.0);
        }
        Ok(())
    }
}

/// The parts of a resource that are read.
#[derive(Default)]
struct Resource {
    service: Option<String>,
    service_type: Option<String>,
    values: Output,
}

/// The outputs of resources that are read. The others, and what is not named here, hold secrets among them.
const VALUES: [&str; 10] = [
    "UserPoolId",
    "AppClientID",
    "AppClientIDWeb",
    "IdentityPoolId",
    "HostedUIDomain",
    "BucketName",
    "GraphQLAPIIdOutput",
    "GraphQLAPIEndpointOutput",
    "StackName",
    "DeploymentBucketName",
];

/// A value of any form. If the form is wrong, the value counts as missing, and the members around it stay.
#[derive(Default)]
pub(super) struct Tolerant<T>(pub(super) T);

/// A value that can be read from one form. Any other form gives the default.
pub(super) trait Part: Default {
    fn of_text(_text: &str) -> Self {
        Self::default()
    }

    fn of_number(_number: u64) -> Self {
        Self::default()
    }

    fn of_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

impl Part for Option<String> {
    fn of_text(text: &str) -> Self {
        Some(kept(text))
    }
}

impl Part for Resource {
    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut resource = Self::default();
        while let Some(member) = map.next_key::<Cow<'de, str>>()? {
            match member.as_ref() {
                "service" => resource.service = map.next_value::<Tolerant<_>>()?.0,
                "serviceType" => resource.service_type = map.next_value::<Tolerant<_>>()?.0,
                "output" => resource.values = map.next_value::<Tolerant<_>>()?.0,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(resource)
    }
}

/// The parts of a resource's outputs that are read.
#[derive(Default)]
struct Output(BTreeMap<&'static str, String>);

impl Output {
    /// Returns this value, if it may be an output of the backend.
    fn value(&self, name: &str) -> Option<Box<str>> {
        outputs::checked(self.0.get(name)?)
    }
}

/// The values of the provider that deploys everything.
#[derive(Default)]
struct Providers(Output);

impl Part for Providers {
    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut providers = Self::default();
        while let Some(provider) = map.next_key::<Cow<'de, str>>()? {
            if provider == CLOUDFORMATION {
                providers.0 = map.next_value::<Tolerant<_>>()?.0;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(providers)
    }
}

impl Part for Output {
    fn of_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut output = Self::default();
        while let Some(member) = map.next_key::<Cow<'de, str>>()? {
            let Some(name) = VALUES.into_iter().find(|name| *name == member) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if let Some(text) = map.next_value::<Tolerant<Option<String>>>()?.0 {
                output.0.insert(name, text);
            }
        }
        Ok(output)
    }
}

impl<'de, T: Part> Deserialize<'de> for Tolerant<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reads(PhantomData)).map(Self)
    }
}

/// A visitor that reads a [`Part`] and keeps nothing else in memory: the text may be large and hostile.
struct Reads<T>(PhantomData<T>);

impl<'de, T: Part> Visitor<'de> for Reads<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok(T::of_number(number))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::of_text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<T, A::Error> {
        T::of_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::of_map(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outputs_are_those_of_the_allow_list_and_no_secret_is_kept() {
        let text = r#"{"providers": {"other": {"StackName": "no"}, "awscloudformation": {"StackName": "stack", "Region": "r", "DeploymentBucketName": "deployment"}},
            "auth": {"pool": {"service": "Cognito", "StackName": "no", "output": {"UserPoolId": "r_pool", "AppClientID": "native", "AppClientIDWeb": "web",
                "IdentityPoolId": "r:1", "HostedUIDomain": "login", "AppClientSecret": "hidden", "GoogleWebClient": "hidden"}},
                "second": {"service": "Cognito", "output": {"UserPoolId": "r_second"}}},
            "api": {"blog": {"service": "AppSync", "output": {"GraphQLAPIIdOutput": "id1", "GraphQLAPIEndpointOutput": "https://e1/graphql", "GraphQLAPIKeyOutput": "hidden"}},
                "rest": {"service": "API Gateway", "output": {"GraphQLAPIIdOutput": "no"}}},
            "storage": {"photos": {"service": "S3", "output": {"BucketName": "bucket"}}},
            "function": {"f": {"service": "Lambda", "output": {"UserPoolId": "no"}}}}"#;
        let meta = MetaConfig::parse(Some(text)).unwrap();
        let some = |text: &str| Some(text.into());
        assert_eq!(
            meta.outputs(),
            BackendOutputs {
                user_pool_id: some("r_pool"),
                app_client_id: some("native"),
                app_client_id_web: some("web"),
                identity_pool_id: some("r:1"),
                hosted_ui_domain: some("login"),
                bucket_name: some("bucket"),
                graphql_api_id: some("id1"),
                graphql_api_endpoint: some("https://e1/graphql"),
                stack_name: some("stack"),
                deployment_bucket_name: some("deployment"),
            }
        );
        assert_eq!(meta.api_outputs("blog").graphql_api_id, some("id1"));
        assert_eq!(meta.api_outputs("rest"), ApiOutputs::default());
        assert!(!format!("{meta:?}").contains("hidden"));
        for odd in [r#"{"providers": "x"}"#, r#"{"providers": {"awscloudformation": []}}"#] {
            assert_eq!(MetaConfig::parse(Some(odd)), Ok(MetaConfig::default()), "{odd}");
        }
    }

    fn names(text: &str) -> Result<Vec<String>, String> {
        let meta = MetaConfig::parse(Some(text))?;
        Ok(meta.graphql_apis()?.iter().cloned().collect())
    }

    #[test]
    fn graphql_apis_are_the_resources_of_the_category_api_with_the_service_appsync() {
        let meta = r#"{"providers": {"awscloudformation": {}}, "auth": {"pool": {"service": "AppSync"}},
            "api": {"shop": {"service": "AppSync", "output": {"GraphQLAPIIdOutput": "x"}},
                    "rest": {"service": "API Gateway"}, "blog": {"service": "AppSync"}}}"#;
        assert_eq!(names(meta).unwrap(), ["blog", "shop"]);
        for without in [r"{}", r#"{"api": {}}"#, r#"{"api": null}"#] {
            assert_eq!(names(without).unwrap(), [""; 0], "{without}");
        }
    }

    #[test]
    fn a_storage_is_of_s3_and_an_auth_of_cognito_and_nothing_else_is_kept() {
        let meta = MetaConfig::parse(Some(
            r#"{"storage": {"table": {"service": "DynamoDB"},
                            "photos": {"service": "S3", "serviceType": "imported", "output": {"BucketName": "b", "Region": "r"}}},
                "auth": {"pool": {"service": "Cognito", "output": {"AppClientSecret": "hidden"}}}}"#,
        ))
        .unwrap();
        let storage = meta.storages().unwrap().next().unwrap();
        assert_eq!((storage.name.as_str(), storage.is_imported), ("photos", true));
        assert_eq!(storage.bucket.as_deref(), Some("b"));
        assert!(meta.has_auth());
        assert!(!format!("{meta:?}").contains("hidden"));
        for (text, has_auth) in [
            ("{}", false),
            (
                r#"{"storage": {"table": {"service": "DynamoDB"}}, "auth": {"userPoolGroups": {"service": "Cognito-UserPool-Groups"}}}"#,
                false,
            ),
            (
                r#"{"auth": {"pool": {"service": "Cognito", "serviceType": "imported"}}}"#,
                true,
            ),
        ] {
            let meta = MetaConfig::parse(Some(text)).unwrap();
            let storages = meta.storages().unwrap().count();
            assert_eq!((storages, meta.has_auth()), (0, has_auth), "{text}");
        }
    }

    #[test]
    fn what_is_odd_in_a_resource_is_as_if_it_were_not_there_and_the_resource_stays() {
        for odd in [
            "[]",
            "{}",
            "7",
            "null",
            "true",
            r#"{"BucketName": {"a": [1]}}"#,
            "\"x\"",
        ] {
            let text = format!(
                r#"{{"storage": {{"photos": {{"output": {odd}, "serviceType": {odd}, "service": "S3"}}}},
                    "auth": {{"pool": {{"output": {odd}, "service": "Cognito", "service2": {odd}}}, "odd": {odd}}},
                    "api": {{"rest": {{"service": "API Gateway", "dependsOn": {odd}}}}}}}"#
            );
            let meta = MetaConfig::parse(Some(&text)).unwrap();
            let mut storages = meta.storages().unwrap();
            let storage = storages
                .next()
                .map(|storage| (storage.name.as_str(), storage.is_imported));
            assert_eq!((storage, meta.has_auth()), (Some(("photos", false)), true), "{odd}");
            assert_eq!(meta.graphql_apis().unwrap().len(), 0, "{odd}");
        }
    }

    #[test]
    fn what_does_not_say_of_what_service_it_is_leaves_its_category_unknown() {
        for odd in [
            "1",
            "{}",
            r#"{"service": ["S3"]}"#,
            r#"{"service": null}"#,
            r#"{"output": {}}"#,
        ] {
            let text = format!(r#"{{"storage": {{"a": {{"service": "S3"}}, "b": {odd}}}, "api": {{"c": {odd}}}}}"#);
            let meta = MetaConfig::parse(Some(&text)).unwrap();
            assert!(meta.graphql_apis().unwrap_err().contains("category api"), "{odd}");
            let why = meta.storages().map(Iterator::count).unwrap_err();
            assert!(why.contains("category storage"), "{odd}");
        }
    }

    #[test]
    fn metadata_that_says_nothing_leaves_the_apis_unknown_and_is_not_repeated() {
        assert!(MetaConfig::parse(None).unwrap_err().contains("no AmplifyMetaConfig"));
        assert!(names("  ").unwrap_err().contains("no AmplifyMetaConfig"));
        let deep = "[".repeat(10_000);
        let nested = format!(r#"{{"api": {}"#, r#"{"a":"#.repeat(10_000));
        for broken in [
            "secret",
            "\"{}\"",
            "[]",
            r#"[{"a": {"service": "AppSync"}}]"#,
            "null",
            r#"{"api": []}"#,
            r#"{"api": "x"}"#,
            r#"{"api": {"shop": {"service": "AppSync"#,
            r#"{"api": {}, "api": {}}"#,
            &deep,
            &nested,
        ] {
            let start = broken.chars().take(40).collect::<String>();
            assert_eq!(
                names(broken).unwrap_err(),
                "AWS's AmplifyMetaConfig cannot be read",
                "{start}"
            );
        }
        let long = format!("{{\"x\": \"{}\"}}", "x".repeat(MAX_BYTES));
        assert!(names(&long).unwrap_err().contains("longer than"));
        let many: Vec<_> = (0..=MAX_APIS)
            .map(|n| format!(r#""a{n}": {{"service": "AppSync"}}"#))
            .collect();
        let many = format!(r#"{{"api": {{{}}}}}"#, many.join(","));
        assert!(names(&many).unwrap_err().contains("more than 100"));
    }
}
